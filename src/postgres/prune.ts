import type { Archive, ArchiveEntry } from './archive.ts';
import { objectKey } from './excluded.ts';
import type { Excluded, ExcludedParts } from './excluded.ts';

/** Entries that only say something about the entries they depend on. */
const FOLLOWERS: ReadonlySet<string> = new Set([
  'COMMENT',
  'ACL',
  'SECURITY LABEL',
  'SEQUENCE OWNED BY',
  'TABLE ATTACH',
  'INDEX ATTACH',
  'MATERIALIZED VIEW DATA',
]);

interface Elements {
  readonly head: string;
  readonly elements: readonly string[];
  readonly tail: string;
}

/** Index behind the quotation that begins at `start`. */
function endOfQuote(text: string, start: number): number {
  const quote = text[start] ?? '';
  const escapes = quote === "'" && /(^|[^\w$])[eE]$/.test(text.slice(Math.max(0, start - 2), start));
  let at = start + 1;
  while (at < text.length) {
    if (escapes && text[at] === '\\') at += 2;
    else if (text[at] !== quote) at += 1;
    else if (text[at + 1] === quote) at += 2;
    else return at + 1;
  }
  return at;
}

/** The columns and constraints of a CREATE TABLE as pg_dump writes it; null where it has no list of them. Pure. */
export function tableElements(statement: string): Elements | null {
  const elements: string[] = [];
  let depth = 0;
  let start = -1;
  for (let at = 0; at < statement.length;) {
    const char = statement[at] ?? '';
    if (char === "'" || char === '"') {
      at = endOfQuote(statement, at);
      continue;
    }
    if (char === '(') {
      depth += 1;
      if (start < 0) start = at + 1;
    } else if (char === ')') {
      depth -= 1;
      if (depth === 0) {
        const all = statement.slice(start, at);
        const first = statement.slice(0, start);
        const lists = [...elements, all.slice(elements.reduce((sum, element) => sum + element.length + 1, 0))];
        return {
          head: first,
          elements: lists.map((element) => element.trim()).filter((element) => element !== ''),
          tail: statement.slice(at),
        };
      }
    } else if (char === ',' && depth === 1) {
      const done = elements.reduce((sum, element) => sum + element.length + 1, 0);
      elements.push(statement.slice(start + done, at));
    }
    at += 1;
  }
  return null;
}

/** A column's definition without its default: what follows a default in pg_dump's text is known. */
function withoutDefault(element: string, expression: string): string {
  const clause = ` DEFAULT ${expression}`;
  const at = element.indexOf(clause);
  return at < 0 ? element : element.slice(0, at) + element.slice(at + clause.length);
}

function pruneTable(entry: ArchiveEntry, parts: ExcludedParts): ArchiveEntry {
  const [create = '', ...rest] = entry.statements;
  const found = tableElements(create);
  const named = (element: string, name: string): boolean => element.startsWith(`${name} `);
  const statements = rest.filter(
    (statement) => !parts.columns.some(({ quoted }) => statement.includes(` ALTER COLUMN ${quoted} `)),
  );
  if (found === null) return { ...entry, statements: [create, ...statements] };
  const elements = found.elements
    .filter((element) => !parts.columns.some(({ quoted }) => named(element, quoted)))
    .filter((element) => !parts.checks.some((name) => named(element, `CONSTRAINT ${name}`)))
    .map((element) => {
      const lost = parts.defaults.find(({ quoted }) => named(element, quoted));
      return lost === undefined ? element : withoutDefault(element, lost.expression);
    });
  const list = elements.length === 0 ? '\n' : `\n    ${elements.join(',\n    ')}\n`;
  return { ...entry, statements: [`${found.head}${list}${found.tail}`, ...statements] };
}

/** True for a comment, label or grant on a column that goes. */
function isOfColumn(entry: ArchiveEntry, columns: ReadonlySet<string>): boolean {
  return (
    FOLLOWERS.has(entry.type) && entry.name.startsWith('COLUMN ') && columns.has(`${entry.schema ?? ''} ${entry.name}`)
  );
}

/** The archive without what goes with the extensions that are left out. Pure. */
export function pruneArchive(archive: Archive, excluded: Excluded): Archive {
  if (excluded.extensions.length === 0) return archive;
  const gone = new Set<number>();
  const columns = new Set<string>();
  const kept: ArchiveEntry[] = [];
  for (const entry of archive.entries) {
    if (entry.oid !== 0 && excluded.objects.has(objectKey(entry.classOid, entry.oid))) {
      gone.add(entry.dumpId);
      continue;
    }
    const parts = entry.type === 'TABLE' || entry.type === 'FOREIGN TABLE' ? excluded.parts.get(entry.oid) : undefined;
    if (parts === undefined) {
      kept.push(entry);
      continue;
    }
    for (const { name, quoted } of parts.columns)
      for (const column of [name, quoted])
        for (const table of [entry.name, `"${entry.name.replaceAll('"', '""')}"`])
          columns.add(`${entry.schema ?? ''} COLUMN ${table}.${column}`);
    kept.push(pruneTable(entry, parts));
  }
  const entries = kept.filter(
    (entry) =>
      !(FOLLOWERS.has(entry.type) && entry.dependencies.some((dependency) => gone.has(dependency))) &&
      !isOfColumn(entry, columns),
  );
  return { entries };
}
