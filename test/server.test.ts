import { once } from 'node:events';
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { RemoteClient } from '../src/cli/remote-client.ts';
import type { JobEvent } from '../src/contract/event.ts';
import { JobView, Problem } from '../src/contract/job.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { parseEventsUrl } from '../src/server/event-hub.ts';
import { startServer, type RunningServer } from '../src/server/server.ts';
import { readDaemonFile, removeDaemonFile, resolveToken, writeDaemonFile } from '../src/server/token.ts';
import { fillState } from './support/fresh-state.ts';
import { fakeRooms } from './support/fake-rooms.ts';

// The API over a real job manager with its embedded store; only the two databases are played.

const token = 'a-token-for-the-server-test';
const logger = pino({ level: 'silent' });
const rooms = fakeRooms({ tables: 40, linesPerTable: 250, tableMs: 5 });
const request = {
  source: { url: 'postgres://reader:hunter2@source.example/shop' },
  target: { host: 'target.example', user: 'writer', password: 'hunter2', database: 'shop' },
};
let directory: string;
let manager: JobManager;
let server: RunningServer;
let client: RemoteClient;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pgsluice-server-'));
  const web = join(directory, 'web');
  await mkdir(join(web, 'assets'), { recursive: true });
  await writeFile(join(web, 'index.html'), '<!doctype html><title>pgsluice</title>');
  await writeFile(join(web, 'assets', 'index-0a1B2c3D.js'), `export const page = '${'x'.repeat(5000)}';`);
  await fillState(join(directory, 'state'), 'k'.repeat(32));
  manager = await JobManager.open(
    {
      state: join(directory, 'state'),
      secretKey: 'k'.repeat(32),
      concurrency: 2,
      pgBinDir: null,
      logger,
      role: 'daemon',
    },
    rooms,
  );
  server = await startServer({
    manager,
    token,
    webDir: web,
    version: '1.2.3',
    logger,
    allowedOrigins: ['https://ops.example'],
    host: '127.0.0.1',
    port: 0,
  });
  client = new RemoteClient(server.url, token);
});

afterAll(async () => {
  await server.close();
  await manager.stop('The test ended.');
  await rm(directory, { recursive: true, force: true });
});

function call(path: string, init: RequestInit & { anonymous?: boolean } = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (init.anonymous !== true) headers.set('authorization', `Bearer ${token}`);
  return fetch(new URL(path, server.url), { ...init, headers });
}

