import { describe, expect, test } from 'vitest';
import { PgsluiceError } from '../errors.ts';
import { judgeFence, judgeProgressRight } from './live-fence.ts';
import type { FenceFacts } from './live-fence.ts';
import { judgePublicationRights, judgeReplicationRight } from './live-rights.ts';
import type { LiveTable } from './live-tables.ts';

const error = new PgsluiceError({ code: 'PERMISSION_DENIED', message: 'no.', hint: 'look' });

test('the replication connection is what decides', () => {
  expect(judgeReplicationRight('app', { timeline: '1' }, null).outcome).toBe('passed');
  const denied = judgeReplicationRight('a"b', { error, denied: true, noSender: false }, null);
  expect(denied).toMatchObject({ outcome: 'failed', code: 'REPLICATION_DENIED' });
  expect(denied.remedy).toContain('ALTER ROLE "a""b" REPLICATION;');
  expect(judgeReplicationRight('app', { error, denied: true, noSender: false }, 'rds_replication').remedy).toContain(
    'GRANT rds_replication TO "app";',
  );
  expect(judgeReplicationRight('app', { error, denied: false, noSender: true }, null)).toMatchObject({
    code: 'NO_SENDER_LEFT',
    retryable: true,
  });
  expect(judgeReplicationRight('app', { error, denied: false, noSender: false }, null)).toMatchObject({
    code: 'PERMISSION_DENIED',
    remedy: 'look',
  });
});

test('rights to publish are named with their grants', () => {
  const table = (name: string, owner: string, owned: boolean): LiveTable => ({
    schema: 's',
    name,
    persistence: 'p',
    owner,
    owned,
    identity: 'd',
    primaryKey: true,
    deferrableKey: false,
    identityIndex: false,
    candidate: null,
    generatedIdentity: false,
    tuples: 1,
    extension: null,
    publications: [],
    subscribed: false,
  });
  const facts = { role: 'mover', database: 'shop', mayCreate: true, tables: [table('a', 'mover', true)] };
  expect(judgePublicationRights(facts)).toBeNull();
  const verdict = judgePublicationRights({
    ...facts,
    mayCreate: false,
    tables: [table('a', 'mover', true), table('b', 'app', false), table('c', 'app', false), table('d', 'x', false)],
  });
  expect(verdict).toMatchObject({ outcome: 'failed', code: 'PUBLICATION_DENIED' });
  expect(verdict?.found).toContain('does not own 3 tables: "s"."b", "s"."c", "s"."d"');
  expect(verdict?.remedy.split('\n').map((line) => line.split(' --')[0])).toEqual([
    'GRANT CREATE ON DATABASE "shop" TO "mover";',
    'GRANT "app" TO "mover";',
    'GRANT "x" TO "mover";',
  ]);
});

describe('the fence', () => {
  const facts: FenceFacts = {
    role: 'mover',
    database: 'shop',
    owner: 'boss',
    major: 15,
    tables: 100,
    unlockable: [],
    locksPerTransaction: 64,
    lockSlots: 6400,
    locksInUse: 10,
    superuser: false,
    mayAlterDatabase: true,
    maySignal: true,
  };
  test('locks with room pass', () => expect(judgeFence(facts).outcome).toBe('passed'));
  test('a superuser needs no grant', () => {
    expect(judgeFence({ ...facts, superuser: true, maySignal: false }).outcome).toBe('passed');
  });
  test('locks that cannot be followed by refusing writers warn', () => {
    expect(judgeFence({ ...facts, maySignal: false })).toMatchObject({ outcome: 'warned' });
    expect(judgeFence({ ...facts, maySignal: false }).remedy).toContain('GRANT pg_signal_backend TO "mover";');
    expect(judgeFence({ ...facts, mayAlterDatabase: false }).remedy).toContain('GRANT "boss" TO "mover";');
  });
  test('tables that cannot be locked fall back to read-only, or fail with the grant', () => {
    const without = { ...facts, unlockable: ['a.b', 'a.c'] };
    expect(judgeFence(without)).toMatchObject({ outcome: 'warned' });
    const failed = judgeFence({ ...without, maySignal: false });
    expect(failed).toMatchObject({ outcome: 'failed', code: 'FENCE_IMPOSSIBLE' });
    expect(failed.remedy).toContain('GRANT UPDATE ON a.b, a.c TO "mover";');
    expect(judgeFence({ ...without, major: 17 }).remedy).toContain('GRANT MAINTAIN ON');
  });
  test('too few lock slots name the setting and its value', () => {
    const tight = { ...facts, tables: 10_000, maySignal: false };
    expect(judgeFence(tight)).toMatchObject({ outcome: 'failed', code: 'FENCE_IMPOSSIBLE' });
    expect(judgeFence(tight).remedy).toContain('max_locks_per_transaction = 134;');
  });
});

test('the target role may keep its progress', () => {
  const right = { role: 'app', database: 'shop', mayCreate: true, schema: null };
  expect(judgeProgressRight(right).outcome).toBe('passed');
  expect(judgeProgressRight({ ...right, mayCreate: false })).toMatchObject({
    outcome: 'failed',
    code: 'PROGRESS_DENIED',
    remedy: 'GRANT CREATE ON DATABASE "shop" TO "app";',
  });
  expect(judgeProgressRight({ ...right, mayCreate: false, schema: { owner: 'app', usable: true } }).outcome).toBe(
    'passed',
  );
  expect(judgeProgressRight({ ...right, schema: { owner: 'x', usable: false } }).outcome).toBe('failed');
});
