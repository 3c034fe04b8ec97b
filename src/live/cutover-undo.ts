import { setTimeout as sleep } from 'node:timers/promises';
import type { Guardrail } from '../contract/live.ts';
import { PgsluiceError } from '../errors.ts';
import { explainError } from '../postgres/explain.ts';
import { type Session, openSession } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { type Backend, endBackend } from './cutover-commit.ts';
import type { ReadOnlyState } from './fence-types.ts';
import { undoReadOnly, undoReadOnlySql } from './read-only.ts';

const UNDO_FOR_MS = 30_000;
const LOOK_EVERY_MS = 50;

type Log = (level: 'warn' | 'error', message: string) => void;

/** Resolves with `work`, or rejects with the signal's reason as soon as it fires. */
export async function bounded<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = new Promise<never>((_resolve, reject) => {
    const fail = (): void => reject(signal.reason instanceof Error ? signal.reason : new Error('cancelled'));
    if (signal.aborted) fail();
    else signal.addEventListener('abort', fail, { once: true });
  });
  return await Promise.race([work, aborted]);
}

/** Resolves when the process is gone, ended where need be: nothing that was sent to it takes effect any more. */
async function untilGone(session: Session, backend: Backend, signal: AbortSignal): Promise<void> {
  for (;;) {
    await endBackend(session, backend);
    const left = await session.query('SELECT FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2', [
      backend.pid,
      backend.startedAt,
    ]);
    if (left.length === 0) return;
    await sleep(LOOK_EVERY_MS, undefined, { signal });
  }
}

/**
 * Undoes the source's read-only default on a session of its own, whatever has become of the others; tried for half a minute.
 * `by`: who was told to set it and has not answered, which is ended first, for its statement may still be on the way.
 * @returns false when it did not succeed, which is told with the statement to run.
 */
export async function makeWritable(
  source: ConnectionSettings,
  state: ReadOnlyState,
  by: Backend | null,
  log: Log,
): Promise<boolean> {
  try {
    const signal = AbortSignal.timeout(UNDO_FOR_MS);
    const session = await openSession(source, {
      signal,
      side: 'source',
      purpose: 'cutover-undo',
      retryForMs: UNDO_FOR_MS,
    });
    try {
      if (by !== null) await untilGone(session, by, signal);
      await undoReadOnly(session, state);
    } finally {
      await session.close();
    }
    return true;
  } catch (error) {
    const statement = undoReadOnlySql(state);
    log(
      'error',
      `The source could not be made writable for new sessions again: ${asError(error).message} Run there: ${statement};`,
    );
    return false;
  }
}

/** A connection that was cut may leave its transaction, and the locks of it, behind on the target: ends it. */
export async function endTransaction(target: ConnectionSettings, backend: Backend, log: Log): Promise<void> {
  try {
    const signal = AbortSignal.timeout(UNDO_FOR_MS);
    const session = await openSession(target, { signal, side: 'target', purpose: 'cutover-undo' });
    try {
      await endBackend(session, backend);
    } finally {
      await session.close();
    }
  } catch (error) {
    log('warn', `The target could not be asked whether the rolled back transaction is gone: ${asError(error).message}`);
  }
}

/** Why a guardrail keeps the cutover from being started. Pure. */
export function refused(code: string, guardrail: Guardrail, retryable: boolean): PgsluiceError {
  return new PgsluiceError({
    code,
    message: `The cutover was not started: ${guardrail.found}`,
    hint: guardrail.remedy === '' ? 'Start the cutover again when this has passed.' : guardrail.remedy,
    retryable,
  });
}

/** Any error as one of ours. Pure. */
export function asError(error: unknown): PgsluiceError {
  return error instanceof PgsluiceError ? error : explainError(error, { side: 'target', doing: 'the cutover' });
}

/** As it is reported: a fence that came too late is a cutover that came too late. Pure. */
export function asCutoverError(error: unknown): PgsluiceError {
  const why = asError(error);
  if (why.code !== 'FENCE_TIMEOUT') return why;
  return new PgsluiceError({ ...why.report(), code: 'CUTOVER_TIMEOUT', cause: why });
}
