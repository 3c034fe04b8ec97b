import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { afterEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { followSocket } from '../src/cli/remote-stream.ts';
import type { JobEvent, StreamMessage } from '../src/contract/event.ts';
import { PgsluiceError } from '../src/errors.ts';
import type { ApiManager } from '../src/server/api-manager.ts';
import { startServer, type RunningServer, type Timeouts } from '../src/server/server.ts';
import { noAccess } from './support/no-access.ts';

// The sockets under load and cuts, with a stream whose every event is known in advance.

const token = 'test~token+with/all_signs.that-may-stand==';
const servers: RunningServer[] = [];

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

function logEvent(seq: number, message = `line ${seq}`): JobEvent {
  return { seq, at: new Date(seq).toISOString(), type: 'log', level: 'info', message };
}

/** Events 1..total, `backlog` of them at once, the others live; remembers how far it was asked to produce. */
class ScriptedStream {
  produced = 0;
  aborted = 0;
  readonly #total: number;
  readonly #message: string;
  readonly #holdOpen: boolean;

  constructor(total: number, message = 'text', holdOpen = true) {
    this.#total = total;
    this.#message = message;
    this.#holdOpen = holdOpen;
  }

  manager(): ApiManager {
    const unused = (): never => {
      throw new Error('not part of this test');
    };
    return {
      access: noAccess,
      create: unused,
      list: unused,
      get: (id: string) =>
        id === 'job'
          ? Promise.resolve(undefined as never)
          : Promise.reject(new PgsluiceError({ code: 'JOB_NOT_FOUND', message: 'No such job.', hint: 'List them.' })),
      act: unused,
      remove: unused,
      tables: unused,
      activity: unused,
      checks: unused,
      groups: { create: unused, list: unused, get: unused, act: unused, remove: unused },
      single: { run: unused, accept: unused, unaccept: unused },
      report: unused,
      reportHtml: unused,
      logPage: unused,
      metrics: unused,
      ready: unused,
      stream: (_id: string, after: number, signal: AbortSignal) => this.stream(after, signal),
    };
  }

  async *stream(after: number, signal: AbortSignal): AsyncGenerator<StreamMessage[]> {
    let seq = after;
    while (seq < this.#total && !signal.aborted) {
      const size = Math.min(this.#total - seq, 1 + ((seq * 7) % 900));
      const batch = Array.from({ length: size }, (_, index) => logEvent(seq + index + 1, this.#message));
      seq += size;
      this.produced = Math.max(this.produced, seq);
      yield batch;
      if (seq % 3 === 0) await delay(1);
    }
    if (this.#holdOpen && !signal.aborted) await once(signal, 'abort');
    this.aborted += 1;
  }
}

async function serve(
  manager: ApiManager,
  timeouts: Partial<Timeouts> = {},
  more: Pick<Parameters<typeof startServer>[0], 'maxFollowers'> = {},
): Promise<RunningServer> {
  const server = await startServer({
    manager,
    token,
    webDir: join(tmpdir(), 'pgsluice-no-page'),
    version: '0.0.0',
    logger: pino({ level: 'silent' }),
    host: '127.0.0.1',
    port: 0,
    timeouts,
    ...more,
  });
  servers.push(server);
  return server;
}

function eventsUrl(server: RunningServer, after = 0, job = 'job'): URL {
  return new URL(`/api/jobs/${job}/events?after=${after}`, server.url.replace('http', 'ws'));
}

const protocols = (given: string): string[] => ['pgsluice', `bearer.${Buffer.from(given).toString('base64url')}`];

function seqsOf(data: WebSocket.RawData): number[] {
  // The server sends text, which ws hands over as one Buffer.
  const parsed = JSON.parse((data as Buffer).toString()) as JobEvent | JobEvent[];
  return (Array.isArray(parsed) ? parsed : [parsed]).map((event) => event.seq);
}

/** HTTP status and body that answer an upgrade request. */
function refusal(
  url: URL,
  options: { protocols?: string[]; headers?: Record<string, string> },
): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(url, options.protocols ?? [], { headers: options.headers ?? {} });
    ws.on('unexpected-response', (_request, response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString()));
      response.on('end', () => resolve([response.statusCode ?? 0, body]));
    });
    ws.on('open', () => {
      ws.terminate();
      reject(new Error('the socket was opened'));
    });
    ws.on('error', () => undefined);
  });
}

