import { z } from '@hono/zod-openapi';
import type { JobActivity } from '../contract/activity.ts';
import type { CheckResult } from '../contract/check.ts';
import type { JobEvent, StreamMessage, TableProgress } from '../contract/event.ts';
import type { GroupAction, GroupActionResult, GroupRequestInput, GroupView } from '../contract/group.ts';
import { Problem, type JobAction, type JobView } from '../contract/job.ts';
import type { JobRequestInput } from '../contract/options.ts';
import type { Report } from '../contract/report.ts';
import { PgsluiceError } from '../errors.ts';
import type { AcceptanceInput } from '../jobs/checks-of-job.ts';
import type { LogPage } from '../jobs/log-search.ts';
import type { LogQuery } from '../jobs/manager.ts';
import { type AccessClient, remoteAccess } from './access-client.ts';
import type { JobClient } from './client.ts';
import { followSocket } from './remote-stream.ts';

const listPage = 500;
/** What the API gives at most. */
const logPageLimit = 10_000;
const requestTimeoutMs = 30_000;
/** A check that is made again answers when it is over; the agent bounds it. */
const checkTimeoutMs = 150_000;

/** A daemon, reached by its API. */
export class RemoteClient implements JobClient {
  readonly kind = 'remote';
  readonly where: string;
  readonly access: AccessClient;
  readonly #token: string;

