import { expect, test } from 'vitest';
import { describeDumpWait } from './dump-watch.ts';

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
