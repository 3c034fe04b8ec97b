import type { JobOptions } from '../contract/options.ts';
import { qualified } from '../postgres/quote.ts';
import { failed, passed, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { inScope } from './scope.ts';
import { count, formatAge, listNames } from './words.ts';

export interface OpenTransaction {
  /** `pid 123, user app, idle in transaction` or `prepared 'gid'`. */
  readonly who: string;
  /** Seconds since it began. */
  readonly age: number;
  readonly prepared: boolean;
  /** Statement that ends it. */
  readonly end: string;
  /** Tables of the job that nobody can read until it is over. */
  readonly locks: readonly { readonly schema: string; readonly name: string }[];
}

const LONG_SECONDS = 300;

const lockWords = (t: OpenTransaction): string =>
  t.locks.length === 0
    ? ''
    : `, locks ${listNames(
        t.locks.map((lock) => qualified(lock.schema, lock.name)),
        5,
      )}`;

/**
 * A prepared transaction ends only when somebody ends it, so one that locks a table of the job would stop the copy for good.
 * `unseen`: sessions of others that this role may not look into. Pure.
 */
export function judgeLongTransactions(open: readonly OpenTransaction[], unseen = 0): Verdict {
  const long = open.filter((t) => t.prepared || t.age >= LONG_SECONDS).toSorted((a, b) => b.age - a.age);
  const hidden =
    unseen === 0 ? '' : ` ${count(unseen, 'session')} of other roles cannot be looked into without pg_read_all_stats.`;
  if (long.length === 0)
    return passed(`No transaction on the source is older than 5 minutes, and none is prepared.${hidden}`);
  const blocking = long.filter((t) => t.prepared && t.locks.length > 0);
  if (blocking.length > 0)
    return failed(
      'TABLES_LOCKED',
      `${count(blocking.length, 'prepared transaction')} on the source ${blocking.length === 1 ? 'locks' : 'lock'} tables of the job until somebody ends ${blocking.length === 1 ? 'it' : 'them'}: ${listNames(blocking.map((t) => `${t.who}, since ${formatAge(t.age)}${lockWords(t)}`))}.`,
      blocking.map((t) => t.end).join('\n'),
    );
  return warned(
    `${count(long.length, 'transaction')} on the source ${long.length === 1 ? 'has' : 'have'} been open for long or ${long.length === 1 ? 'is' : 'are'} prepared: ${listNames(long.map((t) => `${t.who}, since ${formatAge(t.age)}${lockWords(t)}`))}. What they have not committed is not copied, and they may hold locks that make the copy wait.${hidden}`,
    long.map((t) => t.end).join('\n'),
  );
}

/** state is null for other roles' sessions without pg_read_all_stats, and so is xact_start. A prepared transaction holds its locks without a process. */
const OPEN = `
WITH x AS (
  SELECT format('pid %s, user %s, %s', pid, usename, state) AS who, xact_start AS since, false AS prepared,
         format('SELECT pg_terminate_backend(%s);', pid) AS "end", pid, NULL::text AS xid
  FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND state IS NOT NULL
    AND now() - xact_start > interval '${LONG_SECONDS} seconds'
  UNION ALL
  SELECT format('prepared %L', gid), prepared, true, format('ROLLBACK PREPARED %L; -- or COMMIT PREPARED', gid), NULL, transaction::text
  FROM pg_prepared_xacts WHERE database = current_database()
)
SELECT who, extract(epoch FROM now() - since)::float8 AS age, prepared, "end",
  COALESCE((SELECT json_agg(json_build_object('schema', n.nspname, 'name', c.relname) ORDER BY n.nspname, c.relname)
   FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'AccessExclusiveLock' AND c.relkind IN ('r', 'p', 'm', 'S')
     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
     AND (l.pid = x.pid OR (l.pid IS NULL AND l.virtualtransaction IN (
       SELECT own.virtualtransaction FROM pg_locks own
       WHERE own.pid IS NULL AND own.locktype = 'transactionid' AND own.transactionid::text = x.xid)))), '[]') AS locks
FROM x`;

const UNSEEN = `
SELECT count(*)::int AS n FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename IS NOT NULL AND state IS NULL AND query = '<insufficient privilege>'`;

const ofJob = (options: JobOptions, t: OpenTransaction): OpenTransaction => ({
  ...t,
  locks: t.locks.filter((lock) => inScope(options, { ...lock, relation: true })),
});

export const longTransactions: Check = {
  id: 'capacity.long-transactions',
  severity: 'blocks',
  title: 'No transaction on the source has been open for long, or would hold the copy up.',
  needs: 'source',
  run: async (source, { options }) => {
    const open = await source.session.query<OpenTransaction & Record<string, unknown>>(OPEN);
    const { n } = await source.one<{ n: number }>(UNSEEN);
    return judgeLongTransactions(
      open.map((t) => ofJob(options, t)),
      n,
    );
  },
};
