import type { ArchiveEntry } from '../postgres/archive.ts';
import type { Toc, TocEntry } from '../postgres/archive-toc.ts';
import { largeObjectsMatch, schemaMatches, tableDataMatches, tableMatches } from '../postgres/filters.ts';
import type { RelationFilter } from '../postgres/filters.ts';
import { qualified } from '../postgres/quote.ts';
import type { OwningTable, RelationOwners } from './catalogue.ts';
import { excludedEntries } from './import-archive-extensions.ts';
import type { SequenceValue } from './sequences.ts';

/** Entries that are relations themselves; globs of tables are about them. */
const relations: ReadonlySet<string> = new Set([
  'TABLE',
  'FOREIGN TABLE',
  'VIEW',
  'MATERIALIZED VIEW',
  'SEQUENCE',
  'SEQUENCE OWNED BY',
  'MATERIALIZED VIEW DATA',
  'TABLE DATA',
  'SEQUENCE SET',
]);
/** Entries that go with the relation which they are a part of, named `relation part` or by its name alone. */
const parts: ReadonlySet<string> = new Set([
  'CHECK CONSTRAINT',
  'CONSTRAINT',
  'DEFAULT',
  'FK CONSTRAINT',
  'INDEX',
  'POLICY',
  'ROW SECURITY',
  'RULE',
  'STATISTICS',
  'TRIGGER',
]);
/** Entries that say something about one object, on which they depend alone. */
const remarks: ReadonlySet<string> = new Set(['ACL', 'COMMENT', 'SECURITY LABEL']);
const publications: ReadonlySet<string> = new Set(['PUBLICATION TABLE', 'PUBLICATION TABLES IN SCHEMA']);
const largeObjectTypes: ReadonlySet<string> = new Set(['BLOB', 'BLOB METADATA', 'BLOBS']);

/** Planner statistics, which only servers of 18 take back: an import runs ANALYZE. */
const left: ReadonlySet<string> = new Set(['STATISTICS DATA']);

export function isLargeObject(entry: Pick<TocEntry, 'type' | 'name'>): boolean {
  if (largeObjectTypes.has(entry.type)) return true;
  const about = entry.type === 'ACL' || entry.type === 'COMMENT' || entry.type === 'SECURITY LABEL';
  return about && /^LARGE OBJECTS? /.test(entry.name);
}

/** What of an archive a job is about. */
export interface EntryFilter extends RelationFilter {
  /** Left out with all that stands on them. */
  readonly excludeExtension?: readonly string[];
}

/**
 * dumpIds of the entries that the job is about, as pg_dump itself would have chosen them with the same globs. A sequence that
 * belongs to a table goes with it. Pure.
 */
