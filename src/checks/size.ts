import type { JobOptions } from '../contract/options.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import { userSchema } from './catalog.ts';
import { perDatabase } from './database.ts';
import type { Database } from './database.ts';
import { dataInScope, largeObjectsInScope } from './scope.ts';

/** Bytes on the source's disk of one relation that has storage, and what its statistics say of its rows. */
export interface RelationSize {
  readonly schema: string;
  readonly name: string;
  /** Main and TOAST forks with their maps. */
  readonly tableBytes: number;
  /** The main fork of it. */
  readonly heapBytes: number;
  readonly indexBytes: number;
  /** What its btree indexes would take if built anew, by the statistics, and the others as they are; null when unknown. */
  readonly packedIndexBytes: number | null;
  /** Share of dead rows, 0..1, by the server's statistics: a copy leaves them behind. */
  readonly dead: number;
  /** Planner's estimate; below 0 when the table was never analysed. */
  readonly rows: number;
  /** Mean bytes of a row's values in the main fork; null when not every column has statistics that this role may see. */
  readonly width: number | null;
  /** Percent of a page that is filled. */
  readonly fillfactor: number;
}

export interface SourceSize {
  readonly relations: readonly RelationSize[];
  readonly largeObjectBytes: number;
}

/** Usable bytes of a page, and what a row takes beside its values: header, line pointer, alignment (documentation, 73.6 "Database Page Layout"). */
const PAGE_BYTES = 8192;
const USABLE_BYTES = PAGE_BYTES - 24;
const ROW_BYTES = 24 + 4 + 8;
/** Statistics are a sample: a table is never taken to be smaller than they say by less than this. */
const CAUTION = 1.15;

/**
 * Bytes that the rows and indexes of one relation take on the target: neither dead rows nor pages that a VACUUM has emptied go
 * along. Never more than the source has; where the statistics say nothing, all of it but dead rows. Pure.
 */
export function packedBytes(size: RelationSize): { readonly table: number; readonly index: number } {
  const alive = 1 - size.dead;
  const beside = (size.tableBytes - size.heapBytes) * alive;
  const known = size.rows >= 0 && size.width !== null;
  const packed = known
    ? Math.ceil((size.rows * (ROW_BYTES + (size.width ?? 0)) * CAUTION) / (USABLE_BYTES * (size.fillfactor / 100))) *
      PAGE_BYTES
    : Number.POSITIVE_INFINITY;
  const index = known && size.packedIndexBytes !== null ? size.packedIndexBytes * CAUTION : Number.POSITIVE_INFINITY;
  return {
    table: Math.min(size.heapBytes * alive, packed) + beside,
    index: Math.min(size.indexBytes * alive, index),
  };
}

/** Pages from which on it matters how tightly rows and keys would be packed. */
const WORTH_PAGES = 64;

/**
 * A table without a page has nothing in its indexes either: opening thousands of them to look would cost more than all else here.
 * Sizes need ACCESS SHARE on each relation and wait for whoever holds it exclusively; our lock_timeout bounds that, and
 * SIZES_BY_PAGES stands in. Keys of a btree take 8 bytes of header, 4 of line pointer and up to 8 of alignment; pages are
 * filled to nine tenths (documentation, CREATE INDEX, "fillfactor").
 */
