import type { LookupAddress } from 'node:dns';
import { expect, test } from 'vitest';
import { Reach, type ReachRules } from './reach.ts';

const names: Readonly<Record<string, readonly string[]>> = {
  'db.example.com': ['93.184.216.34'],
  'inner.example.com': ['10.0.0.5'],
  'both.example.com': ['10.0.0.5', '93.184.216.34'],
  source: ['172.18.0.3'],
  state: ['172.18.0.2'],
  '127.1': ['127.0.0.1'],
};

const of = (rules: Partial<ReachRules>): Reach =>
  new Reach({ allow: null, denyPrivate: false, ...rules }, (host, done) => {
    const found = (names[host] ?? []).map((address): LookupAddress => ({
      address,
      family: address.includes(':') ? 6 : 4,
    }));
    done(found.length === 0 ? Object.assign(new Error('ENOTFOUND'), { code: 'ENOTFOUND' }) : null, found);
  });

const addressOf = (reach: Reach, host: string, port = 5432): Promise<string> =>
  reach.pin(host, port).catch((error: { code: string }) => error.code);

test('without rules everything may be reached, and nothing is restricted', async () => {
  const open = of({});
  expect(open.restricted).toBe(false);
  expect(await addressOf(open, 'state')).toBe('172.18.0.2');
  expect(await addressOf(open, '127.0.0.1')).toBe('127.0.0.1');
});

test('private networks are refused by what a name leads to, however an address is spelled', async () => {
  const reach = of({ denyPrivate: true });
  expect(reach.restricted).toBe(true);
  expect(await addressOf(reach, 'db.example.com')).toBe('93.184.216.34');
  for (const host of [
    'inner.example.com',
    'source',
    '127.1',
    '127.0.0.1',
    '::1',
    '::ffff:127.0.0.1',
    '169.254.169.254',
    'fd00:ec2::254',
  ]) {
    expect(await addressOf(reach, host), host).toBe('HOST_NOT_ALLOWED');
  }
});

test('of several addresses only those that may be reached are given out', async () => {
  const lookup = of({ denyPrivate: true }).lookupFor(5432);
  const all = await new Promise((resolve, reject) => {
    lookup('both.example.com', { all: true }, (error, found) => (error === null ? resolve(found) : reject(error)));
  });
  expect(all).toEqual([{ address: '93.184.216.34', family: 4 }]);
  expect(() =>
    lookup('both.example.com', { family: 6 }, (error) => {
      throw error;
    }),
  ).toThrow(expect.objectContaining({ code: 'HOST_NOT_ALLOWED' }));
});

test('a list names hosts by glob, range and port', async () => {
  const reach = of({ allow: '*.example.com:5432-5440, 172.18.0.0/16,[2001:db8::/32]:6000' });
  expect(await addressOf(reach, 'DB.example.com.', 5432)).toBe('ENOTFOUND');
  expect(await addressOf(reach, 'db.example.com', 5440)).toBe('93.184.216.34');
  expect(await addressOf(reach, 'db.example.com', 5441)).toBe('HOST_NOT_ALLOWED');
  expect(await addressOf(reach, 'source')).toBe('172.18.0.3');
  expect(await addressOf(reach, '2001:db8::9', 6000)).toBe('2001:db8::9');
  expect(await addressOf(reach, '2001:db8::9')).toBe('HOST_NOT_ALLOWED');
  expect(await addressOf(reach, '93.184.216.34')).toBe('HOST_NOT_ALLOWED');
});

test('beside a denial of private networks, a plain name or a range opens what it names and nothing more', async () => {
  const reach = of({ allow: 'source:5432,*,10.0.0.0/24', denyPrivate: true });
  expect(await addressOf(reach, 'source')).toBe('172.18.0.3');
  expect(await addressOf(reach, 'source', 22)).toBe('HOST_NOT_ALLOWED');
  expect(await addressOf(reach, 'state')).toBe('HOST_NOT_ALLOWED');
  expect(await addressOf(reach, 'inner.example.com')).toBe('10.0.0.5');
  expect(await addressOf(reach, 'db.example.com')).toBe('93.184.216.34');
});

test('the owner of an allowed name cannot point it at a private network', async () => {
  for (const allow of ['*', '*.example.com', 'inner.example.com', '0.0.0.0/0,::/0']) {
    expect(await addressOf(of({ allow, denyPrivate: true }), 'inner.example.com'), allow).toBe('HOST_NOT_ALLOWED');
  }
});

test('what cannot be allowed by any answer of a name server is refused before one is asked', () => {
  const reach = of({ allow: '*.example.com', denyPrivate: true });
  expect(() => reach.assertNamed('db.example.com', 5432)).not.toThrow();
  for (const host of ['evil.test', '10.0.0.1', '[::1]', 'example.com.evil.test']) {
    expect(() => reach.assertNamed(host, 5432), host).toThrow(expect.objectContaining({ code: 'HOST_NOT_ALLOWED' }));
  }
});

test.each(['db.example.com:', 'a b', '10.0.0.0/99', 'x:0', 'x:9-3', 'x:70000', 'http://x', '[::1', ':5432'])(
  '"%s" is no rule',
  (allow) => {
    expect(() => of({ allow })).toThrow(expect.objectContaining({ code: 'INVALID_ALLOW_HOSTS' }));
  },
);
