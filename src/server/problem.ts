import { HTTPException } from 'hono/http-exception';
import type { z } from '@hono/zod-openapi';
import type { Problem } from '../contract/job.ts';
import { PgsluiceError } from '../errors.ts';

/** One field that the request got wrong; `path` is written as in the request body, for instance `source.port`. */
export interface FieldProblem {
  readonly path: string;
  readonly message: string;
}

/** Problem details of RFC 9457 with our members; `errors` stands only beside code INVALID_REQUEST. */
export interface ProblemBody extends Problem {
  readonly errors?: readonly FieldProblem[];
}

const titles: Readonly<Record<number, string>> = {
  400: 'The request is not valid',
  401: 'A token is needed',
  403: 'Not allowed here',
  404: 'Not found',
  405: 'Method not allowed here',
  409: 'The job does not allow that now',
  413: 'The request is too large',
  415: 'Content type not understood',
  422: 'The request cannot be carried out',
  429: 'Too many wrong tokens',
  431: 'The request is too large',
  500: 'Something went wrong inside the agent',
  503: 'Not available right now',
};

const statusByCode: Readonly<Record<string, number>> = {
  UNAUTHORIZED: 401,
  ORIGIN_NOT_ALLOWED: 403,
  CLIENT_NOT_ALLOWED: 403,
  ROLE_TOO_LOW: 403,
  SHARE_SHOWS_ONE_JOB: 403,
  HOST_NOT_ALLOWED: 403,
  LOCAL_FILE_NOT_ALLOWED: 403,
  ARCHIVE_NOT_ALLOWED: 403,
  TOO_MANY_FAILURES: 429,
  COMMANDS_NOT_ALLOWED: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  INVALID_TRANSITION: 409,
  NOT_A_LIVE_JOB: 409,
  CUTOVER_BLOCKED: 409,
  CUTOVER_NOT_BEGUN: 409,
  ALREADY_HANDED_OVER: 409,
  FOREGROUND_AGENT: 409,
  JOB_RUNNING: 409,
  CHECK_NOT_A_WARNING: 409,
  CHECK_NOT_ALONE: 409,
  JOB_LEFT_TRACES: 409,
  JOB_HELD_ELSEWHERE: 409,
  REPORT_NOT_READY: 409,
  PASSWORDS_FORGOTTEN: 409,
  SECRET_KEY_ROTATED: 503,
  BODY_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  INTERNAL: 500,
  STOPPING: 503,
  NOT_READY: 503,
};

/** HTTP status of an error code. Codes that are not listed follow their form, and whether a repetition may help. */
export function statusOf(error: { readonly code: string; readonly retryable: boolean }): number {
  const listed = statusByCode[error.code];
  if (listed !== undefined) return listed;
  if (error.code.endsWith('_NOT_FOUND')) return 404;
  if (error.code.startsWith('INVALID_')) return 400;
  return error.retryable ? 503 : 422;
}

export function problem(status: number, error: { code: string; message: string; hint: string }): ProblemBody {
  return {
    type: `urn:pgsluice:error:${error.code}`,
    title: titles[status] ?? 'Error',
    status,
    code: error.code,
    detail: error.message,
    hint: error.hint,
  };
}

export const internalError = {
  code: 'INTERNAL',
  message: 'The agent met an error it did not expect. The job store was not harmed by the request itself.',
  hint: "Look at the agent's own log at this time; it names the cause.",
};

/**
 * Turns whatever a handler threw into problem details. Nothing of an unknown error is shown, because its text may hold
 * anything; the caller logs it.
 */
export function problemOf(error: unknown): ProblemBody {
  if (error instanceof PgsluiceError) return problem(statusOf(error), error);
  // What the state's database refuses comes inside an error of the library that asked it.
  if (error instanceof Error && error.cause instanceof PgsluiceError) return problemOf(error.cause);
  if (error instanceof HTTPException) return problemOfHttpException(error);
  return problem(500, internalError);
}

function problemOfHttpException(error: HTTPException): ProblemBody {
  if (error.status === 415) {
    return problem(415, {
      code: 'UNSUPPORTED_MEDIA_TYPE',
      message: 'The body of this request must be JSON.',
      hint: 'Send the header Content-Type: application/json.',
    });
  }
  if (error.status === 400) {
    return problem(400, {
      code: 'INVALID_JSON',
      message: 'The body is not valid JSON.',
      hint: 'Check quotes and commas; GET /openapi.json describes the body.',
    });
  }
  return problem(500, internalError);
}

/** Problem details of a request that does not fit its schema. Names the fields, never their values. */
export function problemOfInput(error: z.core.$ZodError): ProblemBody {
  const errors = error.issues.map((issue) => ({ path: fieldPath(issue.path), message: issue.message }));
  const detail = errors.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`)).join('; ');
  return {
    ...problem(400, {
      code: 'INVALID_REQUEST',
      message: detail,
      hint: 'Correct the named fields; GET /openapi.json describes them.',
    }),
    errors,
  };
}

/** `['options', 'includeTable', 0]` → `options.includeTable[0]`. */
export function fieldPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}

export function problemResponse(body: ProblemBody, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), {
    status: body.status,
    headers: { 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...headers },
  });
}
