import { setTimeout as sleep } from 'node:timers/promises';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { qualified, quoteLiteral } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import type { FencePlan, FencedTable } from './fence-types.ts';
import { WRITING_MODES } from './other-sessions.ts';

/** Tables in one LOCK statement. */
const CHUNK = 500;
const POLL_MS = 25;
/** How long a moment is watched for in which nobody holds any of the tables. */
const LURK_MS = 250;
/** How often it is looked whether an attempt has become hopeless. */
const WATCH_MS = 10;
/**
 * Random pause before the next attempt, at most; it doubles from the first value to the second. Not after a circle: that one has cost
 * nobody more than moments, and whether the next attempt meets one is a matter of luck.
 */
const FIRST_PAUSE_MS = 60;
const LONGEST_PAUSE_MS = 1000;
const VACUUM_GRACE_MS = 500;

const GIVEN_WAY: ReadonlySet<string> = new Set([
  SQLSTATE.lockNotAvailable,
  SQLSTATE.queryCanceled,
  SQLSTATE.deadlockDetected,
]);

/** The language is dropped, or not for this role: then there is no lurking. */
const NO_PLPGSQL: ReadonlySet<string> = new Set([SQLSTATE.undefinedObject, SQLSTATE.insufficientPrivilege]);

/** Who keeps the locks from us: sessions and prepared transactions. The server may hide role and age from this role. */
const HOLDERS = `
SELECT l.virtualtransaction AS vxid, l.pid, coalesce(a.usename::text, '') AS role, a.application_name AS application,
  extract(epoch FROM a.xact_start) * 1000 AS since, min(n.nspname || '.' || c.relname) AS "table",
  bool_and(l.mode = 'ShareUpdateExclusiveLock') AS maintenance
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND (l.mode = 'ShareUpdateExclusiveLock' OR l.mode IN ${WRITING_MODES})
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND l.relation = ANY ($1::oid[]) AND l.pid IS DISTINCT FROM $2
GROUP BY 1, 2, 3, 4, 5 ORDER BY since NULLS LAST, l.pid`;

interface Holder {
  readonly vxid: string;
  /** null: a prepared transaction. */
  readonly pid: number | null;
  readonly role: string;
  readonly application: string | null;
  readonly since: string | null;
  readonly table: string;
  /** Vacuum, ANALYZE, CREATE INDEX CONCURRENTLY: changes no row, yet conflicts. */
  readonly maintenance: boolean;
}

export interface TakeLocksInput {
  /** Will hold the locks. */
  readonly holder: Session;
  /** Looks at who is in the way. */
  readonly watcher: Session;
  readonly plan: FencePlan;
  readonly signal: AbortSignal;
  /** ms since 1970 */
  readonly deadlineAt: number;
  readonly onState: (text: string) => void;
  readonly now: () => number;
}

/** `process 4711 (role app, on shop.orders, in a transaction for 12 s)`. Pure. */
export function describeHolder(holder: Holder, now: number): string {
  const on = `on ${holder.table}`;
  if (holder.pid === null) return `a prepared transaction (${on}; see pg_prepared_xacts)`;
  const who = holder.role === '' ? 'a process of the server, such as autovacuum' : `role ${holder.role}`;
  const age =
    holder.since === null
      ? ''
      : `, in a transaction for ${Math.max(0, Math.round((now - Number(holder.since)) / 1000))} s`;
  return `process ${holder.pid} (${who}, ${on}${age})`;
}

/** Random pause in ms that grows with the attempt; `random` in 0..1. Pure. */
export function pauseBefore(attempt: number, random: number): number {
  return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(attempt - 1, 10)) * (0.5 + random / 2);
}

/**
 * The table that could not be had goes first. In time the order becomes the one in which the application itself locks, and then those
 * who hold one table never wait for another that is ours. Pure.
 */
export function nextOrder(order: readonly FencedTable[], stuckAt: number | null): readonly FencedTable[] {
  const first = order.filter((table) => table.oid === stuckAt);
  return first.length === 0 ? order : [...first, ...order.filter((table) => table.oid !== stuckAt)];
}

/**
 * Takes SHARE locks on all tables in one transaction of `holder`, which stays open. While some locks are held, others are waited for less
 * than deadlock_timeout in all: a session that has come to wait for us then never finds a deadlock before we give way, and is never
 * its victim. (The check runs once a wait, after deadlock_timeout: documentation, 20.12.)
 * @returns the attempts it took and when the last one began.
 * @throws PgsluiceError FENCE_TIMEOUT with who was in the way; what the server refuses.
 */
