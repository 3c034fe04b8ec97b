import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { type Server, createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { quoteLiteral } from '../src/postgres/quote.ts';
import { root } from './support/binaries.ts';
import { runCli } from './support/cli.ts';
import { long } from './support/long.ts';
import { type TestServer, startServer } from './support/servers.ts';

/** Stands in every secret, so that it is found however the rest of it is escaped. */
const mark = { source: 'QkSourceZ7', target: 'QkTargetZ7', hook: 'QkHookZ7', wrong: 'QkWrongZ7', key: 'QkSecretKeyZ7' };
const secret = (word: string): string => `p@ss/w:rd %41 'q"\\ $x é ${word}`;

/** Every way in which the marks could stand in bytes. */
const forms: readonly (readonly [name: string, bytes: Buffer])[] = Object.values(mark).flatMap((word) => [
  [word, Buffer.from(word)] as const,
  [`${word} in UTF-16`, Buffer.from(word, 'utf16le')] as const,
  [`${word} in hexadecimal digits`, Buffer.from(Buffer.from(word).toString('hex'))] as const,
  // Of three shifts the middle is the same wherever the word stands in what was encoded.
  ...[0, 1, 2].map((shift) => {
    const encoded = Buffer.from(`${'x'.repeat(shift)}${word}`)
      .toString('base64')
      .slice(4, 14);
    return [`${word} in base64`, Buffer.from(encoded)] as const;
  }),
]);
const found: string[] = [];
let looked = 0;

/** Notes where a mark is found; nothing may be in the end. */
function look(where: string, what: string | Buffer): void {
  looked += 1;
  const bytes = typeof what === 'string' ? Buffer.from(what) : what;
  for (const [name, form] of forms) {
    const at = bytes.indexOf(form);
    if (at >= 0) found.push(`${name} in ${where}: …${bytes.toString('latin1', Math.max(0, at - 80), at + 40)}…`);
  }
}

async function lookBelow(where: string, folder: string): Promise<number> {
  let files = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    look(`${where} ${path}`, await readFile(path).catch(() => Buffer.alloc(0)));
    files += 1;
  }
  return files;
}

let source: TestServer;
let target: TestServer;
let place: string;
let hooks: Server;
const called: string[] = [];

const url = (server: TestServer, word: string, database: string, more = ''): string =>
  `postgres://mover:${encodeURIComponent(secret(word))}@127.0.0.1:${server.port}/${database}${more}`;
const hookUrl = (path: string): string => {
  const address = hooks.address();
  if (address === null || typeof address === 'string') throw new Error('the receiver does not listen');
  return `http://${mark.hook}:${encodeURIComponent(secret(mark.hook))}@127.0.0.1:${address.port}/${path}/${mark.hook}?k=${mark.hook}`;
};

beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'pgsluice-secrets-'));
  await Promise.all(['state', 'tmp', 'bin', 'cli'].map((name) => mkdir(join(place, name))));
  [source, target] = await Promise.all([
    startServer({ name: 'secrets-source', settings: { wal_level: 'logical' } }),
    startServer({ name: 'secrets-target' }),
  ]);
  const each = [
    [source, mark.source],
    [target, mark.target],
  ] as const;
  for (const [server, word] of each) {
    await server.run(
      `CREATE ROLE mover SUPERUSER LOGIN PASSWORD ${quoteLiteral(secret(word))}; CREATE ROLE shut NOLOGIN`,
    );
  }
  await source.createDatabase('shop');
  await source.run(
    `CREATE TABLE item (id int PRIMARY KEY, name text); INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 5000) n; CREATE SEQUENCE s; CREATE VIEW v AS SELECT * FROM item`,
    'shop',
  );
  // A live job ends with a source that only reads.
  await source.createDatabase('moved', 'TEMPLATE shop');
  for (const name of ['copy', 'live', 'loaded', 'cli', 'fails']) await target.createDatabase(name);
  hooks = createServer((request, response) => {
    called.push(request.headers.authorization ?? '');
    response.statusCode = request.url?.startsWith('/refuse') === true ? 400 : 204;
    response.end();
  });
  await new Promise<void>((resolve) => hooks.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  await Promise.all([source?.stop(), target?.stop()]);
  await new Promise((resolve) => (hooks === undefined ? resolve(null) : hooks.close(resolve)));
  await rm(place, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
});

