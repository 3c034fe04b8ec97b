import { expect, test } from 'vitest';
import { type WaitedFor, describeWait } from './slot-wait.ts';

const now = Date.UTC(2026, 10, 21, 12, 30, 0);
const waited: WaitedFor = {
  xid: '1234',
  pid: 5678,
  role: 'app',
  database: 'shop',
  state: 'idle in transaction',
  sinceMs: Date.UTC(2026, 10, 21, 12, 3, 5),
  gid: null,
};

test('who is waited for is told with role, database, time and state', () => {
  expect(describeWait(waited, now)).toBe(
    'waiting for transaction 1234 of process 5678 (role app, database shop, since 12:03:05 UTC, idle in transaction)',
  );
});

test('a transaction older than a day is told with its day', () => {
  expect(describeWait({ ...waited, sinceMs: Date.UTC(2026, 10, 19, 1, 2, 3) }, now)).toContain(
    'since 2026-11-19 01:02:03 UTC',
  );
});

test('a prepared transaction has a name and no process', () => {
  expect(describeWait({ ...waited, pid: null, state: null, gid: 'pay 7' }, now)).toBe(
    "waiting for transaction 1234, prepared as 'pay 7' (role app, database shop, since 12:03:05 UTC)",
  );
});

test('what the role may not see is left out', () => {
  expect(describeWait({ ...waited, state: null, sinceMs: null, role: null, database: null }, now)).toBe(
    'waiting for transaction 1234 of process 5678',
  );
});
