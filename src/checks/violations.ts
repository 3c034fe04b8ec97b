import { qualified, quoteIdent } from '../postgres/quote.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import { FIRST_USER_OID, userSchema } from './catalog.ts';
import { passed, skipped, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import type { Database } from './database.ts';
import { dataInScope } from './scope.ts';
import { NAMED, count, listNames } from './words.ts';
import type { JobOptions } from '../contract/options.ts';

/** A unique index or a foreign key whose rows can be looked at without its own index. */
export interface Probe {
  readonly kind: 'unique' | 'foreign';
  readonly schema: string;
  readonly table: string;
  /** The index or the constraint. */
  readonly name: string;
  readonly columns: readonly string[];
  /** Rows with a null are equal to others (UNIQUE NULLS NOT DISTINCT). */
  readonly nullsEqual: boolean;
  /** Of a foreign key: where it points. */
  readonly parent: {
    readonly schema: string;
    readonly table: string;
    readonly columns: readonly string[];
    readonly only: boolean;
  } | null;
  /** The table whose rows could break it has no page. */
  readonly empty: boolean;
  /** Bytes of all tables it reads, as the last VACUUM or ANALYZE counted them, or more by the rows counted since. */
  readonly bytes: number;
}

export interface ViolationFacts {
  readonly violated: readonly Probe[];
  readonly looked: number;
  /** Those that were left out because they are large, or because time was up. */
  readonly left: number;
}

/** One row when there is a violation. Pure. */
export function probeSql(probe: Probe, n: number): string {
  const table = `ONLY ${qualified(probe.schema, probe.table)}`;
  const columns = probe.columns.map(quoteIdent);
  if (probe.parent === null) {
    const known = probe.nullsEqual ? '' : ` WHERE ${columns.map((column) => `${column} IS NOT NULL`).join(' AND ')}`;
    return `SELECT ${n} AS n WHERE EXISTS (SELECT FROM ${table}${known} GROUP BY ${columns.join(', ')} HAVING count(*) > 1)`;
  }
  const { schema, table: name, columns: keys, only } = probe.parent;
  const parent = `${only ? 'ONLY ' : ''}${qualified(schema, name)}`;
  const pairs = columns.map((column, i) => `p.${quoteIdent(keys[i] ?? '')} = c.${column}`).join(' AND ');
  const known = columns.map((column) => `c.${column} IS NOT NULL`).join(' AND ');
  return `SELECT ${n} AS n WHERE EXISTS (SELECT FROM ${table} c WHERE ${known} AND NOT EXISTS (SELECT FROM ${parent} p WHERE ${pairs}))`;
}

const nameOf = (p: Probe): string => `${quoteIdent(p.name)} on ${qualified(p.schema, p.table)}`;

/** Pure. */
export function judgeViolations({ violated, looked, left }: ViolationFacts): Verdict {
  const rest =
    left === 0 ? '' : ` ${count(left, 'other')} ${left === 1 ? 'is' : 'are'} too large to be looked at here.`;
  if (violated.length === 0)
    return passed(`${count(looked, 'unique index or foreign key', 'unique indexes and foreign keys')} hold.${rest}`);
  const unique = violated.filter((p) => p.kind === 'unique');
  const foreign = violated.filter((p) => p.kind === 'foreign');
  const found = [
    ...(unique.length > 0
      ? [
          `Rows with the same key stand under ${count(unique.length, 'unique index', 'unique indexes')}, which must be corrupt: ${listNames(unique.map(nameOf))}.`,
        ]
      : []),
    ...(foreign.length > 0
      ? [
          `Rows point to rows that are not there, by ${count(foreign.length, 'foreign key')}: ${listNames(foreign.map(nameOf))}.`,
        ]
      : []),
    'The target will refuse them.',
  ];
  return warned(`${found.join(' ')}${rest}`, violated.slice(0, NAMED).map(remedyOf).join('\n'));
}

/** Only a person can say which rows are right: the statement shows them. */
function remedyOf(probe: Probe): string {
  const columns = probe.columns.map(quoteIdent);
  const table = qualified(probe.schema, probe.table);
  if (probe.parent === null)
    return `SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; SELECT ${columns.join(', ')}, array_agg(ctid) FROM ONLY ${table} GROUP BY ${columns.join(', ')} HAVING count(*) > 1; -- delete all but one of each, then: REINDEX INDEX ${qualified(probe.schema, probe.name)};`;
  const pairs = columns
    .map((column, i) => `p.${quoteIdent(probe.parent?.columns[i] ?? '')} = c.${column}`)
    .join(' AND ');
  return `SELECT c.ctid, c.* FROM ONLY ${table} c WHERE ${columns.map((c) => `c.${c} IS NOT NULL`).join(' AND ')} AND NOT EXISTS (SELECT FROM ${qualified(probe.parent.schema, probe.parent.table)} p WHERE ${pairs}); -- delete or correct these rows`;
}

/**
 * Whole indexes on columns with an operator class and collation of PostgreSQL's own, so that GROUP BY means what the index
 * means; foreign keys that compare by its own operators. Those of a partitioned table stand at its partitions.
 */
const PROBES = `
WITH pages AS (
  SELECT c.oid, n.nspname, c.relname, c.relkind, c.relkind = 'r' AND c.relpages = 0 AND pg_relation_size(c.oid) = 0 AS empty,
    GREATEST(pg_stat_get_live_tuples(c.oid) * 64.0::float8, current_setting('block_size')::float8 * CASE c.relkind WHEN 'r' THEN c.relpages
      ELSE (SELECT COALESCE(sum(x.relpages), 0) FROM pg_inherits h JOIN pg_class x ON x.oid = h.inhrelid WHERE h.inhparent = c.oid) END) AS bytes
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND ${userSchema('n')}
    AND has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AND NOT row_security_active(c.oid)
)
SELECT 'unique' AS kind, t.nspname AS schema, t.relname AS table, x.relname AS name,
  (SELECT json_agg(a.attname ORDER BY k.i) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, i)
   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
   WHERE k.i <= COALESCE((to_jsonb(i)->>'indnkeyatts')::int, i.indnatts)) AS columns,
  COALESCE((to_jsonb(i)->>'indnullsnotdistinct')::bool, false) AS "nullsEqual", NULL::json AS parent,
  t.empty, t.bytes
FROM pg_index i JOIN pages t ON t.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
WHERE i.indisunique AND i.indisvalid AND i.indisready AND i.indpred IS NULL AND i.indexprs IS NULL AND t.relkind = 'r' AND x.relam = 403
  AND NOT EXISTS (SELECT FROM unnest(i.indclass::oid[]) o WHERE o >= ${FIRST_USER_OID})
  AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[], i.indcollation::oid[]) k (attnum, coll)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE k.attnum < 1 OR (k.coll <> 0 AND (k.coll <> a.attcollation OR k.coll >= ${FIRST_USER_OID})))
UNION ALL
SELECT 'foreign', t.nspname, t.relname, k.conname,
  (SELECT json_agg(a.attname ORDER BY u.i) FROM unnest(k.conkey) WITH ORDINALITY u (attnum, i)
   JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum), false,
  json_build_object('schema', p.nspname, 'table', p.relname, 'only', p.relkind = 'r', 'columns',
    (SELECT json_agg(a.attname ORDER BY u.i) FROM unnest(k.confkey) WITH ORDINALITY u (attnum, i)
     JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum)),
  t.empty, t.bytes + p.bytes
FROM pg_constraint k JOIN pages t ON t.oid = k.conrelid JOIN pages p ON p.oid = k.confrelid
  LEFT JOIN pg_constraint up ON up.oid = k.conparentid
WHERE k.contype = 'f' AND k.convalidated AND t.relkind = 'r' AND (up.oid IS NULL OR up.confrelid = k.confrelid)
  AND COALESCE((to_jsonb(k)->>'conenforced')::bool, true) AND NOT COALESCE((to_jsonb(k)->>'conperiod')::bool, false)
  AND NOT EXISTS (SELECT FROM unnest(k.conpfeqop) o WHERE o >= ${FIRST_USER_OID})`;

/** Larger tables are not read only to look: the source has other work. */
const MOST_BYTES_EACH = 32 * 2 ** 20;
const MOST_BYTES = 256 * 2 ** 20;
const MOST_MS = 3_000;
const BATCH = 200;

/** Small enough, the smallest first, until all together are too much. Pure. */
export function chooseProbes(probes: readonly Probe[]): Probe[] {
  let bytes = 0;
  return probes
    .filter((probe) => probe.bytes <= MOST_BYTES_EACH)
    .toSorted((a, b) => a.bytes - b.bytes)
    .filter((probe) => {
      bytes += probe.bytes;
      return bytes <= MOST_BYTES;
    });
}

async function look(source: Database, probes: readonly Probe[]): Promise<{ violated: Probe[]; looked: number }> {
  const { session } = source;
  const until = performance.now() + MOST_MS;
  const violated: Probe[] = [];
  let looked = 0;
  await session.run(
    `BEGIN READ ONLY; SET LOCAL lock_timeout = '200ms'; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off`,
  );
  try {
    for (let i = 0; i < probes.length; i += BATCH) {
      const left = Math.floor(until - performance.now());
      if (left <= 0) break;
      const batch = probes.slice(i, i + BATCH);
      const asked = batch.map(probeSql).join('\nUNION ALL\n');
      try {
        await session.run(`SAVEPOINT look; SET LOCAL statement_timeout = ${left}`);
        const rows = await session.query<{ n: number }>(asked);
        violated.push(...rows.flatMap(({ n }) => batch[n] ?? []));
        looked += batch.length;
      } catch (error) {
        // Somebody holds a table, or time is up: what was not looked at is told as such.
        const state = sqlStateOf(error);
        if (state !== SQLSTATE.lockNotAvailable && state !== SQLSTATE.queryCanceled) throw error;
        await session.run('ROLLBACK TO look');
      }
    }
  } finally {
    if (session.usable) await session.run('ROLLBACK');
  }
  return { violated, looked };
}

const ofJob = (options: JobOptions, probe: Probe): boolean =>
  dataInScope(options, probe.schema, probe.table) &&
  (probe.parent === null || dataInScope(options, probe.parent.schema, probe.parent.table));

export const violationsCheck: Check = {
  id: 'objects.violations',
  severity: 'warns',
  title: 'Rows of the source keep its unique indexes and foreign keys (small tables are looked at).',
  needs: 'source',
  alone: true,
  run: async (source, { options }) => {
    if (options.dataOnly || options.schemaOnly)
      return skipped('The job does not restore rows and constraints together.');
    const probes = await source.session.query<Probe & Record<string, unknown>>(PROBES);
    const all = probes.filter((probe) => ofJob(options, probe));
    const some = all.filter((probe) => !probe.empty);
    const { violated, looked } = await look(source, chooseProbes(some));
    return judgeViolations({ violated, looked: looked + all.length - some.length, left: some.length - looked });
  },
};
