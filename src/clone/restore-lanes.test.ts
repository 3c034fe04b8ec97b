import { expect, test } from 'vitest';
import type { ArchiveEntry } from '../postgres/archive.ts';
import { batchSql } from './restore.ts';
import { planStretches } from './restore-lanes.ts';

function entry(dumpId: number, type: string, dependencies: number[] = [], settings: string[] = []): ArchiveEntry {
  return {
    dumpId,
    classOid: 0,
    oid: 0,
    dependencies,
    type,
    schema: 's',
    name: `o${dumpId}`,
    owner: null,
    section: 'pre-data',
    settings,
    statements: [`CREATE ${dumpId};`],
  };
}

const ids = (list: readonly ArchiveEntry[]): number[] => list.map(({ dumpId }) => dumpId);
const shape = (stretch: ReturnType<typeof planStretches>[number]): unknown =>
  stretch.how === 'in order' ? ids(stretch.entries) : stretch.lanes.map(ids);

test('relations that belong together stay in one lane, in order; everything else keeps its place', () => {
  const entries = [
    entry(1, 'SCHEMA'),
    entry(2, 'TABLE', [1]),
    entry(3, 'TABLE', [1]),
    entry(4, 'TABLE', [1, 2]),
    entry(5, 'COMMENT', [3]),
    entry(6, 'TABLE ATTACH', [2, 4]),
    entry(7, 'VIEW', [3]),
    entry(8, 'COMMENT', [1]),
    entry(9, 'FUNCTION', [3]),
    entry(10, 'TABLE', [9]),
  ];
  expect(planStretches(entries, 2, 4).map(shape)).toEqual([
    [1],
    [
      [2, 4, 6],
      [3, 5, 7],
    ],
    [8, 9, 10],
  ]);
});

test('children of a parent that stands in an earlier stretch do not wait for each other over its lock', () => {
  const entries = [
    entry(1, 'TABLE'),
    entry(2, 'FUNCTION'),
    ...[3, 4, 5, 6].map((id) => entry(id, 'TABLE', id < 5 ? [1] : [])),
  ];
  expect(planStretches(entries, 2, 4).map(shape)).toEqual([
    [1, 2],
    [
      [3, 4],
      [5, 6],
    ],
  ]);
});

test('with one lane, or few entries, all is done in order', () => {
  const entries = [entry(1, 'SCHEMA'), entry(2, 'TABLE'), entry(3, 'TABLE'), entry(4, 'TYPE'), entry(5, 'TABLE')];
  expect(planStretches(entries, 1, 1).map(shape)).toEqual([[1, 2, 3, 4, 5]]);
  expect(planStretches(entries, 2, 3).map(shape)).toEqual([[1, 2, 3, 4, 5]]);
});

test('a setting is sent once, and again after another one', () => {
  const [a, b] = [["SET default_tablespace = 'a';"], ["SET default_tablespace = 'b';"]];
  const batch = [entry(1, 'TABLE', [], a), entry(2, 'SEQUENCE'), entry(3, 'TABLE', [], a), entry(4, 'TABLE', [], b)];
  expect(batchSql([...batch, entry(5, 'TABLE', [], a)]).split('\n')).toEqual([
    a[0],
    'CREATE 1;',
    'CREATE 2;',
    'CREATE 3;',
    b[0],
    'CREATE 4;',
    a[0],
    'CREATE 5;',
  ]);
});
