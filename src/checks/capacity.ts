import type { JobOptions } from '../contract/options.ts';
import { qualified } from '../postgres/quote.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import { failed, informed, passed, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { userSchema } from './catalog.ts';
import { perDatabase } from './database.ts';
import type { Database } from './database.ts';
import { targetEmpty } from './empty.ts';
import { dataInScope, largeObjectsInScope } from './scope.ts';
import { count, formatAge, formatBytes, listNames } from './words.ts';

/** Bytes on the source's disk of one relation that has storage. */
export interface RelationSize {
  readonly schema: string;
  readonly name: string;
  /** Main and TOAST forks with their maps. */
  readonly tableBytes: number;
  readonly indexBytes: number;
  /** Share of dead rows, 0..1, by the server's statistics: a copy leaves them behind. */
  readonly dead: number;
}

export interface SourceSize {
  readonly relations: readonly RelationSize[];
  readonly largeObjectBytes: number;
}

/**
 * Sizes need ACCESS SHARE on each relation and wait for whoever holds it exclusively; our lock_timeout bounds that, and
 * SIZES_BY_PAGES stands in.
 * Generous where it cannot know: relations the statistics say nothing about count as free of dead rows.
 */
const SIZES = `
SELECT n.nspname AS schema, c.relname AS name, pg_table_size(c.oid)::float8 AS "tableBytes", pg_indexes_size(c.oid)::float8 AS "indexBytes",
       CASE WHEN COALESCE(s.n_live_tup + s.n_dead_tup, 0) > 0 THEN s.n_dead_tup::float8 / (s.n_live_tup + s.n_dead_tup) ELSE 0 END AS dead
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND ${userSchema('n')}`;

/** What the last VACUUM or ANALYZE counted: no lock needed, and older. */
const SIZES_BY_PAGES = `
SELECT n.nspname AS schema, c.relname AS name, 0::float8 AS dead,
       (c.relpages + COALESCE(t.relpages, 0)) * current_setting('block_size')::float8 AS "tableBytes",
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
async function readSourceSize(source: Database, options: JobOptions): Promise<SourceSize> {
  const rows = await readSizes(source);
  const large = largeObjectsInScope(options) ? (await source.one<{ bytes: number }>(LARGE_OBJECT_BYTES)).bytes : 0;
  return { relations: rows.filter((r) => dataInScope(options, r.schema, r.name)), largeObjectBytes: large };
}

const bytes = (r: RelationSize): number => r.tableBytes + r.indexBytes;

/** Bytes the rows, indexes and large objects will take on the target, dead rows left behind. */
export function estimateTargetBytes(size: SourceSize): number {
  return size.relations.reduce((sum, r) => sum + bytes(r) * (1 - r.dead), size.largeObjectBytes);
}

const LARGEST_NAMED = 5;

export function judgeSourceSize(size: SourceSize): Verdict {
  const total = size.relations.reduce((sum, r) => sum + bytes(r), size.largeObjectBytes);
  const largest = size.relations
    .filter((r) => bytes(r) > 0)
    .toSorted((a, b) => bytes(b) - bytes(a))
    .slice(0, LARGEST_NAMED)
    .map((r) => `${qualified(r.schema, r.name)} ${formatBytes(bytes(r))}`);
  const large = size.largeObjectBytes > 65_536 ? `, large objects ${formatBytes(size.largeObjectBytes)}` : '';
  const first = largest.length === 0 ? '' : ` The largest: ${largest.join(', ')}.`;
  return informed(
    `${formatBytes(total)} on the source's disk in ${count(size.relations.length, 'table')} with their indexes${large}.${first}`,
  );
}

const sourceSize: Check = {
  id: 'capacity.source-size',
  severity: 'informs',
  title: 'How much is moved.',
  needs: 'source',
  run: async (source, { options }) => judgeSourceSize(await readSourceSize(source, options)),
};

/** WAL that stands beside the data for a while: a share of what is written, at most about what the server keeps. */
const WAL_SHARE = 0.3;
const COMFORT = 1.25;

export interface DiskNeed {
  readonly dataBytes: number;
  /** max_wal_size of the target in bytes. */
  readonly maxWalBytes: number;
  /** As declared by a person; null when unknown. */
  readonly declaredBytes: number | null;
}

