import { pid } from 'node:process';
import { expect, test } from 'vitest';
import { parseTicks, processTicks } from './process-time.ts';

test('user and system time are added, whatever the command is called', () => {
  expect(parseTicks('4711 (a (b) c) S 1 2 3 0 -1 4194560 10 0 0 0 25 17 0 0 20 0 1 0 100 1 1')).toBe(42);
  expect(parseTicks('nothing of the kind')).toBeNull();
});

test('a process that is gone has no time', async () => {
  expect(await processTicks(2 ** 30)).toBeNull();
  expect(await processTicks(pid)).toSatisfy((ticks: number | null) => ticks === null || ticks >= 0);
});
