import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { looksLikePostgres } from './connect.ts';
import { cancelMessage } from './cancel.ts';
import { chooseTrust, dial, encryptionAttempts } from './dial.ts';
import { backoffMs } from './session.ts';
import { parseEndpoint } from './settings.ts';
import { parseServerVersion } from './version.ts';

const withMode = (sslmode: string, sslrootcert?: string, host = 'h') =>
  parseEndpoint({ host, user: 'u', sslmode, ...(sslrootcert === undefined ? {} : { sslrootcert }) }, 'source');

describe('sslmode is a list of attempts', () => {
  test.each([
    ['disable', ['never']],
    ['allow', ['never', 'always']],
    ['prefer', ['when-offered', 'never']],
    ['require', ['always']],
    ['verify-ca', ['always']],
    ['verify-full', ['always']],
  ])('%s', (mode, attempts) => {
    expect(encryptionAttempts(withMode(mode))).toEqual(attempts);
    expect(encryptionAttempts(withMode(mode, undefined, '/run'))).toEqual(['never']);
  });
});

describe('trust follows libpq', () => {
  test.each([
    ['prefer', '/ca', null, { verify: false }],
    ['require', undefined, null, { verify: false }],
    ['require', '/ca', null, { verify: true, hostName: false, authorities: '/ca' }],
    ['require', undefined, '/home', { verify: true, hostName: false, authorities: '/home' }],
    ['verify-ca', undefined, null, null],
    ['verify-ca', undefined, '/home', { verify: true, hostName: false, authorities: '/home' }],
    ['verify-full', '/ca', '/home', { verify: true, hostName: true, authorities: '/ca' }],
    ['verify-full', undefined, null, { verify: true, hostName: true, authorities: 'system' }],
    ['verify-full', 'system', '/home', { verify: true, hostName: true, authorities: 'system' }],
  ])('%s with %s, home %s', (mode, root, home, trust) => {
    expect(chooseTrust(withMode(mode, root), home)).toEqual(trust);
  });
});

test('the first bytes tell PostgreSQL from others', () => {
  expect(looksLikePostgres(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0]))).toBe(true);
  expect(looksLikePostgres(Buffer.from('R'))).toBe(true);
  expect(looksLikePostgres(Buffer.from('HTTP/1.1 400'))).toBe(false);
  expect(looksLikePostgres(Buffer.from('SSH-2.0-x'))).toBe(false);
  expect(looksLikePostgres(Buffer.from('ERR unknown command'))).toBe(false);
  expect(looksLikePostgres(Buffer.alloc(0))).toBe(false);
});

test('a CancelRequest has 16 bytes', () => {
  expect(cancelMessage(258, -2).toString('hex')).toBe('0000001004d2162e00000102fffffffe');
});

test('pauses between tries grow to two seconds', () => {
  expect([1, 2, 3, 6, 50].map((attempt) => backoffMs(attempt, 0))).toEqual([100, 200, 400, 2000, 2000]);
  expect(backoffMs(1, 1)).toBe(125);
});

test('a server version is taken apart', () => {
  expect(parseServerVersion('150018', '15.18 (Debian 15.18-0+deb12u1)', 'PostgreSQL 15.18 on x86_64')).toEqual({
    num: 150018,
    major: 15,
    text: '15.18',
    full: 'PostgreSQL 15.18 on x86_64',
  });
});

test('a server that goes away in the middle of the TLS handshake fails the connection, not the process', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    // Agrees to TLS, and is gone before it has begun.
    socket.once('data', () => socket.end('S'));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const settings = parseEndpoint({ url: `postgres://a@127.0.0.1:${address.port}/d?sslmode=require` }, 'source');
  try {
    for (let i = 0; i < 5; i += 1) {
      const failure = dial(settings, 'always', AbortSignal.timeout(5000), { side: 'source', settings });
      await expect(failure).rejects.toMatchObject({ code: 'NOT_POSTGRESQL', retryable: true });
    }
    // What a dead socket still says comes a moment later.
    await sleep(20);
  } finally {
    server.close();
  }
});
