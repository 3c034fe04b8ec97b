import { tableDataMatches } from '../postgres/filters.ts';
import type { RelationFilter } from '../postgres/filters.ts';
import { OWN_SCHEMA } from '../postgres/own-objects.ts';
import type { Session } from '../postgres/session.ts';
import { listUnstablePartitions } from '../postgres/unstable-partitions.ts';
import type { RoutingRoot } from '../postgres/unstable-partitions.ts';
import type { ColumnType } from './format.ts';

/** A table whose rows are copied, as the source's catalogue describes it under the snapshot. */
export interface SourceTable {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** Columns to copy, in table order; generated ones are left out. */
  readonly columns: readonly SourceColumn[];
  /** Main and TOAST forks in bytes. */
  readonly sizeBytes: number;
  /** Pages of the main fork, in units of the source's block size. */
  readonly pages: number;
  /** True where the heap was measured to have not one page: no moment of the server then shows a row. */
  readonly empty?: boolean;
  /** Planner's row estimate, or null when the table was never analysed. */
  readonly estimatedRows: number | null;
  /** Set for an extension's configuration table: only rows that meet this condition were made by users; '' means all. */
  readonly extensionCondition: string | null;
  /** Set where the target has to route the rows anew: they go into this table instead of the partition. */
  readonly via: RoutingRoot | null;
}

export interface SourceColumn {
  readonly name: string;
  readonly type: ColumnType;
}

interface TableRow {
  oid: string;
  schema: string;
  name: string;
  size: string;
  pages: string;
  empty: boolean;
  tuples: number;
  condition: string | null;
  columns: { name: string; type: ColumnType }[] | null;
}

/**
 * `measured` by the server, which has to wait for the lock of whoever rewrites or truncates a table; `estimated` by its last
 * VACUUM or ANALYZE waits for nobody; `unread` leaves out columns as well, which takes most of the time.
 */
export type TableSizes = 'measured' | 'estimated' | 'unread';

/**
 * Every size takes calls to the file system, so each is asked once (OFFSET keeps it apart), and TOAST only beside a heap with
 * pages. The access method heap has oid 2 (pg_am.dat), before version 12 none.
 */
const SIZES: Readonly<Record<TableSizes, { readonly columns: string; readonly from: string }>> = {
  measured: {
    columns: `(h.bytes + CASE WHEN c.reltoastrelid = 0 OR h.bytes = 0 THEN 0 ELSE pg_relation_size(c.reltoastrelid) END)::text AS size,
       (h.bytes / current_setting('block_size')::int8)::text AS pages, coalesce(h.bytes = 0 AND c.relam IN (0, 2), false) AS empty`,
    from: 'CROSS JOIN LATERAL (SELECT pg_relation_size(c.oid) AS bytes OFFSET 0) h',
  },
  estimated: {
    columns: `((c.relpages + coalesce((SELECT t.relpages FROM pg_class t WHERE t.oid = c.reltoastrelid), 0))
         * current_setting('block_size')::int8)::text AS size, c.relpages::text AS pages, false AS empty`,
    from: '',
  },
  unread: { columns: `'0' AS size, '0' AS pages, false AS empty`, from: '' },
};

const LISTED = `, listed AS (
  -- For all tables at once: asked for by each, the types would be searched as often.
  SELECT a.attrelid AS oid, json_agg(json_build_object('name', a.attname, 'type', json_build_object(
           'name', t.typname, 'kind', t.typtype, 'builtIn', t.oid < 10000 AND t.typnamespace = 'pg_catalog'::regnamespace))
         ORDER BY a.attnum) AS columns
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
  JOIN stored s ON s.oid = a.atttypid JOIN pg_type t ON t.oid = s.base
  WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  GROUP BY a.attrelid
)`;

/**
 * Ordinary tables outside of extensions, and the configuration tables of extensions (pg_extension.extconfig). A column's type
 * is followed through domains to the type that is stored.
 */
