import { type Server, type Socket, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PgsluiceError, cancelledError } from '../src/errors.ts';
import { type Session, type SessionOptions, openSession } from '../src/postgres/session.ts';
import { type EndpointLike, parseEndpoint } from '../src/postgres/settings.ts';
import { libpqEnvironment, runTool } from '../src/postgres/tools.ts';
import { readServerVersion } from '../src/postgres/version.ts';
import { type TestServer, startServer } from './support/servers.ts';

const pem = (name: string): string => fileURLToPath(new URL(`fixtures/tls/${name}`, import.meta.url));

let plain: TestServer;
let tls: TestServer;
const fakes: Server[] = [];

beforeAll(async () => {
  [plain, tls] = await Promise.all([
    startServer({ name: 'plain', settings: { max_connections: '12', superuser_reserved_connections: '2' } }),
    startServer({
      name: 'tls',
      ssl: { cert: pem('server.crt'), key: pem('server.key') },
      hba: [
        'hostssl tls_only all all scram-sha-256',
        'hostnossl plain_only all all scram-sha-256',
        'host tls_only,plain_only,nobody all all reject',
        'host all trusted all trust',
      ],
    }),
  ]);
  await tls.createDatabase('tls_only');
  await tls.createDatabase('plain_only');
});

afterAll(async () => {
  for (const fake of fakes) fake.close();
  await Promise.all([plain?.stop(), tls?.stop()]);
});

function options(more: Partial<SessionOptions> = {}): SessionOptions {
  return { signal: new AbortController().signal, side: 'source', purpose: 'test', ...more };
}

async function withSession<T>(endpoint: EndpointLike, use: (session: Session) => Promise<T>): Promise<T> {
  const session = await openSession(parseEndpoint(endpoint, 'source'), options());
  try {
    return await use(session);
  } finally {
    await session.close();
  }
}

async function failure(work: Promise<unknown>): Promise<PgsluiceError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof PgsluiceError) return error;
    throw error;
  }
  throw new Error('it succeeded');
}

/** The code of the failure to connect; every message must begin with the side, name the server and hide the password. */
async function refusal(endpoint: EndpointLike): Promise<string> {
  const error = await failure(withSession(endpoint, () => Promise.resolve()));
  expect(error.message).toMatch(/^The source \S+@\S+:\d+\/\S+ /);
  expect(error.hint).not.toBe('');
  expect(`${error.message} ${error.hint}`).not.toContain(plain.password);
  return error.code;
}

const encrypted = (endpoint: EndpointLike): Promise<boolean | undefined> =>
  withSession(endpoint, async (session) => {
    const rows = await session.query<{ ssl: boolean }>(
      'select ssl from pg_stat_ssl where pid = pg_catalog.pg_backend_pid()',
    );
    expect(session.encrypted).toBe(rows[0]?.ssl);
    return rows[0]?.ssl;
  });

/** A port where something else listens. */
async function fakeServer(onConnection: (socket: Socket) => void): Promise<EndpointLike> {
  const server = createServer(onConnection);
  fakes.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return { url: `postgres://u:p@127.0.0.1:${address.port}/d?connect_timeout=2` };
}

async function sessionsOf(server: TestServer, purpose: string): Promise<number> {
  const rows = await server.query(`select 1 from pg_stat_activity where application_name = $1`, 'postgres', [
    `pgsluice ${purpose}`,
  ]);
  return rows.length;
}

async function goneWithin(server: TestServer, purpose: string, ms: number): Promise<boolean> {
  const until = Date.now() + ms;
  while (Date.now() < until) {
    if ((await sessionsOf(server, purpose)) === 0) return true;
    await sleep(50);
  }
  return false;
}