interface Agent {
  readonly child: ChildProcess;
  readonly address: string;
  readonly token: string;
  ask(
    path: string,
    init?: { method?: string; body?: unknown; raw?: string },
  ): Promise<{ status: number; text: string }>;
}

async function startAgent(env: Record<string, string>): Promise<Agent> {
  const state = join(place, 'state');
  const child = spawn(process.execPath, [join(root, 'bin/pgsluice.js'), 'serve', '--port', '0', '--allow-commands'], {
    cwd: join(place, 'tmp'),
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: place,
      TMPDIR: join(place, 'tmp'),
      PGSLUICE_STATE: state,
      PGSLUICE_LOG_LEVEL: 'debug',
      PGSLUICE_SECRET_KEY: secret(mark.key),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stdout.on('data', (chunk: Buffer) => look('what the agent prints', chunk));
  child.stderr.on('data', (chunk: Buffer) => look('the log of the agent', chunk));
  const until = Date.now() + 90_000;
  for (;;) {
    if (Date.now() > until || child.exitCode !== null) throw new Error('the agent did not get ready');
    try {
      const {
        url: address,
        token,
        pid,
      } = JSON.parse(await readFile(join(state, 'daemon.json'), 'utf8')) as { url: string; token: string; pid: number };
      if (pid !== child.pid) throw new Error('not yet');
      const ask: Agent['ask'] = async (path, { method = 'GET', body, raw } = {}) => {
        const payload = raw ?? (body === undefined ? undefined : JSON.stringify(body));
        const answer = await fetch(`${address}${path}`, {
          method,
          headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
          ...(payload === undefined ? {} : { body: payload }),
        });
        const text = await answer.text();
        look(`the answer to ${method} ${path}`, text + JSON.stringify([...answer.headers]));
        return { status: answer.status, text };
      };
      return { child, address, token, ask };
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      await sleep(50);
    }
  }
}

/** Looks at all processes below the agent, and at the agent itself, until `stop`. Who has a password in its environment is counted. */
function watchProcesses(agent: number): { stop(): Promise<ReadonlyMap<string, number>> } {
  const holders = new Map<string, number>();
  const over = new AbortController();
  const read = async (pid: string, file: string): Promise<Buffer> =>
    await readFile(`/proc/${pid}/${file}`).catch(() => Buffer.alloc(0));
  const round = async (): Promise<void> => {
    const parents = new Map<string, string>();
    for (const pid of await readdir('/proc')) {
      if (!/^\d+$/.test(pid)) continue;
      const status = (await read(pid, 'stat')).toString();
      parents.set(pid, status.slice(status.lastIndexOf(')') + 2).split(' ')[1] ?? '');
    }
    const below = (pid: string): boolean =>
      pid === String(agent) || (parents.has(pid) && below(parents.get(pid) ?? ''));
    for (const pid of parents.keys()) {
      if (!below(pid)) continue;
      const [line, environment] = [await read(pid, 'cmdline'), await read(pid, 'environ')];
      look(`the arguments of ${pid}`, line);
      const name = line.toString().split('\0')[0]?.split('/').at(-1) ?? '';
      // Between fork and exec a child is still its parent's copy.
      if (pid === String(agent) || name === 'node') continue;
      const variables = environment
        .toString()
        .split('\0')
        .filter((one) => !one.startsWith('PGPASSWORD='));
      if (variables.length > 0) look(`the environment of ${line.toString()}`, variables.join('\0'));
      if (environment.includes('PGPASSWORD=')) holders.set(name, (holders.get(name) ?? 0) + 1);
    }
  };
  const running = (async () => {
    while (!over.signal.aborted) {
      await round();
      await sleep(5);
    }
  })();
  return {
    stop: async () => {
      over.abort();
      await running;
      return holders;
    },
  };
}

interface Job {
  readonly id: string;
  readonly state: string;
}
const ended = ['completed', 'failed', 'blocked', 'cancelled', 'paused'];

/** Makes a job, follows its events, waits for its end, and looks at all that the API tells of it. */
async function runJob(agent: Agent, body: Record<string, unknown>): Promise<Job> {
  const made = await agent.ask('/api/jobs', { method: 'POST', body: { start: true, ...body } });
  if (made.status !== 201) throw new Error(made.text);
  let job = JSON.parse(made.text) as Job;
  const socket = new WebSocket(`${agent.address.replace('http', 'ws')}/api/jobs/${job.id}/events?after=0`, {
    headers: { authorization: `Bearer ${agent.token}` },
  });
  socket.on('message', (data: Buffer) => look(`an event of ${job.id}`, data));
  socket.on('error', () => undefined);
  const until = Date.now() + 60_000;
  while (!ended.includes(job.state) && Date.now() < until) {
    await sleep(100);
    job = JSON.parse((await agent.ask(`/api/jobs/${job.id}`)).text) as Job;
  }
  for (const path of [
    '',
    '/tables',
    '/checks',
    '/checks?format=csv',
    '/checks?format=md',
    '/logs',
    '/logs?format=text&level=debug',
    '/report',
    '/report?format=html',
    '/activity',
  ])
    await agent.ask(`/api/jobs/${job.id}${path}`);
  socket.close();
  return job;
}

/** What goes the ways of the others, and takes its time. */
const leftOut: ReadonlySet<string> = new Set(['import', 'wrong host', 'no TLS', 'refused role', 'no database']);

test('no password is found anywhere but where it is needed', async () => {
  const agent = await startAgent({ PGSLUICE_HOOK_SECRET: secret(mark.hook) });
  const watch = watchProcesses(agent.child.pid ?? 0);
  const here = { url: url(source, mark.source, 'shop') };
  const to = (database: string) => ({ url: url(target, mark.target, database) });
  const states: Record<string, string> = {};
  const run = async (name: string, body: Record<string, unknown>): Promise<string> => {
    if (!long && leftOut.has(name)) return '';
    const { id, state } = await runJob(agent, body);
    states[name] = state;
    return id;
  };

  const hook = [
    { on: 'completed', webhook: hookUrl('done') },
    { on: 'completed', webhook: hookUrl('refuse') },
    {
      on: 'after-validate',
      command: [
        '/bin/sh',
        '-c',
        // The second time as what nobody takes for a URL any more.
        'echo "$PGSLUICE_SOURCE_URL" "$PGSLUICE_TARGET_URL"; echo "${PGSLUICE_SOURCE_URL#*://}"; echo "$PGSLUICE_TARGET_URL" >&2',
      ],
    },
  ];
  const copied = await run('copy', { source: here, target: to('copy'), options: { hooks: hook } });
  const archive = { path: join(place, 'archive') };
  await run('export', { kind: 'export', source: here, archive });
  await run('import', { kind: 'import', target: to('loaded'), archive });
  await run('live', {
    source: { url: url(source, mark.source, 'moved') },
    target: to('live'),
    options: { method: 'live', cutover: 'auto', handOver: { webhook: hookUrl('moved') } },
  });

  const bad = { url: url(source, mark.wrong, 'shop') };
  await run('wrong password', { source: bad, target: to('fails') });
  await run('wrong host', {
    source: { url: url(source, mark.source, 'shop').replace('127.0.0.1', 'nowhere.invalid') },
    target: to('fails'),
  });
  await run('no TLS', {
    source: { url: url(source, mark.source, 'shop', '?sslmode=verify-full') },
    target: to('fails'),
  });
  await run('refused role', { source: { ...here, user: 'shut' }, target: to('fails') });
  await run('no database', { source: here, target: to('nothing') });
  await run('failing hook', {
    source: here,
    target: to('fails'),
    options: { hooks: [{ on: 'after-validate', webhook: hookUrl('refuse') }] },
  });

  const group = await agent.ask('/api/groups', {
    method: 'POST',
    body: { source: here, target: to('postgres'), databases: ['shop'], options: { createDatabase: true }, start: true },
  });
  const groupId = (JSON.parse(group.text) as { id?: string }).id ?? '';
  for (let turn = 0; turn < 100; turn += 1) {
    const { text } = await agent.ask(`/api/groups/${groupId}`);
    if (!/"state":"(draft|validating|ready|running|verifying)"/.test(text)) break;
    await sleep(200);
  }

  // What is refused before it becomes a job.
  const refusals: readonly { body?: unknown; raw?: string }[] = [
    { body: { source: { url: `postgres://mover:${secret(mark.source)}@h/d` }, target: to('copy') } },
    { body: { source: { url: `postgres://mover:x?${mark.source}=${mark.source}@h/d` }, target: to('copy') } },
    { body: { source: { ...here, passwort: secret(mark.source) }, target: to('copy') } },
    { body: { source: { url: 1, password: secret(mark.source) }, target: to('copy') } },
    {
      body: {
        source: here,
        target: to('copy'),
        options: { hooks: [{ on: 'completed', webhook: `ftp://${mark.hook}@h/` }] },
      },
    },
    { raw: `{"source":{"password":"${mark.source}"` },
    { raw: mark.source },
    { raw: `{"source": ${mark.source}}` },
  ];
  for (const one of refusals) {
    const { status } = await agent.ask('/api/jobs', { method: 'POST', ...one });
    expect(status).toBeGreaterThanOrEqual(400);
    expect(status).toBeLessThan(500);
  }
  for (const path of [
    '/api/jobs',
    '/api/groups',
    '/api/audit',
    '/api/tokens',
    '/metrics',
    '/openapi.json',
    '/healthz',
    '/readyz',
    `/api/jobs/${mark.source.slice(0, 3)}`,
  ])
    await agent.ask(path);

  const holders = await watch.stop();
  agent.child.kill('SIGKILL');
  await new Promise((resolve) => agent.child.once('exit', resolve));

  const expected = {
    copy: 'completed',
    export: 'completed',
    import: 'completed',
    live: 'completed',
    'wrong password': 'blocked',
    'wrong host': 'blocked',
    'no TLS': 'blocked',
    'refused role': 'blocked',
    'no database': 'blocked',
    'failing hook': 'blocked',
  };
  expect(states).toEqual(Object.fromEntries(Object.entries(expected).filter(([name]) => long || !leftOut.has(name))));
  // The receiver was given what is its own, so the addresses were really used.
  const basic = `Basic ${Buffer.from(`${mark.hook}:${secret(mark.hook)}`).toString('base64')}`;
  expect(called.length).toBeGreaterThanOrEqual(3);
  expect(new Set(called)).toEqual(new Set([basic]));
  expect([...holders.keys()].toSorted()).toEqual(['pg_dump']);
  expect(copied).not.toBe('');

  const files = [
    await lookBelow('the state', join(place, 'state')),
    await lookBelow('the archive', archive.path),
    await lookBelow('a temporary file', join(place, 'tmp')),
  ];
  expect(files[0]).toBeGreaterThan(100);
  expect(files[1]).toBeGreaterThan(2);
  expect(looked).toBeGreaterThan(1000);
  expect(found).toEqual([]);
});

test('the command line prints no password, nor does a pg_dump that is none of PostgreSQL', async () => {
  const pgBin = join(place, 'bin');
  for (const name of ['pg_dump', 'pg_restore']) {
    const script = `#!/bin/sh\ncase "$1" in --version) echo "${name} (PostgreSQL) 18.0"; exit 0;; esac\necho "could not do it with $PGPASSWORD" >&2\nenv >&2\nexit 1\n`;
    await writeFile(join(pgBin, name), script, { mode: 0o755 });
  }
  const env = {
    PGSLUICE_SOURCE_URL: url(source, mark.source, 'shop'),
    PGSLUICE_TARGET_URL: url(target, mark.target, 'cli'),
    PGSLUICE_LOG_LEVEL: 'debug',
  };
  const state = join(place, 'cli');
  const runs = [
    await runCli(['clone', '--json'], { state, env, pgBin }),
    await runCli(['clone', '--json'], { state, env }),
    await runCli(['validate'], {
      state,
      env: { ...env, PGSLUICE_SOURCE_URL: `postgres://mover:${secret(mark.source)}@h/d` },
    }),
  ];
  expect(runs.map(({ code }) => code)).toEqual([1, 0, 2]);
  for (const { stdout, stderr } of runs) look('what the command line prints', stdout + stderr);
  await lookBelow('the state of the command line', state);
  expect(found).toEqual([]);
});
