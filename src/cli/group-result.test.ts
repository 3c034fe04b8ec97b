import { expect, test } from 'vitest';
import { emptyResult, type ResultLine } from './exit.ts';
import { combine, type DatabaseResult, exitCodeOfGroup, groupResultLines } from './group-result.ts';
import { plainStyle } from './style.ts';

const of = (database: string, result: Partial<ResultLine>): DatabaseResult => ({
  database,
  job: `job-${database}`,
  result: { ...emptyResult('completed', null), verified: true, tables: 2, rows: 10, bytes: 100, ...result },
});
const difference = { kind: 'ROWS', name: 't', change: 'different' as const, source: '1', target: '2' };
const error = { code: 'TARGET_NOT_EMPTY', message: 'It holds a table.', hint: 'Empty it.' };
const good = of('good', {});
const different = of('different', { verified: false, differences: [difference] });
const blocked = of('blocked', { status: 'blocked', verified: false, error });
const failed = of('failed', { status: 'failed', verified: false, error: { ...error, code: 'TABLES_FAILED' } });
const cancelled = of('cancelled', { status: 'cancelled', verified: false });

test.each([
  [[good, good], 0],
  [[good, different], 4],
  [[good, different, blocked], 3],
  [[good, different, blocked, failed], 1],
  [[good, cancelled], 130],
])('the exit code is the worst one', (results, code) => {
  expect(exitCodeOfGroup(results, 'full', false)).toBe(code);
});

test('what was not compared although that was asked for is no success; with --verify none it is', () => {
  const uncompared = of('a', { verified: false });
  expect(exitCodeOfGroup([uncompared], 'full', false)).toBe(4);
  expect(exitCodeOfGroup([uncompared], 'none', false)).toBe(0);
});

test('a command that was stopped says so, whatever else happened', () => {
  expect(exitCodeOfGroup([failed, cancelled], 'full', true)).toBe(130);
  expect(exitCodeOfGroup([good, good], 'full', true)).toBe(0);
});

test('totals are those of all, and verified only when each is', () => {
  expect(combine([good, good], 3)).toMatchObject({
    status: 'completed',
    verified: true,
    rows: 20,
    tables: 4,
    seconds: 3,
  });
  const all = combine([good, different, blocked], 3);
  expect(all).toMatchObject({ status: 'blocked', verified: false, rows: 30, error, differences: [difference] });
  expect(all.databases.map(({ database, status }) => [database, status])).toEqual([
    ['good', 'completed'],
    ['different', 'completed'],
    ['blocked', 'blocked'],
  ]);
});

test('each database has its line, and what is wrong with it below', () => {
  const results = [good, different, blocked];
  const text = groupResultLines(results, combine(results, 65), 'full', plainStyle).join('\n');
  expect(text).toContain('✓ Completed and verified good (job job-good): 2 tables, 10 rows, 100 B');
  expect(text).toContain('✗ Completed, but different different');
  expect(text).toContain('[TARGET_NOT_EMPTY]');
  expect(text).toContain('3 databases: 2 completed, 1 blocked; 6 tables, 30 rows, 300 B in 1 min 5 s.');
});