export async function takeLocks(input: TakeLocksInput): Promise<{ attempts: number; startedAt: number }> {
  const { holder, watcher, plan, signal, deadlineAt, onState, now } = input;
  const oids = plan.tables.map((table) => table.oid);
  const inTheWay = (): Promise<Holder[]> => watcher.query<Holder>(HOLDERS, [oids, holder.processId]);
  let seen = 'writers that came and went';
  let order = plan.tables;
  for (let attempt = 1; ; attempt++) {
    throwIfAborted(signal);
    await sendVacuumsAway(input, await inTheWay());
    const startedAt = now();
    onState(attempt === 1 ? `Locking ${oids.length} tables.` : `Locking ${oids.length} tables, attempt ${attempt}.`);
    const result = await watched(input, oids, tryOnce(holder, plan, order));
    if (result.held) return { attempts: attempt, startedAt };
    order = nextOrder(order, result.stuckAt);
    const holders = await inTheWay();
    if (holders.length > 0)
      seen = holders
        .slice(0, 3)
        .map((one) => describeHolder(one, now()))
        .join(', ');
    const give = (): void => {
      if (now() < deadlineAt) return;
      throw new PgsluiceError({
        code: 'FENCE_TIMEOUT',
        message: `The source's tables could not be locked against writes in time, after ${attempt} attempts; in the way: ${seen}.`,
        hint: 'Let that transaction end (or end it: SELECT pg_terminate_backend(<process>);), or raise --cutover-timeout, and start the cutover again.',
        retryable: true,
      });
    };
    give();
    // A try while one of them still holds its lock would only make writers queue behind us.
    const vxids = holders.map((one) => one.vxid);
    onState(`Waiting for ${seen}.`);
    while (vxids.length > 0 && (await stillThere(watcher, oids, vxids))) {
      give();
      await sleep(POLL_MS, undefined, { signal }).catch(() => throwIfAborted(signal));
    }
    if (result.circle) {
      const patience = Math.min(LURK_MS, Math.max(1, Math.floor(deadlineAt - now())));
      const since = await lurk(holder, order, patience, now);
      if (since !== null) return { attempts: attempt + 1, startedAt: since };
    }
    await sleep(pauseBefore(result.circle ? 1 : attempt, Math.random()), undefined, { signal }).catch(() =>
      throwIfAborted(signal),
    );
    give();
  }
}

/** What the holder waits for, and whether whoever holds that waits for one of the fence's tables: then neither can go on. */
const STUCK = `
WITH locks AS MATERIALIZED (
  SELECT pid, relation, granted, mode FROM pg_locks
  WHERE locktype = 'relation' AND database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
)
SELECT w.relation::text AS oid, EXISTS (
  SELECT FROM locks h JOIN locks b ON b.pid = h.pid AND NOT b.granted AND b.relation = ANY ($2::oid[])
  WHERE h.relation = w.relation AND h.granted AND h.pid <> w.pid AND h.mode IN ${WRITING_MODES}) AS hopeless
FROM locks w WHERE w.pid = $1 AND NOT w.granted`;

async function stillThere(watcher: Session, oids: readonly number[], vxids: readonly string[]): Promise<boolean> {
  const rows = await watcher.query(
    `SELECT FROM pg_locks WHERE granted AND locktype = 'relation' AND virtualtransaction = ANY ($1) AND relation = ANY ($2::oid[])
       AND mode <> 'AccessShareLock' AND mode <> 'RowShareLock' AND mode <> 'ShareLock' LIMIT 1`,
    [vxids, oids],
  );
  return rows.length > 0;
}

type Attempt =
  | { readonly held: true }
  /** `circle`: a session that held what we waited for waited for us. */
  | { readonly held: false; readonly stuckAt: number | null; readonly circle: boolean };

/**
 * Looks on while `work` locks, and cancels it as soon as it is in a circle with a session that waits for us: giving way at once costs
 * that session milliseconds instead of the whole patience.
 */
async function watched(input: TakeLocksInput, oids: readonly number[], work: Promise<boolean>): Promise<Attempt> {
  const { holder, watcher } = input;
  const over = new AbortController();
  let stuckAt: number | null = null;
  let circle = false;
  const done = work.finally(() => over.abort());
  const watching = async (): Promise<void> => {
    for (;;) {
      await sleep(WATCH_MS, undefined, { signal: over.signal }).catch(() => undefined);
      if (over.signal.aborted) return;
      const [row] = await watcher.query<{ oid: string; hopeless: boolean }>(STUCK, [holder.processId, oids]);
      if (row === undefined) continue;
      stuckAt = Number(row.oid);
      circle = row.hopeless;
      if (circle) return await holder.cancelRunning();
    }
  };
  const [held] = await Promise.all([done, watching()]);
  return held ? { held } : { held, stuckAt, circle };
}

