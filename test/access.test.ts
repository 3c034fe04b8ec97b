import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { createServer, request as httpRequest, type Server } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import type { AuditEntry, NewShare, NewToken, Role, ShareView, TokenView } from '../src/contract/access.ts';
import type { JobEvent } from '../src/contract/event.ts';
import type { JobView } from '../src/contract/job.ts';
import { IpRanges } from '../src/ip-range.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { asked, permissions, suffices } from '../src/server/permissions.ts';
import { startServer, type RunningServer } from '../src/server/server.ts';
import { insertToken, pruneAudit, useShare, useToken } from '../src/store/access-queries.ts';
import { Store } from '../src/store/store.ts';
import { fillState } from './support/fresh-state.ts';
import { fakeRooms } from './support/fake-rooms.ts';
import { makeCertificates } from './support/tls.ts';

// Who may do what, over a real job manager with its embedded store; only the two databases are played.

const own = 'the-own-token-of-this-agent';
const logger = pino({ level: 'silent' });
const password = 'hunter2/canary';
const requestWith = (hookOrigin: string) => ({
  source: { host: 'source.example', user: 'sourceuser', password, database: 'shop' },
  target: { host: 'target.example', user: 'targetuser', password, database: 'shop' },
  options: {
    hooks: [
      { on: 'completed', webhook: `${hookOrigin}/secret-path` },
      { on: 'failed', command: ['/opt/secret-program', 'secret-argument'] },
    ],
  },
});
let request: ReturnType<typeof requestWith>;
let hookOrigin: string;
let hook: Server;
let calls = 0;
let directory: string;
let manager: JobManager;
let server: RunningServer;
const tokens: Partial<Record<Role, string>> = {};

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pgsluice-access-'));
  const web = join(directory, 'web');
  await mkdir(web);
  await writeFile(join(web, 'index.html'), '<!doctype html><title>pgsluice</title>');
  await fillState(join(directory, 'state'), 'k'.repeat(32));
  const config = { state: join(directory, 'state'), secretKey: 'k'.repeat(32), concurrency: 2, pgBinDir: null, logger };
  manager = await JobManager.open({ ...config, role: 'daemon', allowCommands: true }, fakeRooms({ tables: 2 }));
  hook = createServer((incoming, response) => {
    calls += 1;
    incoming.resume();
    response.end('taken');
  }).listen(0, '127.0.0.1');
  await once(hook, 'listening');
  const address = hook.address();
  hookOrigin = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
  request = requestWith(hookOrigin);
  server = await start({ clients: { allowed: null, proxies: new IpRanges(['127.0.0.1']) } });
  for (const role of ['view', 'operate', 'admin'] as const) {
    tokens[role] = (await make<NewToken>('/api/tokens', { name: `${role} of the test`, role })).token;
  }
});

afterAll(async () => {
  await server.close();
  await manager.stop('The test ended.');
  hook.close();
  await rm(directory, { recursive: true, force: true });
});

function start(more: Partial<Parameters<typeof startServer>[0]> = {}): Promise<RunningServer> {
  const options = { manager, token: own, webDir: join(directory, 'web'), version: '1', logger, allowCommands: true };
  return startServer({ ...options, host: '127.0.0.1', port: 0, ...more });
}

interface Asking {
  readonly method?: string;
  readonly token?: string | null;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  readonly at?: string;
}

/** An address of its own for each group of tests, so that failures of one do not slow the others. */
let client = '192.0.2.1';

