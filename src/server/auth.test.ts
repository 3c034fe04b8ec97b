import { expect, test } from 'vitest';
import { bearerToken, originAllowed, parseOrigin, protocolToken, sameToken } from './auth.ts';

test('tokens are equal only as a whole', () => {
  expect(sameToken('secret', 'secret')).toBe(true);
  expect(sameToken('secre', 'secret')).toBe(false);
  expect(sameToken('', 'secret')).toBe(false);
});

test('a token that is wrong at its end is refused no later than one that is wrong at once', () => {
  const rest = Buffer.alloc(2_000_000, 'a').toString('latin1');
  const best = (given: string): number => {
    const times = Array.from({ length: 5 }, () => {
      const begun = performance.now();
      expect(sameToken(given, `${rest}a`)).toBe(false);
      return performance.now() - begun;
    });
    return Math.min(...times);
  };
  expect(best(`${rest}b`)).toBeLessThan(3 * best(`b${rest}`));
});

test('a bearer header is read whatever its case, and nothing else is', () => {
  expect(bearerToken('Bearer abc')).toBe('abc');
  expect(bearerToken('bearer  abc ')).toBe('abc');
  for (const header of [undefined, null, '', 'Bearer', 'Bearer a b', 'Basic abc'])
    expect(bearerToken(header)).toBeNull();
});

test('a browser hands its token over as a subprotocol', () => {
  const encoded = Buffer.from('tökén+/=').toString('base64url');
  expect(protocolToken(`pgsluice, bearer.${encoded}`)).toBe('tökén+/=');
  expect(protocolToken('pgsluice')).toBeNull();
  expect(protocolToken('pgsluice, bearer.a b')).toBeNull();
  expect(protocolToken(undefined)).toBeNull();
});

test.each([
  [undefined, 'a:7432', true],
  ['http://a:7432', 'a:7432', true],
  ['https://a', 'a', true],
  ['https://a:443', 'a', true],
  ['http://A:7432', 'a:7432', true],
  ['http://a:7433', 'a:7432', false],
  ['http://b:7432', 'a:7432', false],
  ['http://a.evil.example', 'a', false],
  ['null', 'a:7432', false],
  ['file://', 'a:7432', false],
  ['not an origin', 'a:7432', false],
  ['http://a:7432', undefined, false],
  ['http://allowed:5173', 'a:7432', true],
])('origin %s at host %s: %s', (origin, host, expected) => {
  expect(originAllowed({ origin, host }, ['http://allowed:5173'])).toBe(expected);
});

test('an allowed origin is scheme, host and port', () => {
  expect(parseOrigin('https://ops.example.com/')).toBe('https://ops.example.com');
  for (const text of ['ops.example.com', 'https://a/path', '*', 'ftp://a']) {
    expect(() => parseOrigin(text)).toThrow(expect.objectContaining({ code: 'INVALID_ORIGIN' }));
  }
});
