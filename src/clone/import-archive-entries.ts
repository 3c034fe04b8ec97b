import type { ArchiveEntry } from '../postgres/archive.ts';
import type { Toc, TocEntry } from '../postgres/archive-toc.ts';
import { largeObjectsMatch, schemaMatches, tableDataMatches, tableMatches } from '../postgres/filters.ts';
import type { RelationFilter } from '../postgres/filters.ts';
import { qualified } from '../postgres/quote.ts';
import type { OwningTable, RelationOwners } from './catalogue.ts';
import type { SequenceValue } from './sequences.ts';

/** Entries that are relations themselves; globs of tables are about them. */
const relations: ReadonlySet<string> = new Set([
  'TABLE',
  'FOREIGN TABLE',
  'VIEW',
  'MATERIALIZED VIEW',
  'SEQUENCE',
  'MATERIALIZED VIEW DATA',
  'TABLE DATA',
  'SEQUENCE SET',
]);
/** Entries that belong to what they depend on, and go with it. */
const hanging: ReadonlySet<string> = new Set([
  'ACL',
  'ATTACH',
  'CHECK CONSTRAINT',
  'COMMENT',
  'CONSTRAINT',
  'DEFAULT',
  'FK CONSTRAINT',
  'INDEX',
  'INDEX ATTACH',
  'POLICY',
  'PUBLICATION TABLE',
  'ROW SECURITY',
  'RULE',
  'SECURITY LABEL',
  'SEQUENCE OWNED BY',
  'STATISTICS',
  'TABLE ATTACH',
  'TRIGGER',
]);
const largeObjectTypes: ReadonlySet<string> = new Set(['BLOB', 'BLOB METADATA', 'BLOBS']);

/** Planner statistics, which only servers of 18 take back: an import runs ANALYZE. */
const left: ReadonlySet<string> = new Set(['STATISTICS DATA']);

export function isLargeObject(entry: Pick<TocEntry, 'type' | 'name'>): boolean {
  if (largeObjectTypes.has(entry.type)) return true;
  const about = entry.type === 'ACL' || entry.type === 'COMMENT' || entry.type === 'SECURITY LABEL';
  return about && /^LARGE OBJECTS? /.test(entry.name);
}

/**
 * dumpIds of the entries that the job is about, as pg_dump itself would have chosen them with the same globs. A sequence that
 * belongs to a table goes with it. Pure.
 */
export function chooseEntries(toc: Toc, filter: RelationFilter): ReadonlySet<number> {
  const byId = new Map(toc.entries.map((entry) => [entry.dumpId, entry]));
  const picked = filter.includeSchema.length > 0 || filter.includeTable.length > 0;
  const ownersOfSequence = new Map<number, TocEntry>();
  for (const entry of toc.entries) {
    if (entry.type !== 'SEQUENCE OWNED BY') continue;
    const on = entry.dependencies.map((id) => byId.get(id));
    const sequence = on.find((one) => one?.type === 'SEQUENCE');
    const table = on.find((one) => one?.type === 'TABLE');
    if (sequence !== undefined && table !== undefined) ownersOfSequence.set(sequence.dumpId, table);
  }
  const known = new Map<number, boolean>();
  const decide = (entry: TocEntry): boolean => {
    if (left.has(entry.type)) return false;
    if (isLargeObject(entry)) return largeObjectsMatch(filter);
    if (relations.has(entry.type)) {
      const schema = entry.schema ?? '';
      const sequence = entry.type === 'SEQUENCE' ? entry : byId.get(entry.dependencies[0] ?? 0);
      const table = sequence === undefined ? undefined : ownersOfSequence.get(sequence.dumpId);
      if (entry.type === 'TABLE DATA') return tableDataMatches(filter, schema, entry.name);
      return (
        tableMatches(filter, schema, entry.name) ||
        (entry.type.startsWith('SEQUENCE') &&
          table !== undefined &&
          tableMatches(filter, table.schema ?? '', table.name))
      );
    }
    if (hanging.has(entry.type)) {
      const on = entry.dependencies.map((id) => byId.get(id)).filter((one) => one !== undefined);
      const about = on.filter(
        (one) => !hanging.has(one.type) || entry.type === 'INDEX ATTACH' || one.type === 'CONSTRAINT',
      );
      const decisive = entry.type === 'FK CONSTRAINT' ? about.slice(0, 1) : about;
      if (decisive.length > 0) return decisive.every(chosen);
    }
    if (filter.includeTable.length > 0) return false;
    if (entry.type === 'SCHEMA') return schemaMatches(filter, entry.name);
    return entry.schema === null ? !picked : schemaMatches(filter, entry.schema);
  };
  const chosen = (entry: TocEntry): boolean => {
    const before = known.get(entry.dumpId);
    if (before !== undefined) return before;
    // An entry that depends on itself by a circle is decided by the rest.
    known.set(entry.dumpId, true);
    const answer = decide(entry);
    known.set(entry.dumpId, answer);
    return answer;
  };
  return new Set(toc.entries.filter(chosen).map((entry) => entry.dumpId));
}