function post(path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return call(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
}

async function problemIn(response: Response, status: number, code: string): Promise<Problem> {
  const problem = Problem.parse(await response.json());
  expect({ status: response.status, code: problem.code }).toEqual({ status, code });
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  expect(problem.status).toBe(status);
  for (const text of [problem.title, problem.detail, problem.hint]) expect(text).not.toBe('');
  return problem;
}

describe('who may ask', () => {
  test.each(['/api/jobs', '/api/jobs/x', '/api/anything', '/metrics'])(
    '%s needs the token, on loopback too',
    async (path) => {
      const response = await call(path, { anonymous: true });
      expect(response.headers.get('www-authenticate')).toContain('Bearer');
      await problemIn(response, 401, 'UNAUTHORIZED');
      const wrong = await call(path, { anonymous: true, headers: { authorization: `Bearer ${token}x` } });
      await problemIn(wrong, 401, 'UNAUTHORIZED');
    },
  );

  test.each(['/', '/healthz', '/readyz', '/openapi.json'])('%s is open to all', async (path) => {
    expect((await call(path, { anonymous: true })).status).toBe(200);
  });

  test('a foreign page changes nothing even with the token', async () => {
    const foreign = await post('/api/jobs', request, { origin: 'https://evil.example' });
    await problemIn(foreign, 403, 'ORIGIN_NOT_ALLOWED');
    expect(await client.list()).toEqual([]);
  });

  test('an allowed origin gets its headers, another does not', async () => {
    const allowed = await call('/api/jobs', { headers: { origin: 'https://ops.example' } });
    expect(allowed.headers.get('access-control-allow-origin')).toBe('https://ops.example');
    const preflight = await call('/api/jobs', {
      method: 'OPTIONS',
      anonymous: true,
      headers: { origin: 'https://ops.example', 'access-control-request-method': 'POST' },
    });
    expect(preflight.status).toBe(204);
    const other = await call('/api/jobs', { headers: { origin: 'https://evil.example' } });
    expect(other.headers.get('access-control-allow-origin')).toBeNull();
  });
});

describe('what is wrong is said', () => {
  test('unknown addresses and jobs', async () => {
    const nothing = await problemIn(await call('/api/nothing'), 404, 'NOT_FOUND');
    expect(nothing.detail).toContain('/api/nothing');
    await problemIn(await call('/no-such-file.js'), 404, 'NOT_FOUND');
    for (const path of ['', '/tables', '/checks', '/logs', '/logs?format=text', '/report']) {
      await problemIn(await call(`/api/jobs/unknown${path}`), 404, 'JOB_NOT_FOUND');
    }
    await problemIn(await call('/api/jobs/%00'), 404, 'JOB_NOT_FOUND');
    for (const url of ['//', 'http://[', '/api/nothing/events']) {
      expect(() => parseEventsUrl(url)).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
    }
  });

  test('methods that an address does not have', async () => {
    const response = await call('/api/jobs', { method: 'PUT' });
    expect(response.headers.get('allow')).toContain('POST');
    await problemIn(response, 405, 'METHOD_NOT_ALLOWED');
    await problemIn(await call('/api/jobs/x/start'), 405, 'METHOD_NOT_ALLOWED');
    await problemIn(await post('/api/jobs/x/tables'), 405, 'METHOD_NOT_ALLOWED');
    await problemIn(await call('/api/jobs/x/events'), 426, 'UPGRADE_REQUIRED');
  });

  test('bodies that cannot be read', async () => {
    const cut = await problemIn(await post('/api/jobs', '{"source":'), 400, 'INVALID_JSON');
    expect(cut.hint).toContain('/openapi.json');
    await problemIn(
      await post('/api/jobs', 'source=x', { 'content-type': 'text/plain' }),
      415,
      'UNSUPPORTED_MEDIA_TYPE',
    );
    await problemIn(await post('/api/jobs', `"${'x'.repeat(300_000)}"`), 413, 'BODY_TOO_LARGE');
  });

  test('fields that do not fit, by their path and without their value', async () => {
    const response = await post('/api/jobs', {
      ...request,
      target: { port: 70_000 },
      options: { tableJobs: 'hunter2', live: true },
    });
    const problem = await problemIn(response, 400, 'INVALID_REQUEST');
    expect(problem.detail).toContain('target.port: ');
    expect(problem.detail).toContain('options.tableJobs: ');
    expect(problem.detail).not.toContain('hunter2');
    const url = await post('/api/jobs', { source: { url: 'mysql://u:hunter2@h/d' }, target: request.target });
    expect((await problemIn(url, 400, 'INVALID_URL')).detail).not.toContain('hunter2');
    await problemIn(await call('/api/jobs/x/logs?limit=0'), 400, 'INVALID_REQUEST');
    await problemIn(await call('/api/jobs/x/logs?search=%00'), 400, 'INVALID_REQUEST');
    for (const part of [
      { name: 'a\0b' },
      { options: { includeTable: ['\ud800'] } },
      { source: { host: 'h', password: 'a\0' } },
    ]) {
      await problemIn(await post('/api/jobs', { ...request, ...part }), 400, 'INVALID_REQUEST');
    }
  });
});

describe('a job from its creation to its removal', () => {
  let id: string;

  test('is created without showing a password, and only then acted on', async () => {
    const created = await post('/api/jobs', { ...request, name: 'move the shop' });
    expect(created.status).toBe(201);
    const job = JobView.parse(await created.json());
    id = job.id;
    expect(created.headers.get('location')).toBe(`/api/jobs/${id}`);
    expect(JSON.stringify(job)).not.toContain('hunter2');
    expect(job).toMatchObject({ name: 'move the shop', state: 'draft', source: { hasPassword: true, user: 'reader' } });
    expect((await client.list()).map((each) => each.id)).toEqual([id]);
    await problemIn(await post(`/api/jobs/${id}/pause`), 409, 'INVALID_TRANSITION');
    await problemIn(await post(`/api/jobs/${id}/cutover`), 409, 'INVALID_TRANSITION');
    await problemIn(await call(`/api/jobs/${id}/report`), 409, 'REPORT_NOT_READY');
  });

  test('followers that are cut and come back see every event once, while it runs and afterwards', async () => {
    const seen: JobEvent[] = [];
    await client.act(id, 'start');
    let connections = 0;
    while (seen.at(-1)?.type !== 'result') {
      connections += 1;
      expect(connections).toBeLessThan(1000);
      const ws = open(id, seen.at(-1)?.seq ?? 0);
      const enough = seen.length + 700;
      ws.on('message', (data) => {
        if (seen.length >= enough) return;
        seen.push(...parse(data));
        if (seen.length >= enough || seen.at(-1)?.type === 'result') ws.terminate();
      });
      await once(ws, 'close');
    }
    const { lastSeq, state, verified } = await client.get(id);
    expect({ state, verified }).toEqual({ state: 'completed', verified: true });
    expect(connections).toBeGreaterThan(5);
    expect(seen.map((event) => event.seq)).toEqual(Array.from({ length: lastSeq }, (_, index) => index + 1));

    const again: JobEvent[] = [];
    const late = open(id, 0);
    late.on('message', (data) => again.push(...parse(data)));
    await expect.poll(() => again.length).toBe(lastSeq);
    late.terminate();
    expect(again).toEqual(seen);
  });

  test('shows tables, checks, logs and the report', async () => {
    expect(await client.tables(id)).toHaveLength(40);
    expect(await client.checks(id)).toHaveLength(1);
    const warnings = await client.logs(id, { level: 'warn' });
    const found = await client.logs(id, { search: 'TABLE T7 LINE 24', limit: 5 });
    expect(warnings.length).toBeLessThan(10);
    expect(found.map((event) => event.type === 'log' && event.message)).toContain('table t7 line 24');
    expect(found).toHaveLength(5);

    const text = await call(`/api/jobs/${id}/logs?format=text`);
    expect(text.headers.get('content-disposition')).toContain('attachment');
    const lines = (await text.text()).trimEnd().split('\n');
    expect(lines.filter((line) => / INFO  table t\d+ line \d+$/.test(line))).toHaveLength(10_000);

    expect(await client.report(id)).toMatchObject({ jobId: id, state: 'completed' });
    await problemIn(await post(`/api/jobs/${id}/cutover`), 409, 'NOT_A_LIVE_JOB');
    for (const html of [
      await call(`/api/jobs/${id}/report?format=html`),
      await call(`/api/jobs/${id}/report`, { headers: { accept: 'text/html,*/*' } }),
    ]) {
      expect(html.headers.get('content-type')).toContain('text/html');
      expect(html.headers.get('content-security-policy')).toContain("default-src 'none'");
      expect(await html.text()).toContain('move the shop');
    }
  });

  test('counts for Prometheus', async () => {
    const text = await (await call('/metrics')).text();
    expect(text).toContain('pgsluice_jobs{state="completed"} 1\n');
    expect(text).toMatch(/^pgsluice_events_written_total [1-9]\d{4}$/m);
    expect(text).toContain('pgsluice_build_info{version="1.2.3",store="embedded"} 1\n');
  });

  test('is removed, and its followers are told', async () => {
    const ws = open(id, 0);
    ws.on('message', () => undefined);
    await once(ws, 'open');
    const closed = once(ws, 'close');
    await client.remove(id);
    expect((await closed)[0]).toBe(1000);
    await expect(client.get(id)).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
    await expect(client.remove(id)).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
  });
});

describe('the description', () => {
  interface Described {
    readonly openapi: string;
    readonly paths: Record<
      string,
      Record<string, { operationId?: string; parameters?: { name: string; in: string }[] }>
    >;
    readonly components: Record<string, Record<string, unknown>>;
  }

  test('names every address of the contract and only what it defines', async () => {
    const document = (await (await call('/openapi.json')).json()) as Described;
    expect(document.openapi).toBe('3.1.0');
    const actions = ['validate', 'start', 'pause', 'resume', 'cancel', 'cutover', 'retry'].map(
      (action) => `/api/jobs/{id}/${action}`,
    );
    const reads = ['tables', 'checks', 'logs', 'report', 'events', 'activity', 'shares'].map(
      (what) => `/api/jobs/{id}/${what}`,
    );
    const single = ['run', 'accept'].map((what) => `/api/jobs/{id}/checks/{check}/${what}`);
    const groups = ['validate', 'start', 'pause', 'resume', 'cancel', 'retry'].map(
      (what) => `/api/groups/{id}/${what}`,
    );
    const lists = ['/api/agent', '/api/jobs', '/api/jobs/{id}', '/api/groups', '/api/groups/{id}'];
    const access = ['/api/jobs/{id}/shares/{share}', '/api/tokens', '/api/tokens/{id}', '/api/audit'];
    const paths = [...lists, ...access, ...actions, ...reads, ...single, ...groups, '/healthz', '/readyz', '/metrics'];
    expect(Object.keys(document.paths).toSorted()).toEqual(paths.toSorted());
    const ids = Object.values(document.paths).flatMap((path) =>
      Object.values(path).flatMap((operation) => operation.operationId ?? []),
    );
    expect(new Set(ids).size).toBe(ids.length);
    for (const [path, operations] of Object.entries(document.paths)) {
      for (const operation of Object.values(operations)) {
        const named = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
        const given = (operation.parameters ?? [])
          .filter((parameter) => parameter.in === 'path')
          .map((parameter) => parameter.name);
        expect(given).toEqual(named);
      }
    }
    for (const [, kind, name] of JSON.stringify(document).matchAll(/"\$ref":"#\/components\/(\w+)\/(\w+)"/g)) {
      expect(document.components[kind ?? '']?.[name ?? '']).toBeDefined();
    }
    expect(document.components['schemas']).toHaveProperty('JobOptions');
    expect(document.components['securitySchemes']).toHaveProperty('bearer');
  });
});

describe('the page', () => {
  test('comes with a strict policy and is never kept, its hashed files are', async () => {
    const page = await call('/', { anonymous: true });
    expect(page.headers.get('cache-control')).toBe('no-store');
    expect(page.headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
    expect(page.headers.get('x-content-type-options')).toBe('nosniff');
    const script = await call('/assets/index-0a1B2c3D.js', { anonymous: true });
    expect(script.headers.get('cache-control')).toContain('immutable');
    expect(script.headers.get('content-encoding')).toBe('gzip');
    expect(await script.text()).toContain('export const page');
    const etag = script.headers.get('etag') ?? '';
    const known = await call('/assets/index-0a1B2c3D.js', { anonymous: true, headers: { 'if-none-match': etag } });
    expect(known.status).toBe(304);
  });

  test.each(['/../state', '/assets/../../state/token', '/%2e%2e/state', '/assets'])(
    '%s reaches no file',
    async (path) => {
      expect((await call(path)).status).toBe(404);
    },
  );
});

describe('what the agent leaves in its directory', () => {
  test('a token is made once and is private', async () => {
    const home = join(directory, 'home');
    const first = await resolveToken(null, home);
    const second = await resolveToken(null, home);
    expect(first.origin).toBe('created');
    expect(second).toEqual({ ...first, origin: 'stored' });
    expect((await stat(join(home, 'token'))).mode & 0o777).toBe(0o600);
    expect((await stat(home)).mode & 0o777).toBe(0o700);
    expect(await resolveToken('given', home)).toMatchObject({ token: 'given', origin: 'given' });
  });

  test('daemon.json is private, survives a foreign stop and ignores rubbish', async () => {
    const home = join(directory, 'daemon');
    expect(await readDaemonFile(home)).toBeNull();
    const left = { url: 'http://127.0.0.1:1', token: 't', pid: 42 };
    await writeDaemonFile(home, left);
    expect((await stat(join(home, 'daemon.json'))).mode & 0o777).toBe(0o600);
    await removeDaemonFile(home, 43);
    expect(await readDaemonFile(home)).toEqual(left);
    await removeDaemonFile(home, 42);
    expect(await readDaemonFile(home)).toBeNull();
    await writeFile(join(home, 'daemon.json'), '{"url":');
    expect(await readDaemonFile(home)).toBeNull();
  });
});

test('a taken port is said so', async () => {
  const port = Number(new URL(server.url).port);
  await expect(
    startServer({ manager, token, webDir: directory, version: '1', logger, host: '127.0.0.1', port }),
  ).rejects.toMatchObject({ code: 'PORT_IN_USE' });
});

function open(id: string, after: number): WebSocket {
  const url = new URL(`/api/jobs/${id}/events?after=${after}`, server.url.replace('http', 'ws'));
  return new WebSocket(url, ['pgsluice', `bearer.${Buffer.from(token).toString('base64url')}`]);
}

function parse(data: WebSocket.RawData): JobEvent[] {
  // The server sends text, which ws hands over as one Buffer.
  const parsed = JSON.parse((data as Buffer).toString()) as JobEvent | JobEvent[];
  return Array.isArray(parsed) ? parsed : [parsed];
}
