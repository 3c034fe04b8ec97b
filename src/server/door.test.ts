import { expect, test } from 'vitest';
import { assertDoor, chooseTls, isThisMachine } from './door.ts';

const long = 'a-token-that-is-long-enough';
const tls = { cert: 'c', key: 'k' };

test('what listens on this machine alone needs neither certificate nor long token', () => {
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', '[::1]', 'localhost', '::ffff:127.0.0.1']) {
    expect(isThisMachine(host), host).toBe(true);
    expect(() => assertDoor({ host, token: 'x', tls: null, insecure: false }), host).not.toThrow();
  }
});

test.each(['0.0.0.0', '::', '', '192.0.2.1', 'example.com', 'localhost.example.com'])(
  'the door "%s" is not opened to a network with a short token, nor without TLS unless that is meant',
  (host) => {
    const open = (token: string | null, files: typeof tls | null, insecure: boolean) => () =>
      assertDoor({ host, token, tls: files, insecure });
    expect(open(long, null, false)).toThrow(expect.objectContaining({ code: 'INSECURE_DOOR' }));
    expect(open(null, null, false)).toThrow(expect.objectContaining({ code: 'INSECURE_DOOR' }));
    expect(open('short', tls, true)).toThrow(expect.objectContaining({ code: 'TOKEN_TOO_SHORT' }));
    expect(open(long, tls, false)).not.toThrow();
    expect(open(null, null, true)).not.toThrow();
  },
);

test('a certificate comes with its key', () => {
  expect(chooseTls(null, null)).toBeNull();
  expect(chooseTls('c', 'k')).toEqual(tls);
  for (const [cert, key] of [
    ['c', null],
    [null, 'k'],
  ] as const) {
    expect(() => chooseTls(cert, key)).toThrow(expect.objectContaining({ code: 'INVALID_TLS' }));
  }
});
