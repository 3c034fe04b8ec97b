import { type ErrorReport, PgsluiceError } from '../errors.ts';

/** Any failure in the words of our errors; one that is not ours is a fault of the program and says so. Pure. */
export function asReport(error: unknown): ErrorReport {
  if (error instanceof PgsluiceError) return error.report();
  return {
    code: 'INTERNAL',
    message: `An unexpected fault: ${error instanceof Error ? error.message : String(error)}`,
    hint: 'Please report it with the log of this job.',
    retryable: false,
  };
}
