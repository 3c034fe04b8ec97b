import { expect, test } from 'vitest';
import { formatBytes, formatLasting, formatPercent, formatRemaining, formatSeconds, plural } from './format.ts';

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1024, '1.0 KiB'],
  [1_048_570, '1.0 MiB'],
  [1_234_567_890, '1.1 GiB'],
  [123_456_789, '118 MiB'],
])('%d bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test.each([
  [0.04, '0.0 s'],
  [9.96, '10 s'],
  [59.6, '1 min'],
  [185, '3 min 5 s'],
  [3600, '1 h'],
  [7800, '2 h 10 min'],
])('%d seconds are %s', (seconds, text) => {
  expect(formatSeconds(seconds)).toBe(text);
});

test.each([
  [220, 'about 3 min 40 s'],
  [7200, 'about 2 h'],
  [3 * 86_400 + 5000, 'about 3 days'],
  [1e9, 'more than a year'],
])('what lasts %d s lasts %s', (seconds, text) => {
  expect(formatLasting(seconds)).toBe(text);
});

test('the remaining time is a range until it is known', () => {
  expect(formatRemaining(null)).toBe('time left not known yet');
  expect(formatRemaining({ low: 61, high: 290 })).toBe('2 min to 5 min left');
  expect(formatRemaining({ low: 41, high: 44 })).toBe('about 45 s left');
  expect(formatRemaining({ low: 0, high: 0.5 })).toBe('about 1 s left');
});

test('100 % is said only when all is done', () => {
  expect(formatPercent(0.9999)).toBe('99 %');
  expect(formatPercent(1)).toBe('100 %');
});

test('one is singular', () => {
  expect(plural(1, 'table')).toBe('1 table');
  expect(plural(12_345, 'row')).toBe('12,345 rows');
});
