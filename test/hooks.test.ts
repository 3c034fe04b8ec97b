import { createHmac, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type IncomingHttpHeaders, type Server, createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { JobRequest, type JobRequestInput } from '../src/contract/options.ts';
import type { JobView } from '../src/contract/job.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { fillState } from './support/fresh-state.ts';
import { runCli } from './support/cli.ts';
import { contentsOf } from './support/contents.ts';
import { startDaemon } from './support/daemon.ts';
import { type TestServer, startServer } from './support/servers.ts';

const secret = 'a secret for hooks';

interface Call {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly body: Record<string, unknown>;
}

let server: TestServer;
let folder: string;
let manager: JobManager;
let http: Server;
let base: string;
let calls: Call[] = [];
/** What the receiver answers, one after the other; `drop` ends the connection, `silence` never answers. Then 200. */
let answers: (number | 'drop' | 'silence')[] = [];
let number = 0;

beforeAll(async () => {
  server = await startServer({ name: 'hooks', settings: { wal_level: 'logical' } });
  folder = await mkdtemp(join(tmpdir(), 'pgsluice-hooks-'));
  http = createServer((request, response) => {
    let text = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => (text += chunk));
    request.on('end', () => {
      calls.push({ path: request.url ?? '', headers: request.headers, text, body: JSON.parse(text) });
      const answer = answers.shift() ?? 200;
      if (answer === 'silence') return;
      if (answer === 'drop') return void request.socket.destroy();
      response.writeHead(answer, { location: `${base}/elsewhere` }).end();
    });
  }).listen(0, '127.0.0.1');
  await once(http, 'listening');
  const address = http.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  base = `http://127.0.0.1:${address.port}`;
  await fillState(join(folder, 'state'));
  manager = await open(join(folder, 'state'), true);
});
afterAll(async () => {
  await manager?.stop('end of the test');
  http?.closeAllConnections();
  http?.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});
afterEach(() => {
  calls = [];
  answers = [];
});

async function open(state: string, allowCommands: boolean): Promise<JobManager> {
  const logger = pino({ level: 'silent' });
  const config = { state, secretKey: null, concurrency: 2, pgBinDir: null, logger, role: 'daemon' as const };
  return await JobManager.open({ ...config, allowCommands, hookSecret: secret, hookPauseMs: 20 });
}

/** A Phoenix application's database, and an empty one beside it. */
async function pair(): Promise<{ name: string; source: { url: string }; target: { url: string } }> {
  const name = `app_${(number += 1)}`;
  const source = await server.createDatabase(name);
  const target = await server.createDatabase(`${name}_new`);
  await server.run(
    `CREATE TABLE schema_migrations (version bigint PRIMARY KEY, inserted_at timestamp(0));
     INSERT INTO schema_migrations VALUES (20240101000000, now()), (20240202000000, now());
     CREATE TABLE orders (id int PRIMARY KEY, note text); INSERT INTO orders SELECT i, 'n' || i FROM generate_series(1, 100) i`,
    name,
  );
  return { name, source: { url: source }, target: { url: target } };
}

type Hooks = NonNullable<NonNullable<JobRequestInput['options']>['hooks']>;

async function run(
  place: { source: { url: string }; target: { url: string } },
  hooks: Hooks,
  options: JobRequestInput['options'] = {},
): Promise<JobView> {
  const { source, target } = place;
  const request = { source, target, options: { method: 'copy' as const, ...options, hooks }, start: true };
  const { id } = await manager.create(JobRequest.parse(request));
  return await manager.waitUntilSettled(id);
}

const node = (script: string, ...args: readonly string[]): string[] => [process.execPath, '-e', script, ...args];
const log = async (id: string): Promise<string> =>
  (await manager.logs(id, { limit: 10_000 }))
    .map((event) => (event.type === 'log' ? `${event.level} ${event.message}` : ''))
    .join('\n');
const rows = async (database: string): Promise<unknown[]> =>
  await server.query(`SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace`, database);

