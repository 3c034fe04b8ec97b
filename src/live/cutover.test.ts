import { expect, test } from 'vitest';
import type { CutoverStep } from '../contract/live.ts';
import { countChunks } from './cutover-counts.ts';
import { Timeline } from './cutover-timeline.ts';
import { movedSequences } from './cutover.ts';

const mebibyte = 1024 * 1024;
const table = (name: string, mebibytes: number) => ({ schema: 's', name, bytes: mebibytes * mebibyte });

test('counting is split into bounded statements, and what does not fit into the time is left out', () => {
  const chunks = countChunks([table('a', 1), table('b', 20), table('c', 30), table('d', 200), table('e', 300)]);
  expect(chunks.map((chunk) => chunk.map((one) => one.name))).toEqual([['a', 'b'], ['c'], ['d']]);
  const many = countChunks(Array.from({ length: 250 }, (_, at) => table(`t${at}`, 0)));
  expect(many.map((chunk) => chunk.length)).toEqual([100, 100, 50]);
  expect(countChunks([])).toEqual([]);
});

test('a sequence has moved by its value or by being called, and a new one has, too', () => {
  const was = { schema: 's', name: 'q', lastValue: '1', isCalled: false };
  expect(movedSequences([was], [was])).toEqual([]);
  expect(movedSequences([was], [{ ...was, isCalled: true }])).toHaveLength(1);
  expect(movedSequences([was], [{ ...was, lastValue: '9007199254740993' }])).toHaveLength(1);
  expect(movedSequences([was], [was, { ...was, name: 'r' }]).map((one) => one.name)).toEqual(['r']);
});

test('the timeline shows steps as they run, in the order of the contract, and why one failed', async () => {
  let now = 0;
  const seen: (readonly CutoverStep[])[] = [];
  const timeline = new Timeline(
    (steps) => seen.push(steps),
    () => now,
  );
  await timeline.run('drain', async (say) => {
    now = 5;
    say('half');
    return await Promise.resolve({ detail: 'all' });
  });
  await expect(timeline.run('fence', () => Promise.reject(new Error('no lock')))).rejects.toThrow('no lock');
  expect(seen[1]).toEqual([{ step: 'drain', startedAt: '1970-01-01T00:00:00.000Z', ms: null, detail: 'half' }]);
  expect(timeline.steps.map(({ step, ms, detail }) => ({ step, ms, detail }))).toEqual([
    { step: 'fence', ms: 0, detail: 'no lock' },
    { step: 'drain', ms: 5, detail: 'all' },
  ]);
});