/** A table whose rows are in the archive. */
export interface ArchiveTable {
  readonly entry: TocEntry;
  readonly schema: string;
  readonly name: string;
  /** Qualified and quoted as the archive's COPY names it: the table, or the root that routes its rows. */
  readonly into: string;
  /** Its rows go into another table, which routes them. */
  readonly routed: boolean;
  /** The archive makes the table, so that it is new and holds nothing else. */
  readonly made: boolean;
}

/** Data of the chosen tables, in the archive's order. Pure. */
export function archiveTables(toc: Toc, chosen: ReadonlySet<number>): ArchiveTable[] {
  const made = new Set(toc.entries.filter(({ type }) => type === 'TABLE').map(({ dumpId }) => dumpId));
  return toc.entries
    .filter((entry) => entry.type === 'TABLE DATA' && chosen.has(entry.dumpId))
    .map((entry) => {
      const schema = entry.schema ?? '';
      const own = qualified(schema, entry.name);
      const into = copyTarget(entry.copyStatement);
      return {
        entry,
        schema,
        name: entry.name,
        into,
        routed: into !== '' && unquoted(into) !== unquoted(own),
        made: entry.dependencies.some((id) => made.has(id)),
      };
    });
}

/** `a.b` and `"a"."b"` alike: pg_dump quotes where it must, we quote always. */
function unquoted(name: string): string {
  return name.replaceAll(/"((?:[^"]|"")*)"/g, (_, body: string) => body);
}

/** The relation of `COPY a.b (c, d) FROM stdin;`; '' when the statement is none. Pure. */
export function copyTarget(statement: string): string {
  const part = '(?:"(?:[^"]|"")*"|[^\\s".(]+)';
  return new RegExp(`^COPY (${part}\\.${part})[ (]`).exec(statement)?.[1] ?? '';
}

/** The statement that takes the rows of `COPY … FROM stdin;`. Pure. */
export function copyInStatement(statement: string, encoding: string, freeze: boolean): string {
  const head = statement.replace(/\s*FROM stdin;\s*$/, '');
  return `${head} FROM STDIN (FORMAT text, ENCODING '${encoding}'${freeze ? ', FREEZE' : ''})`;
}

/** Values of the chosen sequences. @throws RangeError for a definition that is no setval. Pure. */
export function archiveSequences(toc: Toc, chosen: ReadonlySet<number>): SequenceValue[] {
  return toc.entries
    .filter((entry) => entry.type === 'SEQUENCE SET' && chosen.has(entry.dumpId))
    .map((entry) => {
      const value = /, (-?\d+), (true|false)\);\s*$/.exec(entry.definition);
      if (value === null) throw new RangeError(`sequence ${entry.name} has no value: ${entry.definition}`);
      return {
        schema: entry.schema ?? '',
        name: entry.name,
        lastValue: value[1] ?? '',
        isCalled: value[2] === 'true',
      };
    });
}

