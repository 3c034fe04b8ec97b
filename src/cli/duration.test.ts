import { expect, test } from 'vitest';
import { parseDuration } from './duration.ts';

test('a time is a number and a unit', () => {
  expect(['60s', '90m', '12h', '30d'].map(parseDuration)).toEqual([60, 5400, 43_200, 2_592_000]);
  for (const text of ['', '30', '59s', '-1d', '1w', '1.5h', '99999d'])
    expect(() => parseDuration(text), text).toThrow('must be a time');
});
