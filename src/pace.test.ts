import { expect, test } from 'vitest';
import { Pace } from './pace.ts';

function clocked(limit: number | null): { pace: Pace; pass: (ms: number) => void } {
  let now = 0;
  return {
    pace: new Pace(limit, () => now),
    pass: (ms) => {
      now += ms;
    },
  };
}

test('without a limit nobody waits, and what has passed is counted all the same', () => {
  const { pace } = clocked(null);
  expect(pace.spend(1e9)).toBe(0);
  expect(pace.spent).toBe(1e9);
});

test('several copies together take no more than the rate, whoever takes it', () => {
  const { pace, pass } = clocked(1_000_000);
  let bytes = 0;
  // Two copies of pieces of 64 KiB, each as soon as it may.
  const free = [0, 0];
  for (let ms = 0; ms < 10_000; ms += 1) {
    for (const [copy, at] of free.entries()) {
      if (at > ms) continue;
      bytes += 65_536;
      free[copy] = ms + pace.spend(65_536);
    }
    pass(1);
  }
  expect(bytes).toBeGreaterThan(9_700_000);
  expect(bytes).toBeLessThan(10_400_000);
});

test('a time without use is no credit for a flood', () => {
  const { pace, pass } = clocked(1_000_000);
  pass(60_000);
  expect(pace.spend(100_000)).toBe(0);
  expect(pace.spend(500_000)).toBe(500);
});

test('a rate that is lowered does not make old debts longer, one that is raised pays them sooner', () => {
  const { pace } = clocked(1_000_000);
  expect(pace.spend(1_000_000)).toBe(1000);
  pace.limit = 100_000;
  expect(pace.spend(0)).toBe(1000);
  pace.limit = null;
  expect(pace.spend(5_000_000)).toBe(0);
  pace.limit = 100_000;
  expect(pace.spend(0)).toBe(0);
});

test('whoever waits is woken by the signal', async () => {
  const pace = new Pace(65_536);
  const abort = new AbortController();
  const waiting = pace.take(65_536 * 100, abort.signal);
  const reason = new Error('enough');
  abort.abort(reason);
  await expect(waiting).rejects.toBe(reason);
});

test('a rest lets nothing pass, and what was on its way then is no longer waited for than at the rate', () => {
  const { pace, pass } = clocked(1_000_000);
  pace.resting = true;
  expect(pace.spend(0)).toBe(250);
  expect(pace.spend(2_000_000)).toBe(2000);
  pass(3_000);
  expect(pace.spend(0)).toBe(250);
  pace.resting = false;
  expect(pace.spend(0)).toBe(0);
  const { pace: free } = clocked(null);
  free.resting = true;
  expect(free.spend(10)).toBe(250);
});
