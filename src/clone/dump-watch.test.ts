import { expect, test } from 'vitest';
import { type DumpLook, describeDumpWait, isDumpCutOff } from './dump-watch.ts';

const wait = {
  pid: 12,
  blockerPid: 34,
  blockerRole: 'app',
  blockerName: 'psql',
  blockerQuery: 'ALTER TABLE t\n  ADD c int',
  blockerSince: '10:00:00',
  since: '2026-01-01T10:00:05Z',
};

test('a wait names who holds the lock, since when, and what that session runs', () => {
  expect(describeDumpWait(wait)).toBe(
    'pg_dump (process 12) waits for a lock on the source since 10:00:05 UTC, held by process 34 (app, psql), in a transaction since 10:00:00 UTC: ALTER TABLE t ADD c int',
  );
});

test('what may not be seen is left out', () => {
  const hidden = { ...wait, blockerRole: null, blockerName: null, blockerQuery: null, blockerSince: null };
  expect(describeDumpWait(hidden)).toMatch(/held by process 34$/);
  expect(describeDumpWait({ ...hidden, blockerPid: null })).toMatch(/since 10:00:05 UTC$/);
});

const first: DumpLook = { at: 0, doing: 'waits', since: '12 10:00:00', ticks: 70 };

test('a program that waits for its session, which waits for it, is cut off after one silence', () => {
  expect(isDumpCutOff(first, { ...first, at: 19_999 }, 20_000)).toBe(false);
  expect(isDumpCutOff(first, { ...first, at: 20_000 }, 20_000)).toBe(true);
});

test('a program that works for itself, or whose session does something, is not', () => {
  const later = { ...first, at: 900_000 };
  expect(isDumpCutOff(first, { ...later, ticks: 71 }, 20_000)).toBe(false);
  expect(isDumpCutOff(first, { ...later, since: '12 10:14:59' }, 20_000)).toBe(false);
  expect(isDumpCutOff(first, { ...later, doing: 'works' }, 20_000)).toBe(false);
});

test('where nobody knows its time, or it has no session, it is given longer', () => {
  const blind = { ...first, ticks: null };
  expect(isDumpCutOff(blind, { ...blind, at: 100_000 }, 20_000)).toBe(false);
  expect(isDumpCutOff(blind, { ...blind, at: 120_000 }, 20_000)).toBe(true);
  const gone = { ...first, doing: 'gone' as const, since: '' };
  expect(isDumpCutOff(gone, { ...gone, at: 100_000 }, 20_000)).toBe(false);
});