const SIZES = `
WITH heaps AS (
  SELECT c.oid, n.nspname, c.relname, c.relpages, c.reltuples, c.reloptions, COALESCE(pg_relation_size(c.oid), 0)::float8 AS bytes
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND ${userSchema('n')}
), large AS (
  SELECT oid, nspname, relname, reltuples FROM heaps WHERE relpages >= ${WORTH_PAGES}
), stats AS (
  SELECT l.oid, p.attname, (1 - p.null_frac) * p.avg_width AS width
  FROM large l JOIN pg_stats p ON p.schemaname = l.nspname AND p.tablename = l.relname WHERE NOT p.inherited
), widths AS (
  SELECT oid, sum(width) AS width, count(*) AS n FROM stats GROUP BY 1
), keys AS (
  SELECT i.indexrelid, sum(s.width) AS width, count(s.width) AS n
  FROM large l JOIN pg_index i ON i.indrelid = l.oid
       CROSS JOIN LATERAL unnest(i.indkey::int2[]) k
       LEFT JOIN pg_attribute a ON a.attrelid = l.oid AND a.attnum = k
       LEFT JOIN stats s ON s.oid = l.oid AND s.attname = a.attname
  GROUP BY 1
), indexes AS (
  SELECT i.indrelid, sum(b.bytes) AS bytes,
    sum(CASE WHEN x.relam = 403 AND keys.n = i.indnatts AND h.reltuples >= 0
        THEN LEAST(b.bytes, 8192 + h.reltuples * (20 + keys.width) / 0.9) ELSE b.bytes END) AS packed
  FROM heaps h JOIN pg_index i ON i.indrelid = h.oid JOIN pg_class x ON x.oid = i.indexrelid
    LEFT JOIN keys ON keys.indexrelid = i.indexrelid,
    LATERAL (SELECT CASE WHEN h.bytes = 0 THEN current_setting('block_size')::float8 ELSE COALESCE(pg_relation_size(x.oid), 0)::float8 END AS bytes) b
  WHERE x.relkind = 'i' GROUP BY 1
)
SELECT h.nspname AS schema, h.relname AS name, CASE WHEN h.bytes = 0 THEN 0 ELSE COALESCE(pg_table_size(h.oid), 0)::float8 END AS "tableBytes",
       h.bytes AS "heapBytes",
       COALESCE(x.bytes, 0)::float8 AS "indexBytes", COALESCE(x.packed, 0)::float8 AS "packedIndexBytes",
       h.reltuples::float8 AS rows, COALESCE(substring(h.reloptions::text FROM 'fillfactor=(\\d+)')::float8, 100) AS fillfactor,
       CASE WHEN w.n = (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = h.oid AND a.attnum > 0 AND NOT a.attisdropped)
         THEN w.width::float8 END AS width,
       CASE WHEN t.live + t.dead > 0 THEN t.dead::float8 / (t.live + t.dead) ELSE 0 END AS dead
FROM heaps h CROSS JOIN LATERAL (SELECT COALESCE(pg_stat_get_live_tuples(h.oid), 0) AS live, COALESCE(pg_stat_get_dead_tuples(h.oid), 0) AS dead) t
  LEFT JOIN widths w ON w.oid = h.oid LEFT JOIN indexes x ON x.indrelid = h.oid`;

/** What the last VACUUM or ANALYZE counted: no lock needed, and older. */
const SIZES_BY_PAGES = `
SELECT n.nspname AS schema, c.relname AS name, 0::float8 AS dead, c.reltuples::float8 AS rows, NULL::float8 AS width,
       100::float8 AS fillfactor, NULL::float8 AS "packedIndexBytes",
       (c.relpages + COALESCE(t.relpages, 0)) * current_setting('block_size')::float8 AS "tableBytes",
       c.relpages * current_setting('block_size')::float8 AS "heapBytes",
       (SELECT COALESCE(sum(x.relpages), 0) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid)
         * current_setting('block_size')::float8 AS "indexBytes"
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND ${userSchema('n')}`;

const LARGE_OBJECT_BYTES = `SELECT pg_total_relation_size('pg_catalog.pg_largeobject')::float8 AS bytes`;

const readSizes = perDatabase(async (source) => {
  try {
    return await source.session.query<RelationSize & Record<string, unknown>>(SIZES);
  } catch (error) {
    if (sqlStateOf(error) !== SQLSTATE.lockNotAvailable) throw error;
    return source.session.query<RelationSize & Record<string, unknown>>(SIZES_BY_PAGES);
  }
});

/** Sizes of what the job moves. */
export async function readSourceSize(source: Database, options: JobOptions): Promise<SourceSize> {
  const rows = await readSizes(source);
  const large = largeObjectsInScope(options) ? (await source.one<{ bytes: number }>(LARGE_OBJECT_BYTES)).bytes : 0;
  return { relations: rows.filter((r) => dataInScope(options, r.schema, r.name)), largeObjectBytes: large };
}
