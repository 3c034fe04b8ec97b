import { setTimeout as sleep } from 'node:timers/promises';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import type { Session } from '../postgres/session.ts';
import { advisoryKey, holdingPurpose, jobOfName } from './names.ts';

/** Told what is waited for, in plain words. */
export type OnWait = (text: string) => void;

/** How long another session may hold the name before this one gives up, in ms. */
const PATIENCE_MS = 30_000;
/** After this long a session of the same job that still holds it is taken for one whose agent died, in ms. */
const TAKE_OVER_MS = 5_000;
const BETWEEN_TRIES_MS = 250;

/** The key of one bigint stands in two halves in pg_locks (PostgreSQL documentation, 54.12 "pg_locks": classid, objid, objsubid 1). */
const HOLDER = `
SELECT a.pid, a.application_name AS application FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND ((l.classid::int8 << 32) | l.objid::int8) = $1::int8 AND l.pid <> pg_backend_pid()`;

interface Holder {
  readonly pid: number;
  readonly application: string;
}

/** Tries once; true when the name is this session's until it gives it back or ends. */
export async function tryNameLock(session: Session, name: string): Promise<boolean> {
  const [row] = await session.query<{ taken: boolean }>('SELECT pg_try_advisory_lock($1::int8) AS taken', [
    advisoryKey(name).toString(),
  ]);
  return row?.taken === true;
}

export async function giveNameLockBack(session: Session, name: string): Promise<void> {
  await session.query('SELECT pg_advisory_unlock($1::int8)', [advisoryKey(name).toString()]);
}

async function takeNameLock(session: Session, name: string, signal: AbortSignal, onWait: OnWait): Promise<void> {
  const started = Date.now();
  for (;;) {
    if (await tryNameLock(session, name)) return;
    const waited = Date.now() - started;
    const [holder] = await session.query<Holder & Record<string, unknown>>(HOLDER, [advisoryKey(name).toString()]);
    const who = holder === undefined ? 'another session' : `process ${holder.pid} (${holder.application})`;
    if (waited > PATIENCE_MS) {
      throw new PgsluiceError({
        code: 'SLOT_BUSY',
        message: `${who} has been making or dropping the slot ${name} on the source for ${PATIENCE_MS / 1000} s.`,
        hint:
          holder === undefined
            ? 'Retry the job.'
            : `See that no other agent works on this job, or end that session on the source: SELECT pg_terminate_backend(${holder.pid}); then retry.`,
        retryable: true,
      });
    }
    onWait(`waiting for ${who}, which makes or drops the slot ${name}`);
    const job = jobOfName(name);
    const left = job !== null && holder?.application.endsWith(` ${holdingPurpose('slot', job)}`) === true;
    if (left && waited > TAKE_OVER_MS) await session.query('SELECT pg_terminate_backend($1)', [holder.pid]);
    await sleep(BETWEEN_TRIES_MS, undefined, { signal }).catch(() => throwIfAborted(signal));
  }
}

/**
 * Runs `work` while no other agent makes or drops what bears the name, in this database. A session that this very job left behind
 * is ended after 5 s. @throws PgsluiceError SLOT_BUSY after 30 s; the signal's reason; what `work` throws.
 */
export async function withNameLock<T>(
  session: Session,
  name: string,
  signal: AbortSignal,
  onWait: OnWait,
  work: () => Promise<T>,
): Promise<T> {
  await takeNameLock(session, name, signal, onWait);
  let failed = true;
  try {
    const answer = await work();
    failed = false;
    return answer;
  } finally {
    // A session that is lost or closed has given the lock back by its end; what `work` threw is what counts.
    const giving = giveNameLockBack(session, name);
    await (failed ? giving.catch(() => undefined) : giving);
  }
}