describe('a session', () => {
  test('settles its settings whatever database and role prefer', async () => {
    const url = await plain.createDatabase('stubborn');
    await plain.run(`
      alter database stubborn set datestyle = 'German';
      alter database stubborn set timezone = 'Asia/Tokyo';
      alter database stubborn set extra_float_digits = -5;
      alter database stubborn set bytea_output = 'escape';
      alter database stubborn set intervalstyle = 'iso_8601';
      alter database stubborn set search_path = 'nowhere';
      alter database stubborn set default_transaction_read_only = on;
      alter database stubborn set array_nulls = off;
      alter role postgres in database stubborn set statement_timeout = '1s';
      alter role postgres in database stubborn set idle_in_transaction_session_timeout = '1s';
      alter role postgres in database stubborn set lock_timeout = '1s'`);
    await withSession({ url }, async (session) => {
      const rows = await session.query<{ name: string; setting: string }>(
        `select lower(name) as name, setting from pg_settings where lower(name) in (
           'datestyle', 'timezone', 'extra_float_digits', 'bytea_output', 'intervalstyle', 'search_path', 'row_security',
           'default_transaction_read_only', 'array_nulls', 'statement_timeout', 'lock_timeout',
           'idle_in_transaction_session_timeout', 'application_name', 'client_encoding') order by 1`,
      );
      expect(Object.fromEntries(rows.map((row) => [row.name, row.setting]))).toEqual({
        application_name: 'pgsluice test',
        array_nulls: 'on',
        bytea_output: 'hex',
        client_encoding: 'UTF8',
        datestyle: 'ISO, MDY',
        default_transaction_read_only: 'off',
        extra_float_digits: '3',
        idle_in_transaction_session_timeout: '0',
        intervalstyle: 'postgres',
        lock_timeout: '0',
        row_security: 'off',
        search_path: 'pg_catalog',
        statement_timeout: '0',
        timezone: 'UTC',
      });
      expect((await readServerVersion(session)).major).toBe(plain.major);
    });
  });

  test('is read-only when asked', async () => {
    const session = await openSession(parseEndpoint({ url: plain.url() }, 'target'), {
      ...options({ readOnly: true }),
      side: 'target',
    });
    const error = await failure(session.run('create table public.t (a int)'));
    expect(error.code).toBe('READ_ONLY_TARGET');
    await session.close();
    await session.close();
    expect((await failure(session.run('select 1'))).code).toBe('CONNECTION_LOST');
  });

  test('explains a refused statement with its SQLSTATE and keeps the cause', async () => {
    await withSession({ url: plain.url() }, async (session) => {
      const error = await failure(session.query('select * from public.nothing'));
      expect(error).toMatchObject({ code: 'SERVER_ERROR', retryable: false });
      expect(error.message).toContain('42P01');
      expect(error.message).toContain('public.nothing');
      expect(error.cause).toMatchObject({ code: '42P01' });
      await session.run('select 1; select 2');
    });
  });

  test('works through a Unix socket, where TLS does not exist', async () => {
    const directory = encodeURIComponent(plain.socketDir);
    const secret = encodeURIComponent(plain.password);
    const base = `postgres://postgres:${secret}@${directory}:${plain.port}/postgres`;
    expect(await encrypted({ url: `${base}?sslmode=verify-full` })).toBe(false);
    const missing = join(tmpdir(), 'no-such-directory');
    expect(await refusal({ url: `postgres:///postgres?user=u&host=${encodeURIComponent(missing)}` })).toBe(
      'CONNECTION_REFUSED',
    );
  });
});

test('what a server refuses is told apart on a real one', async () => {
  await withSession({ url: plain.url() }, async (session) => {
    await session.run('create table public.kinds (a int)');
    const codes: Record<string, string> = {};
    for (const sql of [
      'grant select on public.kinds to absent',
      'alter table public.kinds owner to absent',
      'create extension absent',
      'begin isolation level repeatable read; set transaction snapshot $$00000003-0000001B-1$$',
      'rollback; execute absent',
      'create table public.kinds2 (a absent)',
    ]) {
      codes[sql.replace(/^.*; /, '')] = (await failure(session.run(sql))).code;
    }
    expect(Object.values(codes)).toEqual([
      'ROLE_MISSING',
      'ROLE_MISSING',
      'EXTENSION_UNAVAILABLE',
      'SNAPSHOT_GONE',
      'TRANSACTION_POOLER',
      'SERVER_ERROR',
    ]);
  });
});