function assertSigned(call: Call | undefined): void {
  const header = String(call?.headers['x-pgsluice-signature']);
  const [, t, v1] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(header) ?? [];
  expect(header).toMatch(/^t=/);
  const made = createHmac('sha256', secret).update(`${t}.${call?.text}`).digest();
  expect(timingSafeEqual(made, Buffer.from(v1 ?? '', 'hex'))).toBe(true);
  expect(Math.abs(Number(t) - Date.now() / 1000)).toBeLessThan(60);
}

test('a copy tells its moments in order, and its webhook what came of it', async () => {
  const place = await pair();
  const print = `console.log(process.env.PGSLUICE_MOMENT, process.env.PGSLUICE_JOB_STATE, process.argv[1], process.env.PGSLUICE_TARGET_URL);
    console.error(Object.keys(process.env).sort().join())`;
  const job = await run(place, [
    { on: 'completed', webhook: `${base}/done/token` },
    { on: 'after-validate', command: node(print, '$(id)') },
    { on: 'after-cutover', webhook: `${base}/never` },
    { on: 'failed', webhook: `${base}/never` },
  ]);
  expect(job.state, await log(job.id)).toBe('completed');
  const text = await log(job.id);
  expect(text).toContain('info after-validate: after-validate validating $(id) postgres://postgres:***@127.0.0.1');
  expect(text).toContain(
    'warn after-validate: HOME,PATH,PGSLUICE_DELIVERY,PGSLUICE_JOB,PGSLUICE_JOB_NAME,PGSLUICE_JOB_STATE,PGSLUICE_MAY_BE_REPEATED,PGSLUICE_MOMENT,PGSLUICE_SOURCE_URL,PGSLUICE_TARGET_URL',
  );
  expect(text).toContain('for 600 s at most');
  expect(text).not.toContain('token');
  expect(calls.map(({ path }) => path)).toEqual(['/done/token']);
  assertSigned(calls[0]);
  expect(calls[0]?.headers['x-pgsluice-delivery']).toBe(calls[0]?.body['delivery']);
  expect(calls[0]?.body).toMatchObject({
    job: job.id,
    moment: 'completed',
    state: 'completed',
    mayBeRepeated: false,
    source: `postgres@127.0.0.1:${server.port}/${place.name}`,
    result: { verified: true, differences: 0, tables: 2, rows: 102, error: null },
  });
  const everything = text + calls[0]?.text;
  expect(everything).not.toContain(server.password);
  expect(everything).not.toContain(encodeURIComponent(server.password));
  const report = await manager.report(job.id);
  expect(report.todo.join()).toContain('its hooks of after-cutover were not called');
  expect(report.places).toEqual({ source: null, target: null });
  expect(report.applications).toEqual([
    {
      framework: 'Phoenix/Ecto',
      table: '"public"."schema_migrations"',
      version: '20240202000000',
      migrations: 2,
      sameOnTarget: true,
      unfinished: [],
    },
  ]);
  expect(text).toContain(
    'info Application: Phoenix/Ecto at 20240202000000 (2 migrations, "public"."schema_migrations"); the target says the same.',
  );
});

test('a failing after-validate stops the job before anything is changed; retried, it is asked anew', async () => {
  const place = await pair();
  const flag = join(folder, `flag-${number}`);
  const check = `process.exit(require('node:fs').existsSync(process.argv[1]) ? 0 : 3)`;
  const hooks: Hooks = [
    { on: 'after-validate', command: node(check, flag) },
    { on: 'after-validate', webhook: `${base}/second` },
    { on: 'failed', webhook: `${base}/failed` },
  ];
  const job = await run(place, hooks);
  expect(job).toMatchObject({ state: 'blocked', error: { code: 'HOOK_FAILED' } });
  expect(job.error?.message).toContain('of the hook after-validate ended with exit code 3');
  expect(await rows(`${place.name}_new`)).toEqual([]);
  expect(calls.map(({ path, body }) => [path, body['state']])).toEqual([['/failed', 'blocked']]);
  expect(calls[0]?.body).toMatchObject({ result: { error: { code: 'HOOK_FAILED' } } });
  await writeFile(flag, '');
  await manager.act(job.id, 'retry');
  expect((await manager.waitUntilSettled(job.id)).state).toBe('completed');
  expect(calls.map(({ path }) => path)).toEqual(['/failed', '/second']);
  // Only looking at the servers tells nobody.
  calls = [];
  const { id } = await manager.create(
    JobRequest.parse({ source: place.source, target: place.source, options: { hooks: hooks.slice(1) } }),
  );
  await manager.act(id, 'validate');
  expect((await manager.waitUntilSettled(id)).state).toBe('blocked');
  expect(calls).toEqual([]);
});

