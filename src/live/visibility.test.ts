import { expect, test } from 'vitest';
import { parseSnapshot, visibleIn, widenXid } from './visibility.ts';

test('a snapshot is read with and without running transactions', () => {
  expect(parseSnapshot('10:20:12,15')).toEqual({ xmin: 10n, xmax: 20n, inProgress: new Set([12n, 15n]) });
  expect(parseSnapshot('7:7:')).toEqual({ xmin: 7n, xmax: 7n, inProgress: new Set() });
  for (const bad of ['', '1:2', '1:2:3,', 'a:b:', '1:2:3;4']) expect(() => parseSnapshot(bad)).toThrow(RangeError);
});

test('a transaction is visible below xmin, and below xmax unless it was running', () => {
  const snapshot = parseSnapshot('10:20:12,15');
  const visible = [9n, 10n, 11n, 12n, 14n, 15n, 19n, 20n, 21n].filter((xid) => visibleIn(snapshot, xid));
  expect(visible).toEqual([9n, 10n, 11n, 14n, 19n]);
});

test('32 bits are widened to the nearest 64-bit number, on both sides of a wraparound', () => {
  const reference = (5n << 32n) | 3n;
  expect(widenXid(3, reference)).toBe(reference);
  expect(widenXid(9, reference)).toBe((5n << 32n) | 9n);
  expect(widenXid(0xffff_fff0, reference)).toBe((4n << 32n) | 0xffff_fff0n);
  expect(widenXid(4, (4n << 32n) | 0xffff_fffen)).toBe((5n << 32n) | 4n);
  expect(widenXid(0x8000_0002, reference)).toBe((5n << 32n) | 0x8000_0002n);
  expect(widenXid(0x8000_0004, reference)).toBe((4n << 32n) | 0x8000_0004n);
});

test('the first epoch has nothing before it', () => {
  expect(widenXid(4_000_000_000, 700n)).toBe(4_000_000_000n);
  expect(widenXid(700, 4_000_000_000n)).toBe((1n << 32n) | 700n);
});