/** The archive's encoding as PostgreSQL names it. Pure. */
export function archiveEncoding(toc: Toc): string {
  const entry = toc.entries.find(({ type }) => type === 'ENCODING');
  return /^SET client_encoding = '(\w+)';/.exec(entry?.definition ?? '')?.[1] ?? 'UTF8';
}

/** Where each index and constraint belongs, which a server's catalogue would tell: from what the entries depend on and say. Pure. */
export function archiveOwners(
  toc: Toc,
  entries: readonly ArchiveEntry[],
  rootOf: (table: OwningTable) => number,
): RelationOwners {
  const byId = new Map(toc.entries.map((entry) => [entry.dumpId, entry]));
  const partitioned = new Set(
    entries.flatMap(({ type, dumpId, statements }) =>
      type === 'TABLE' && /\)\nPARTITION BY /.test(statements[0] ?? '') ? [dumpId] : [],
    ),
  );
  const kinds: Readonly<Record<string, string>> = { TABLE: 'r', 'MATERIALIZED VIEW': 'm', 'FOREIGN TABLE': 'f' };
  const owning = (entry: TocEntry): OwningTable => ({
    oid: entry.oid,
    schema: entry.schema ?? '',
    name: entry.name,
    kind: partitioned.has(entry.dumpId) ? 'p' : (kinds[entry.type] ?? 'r'),
  });
  const tablesOf = (entry: TocEntry): TocEntry[] =>
    entry.dependencies.flatMap((id) => {
      const one = byId.get(id);
      return one !== undefined && one.type in kinds ? [one] : [];
    });
  const tableOfIndex = new Map<number, OwningTable>();
  const tableOfConstraint = new Map<number, OwningTable>();
  const tableOfConstraintEntry = new Map<number, OwningTable>();
  for (const entry of toc.entries) {
    const candidates = tablesOf(entry);
    if (entry.type === 'INDEX') {
      const table = candidates.length === 1 ? candidates[0] : candidates.find((one) => isOn(entry.definition, one));
      if (table !== undefined) tableOfIndex.set(entry.oid, owning(table));
    } else if (entry.type === 'CONSTRAINT' || entry.type === 'FK CONSTRAINT') {
      const table = candidates.find((one) => one.schema === entry.schema && entry.name.startsWith(`${one.name} `));
      if (table === undefined) continue;
      tableOfConstraintEntry.set(entry.dumpId, owning(table));
      if (entry.type === 'CONSTRAINT') tableOfConstraint.set(entry.oid, owning(table));
    }
  }
  const locksOfForeignKey = new Map<number, number[]>();
  for (const entry of toc.entries) {
    if (entry.type !== 'FK CONSTRAINT') continue;
    const own = tableOfConstraintEntry.get(entry.dumpId);
    const keys = entry.dependencies.map(
      (id) => tableOfConstraintEntry.get(id) ?? indexOwner(byId.get(id), tableOfIndex),
    );
    const others = keys.filter((one) => one !== undefined);
    // A key whose tables are not known for certain must not run beside any other.
    if (own === undefined || others.length === 0)
      return { tableOfIndex, tableOfConstraint, locksOfForeignKey: new Map() };
    locksOfForeignKey.set(entry.oid, [...new Set([own, ...others].map(rootOf))]);
  }
  return { tableOfIndex, tableOfConstraint, locksOfForeignKey };
}

function indexOwner(
  entry: TocEntry | undefined,
  tableOfIndex: ReadonlyMap<number, OwningTable>,
): OwningTable | undefined {
  return entry?.type === 'INDEX' ? tableOfIndex.get(entry.oid) : undefined;
}

/** Whether `CREATE INDEX … ON [ONLY] a.b …` is about this table. */
function isOn(definition: string, table: TocEntry): boolean {
  const plain = unquoted(definition);
  const name = `${table.schema ?? ''}.${table.name}`;
  return plain.includes(` ON ${name} `) || plain.includes(` ON ONLY ${name} `);
}
