import { expect, test } from 'vitest';
import { IpRanges } from '../ip-range.ts';
import { assertClient, clientAddress, parseRanges } from './client-address.ts';

const proxies = new IpRanges(['10.0.0.0/24', '::1']);

test.each([
  ['198.51.100.7', undefined, '198.51.100.7'],
  ['::ffff:198.51.100.7', undefined, '198.51.100.7'],
  ['198.51.100.7', '192.0.2.1', '198.51.100.7'],
  ['10.0.0.2', '192.0.2.1', '192.0.2.1'],
  ['10.0.0.2', '127.0.0.1, 192.0.2.1', '192.0.2.1'],
  ['10.0.0.2', '192.0.2.1, 10.0.0.9', '192.0.2.1'],
  ['10.0.0.2', '192.0.2.1:4711', '192.0.2.1'],
  ['::1', '[2001:db8::1]:4711', '2001:db8:0:0:0:0:0:1'],
  ['10.0.0.2', '192.0.2.1, nonsense', '10.0.0.2'],
  ['10.0.0.2', undefined, '10.0.0.2'],
  [undefined, '192.0.2.1', ''],
])('peer %s with X-Forwarded-For %s is %s', (peer, header, client) => {
  expect(clientAddress(peer, header, proxies)).toBe(client);
});

test('a header that nobody vouches for is not read', () => {
  expect(clientAddress('203.0.113.9', '127.0.0.1', null)).toBe('203.0.113.9');
});

test('clients outside of the ranges are turned away, in whatever family they come', () => {
  const rules = { allowed: parseRanges('10.0.0.0/8, 2001:db8::/32', '--allow-clients'), proxies: null };
  for (const inside of ['10.1.1.1', '::ffff:10.1.1.1', '2001:db8::5'])
    expect(() => assertClient(inside, rules)).not.toThrow();
  for (const outside of ['11.1.1.1', '::ffff:11.1.1.1', '2001:db9::5', '127.0.0.1', '']) {
    expect(() => assertClient(outside, rules), outside).toThrow(
      expect.objectContaining({ code: 'CLIENT_NOT_ALLOWED' }),
    );
  }
  expect(() => assertClient('11.1.1.1', { allowed: parseRanges(' ', 'x'), proxies: null })).not.toThrow();
  expect(() => parseRanges('10.0.0.0/8,all', '--allow-clients')).toThrow(
    expect.objectContaining({ code: 'INVALID_RANGE' }),
  );
});
