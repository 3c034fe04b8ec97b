import type { CheckResult } from '../../src/contract/check.ts';
import type { JobEvent, TableProgress } from '../../src/contract/event.ts';
import type { GroupAction, GroupActionResult, GroupRequestInput, GroupView } from '../../src/contract/group.ts';
import type { JobAction, JobView, Problem } from '../../src/contract/job.ts';
import type { JobRequestInput } from '../../src/contract/options.ts';
import type { Report } from '../../src/contract/report.ts';
import { signOut, token } from './session.ts';

/** What the agent answered instead of data, or that it did not answer. `status` is 0 when no answer came. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly code: string;
  readonly hint: string;

  constructor(status: number, code: string, message: string, hint: string, cause?: unknown) {
    super(message, { cause });
    this.status = status;
    this.code = code;
    this.hint = hint;
  }
}

/** Any thrown value as something that can be shown. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  return new ApiError(
    0,
    'PAGE_ERROR',
    error instanceof Error ? error.message : String(error),
    'Reload the page.',
    error,
  );
}

/** For answers that may be long: bounded only by what a person is ready to wait, in ms. */
const longTimeoutMs = 600_000;

interface CallOptions {
  readonly method?: 'POST' | 'DELETE';
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly timeoutMs?: number;
}

async function call(path: string, options: CallOptions = {}): Promise<Response> {
  const { method = 'GET', body, timeoutMs = 30_000 } = options;
  let response: Response;
  try {
    response = await fetch(new URL(`api/${path}`, document.baseURI), {
      method,
      headers: {
        authorization: `Bearer ${token.value ?? ''}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      cache: 'no-store',
      signal: AbortSignal.timeout(timeoutMs),
    });
  } catch (cause) {
    throw new ApiError(
      0,
      'AGENT_UNREACHABLE',
      'The agent does not answer.',
      'See that `pgsluice serve` is running and that this device reaches it. A running migration does not depend on this page.',
      cause,
    );
  }
  if (response.ok) return response;
  if (response.status === 401) signOut();
  throw await problemOf(response);
}

async function problemOf(response: Response): Promise<ApiError> {
  let problem: Partial<Problem> = {};
  if (response.headers.get('content-type')?.includes('json')) {
    problem = (await response.json()) as Partial<Problem>;
  }
  return new ApiError(
    response.status,
    problem.code ?? `HTTP_${response.status}`,
    problem.detail ?? problem.title ?? `The agent answered with status ${response.status}.`,
    problem.hint ?? '',
  );
}

async function json<T>(path: string, options?: CallOptions): Promise<T> {
  return (await (await call(path, options)).json()) as T;
}

const post = (body: unknown): CallOptions => ({ method: 'POST', body });

const jobPath = (id: string): string => `jobs/${encodeURIComponent(id)}`;

const groupPath = (id: string): string => `groups/${encodeURIComponent(id)}`;

const checkPath = (id: string, check: CheckResult): string => `${jobPath(id)}/checks/${encodeURIComponent(check.id)}`;

/** The agent's API. Every call throws ApiError. */
export const api = {
  /** What this agent is and allows. */
  agent: (): Promise<{ readonly version: string; readonly allowCommands: boolean }> => json('agent'),
  /** Reads the list of databases of the source first. */
  createGroup: (request: GroupRequestInput): Promise<GroupView> =>
    json<GroupView>('groups', { ...post(request), timeoutMs: 120_000 }),
  removeGroup: async (id: string): Promise<void> => {
    await call(groupPath(id), { method: 'DELETE', timeoutMs: longTimeoutMs });
  },
  getGroup: (id: string): Promise<GroupView> => json<GroupView>(groupPath(id)),
  actOnGroup: (id: string, action: GroupAction): Promise<GroupActionResult> =>
    json<GroupActionResult>(`${groupPath(id)}/${action}`, { ...post({}), timeoutMs: 120_000 }),
  /** The newest `limit` jobs, at most 1,000, and whether there are older ones. */
  listJobs: async (limit: number): Promise<{ jobs: JobView[]; more: boolean }> => {
    const { jobs, next } = await json<{ jobs: JobView[]; next: string | null }>(`jobs?limit=${limit}`);
    return { jobs, more: next !== null };
  },
  getJob: (id: string): Promise<JobView> => json<JobView>(jobPath(id)),
  createJob: (request: JobRequestInput): Promise<JobView> => json<JobView>('jobs', post(request)),
  act: (id: string, action: JobAction): Promise<JobView> => json<JobView>(`${jobPath(id)}/${action}`, post({})),
  removeJob: async (id: string): Promise<void> => {
    // Both servers of a live job are cleaned up after first.
    await call(jobPath(id), { method: 'DELETE', timeoutMs: 120_000 });
  },
  tables: async (id: string): Promise<TableProgress[]> =>
    (await json<{ tables: TableProgress[] }>(`${jobPath(id)}/tables`)).tables,
  checks: async (id: string): Promise<CheckResult[]> =>
    (await json<{ checks: CheckResult[] }>(`${jobPath(id)}/checks`)).checks,
  acceptCheck: (id: string, check: CheckResult, words: { readonly by: string; readonly note: string }) =>
    json<CheckResult>(`${checkPath(id, check)}/accept`, post({ side: check.side, ...words })),
  /** Takes an acceptance back. */
  unacceptCheck: (id: string, check: CheckResult): Promise<CheckResult> =>
    json<CheckResult>(`${checkPath(id, check)}/accept?side=${check.side}`, { method: 'DELETE' }),
  /** Makes one check again; the job's state stays. */
  runCheck: (id: string, check: CheckResult): Promise<CheckResult> =>
    json<CheckResult>(`${checkPath(id, check)}/run?side=${check.side}`, { method: 'POST', timeoutMs: 150_000 }),
  /** The last validation as a file, in one of the forms that the agent writes. */
  checksFile: async (id: string, format: 'json' | 'csv' | 'md'): Promise<Blob> =>
    (await call(`${jobPath(id)}/checks?format=${format}`)).blob(),
  /** Log events with seq above `after`, oldest first, at most `limit`. */
  logs: async (id: string, after: number, limit: number): Promise<JobEvent[]> =>
    (await json<{ events: JobEvent[] }>(`${jobPath(id)}/logs?after=${after}&limit=${limit}`)).events,
  /** The whole log as a text file. */
  logText: async (id: string): Promise<Blob> =>
    (await call(`${jobPath(id)}/logs?format=text`, { timeoutMs: longTimeoutMs })).blob(),
  report: (id: string): Promise<Report> => json<Report>(`${jobPath(id)}/report`),
  /** The printable report as one HTML file. */
  reportHtml: async (id: string): Promise<Blob> => (await call(`${jobPath(id)}/report?format=html`)).blob(),
  /** Address of a job's event stream after `seq`. */
  streamUrl: (id: string, after: number): string => {
    const url = new URL(`api/${jobPath(id)}/events?after=${after}`, document.baseURI);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    return url.href;
  },
};
