/** What every error of pgsluice carries, wherever it is shown: terminal, page, API, stored job. */
export interface ErrorReport {
  /** Stable, upper-case identifier, for instance `AUTHENTICATION_FAILED`. Never reused for another meaning. */
  readonly code: string;
  /** One plain sentence. Holds no password, no stack trace. */
  readonly message: string;
  /** The exact next step for the person who reads it: a command, a setting, an SQL statement. */
  readonly hint: string;
  /** True when the same call may succeed later with nothing changed by a person. */
  readonly retryable: boolean;
}

export interface PgsluiceErrorInput {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

/** The one error class. Rooms throw it; the command line and the server turn it into words, exit codes and problem+json. */
export class PgsluiceError extends Error {
  override readonly name = 'PgsluiceError';
  readonly code: string;
  readonly hint: string;
  readonly retryable: boolean;

  constructor(input: PgsluiceErrorInput) {
    super(input.message, input.cause === undefined ? undefined : { cause: input.cause });
    this.code = input.code;
    this.hint = input.hint;
    this.retryable = input.retryable ?? false;
  }

  report(): ErrorReport {
    return { code: this.code, message: this.message, hint: this.hint, retryable: this.retryable };
  }
}

/** Thrown when a job's AbortSignal has fired; `reason` says who asked (a person, a stop of the agent). */
export function cancelledError(reason: string): PgsluiceError {
  return new PgsluiceError({
    code: 'CANCELLED',
    message: reason,
    hint: 'Start the job again when you want it to run.',
  });
}

/** Throws the cancellation of `signal` as a PgsluiceError when it has fired. */
export function throwIfAborted(signal: AbortSignal): void {
  if (!signal.aborted) return;
  const reason: unknown = signal.reason;
  if (reason instanceof PgsluiceError) throw reason;
  throw cancelledError(typeof reason === 'string' ? reason : 'The job was cancelled.');
}