describe('sslmode', () => {
  test.each([
    ['disable', false],
    ['allow', false],
    ['prefer', true],
    ['require', true],
    [`require&sslrootcert=${pem('ca.crt')}`, true],
    [`verify-ca&sslrootcert=${pem('ca.crt')}`, true],
    [`verify-full&sslrootcert=${pem('ca.crt')}`, true],
  ])('%s on a server with TLS', async (mode, expected) => {
    const url = `${tls.url()}?sslmode=${mode}`;
    expect(await encrypted({ url })).toBe(expected);
    // libpq must come to the same conclusion.
    const result = await runTool({
      command: join(tls.binDir, 'pg_dump'),
      args: ['--schema-only'],
      env: libpqEnvironment(parseEndpoint({ url }, 'source')),
      signal: new AbortController().signal,
    });
    expect(result.stdout).toContain('PostgreSQL database dump');
  });

  test.each([
    ['disable', false],
    ['allow', false],
    ['prefer', false],
  ])('%s on a server without TLS', async (mode, expected) => {
    expect(await encrypted({ url: `${plain.url()}?sslmode=${mode}` })).toBe(expected);
  });

  test.each(['require', `verify-ca&sslrootcert=${pem('ca.crt')}`, `verify-full&sslrootcert=${pem('ca.crt')}`])(
    '%s is refused by a server without TLS',
    async (mode) => {
      expect(await refusal({ url: `${plain.url()}?sslmode=${mode}` })).toBe('TLS_REFUSED');
    },
  );

  test.each([
    `require&sslrootcert=${pem('other-ca.crt')}`,
    `verify-ca&sslrootcert=${pem('other-ca.crt')}`,
    `verify-full&sslrootcert=${pem('other-ca.crt')}`,
    'verify-full&sslrootcert=system',
    `verify-ca&sslrootcert=${pem('missing.crt')}`,
  ])('%s does not trust a stranger', async (mode) => {
    expect(await refusal({ url: `${tls.url()}?sslmode=${mode}` })).toBe('TLS_VERIFICATION_FAILED');
  });

  test('only verify-full looks at the name', async () => {
    const root = { host: 'localhost', sslrootcert: pem('ca.crt') };
    const url = tls.url();
    expect(await encrypted({ url, ...root, sslmode: 'verify-ca' })).toBe(true);
    expect(await refusal({ url, ...root, sslmode: 'verify-full' })).toBe('TLS_VERIFICATION_FAILED');
  });

  test('allow and prefer change sides when pg_hba.conf asks for it', async () => {
    expect(await encrypted({ url: `${tls.url('tls_only')}?sslmode=allow` })).toBe(true);
    expect(await encrypted({ url: `${tls.url('plain_only')}?sslmode=prefer` })).toBe(false);
    expect(await refusal({ url: `${tls.url('tls_only')}?sslmode=disable` })).toBe('TLS_REQUIRED');
    expect(await refusal({ url: `${tls.url('plain_only')}?sslmode=require` })).toBe('NO_PG_HBA_ENTRY');
    for (const mode of ['disable', 'allow', 'prefer', 'require']) {
      expect(await refusal({ url: `${tls.url('nobody')}?sslmode=${mode}` })).toBe('NO_PG_HBA_ENTRY');
    }
  });
});

