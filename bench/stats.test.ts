import { describe, expect, test } from 'vitest';
import { parseOptions, parseSize } from './options.ts';
import { pairedRatios, spread } from './stats.ts';

describe('spread', () => {
  test('orders numbers by value', () => {
    expect(spread([10, 9, 100])).toEqual({ min: 9, median: 10, max: 100 });
  });
  test('takes the mean of the two middle ones', () => {
    expect(spread([4, 1, 2, 3]).median).toBe(2.5);
  });
  test('refuses to say something about nothing', () => {
    expect(() => spread([])).toThrow(RangeError);
  });
});

test('ratios pair the runs of one round', () => {
  expect(pairedRatios([1, 4], [2, 2, 9])).toEqual([0.5, 2]);
});

describe('options', () => {
  test('defaults compare everything', () => {
    expect(parseOptions([])).toMatchObject({ command: 'compare', rounds: 5, jobs: 2, verified: true });
  });
  test('sizes are decimal', () => {
    expect(parseSize('1.5GB')).toBe(1_500_000_000);
    expect(() => parseSize('5')).toThrow('500MB');
  });
  test('unknown words are refused', () => {
    expect(() => parseOptions(['--tools', 'rsync'])).toThrow('rsync');
    expect(() => parseOptions(['race'])).toThrow('race');
  });
});