export function chooseEntries(toc: Toc, filter: EntryFilter): ReadonlySet<number> {
  const gone = excludedEntries(toc, filter.excludeExtension ?? []).ids;
  const byId = new Map(toc.entries.map((entry) => [entry.dumpId, entry]));
  const picked = filter.includeSchema.length > 0 || filter.includeTable.length > 0;
  const keyOf = (entry: TocEntry): string => JSON.stringify([entry.schema, entry.name]);
  const tableOfSequence = new Map<string, { readonly schema: string; readonly name: string }>();
  for (const entry of toc.entries) {
    if (!entry.type.startsWith('SEQUENCE')) continue;
    // An identity column's sequence is made by an ALTER TABLE.
    const table = /^ALTER SEQUENCE .* OWNED BY /s.test(entry.definition)
      ? relationBehind(entry.definition, ' OWNED BY ')
      : /\bADD GENERATED /.test(entry.definition)
        ? relationBehind(entry.definition, 'ALTER TABLE ')
        : null;
    if (table !== null) tableOfSequence.set(keyOf(entry), table);
  }
  const relationInScope = (entry: TocEntry): boolean => {
    const [schema, name] = [entry.schema ?? '', entry.name];
    if (entry.type === 'TABLE DATA') return tableDataMatches(filter, schema, name);
    if (tableMatches(filter, schema, name)) return true;
    const table = entry.type.startsWith('SEQUENCE') ? tableOfSequence.get(keyOf(entry)) : undefined;
    return table !== undefined && tableMatches(filter, table.schema, table.name);
  };
  const onOf = (entry: TocEntry): TocEntry[] =>
    entry.dependencies.flatMap((id) => {
      const one = byId.get(id);
      return one === undefined ? [] : [one];
    });
  const indexes = new Map<string, TocEntry>();
  for (const entry of toc.entries) {
    // A constraint's index bears its name.
    if (entry.type === 'INDEX') indexes.set(keyOf(entry), entry);
    if (entry.type !== 'CONSTRAINT') continue;
    const table = onOf(entry).find((one) => isPartOf(entry, one));
    const name = table === undefined ? entry.name : entry.name.slice(table.name.length + 1);
    indexes.set(JSON.stringify([entry.schema, name]), entry);
  }
  const chosen = (entry: TocEntry): boolean => {
    if (left.has(entry.type) || gone.has(entry.dumpId)) return false;
    if (isLargeObject(entry)) return largeObjectsMatch(filter);
    if (relations.has(entry.type)) return relationInScope(entry);
    if (entry.type === 'TABLE ATTACH') return tableMatches(filter, entry.schema ?? '', entry.name);
    if (entry.type === 'INDEX ATTACH') {
      const index = indexes.get(keyOf(entry));
      return index !== undefined && chosen(index);
    }
    if (publications.has(entry.type) && picked) return false;
    if (entry.type === 'STATISTICS' && (filter.includeTable.length > 0 || !schemaMatches(filter, entry.schema ?? '')))
      return false;
    if (parts.has(entry.type) || entry.type === 'PUBLICATION TABLE') {
      const owner = onOf(entry).find((one) => isPartOf(entry, one));
      if (owner !== undefined) return tableMatches(filter, owner.schema ?? '', owner.name);
    }
    if (remarks.has(entry.type)) {
      const about = onOf(entry);
      if (about.length > 0) return about.every(chosen);
    }
    if (filter.includeTable.length > 0) return false;
    if (entry.type === 'SCHEMA') return schemaMatches(filter, entry.name);
    return entry.schema === null ? !picked : schemaMatches(filter, entry.schema);
  };
  return new Set(toc.entries.filter(chosen).map((entry) => entry.dumpId));
}

const owners: ReadonlySet<string> = new Set(['TABLE', 'FOREIGN TABLE', 'VIEW', 'MATERIALIZED VIEW']);

/** Whether the entry, which depends on `relation`, is a part of it. */
function isPartOf(entry: TocEntry, relation: TocEntry): boolean {
  if (!owners.has(relation.type)) return false;
  if (entry.type === 'INDEX' || entry.type === 'STATISTICS') return isOn(entry.definition, relation);
  if (entry.type === 'PUBLICATION TABLE') return entry.name.endsWith(` ${relation.name}`);
  return relation.schema === entry.schema && `${entry.name} `.startsWith(`${relation.name} `);
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

/** The qualified name behind the last of these words. */
function relationBehind(definition: string, words: string): { schema: string; name: string } | null {
  const part = '("(?:[^"]|"")*"|[^\\s".(;]+)';
  const match = new RegExp(`^${part}\\.${part}`).exec(
    definition.slice(definition.lastIndexOf(words) + words.length).replace(/^ONLY /, ''),
  );
  const plain = (text = ''): string => (text.startsWith('"') ? text.slice(1, -1).replaceAll('""', '"') : text);
  return match === null ? null : { schema: plain(match[1]), name: plain(match[2]) };
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

/** Whether `CREATE INDEX … ON [ONLY] a.b …` or `CREATE STATISTICS … FROM a.b;` is about this table. */
function isOn(definition: string, table: TocEntry): boolean {
  const plain = unquoted(definition);
  const name = `${table.schema ?? ''}.${table.name}`;
  return [` ON ${name} `, ` ON ONLY ${name} `, ` FROM ${name};`].some((words) => plain.includes(words));
}
