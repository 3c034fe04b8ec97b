import { describe, expect, test } from 'vitest';
import type { SourceTable } from './catalogue.ts';
import { chooseFormat } from './format.ts';
import { planTasks } from './plan.ts';

const GB = 1024 ** 3;
const table = (name: string, sizeBytes: number): SourceTable => ({
  oid: 1,
  schema: 'public',
  name,
  columns: [{ name: 'a', type: { name: 'int4', kind: 'b', builtIn: true } }],
  sizeBytes,
  pages: Math.ceil(sizeBytes / 8192),
  estimatedRows: null,
  extensionCondition: null,
  via: null,
});

describe('plan', () => {
  test('largest first', () => {
    const tasks = planTasks({
      tables: [table('s', 10_000), table('l', GB)],
      tableJobs: 2,
      splitAbove: null,
      sourceMajor: 15,
    });
    expect(tasks.map((t) => t.table.name)).toEqual(['l', 's']);
  });

  test('the ranges of a split table follow each other without gap and end open', () => {
    const tasks = planTasks({ tables: [table('l', 3 * GB)], tableJobs: 3, splitAbove: GB, sourceMajor: 15 });
    const ranges = tasks.map((t) => t.range).toSorted((a, b) => (a?.from ?? 0) - (b?.from ?? 0));
    expect(ranges).toHaveLength(3);
    expect(ranges[0]?.from).toBe(0);
    expect(ranges[0]?.to).toBe(ranges[1]?.from);
    expect(ranges[1]?.to).toBe(ranges[2]?.from);
    expect(ranges[2]?.to).toBeNull();
  });

  test('only a table that would be the critical path is split by itself', () => {
    const tables = [table('l', 8 * GB), table('m', GB), table('n', GB)];
    const pieces = planTasks({ tables, tableJobs: 4, splitAbove: null, sourceMajor: 15 }).filter(
      (t) => t.range !== null,
    );
    expect(new Set(pieces.map((t) => t.table.name))).toEqual(new Set(['l']));
    expect(planTasks({ tables, tableJobs: 4, splitAbove: null, sourceMajor: 13 }).every((t) => t.range === null)).toBe(
      true,
    );
  });
});

describe('format', () => {
  const column = (name: string, kind = 'b', builtIn = true) => ({ type: { name, kind, builtIn } });
  test('built-in types and enums go binary', () => {
    expect(chooseFormat([column('int4'), column('_text'), column('int4range', 'r'), column('mood', 'e', false)])).toBe(
      'binary',
    );
  });
  test.each([
    ['an oid alias', column('regclass')],
    ['an array of oid aliases', column('_regtype')],
    ['a composite', column('address', 'c', false)],
    ['an array of a user type', column('_mood', 'b', false)],
    ['an extension type', column('citext', 'b', false)],
  ])('%s goes as text', (_, unsafe) => {
    expect(chooseFormat([column('int4'), unsafe])).toBe('text');
  });
});