/** True when everything is locked; false when we gave way, with nothing locked. */
async function tryOnce(holder: Session, plan: FencePlan, tables: readonly FencedTable[]): Promise<boolean> {
  const startedAt = performance.now();
  try {
    await holder.run('BEGIN ISOLATION LEVEL READ COMMITTED');
    for (let at = 0; at < tables.length; at += CHUNK) {
      const names = tables.slice(at, at + CHUNK).map((table) => `ONLY ${qualified(table.schema, table.name)}`);
      const left = Math.floor(plan.giveUpMs - (performance.now() - startedAt));
      // lock_timeout counts anew for every table, so statement_timeout bounds the waits of a chunk together.
      const patience = at === 0 || left > 0 ? Math.max(1, left) : null;
      await holder.run(
        patience === null
          ? `SET LOCAL statement_timeout = 0; LOCK TABLE ${names.join(', ')} IN SHARE MODE NOWAIT`
          : `SET LOCAL lock_timeout = ${patience}; SET LOCAL statement_timeout = ${patience}; LOCK TABLE ${names.join(', ')} IN SHARE MODE`,
      );
    }
    await holder.run('SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0');
    return true;
  } catch (error) {
    // The locks went with the failed statement already; this only ends the failed transaction.
    if (!holder.lost) await holder.run('ROLLBACK');
    const state = sqlStateOf(error);
    if (state !== null && GIVEN_WAY.has(state)) return false;
    if (state === SQLSTATE.undefinedTable || state === SQLSTATE.invalidSchemaName) throw gone(error);
    throw error;
  }
}

/**
 * Where writers lock in opposite orders, every wait for the second table meets one that waits for the first. So the server itself tries
 * again and again to lock all at once without waiting, which keeps nobody; each try that fails lets go of everything.
 * @returns since when all is locked, ms since 1970; null when no such moment came.
 */
async function lurk(
  holder: Session,
  tables: readonly FencedTable[],
  patienceMs: number,
  now: () => number,
): Promise<number | null> {
  const names = tables.map((table) => `ONLY ${qualified(table.schema, table.name)}`).join(', ');
  const body = `DECLARE until timestamptz := clock_timestamp() + interval '${patienceMs} ms';
BEGIN
  LOOP
    BEGIN
      LOCK TABLE ${names} IN SHARE MODE NOWAIT;
      PERFORM set_config('pgsluice.fenced_at', clock_timestamp()::text, true);
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      IF clock_timestamp() > until THEN RAISE; END IF;
    END;
    PERFORM pg_sleep(0.001);
  END LOOP;
END`;
  try {
    await holder.run(`BEGIN ISOLATION LEVEL READ COMMITTED; DO LANGUAGE plpgsql ${quoteLiteral(body)}`);
    const askedAt = now();
    const [row] = await holder.query<{ ms: string }>(
      `SELECT extract(epoch FROM clock_timestamp() - current_setting('pgsluice.fenced_at')::timestamptz) * 1000 AS ms`,
    );
    return Math.floor(askedAt - Number(row?.ms ?? 0));
  } catch (error) {
    if (!holder.lost) await holder.run('ROLLBACK');
    const state = sqlStateOf(error);
    if (state !== null && (GIVEN_WAY.has(state) || NO_PLPGSQL.has(state))) return null;
    if (state === SQLSTATE.undefinedTable || state === SQLSTATE.invalidSchemaName) throw gone(error);
    throw error;
  }
}

function gone(cause: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'SCHEMA_DRIFT',
    message: `A table that is followed is no longer on the source: ${cause instanceof Error ? cause.message : String(cause)}`,
    hint: 'Drop it on the target as well, or create it again on the source, and resume the job.',
    cause,
  });
}

/**
 * An autovacuum gives way to whoever has waited for it for deadlock_timeout, longer than we ever wait while holding locks. So it is
 * waited for with nothing held, in the mode that no reader and no writer conflicts with.
 */
async function sendVacuumsAway(input: TakeLocksInput, holders: readonly Holder[]): Promise<void> {
  const { holder, plan, deadlineAt, now, onState } = input;
  const names = new Set(holders.filter((one) => one.maintenance).map((one) => one.table));
  for (const table of plan.tables) {
    if (!names.has(`${table.schema}.${table.name}`)) continue;
    const patience = Math.min(plan.deadlockTimeoutMs + VACUUM_GRACE_MS, Math.floor(deadlineAt - now()));
    if (patience <= 0) return;
    onState(`Waiting for a vacuum of ${table.schema}.${table.name}; writers go on.`);
    try {
      await holder.run(
        `BEGIN; SET LOCAL lock_timeout = ${patience}; LOCK TABLE ONLY ${qualified(table.schema, table.name)} IN SHARE UPDATE EXCLUSIVE MODE; ROLLBACK`,
      );
    } catch (error) {
      if (!holder.lost) await holder.run('ROLLBACK');
      const state = sqlStateOf(error);
      // What does not give way is told as being in the way.
      if (state !== SQLSTATE.lockNotAvailable && state !== SQLSTATE.undefinedTable) throw error;
    }
  }
}
