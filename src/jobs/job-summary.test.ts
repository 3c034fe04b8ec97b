import { expect, test } from 'vitest';
import { jobStates } from '../contract/event.ts';
import { describeTarget, summarize, type SummaryInput } from './job-summary.ts';

const job: SummaryInput = {
  state: 'running',
  phase: 'copy',
  options: { verify: 'full', schemaOnly: false },
  totals: { tables: 40, tablesDone: 12, tablesFailed: 0, rows: 0, bytes: 0, fraction: 0.3 },
  error: null,
  verified: false,
  differences: 0,
  targetTouched: true,
  snapshotAt: new Date('2026-11-21T09:14:40Z'),
  queued: false,
  snapshotAlive: false,
};

test('says what happens and whether the source is safe', () => {
  expect(summarize(job)).toBe(
    'Copying: 12 of 40 tables are done. The source stays fully usable; changes made there after 09:14 UTC are not in this copy.',
  );
  expect(summarize({ ...job, state: 'draft' })).toContain('Nothing has been changed');
  expect(summarize({ ...job, state: 'ready', queued: true })).toContain('Waiting for a free place');
});

test('claims only what was checked', () => {
  const done = { ...job, state: 'completed' as const };
  expect(summarize({ ...done, verified: true })).toContain('equals the source. It holds the source as of 09:14 UTC.');
  expect(summarize({ ...done, differences: 1 })).toContain('found 1 difference. Do not use');
  expect(summarize({ ...done, options: { verify: 'none', schemaOnly: false } })).toContain('not verified');
  expect(summarize(done)).toContain('not everything could be verified');
});

test('a failed or interrupted job tells what the target is worth', () => {
  const error = { code: 'X', message: 'disk full', hint: '' };
  expect(summarize({ ...job, state: 'failed', error })).toBe(
    'Failed: disk full. The source is unchanged. The target is not a usable copy.',
  );
  expect(summarize({ ...job, state: 'failed', error, snapshotAlive: true })).toContain('under the same snapshot');
  expect(summarize({ ...job, state: 'paused', targetTouched: false })).toContain('The target was not touched.');
});

test('every state has one line without stray blanks', () => {
  for (const state of jobStates) expect(summarize({ ...job, state })).toMatch(/^(?!.*\s{2})[A-Z].*\.$/);
});

test('the target is described for the log', () => {
  const base = { targetTouched: true, phase: 'copy' as const, tablesCopied: 3, tables: 9, schemaOnly: false };
  expect(describeTarget(base)).toBe(
    'The target holds 3 complete tables of 9, without all of their indexes and constraints; it is not a usable copy.',
  );
  expect(describeTarget({ ...base, targetTouched: false })).toBe('The target was not touched.');
});