/** PostgreSQL has no function that tells free disk space, so the declared figure is what there is. */
export function judgeTargetDisk(need: DiskNeed): Verdict {
  const wal = Math.min(need.dataBytes * WAL_SHARE, need.maxWalBytes);
  const total = need.dataBytes + wal;
  const words = `About ${formatBytes(total)} is needed on the target: ${formatBytes(need.dataBytes)} of tables and indexes, ${formatBytes(wal)} of WAL meanwhile`;
  if (need.declaredBytes === null) {
    return informed(
      `${words}. What is free there is unknown: a server does not tell its free disk space.`,
      `--target-disk SIZE, with what your provider shows as free; ${Math.ceil((total * COMFORT) / 2 ** 30)} GiB would do`,
    );
  }
  const declared = formatBytes(need.declaredBytes);
  const remedy = `Give the target at least ${formatBytes(total * COMFORT)} of free disk, or leave tables out (--exclude-table-data).`;
  if (need.declaredBytes < total)
    return failed('TARGET_DISK_TOO_SMALL', `${words}; ${declared} was declared as free.`, remedy);
  if (need.declaredBytes < total * COMFORT)
    return warned(`${words}; ${declared} was declared as free, which is tight.`, remedy);
  return passed(`${words}; ${declared} was declared as free.`);
}

const MAX_WAL = `SELECT pg_size_bytes(current_setting('max_wal_size'))::float8 AS bytes`;

const targetDisk: Check = {
  id: 'capacity.target-disk',
  severity: 'blocks',
  title: "The target's disk has room for the data, its indexes and the WAL of the copy.",
  needs: 'both',
  side: 'target',
  run: async (source, target, { options }) =>
    judgeTargetDisk({
      dataBytes: estimateTargetBytes(await readSourceSize(source, options)),
      maxWalBytes: (await target.one<{ bytes: number }>(MAX_WAL)).bytes,
      declaredBytes: options.targetDisk,
    }),
};

export interface OpenTransaction {
  /** `pid 123, user app, idle in transaction` or `prepared "gid"`. */
  readonly who: string;
  /** Seconds since it began. */
  readonly age: number;
  readonly prepared: boolean;
  /** Statement that ends it. */
  readonly end: string;
}

const LONG_SECONDS = 300;

export function judgeLongTransactions(open: readonly OpenTransaction[]): Verdict {
  const long = open.filter((t) => t.prepared || t.age >= LONG_SECONDS).toSorted((a, b) => b.age - a.age);
  if (long.length === 0) return passed('No transaction on the source is older than 5 minutes, and none is prepared.');
  return warned(
    `${count(long.length, 'transaction')} on the source ${long.length === 1 ? 'has' : 'have'} been open for long or ${long.length === 1 ? 'is' : 'are'} prepared: ${listNames(long.map((t) => `${t.who}, since ${formatAge(t.age)}`))}. What they have not committed is not copied, and they may hold locks that make the copy wait.`,
    long.map((t) => t.end).join('\n'),
  );
}

/** state is null for other roles' sessions without pg_read_all_stats, and so is xact_start: those stay unseen. */
const LONG_TRANSACTIONS = `
SELECT format('pid %s, user %s, %s', pid, usename, state) AS who, extract(epoch FROM now() - xact_start)::float8 AS age, false AS prepared,
       format('SELECT pg_terminate_backend(%s);', pid) AS "end"
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND state IS NOT NULL
  AND now() - xact_start > interval '${LONG_SECONDS} seconds'
UNION ALL
SELECT format('prepared %L', gid), extract(epoch FROM now() - prepared)::float8, true, format('ROLLBACK PREPARED %L; -- or COMMIT PREPARED', gid)
FROM pg_prepared_xacts WHERE database = current_database()`;

const longTransactions: Check = {
  id: 'capacity.long-transactions',
  severity: 'warns',
  title: 'No transaction on the source has been open for long.',
  needs: 'source',
  run: async (source) =>
    judgeLongTransactions(await source.session.query<OpenTransaction & Record<string, unknown>>(LONG_TRANSACTIONS)),
};

export const capacityChecks: readonly Check[] = [sourceSize, targetDisk, targetEmpty, longTransactions];
