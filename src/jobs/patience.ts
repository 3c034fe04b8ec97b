import { setTimeout as sleep } from 'node:timers/promises';
import { throwIfAborted } from '../errors.ts';
import { asReport } from './as-report.ts';

const longestPauseMs = 10_000;
const tellEveryMs = 60_000;

export interface Patience {
  readonly signal: AbortSignal;
  /** What is tried, for the log: a sentence's beginning. */
  readonly what: string;
  log(level: 'info' | 'warn', message: string): void;
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
