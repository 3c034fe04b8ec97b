import type { JobState } from '../contract/event.ts';
import type { JobAction } from '../contract/job.ts';
import { PgsluiceError } from '../errors.ts';

/**
 * Every way a job's state may change; what is not here cannot happen.
 *
 *   draft → validating → ready | blocked        ready → running → [following ⇄ cutting_over] → verifying → completed
 *   paused, failed, cancelled from any working state; blocked and failed go on by retry; completed and cancelled are final.
 */
export const transitions: Readonly<Record<JobState, readonly JobState[]>> = {
  draft: ['validating', 'cancelled'],
  validating: ['ready', 'blocked', 'paused', 'failed', 'cancelled'],
  ready: ['validating', 'running', 'cancelled'],
  blocked: ['validating', 'cancelled'],
  running: ['following', 'verifying', 'completed', 'paused', 'failed', 'cancelled'],
  following: ['cutting_over', 'verifying', 'paused', 'failed', 'cancelled'],
  cutting_over: ['following', 'verifying', 'completed', 'paused', 'failed', 'cancelled'],
  verifying: ['completed', 'paused', 'failed', 'cancelled'],
  paused: ['running', 'following', 'verifying', 'validating', 'failed', 'cancelled'],
  failed: ['running', 'validating', 'verifying', 'cancelled'],
  completed: [],
  cancelled: [],
};

/** In which states a person may ask for what. */
export const allowedActions: Readonly<Record<JobAction, readonly JobState[]>> = {
  validate: ['draft', 'ready', 'blocked'],
  start: ['draft', 'ready', 'blocked'],
  /** Comparing only while a job copies: past a cutover it is not (active-run.ts). */
  pause: ['running', 'following', 'verifying'],
  resume: ['paused'],
  cancel: [
    'draft',
    'validating',
    'ready',
    'blocked',
    'running',
    'following',
    'cutting_over',
    'verifying',
    'paused',
    'failed',
  ],
  retry: ['blocked', 'failed'],
  cutover: ['following'],
};

/** States in which an agent works on the job. */
export const workingStates = [
  'validating',
  'running',
  'following',
  'cutting_over',
  'verifying',
] as const satisfies readonly JobState[];

export function isWorking(state: JobState): boolean {
  return (workingStates as readonly JobState[]).includes(state);
}

/** States in which nothing happens until a person acts. */
export function isSettled(state: JobState): boolean {
  return !isWorking(state);
}

export function canMove(from: JobState, to: JobState): boolean {
  return transitions[from].includes(to);
}

/**
 * `method` null: it is not decided yet.
 * @throws PgsluiceError INVALID_TRANSITION, or NOT_A_LIVE_JOB for the cutover of a job that copies.
 */
export function assertAction(state: JobState, action: JobAction, method: 'copy' | 'live' | null): void {
  if (action === 'cutover' && method === 'copy') {
    throw new PgsluiceError({
      code: 'NOT_A_LIVE_JOB',
      message: 'This job copies once; there is no cutover to do.',
      hint: 'When it is completed, point your application at the target.',
    });
  }
  if (allowedActions[action].includes(state)) return;
  const possible = (Object.keys(allowedActions) as JobAction[]).filter((other) =>
    allowedActions[other].includes(state),
  );
  throw new PgsluiceError({
    code: 'INVALID_TRANSITION',
    message: `The job is ${state}; ${action} is not possible now.`,
    hint: possible.length === 0 ? 'This job is over. Create a new one.' : `Possible now: ${possible.join(', ')}.`,
  });
}
