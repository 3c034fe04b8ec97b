import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { validate } from '../src/checks/validate.ts';
import { JobOptions } from '../src/contract/options.ts';
import { PgsluiceError } from '../src/errors.ts';
import { openChangeStream } from '../src/live/stream.ts';
import { openSession } from '../src/postgres/session.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import {
  type Lie,
  LyingServer,
  authentication,
  columns,
  complete,
  failure,
  flood,
  greeting,
  message,
  notice,
  parameter,
  ready,
  row,
} from './support/lying-server.ts';

const password = `p@ss/w:rd %41 'q"\\ $x é`;
let server: LyingServer;
let workDir: string;
const unhandled: unknown[] = [];
const onUnhandled = (error: unknown): void => {
  unhandled.push(error);
};

beforeAll(async () => {
  // What is thrown where nobody can catch it would end an agent with all its jobs.
  process.on('uncaughtException', onUnhandled);
  process.on('unhandledRejection', onUnhandled);
  server = await LyingServer.start();
  workDir = mkdtempSync(join(tmpdir(), 'pgsluice-lies-'));
});
afterAll(async () => {
  process.off('uncaughtException', onUnhandled);
  process.off('unhandledRejection', onUnhandled);
  await server?.stop();
  rmSync(workDir, { recursive: true, force: true });
});
afterEach(() => {
  server.lie = {};
  server.passwords.length = 0;
});

const settings = (sslmode: string, seconds = 2) =>
  parseEndpoint(
    {
      url: `postgres://app@127.0.0.1:${server.port}/shop?sslmode=${sslmode}&connect_timeout=${seconds}`,
      password,
    },
    'source',
  );

/** What the work fails with, in how many ms; the process must keep its memory and meet nothing unexpected. */
async function failureOf(work: () => Promise<unknown>): Promise<{ error: PgsluiceError; ms: number; mb: number }> {
  const before = process.memoryUsage().rss;
  const begun = Date.now();
  let most = 0;
  const timer = setInterval(() => (most = Math.max(most, process.memoryUsage().rss - before)), 20);
  const error: unknown = await work().then(
    () => new Error('a lying server was believed'),
    (thrown: unknown) => thrown,
  );
  clearInterval(timer);
  expect(unhandled).toEqual([]);
  if (!(error instanceof PgsluiceError)) throw error;
  expect(`${error.message} ${error.hint}`).not.toContain(password);
  return { error, ms: Date.now() - begun, mb: most / 1024 / 1024 };
}

const signal = (): AbortSignal => AbortSignal.timeout(60_000);

/** What was closed keeps nothing open, neither a socket nor a question about itself. */
async function expectNobodyLeft(): Promise<void> {
  await expect.poll(() => server.connections, { timeout: 1500, interval: 5 }).toBe(0);
}

async function useSession(sslmode = 'disable', seconds = 2, answerWithinMs = 500): Promise<void> {
  const session = await openSession(settings(sslmode, seconds), {
    signal: signal(),
    side: 'source',
    purpose: 'test',
    answerWithinMs,
  });
  try {
    await session.query('SELECT something');
  } finally {
    await session.close();
  }
}

const says =
  (...parts: Buffer[]) =>
  (socket: Socket) =>
    void socket.write(Buffer.concat(parts));
const cut = (socket: Socket): void => void socket.destroy();
const end = (socket: Socket): void => void socket.end();
const quiet = (): void => undefined;
const GB = 1024 * 1024 * 1024;
const garbage = randomBytes(200);