function ask(
  path: string,
  { method = 'GET', token = own, body, headers = {}, at = server.url }: Asking = {},
): Promise<Response> {
  return fetch(new URL(path, at), {
    method,
    headers: {
      'x-forwarded-for': client,
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

async function get<T>(path: string, token = own): Promise<T> {
  const response = await ask(path, { token });
  expect(response.status, path).toBe(200);
  return (await response.json()) as T;
}

async function make<T>(path: string, body: unknown, token = own): Promise<T> {
  const response = await ask(path, { method: 'POST', body, token });
  const answer: unknown = await response.json();
  expect({ path, status: response.status, answer }).toMatchObject({ status: 201 });
  return answer as T;
}

async function outcome(response: Response): Promise<[number, string | null]> {
  const text = await response.text();
  const code = response.ok || text === '' ? null : (JSON.parse(text) as { code: string }).code;
  return [response.status, code];
}

const newJob = (): Promise<JobView> => make<JobView>('/api/jobs', request);

/** The answer to an upgrade, or the socket's messages until it was closed. */
async function follow(
  job: string,
  token: string | null,
  more: { headers?: Record<string, string>; until?: (events: JobEvent[]) => boolean; after?: number; at?: string } = {},
): Promise<{ status: number; events: JobEvent[]; socket: WebSocket; closed: Promise<number> }> {
  const url = `${(more.at ?? server.url).replace('http', 'ws')}/api/jobs/${job}/events?after=${more.after ?? 0}`;
  const socket = new WebSocket(url, 'pgsluice', {
    headers: {
      'x-forwarded-for': client,
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...more.headers,
    },
  });
  const events: JobEvent[] = [];
  // 0: it was not closed in time.
  const closing = new Promise<number>((resolve) => socket.once('close', (code) => resolve(code)));
  const closed = Promise.race([closing, delay(10_000, 0, { ref: false })]);
  const status = await new Promise<number>((resolve, reject) => {
    socket.once('unexpected-response', (_request, response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    socket.once('error', reject);
    socket.on('message', (data: Buffer) => {
      const parsed = JSON.parse(data.toString('utf8')) as JobEvent | JobEvent[];
      events.push(...(Array.isArray(parsed) ? parsed : [parsed]));
      if (more.until?.(events) ?? true) resolve(101);
    });
  });
  return { status, events, socket, closed };
}

describe('roles', () => {
  test('every route of the description asks for the role in the table, and for a token', async () => {
    client = '192.0.2.10';
    const { paths } = await get<{ paths: Record<string, Record<string, unknown>> }>('/openapi.json');
    const routes = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => ({ method: method.toUpperCase(), path })),
    );
    const open = new Set(['/healthz', '/readyz']);
    const guarded = routes.filter(({ path }) => !open.has(path));
    const listed = permissions.map(({ method, path }) => `${method} ${path}`);
    expect(listed.toSorted()).toEqual(guarded.map(({ method, path }) => `${method} ${path}`).toSorted());
    const wrong: string[] = [];
    for (const { method, path } of guarded) {
      const address = path
        .replaceAll('{id}', 'nothing')
        .replaceAll('{check}', 'no.check')
        .replaceAll('{share}', 'none');
      const { needs } = asked(method, address);
      const anonymous = await outcome(await ask(address, { method, token: null }));
      if (String(anonymous) !== '401,UNAUTHORIZED')
        wrong.push(`${method} ${path} without a token: ${anonymous.join(' ')}`);
      for (const role of ['view', 'operate', 'admin'] as const) {
        const body = method === 'POST' ? {} : undefined;
        const [status, code] = await outcome(await ask(address, { method, token: tokens[role] ?? '', body }));
        const refused = code === 'ROLE_TOO_LOW';
        if (refused !== !suffices(role, needs) || (refused && status !== 403)) {
          wrong.push(`${method} ${path} as ${role}, needs ${needs}: ${status} ${code}`);
        }
      }
    }
    expect(wrong).toEqual([]);
    expect(guarded.length).toBeGreaterThan(30);
  });

  test('view reads, operate steers, and only admin deletes, makes tokens and reads the log', async () => {
    client = '192.0.2.11';
    const { view = '', operate = '', admin = '' } = tokens;
    expect((await ask('/api/jobs', { method: 'POST', body: request, token: view })).status).toBe(403);
    const job = await make<JobView>('/api/jobs', request, operate);
    expect((await get<JobView>(`/api/jobs/${job.id}`, view)).id).toBe(job.id);
    expect(await outcome(await ask(`/api/jobs/${job.id}`, { method: 'DELETE', token: operate }))).toEqual([
      403,
      'ROLE_TOO_LOW',
    ]);
    expect(
      await outcome(await ask('/api/tokens', { method: 'POST', body: { name: 'x', role: 'admin' }, token: operate })),
    ).toEqual([403, 'ROLE_TOO_LOW']);
    expect(await outcome(await ask('/api/audit', { token: operate }))).toEqual([403, 'ROLE_TOO_LOW']);
    expect((await ask(`/api/jobs/${job.id}`, { method: 'DELETE', token: admin })).status).toBe(204);
  });

  test('what has no row in the table is for admins alone', () => {
    for (const [method, path] of [
      ['PUT', '/api/jobs'],
      ['GET', '/api/new'],
      ['POST', '/api/jobs/x/new'],
      ['GET', '/api/jobs/x/y/z'],
    ] as const) {
      expect(asked(method, path).needs, path).toBe('admin');
    }
    expect(asked('HEAD', '/api/jobs').needs).toBe('view');
  });

  test('a WebSocket asks for token, role and Origin before the upgrade, and for a request without a body', async () => {
    client = '192.0.2.12';
    const job = await newJob();
    const { view = '' } = tokens;
    const good = await follow(job.id, view);
    expect(good.status).toBe(101);
    good.socket.terminate();
    expect((await follow(job.id, null)).status).toBe(401);
    expect((await follow(job.id, 'wrong')).status).toBe(401);
    expect((await follow(job.id, view, { headers: { origin: 'https://evil.example' } })).status).toBe(403);
    expect((await follow(job.id, view, { headers: { 'content-length': '5000' } })).status).toBe(413);
    expect((await follow(job.id + 'x'.repeat(3000), view)).status).toBe(413);
  });

  test('a client that says more than a follower has to say is cut off', async () => {
    const job = await newJob();
    const { socket, closed } = await follow(job.id, own);
    socket.send('x'.repeat(2000));
    expect(await closed).toBe(1009);
  });
});

describe('tokens', () => {
  test('only their hash is in the state, and no answer but the first one shows them', async () => {
    client = '192.0.2.20';
    const made = await make<NewToken>('/api/tokens', { name: 'to be looked for', role: 'view' });
    expect(made.token).toMatch(/^pgsluice_[\w-]{43}$/);
    const list = JSON.stringify(await get('/api/tokens'));
    expect(list).toContain(made.id);
    expect(list).not.toContain(made.token);
    const secret = Buffer.from(made.token.slice('pgsluice_'.length));
    const found: string[] = [];
    let looked = 0;
    for (const entry of await readdir(join(directory, 'state'), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const bytes = await readFile(join(entry.parentPath, entry.name));
      looked += bytes.length;
      if (bytes.includes(secret)) found.push(entry.name);
    }
    expect(found).toEqual([]);
    expect(looked).toBeGreaterThan(1_000_000);
  });

  test('one that was revoked or has expired is of no use from that moment on', async () => {
    client = '192.0.2.21';
    const made = await make<NewToken>('/api/tokens', { name: 'short-lived', role: 'admin', expiresIn: 3600 });
    const job = await newJob();
    expect(await get<{ you: unknown }>('/api/agent', made.token)).toMatchObject({
      you: { role: 'admin', name: 'short-lived' },
    });
    const follower = await follow(job.id, made.token);
    expect((await ask(`/api/tokens/${made.id}`, { method: 'DELETE' })).status).toBe(200);
    expect(await follower.closed).toBe(1008);
    expect((await ask('/api/jobs', { token: made.token })).status).toBe(401);
    const { tokens: all } = await get<{ tokens: TokenView[] }>('/api/tokens');
    const row = all.find(({ id }) => id === made.id);
    expect(row?.revokedAt).not.toBeNull();
    expect(row?.lastUsedAt).not.toBeNull();
    expect(await outcome(await ask('/api/tokens/none', { method: 'DELETE' }))).toEqual([404, 'TOKEN_NOT_FOUND']);
  });
});

test('whoever follows by what has expired, or what another agent has revoked, is cut off soon', async () => {
  client = '192.0.2.22';
  const watching = await start({ timeouts: { pingMs: 100 } });
  try {
    const job = await newJob();
    const stays = await follow(job.id, own, { at: watching.url });
    const made = await make<NewToken>('/api/tokens', { name: 'ends elsewhere', role: 'view' });
    const byToken = await follow(job.id, made.token, { at: watching.url });
    const share = await make<NewShare>(`/api/jobs/${job.id}/shares`, {});
    const byShare = await follow(job.id, share.token, { at: watching.url });
    // Nobody tells this server: as when the command line, another agent or the time ends them.
    await manager.access.revokeToken(made.id);
    await manager.access.revokeShare(job.id, share.id);
    expect([await byToken.closed, await byShare.closed]).toEqual([1008, 1008]);
    expect(stays.socket.readyState).toBe(WebSocket.OPEN);
    stays.socket.terminate();
  } finally {
    await watching.close();
  }
});

describe('a link to one job', () => {
  let job: JobView;
  let other: JobView;
  let share: NewShare;

  beforeAll(async () => {
    client = '192.0.2.30';
    job = await newJob();
    other = await newJob();
    share = await make<NewShare>(`/api/jobs/${job.id}/shares`, {});
  });

  test('shows this job without programs, addresses of hooks, users and other jobs', async () => {
    const shown = await get<JobView>(`/api/jobs/${job.id}`, share.token);
    expect(shown).toMatchObject({ id: job.id, state: job.state, source: { host: 'source.example', user: '' } });
    for (const path of ['', '/tables', '/checks', '/logs', '/logs?format=text']) {
      const text = await (await ask(`/api/jobs/${job.id}${path}`, { token: share.token })).text();
      for (const word of [hookOrigin, 'secret', 'sourceuser', 'targetuser', password])
        expect(text, path).not.toContain(word);
    }
    expect(await get<{ you: unknown }>('/api/agent', share.token)).toMatchObject({
      you: { role: 'share', job: job.id },
    });
    expect(share.path).toBe(`/#share=${share.token}&/jobs/${job.id}`);
  });

  test('opens no other job, no list, no report, no change, and does not tell what there is', async () => {
    const refused: unknown[] = [];
    for (const path of [
      `/api/jobs/${other.id}`,
      '/api/jobs/no-such-job',
      `/api/jobs/${other.id}/logs`,
      `/api/jobs/${job.id}/report`,
      `/api/jobs/${job.id}/activity`,
      `/api/jobs/${job.id}/shares`,
      `/api/jobs/${job.id}%2f..%2f${other.id}`,
      `/api/jobs//${other.id}`,
      '/api/jobs',
      '/api/groups',
      '/api/tokens',
      '/api/audit',
      '/api/nothing',
      '/metrics',
    ]) {
      refused.push([path, ...(await outcome(await ask(path, { token: share.token })))]);
    }
    for (const action of ['validate', 'start', 'cancel', 'pause', 'shares']) {
      const path = `/api/jobs/${job.id}/${action}`;
      refused.push([path, ...(await outcome(await ask(path, { method: 'POST', body: {}, token: share.token })))]);
    }
    refused.push([
      'delete',
      ...(await outcome(await ask(`/api/jobs/${job.id}`, { method: 'DELETE', token: share.token }))),
    ]);
    expect(refused.filter((entry) => String(entry).split(',').slice(1).join() !== '403,SHARE_SHOWS_ONE_JOB')).toEqual(
      [],
    );
    expect((await follow(other.id, share.token)).status).toBe(403);
    expect((await get<JobView>(`/api/jobs/${job.id}`)).state).toBe(job.state);
  });

  test('streams the whole log of the job, word for word but for what is hidden', async () => {
    const ended = (events: JobEvent[]): boolean => events.some((event) => event.type === 'result');
    await ask(`/api/jobs/${job.id}/start`, { method: 'POST' });
    const shared = await follow(job.id, share.token, { until: ended });
    const whole = await follow(job.id, own, { until: ended });
    for (const { socket } of [shared, whole]) socket.terminate();
    expect(calls).toBeGreaterThan(0);
    expect(whole.events.length).toBeGreaterThan(15);
    expect(JSON.stringify(whole.events)).toContain(`webhook at ${hookOrigin}`);
    expect(shared.events).toEqual(JSON.parse(JSON.stringify(whole.events).replaceAll(hookOrigin, '***')));
  });

  test('ends at once when it is revoked, and an hour after its job', async () => {
    const second = await make<NewShare>(`/api/jobs/${job.id}/shares`, { expiresIn: 600 });
    const follower = await follow(job.id, second.token);
    expect((await ask(`/api/jobs/${job.id}/shares/${second.id}`, { method: 'DELETE' })).status).toBe(200);
    expect(await follower.closed).toBe(1008);
    expect((await ask(`/api/jobs/${job.id}`, { token: second.token })).status).toBe(401);
    await expect.poll(async () => (await get<JobView>(`/api/jobs/${job.id}`)).state).toBe('completed');
    // It still shows how the job ended.
    expect((await get<JobView>(`/api/jobs/${job.id}`, share.token)).state).toBe('completed');
    const { shares } = await get<{ shares: ShareView[] }>(`/api/jobs/${job.id}/shares`);
    expect(shares.map(({ id, revokedAt }) => [id, revokedAt === null])).toEqual([
      [second.id, false],
      [share.id, true],
    ]);
    expect((await ask(`/api/jobs/${job.id}`, { method: 'DELETE' })).status).toBe(204);
    expect((await ask(`/api/jobs/${job.id}`, { token: share.token })).status).toBe(401);
  });
});

describe('whoever guesses', () => {
  test('is answered ever later, then not at all for a while, even with the right token', async () => {
    client = '198.51.100.1';
    const begun = Date.now();
    const statuses: number[] = [];
    for (let n = 0; n < 6; n += 1) statuses.push((await ask('/api/jobs', { token: `guess-${n}` })).status);
    expect(statuses).toEqual([401, 401, 401, 401, 401, 401]);
    expect(Date.now() - begun).toBeGreaterThan(690);
    await Promise.all(Array.from({ length: 30 }, (_, n) => ask('/api/jobs', { token: `guess-again-${n}` })));
    const blocked = await ask('/api/jobs');
    expect(blocked.status).toBe(429);
    expect(Number(blocked.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await follow('any', own)).status).toBe(429);
  });

  test('locks nobody else out, whatever he writes into X-Forwarded-For', async () => {
    client = '198.51.100.2';
    expect((await ask('/api/jobs')).status).toBe(200);
    client = '198.51.100.2, 198.51.100.1';
    expect((await ask('/api/jobs')).status).toBe(429);
    client = '198.51.100.1, 198.51.100.2';
    expect((await ask('/api/jobs')).status).toBe(200);
  });

  test('costs a request without a token nothing', async () => {
    client = '198.51.100.3';
    for (let n = 0; n < 15; n += 1) expect((await ask('/api/jobs', { token: null })).status).toBe(401);
    expect((await ask('/api/jobs')).status).toBe(200);
  });
});

describe('the door', () => {
  test('turns away clients that are not on the list, in HTTP and WebSocket, however they call themselves', async () => {
    const closed = await start({ clients: { allowed: new IpRanges(['10.0.0.0/8']), proxies: null } });
    try {
      for (const forwarded of ['10.0.0.1', '127.0.0.1']) {
        const response = await ask('/api/jobs', { at: closed.url, headers: { 'x-forwarded-for': forwarded } });
        expect(await outcome(response)).toEqual([403, 'CLIENT_NOT_ALLOWED']);
      }
      const page = await ask('/', { at: closed.url });
      expect(page.status).toBe(403);
      expect(page.headers.get('x-frame-options')).toBe('DENY');
      expect((await follow('x', own, { at: closed.url })).status).toBe(403);
      // The machine itself looks after the agent's health, and its commands have a door of their own.
      expect((await ask('/healthz', { at: closed.url })).status).toBe(200);
      expect((await ask('/api/jobs', { at: closed.localUrl })).status).toBe(200);
    } finally {
      await closed.close();
    }
    const proxied = await start({
      clients: { allowed: new IpRanges(['10.0.0.0/8']), proxies: new IpRanges(['127.0.0.1']) },
    });
    try {
      expect((await ask('/api/jobs', { at: proxied.url, headers: { 'x-forwarded-for': '10.0.0.1' } })).status).toBe(
        200,
      );
      expect(
        (await ask('/api/jobs', { at: proxied.url, headers: { 'x-forwarded-for': '10.0.0.1, 203.0.113.1' } })).status,
      ).toBe(403);
    } finally {
      await proxied.close();
    }
  });

  test('tells browsers with every answer, errors included, what they must not do with it', async () => {
    client = '192.0.2.40';
    const answers = [
      await ask('/', { token: null }),
      await ask('/api/jobs'),
      await ask('/api/jobs', { token: null }),
      await ask('/api/jobs/none'),
      await ask('/no-such-file', { token: null }),
      await ask('/api/jobs', { method: 'PUT' }),
      await ask('/api/jobs', { method: 'POST', body: { name: 'x'.repeat(300_000) } }),
      await ask('/api/jobs', { method: 'POST', headers: { 'content-type': 'application/json' } }),
      await ask('/healthz', { token: null }),
      await ask('/metrics'),
      await ask('/openapi.json'),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 401, 404, 404, 405, 413, 400, 200, 200, 200]);
    for (const { headers, url } of answers) {
      expect({ url, csp: headers.get('content-security-policy') }).toMatchObject({
        csp: expect.stringContaining("default-src 'none'"),
      });
      expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
      expect(headers.get('content-security-policy')).not.toMatch(/unsafe|https?:|\*/);
      expect(headers.get('x-frame-options')).toBe('DENY');
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('referrer-policy')).toBe('no-referrer');
      expect(headers.get('set-cookie')).toBeNull();
    }
    for (const raw of [
      'nonsense\r\n\r\n',
      `GET / HTTP/1.1\r\nhost: x\r\nlong: ${'x'.repeat(40_000)}\r\n\r\n`,
      'GET /api/jobs/x/events HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
    ]) {
      const text = await rawAnswer(raw);
      expect(text).toMatch(/^HTTP\/1\.1 4\d\d /);
      expect(text).toContain('x-frame-options: DENY');
      expect(text).toContain("content-security-policy: default-src 'none'");
    }
  });

  test('lets go of a client that sends its request byte by byte', async () => {
    const impatient = await start({ timeouts: { headersMs: 300, requestMs: 600, checkMs: 50 } });
    try {
      const begun = Date.now();
      const text = await rawAnswer('GET / HTTP/1.1\r\nhost: x\r\nslow', impatient.url);
      expect(text).toContain('408');
      const body = `POST /api/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${own}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{`;
      await rawAnswer(body, impatient.url);
      expect(Date.now() - begun).toBeLessThan(5_000);
    } finally {
      await impatient.close();
    }
  });

  test('speaks TLS, says that it always will, and takes a renewed certificate without a restart', async () => {
    const files = await makeCertificates(join(directory, 'tls'));
    const tls = { cert: join(directory, 'cert.pem'), key: join(directory, 'key.pem') };
    await copyFile(files.cert, tls.cert);
    await copyFile(files.key, tls.key);
    const ca = await readFile(files.ca);
    const secure = await start({ tls });
    const call = (more: object): Promise<{ status: number; sts: string | undefined; subject: string }> =>
      new Promise((resolve, reject) => {
        const headers = { authorization: `Bearer ${own}` };
        const sent = httpsRequest(new URL('/api/jobs', secure.url), { agent: false, headers, ...more }, (response) => {
          response.resume();
          const { subject } = (response.socket as import('node:tls').TLSSocket).getPeerCertificate();
          const sts = response.headers['strict-transport-security'];
          resolve({ status: response.statusCode ?? 0, sts, subject: String(subject.CN) });
        });
        sent.once('error', reject);
        sent.end();
      });
    try {
      expect(secure.url).toMatch(/^https:/);
      expect(await call({ ca })).toMatchObject({ status: 200, sts: 'max-age=31536000' });
      await expect(call({})).rejects.toThrow(/certificate/);
      await expect(call({ ca, maxVersion: 'TLSv1.1', minVersion: 'TLSv1' })).rejects.toThrow(
        /protocol|handshake|ECONNRESET|alert/i,
      );
      const plain = new Promise((resolve, reject) => {
        httpRequest(secure.url.replace('https', 'http'), (response) => resolve(response.statusCode))
          .once('error', reject)
          .end();
      });
      expect(await plain.catch(() => 'refused')).not.toBe(200);
      // Commands of the same machine come in by a door of their own.
      expect((await fetch(`${secure.localUrl}/healthz`)).status).toBe(200);
      await writeFile(tls.cert, 'broken');
      secure.reloadTls();
      expect(await call({ ca })).toMatchObject({ status: 200 });
      await copyFile(files.selfSigned.cert, tls.cert);
      await copyFile(files.selfSigned.key, tls.key);
      await utimes(tls.cert, new Date(), new Date(Date.now() + 5_000));
      const renewed = await readFile(files.selfSigned.cert);
      await expect
        .poll(
          () =>
            call({ ca: renewed }).then(
              ({ subject }) => subject,
              () => null,
            ),
          { timeout: 9_000 },
        )
        .toBe('localhost');
    } finally {
      await secure.close();
    }
    await expect(start({ tls: { ...tls, key: files.key } })).rejects.toMatchObject({ code: 'TLS_FILES_UNUSABLE' });
  });
});

describe('the log of who did what', () => {
  test('names who, from where, what and what came of it, and no secret', async () => {
    client = '203.0.113.77';
    const { operate = '' } = tokens;
    const made = await make<NewToken>('/api/tokens', { name: 'logged', role: 'view' });
    const job = await make<JobView>('/api/jobs', request, operate);
    await ask(`/api/jobs/${job.id}/start`, { method: 'POST', token: operate });
    await ask(`/api/jobs/${job.id}`, { method: 'DELETE', token: made.token });
    const share = await make<NewShare>(`/api/jobs/${job.id}/shares`, {}, operate);
    await ask('/api/jobs', { token: 'a-wrong-token' });
    await ask('/api/jobs', { method: 'POST', body: { ...request, password }, token: operate });
    await ask(`/api/jobs/${job.id}`, { token: operate });
    const { entries } = await get<{ entries: AuditEntry[] }>('/api/audit?limit=1000');
    const here = entries.filter(({ address }) => address === '203.0.113.77').toReversed();
    expect(
      here.map(({ action, subject, status, code, actorName }) => [actorName, action, subject, status, code]),
    ).toEqual([
      ["the agent's own token", 'token.create', made.id, 201, null],
      ['operate of the test', 'job.create', job.id, 201, null],
      ['operate of the test', 'job.start', job.id, 200, null],
      ['logged', 'job.delete', job.id, 403, 'ROLE_TOO_LOW'],
      ['operate of the test', 'share.create', `${job.id}/${share.id}`, 201, null],
      ['', 'sign-in', null, 401, 'UNAUTHORIZED'],
      ['operate of the test', 'job.create', null, 400, 'INVALID_REQUEST'],
    ]);
    const text = JSON.stringify(entries);
    for (const secret of [password, made.token, share.token, own, operate, 'secret-path', 'a-wrong-token'])
      expect(text).not.toContain(secret);
    const [newest] = entries;
    const page = await get<{ entries: AuditEntry[] }>(`/api/audit?limit=2&before=${newest?.id}`);
    expect(page.entries).toEqual(entries.slice(1, 3));
  });

  test('is as long as was asked for, and no longer; nor do tokens and links last', async () => {
    const state = join(directory, 'pruned');
    const store = await Store.open({ state, secretKey: null, role: 'daemon' });
    try {
      await store.db.execute(
        `insert into pgsluice.audit_log (at, actor, actor_name, address, action, status)
         select now() - make_interval(days => 11 - n), 'a', 'a', '', 'x', 200 from generate_series(1, 10) n`,
      );
      expect(await pruneAudit(store.db, { keep: 100, days: 5, limit: 3 })).toBe(3);
      expect(await pruneAudit(store.db, { keep: 100, days: 5, limit: 100 })).toBe(3);
      expect(await pruneAudit(store.db, { keep: 1, days: 5, limit: 100 })).toBe(3);
      const row = { id: 't', hash: 'hash of a token', name: 'x', role: 'admin', expiresIn: 600 } as const;
      await insertToken(store.db, row);
      expect(await useToken(store.db, row.hash)).toEqual({ id: 't', name: 'x', role: 'admin' });
      await store.db.execute(`update pgsluice.access_tokens set expires_at = now() - interval '1 second'`);
      expect(await useToken(store.db, row.hash)).toBeNull();
      await store.db.execute(
        `insert into pgsluice.jobs (id, name, state, options, totals, finished_at)
         values ('j', 'x', 'completed', '{}', '{}', now() - interval '59 minutes')`,
      );
      await store.db.execute(
        `insert into pgsluice.job_shares (id, job_id, hash, created_by, expires_at)
         values ('s', 'j', 'hash of a share', 'x', now() + interval '1 day')`,
      );
      expect(await useShare(store.db, 'hash of a share')).toEqual({ id: 's', jobId: 'j' });
      await store.db.execute(`update pgsluice.jobs set finished_at = now() - interval '61 minutes'`);
      expect(await useShare(store.db, 'hash of a share')).toBeNull();
      await store.db.execute(`update pgsluice.jobs set state = 'running'`);
      expect(await useShare(store.db, 'hash of a share')).toEqual({ id: 's', jobId: 'j' });
      await store.db.execute(`update pgsluice.job_shares set expires_at = now() - interval '1 second'`);
      expect(await useShare(store.db, 'hash of a share')).toBeNull();
    } finally {
      await store.close();
    }
  });
});

/** What the server answers to these bytes, until it ends the connection. */
async function rawAnswer(bytes: string, url = server.url): Promise<string> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  socket.on('error', () => undefined);
  socket.write(bytes);
  await Promise.race([once(socket, 'close'), delay(6_000)]);
  socket.destroy();
  return text;
}
