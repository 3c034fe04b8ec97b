import { expect, test } from 'vitest';
import { jobStates } from '../contract/event.ts';
import type { CutoverStep, LiveProgress, LiveState } from '../contract/live.ts';
import { describeTarget, summarize, type SummaryInput } from './job-summary.ts';

const job: SummaryInput = {
  kind: 'move',
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
  live: null,
  progress: null,
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

const state: LiveState = {
  slot: 'pgsluice_abc',
  publication: 'pgsluice_abc',
  stage: 'following',
  chosen: false,
  readOnly: null,
  keepReadOnly: false,
};
const progress: LiveProgress = {
  lagBytes: 0,
  lagSeconds: 0,
  sourceLsn: '0/1',
  appliedLsn: '0/1',
  applied: { inserts: 0, updates: 0, deletes: 0, truncates: 0, transactions: 0 },
  perSecond: { inserts: 0, updates: 0, deletes: 0, truncates: 0, transactions: 0 },
  spooledBytes: 0,
  slot: null,
  guardrails: [],
  cutover: [],
  connected: true,
};
const following: SummaryInput = {
  ...job,
  state: 'following',
  phase: 'follow',
  snapshotAt: null,
  live: state,
  progress,
};

test('a live job says how far behind it is and who may write where', () => {
  expect(summarize(following)).toBe('Following the source, less than a second behind. The source stays fully usable.');
  expect(summarize({ ...following, progress: { ...progress, lagSeconds: 1234 } })).toContain('1,234 s behind');
  expect(summarize({ ...following, progress: { ...progress, connected: false } })).toContain('nothing is lost');
  expect(summarize({ ...following, state: 'paused' })).toContain('keeps its WAL for replication slot pgsluice_abc');
  const error = { code: 'SCHEMA_DRIFT', message: 'Table t has changed', hint: '' };
  expect(summarize({ ...following, state: 'paused', error })).toContain('Paused: Table t has changed. Resume goes on');
});

test('a cutover says that writes wait only from its fence on', () => {
  const at = (...steps: readonly CutoverStep['step'][]): string => {
    const cutover = steps.map((step) => ({ step, startedAt: '2026-11-21T09:14:40Z', ms: null, detail: '' }));
    return summarize({ ...following, state: 'cutting_over', progress: { ...progress, cutover } });
  };
  const preparing = 'Preparing the cutover; the source is still written to as usual.';
  expect(at()).toBe(preparing);
  expect(at('prepare', 'guardrails')).toBe(preparing);
  expect(at('prepare', 'guardrails', 'fence')).toContain('writes on the source wait');
  expect(at('guardrails', 'fence', 'drain')).toContain('writes on the source wait');
  expect(summarize({ ...following, state: 'cutting_over', progress: null })).toBe(preparing);
});

test('a failure after the hand-over tells in what state the source is, and how that is undone', () => {
  const live: LiveState = { ...state, stage: 'handed-over', keepReadOnly: true };
  const failed: SummaryInput = { ...following, state: 'failed', live };
  expect(summarize(failed)).toContain('nothing keeps new sessions from writing to the source');
  const readOnly = { database: 'Shop', before: null };
  expect(summarize({ ...failed, live: { ...live, readOnly } })).toContain(
    'new sessions on the source are read-only until ALTER DATABASE "Shop" RESET default_transaction_read_only; is run there.',
  );
});

test('after the hand-over nothing invites anybody back to the source', () => {
  const over: SummaryInput = { ...following, live: { ...state, stage: 'handed-over', keepReadOnly: true } };
  for (const now of ['verifying', 'paused', 'failed', 'completed'] as const) {
    const text = summarize({ ...over, state: now });
    expect(text).toContain('target has taken over');
    expect(text).not.toContain('source stays');
  }
  expect(summarize({ ...over, state: 'completed', verified: true })).toContain('equals the source as of the cutover');
  expect(summarize({ ...over, state: 'completed', differences: 2 })).toContain('2 differences');
});

test('a live job that ended tells whether the source still keeps WAL for it', () => {
  const clean: LiveState = { ...state, stage: 'cleaned' };
  expect(summarize({ ...following, state: 'cancelled' })).toContain('keeps its WAL');
  expect(summarize({ ...following, state: 'cancelled', live: clean })).toContain('Nothing of the job is left');
  expect(summarize({ ...following, state: 'failed', live: clean })).not.toContain('keeps its WAL');
  expect(summarize({ ...following, state: 'failed', snapshotAlive: true })).toContain('only what is missing');
  for (const each of jobStates) expect(summarize({ ...following, state: each })).toMatch(/^(?!.*\s{2})[A-Z].*\.$/);
});

test('an export says whether the source is safe to use, and whether there is an archive', () => {
  const one = { ...job, kind: 'export' as const, targetTouched: false, snapshotAt: new Date('2026-11-21T09:14:00Z') };
  expect(summarize({ ...one, state: 'running' })).toMatch(
    /^Exporting: .* The source stays fully usable; changes made there after 09:14 UTC are not in this archive\.$/,
  );
  expect(summarize({ ...one, state: 'completed', verified: true })).toBe(
    'Done: the archive holds the source as of 2026-11-21 09:14 UTC and was read back whole. The source is unchanged and can be used; what is written there from now on is not in the archive.',
  );
  expect(summarize({ ...one, state: 'failed', error: { code: 'X', message: 'Full', hint: '' } })).toBe(
    'Failed: Full. The source is unchanged and can be used. There is no archive: it appears only when it is whole.',
  );
  expect(summarize({ ...one, state: 'paused' })).toContain('Interrupted; resume starts the export anew.');
});