test('a webhook is tried again while the receiver fails, never when it refuses, and no redirect is followed', async () => {
  const place = await pair();
  answers = [500, 'drop', 503, 200];
  const job = await run(place, [{ on: 'completed', webhook: `${base}/weak` }]);
  expect(job.state).toBe('completed');
  expect(calls).toHaveLength(4);
  expect(new Set(calls.map(({ headers }) => headers['x-pgsluice-delivery'])).size).toBe(1);
  for (const call of calls) assertSigned(call);
  expect((await manager.report(job.id)).todo).toEqual([]);
  calls = [];
  answers = [404, 302, 500, 500, 500, 500, 500, 200];
  const webhook = (path: string) => ({ on: 'completed' as const, webhook: `${base}/${path}` });
  const refused = await run(place, ['a', 'b', 'c'].map(webhook), { replace: true });
  expect(refused.state).toBe('completed');
  expect(calls.map(({ path }) => path).join(' ')).toBe('/a /b /c /c /c /c /c');
  const todo = (await manager.report(refused.id)).todo.join('\n');
  for (const status of [404, 302, 500]) {
    expect(todo).toContain(`webhook at ${base} of the hook completed answered ${status}`);
  }
});

test('a command that takes too long is ended with what it has started, and stands in the report', async () => {
  const place = await pair();
  const mark = join(folder, 'late');
  const script = `const { spawn } = require('node:child_process');
    spawn(process.execPath, ['-e', "setTimeout(() => require('node:fs').writeFileSync(process.argv[1], ''), 2500)", process.argv[1]]);
    setTimeout(() => undefined, 60000)`;
  const job = await run(place, [
    { on: 'completed', command: node(script, mark), timeout: 1 },
    { on: 'completed', command: ['/does/not/exist'] },
  ]);
  expect(job.state).toBe('completed');
  const todo = (await manager.report(job.id)).todo.join();
  expect(todo).toContain('of the hook completed took longer than 1 s and was ended');
  expect(todo).toContain('could not be started');
  await sleep(2000);
  expect(existsSync(mark)).toBe(false);
});

test('a failing before-cutover leads back to following; after it the target has taken over once', async () => {
  const place = await pair();
  const flag = join(folder, 'ready-to-cut');
  const check = `process.exit(require('node:fs').existsSync(process.argv[1]) ? 0 : 1)`;
  const hooks: Hooks = [
    { on: 'before-cutover', command: node(check, flag) },
    { on: 'before-cutover', webhook: `${base}/before` },
    { on: 'after-cutover', webhook: `${base}/after` },
    { on: 'completed', webhook: `${base}/completed` },
  ];
  const { source, target } = place;
  const { id } = await manager.create(
    JobRequest.parse({ source, target, options: { method: 'live', hooks }, start: true }),
  );
  const until = async (ask: (view: JobView) => boolean): Promise<JobView> => {
    for (let i = 0; i < 600; i += 1) {
      const view = await manager.get(id);
      if (ask(view)) return view;
      await sleep(50);
    }
    throw new Error(`waited in vain: ${(await manager.get(id)).state}\n${await log(id)}`);
  };
  const calm = (view: JobView): boolean =>
    view.state === 'following' && view.live?.connected === true && view.live.lagBytes < 100_000;
  await until(calm);
  await manager.act(id, 'cutover').catch(() => undefined);
  for (let i = 0; i < 200 && !(await log(id)).includes('rolled back'); i += 1) await sleep(50);
  expect(await log(id)).toContain('The cutover was rolled back: The command');
  await until(({ state }) => state === 'following');
  expect(calls).toEqual([]);
  await server.run(`INSERT INTO orders VALUES (1000, 'written after the refusal')`, place.name);
  await writeFile(flag, '');
  await until(calm);
  await manager.act(id, 'cutover');
  const done = await until(({ state }) => ['completed', 'failed', 'paused'].includes(state));
  expect(done, await log(id)).toMatchObject({ state: 'completed', verified: true });
  await until(() => calls.some(({ path }) => path === '/completed'));
  expect(calls.map(({ path, body }) => [path, body['state']])).toEqual([
    ['/before', 'cutting_over'],
    ['/after', 'verifying'],
    ['/completed', 'completed'],
  ]);
  expect((await contentsOf(server, `${place.name}_new`)).get('"public"."orders"')).toBe(
    (await contentsOf(server, place.name)).get('"public"."orders"'),
  );
});

