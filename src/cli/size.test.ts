import { expect, test } from 'vitest';
import { parseSize } from './size.ts';

test.each([
  ['0', 0],
  ['1048576', 1_048_576],
  ['500MB', 500e6],
  ['500 mb', 500e6],
  ['20GiB', 20 * 2 ** 30],
  ['1.5TB', 1.5e12],
  ['1k', 1000],
  ['2G', 2e9],
  ['10B', 10],
])('%s is %d bytes', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each(['', 'MB', '-1GB', '1,5GB', '5 apples', '1e9', '0x10', '99999999TB', 'NaN'])('%s is no size', (text) => {
  expect(parseSize(text)).toBeNull();
});
