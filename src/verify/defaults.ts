import type { Archive, ArchiveEntry } from '../postgres/archive.ts';

const setDefault = /^ALTER TABLE ONLY ([\s\S]+) ALTER COLUMN ([\s\S]+) SET DEFAULT ([\s\S]+);$/;

/** What pg_dump writes of a column behind its default; anything else belongs to the default. */
const follows = /^( COLLATE .*)?( (CONSTRAINT .* )?NOT NULL( NO INHERIT)?)?$/s;

function keyOf(entry: ArchiveEntry): string {
  return JSON.stringify([entry.schema, entry.name]);
}

function creates(statement: string | undefined, relation: string): boolean {
  return ['TABLE', 'UNLOGGED TABLE'].some((kind) => statement?.startsWith(`CREATE ${kind} ${relation} (`) === true);
}

/** The table's entry without the default of this column; null when the table does not write exactly this one. */
function withoutDefault(table: ArchiveEntry, column: string, expression: string): ArchiveEntry | null {
  const [create, ...rest] = table.statements;
  const start = create?.indexOf(`\n    ${column} `) ?? -1;
  if (create === undefined || start < 0) return null;
  const ends = [create.indexOf(',\n    ', start + 1), create.indexOf('\n)', start + 1)].filter((at) => at >= 0);
  const end = Math.min(...ends);
  const clause = ` DEFAULT ${expression}`;
  const at = create.indexOf(clause, start);
  if (at < 0 || at + clause.length > end || !follows.test(create.slice(at + clause.length, end))) return null;
  return { ...table, statements: [create.slice(0, at) + create.slice(at + clause.length), ...rest] };
}

/**
 * The archive with a column's default as an entry of its own wherever the other archive has it as one. pg_dump writes it apart
 * from its table only when the two need each other in a circle, as with a sequence that the column owns: one database can have
 * it inside CREATE TABLE and the other apart from it, and both say the same. Defaults in other words are left as they are. Pure.
 */
export function withDefaultsApart(archive: Archive, other: Archive): Archive {
  const apart = new Set(archive.entries.filter((entry) => entry.type === 'DEFAULT').map(keyOf));
  const lone = other.entries.filter((entry) => entry.type === 'DEFAULT' && !apart.has(keyOf(entry)));
  if (lone.length === 0) return archive;
  const entries = [...archive.entries];
  for (const entry of lone) {
    const [, relation, column, expression] = setDefault.exec(entry.statements[0] ?? '') ?? [];
    if (relation === undefined || column === undefined || expression === undefined) continue;
    const at = entries.findIndex(({ type, statements }) => type === 'TABLE' && creates(statements[0], relation));
    const table = entries[at];
    const bare = table === undefined ? null : withoutDefault(table, column, expression);
    if (bare === null) continue;
    entries[at] = bare;
    entries.push(entry);
  }
  return { entries };
}
