import { expect, test } from 'vitest';
import type { CutoverStep } from '../../../src/contract/live.ts';
import { timelineOf } from './timeline.ts';
import { stepOrder } from './words.ts';

const step = (name: CutoverStep['step'], at: number, ms: number | null): CutoverStep => ({
  step: name,
  startedAt: new Date(1_790_000_000_000 + at).toISOString(),
  ms,
  detail: '',
});

test('steps lie one after the other on one scale, and those to come follow', () => {
  const rows = timelineOf(
    [step('prepare', 0, 100), step('guardrails', 100, 100), step('fence', 200, null)],
    200,
    false,
  );
  expect(rows.map((row) => row.step)).toEqual(stepOrder);
  expect(rows.slice(0, 3).map(({ status, from, share }) => [status, from, share])).toEqual([
    ['done', 0, 0.25],
    ['done', 0.25, 0.25],
    ['now', 0.5, 0.5],
  ]);
  expect(rows[3]).toMatchObject({ step: 'drain', status: 'to-come', ms: null });
});

test('a cutover that is over shows only what was done', () => {
  expect(timelineOf([step('guardrails', 0, 3), step('fence', 3, 5)], 0, true).map((row) => row.step)).toEqual([
    'guardrails',
    'fence',
  ]);
  expect(timelineOf([], 0, true)).toEqual([]);
});
