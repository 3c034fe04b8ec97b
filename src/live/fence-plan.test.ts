import { expect, test } from 'vitest';
import { PgsluiceError } from '../errors.ts';
import { describeHolder, nextOrder, pauseBefore } from './fence-lock.ts';
import { type Powers, planFence } from './fence-plan.ts';
import { undoReadOnlySql } from './read-only.ts';

const table = (oid: number, lockable = true) => ({ oid, schema: 's', name: `t${oid}`, root: false, lockable });
const owner: Powers = {
  role: 'mover',
  database: 'shop',
  owner: 'dba',
  version: 150_000,
  deadlockTimeoutMs: 1000,
  locksPerTransaction: 64,
  lockSlots: 6400,
  locksInUse: 0,
  superuser: false,
  mayAlterDatabase: true,
  maySignal: true,
  superusers: [],
  strangers: ['app'],
  overriding: [],
};
const refusal = (work: () => unknown): PgsluiceError => {
  try {
    work();
  } catch (error) {
    if (error instanceof PgsluiceError) return error;
    throw error;
  }
  throw new Error('it succeeded');
};

test('locks where it may, and never waits as long as a deadlock takes to be looked for', () => {
  expect(planFence(owner, [table(1)])).toMatchObject({ means: 'lock', giveUpMs: 500, ends: 'ordinary', limits: [] });
  expect(planFence({ ...owner, deadlockTimeoutMs: 100 }, [table(1)]).giveUpMs).toBe(50);
  expect(planFence({ ...owner, superuser: true }, [table(1)]).ends).toBe('all');
  expect(planFence({ ...owner, maySignal: false, strangers: [] }, [table(1)])).toMatchObject({
    ends: 'own',
    limits: [],
  });
});

test('goes over to the read-only default where a table may not be locked or the slots do not suffice', () => {
  expect(planFence(owner, [table(1), table(2, false)])).toMatchObject({ means: 'read-only' });
  expect(
    planFence(
      { ...owner, lockSlots: 100 },
      Array.from({ length: 76 }, (_, at) => table(at)),
    ).means,
  ).toBe('read-only');
  expect(
    planFence(
      { ...owner, lockSlots: 100 },
      Array.from({ length: 75 }, (_, at) => table(at)),
    ).means,
  ).toBe('lock');
});

test('names the GRANT, by version, when neither is possible', () => {
  const powers = { ...owner, mayAlterDatabase: false };
  expect(refusal(() => planFence(powers, [table(1, false)])).hint).toContain('GRANT UPDATE ON "s"."t1" TO "mover";');
  expect(refusal(() => planFence({ ...powers, version: 170_000 }, [table(1, false)])).hint).toContain(
    'GRANT MAINTAIN ON',
  );
  const crowded = refusal(() =>
    planFence(
      { ...powers, lockSlots: 100, locksInUse: 40 },
      Array.from({ length: 90 }, (_, at) => table(at)),
    ),
  );
  expect(crowded.code).toBe('FENCE_IMPOSSIBLE');
  expect(crowded.hint).toContain('max_locks_per_transaction = 128');
});

test('tells what stays open at the hand-over, each with its statement', () => {
  const plan = planFence(
    { ...owner, mayAlterDatabase: false, maySignal: false, superusers: ['postgres'], overriding: ['batch'] },
    [table(1)],
  );
  expect(plan.limits).toHaveLength(4);
  expect(plan.limits.join('\n')).toContain('GRANT "dba" TO "mover";');
  expect(plan.limits.join('\n')).toContain('Sessions of app on the source');
  expect(plan.limits.join('\n')).toContain('ALTER ROLE "batch" RESET default_transaction_read_only;');
});

test('the table that was stuck goes first and the rest keeps its order', () => {
  const order = [table(1), table(2), table(3)];
  expect(nextOrder(order, 3).map((one) => one.oid)).toEqual([3, 1, 2]);
  expect(nextOrder(order, null)).toBe(order);
  expect(nextOrder(order, 9)).toBe(order);
});

test('pauses grow, with chance, and end', () => {
  expect(pauseBefore(1, 0)).toBe(30);
  expect(pauseBefore(1, 1)).toBe(60);
  expect(pauseBefore(3, 1)).toBe(240);
  expect(pauseBefore(50, 1)).toBe(1000);
});

test('who is in the way is told as far as the server shows it', () => {
  const holder = {
    vxid: '3/4',
    pid: 7,
    role: 'app',
    application: 'x',
    since: '1000',
    table: 's.t',
    maintenance: false,
  };
  expect(describeHolder(holder, 13_000)).toBe('process 7 (role app, on s.t, in a transaction for 12 s)');
  expect(describeHolder({ ...holder, role: '', since: null }, 0)).toBe(
    'process 7 (a process of the server, such as autovacuum, on s.t)',
  );
  expect(describeHolder({ ...holder, pid: null }, 0)).toContain('prepared transaction (on s.t');
});

test('the read-only default is undone to what it was', () => {
  expect(undoReadOnlySql({ database: 'a"b', before: null })).toBe(
    'ALTER DATABASE "a""b" RESET default_transaction_read_only',
  );
  expect(undoReadOnlySql({ database: 'shop', before: 'off' })).toBe(
    `ALTER DATABASE "shop" SET default_transaction_read_only = 'off'`,
  );
});