const tablesSql = (sizes: TableSizes): string => `
WITH RECURSIVE stored(oid, base) AS (
  SELECT t.oid, t.oid FROM pg_type t WHERE t.typtype <> 'd'
  UNION ALL
  SELECT d.oid, s.base FROM pg_type d JOIN stored s ON d.typbasetype = s.oid WHERE d.typtype = 'd'
), member AS (
  SELECT objid AS oid FROM pg_depend WHERE classid = 'pg_class'::regclass AND deptype = 'e'
), configuration AS (
  SELECT c.oid, c.condition
  FROM pg_extension e, LATERAL unnest(e.extconfig, e.extcondition) AS c(oid, condition)
)${sizes === 'unread' ? '' : LISTED}
SELECT c.oid::int8 AS oid, n.nspname AS schema, c.relname AS name,
       ${SIZES[sizes].columns},
       c.reltuples::float8 AS tuples, g.condition,
       ${sizes === 'unread' ? 'NULL::json' : 'l.columns'} AS columns
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN member m ON m.oid = c.oid
LEFT JOIN configuration g ON g.oid = c.oid
${sizes === 'unread' ? '' : 'LEFT JOIN listed l ON l.oid = c.oid'}
${SIZES[sizes].from}
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
  AND (m.oid IS NULL OR g.oid IS NOT NULL)
ORDER BY n.nspname, c.relname`;

/** Lists the tables to copy under the session's snapshot. */
export async function listTables(
  session: Session,
  filter: RelationFilter,
  major: number,
  sizes: TableSizes = 'measured',
): Promise<SourceTable[]> {
  const unstable = await listUnstablePartitions(session, major);
  const rows = await session.query<TableRow & { [column: string]: unknown }>(tablesSql(sizes));
  return rows
    .filter((row) => row.schema !== OWN_SCHEMA && tableDataMatches(filter, row.schema, row.name))
    .map((row) => ({
      oid: Number(row.oid),
      schema: row.schema,
      name: row.name,
      columns: row.columns ?? [],
      sizeBytes: Number(row.size),
      pages: Number(row.pages),
      empty: row.empty,
      estimatedRows: row.tuples < 0 ? null : Math.round(row.tuples),
      extensionCondition: row.condition,
      via: unstable.get(Number(row.oid)) ?? null,
    }));
}

/**
 * Tables that were truncated or rewritten between the snapshot and the lock on them: their rows are gone for the snapshot
 * although it still lists them. `relfilenode` is read under the snapshot, pg_relation_filenode() reads the present.
 */
export async function listRewrittenTables(session: Session, oids: readonly number[]): Promise<string[]> {
  const rows = await session.query<{ name: string }>(
    `SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = ANY ($1::oid[]) AND c.relfilenode <> 0
       AND pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode`,
    [oids],
  );
  return rows.map((row) => row.name);
}

/** The table behind each index and constraint of the source, by the object's own oid. */
export interface RelationOwners {
  /** pg_class oid of an index → its table. */
  readonly tableOfIndex: ReadonlyMap<number, OwningTable>;
  /** pg_constraint oid → its table. */
  readonly tableOfConstraint: ReadonlyMap<number, OwningTable>;
  /** pg_constraint oid of a foreign key → the tables it locks, as oids of their partition roots. */
  readonly locksOfForeignKey: ReadonlyMap<number, readonly number[]>;
}

export interface OwningTable {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** pg_class.relkind: r table, p partitioned table, m materialized view, f foreign table. */
  readonly kind: string;
}

/** `major`: the source's; partition roots are known to the server from 12 on, before that every key counts as locking all. */
export async function readRelationOwners(session: Session, major: number): Promise<RelationOwners> {
  const root = (column: string): string => (major >= 12 ? `coalesce(pg_partition_root(${column}), ${column})` : '0');
  const rows = await session.query<{
    kind: string;
    oid: string;
    table: string;
    schema: string;
    name: string;
    locks: string[];
    relkind: string;
  }>(
    `SELECT k.kind, k.oid::text AS oid, c.oid::text AS "table", n.nspname AS schema, c.relname AS name, c.relkind, k.locks
     FROM (SELECT 'index' AS kind, indexrelid AS oid, indrelid AS relid, '{}'::text[] AS locks FROM pg_index
           UNION ALL SELECT contype::text, oid, conrelid,
                            CASE contype WHEN 'f' THEN ARRAY[${root('conrelid')}::oid::text, ${root('confrelid')}::oid::text] END
           FROM pg_constraint WHERE conrelid <> 0) k
     JOIN pg_class c ON c.oid = k.relid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'`,
  );
  const tableOfIndex = new Map<number, OwningTable>();
  const tableOfConstraint = new Map<number, OwningTable>();
  const locksOfForeignKey = new Map<number, number[]>();
  for (const row of rows) {
    const oid = Number(row.oid);
    const owner = { oid: Number(row.table), schema: row.schema, name: row.name, kind: row.relkind };
    (row.kind === 'index' ? tableOfIndex : tableOfConstraint).set(oid, owner);
    if (row.kind === 'f') locksOfForeignKey.set(oid, row.locks.map(Number));
  }
  return { tableOfIndex, tableOfConstraint, locksOfForeignKey };
}
