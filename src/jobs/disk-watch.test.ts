import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { parseEndpoint } from '../postgres/settings.ts';
import { growthWords, judgeGrowth, whileDiskIsWatched } from './disk-watch.ts';

const MiB = 2 ** 20;

test('levels', () => {
  expect(judgeGrowth(0, 10)).toBe('quiet');
  expect(judgeGrowth(74, 26)).toBe('quiet');
  expect(judgeGrowth(76, 24)).toBe('low');
  expect(judgeGrowth(95, 5)).toBe('nearly full');
  expect(judgeGrowth(110, -10)).toBe('overdrawn');
  expect(growthWords('overdrawn', 110 * MiB, -10 * MiB).message).toContain('10 MiB more than was declared as free');
  expect(growthWords('low', 76 * MiB, 24 * MiB)).toMatchObject({ level: 'warn' });
});

const target = parseEndpoint({ url: 'postgres://u@h/d' }, 'target');

async function watched(
  readings: readonly (number | Error)[],
  targetDisk: number | null,
  spare = true,
): Promise<string[]> {
  const lines: string[] = [];
  let looks = 0;
  const answer = await whileDiskIsWatched(
    {
      target,
      options: { targetDisk },
      rooms: {
        readDisk: () => {
          const reading = readings[Math.min(looks, readings.length - 1)] ?? 0;
          looks += 1;
          return reading instanceof Error
            ? Promise.reject(reading)
            : Promise.resolve({ databaseBytes: reading * MiB, freeBytes: null });
        },
      },
      signal: new AbortController().signal,
      spare,
      log: (level, message) => lines.push(`${level} ${message}`),
      everyMs: 1,
    },
    async () => {
      await sleep(80);
      return 'done';
    },
  );
  expect(answer).toBe('done');
  expect(looks > 0).toBe(spare);
  return lines;
}

test('each level is told once, from the size at the start on', async () => {
  const lines = await watched([5, 20, 90, 95, 100, 101, 120], 100 * MiB);
  expect(lines.map((line) => line.split(' ')[0])).toEqual(['warn', 'error', 'error']);
  expect(lines[0]).toContain('grown by 85 MiB, and 15 MiB of its disk are left');
});

test('where nothing is known or no connection is to spare nothing is asked again, and a look that fails is left out', async () => {
  expect(await watched([5, 500], null)).toEqual([]);
  expect(await watched([5, 500], 10 * MiB, false)).toEqual([]);
  const lines = await watched([5, new Error('away'), 97], 100 * MiB);
  expect(lines.map((line) => line.split(' ')[0])).toEqual(['debug', 'error']);
});