  /** `url` without a path. */
  constructor(url: string, token: string) {
    this.where = url;
    this.#token = token;
    this.access = remoteAccess((method, path, body) => this.#json(method, path, body));
  }

  create(request: JobRequestInput): Promise<JobView> {
    return this.#json('POST', '/api/jobs', request);
  }
  async list(query: { readonly limit?: number; readonly idPrefix?: string } = {}): Promise<JobView[]> {
    const jobs: JobView[] = [];
    let after: string | null = null;
    do {
      const params = new URLSearchParams({ limit: String(Math.min(query.limit ?? listPage, listPage)) });
      if (after !== null) params.set('after', after);
      if (query.idPrefix !== undefined) params.set('prefix', query.idPrefix);
      const page = await this.#json<{ jobs: JobView[]; next?: string | null }>('GET', `/api/jobs?${params.toString()}`);
      jobs.push(...page.jobs);
      after = page.next ?? null;
    } while (after !== null && jobs.length < (query.limit ?? Number.POSITIVE_INFINITY));
    return jobs;
  }
  get(id: string): Promise<JobView> {
    return this.#json('GET', jobPath(id));
  }
  act(id: string, action: JobAction): Promise<JobView> {
    return this.#json('POST', `${jobPath(id)}/${action}`);
  }
  async remove(id: string): Promise<void> {
    await this.#request('DELETE', jobPath(id));
  }
  createGroup(request: GroupRequestInput): Promise<GroupView> {
    return this.#json('POST', '/api/groups', request);
  }
  group(id: string): Promise<GroupView> {
    return this.#json('GET', groupPath(id));
  }
  actOnGroup(id: string, action: GroupAction): Promise<GroupActionResult> {
    return this.#json('POST', `${groupPath(id)}/${action}`);
  }
  async removeGroup(id: string): Promise<void> {
    await this.#request('DELETE', groupPath(id));
  }
  async tables(id: string): Promise<TableProgress[]> {
    return (await this.#json<{ tables: TableProgress[] }>('GET', `${jobPath(id)}/tables`)).tables;
  }
  activity(id: string): Promise<JobActivity> {
    return this.#json('GET', `${jobPath(id)}/activity`);
  }
  async checks(id: string): Promise<CheckResult[]> {
    return (await this.#json<{ checks: CheckResult[] }>('GET', `${jobPath(id)}/checks`)).checks;
  }
  runCheck(id: string, check: string): Promise<CheckResult> {
    return this.#json('POST', `${checkPath(id, check)}/run`, undefined, checkTimeoutMs);
  }
  acceptCheck(id: string, check: string, acceptance: AcceptanceInput): Promise<CheckResult> {
    return this.#json('POST', `${checkPath(id, check)}/accept`, acceptance);
  }
  unacceptCheck(id: string, check: string): Promise<CheckResult> {
    return this.#json('DELETE', `${checkPath(id, check)}/accept`);
  }
  report(id: string): Promise<Report> {
    return this.#json('GET', `${jobPath(id)}/report?format=json`);
  }
  async reportHtml(id: string): Promise<string> {
    return (await this.#request('GET', `${jobPath(id)}/report?format=html`)).text();
  }
  async logs(id: string, query: LogQuery): Promise<JobEvent[]> {
    const events: JobEvent[] = [];
    const limit = query.limit ?? 1_000;
    let after: number | null = query.after ?? 0;
    while (after !== null && events.length < limit) {
      const params = new URLSearchParams();
      const rest = { ...query, after, limit: Math.min(limit - events.length, logPageLimit) };
      for (const [name, value] of Object.entries(rest)) params.set(name, String(value));
      const page: Partial<LogPage> = await this.#json('GET', `${jobPath(id)}/logs?${params.toString()}`);
      events.push(...(page.events ?? []));
      after = page.next ?? null;
    }
    return events;
  }
  stream(id: string, after: number, signal: AbortSignal): AsyncGenerator<readonly StreamMessage[]> {
    const url = new URL(`${jobPath(id)}/events`, this.where);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    return followSocket({ url, token: this.#token, after, signal });
  }
  async close(): Promise<void> {
    // Every request is its own; streams end with their signals.
  }

  /** Both ends come from one package and share the contract's types; what an older or newer agent adds is left alone. */
  async #json<T>(method: string, path: string, body?: unknown, timeoutMs = requestTimeoutMs): Promise<T> {
    const response = await this.#request(method, path, body, timeoutMs);
    try {
      return (await response.json()) as T;
    } catch (cause) {
      throw notAnAgent(this.where, cause);
    }
  }

  async #request(method: string, path: string, body?: unknown, timeoutMs = requestTimeoutMs): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(new URL(path, this.where), {
        method,
        headers: {
          authorization: `Bearer ${this.#token}`,
          accept: 'application/json, application/problem+json',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(timeoutMs),
      });
    } catch (cause) {
      throw unreachable(this.where, cause);
    }
    if (response.ok) return response;
    throw await toError(response, this.where);
  }
}

function groupPath(id: string): string {
  return `/api/groups/${encodeURIComponent(id)}`;
}

function jobPath(id: string): string {
  return `/api/jobs/${encodeURIComponent(id)}`;
}

function checkPath(id: string, check: string): string {
  return `${jobPath(id)}/checks/${encodeURIComponent(check)}`;
}

async function toError(response: Response, where: string): Promise<PgsluiceError> {
  const text = await response.text();
  const problem = parseProblem(text);
  if (problem === null) return notAnAgent(where, new Error(`HTTP status ${response.status}`));
  return new PgsluiceError({
    code: problem.code,
    message: problem.detail,
    hint:
      problem.code === 'UNAUTHORIZED' ? 'Give the token of that agent with --token or PGSLUICE_TOKEN.' : problem.hint,
    retryable: response.status === 503,
  });
}

export function parseProblem(text: string): z.infer<typeof Problem> | null {
  try {
    return Problem.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    // A proxy in between answers in its own words.
    return null;
  }
}

export function unreachable(where: string, cause: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'SERVER_UNREACHABLE',
    message: `No answer from the agent at ${where}.`,
    hint: 'Start one with "pgsluice serve", or give its address with --server.',
    retryable: true,
    cause,
  });
}

function notAnAgent(where: string, cause: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'SERVER_UNREACHABLE',
    message: `What answers at ${where} is not a pgsluice agent, or a proxy stands in between.`,
    hint: 'Check the address given with --server.',
    cause,
  });
}
