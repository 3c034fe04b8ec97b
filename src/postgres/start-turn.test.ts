import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { startTurn } from './start-turn.ts';

test('programs that are to start at once leave time for others between them', async () => {
  let last = performance.now();
  let longest = 0;
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 5);
  let started = 0;
  const start = async (): Promise<void> => {
    const done = await startTurn();
    const until = performance.now() + 30;
    while (performance.now() < until) started += 0;
    started += 1;
    done();
  };
  last = performance.now();
  await Promise.all(Array.from({ length: 8 }, start));
  await sleep(10);
  clearInterval(timer);
  expect(started).toBe(8);
  // One after the other without a pause they would stop everything for 240 ms.
  expect(longest).toBeLessThan(120);
});

test('a single one does not wait', async () => {
  await sleep(100);
  const begun = performance.now();
  (await startTurn())();
  expect(performance.now() - begun).toBeLessThan(50);
});
