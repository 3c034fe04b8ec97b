import type { Session } from '../postgres/session.ts';

/** What a server process waits for, as pg_locks, pg_stat_activity and pg_prepared_xacts have it. */
export interface WaitedFor {
  /** Transaction id; null for a wait of another kind. */
  readonly xid: string | null;
  /** null for a prepared transaction. */
  readonly pid: number | null;
  readonly role: string | null;
  readonly database: string | null;
  /** null where this role may not see it. */
  readonly state: string | null;
  /** Begin of the transaction, or its PREPARE; null where this role may not see it. ms since 1970 */
  readonly sinceMs: number | null;
  /** Name of a prepared transaction. */
  readonly gid: string | null;
}

/**
 * A slot in the making waits for each transaction that runs (snapbuild.c, SnapBuildWaitSnapshot), one after the other, by the lock
 * that every transaction holds on its own id. A prepared one holds it without a process.
 */
const WAITED_FOR = `
SELECT w.transactionid::text AS xid, h.pid, COALESCE(a.usename, p.owner)::text AS role, COALESCE(a.datname, p.database)::text AS database,
       a.state, (extract(epoch FROM COALESCE(a.xact_start, p.prepared)) * 1000)::float8 AS "sinceMs", p.gid
FROM pg_locks w
LEFT JOIN pg_locks h ON h.granted AND h.locktype = w.locktype AND h.mode = 'ExclusiveLock'
  AND h.transactionid IS NOT DISTINCT FROM w.transactionid AND h.virtualxid IS NOT DISTINCT FROM w.virtualxid
LEFT JOIN pg_stat_activity a ON a.pid = h.pid
LEFT JOIN pg_prepared_xacts p ON p.transaction = w.transactionid
WHERE w.pid = $1 AND NOT w.granted AND w.locktype IN ('transactionid', 'virtualxid')
LIMIT 1`;

/** What the server process `pid` waits for now; null when for no transaction. */
export async function readWaitedFor(session: Session, pid: number): Promise<WaitedFor | null> {
  const [row] = await session.query<WaitedFor & Record<string, unknown>>(WAITED_FOR, [pid]);
  return row ?? null;
}

const DAY_MS = 86_400_000;

/** `12:03:05 UTC`, with the day when it was not within the last 24 hours. */
function clock(ms: number, nowMs: number): string {
  const iso = new Date(ms).toISOString();
  return `${nowMs - ms > DAY_MS ? `${iso.slice(0, 10)} ` : ''}${iso.slice(11, 19)} UTC`;
}

/** `waiting for transaction 1234 of process 5678 (role app, since 12:03:05 UTC, idle in transaction)`. Pure. */
export function describeWait(waited: WaitedFor, nowMs: number): string {
  const what = waited.xid === null ? 'a transaction' : `transaction ${waited.xid}`;
  const since = waited.sinceMs === null ? null : `since ${clock(waited.sinceMs, nowMs)}`;
  const details = [
    waited.role === null ? null : `role ${waited.role}`,
    waited.database === null ? null : `database ${waited.database}`,
    since,
    waited.state,
  ].filter((part) => part !== null);
  const who =
    waited.gid !== null ? `, prepared as '${waited.gid}'` : waited.pid === null ? '' : ` of process ${waited.pid}`;
  return `waiting for ${what}${who}${details.length === 0 ? '' : ` (${details.join(', ')})`}`;
}
