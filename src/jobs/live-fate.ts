import type { JobOptions } from '../contract/options.ts';
import { PgsluiceError } from '../errors.ts';
import { asReport } from './as-report.ts';

/** What nobody can mend while the slot is kept; everything else is answered by a person, and the job goes on where it stopped. */
const beyondRepair: ReadonlySet<string> = new Set([
  'SLOT_LOST',
  'SLOT_GIVEN_UP',
  'TARGET_DIVERGED',
  'TARGET_WENT_BACK',
  'CUTOVER_SPLIT',
  'PROGRESS_MISSING',
  'PUBLICATION_MISSING',
  'INTERNAL',
]);

/** What becomes of a job whose following has ended with `error`. Pure. */
export function fateOf(error: unknown): 'fail' | 'pause' {
  return beyondRepair.has(asReport(error).code) ? 'fail' : 'pause';
}

/**
 * What becomes of a job after a cutover that was rolled back. One that nobody asked for is made again by itself, and stops every
 * writer of the source each time: so only after what passes by itself, or was found before any write was stopped. Pure.
 */
export function afterRollback(error: PgsluiceError, cutover: JobOptions['cutover']): 'again' | 'pause' | 'fail' {
  if (error.code === 'SCHEMA_DRIFT') return 'pause';
  if (cutover !== 'auto' || error.retryable || error.code === 'CUTOVER_BLOCKED') return 'again';
  return fateOf(error);
}

/** Pure. */
export function asError(error: unknown): PgsluiceError {
  return error instanceof PgsluiceError ? error : new PgsluiceError({ ...asReport(error), cause: error });
}

const firstAgainMs = 30_000;
const longestAgainMs = 600_000;

/** How long an automatic cutover waits after `failures` that were rolled back, in ms: longer from time to time. Pure. */
export function waitAfter(failures: number): number {
  return Math.min(longestAgainMs, firstAgainMs * 2 ** Math.max(0, failures - 1));
}