describe('a connection that cannot be made says why', () => {
  test('credentials and names', async () => {
    expect(await refusal({ url: plain.url(), password: 'wrong' })).toBe('AUTHENTICATION_FAILED');
    expect(await refusal({ host: plain.host, port: plain.port, user: 'postgres', database: 'postgres' })).toBe(
      'AUTHENTICATION_FAILED',
    );
    expect(await refusal({ url: plain.url('absent') })).toBe('UNKNOWN_DATABASE');
    expect(await refusal({ url: tls.url('postgres', 'trusted', '') })).toBe('UNKNOWN_ROLE');
  });

  test('hosts and ports', async () => {
    expect(await refusal({ url: 'postgres://u:p@host.invalid/d' })).toBe('UNKNOWN_HOST');
    const closed = await fakeServer(() => undefined);
    await new Promise((resolve) => fakes.pop()?.close(resolve));
    expect(await refusal(closed)).toBe('CONNECTION_REFUSED');
  });

  test.each(['disable', 'prefer', 'require'])('something else on the port, sslmode=%s', async (sslmode) => {
    const web = await fakeServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    });
    expect(await refusal({ ...web, sslmode })).toBe('NOT_POSTGRESQL');
    const ssh = await fakeServer((socket) => {
      socket.on('error', () => undefined);
      socket.write('SSH-2.0-OpenSSH_9.2\r\n');
    });
    expect(await refusal({ ...ssh, sslmode })).toBe('NOT_POSTGRESQL');
    const door = await fakeServer((socket) => {
      socket.on('error', () => undefined);
      socket.destroy();
    });
    expect(await refusal({ ...door, sslmode })).toBe('NOT_POSTGRESQL');
    const wall = await fakeServer((socket) => {
      socket.on('error', () => undefined);
    });
    const started = Date.now();
    expect(await refusal({ ...wall, sslmode })).toBe('CONNECT_TIMEOUT');
    expect(Date.now() - started).toBeLessThan(3000);
  });

  test('a connection limit of a role, tried again for as long as asked', async () => {
    await plain.run(`create role narrow login password 'n' connection limit 1`);
    const settings = parseEndpoint({ url: plain.url('postgres', 'narrow', 'n') }, 'source');
    const first = await openSession(settings, options());
    expect(await refusal({ url: plain.url('postgres', 'narrow', 'n') })).toBe('TOO_MANY_CONNECTIONS');
    const tries: number[] = [];
    const waiting = openSession(
      settings,
      options({ retryForMs: 10_000, onRetry: (_why, attempt) => tries.push(attempt) }),
    );
    await sleep(400);
    await first.close();
    await (await waiting).close();
    expect(tries.length).toBeGreaterThan(0);
  });

  test('a server that starts while we wait', async () => {
    const late = await startServer({ name: 'late' });
    await late.halt();
    const settings = parseEndpoint({ url: late.url() }, 'source');
    expect((await failure(openSession(settings, options()))).code).toBe('CONNECTION_REFUSED');
    const waiting = openSession(settings, options({ retryForMs: 20_000 }));
    await late.start();
    await (await waiting).close();
    await late.stop();
  });
});

describe('cancelling', () => {
  for (const sslmode of ['disable', 'require'] as const) {
    test(`ends a running statement and the session, sslmode=${sslmode}`, async () => {
      const controller = new AbortController();
      const purpose = `sleep ${sslmode}`;
      const session = await openSession(
        parseEndpoint({ url: tls.url(), sslmode }, 'source'),
        options({ signal: controller.signal, purpose }),
      );
      const sleeping = failure(session.query('select pg_sleep(60)'));
      await sleep(300);
      const started = Date.now();
      controller.abort(cancelledError('Somebody pressed Ctrl-C.'));
      expect(await sleeping).toMatchObject({ code: 'CANCELLED', message: 'Somebody pressed Ctrl-C.' });
      expect(await goneWithin(tls, purpose, 3000)).toBe(true);
      await session.close();
      expect(Date.now() - started).toBeLessThan(3000);
      expect((await failure(session.query('select 1'))).code).toBe('CANCELLED');
      expect((await failure(openSession(session.settings, options({ signal: controller.signal })))).code).toBe(
        'CANCELLED',
      );
    });

    test(`cancelRunning ends the statement only, sslmode=${sslmode}`, async () => {
      await withSession({ url: tls.url(), sslmode }, async (session) => {
        const sleeping = failure(session.query('select pg_sleep(60)'));
        await sleep(200);
        await session.cancelRunning();
        expect((await sleeping).code).toBe('QUERY_CANCELLED');
        expect(await session.query('select 1 as one')).toEqual([{ one: 1 }]);
      });
    });
  }

  test('ends COPY in both directions', async () => {
    await plain.run('create table copied (a text)');
    const controller = new AbortController();
    const open = (): Promise<Session> =>
      openSession(
        parseEndpoint({ url: plain.url() }, 'source'),
        options({ signal: controller.signal, purpose: 'copying' }),
      );
    const [reader, writer] = await Promise.all([open(), open()]);
    // Nobody reads this one, so the server soon blocks while it writes.
    const out = reader.client.query(
      copyTo(`copy (select repeat('x', 1000) from generate_series(1, 10000000)) to stdout`),
    );
    const into = writer.client.query(copyFrom('copy public.copied from stdin'));
    const ended = [out, into].map((stream) => new Promise((resolve) => stream.once('error', resolve)));
    into.write('a\n');
    await sleep(500);
    expect(await sessionsOf(plain, 'copying')).toBe(2);
    controller.abort();
    expect(await goneWithin(plain, 'copying', 3000)).toBe(true);
    await Promise.all(ended);
    expect(await plain.query('select count(*)::int as n from copied')).toEqual([{ n: 0 }]);
  });

  test('while connecting, at once', async () => {
    const wall = await fakeServer((socket) => {
      socket.on('error', () => undefined);
    });
    const controller = new AbortController();
    const connecting = failure(openSession(parseEndpoint(wall, 'source'), options({ signal: controller.signal })));
    await sleep(100);
    const started = Date.now();
    controller.abort();
    expect((await connecting).code).toBe('CANCELLED');
    expect(Date.now() - started).toBeLessThan(500);
  });

  test('many sessions at once leave none behind', async () => {
    const controller = new AbortController();
    const sessions = await Promise.all(
      Array.from({ length: 8 }, () =>
        openSession(
          parseEndpoint({ url: plain.url() }, 'source'),
          options({ signal: controller.signal, purpose: 'many' }),
        ),
      ),
    );
    const sleeping = sessions.map((session) => failure(session.query('select pg_sleep(60)')));
    await sleep(200);
    controller.abort();
    for (const error of await Promise.all(sleeping)) expect(error.code).toBe('CANCELLED');
    expect(await goneWithin(plain, 'many', 3000)).toBe(true);
  });
});

