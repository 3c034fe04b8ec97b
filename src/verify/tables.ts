import { qualified } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { tableDataMatches } from '../postgres/filters.ts';
import type { RelationFilter } from '../postgres/filters.ts';
import type { ColumnFacts } from './checksum.ts';

/** A relation whose rows are compared. */
export interface ComparedRelation {
  readonly kind: 'table' | 'materialized view';
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly ColumnFacts[];
  /** Primary key in key order; empty without one. */
  readonly key: readonly string[];
  /** Main and TOAST forks in bytes on the source. */
  readonly sizeBytes: number;
  /** `WHERE …` of an extension's configuration table; '' for all rows. */
  readonly condition: string;
}

/** Relations of one server as far as verification needs them. */
export interface RelationFacts extends ComparedRelation {
  /** pg_class.relkind: r, m, f. */
  readonly relkind: string;
  readonly populated: boolean;
  readonly accessMethod: string | null;
}

interface RelationRow {
  oid: string;
  schema: string;
  name: string;
  relkind: string;
  populated: boolean;
  method: string | null;
  size: string;
  condition: string | null;
  columns: ColumnFacts[] | null;
  key: string[] | null;
}

/** Tables, materialized views and foreign tables outside of extensions, and the extensions' configuration tables. */
const RELATIONS = `
WITH RECURSIVE stored(oid, base) AS (
  SELECT t.oid, t.oid FROM pg_type t WHERE t.typtype <> 'd'
  UNION ALL
  SELECT d.oid, s.base FROM pg_type d JOIN stored s ON d.typbasetype = s.oid WHERE d.typtype = 'd'
), member AS (
  SELECT objid AS oid FROM pg_depend WHERE classid = 'pg_class'::regclass AND deptype = 'e'
), configuration AS (
  SELECT c.oid, c.condition
  FROM pg_extension e, LATERAL unnest(e.extconfig, e.extcondition) AS c(oid, condition)
)
SELECT c.oid::text AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS relkind,
       c.relispopulated AS populated, am.amname AS method, g.condition,
       CASE WHEN c.relkind = 'f' THEN '0' ELSE (pg_relation_size(c.oid)
         + CASE WHEN c.reltoastrelid = 0 THEN 0 ELSE pg_relation_size(c.reltoastrelid) END)::text END AS size,
       (SELECT json_agg(json_build_object('name', a.attname, 'type', t.typname, 'kind', t.typtype,
                 'builtIn', t.oid < 10000 AND t.typnamespace = 'pg_catalog'::regnamespace) ORDER BY a.attnum)
        FROM pg_attribute a JOIN stored s ON s.oid = a.atttypid JOIN pg_type t ON t.oid = s.base
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       (SELECT json_agg(a.attname ORDER BY k.position)
        FROM pg_index i, LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
        JOIN pg_attribute a ON a.attnum = k.attnum
        WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid AND k.position <= i.indnkeyatts) AS key
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_am am ON am.oid = c.relam
LEFT JOIN member m ON m.oid = c.oid
LEFT JOIN configuration g ON g.oid = c.oid
WHERE c.relkind IN ('r', 'm', 'f') AND c.relpersistence <> 't'
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
  AND (m.oid IS NULL OR g.oid IS NOT NULL)
ORDER BY n.nspname, c.relname`;

export async function listRelations(session: Session): Promise<RelationFacts[]> {
  const rows = await session.query<RelationRow & { [column: string]: unknown }>(RELATIONS);
  return rows.map((row) => ({
    kind: row.relkind === 'm' ? 'materialized view' : 'table',
    oid: Number(row.oid),
    schema: row.schema,
    name: row.name,
    relkind: row.relkind,
    populated: row.populated,
    accessMethod: row.method,
    sizeBytes: Number(row.size),
    columns: row.columns ?? [],
    key: row.key ?? [],
    condition: row.condition ?? '',
  }));
}

export function relationKey(relation: { readonly schema: string; readonly name: string }): string {
  return JSON.stringify([relation.schema, relation.name]);
}

/** What a person would write: quoted only where the parts need it. */
export function readableName(schema: string | null, name: string): string {
  const part = (text: string): string => (/^[a-z_][a-z0-9_$]*$/.test(text) ? text : `"${text.replaceAll('"', '""')}"`);
  return schema === null ? part(name) : `${part(schema)}.${part(name)}`;
}

/** FROM item that reads the relation's own rows; partitions and children are relations of their own. */
export function ownRows(relation: { readonly schema: string; readonly name: string }): string {
  return `ONLY ${qualified(relation.schema, relation.name)}`;
}

export interface Scope {
  /** Largest first, so that no large one starts when the others have ended. */
  readonly compared: ComparedRelation[];
  /** Sentences about relations in scope whose rows are not compared. */
  readonly left: string[];
}

/** Decides whose rows are compared, of relations that the job is about. Pure. */
export function chooseRelations(inScope: readonly RelationFacts[], filter: RelationFilter, schemaOnly: boolean): Scope {
  const compared: ComparedRelation[] = [];
  const left: string[] = [];
  const named = (found: readonly RelationFacts[]): string =>
    found.map((relation) => readableName(relation.schema, relation.name)).join(', ');
  if (schemaOnly) {
    return { compared, left: ['Rows, sequence values and large objects: the job moves the schema only.'] };
  }
  const foreign = inScope.filter((relation) => relation.relkind === 'f');
  if (foreign.length > 0)
    left.push(`Rows of foreign tables stand on other servers and were not read: ${named(foreign)}.`);
  const excluded = inScope.filter(
    (relation) => relation.relkind === 'r' && !tableDataMatches(filter, relation.schema, relation.name),
  );
  if (excluded.length > 0) left.push(`Rows excluded by --exclude-table-data: ${named(excluded)}.`);
  const views = inScope.filter((relation) => relation.relkind === 'm' && relation.populated);
  // Without the rows they are made from, their contents cannot be equal.
  if (filter.excludeTableData.length > 0 && views.length > 0) {
    left.push(`Contents of materialized views, since --exclude-table-data leaves rows behind: ${named(views)}.`);
  } else compared.push(...views);
  for (const relation of inScope) {
    if (relation.relkind === 'r' && tableDataMatches(filter, relation.schema, relation.name)) compared.push(relation);
  }
  return { compared: compared.toSorted((a, b) => b.sizeBytes - a.sizeBytes), left };
}
