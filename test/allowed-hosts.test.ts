import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type LookupFunction } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { postJson } from '../src/call-out.ts';
import { JobRequest, type JobRequestInput } from '../src/contract/options.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { dumpArchive } from '../src/postgres/archive.ts';
import { connectBy } from '../src/postgres/connect.ts';
import { openSession } from '../src/postgres/session.ts';
import { type ConnectionSettings, parseEndpoint } from '../src/postgres/settings.ts';
import { findPgTools } from '../src/postgres/tools.ts';
import { anywhere, limitReach, Reach, type ReachRules } from '../src/reach.ts';
import { fillState } from './support/fresh-state.ts';
import { runCli } from './support/cli.ts';
import { fakeRooms } from './support/fake-rooms.ts';
import { pgDumpFor, startServer, type TestServer } from './support/servers.ts';

// What a job of a shared agent may reach. The name server is played, so that it can lie; server, sockets and programs are real.

const { signal } = new AbortController();
let server: TestServer;
let settings: ConnectionSettings;
let directory: string;
/** What the name leads to: one answer a question, the last one for ever. */
let answers: string[] = [];
let questions = 0;

const limits = (rules: Partial<ReachRules>): void =>
  limitReach(
    new Reach({ allow: null, denyPrivate: false, ...rules }, (_host, done) => {
      questions += 1;
      const address = answers.length > 1 ? answers.shift() : answers[0];
      done(null, [{ address: address ?? '', family: address?.includes(':') === true ? 6 : 4 }]);
    }),
  );

/** Something inside that must not be reached: counts who knocks. */
async function inner(address: string, port: number): Promise<{ readonly knocks: () => number; close: () => void }> {
  let knocks = 0;
  const listener = createServer((socket) => {
    knocks += 1;
    socket.destroy();
  }).listen(port, address);
  await once(listener, 'listening');
  return { knocks: () => knocks, close: () => listener.close() };
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pgsluice-hosts-'));
  server = await startServer({ name: 'allowed-hosts' });
  settings = { ...parseEndpoint({ url: server.url('postgres') }, 'source'), host: 'db.customer.example' };
});

afterEach(() => limitReach(anywhere));