test('a follower that is cut again and again sees every event exactly once', async () => {
  const script = new ScriptedStream(20_000);
  const server = await serve(script.manager());
  const seen: number[] = [];
  let connections = 0;
  while (seen.length < 20_000 && connections < 500) {
    connections += 1;
    const ws = new WebSocket(eventsUrl(server, seen.at(-1) ?? 0), protocols(token));
    const cutAfter = seen.length + 1 + ((connections * 997) % 2500);
    ws.on('message', (data) => {
      if (seen.length >= cutAfter) return;
      seen.push(...seqsOf(data));
      if (seen.length >= cutAfter || seen.length >= 20_000) ws.terminate();
    });
    await once(ws, 'close');
  }
  expect(connections).toBeGreaterThan(5);
  expect(seen).toEqual(Array.from({ length: 20_000 }, (_, index) => index + 1));
});

test('the command line follows through a restart of the agent without a gap or a double', async () => {
  const script = new ScriptedStream(30_000);
  const first = await serve(script.manager());
  const port = Number(new URL(first.url).port);
  const stop = new AbortController();
  const seen: number[] = [];
  const url = eventsUrl(first);
  let restarted = false;
  for await (const batch of followSocket({ url, token, after: 0, signal: stop.signal })) {
    for (const message of batch) if (message.type !== 'reset') seen.push(message.seq);
    if (seen.length > 8000 && !restarted) {
      restarted = true;
      await first.close();
      servers.push(
        await startServer({
          manager: script.manager(),
          token,
          webDir: '/nonexistent',
          version: '0.0.0',
          logger: pino({ level: 'silent' }),
          host: '127.0.0.1',
          port,
        }),
      );
    }
    if (seen.length >= 30_000) stop.abort();
  }
  expect(restarted).toBe(true);
  expect(seen).toEqual(Array.from({ length: 30_000 }, (_, index) => index + 1));
});

test('a client that does not read holds the stream back instead of filling memory', async () => {
  const total = 2_000_000;
  const script = new ScriptedStream(total, 'x'.repeat(500));
  const server = await serve(script.manager());
  const ws = new WebSocket(eventsUrl(server), protocols(token));
  await once(ws, 'open');
  ws.pause();
  await delay(500);
  const before = script.produced;
  await delay(700);
  expect(before).toBeGreaterThan(0);
  expect(script.produced).toBe(before);
  // About 600 bytes an event: 1 MB in our buffer, one batch, and what the operating system takes.
  expect(before).toBeLessThan(60_000);
  ws.resume();
  await delay(300);
  expect(script.produced).toBeGreaterThan(before);
  ws.terminate();
});

test('a client that goes away ends its stream', async () => {
  const script = new ScriptedStream(10);
  const server = await serve(script.manager());
  const ws = new WebSocket(eventsUrl(server), protocols(token));
  await once(ws, 'message');
  ws.terminate();
  await expect.poll(() => script.aborted).toBe(1);
});

test('a stop tells clients 1001, a job that is gone 1000', async () => {
  const open = await serve(new ScriptedStream(10).manager());
  const ws = new WebSocket(eventsUrl(open), protocols(token));
  await once(ws, 'message');
  const closed = once(ws, 'close');
  await open.close();
  expect((await closed)[0]).toBe(1001);

  const stopping = await serve(new ScriptedStream(3000, 'text', false).manager());
  const told = new WebSocket(eventsUrl(stopping), protocols(token));
  await once(told, 'open');
  // The jobs are stopped first, which ends their streams: that is not their end.
  stopping.stopListening();
  expect((await once(told, 'close'))[0]).toBe(1001);

  const ending = await serve(new ScriptedStream(10, 'text', false).manager());
  const last = new WebSocket(eventsUrl(ending), protocols(token));
  expect((await once(last, 'close'))[0]).toBe(1000);
});

