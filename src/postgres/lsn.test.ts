import { expect, test } from 'vitest';
import { formatLsn, parseLsn } from './lsn.ts';

test.each([
  ['0/0', 0n],
  ['0/1', 1n],
  ['16/B374D848', 0x16_b374_d848n],
  ['1/0', 0x1_0000_0000n],
  ['0/FFFFFFFF', 0xffff_ffffn],
  ['FFFFFFFF/FFFFFFFF', 0xffff_ffff_ffff_ffffn],
])('%s is read and written', (text, lsn) => {
  expect(parseLsn(text)).toBe(lsn);
  expect(formatLsn(lsn)).toBe(text);
});

test('lower case and leading zeros are read as well', () => {
  expect(parseLsn('0a/00b374d8')).toBe(0xa_00b3_74d8n);
});

test.each(['', '0', '0/', '/0', '0/G', '1/123456789', ' 0/0', '0/0 ', '-1/0'])('%j is none', (text) => {
  expect(() => parseLsn(text)).toThrow(RangeError);
});
