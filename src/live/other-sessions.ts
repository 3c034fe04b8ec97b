import { setTimeout as sleep } from 'node:timers/promises';
import { throwIfAborted } from '../errors.ts';
import type { Session } from '../postgres/session.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import type { OtherSession } from './fence-types.ts';

export interface StandingSession extends OtherSession {
  /** This role may end it (documentation, 9.28.2). */
  readonly endable: boolean;
}

/** Lock modes that conflict with SHARE, but for SHARE UPDATE EXCLUSIVE, which changes no row (documentation, table 13.2). */
export const WRITING_MODES = `('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')`;

/**
 * Condition that holds for sessions `a` of pg_stat_activity that are this agent's: same role, same client address and the same
 * first word in application_name. `$1` is the length of the asking session's purpose, which the server shows at the end of its name.
 */
const OURS = `(starts_with(a.application_name, left(current_setting('application_name'), -$1::int))
    AND a.usename = session_user AND a.client_addr IS NOT DISTINCT FROM inet_client_addr())`;

const COLUMNS = `a.pid, coalesce(a.usename::text, '') AS role, coalesce(a.application_name, '') AS application`;

/**
 * Clients and background workers of this database, walsenders and this agent's own sessions left out. Of other roles' sessions the server
 * shows process, role, name and xid, but neither kind nor age, to a role without pg_read_all_stats; processes without a role
 * (autovacuum) are no clients.
 */
const OTHERS = `
SELECT ${COLUMNS}, '' AS transaction, extract(epoch FROM a.xact_start) * 1000 AS since,
  m.rolsuper OR NOT coalesce(r.rolsuper, false)
    AND (pg_has_role(m.oid, 'pg_signal_backend', 'USAGE') OR r.oid IS NOT NULL AND pg_has_role(m.oid, r.oid, 'USAGE')) AS endable
FROM pg_stat_activity a
JOIN pg_roles m ON m.rolname = current_user
LEFT JOIN pg_roles r ON r.oid = a.usesysid
WHERE a.datname = current_database() AND a.usesysid IS NOT NULL AND a.pid <> pg_backend_pid()
  AND NOT EXISTS (SELECT FROM pg_stat_replication s WHERE s.pid = a.pid)
  AND NOT ${OURS}`;

/** A write that a read-only default refuses holds its lock for a moment, but never a transaction number. */
const WITH_NUMBER = `
  AND EXISTS (SELECT FROM pg_locks x WHERE x.virtualtransaction = l.virtualtransaction AND x.locktype = 'transactionid' AND x.granted AND x.pid = l.pid)`;

/** Other sessions that hold a writing lock on one of the tables `$2`, or with `granted` false wait for one. */
const ON_TABLES = (granted: boolean, numbered: boolean): string => `
SELECT ${COLUMNS}, l.virtualtransaction AS transaction,
  extract(epoch FROM min(coalesce((to_jsonb(l) ->> 'waitstart')::timestamptz, a.xact_start))) * 1000 AS since
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND ${granted ? '' : 'NOT '}l.granted AND l.mode IN ${WRITING_MODES}
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND l.relation = ANY ($2::oid[]) AND a.usesysid IS NOT NULL AND NOT ${OURS}${numbered ? WITH_NUMBER : ''}
GROUP BY 1, 2, 3, 4 ORDER BY 1`;

interface Row {
  pid: number;
  role: string;
  application: string;
  transaction: string;
  since: string | null;
}

const other = (row: Row): OtherSession => ({
  pid: row.pid,
  role: row.role,
  application: row.application,
  transaction: row.transaction,
  since: row.since === null ? null : Number(row.since),
});

/** `purpose`: that of `session`, as it was opened. */
export async function listOthers(session: Session, purpose: string): Promise<StandingSession[]> {
  const rows = await session.query<Row & { endable: boolean }>(OTHERS, [purpose.length]);
  return rows.map((row) => ({ ...other(row), endable: row.endable }));
}

