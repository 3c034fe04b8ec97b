import { expect, test } from 'vitest';
import { canonicalAddress, IpRanges, isPrivateAddress } from './ip-range.ts';

test.each([
  ['10.0.0.1', '10.0.0.1'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
  ['::ffff:a00:1', '10.0.0.1'],
  ['[::FFFF:7f00:1]', '127.0.0.1'],
  ['0:0:0:0:0:ffff:7f00:1', '127.0.0.1'],
  ['fe80::1%eth0', 'fe80:0:0:0:0:0:0:1'],
  ['::1', '0:0:0:0:0:0:0:1'],
  ['example.com', null],
  ['127.1', null],
  ['', null],
])('%s is the address %s', (text, address) => {
  expect(canonicalAddress(text)).toBe(address);
});

test.each([
  '0.0.0.0',
  '10.1.2.3',
  '100.64.0.1',
  '127.0.0.1',
  '127.255.255.254',
  '169.254.169.254',
  '172.16.0.1',
  '172.31.255.255',
  '192.168.0.1',
  '224.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::127.0.0.1',
  '::ffff:127.0.0.1',
  '::ffff:169.254.169.254',
  '0:0:0:0:0:ffff:a9fe:a9fe',
  '64:ff9b::10.0.0.1',
  '64:ff9b::7f00:1',
  '2002:7f00:1::1',
  '2001:0:1::1',
  'fc00::1',
  'fd00:ec2::254',
  'fe80::1%lo',
  'ff02::1',
  'localhost',
])('%s is not of the public internet', (address) => {
  expect(isPrivateAddress(address)).toBe(true);
});

test.each([
  '1.1.1.1',
  '172.32.0.1',
  '100.128.0.1',
  '169.253.0.1',
  '2606:4700::1111',
  '::ffff:1.1.1.1',
  '64:ff9b::101:101',
])('%s is of the public internet', (address) => {
  expect(isPrivateAddress(address)).toBe(false);
});

test('a range holds its addresses in every spelling', () => {
  const ranges = new IpRanges(['10.0.0.0/8', '2001:db8::/32', '192.0.2.7', '::ffff:198.51.100.0/120']);
  for (const inside of ['10.255.0.1', '::ffff:10.0.0.9', '2001:db8:ffff::1', '192.0.2.7', '198.51.100.200']) {
    expect(ranges.has(inside), inside).toBe(true);
  }
  for (const outside of ['11.0.0.1', '2001:db9::1', '192.0.2.8', '198.51.101.1', 'host', '']) {
    expect(ranges.has(outside), outside).toBe(false);
  }
});

test.each(['10.0.0.0/33', '2001:db8::/129', 'example.com', '10.0.0/8', '::ffff:0:0/64', ''])(
  '"%s" is no range',
  (text) => {
    expect(() => new IpRanges([text])).toThrow(RangeError);
  },
);
