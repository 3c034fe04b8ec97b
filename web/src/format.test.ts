import { describe, expect, it } from 'vitest';
import { formatAgo, formatBytes, formatDuration, formatPercent, formatRemaining, plural } from './format.ts';

describe('figures', () => {
  it('gives bytes three significant digits and a binary unit', () => {
    expect(formatBytes(0)).toBe('0 B');
    expect(formatBytes(999)).toBe('999 B');
    expect(formatBytes(1000)).toBe('0.98 KiB');
    expect(formatBytes(1536)).toBe('1.50 KiB');
    expect(formatBytes(5 * 1024 ** 3)).toBe('5.00 GiB');
    expect(formatBytes(123.4 * 1024 ** 2)).toBe('123 MiB');
  });

  it('says 100 % only when all is done', () => {
    expect(formatPercent(0.99999)).toBe('99.9 %');
    expect(formatPercent(1)).toBe('100 %');
    expect(formatPercent(0)).toBe('0.0 %');
  });

  it('shortens durations with their length', () => {
    expect(formatDuration(0.44)).toBe('0.4 s');
    expect(formatDuration(42)).toBe('42 s');
    expect(formatDuration(200)).toBe('3 min 20 s');
    expect(formatDuration(7500)).toBe('2 h 05 min');
  });

  it('shows the remaining time as a range until both ends are the same', () => {
    expect(formatRemaining(null)).toBe('not known yet');
    expect(formatRemaining({ low: 1, high: 6 })).toBe('under 10 s');
    expect(formatRemaining({ low: 150, high: 340 })).toBe('3 to 6 min');
    expect(formatRemaining({ low: 200, high: 230 })).toBe('about 4 min');
    expect(formatRemaining({ low: 35, high: 110 })).toBe('40 s to 2 min');
    expect(formatRemaining({ low: 7000, high: 9000 })).toBe('2 to 2.5 h');
  });

  it('counts with the right noun and the distance in words', () => {
    expect(plural(1, 'table')).toBe('1 table');
    expect(plural(1200, 'index', 'indexes')).toBe('1,200 indexes');
    expect(formatAgo('2026-01-01T00:00:00Z', Date.parse('2026-01-01T00:05:10Z'))).toBe('5 min ago');
  });
});
