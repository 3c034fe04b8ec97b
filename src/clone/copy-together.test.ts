import { expect, test } from 'vitest';
import type { SourceTable } from './catalogue.ts';
import { groupTasks, isEmpty } from './copy-together.ts';
import type { CopyTask } from './plan.ts';

const mode = { fresh: true, untouched: true, replicaRole: false };

function task(
  oid: number,
  sizeBytes: number,
  more: Partial<SourceTable> = {},
  range: CopyTask['range'] = null,
): CopyTask {
  const table: SourceTable = {
    oid,
    schema: 's',
    name: `t${oid}`,
    columns: [],
    sizeBytes,
    pages: 1,
    estimatedRows: null,
    extensionCondition: null,
    via: null,
    ...more,
  };
  return { table, format: 'binary', range, weight: sizeBytes };
}

const oids = (list: readonly CopyTask[]): number[] => list.map(({ table }) => table.oid);

test('small tables go together within bounds, all others alone and in their order', () => {
  const large = task(1, 1_000_000);
  const small = Array.from({ length: 100 }, (_, at) => task(100 + at, 8192));
  const { alone, groups } = groupTasks([large, ...small], mode);
  expect(oids(alone)).toEqual([1]);
  expect(groups.map((group) => group.length)).toEqual([40, 40, 20]);
  expect(oids(groups.flat())).toEqual(oids(small));
  const middling = Array.from({ length: 20 }, (_, at) => task(300 + at, 60_000));
  for (const group of groupTasks(middling, mode).groups)
    expect(group.reduce((sum, { table }) => sum + table.sizeBytes, 0)).toBeLessThanOrEqual(512 * 1024);
});

test('only tables that their own COPY would fill anew, and that nothing can have touched', () => {
  const tasks = [
    task(1, 0, { extensionCondition: '' }),
    task(2, 0, { via: { oid: 9, schema: 's', name: 'root' } }),
    task(3, 0, {}, { from: 0, to: 1 }),
  ];
  expect(groupTasks(tasks, mode).groups).toEqual([]);
  expect(groupTasks([task(4, 0)], { ...mode, untouched: false }).groups).toEqual([]);
  expect(groupTasks([task(4, 0)], { ...mode, fresh: false }).groups).toEqual([]);
});

test('tables that are proven empty go by themselves, many at a time; no page measured is no proof', () => {
  const tasks = Array.from({ length: 250 }, (_, at) => task(at, 0, { empty: true }));
  const { alone, groups } = groupTasks([...tasks, task(900, 0), task(901, 8192)], mode);
  expect(alone).toEqual([]);
  expect(groups.map((group) => group.length)).toEqual([2, 200, 50]);
  expect(groups.map((group) => group.every(isEmpty))).toEqual([false, true, true]);
});
