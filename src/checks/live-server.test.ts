import { describe, expect, test } from 'vitest';
import {
  judgeOutputPlugins,
  judgeSenders,
  judgeSlots,
  judgeStanding,
  judgeVersion,
  judgeWalLevel,
} from './live-server.ts';
import { judgeLimits, judgeWalRate, judgeWriting } from './live-wal.ts';
import type { Limits, WritingTransaction } from './live-wal.ts';

const GIB = 1024 ** 3;

test('wal_level has to be logical, and the provider has its own name for it', () => {
  expect(judgeWalLevel('logical', null).outcome).toBe('passed');
  expect(judgeWalLevel('replica', null)).toMatchObject({ outcome: 'failed', code: 'WAL_LEVEL_TOO_LOW' });
  expect(judgeWalLevel('replica', null).remedy).toContain('ALTER SYSTEM SET wal_level = logical;');
  expect(judgeWalLevel('replica', 'rds.logical_replication').remedy).toContain('set rds.logical_replication to on');
});

test('one slot and one sender have to be free', () => {
  expect(judgeSlots(10, 9, []).outcome).toBe('passed');
  const full = judgeSlots(2, 2, ['old_one']);
  expect(full).toMatchObject({ outcome: 'failed', code: 'NO_SLOT_LEFT' });
  expect(full.remedy).toContain(`SELECT pg_drop_replication_slot('old_one');`);
  expect(full.remedy).toContain('max_replication_slots = 6');
  expect(judgeSlots(10, 8, [], 2).outcome).toBe('passed');
  expect(judgeSlots(10, 8, [], 3)).toMatchObject({ outcome: 'failed', found: expect.stringContaining('3 jobs') });
  expect(judgeSenders(10, 9, 2)).toMatchObject({ outcome: 'failed', code: 'NO_SENDER_LEFT' });
  expect(judgeSenders(10, 9).outcome).toBe('passed');
  expect(judgeSenders(1, 1)).toMatchObject({ outcome: 'failed', code: 'NO_SENDER_LEFT' });
});

test('a standby is refused, with the primary by name where it is known', () => {
  expect(judgeStanding(false, 15, null).outcome).toBe('passed');
  expect(judgeStanding(true, 15, 'db1')).toMatchObject({ outcome: 'failed', code: 'SOURCE_IS_STANDBY' });
  expect(judgeStanding(true, 15, 'db1').remedy).toContain('(db1)');
  expect(judgeStanding(true, 15, null).found).toContain('PostgreSQL 15 cannot decode');
});

test('servers that send large transactions at their end only are told of', () => {
  expect(judgeVersion(13).outcome).toBe('info');
  expect(judgeVersion(14).outcome).toBe('passed');
});

test('the list of output plugins has to name pgoutput', () => {
  expect(judgeOutputPlugins(null).outcome).toBe('passed');
  expect(judgeOutputPlugins('pgoutput, test_decoding').outcome).toBe('passed');
  expect(judgeOutputPlugins('test_decoding,"pgoutput"').outcome).toBe('passed');
  const refused = judgeOutputPlugins('test_decoding, wal2json');
  expect(refused).toMatchObject({ outcome: 'failed', code: 'OUTPUT_PLUGIN_REFUSED' });
  expect(refused.remedy).toContain(`output_plugin_libraries = 'test_decoding, wal2json, pgoutput';`);
  expect(judgeOutputPlugins('').remedy).toContain(`output_plugin_libraries = 'pgoutput';`);
  expect(judgeOutputPlugins('*').outcome).toBe('failed');
});

describe('limits', () => {
  const good: Limits = { senderTimeout: 60_000, keepBytes: 100 * GIB, mayLimit: true, idleTimeout: null };
  const judged = (change: Partial<Limits>): ReturnType<typeof judgeLimits> =>
    judgeLimits({ ...good, ...change }, 64 * GIB);
  test('suitable ones pass', () => {
    expect(judged({}).outcome).toBe('passed');
    expect(judged({ idleTimeout: 3 * 86_400, senderTimeout: 0 }).outcome).toBe('passed');
    expect(judgeLimits({ ...good, keepBytes: 2 * GIB }, GIB).outcome).toBe('passed');
  });
  test('no limit is told as what may fill the disk', () => {
    expect(judged({ keepBytes: null })).toMatchObject({ outcome: 'warned' });
    expect(judged({ keepBytes: null }).remedy).toContain(`max_slot_wal_keep_size = '65536MB'`);
    expect(judged({ keepBytes: null, mayLimit: false })).toMatchObject({ outcome: 'warned', remedy: '' });
  });
  test('a small limit, a short idling and a short patience are each told', () => {
    expect(judged({ keepBytes: GIB }).remedy).toContain(`max_slot_wal_keep_size = '4096MB'`);
    expect(judged({ idleTimeout: 3600 }).found).toContain('idle_replication_slot_timeout is 60 min');
    expect(judged({ senderTimeout: 1000 }).remedy).toContain('wal_sender_timeout');
  });
});

test('the WAL rate says how long the nearest limit lasts', () => {
  expect(judgeWalRate(0, null, GIB)).toMatchObject({ outcome: 'info' });
  expect(judgeWalRate(GIB / 3600, null, 2 * GIB).found).toContain(
    'the 2.0 GiB that the slot may keep (--slot-limit) last 2 h 0 min',
  );
  expect(judgeWalRate(GIB / 3600, GIB, 2 * GIB).found).toContain(
    'the 1.0 GiB that the slot may keep (max_slot_wal_keep_size) last 60 min',
  );
});

describe('transactions that hold up the slot', () => {
  const young: WritingTransaction = { pid: 7, role: 'app', database: 'shop', state: 'active', age: 2, gid: null };
  test('young ones and those of unknown age pass', () => {
    expect(judgeWriting([]).outcome).toBe('passed');
    expect(judgeWriting([young, { ...young, age: null, state: null }])).toMatchObject({ outcome: 'passed' });
  });
  test('old ones and prepared ones are named, the oldest first, each with the statement that ends it', () => {
    const verdict = judgeWriting([
      { ...young, age: 90 },
      { ...young, pid: null, gid: `it's`, age: 5, state: null },
      { ...young, pid: 8, age: 4000, state: 'idle in transaction' },
    ]);
    expect(verdict.outcome).toBe('warned');
    expect(verdict.found).toContain('process 8 (role app, database shop, idle in transaction, for 66 min), process 7');
    expect(verdict.remedy.split('\n')).toEqual([
      'SELECT pg_terminate_backend(8);',
      'SELECT pg_terminate_backend(7);',
      `ROLLBACK PREPARED 'it''s'; -- or COMMIT PREPARED, in database shop`,
    ]);
  });
});
