import { setTimeout as sleep } from 'node:timers/promises';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { type Session, backoffMs, openSession } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import { PROGRESS_SCHEMA } from './progress.ts';

/** Which server process runs the transaction, so that it can be told from a later one with the same number. */
export interface Backend {
  readonly pid: number;
  /** pg_stat_activity.backend_start, as text. */
  readonly startedAt: string;
}

const COMMIT_TIMEOUT_MS = 15_000;
const LOCK_TIMEOUT = '2s';
const ASK_ROUNDS_BEFORE_LOG = 3;

export async function backendOf(session: Session): Promise<Backend> {
  const [row] = await session.query<Backend>(
    'SELECT pid, backend_start::text AS "startedAt" FROM pg_stat_activity WHERE pid = pg_backend_pid()',
  );
  if (row === undefined) throw new Error('a session does not see itself in pg_stat_activity');
  return row;
}

/** Ends the process when it is still there, so that its transaction is over one way or the other. */
export async function endBackend(session: Session, backend: Backend): Promise<void> {
  await session.query(
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2',
    [backend.pid, backend.startedAt],
  );
}

/** Waits for a transaction that has changed the row and is still open. */
const FINISHED = `SELECT finished FROM ${PROGRESS_SCHEMA}.progress WHERE job = $1 FOR UPDATE`;

export interface CommitInput {
  readonly target: Session;
  readonly settings: ConnectionSettings;
  readonly backend: Backend;
  readonly job: string;
  /** Ends the asking, not the commit. */
  readonly signal: AbortSignal;
  readonly log: (level: 'warn' | 'info', message: string) => void;
  /** How long the answer may take, in ms. */
  readonly timeoutMs?: number;
}

/**
 * Commits the target's transaction. When the answer does not come, or is an error, the target itself is asked whether it is committed:
 * nobody guesses.
 * @returns when it is committed.
 * @throws why it is not; PgsluiceError CUTOVER_UNDECIDED when the signal fired before the target could be asked.
 */
export async function commitForSure(input: CommitInput): Promise<void> {
  const { target } = input;
  const over = new AbortController();
  try {
    const late = sleep(input.timeoutMs ?? COMMIT_TIMEOUT_MS, null, { signal: over.signal });
    late.catch(() => undefined);
    const committing = target.client.query('COMMIT');
    committing.catch(() => undefined);
    const result = await Promise.race([committing, late]);
    if (result === null) throw new Error('The target did not answer to COMMIT.');
    if (result.command === 'COMMIT') return;
    throw new Error(`The target answered ${result.command} to COMMIT.`);
  } catch (error) {
    const why = target.explain(error);
    input.log('warn', `The commit on the target is in doubt (${why.message}); asking the target.`);
    await target.close();
    if (await askFinished(input)) {
      input.log('info', 'The target has committed; its answer was lost.');
      return;
    }
    throw why;
  } finally {
    over.abort();
  }
}

async function askFinished(input: CommitInput): Promise<boolean> {
  const { settings, backend, job, signal, log } = input;
  for (let round = 1; ; round++) {
    try {
      throwIfAborted(signal);
      const session = await openSession(settings, { signal, side: 'target', purpose: 'cutover-ask' });
      try {
        await endBackend(session, backend);
        await session.run(`SET lock_timeout = '${LOCK_TIMEOUT}'`);
        const [row] = await session.query<{ finished: boolean }>(FINISHED, [job]);
        return row?.finished === true;
      } finally {
        await session.close();
      }
    } catch (error) {
      if (signal.aborted) throw undecided(error);
      if (sqlStateOf(error) === SQLSTATE.undefinedTable) throw error;
      if (round === ASK_ROUNDS_BEFORE_LOG || round % 30 === 0) {
        log(
          'warn',
          `Whether the target has committed is not known yet; writes stay stopped. ${error instanceof Error ? error.message : String(error)}`,
        );
      }
      await sleep(backoffMs(Math.min(round, 6), Math.random()), undefined, { signal }).catch(() => undefined);
    }
  }
}

function undecided(cause: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'CUTOVER_UNDECIDED',
    message:
      'The agent was stopped before the target could say whether it has taken over; writes on the source stay refused.',
    hint: 'Start the agent again: it asks the target and goes on from there.',
    retryable: true,
    cause,
  });
}
