import { once } from 'node:events';
import { type Socket, connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { PgsluiceError } from '../errors.ts';
import { LineWatch, type LookAtSession, isDeadLine } from './line-watch.ts';

const line = { silentMs: 25_000, silenceMs: 20_000, sentInWait: 100, idleLooks: 2, unreachable: false };

test('a line is dead when the server waits for us twice in a row while we wait for it', () => {
  expect(isDeadLine(line)).toBe(true);
  expect(isDeadLine({ ...line, idleLooks: 1 })).toBe(false);
});

test('what much was sent over may still be on its way, for three silences', () => {
  expect(isDeadLine({ ...line, sentInWait: 1_000_000 })).toBe(false);
  expect(isDeadLine({ ...line, sentInWait: 1_000_000, silentMs: 60_000, idleLooks: 9 })).toBe(true);
});

test('a server out of reach is borne for three silences, however idle it was', () => {
  expect(isDeadLine({ ...line, unreachable: true })).toBe(false);
  expect(isDeadLine({ ...line, unreachable: true, idleLooks: 0, silentMs: 60_000 })).toBe(true);
});

/** A silent peer, and a watch whose server says `says` of the session. */
async function watched(
  says: () => LookAtSession | Error | Promise<LookAtSession>,
  owed: () => boolean = () => true,
): Promise<{ errors: PgsluiceError[]; looks: () => number; peer: Socket; ours: Socket; end: () => void }> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const ours = connect(address.port, '127.0.0.1');
  const [peer] = await accepted;
  ours.resume();
  const errors: PgsluiceError[] = [];
  let looks = 0;
  const watch = new LineWatch({
    stream: ours,
    side: 'source',
    silenceMs: 80,
    owed,
    look: () => {
      looks += 1;
      const found = says();
      return found instanceof Error ? Promise.reject(found) : Promise.resolve(found);
    },
    isUnreachable: () => true,
    onDead: (error) => errors.push(error),
  });
  const end = (): void => {
    watch.stop();
    ours.destroy();
    peer.destroy();
    server.close();
  };
  return { errors, looks: () => looks, peer, ours, end };
}

test('a silent line whose server waits for us is told dead once', async () => {
  const { errors, end } = await watched(() => 'waits for us');
  await sleep(500);
  end();
  expect(errors.map(({ code, retryable }) => ({ code, retryable }))).toEqual([
    { code: 'CONNECTION_LOST', retryable: true },
  ]);
});

test('while the server works, while nothing is owed, and while anything moves, a line is left alone', async () => {
  const working = await watched(() => 'works');
  const idle = await watched(
    () => 'waits for us',
    () => false,
  );
  const moving = await watched(() => 'waits for us');
  for (let at = 0; at < 20; at += 1) {
    moving.peer.write('x');
    await sleep(25);
  }
  for (const each of [working, idle, moving]) each.end();
  expect([working.errors, idle.errors, moving.errors]).toEqual([[], [], []]);
  expect(working.looks()).toBeGreaterThan(1);
  expect(idle.looks()).toBe(0);
});

test('what arrives while the server is asked makes void what it said', async () => {
  let asked = 0;
  const odd = await watched(async (): Promise<LookAtSession> => {
    asked += 1;
    if (asked % 2 === 0) odd.peer.write('x');
    await sleep(25);
    return 'waits for us';
  });
  await sleep(800);
  odd.end();
  expect(asked).toBeGreaterThan(3);
  expect(odd.errors).toEqual([]);
});

test('a server that cannot be asked at all is given up after three silences', async () => {
  const { errors, end } = await watched(() => new Error('timed out'));
  await sleep(180);
  expect(errors).toEqual([]);
  await sleep(400);
  end();
  expect(errors[0]?.message).toContain('cannot be reached anew');
});
