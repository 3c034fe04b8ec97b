import { expect, test } from 'vitest';
import { parseBusy, parseStat, parseStatus, treeOf } from './proc.ts';

const line = (pid: number, parent: number, name = 'postgres'): string =>
  `${pid} (${name}) S ${parent} 1 1 0 -1 4194304 1 2 3 4 150 50 300 100 20 0 1 0 5 6 7`;

test('a command with brackets and blanks does not shift the fields', () => {
  expect(parseStat(line(7, 3, 'a) b (c'))).toEqual({ pid: 7, parent: 3, own: 2, reaped: 4 });
});

test('an empty line, of a process that has just ended, is nothing', () => {
  expect(parseStat('')).toBeNull();
});

test('a tree holds the root and all that descend from it, and nobody else', () => {
  const stats = [line(1, 0), line(2, 1), line(3, 2), line(4, 1), line(5, 9)].map(parseStat);
  const processes = new Map(stats.filter((stat) => stat !== null).map((stat) => [stat.pid, stat]));
  expect(treeOf(2, processes).map(({ pid }) => pid)).toEqual([2, 3]);
  expect(treeOf(1, processes)).toHaveLength(4);
});

test('memory is in bytes', () => {
  expect(parseStatus('Name:\tnode\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n')).toEqual({
    peak: 2_097_152,
    resident: 1_048_576,
  });
  expect(parseStatus('Name:\tzombie\n')).toBeNull();
});

test('time of the whole machine is that of programs and interrupts, without idling and waiting', () => {
  expect(parseBusy('cpu  100 20 30 9999 888 4 6 7 0 0\ncpu0 1 2 3\n')).toBeCloseTo(1.6);
  expect(parseBusy('')).toBeNull();
});
