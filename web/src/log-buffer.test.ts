import { describe, expect, it } from 'vitest';
import { LogBuffer, type LogLine } from './log-buffer.ts';

function lines(from: number, to: number): LogLine[] {
  return Array.from({ length: to - from + 1 }, (_, i) => ({
    seq: from + i,
    at: '2026-01-01T00:00:00.000Z',
    level: (from + i) % 10 === 0 ? 'warn' : 'info',
    message: `Line number ${from + i}`,
  }));
}

const seqs = (buffer: LogBuffer): number[] =>
  Array.from({ length: buffer.count }, (_, i) => buffer.at(i)?.seq ?? Number.NaN);

describe('LogBuffer', () => {
  it('shows all lines without a filter', () => {
    const buffer = new LogBuffer();
    buffer.append(lines(1, 3));
    expect(seqs(buffer)).toEqual([1, 2, 3]);
    expect(buffer.step(5)).toBe(true);
  });

  it('filters by level and text, whatever the case, and goes on with appended lines', () => {
    const buffer = new LogBuffer();
    buffer.append(lines(1, 25));
    buffer.setFilter({ level: 'warn', search: '' });
    buffer.step(5);
    expect(seqs(buffer)).toEqual([10, 20]);
    buffer.append(lines(26, 30));
    buffer.step(5);
    expect(seqs(buffer)).toEqual([10, 20, 30]);
    buffer.setFilter({ level: 'debug', search: 'NUMBER 7' });
    buffer.step(5);
    expect(seqs(buffer)).toEqual([7]);
  });

  it('filters in slices of time', () => {
    const buffer = new LogBuffer();
    buffer.append(lines(1, 5000));
    buffer.setFilter({ level: 'debug', search: 'line' });
    let clock = 0;
    expect(buffer.step(1, () => (clock += 1))).toBe(false);
    expect(buffer.filtered).toBeGreaterThan(0);
    expect(buffer.filtered).toBeLessThan(1);
    while (!buffer.step(1, () => (clock += 1)));
    expect(buffer.count).toBe(5000);
  });

  it('drops the oldest lines in blocks and keeps the matches right', () => {
    const buffer = new LogBuffer(100);
    buffer.setFilter({ level: 'warn', search: '' });
    buffer.append(lines(1, 100));
    buffer.step(5);
    buffer.append(lines(101, 104));
    expect(buffer.dropped).toBe(0);
    buffer.append(lines(105, 125));
    buffer.step(5);
    expect(buffer.dropped).toBe(25);
    expect(buffer.size).toBe(100);
    expect(seqs(buffer)).toEqual([30, 40, 50, 60, 70, 80, 90, 100, 110, 120]);
  });

  it('takes older lines in front', () => {
    const buffer = new LogBuffer();
    buffer.append(lines(50, 60));
    buffer.setFilter({ level: 'warn', search: '' });
    buffer.step(5);
    expect(buffer.prepend(lines(30, 49))).toBe(2);
    expect(seqs(buffer)).toEqual([30, 40, 50, 60]);
    buffer.setFilter({ level: 'debug', search: '' });
    expect(buffer.at(0)?.seq).toBe(30);
    expect(buffer.oldestSeq).toBe(30);
  });
});