const lies: readonly (readonly [what: string, lie: Lie, code: string | RegExp])[] = [
  ['closes at once', { startup: end }, 'NOT_POSTGRESQL'],
  ['resets at once', { startup: cut }, 'NOT_POSTGRESQL'],
  ['says nothing', { startup: quiet }, 'CONNECT_TIMEOUT'],
  ['speaks another protocol', { startup: says(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')) }, 'NOT_POSTGRESQL'],
  [
    'closes in the middle of the log-in',
    { startup: (s) => s.end(authentication(0)) },
    /CONNECTION_LOST|NOT_POSTGRESQL/,
  ],
  ['logs in and is never ready', { startup: says(authentication(0), parameter('a', 'b')) }, 'CONNECT_TIMEOUT'],
  ['is ready without a log-in', { startup: says(ready) }, 'CONNECTION_LOST'],
  [
    'asks for the user again and again',
    { startup: (s) => flood(s, authentication(5, Buffer.alloc(4))) },
    'PROTOCOL_VIOLATION',
  ],
  [
    'asks for SASL again and again',
    { startup: (s) => flood(s, authentication(10, Buffer.from('SCRAM-SHA-256\0\0'))) },
    'PROTOCOL_VIOLATION',
  ],
  [
    'asks anew when it has let us in',
    { startup: says(authentication(0), authentication(5, Buffer.alloc(4))) },
    'PROTOCOL_VIOLATION',
  ],
  ['knows a way to log in that nobody else does', { startup: says(authentication(99)) }, /.+/],
  [
    'offers SASL without a mechanism',
    { startup: says(authentication(10, Buffer.from('\0'))) },
    'AUTHENTICATION_FAILED',
  ],
  [
    'goes on with a SCRAM that never began',
    { startup: says(authentication(11, Buffer.from('r=a,s=b,i=1'))) },
    /AUTHENTICATION_FAILED|PROTOCOL_VIOLATION|UNEXPECTED_ERROR/,
  ],
  [
    'wants a thousand million rounds of SCRAM',
    {
      startup: says(authentication(10, Buffer.from('SCRAM-SHA-256\0\0'))),
      password: (s, body) => {
        const nonce = /r=([^,]+)/.exec(body.toString('utf8'))?.[1] ?? '';
        s.write(authentication(11, Buffer.from(`r=${nonce}x,s=c2FsdA==,i=1000000000`)));
      },
    },
    'AUTHENTICATION_FAILED',
  ],
  ['greets without end', { startup: (s) => flood(s, notice('x'.repeat(1000))) }, 'PROTOCOL_VIOLATION'],
  [
    'announces a gigabyte before the log-in',
    { startup: says(authentication(0), message('S', Buffer.alloc(0), GB - 1)) },
    'PROTOCOL_VIOLATION',
  ],
  [
    'sends a parameter without an end',
    { startup: says(authentication(0), message('S', Buffer.from('abc'))) },
    'CONNECT_TIMEOUT',
  ],
  [
    'cuts after the greeting',
    {
      startup: (s) => {
        s.write(greeting);
        setTimeout(() => s.destroy(), 20);
      },
      settle: quiet,
    },
    'CONNECTION_LOST',
  ],
  ['says nothing to the first statement', { settle: quiet }, 'CONNECT_TIMEOUT'],
  [
    'sends rows to the first statement without end',
    {
      settle: (s) => {
        s.write(columns(['pid']));
        flood(s, row(['x'.repeat(60_000)]));
      },
    },
    /^(ANSWER_TOO_LARGE|CONNECT_TIMEOUT)$/,
  ],
  ['answers nothing', { statement: quiet }, 'NO_ANSWER'],
  ['ends a statement and is never ready', { statement: says(complete('SELECT 0')) }, 'NO_ANSWER'],
  ['closes instead of an answer', { statement: end }, 'CONNECTION_LOST'],
  ['resets instead of an answer', { statement: cut }, 'CONNECTION_LOST'],
  ['sends notices without end', { statement: (s) => flood(s, notice('x'.repeat(60_000))) }, 'ANSWER_TOO_LARGE'],
  [
    'announces a gigabyte for a row and goes away',
    {
      statement: (s) => {
        s.write(columns(['a']));
        s.end(message('D', Buffer.alloc(100), GB - 1));
      },
    },
    'ANSWER_TOO_LARGE',
  ],
  [
    'announces a gigabyte for a row and waits',
    {
      statement: (s) => {
        s.write(columns(['a']));
        s.write(message('D', Buffer.alloc(100), GB - 1));
      },
    },
    'ANSWER_TOO_LARGE',
  ],
  [
    'sends a row that is shorter than it says',
    { statement: says(columns(['a']), message('D', Buffer.from([0, 9, 0, 0, 0, 50, 1])), ready) },
    'PROTOCOL_VIOLATION',
  ],
  [
    'sends columns that are shorter than they say',
    { statement: says(message('T', Buffer.from([0x7f, 0xff, 0x61])), ready) },
    'PROTOCOL_VIOLATION',
  ],
  ['sends a row before its columns', { statement: says(row(['x']), complete('SELECT 1'), ready) }, /.+/],
  ['sends an error without its end', { statement: says(message('E', Buffer.from('SERROR')), ready) }, /.+/],
  ['sends lengths of nought', { statement: (s) => flood(s, message('D', Buffer.alloc(0), 0)) }, 'PROTOCOL_VIOLATION'],
  ['sends negative lengths', { statement: says(message('D', Buffer.alloc(0), -1)) }, 'PROTOCOL_VIOLATION'],
  ['sends what is no message at all', { statement: says(garbage) }, /.+/],
  ['begins a COPY that nobody asked for', { statement: says(message('G', Buffer.from([0, 0, 0]))) }, /.+/],
  ['sends COPY data that nobody asked for', { statement: (s) => flood(s, message('d', Buffer.alloc(60_000))) }, /.+/],
  ['fails and is never ready', { statement: says(failure('no')) }, /NO_ANSWER|SERVER_ERROR/],
];

test.each(lies)('a server that %s is left with an error, in time and in little memory', async (_, lie, code) => {
  server.lie = lie;
  const { error, ms, mb } = await failureOf(() =>
    code === 'ANSWER_TOO_LARGE'
      ? useSession('disable', 20, 20_000)
      : useSession('disable', code === 'CONNECT_TIMEOUT' ? 1 : 2),
  );
  expect(error.code).toMatch(typeof code === 'string' ? new RegExp(`^${code}$`) : code);
  expect(ms).toBeLessThan(code === 'ANSWER_TOO_LARGE' ? 20_000 : 10_000);
  expect(mb).toBeLessThan(800);
  await expectNobodyLeft();
});

test('no password is sent in the clear over an open line, unless that was chosen', async () => {
  server.lie = { startup: says(authentication(3)) };
  for (const sslmode of ['prefer', 'allow']) {
    const { error } = await failureOf(() => useSession(sslmode));
    expect(error.code, sslmode).toBe('PASSWORD_IN_THE_CLEAR');
    expect(server.passwords, sslmode).toEqual([]);
  }
  server.lie = { ...server.lie, password: says(failure('no', '28P01')) };
  await failureOf(() => useSession('disable'));
  expect(server.passwords).toEqual([`${password}\0`]);
});

test('where TLS was asked for, a server without it learns nothing, also not the user', async () => {
  let startups = 0;
  server.lie = {
    startup: (socket) => {
      startups += 1;
      socket.write(authentication(3));
    },
  };
  const anyOf = /^(NOT_POSTGRESQL|TLS_FAILED|CONNECT_TIMEOUT|TLS_VERIFICATION_FAILED)$/;
  const answers: [NonNullable<Lie['tls']>, RegExp][] = [
    [(s) => s.write('N'), /^TLS_REFUSED$/],
    // What comes before TLS begins is anybody's (CVE-2021-23222).
    [says(Buffer.from('N'), authentication(3)), /^NOT_POSTGRESQL$/],
    [says(Buffer.from('S'), authentication(0)), /^NOT_POSTGRESQL$/],
    [says(Buffer.from('x')), anyOf],
    [end, anyOf],
    [(s) => flood(s, garbage), anyOf],
    [(s) => s.write('S'), anyOf],
  ];
  for (const [tls, code] of answers) {
    server.lie = { ...server.lie, tls };
    for (const sslmode of ['require', 'verify-full']) {
      const { error, ms } = await failureOf(() => useSession(sslmode));
      expect(error.code).toMatch(code);
      expect(ms).toBeLessThan(4000);
    }
  }
  expect([startups, server.passwords]).toEqual([0, []]);
});

test('a validation of two lying servers ends with its answers', async () => {
  const statements: readonly Lie[] = [
    { statement: says(failure('You shall not know \u001b[2J<script>')) },
    { statement: says(complete('SELECT 0'), ready) },
    { statement: (s) => flood(s, notice('x'.repeat(60_000))) },
    { statement: says(columns(['num', 'text', 'major']), row(['160000', '16.0', '16']), complete('SELECT 1'), ready) },
    { statement: cut },
  ];
  for (const lie of statements) {
    server.lie = lie;
    const source = settings('disable');
    const outcome = await validate({
      source,
      target: { ...source, database: 'other' },
      options: JobOptions.parse({}),
      pgBinDir: null,
      signal: signal(),
      onCheck: () => undefined,
    }).catch((error: unknown) => {
      if (!(error instanceof PgsluiceError)) throw error;
      return { blocked: true };
    });
    expect(outcome.blocked).toBe(true);
  }
  expect(unhandled).toEqual([]);
  await expectNobodyLeft();
});

const replication: readonly (readonly [what: string, statement: (socket: Socket) => void])[] = [
  ['a message of the stream of no kind', says(message('W', Buffer.from([0, 0, 0])), message('d', Buffer.from('?')))],
  [
    'a change that is cut',
    says(
      message('W', Buffer.from([0, 0, 0])),
      message('d', Buffer.concat([Buffer.from('w'), Buffer.alloc(24), Buffer.from('I\0\0')])),
    ),
  ],
  ['lengths of nought', says(message('W', Buffer.from([0, 0, 0])), message('d', Buffer.alloc(0), 0))],
  [
    'lengths beyond what a server can send',
    says(message('W', Buffer.from([0, 0, 0])), message('d', Buffer.alloc(0), -1)),
  ],
  ['noise', says(message('W', Buffer.from([0, 0, 0])), garbage)],
  ['an end', (s) => s.end(message('W', Buffer.from([0, 0, 0])))],
  ['silence', says(message('W', Buffer.from([0, 0, 0])))],
];

test.each(replication)('a stream of changes that brings %s ends with an error', async (_, begin) => {
  const expected = {
    client_encoding: 'UTF8',
    datestyle: 'ISO, MDY',
    intervalstyle: 'postgres',
    extra_float_digits: '3',
    bytea_output: 'hex',
    timezone: 'UTC',
    lc_monetary: 'C',
    xmloption: 'content',
    search_path: 'pg_catalog',
    quote_all_identifiers: 'off',
    statement_timeout: '0',
    lock_timeout: '0',
    idle_in_transaction_session_timeout: '0',
  };
  server.lie = {
    statement: (socket, sql) => {
      if (sql.includes('pg_settings'))
        socket.write(
          Buffer.concat([
            columns(['name', 'setting']),
            ...Object.entries(expected).map(row),
            complete('SELECT 13'),
            ready,
          ]),
        );
      else if (sql.includes('pg_replication_slots'))
        socket.write(
          Buffer.concat([
            columns(['status', 'confirmed', 'plugin']),
            row(['reserved', '0/1', 'pgoutput']),
            complete('SELECT 1'),
            ready,
          ]),
        );
      else if (sql.startsWith('START_REPLICATION')) begin(socket);
      else socket.write(Buffer.concat([complete('SELECT 0'), ready]));
    },
  };
  const { error, ms } = await failureOf(async () => {
    const stream = await openChangeStream({
      settings: settings('disable'),
      slot: `s${randomBytes(4).toString('hex')}`,
      publication: 'p',
      from: 1n,
      sourceMajor: 16,
      workDir,
      signal: signal(),
      silenceMs: 800,
      log: quiet,
    });
    try {
      await stream.take(1000, signal());
    } finally {
      await stream.close();
    }
  });
  expect(error.code).toMatch(
    /^(STREAM_UNREADABLE|PROTOCOL_VIOLATION|CONNECTION_LOST|NOT_POSTGRESQL|UNEXPECTED_ERROR|STREAM_SILENT|SOURCE_SILENT|SERVER_ERROR|[A-Z_]+)$/,
  );
  expect(ms).toBeLessThan(8000);
});
