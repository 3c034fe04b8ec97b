import type { ErrorView, ResultEvent } from '../contract/event.ts';
import type { JobOptions } from '../contract/options.ts';
import { PgsluiceError } from '../errors.ts';

export const exitCodes = { done: 0, failed: 1, usage: 2, blocked: 3, different: 4, cancelled: 130 } as const;

const usageCodes = new Set([
  'WHICH_JOB',
  'USAGE',
  'SOURCE_MISSING',
  'TARGET_MISSING',
  'FOREGROUND_AGENT',
  'COMMANDS_NOT_ALLOWED',
  'PG_TOOLS_MISSING',
  'PG_TOOLS_TOO_OLD',
  'STATE_DIRECTORY_HELD',
  'STATE_DIRECTORY_UNUSABLE',
  'STATE_TOO_NEW',
  'SECRET_KEY_TOO_SHORT',
  'SECRET_KEY_WRONG',
  'PORT_IN_USE',
  'PORT_FORBIDDEN',
  'HOST_NOT_AVAILABLE',
  'UNAUTHORIZED',
  'ROLE_TOO_LOW',
  'TOKEN_TOO_SHORT',
  'INSECURE_DOOR',
  'TLS_FILES_UNUSABLE',
  'HOST_NOT_ALLOWED',
  'LOCAL_FILE_NOT_ALLOWED',
  'ARCHIVE_NOT_ALLOWED',
  'ARCHIVE_DIR_MISSING',
  'SERVER_UNREACHABLE',
  'NOTHING_TO_RESUME',
  'NOTHING_FOLLOWS',
  'NOT_A_LIVE_JOB',
]);

/** Exit code of an error that ended a command before or outside a job. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof PgsluiceError)) return exitCodes.failed;
  if (error.code === 'CANCELLED') return exitCodes.cancelled;
  const wrongUse = usageCodes.has(error.code) || error.code.startsWith('INVALID_') || error.code.endsWith('_NOT_FOUND');
  return wrongUse ? exitCodes.usage : exitCodes.failed;
}

/**
 * Exit code of a job's result. Completed, but not proven equal although that was asked for, is never 0: either
 * something differs or something could not be compared.
 */
export function exitCodeOfResult(
  result: Pick<ResultEvent, 'status' | 'verified' | 'differences'>,
  verify: JobOptions['verify'],
): number {
  switch (result.status) {
    case 'completed':
      if (result.differences.length > 0) return exitCodes.different;
      return result.verified || verify === 'none' ? exitCodes.done : exitCodes.different;
    case 'blocked':
      return exitCodes.blocked;
    case 'cancelled':
      return exitCodes.cancelled;
    case 'failed':
      return exitCodes.failed;
  }
}

/** What `--json` prints last. */
export type ResultLine = Omit<ResultEvent, 'type'> & { readonly type: 'result' };

export function emptyResult(status: ResultLine['status'], error: ErrorView | null): ResultLine {
  return { type: 'result', status, verified: false, tables: 0, rows: 0, bytes: 0, seconds: 0, differences: [], error };
}

/** The words a person gets for an error. What is no PgsluiceError shows its message only, never its stack. */
export function toErrorView(error: unknown): ErrorView {
  if (error instanceof PgsluiceError) return { code: error.code, message: error.message, hint: error.hint };
  const message = error instanceof Error && error.message !== '' ? error.message : String(error);
  return {
    code: 'INTERNAL',
    message: `pgsluice met an error it did not expect: ${message}`,
    hint: 'Run it again with PGSLUICE_LOG_LEVEL=debug and report what it prints.',
  };
}
