import { expect, test } from 'vitest';
import { JobOptions } from '../contract/options.ts';
import { followingNotes } from './live-guide.ts';
import { mayFollow } from './foreground-server.ts';
import { resultLines, resultOf } from './report-result.ts';
import { plainStyle } from './style.ts';
import type { JobView } from '../contract/job.ts';

const notes = (cutover: 'auto' | 'manual' | null, interactive: boolean): string =>
  followingNotes({
    job: { id: 'abc', options: JobOptions.parse({ method: 'live', cutover }) },
    interactive,
    flags: ' --state /s',
  }).join('\n');

test('whoever waits for a cutover is told how it begins', () => {
  expect(notes(null, true)).toMatch(/type "cutover".*pgsluice cutover abc --state \/s$/);
  expect(notes('manual', false)).not.toContain('type');
  expect(notes('manual', false)).toContain('pgsluice cutover abc --state /s');
  expect(notes('auto', true)).toContain('by itself');
});

test('only a job that may follow is served from the foreground', () => {
  const may = (options: object): boolean => mayFollow(JobOptions.parse(options));
  expect([may({ method: 'live' }), may({ cutover: 'auto' }), may({ cutover: 'manual' })]).toEqual([true, true, true]);
  expect([may({}), may({ method: 'copy' }), may({ method: 'copy', cutover: 'auto' })]).toEqual([false, false, false]);
});

const job = (changes: Partial<JobView>): JobView =>
  ({
    id: 'abc',
    state: 'paused',
    method: 'live',
    verified: false,
    error: null,
    totals: { tables: 1, rows: 2, bytes: 3 },
    ...changes,
  }) as unknown as JobView;

test('a live job that was left says what the source keeps and how to end that', () => {
  const result = resultOf({ job: job({}), result: null, interrupted: true });
  expect(result).toMatchObject({ status: 'cancelled', error: { code: 'INTERRUPTED' } });
  expect(result.error?.hint).toMatch(/pgsluice resume abc\n.*keeps all of its WAL.*pgsluice cancel abc/);
  expect(resultOf({ job: job({ method: 'copy' }), result: null, interrupted: true }).error?.hint).toBe(
    'Go on with: pgsluice resume abc',
  );
});

test('a live job that paused by itself fails with its own error, and can be resumed', () => {
  const error = { code: 'SCHEMA_DRIFT', message: 'A column came.', hint: 'Run: ALTER TABLE a ADD b int;' };
  const result = resultOf({ job: job({ error }), result: null, interrupted: false });
  expect(result).toMatchObject({ status: 'failed', error: { code: 'SCHEMA_DRIFT', message: 'A column came.' } });
  const lines = resultLines(job({ error }), result, 'full', plainStyle).join('\n');
  expect(lines).toContain('ALTER TABLE a ADD b int;');
  expect(lines).toContain('pgsluice resume abc');
  expect(lines).not.toContain('retry');
});