/** `writing`: those that hold a writing lock; `written`: those of them that have a transaction number; `waiting`: those that wait for one. */
export async function listWriters(
  session: Session,
  purpose: string,
  tables: readonly { readonly oid: number }[],
  which: 'writing' | 'written' | 'waiting',
): Promise<OtherSession[]> {
  const oids = tables.map((table) => table.oid);
  return (await session.query<Row>(ON_TABLES(which !== 'waiting', which === 'written'), [purpose.length, oids])).map(
    other,
  );
}

/** `process 4711 (role app, "worker", for 12 s)`. Pure; `now` in ms since 1970. */
export function describeOther(session: OtherSession, now: number): string {
  const parts = [`role ${session.role}`];
  if (session.application !== '') parts.push(JSON.stringify(session.application));
  if (session.since !== null) parts.push(`for ${Math.max(0, Math.round((now - session.since) / 1000))} s`);
  return `process ${session.pid} (${parts.join(', ')})`;
}

const NAMED = 5;

/** The first few by name, and how many more. Pure. */
export function describeOthers(sessions: readonly OtherSession[], now: number): string {
  const more = sessions.length - NAMED;
  const named = sessions.slice(0, NAMED).map((session) => describeOther(session, now));
  return `${named.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** Ends the processes; those that this role may not end after all are left. */
export async function terminate(session: Session, pids: readonly number[]): Promise<void> {
  if (pids.length === 0) return;
  try {
    await session.query('SELECT pg_terminate_backend(p) FROM unnest($1::int[]) AS u(p)', [pids]);
    return;
  } catch (error) {
    if (sqlStateOf(error) !== SQLSTATE.insufficientPrivilege) throw error;
  }
  for (const pid of pids) {
    try {
      await session.query('SELECT pg_terminate_backend($1)', [pid]);
    } catch (error) {
      // One that may not be ended shows in the next list.
      if (sqlStateOf(error) !== SQLSTATE.insufficientPrivilege) throw error;
    }
  }
}

const POLL_MS = 20;

async function untilGone(session: Session, pids: readonly number[], until: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    const [row] = await session.query<{ left: string }>(
      'SELECT count(*) AS left FROM pg_stat_activity WHERE pid = ANY ($1::int[])',
      [pids],
    );
    if (row?.left === '0' || Date.now() >= until) return;
    await sleep(POLL_MS, undefined, { signal }).catch(() => throwIfAborted(signal));
  }
}

export interface EndOthersInput {
  readonly session: Session;
  readonly purpose: string;
  /** Pause before the second look in ms: a session that was starting in the first one shows by then. */
  readonly settleMs: number;
  /** ms since 1970 */
  readonly until: number;
  readonly signal: AbortSignal;
}

/**
 * Ends all other sessions of this database that this role may end, looks a second time for those that were just starting, and waits until
 * they are gone.
 * @returns how many were ended, and who of those first seen is still there.
 */
export async function endOthers(input: EndOthersInput): Promise<{ ended: number; left: readonly StandingSession[] }> {
  const { session, purpose, settleMs, until, signal } = input;
  const ended = new Set<number>();
  const kept = new Set<number>();
  for (let look = 1; look <= 2; look++) {
    if (look > 1 && settleMs > 0) {
      await sleep(settleMs, undefined, { signal }).catch(() => throwIfAborted(signal));
    }
    const others = await listOthers(session, purpose);
    const pids = others.filter((one) => one.endable).map((one) => one.pid);
    for (const one of others) if (!one.endable) kept.add(one.pid);
    await terminate(session, pids);
    await untilGone(session, pids, until, signal);
    for (const pid of pids) ended.add(pid);
  }
  const left = (await listOthers(session, purpose)).filter((one) => kept.has(one.pid) || ended.has(one.pid));
  return { ended: ended.size - left.filter((one) => ended.has(one.pid)).length, left };
}