/** Ends the session from the server's side. */
async function terminate(session: Session): Promise<void> {
  await sleep(100);
  await plain.query('select pg_terminate_backend($1)', 'postgres', [session.processId]);
  await sleep(100);
}

describe('a lost connection', () => {
  test('is noticed while idle', async () => {
    const session = await openSession(parseEndpoint({ url: plain.url() }, 'source'), options());
    await terminate(session);
    expect(session.lost).toBe(true);
    expect((await failure(session.query('select 1'))).code).toBe('CONNECTION_LOST');
    await session.close();
  });

  test('is explained to the statement it ended', async () => {
    const session = await openSession(parseEndpoint({ url: plain.url() }, 'source'), options());
    const sleeping = failure(session.query('select pg_sleep(60)'));
    await terminate(session);
    expect(session.lost).toBe(true);
    await session.close();
    expect(await sleeping).toMatchObject({ code: 'CONNECTION_LOST', retryable: true });
  });
});

describe('a tool', () => {
  const env = { PATH: process.env['PATH'] ?? '' };

  test('is ended with its whole process group', async () => {
    const controller = new AbortController();
    const lines: string[] = [];
    // Neither the shell nor its child obeys SIGINT.
    const running = failure(
      runTool({
        command: '/bin/sh',
        args: ['-c', `trap '' INT; sleep 61.25 & echo $! >&2; wait; wait`],
        env,
        signal: controller.signal,
        onStderrLine: (line) => lines.push(line),
      }),
    );
    await sleep(300);
    const started = Date.now();
    controller.abort();
    expect((await running).code).toBe('CANCELLED');
    expect(Date.now() - started).toBeLessThan(4500);
    // It ends when nobody holds its pipes any more, so the child is gone, too.
    expect(lines).toHaveLength(1);
  });

  test('that fails says so in its own words', async () => {
    const signal = new AbortController().signal;
    const run = (command: string, args: string[]): Promise<PgsluiceError> =>
      failure(runTool({ command, args, env, signal }));
    const error = await run('/bin/sh', ['-c', 'echo went wrong >&2; exit 3']);
    expect(error.code).toBe('PG_TOOL_FAILED');
    expect(error.message).toContain('exit code 3');
    expect(error.message).toContain('went wrong');
    expect((await run('/nonexistent/tool', [])).code).toBe('PG_TOOL_FAILED');
  });
});