test('an agent that runs no commands refuses a job with one', async () => {
  const place = await pair();
  const other = await open(join(folder, 'other'), false);
  try {
    const { source, target } = place;
    const options = { hooks: [{ on: 'failed', command: ['true'] }] };
    await expect(other.create(JobRequest.parse({ source, target, options }))).rejects.toMatchObject({
      code: 'COMMANDS_NOT_ALLOWED',
    });
  } finally {
    await other.stop('end of the test');
  }
});

test('whoever starts after an agent was killed while it called says that it may have been called', async () => {
  const place = await pair();
  const state = await mkdtemp(join(tmpdir(), 'pgsluice-hooks-state-'));
  let daemon = await startDaemon(state);
  try {
    answers = ['silence'];
    const { source, target } = place;
    const options = { method: 'copy', hooks: [{ on: 'completed', webhook: `${base}/once` }] };
    await daemon.api('/api/jobs', { method: 'POST', body: { source, target, options, start: true } });
    for (let i = 0; i < 600 && calls.length === 0; i += 1) await sleep(50);
    expect(calls).toHaveLength(1);
    await daemon.kill9();
    daemon = await startDaemon(state);
    for (let i = 0; i < 600 && calls.length === 1; i += 1) await sleep(50);
    expect(calls.map(({ body }) => [body['delivery'], body['mayBeRepeated']])).toEqual([
      [calls[0]?.body['delivery'], false],
      [calls[0]?.body['delivery'], true],
    ]);
    expect(calls[1]?.body).toMatchObject({ state: 'completed', result: { verified: true } });
    // Without a secret nothing is signed, and that is said.
    expect(calls[1]?.headers).not.toHaveProperty('x-pgsluice-signature');
    await daemon.kill9();
    daemon = await startDaemon(state);
    await sleep(1500);
    expect(calls).toHaveLength(2);
  } finally {
    await daemon.kill9();
    await rm(state, { recursive: true, force: true });
  }
});

test('the command line takes hooks, and its result comes after them', async () => {
  const place = await pair();
  const out = join(folder, 'from-cli');
  const script = `require('node:fs').writeFileSync(process.argv[1], process.env.PGSLUICE_VERIFIED + ' ' + process.env.PGSLUICE_MOMENT)`;
  const outcome = await runCli(
    [
      'clone',
      '--json',
      '--hook-command',
      `completed=${JSON.stringify(node(script, out))}`,
      '--hook',
      `completed=${base}/cli`,
    ],
    {
      env: {
        PGSLUICE_SOURCE_URL: place.source.url,
        PGSLUICE_TARGET_URL: place.target.url,
        PGSLUICE_HOOK_SECRET: secret,
      },
    },
  );
  expect(outcome.code, outcome.stderr).toBe(0);
  expect(await readFile(out, 'utf8')).toBe('yes completed');
  assertSigned(calls[0]);
  expect(outcome.result).toMatchObject({ status: 'completed', verified: true, error: null });
  expect(outcome.stdout).toContain('Application: Phoenix/Ecto at 20240202000000');
  // The hooks were called before the last line was printed.
  expect(outcome.stdout.indexOf('Hook completed: calling')).toBeGreaterThan(0);
});
