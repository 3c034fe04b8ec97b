import { setTimeout as sleep } from 'node:timers/promises';
import { throwIfAborted } from '../errors.ts';
import { asReport } from './as-report.ts';
import { asError, fateOf } from './live-fate.ts';
import type { RunContext } from './run-job.ts';

const longestPauseMs = 10_000;
const tellEveryMs = 60_000;

export interface Patience {
  readonly signal: AbortSignal;
  /** What is tried, for the log: a sentence's beginning. */
  readonly what: string;
  readonly log: (level: 'info' | 'warn', message: string) => void;
}

/**
 * Does `work` until it succeeds or fails with what does not pass by itself: a live job waits for its servers as long as it lives,
 * and says so.
 * @throws the signal's reason; the first error that is not retryable.
 */
export async function untilDone<T>(patience: Patience, work: () => Promise<T>): Promise<T> {
  const { signal, what, log } = patience;
  let toldAt = 0;
  for (let pause = 250; ; pause = Math.min(pause * 2, longestPauseMs)) {
    throwIfAborted(signal);
    try {
      return await work();
    } catch (error) {
      throwIfAborted(signal);
      const report = asReport(error);
      if (!report.retryable) throw error;
      if (Date.now() - toldAt > tellEveryMs) {
        toldAt = Date.now();
        log('warn', `${what} is not possible at the moment and is tried again: ${report.message}`);
      }
      await sleep(pause, undefined, { signal }).catch(() => throwIfAborted(signal));
    }
  }
}

/**
 * As {@link untilDone}; what does not pass by itself pauses the job until a person has resumed it, and is tried again then.
 * @throws the signal's reason; what is beyond repair (live-fate.ts).
 */
export async function untilAnswered<T>(
  context: Pick<RunContext, 'pauseWith' | 'gate'>,
  patience: Patience,
  work: () => Promise<T>,
): Promise<T> {
  for (;;) {
    try {
      return await untilDone(patience, work);
    } catch (error) {
      throwIfAborted(patience.signal);
      if (fateOf(error) === 'fail') throw error;
      await context.pauseWith(asError(error));
      await context.gate.wait(patience.signal);
    }
  }
}
