import type { LiveState } from '../contract/live.ts';
import type { LogLevel } from '../contract/event.ts';
import type { Endpoints } from './job-view.ts';
import type { JobRooms } from './rooms.ts';

export interface CleaningInput {
  readonly rooms: JobRooms;
  readonly job: string;
  readonly endpoints: Endpoints;
  readonly state: LiveState;
  /** How long it may take, in ms. */
  readonly ms: number;
  /** Ends it early. */
  readonly signal?: AbortSignal;
  readonly log: (level: LogLevel, message: string) => void;
  /** Stores that nothing is left. */
  save(state: LiveState): Promise<void>;
}

/**
 * Takes off both servers what a live job has made there; may be repeated at any time. Answers whether nothing is left. Never
 * rejects but when the result cannot be stored: a server that is not reached is told of, and tried again by the sweep.
 */
export async function cleanLive(input: CleaningInput): Promise<boolean> {
  const { rooms, job, endpoints, state, log } = input;
  const bound = AbortSignal.timeout(input.ms);
  const signal = input.signal === undefined ? bound : AbortSignal.any([bound, input.signal]);
  const { done, left } = await rooms.live
    .cleanUp({ ...endpoints, job, live: state, signal, log })
    .catch((error: unknown) => ({ done: false, left: [error instanceof Error ? error.message : String(error)] }));
  if (done) {
    await input.save({ ...state, stage: 'cleaned', readOnly: state.keepReadOnly ? state.readOnly : null });
    return true;
  }
  log(
    'warn',
    `Not everything could be taken off the servers: ${left.join(' ')} The agent tries again when it starts and every minute.`,
  );
  return false;
}
