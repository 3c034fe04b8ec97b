import type { LiveState } from '../contract/live.ts';
import { throwIfAborted } from '../errors.ts';
import { type Session, openSession } from '../postgres/session.ts';
import type { ConnectionSettings, Side } from '../postgres/settings.ts';
import { dropProgress } from './progress.ts';
import { dropPublication } from './publication.ts';
import { undoReadOnly } from './read-only.ts';
import { dropSlot } from './slot.ts';

export interface CleanUpInput {
  readonly source: ConnectionSettings;
  /** null: nothing was made on the target, or it is not to be looked at. */
  readonly target: ConnectionSettings | null;
  readonly job: string;
  readonly live: LiveState;
  readonly signal: AbortSignal;
  log(level: 'debug' | 'info' | 'warn', message: string): void;
}

export interface CleanUpOutcome {
  /** True when nothing of the job is left on either server. */
  readonly done: boolean;
  /** What is left and why, one sentence each; to be tried again later. */
  readonly left: string[];
}

const RETRY_MS = 3_000;

interface Step {
  /** As it reads after "could not be cleaned up: ". */
  readonly what: string;
  run(session: Session): Promise<void>;
}

/**
 * Sessions that an agent which died left behind: their application_name ends in the job's id (`pgsluice fence <job>`), so that
 * those of other jobs are never meant. The lock of a fence is gone with its session.
 */
const SESSIONS = `
SELECT pid, application_name AS application, pg_terminate_backend(pid) AS ended FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
  AND right(application_name, length($1) + 1) = ' ' || $1`;

function sourceSteps(input: CleanUpInput): Step[] {
  const { job, live, signal } = input;
  const { readOnly } = live;
  const steps: Step[] = [
    {
      what: 'sessions of the job on the source',
      run: async (session) => {
        const ended = await session.query<{ pid: number; application: string }>(SESSIONS, [job]);
        for (const one of ended)
          input.log('info', `Ended process ${one.pid} (${one.application}), left on the source.`);
      },
    },
    {
      what: `the slot ${live.slot} on the source`,
      run: (session) => dropSlot(session, live.slot, signal),
    },
    {
      what: `the publication ${live.publication} on the source`,
      run: (session) => dropPublication(session, live.publication, signal),
    },
  ];
  if (readOnly === null || live.keepReadOnly) return steps;
  const undo: Step = {
    what: `default_transaction_read_only of the source's database ${readOnly.database}`,
    run: (session) => undoReadOnly(session, readOnly),
  };
  // First of all: people wait for it.
  return [undo, ...steps];
}

async function onSide(
  settings: ConnectionSettings,
  side: Side,
  steps: readonly Step[],
  input: CleanUpInput,
): Promise<string[]> {
  const { signal } = input;
  const says = (step: Step, error: unknown): string => {
    throwIfAborted(signal);
    return `${step.what} could not be cleaned up: ${error instanceof Error ? error.message : String(error)}`;
  };
  const left: string[] = [];
  let session: Session | null = null;
  try {
    for (const step of steps) {
      try {
        if (session === null || session.lost)
          session = await openSession(settings, { signal, side, purpose: 'cleanup', retryForMs: RETRY_MS });
        await step.run(session);
      } catch (error) {
        left.push(says(step, error));
        if (session === null)
          return [...left, ...steps.slice(steps.indexOf(step) + 1).map((next) => says(next, error))];
      }
    }
    return left;
  } finally {
    await session?.close();
  }
}

/**
 * Removes everything that the job made on the servers: sessions, slot, publication and read-only default on the source (unless
 * `live.keepReadOnly`), its progress on the target. What is gone already counts as done, so it may be called again and again.
 * A side that is not reached keeps the other from nothing.
 * @throws only the signal's reason.
 */
export async function cleanUp(input: CleanUpInput): Promise<CleanUpOutcome> {
  const { source, target, job, live } = input;
  if (live.stage === 'cleaned') return { done: true, left: [] };
  const progress: Step = {
    what: 'the progress of the job on the target',
    run: (session) => dropProgress(session, job),
  };
  const left = [
    ...(await onSide(source, 'source', sourceSteps(input), input)),
    ...(target === null ? [] : await onSide(target, 'target', [progress], input)),
  ];
  return { done: left.length === 0, left };
}
