import { setTimeout as sleep } from 'node:timers/promises';
import { throwIfAborted } from '../errors.ts';
import { parseLsn } from '../postgres/lsn.ts';
import { informed, passed, skipped, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { readServer } from './live-facts.ts';
import { count, formatAge, formatBytes, listNames } from './words.ts';

/** A status goes out at least every second; a server that waits less long than this ends connections over one slow round trip. */
const SHORT_SENDER_MS = 5_000;
const SMALL_KEEP_BYTES = 4 * 1024 ** 3;
const SHORT_IDLE_SECONDS = 86_400;

export interface Limits {
  readonly senderTimeout: number;
  readonly keepBytes: number | null;
  readonly mayLimit: boolean;
  readonly idleTimeout: number | null;
}

export function judgeLimits(limits: Limits, slotLimit: number): Verdict {
  const { senderTimeout, keepBytes, mayLimit, idleTimeout } = limits;
  const found: string[] = [];
  const remedies: string[] = [];
  if (keepBytes === null) {
    found.push(
      `${mayLimit ? 'max_slot_wal_keep_size is -1' : 'This version has no max_slot_wal_keep_size'}: nothing but this job bounds the WAL that its slot keeps. It gives the slot up at ${formatBytes(slotLimit)}, but only while the agent runs; when it is down for long, the source's disk may fill.`,
    );
    if (mayLimit)
      remedies.push(
        `ALTER SYSTEM SET max_slot_wal_keep_size = '${Math.floor(slotLimit / 2 ** 20)}MB'; SELECT pg_reload_conf(); -- what the disk can bear`,
      );
  } else if (keepBytes < Math.min(SMALL_KEEP_BYTES, slotLimit)) {
    found.push(
      `max_slot_wal_keep_size is ${formatBytes(keepBytes)}: the slot is lost, and the job with it, when the target falls behind by more.`,
    );
    remedies.push(
      `ALTER SYSTEM SET max_slot_wal_keep_size = '${Math.min(SMALL_KEEP_BYTES, slotLimit) / 2 ** 20}MB'; SELECT pg_reload_conf(); -- or more, what the disk can bear`,
    );
  }
  if (idleTimeout !== null && idleTimeout < SHORT_IDLE_SECONDS) {
    found.push(
      `idle_replication_slot_timeout is ${formatAge(idleTimeout)}: a job that is stopped for longer loses its slot.`,
    );
    remedies.push(`ALTER SYSTEM SET idle_replication_slot_timeout = '1d'; SELECT pg_reload_conf();`);
  }
  if (senderTimeout > 0 && senderTimeout < SHORT_SENDER_MS) {
    found.push(`wal_sender_timeout is ${senderTimeout} ms: a short delay on the line ends the connection.`);
    remedies.push(`ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();`);
  }
  if (found.length > 0) return warned(found.join(' '), remedies.join('\n'));
  return passed(
    `The slot may keep ${formatBytes(keepBytes ?? 0)} (max_slot_wal_keep_size), wal_sender_timeout is ${senderTimeout} ms.`,
  );
}

const limits: Check = {
  id: 'live.limits',
  severity: 'warns',
  title: "The server's limits on slots and senders suit a job that follows.",
  needs: 'source',
  run: async (source, { options }) => judgeLimits(await readServer(source), options.slotLimit),
};

export function judgeWalRate(bytesPerSecond: number, keepBytes: number | null, slotLimit: number): Verdict {
  const bound = Math.min(slotLimit, keepBytes ?? Number.POSITIVE_INFINITY);
  const found = `The source writes ${formatBytes(bytesPerSecond)} of WAL a second at the moment`;
  if (bytesPerSecond < 1) return informed(`${found}.`);
  return informed(
    `${found}: if nothing is followed, the ${formatBytes(bound)} that the slot may keep (${bound < slotLimit ? 'max_slot_wal_keep_size' : '--slot-limit'}) last ${formatAge(bound / bytesPerSecond)}.`,
  );
}

const RATE_MS = 2_000;
const POSITION = 'SELECT pg_current_wal_insert_lsn()::text AS lsn';

const walRate: Check = {
  id: 'live.wal-rate',
  severity: 'informs',
  title: 'How much WAL the source writes, and how long its slot may stand still.',
  needs: 'source',
  run: async (source, { options, signal }) => {
    if (source.identity.inRecovery) return skipped('A standby writes no WAL of its own.');
    const first = parseLsn((await source.one<{ lsn: string }>(POSITION)).lsn);
    const started = performance.now();
    await sleep(RATE_MS, undefined, { signal }).catch(() => throwIfAborted(signal));
    const last = parseLsn((await source.one<{ lsn: string }>(POSITION)).lsn);
    const rate = (Number(last - first) * 1000) / (performance.now() - started);
    return judgeWalRate(Math.round(rate), (await readServer(source)).keepBytes, options.slotLimit);
  },
};

/** A transaction that has written, in whatever database: the slot in the making waits for its end. */
export interface WritingTransaction {
  readonly pid: number | null;
  readonly role: string | null;
  readonly database: string | null;
  readonly state: string | null;
  /** Seconds; null where this role may not see it. */
  readonly age: number | null;
  /** Name of a prepared transaction. */
  readonly gid: string | null;
}

const LONG_SECONDS = 60;

export function judgeWriting(open: readonly WritingTransaction[]): Verdict {
  const long = open
    .filter((t) => t.gid !== null || (t.age !== null && t.age >= LONG_SECONDS))
    .toSorted((a, b) => (b.age ?? 0) - (a.age ?? 0));
  if (long.length === 0)
    return passed(
      open.length === 0
        ? 'No transaction that has written is open.'
        : `${count(open.length, 'transaction')} that ${open.length === 1 ? 'has' : 'have'} written ${open.length === 1 ? 'is' : 'are'} open, none known to be older than ${LONG_SECONDS} s.`,
    );
  const who = (t: WritingTransaction): string =>
    `${t.gid === null ? `process ${t.pid}` : `prepared '${t.gid}'`} (role ${t.role ?? 'unknown'}, database ${t.database ?? 'unknown'}${t.state === null ? '' : `, ${t.state}`}, for ${formatAge(t.age ?? 0)})`;
  return warned(
    `The slot can be made only after ${long.length === 1 ? 'this transaction is' : 'these transactions are'} over: ${listNames(long.map(who))}.`,
    long
      .map((t) =>
        t.gid === null
          ? `SELECT pg_terminate_backend(${t.pid});`
          : `ROLLBACK PREPARED '${t.gid.replaceAll("'", "''")}'; -- or COMMIT PREPARED, in database ${t.database ?? ''}`,
      )
      .join('\n'),
  );
}

/** Every transaction with an id holds a lock on it; a prepared one does so without a process. */
const WRITING = `
SELECT l.pid, COALESCE(a.usename, p.owner)::text AS role, COALESCE(a.datname, p.database)::text AS database, a.state,
       extract(epoch FROM now() - COALESCE(a.xact_start, p.prepared))::float8 AS age, p.gid
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid LEFT JOIN pg_prepared_xacts p ON p.transaction = l.transactionid
WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()`;

const longTransactions: Check = {
  id: 'live.long-transactions',
  severity: 'warns',
  title: 'No transaction holds up the making of the slot.',
  needs: 'source',
  run: async (source) =>
    judgeWriting(await source.session.query<WritingTransaction & Record<string, unknown>>(WRITING)),
};

export const liveWalChecks: readonly Check[] = [limits, walRate, longTransactions];