afterAll(async () => {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

const open = () => openSession(settings, { signal, side: 'source', purpose: 'test' });
const refused = expect.objectContaining({ code: 'HOST_NOT_ALLOWED', retryable: false });

describe('a name that leads elsewhere the second time (DNS rebinding)', () => {
  test('is refused by the address that is dialled, at the first connection and at a later one', async () => {
    limits({ allow: '127.0.0.1/32', denyPrivate: true });
    const secret = await inner('127.0.0.2', settings.port);
    try {
      answers = ['127.0.0.1', '127.0.0.2'];
      const session = await open();
      expect(await session.query('select 1 as one')).toEqual([{ one: 1 }]);
      await expect(open()).rejects.toThrow(refused);
      // The socket of a cancellation is a connection of its own.
      await expect(session.cancelRunning()).rejects.toThrow(refused);
      await expect(
        connectBy({ settings, side: 'source', applicationName: 'x', signal }, () => Promise.resolve()),
      ).rejects.toThrow(refused);
      expect(secret.knocks()).toBe(0);
      answers = ['127.0.0.1'];
      await session.close();
    } finally {
      secret.close();
    }
  });

  test('is refused by who answers as well, should a look-up have given out what it may not', async () => {
    class Careless extends Reach {
      override lookupFor(): LookupFunction {
        return (_host, options, done) =>
          options.all === true ? done(null, [{ address: '127.0.0.2', family: 4 }]) : done(null, '127.0.0.2', 4);
      }
    }
    limitReach(new Careless({ allow: '127.0.0.1/32', denyPrivate: true }));
    const secret = await inner('127.0.0.2', settings.port);
    try {
      await expect(open()).rejects.toThrow(refused);
    } finally {
      secret.close();
    }
  });

  test('does not reach pg_dump, which is given the address that was judged', async () => {
    limits({ allow: '127.0.0.1/32', denyPrivate: true });
    const tools = await findPgTools({
      binDir: join(await pgDumpFor(server.major, null), '..'),
      minMajor: server.major,
    });
    const filter = { includeSchema: [], excludeSchema: [], includeTable: [], excludeTable: [], excludeTableData: [] };
    const place = { snapshotId: null, noOwner: false, noAcl: false, workDir: join(directory, 'dump') };
    const dump = () => dumpArchive({ tools, settings, filter, signal, ...place });
    answers = ['127.0.0.1'];
    // No name server of this machine knows the name: libpq could not have asked it.
    await expect(dump()).resolves.toBeDefined();
    answers = ['127.0.0.2'];
    await expect(dump()).rejects.toThrow(refused);
  });

  test('does not reach what a webhook may not, nor by a redirect', async () => {
    let calls = 0;
    const hook = createHttpServer((asked, response) => {
      calls += 1;
      asked.resume();
      response.writeHead(307, { location: `http://127.0.0.2:${(hook.address() as AddressInfo).port}/` }).end();
    }).listen(0, '127.0.0.1');
    await once(hook, 'listening');
    const { port } = hook.address() as AddressInfo;
    const secret = await inner('127.0.0.2', port);
    const call = (host: string) =>
      postJson({ address: `http://${host}:${port}/`, body: '{}', timeoutMs: 3_000, signal });
    try {
      limits({ allow: '127.0.0.1/32', denyPrivate: true });
      answers = ['127.0.0.1'];
      expect(await call('hook.example')).toMatchObject({ ok: false, status: 307, again: false });
      answers = ['127.0.0.2'];
      for (const host of ['hook.example', '127.0.0.2', '[::ffff:127.0.0.2]', '0x7f.0.0.2', '2130706434']) {
        expect(await call(host), host).toMatchObject({ ok: false, status: null, again: false });
      }
      expect([calls, secret.knocks()]).toEqual([1, 0]);
    } finally {
      secret.close();
      hook.close();
    }
  });
});

test('an agent that nobody restricted reaches everything, and asks no played name server twice', async () => {
  limitReach(anywhere);
  const before = questions;
  const session = await openSession({ ...settings, host: '127.0.0.1' }, { signal, side: 'source', purpose: 'test' });
  await session.close();
  expect(questions).toBe(before);
});

describe('a job of a shared agent', () => {
  let manager: JobManager;
  let archives: string;
  const good = { host: 'db.example.com', user: 'u', database: 'd' };

  beforeAll(async () => {
    archives = join(directory, 'archives');
    await mkdir(join(archives, 'mine'), { recursive: true });
    await mkdir(join(directory, 'outside'));
    await writeFile(join(directory, 'outside', 'toc.dat'), 'PGDMP');
    await fillState(join(directory, 'state'), 'k'.repeat(32));
    const config = { state: join(directory, 'state'), secretKey: 'k'.repeat(32), concurrency: 1, pgBinDir: null };
    manager = await JobManager.open(
      { ...config, logger: pino({ level: 'silent' }), role: 'daemon', archiveDir: archives },
      fakeRooms(),
    );
  });

  afterAll(() => manager.stop('The test ended.'));

  const codeOf = (request: JobRequestInput): Promise<string> =>
    manager.create(JobRequest.parse(request)).then(
      () => 'created',
      (error: { code: string }) => error.code,
    );
  const move = (source: JobRequestInput['source'], options: JobRequestInput['options'] = {}): Promise<string> =>
    codeOf({ source, target: good, options });

  test.each([
    ["the cloud's credentials", 'postgres://u@169.254.169.254/d'],
    ['this machine', 'postgres://u@127.0.0.1/d'],
    ['this machine in IPv6', 'postgres://u@[::1]/d'],
    ['this machine, mapped', 'postgres://u@[::ffff:7f00:1]/d'],
    ['this machine, by another parameter', 'postgres://u@db.example.com/d?host=127.0.0.1'],
    ['a private network', 'postgres://u@10.0.0.7/d'],
    ['a unique local address', 'postgres://u@[fd00::1]/d'],
    ['a link-local address', 'postgres://u@[fe80::1%25eth0]/d'],
  ])('is refused when it names %s', async (_what, url) => {
    limits({ denyPrivate: true });
    expect(await move({ url })).toBe('HOST_NOT_ALLOWED');
  });

  test.each([
    ['the socket directory by default', 'postgres:///d', 'LOCAL_FILE_NOT_ALLOWED'],
    ['a socket directory', 'postgres://u@%2Fvar%2Frun%2Fpostgresql/d', 'LOCAL_FILE_NOT_ALLOWED'],
    ['a socket directory by parameter', 'postgres://u@db.example.com/d?host=/tmp', 'LOCAL_FILE_NOT_ALLOWED'],
    ['an abstract socket', 'postgres://u@x/d?host=@socket', 'LOCAL_FILE_NOT_ALLOWED'],
    [
      'a file as certificate',
      'postgres://u@db.example.com/d?sslmode=verify-ca&sslrootcert=/etc/shadow',
      'LOCAL_FILE_NOT_ALLOWED',
    ],
    ['a client key', 'postgres://u@db.example.com/d?sslkey=/etc/ssl/key.pem', 'INVALID_URL'],
    ['a client certificate', 'postgres://u@db.example.com/d?sslcert=/etc/ssl/cert.pem', 'INVALID_URL'],
    ['a password file', 'postgres://u@db.example.com/d?passfile=/root/.pgpass', 'INVALID_URL'],
    ['a service', 'postgres://u@db.example.com/d?service=prod', 'INVALID_URL'],
    ['a service file', 'postgres://u@db.example.com/d?servicefile=/etc/pg_service.conf', 'INVALID_URL'],
  ])('names no files of the machine: %s', async (_what, url, code) => {
    limits({ denyPrivate: true });
    expect(await move({ url })).toBe(code);
  });

  test('is refused by the list of hosts and ports, and may use what stands on it', async () => {
    limits({ allow: 'db.example.com:5432,*.customer.example', denyPrivate: true });
    expect(await move(good)).toBe('created');
    expect(await move({ ...good, port: 22 })).toBe('HOST_NOT_ALLOWED');
    expect(await move({ ...good, host: 'db.example.com.evil.test' })).toBe('HOST_NOT_ALLOWED');
    expect(await move({ ...good, host: '8.8.8.8' })).toBe('HOST_NOT_ALLOWED');
    expect(await move({ ...good, host: 'a.customer.example' })).toBe('created');
    expect(await move({ ...good, sslmode: 'verify-full', sslrootcert: 'system' })).toBe('created');
  });

  test('calls no webhook inside', async () => {
    limits({ denyPrivate: true });
    const webhook = 'http://169.254.169.254/latest/meta-data';
    expect(await move(good, { hooks: [{ on: 'completed', webhook }] })).toBe('HOST_NOT_ALLOWED');
    expect(await move(good, { method: 'live', handOver: { webhook: 'http://[::1]:80/' } })).toBe('HOST_NOT_ALLOWED');
    expect(await move(good, { hooks: [{ on: 'completed', webhook: 'https://hooks.example.com/x' }] })).toBe('created');
  });

  test('keeps its archives in their folder, whatever the path or a link says', async () => {
    limits({ denyPrivate: true });
    const exportTo = (path: string) => codeOf({ kind: 'export', source: good, archive: { path } });
    const importFrom = (path: string) => codeOf({ kind: 'import', target: good, archive: { path } });
    await symlink(join(directory, 'outside'), join(archives, 'link'));
    await symlink(join(directory, 'not-there'), join(archives, 'dangling'));
    await symlink('/etc/passwd', join(archives, 'mine', 'toc.dat'));
    const places: readonly [Promise<string>, string][] = [
      [exportTo(join(archives, 'new')), 'created'],
      [exportTo(join(archives, 'new', 'deeper')), 'created'],
      [exportTo(archives), 'ARCHIVE_NOT_ALLOWED'],
      [exportTo('/etc/new'), 'ARCHIVE_NOT_ALLOWED'],
      [exportTo(`${archives}/../outside/new`), 'ARCHIVE_NOT_ALLOWED'],
      [exportTo(`${archives}-beside/new`), 'ARCHIVE_NOT_ALLOWED'],
      [exportTo(join(archives, 'link', 'new')), 'ARCHIVE_NOT_ALLOWED'],
      [exportTo(join(archives, 'dangling')), 'ARCHIVE_NOT_ALLOWED'],
      [importFrom(join(archives, 'link')), 'ARCHIVE_NOT_ALLOWED'],
      [importFrom(join(archives, 'link', 'toc.dat')), 'ARCHIVE_NOT_ALLOWED'],
      [importFrom(join(archives, 'mine')), 'ARCHIVE_NOT_ALLOWED'],
      [importFrom('/etc/passwd'), 'ARCHIVE_NOT_ALLOWED'],
      [importFrom('relative'), 'RELATIVE_ARCHIVE'],
    ];
    for (const [given, code] of places) expect(await given).toBe(code);
  });

  test('is judged again before each run: a folder may have become a link meanwhile', async () => {
    limits({ denyPrivate: true });
    const path = join(archives, 'later', 'archive');
    const job = await manager.create(JobRequest.parse({ kind: 'export', source: good, archive: { path } }));
    await symlink(join(directory, 'outside'), join(archives, 'later'));
    await expect(manager.act(job.id, 'start')).rejects.toMatchObject({ code: 'ARCHIVE_NOT_ALLOWED' });
    limits({ allow: 'other.example.com' });
    await rm(join(archives, 'later'));
    await expect(manager.act(job.id, 'start')).rejects.toMatchObject({ code: 'HOST_NOT_ALLOWED' });
    // Whoever may not start it may still be rid of it.
    await manager.act(job.id, 'cancel');
    await manager.remove(job.id);
  });
});

test('the settings of the environment hold for the command line, and say how they are changed', async () => {
  const ends = ['--source', server.url('postgres'), '--target', server.url('template1'), '--json'];
  const env = { PGSLUICE_DENY_PRIVATE: '1' };
  const { stdout, stderr, code } = await runCli(['clone', ...ends], { env });
  expect(`${stdout}${stderr}`).toContain('HOST_NOT_ALLOWED');
  expect(stderr).toContain('PGSLUICE_ALLOW_HOSTS');
  expect(code).toBe(2);
  const wrong = await runCli(['jobs'], { env: { PGSLUICE_DENY_PRIVATE: 'maybe' } });
  expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('PGSLUICE_DENY_PRIVATE is "maybe"')]);
});