test('origin, token, path and job are settled before the upgrade', async () => {
  const server = await serve(new ScriptedStream(10).manager());
  const authorization = { authorization: 'Bearer wrong' };
  const cases: [URL, Parameters<typeof refusal>[1], number, string][] = [
    [eventsUrl(server), {}, 401, 'UNAUTHORIZED'],
    [eventsUrl(server), { headers: authorization }, 401, 'UNAUTHORIZED'],
    [eventsUrl(server), { protocols: protocols('wrong') }, 401, 'UNAUTHORIZED'],
    [
      eventsUrl(server),
      { protocols: protocols(token), headers: { origin: 'https://evil.example' } },
      403,
      'ORIGIN_NOT_ALLOWED',
    ],
    [eventsUrl(server), { protocols: protocols(token), headers: { origin: 'null' } }, 403, 'ORIGIN_NOT_ALLOWED'],
    [eventsUrl(server, 0, 'other'), { protocols: protocols(token) }, 404, 'JOB_NOT_FOUND'],
    [new URL('/api/jobs', eventsUrl(server)), { protocols: protocols(token) }, 404, 'NOT_FOUND'],
    [
      new URL('/api/jobs/job/events?after=-1', eventsUrl(server)),
      { protocols: protocols(token) },
      400,
      'INVALID_REQUEST',
    ],
  ];
  for (const [url, options, status, code] of cases) {
    const [given, body] = await refusal(url, options);
    expect([given, (JSON.parse(body) as { code: string }).code]).toEqual([status, code]);
  }
  const own = new WebSocket(eventsUrl(server), protocols(token), { headers: { origin: server.url } });
  await once(own, 'open');
  expect(own.protocol).toBe('pgsluice');
  own.terminate();
});

test('a client that sends much is cut off', async () => {
  const server = await serve(new ScriptedStream(10).manager());
  const ws = new WebSocket(eventsUrl(server), protocols(token));
  await once(ws, 'open');
  ws.send('x'.repeat(5000));
  expect((await once(ws, 'close', { signal: AbortSignal.timeout(10_000) }))[0]).toBe(1009);
});

test('beyond so many followers the next one is told to come later, and has the place of one that goes', async () => {
  const server = await serve(new ScriptedStream(10).manager(), {}, { maxFollowers: 2 });
  const open = async (): Promise<WebSocket> => {
    const ws = new WebSocket(eventsUrl(server), protocols(token));
    await once(ws, 'message');
    return ws;
  };
  const [first, second] = [await open(), await open()];
  const [status, body] = await refusal(eventsUrl(server), { protocols: protocols(token) });
  expect([status, JSON.parse(body)]).toMatchObject([503, { detail: 'Too many clients follow jobs at once.' }]);
  first.terminate();
  const isLetIn = (): Promise<boolean> =>
    open().then(
      (ws) => (ws.terminate(), true),
      () => false,
    );
  await expect.poll(isLetIn).toBe(true);
  second.terminate();
});

test('a slow client is not taken for a dead one while it takes what waits, a dead one is ended', async () => {
  const script = new ScriptedStream(2_000_000, 'x'.repeat(500));
  const server = await serve(script.manager(), { pingMs: 500 });
  const slow = new WebSocket(eventsUrl(server), protocols(token), { autoPong: false });
  await once(slow, 'open');
  slow.on('message', () => {
    slow.pause();
    setTimeout(() => slow.resume(), 20);
  });
  const dead = new WebSocket(eventsUrl(server), protocols(token));
  await once(dead, 'open');
  dead.pause();
  const ended = once(dead, 'close', { signal: AbortSignal.timeout(15_000) });
  await delay(3_500);
  expect(slow.readyState).toBe(WebSocket.OPEN);
  dead.resume();
  expect((await ended)[0]).toBe(1006);
  slow.terminate();
});
