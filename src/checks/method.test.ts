import { expect, test } from 'vitest';
import { JobOptions } from '../contract/options.ts';
import { chooseMethod, decidesMethod, wantsLive } from './method.ts';

const options = (given: object): JobOptions => JobOptions.parse(given);
const live = (
  outcome: 'passed' | 'failed' | 'warned' | 'skipped',
  found = 'x',
): Parameters<typeof chooseMethod>[0][number] => ({
  id: 'live.wal-level',
  family: 'live',
  outcome,
  found,
});

test('what was asked for is taken', () => {
  expect(chooseMethod([live('passed')], options({ method: 'copy', cutover: 'auto' })).method).toBe('copy');
  expect(chooseMethod([live('failed')], options({ method: 'live' })).method).toBe('live');
});

test('auto copies unless a cutover was asked for', () => {
  expect(wantsLive(options({}))).toBe(false);
  expect(chooseMethod([], options({}))).toEqual({
    method: 'copy',
    reason: 'No cutover was asked for, so the source may stand still meanwhile.',
  });
  expect(chooseMethod([live('passed'), live('warned')], options({ cutover: 'manual' })).method).toBe('live');
});

test('auto copies where something stands against following, and says what', () => {
  const asked = options({ cutover: 'auto' });
  expect(decidesMethod(asked)).toBe(true);
  expect(decidesMethod(options({ method: 'live' }))).toBe(false);
  expect(chooseMethod([live('passed'), live('failed', 'wal_level is replica.')], asked)).toEqual({
    method: 'copy',
    reason: 'The source cannot be followed: wal_level is replica.',
  });
  expect(chooseMethod([live('failed', 'A.'), live('failed', 'B.'), live('failed', 'C.')], asked).reason).toBe(
    'The source cannot be followed: A. (and 2 more checks failed)',
  );
  expect(chooseMethod([{ ...live('failed'), family: 'capacity' }, live('passed')], asked).method).toBe('live');
});

test('auto takes nothing for checked that was not', () => {
  expect(chooseMethod([live('skipped')], options({ cutover: 'auto' })).method).toBe('copy');
  expect(chooseMethod([], options({ cutover: 'auto' })).method).toBe('copy');
});

test('a part of a database is not followed', () => {
  const part = options({ cutover: 'auto', schemaOnly: true });
  expect(wantsLive(part)).toBe(false);
  expect(chooseMethod([], part).reason).toContain('Only one of schema and data');
});
