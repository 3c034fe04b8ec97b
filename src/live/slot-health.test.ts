import { describe, expect, test } from 'vitest';
import { type SlotRow, type WalReading, judgeSlot, keepRecent, walRate } from './slot-health.ts';

const MIB = 1024 * 1024;
const limits = { warnBytes: 100 * MIB, giveUpBytes: 1000 * MIB };
const row: SlotRow = {
  exists: true,
  walStatus: 'reserved',
  safeWalBytes: null,
  restartLsn: 0n,
  confirmedLsn: 0n,
  active: true,
  activePid: 7,
  invalidation: null,
  newestLsn: BigInt(10 * MIB),
};
/** One MiB a second. */
const steady: readonly WalReading[] = [
  { lsn: 0n, at: 0 },
  { lsn: BigInt(10 * MIB), at: 10_000 },
];

describe('the WAL rate', () => {
  test('is reckoned over the last minute', () => {
    let recent: readonly WalReading[] = [];
    // 1 MiB a second for two minutes, then 3 MiB a second for one.
    let lsn = 0;
    for (let second = 0; second <= 180; second += 1) {
      recent = keepRecent(recent, { lsn: BigInt(lsn), at: second * 1000 });
      lsn += (second < 120 ? 1 : 3) * MIB;
    }
    expect(walRate(recent)).toBe(3 * MIB);
    expect(recent.length).toBeLessThanOrEqual(62);
  });
  test('is 0 with one reading, and forgets a WAL that went backwards', () => {
    expect(walRate(keepRecent([], { lsn: 9n, at: 5 }))).toBe(0);
    expect(keepRecent(steady, { lsn: 3n, at: 20_000 })).toEqual([
      { lsn: 0n, at: 0 },
      { lsn: 3n, at: 20_000 },
    ]);
    expect(keepRecent(steady, { lsn: BigInt(20 * MIB), at: 10_000 }).map((r) => r.at)).toEqual([0, 10_000]);
  });
});

describe('judgeSlot', () => {
  test('a small backlog is told with how long it may last', () => {
    const { verdict, health, message, hint } = judgeSlot(row, steady, limits);
    expect(verdict).toBe('ok');
    expect(health).toEqual({
      walStatus: 'reserved',
      safeWalBytes: null,
      retainedBytes: 10 * MIB,
      walBytesPerSecond: MIB,
      lastsSeconds: 990,
      active: true,
    });
    expect(message).toBe('The slot makes the source keep 10.0 MiB of WAL, about 17 min more at this rate.');
    expect(hint).toBe('');
  });
  test("the nearest of the server's and the job's limit counts", () => {
    expect(judgeSlot({ ...row, safeWalBytes: 400 * MIB }, steady, limits).health.lastsSeconds).toBe(400);
    expect(judgeSlot({ ...row, safeWalBytes: 4000 * MIB }, steady, limits).health.lastsSeconds).toBe(990);
  });
  test('an idle source approaches no limit', () => {
    expect(judgeSlot(row, [], limits).health.lastsSeconds).toBeNull();
  });
  test('warns at slotWarn, gives up at slotLimit', () => {
    const at = (bytes: number): string => judgeSlot({ ...row, newestLsn: BigInt(bytes) }, [], limits).verdict;
    expect([at(100 * MIB - 1), at(100 * MIB), at(1000 * MIB - 1), at(1000 * MIB)]).toEqual([
      'ok',
      'warn',
      'warn',
      'give-up',
    ]);
  });
  test('warns when a short pause would lose the slot, and when its WAL is no longer guaranteed', () => {
    const short = judgeSlot({ ...row, safeWalBytes: 60 * MIB }, steady, limits);
    expect(short).toMatchObject({ verdict: 'warn' });
    expect(short.message).toContain('a pause of 60 s would lose the slot');
    const loose = judgeSlot({ ...row, walStatus: 'unreserved', safeWalBytes: -5 }, steady, limits);
    expect(loose).toMatchObject({ verdict: 'warn', health: { lastsSeconds: 0 } });
    expect(loose.hint).toContain("ALTER SYSTEM SET max_slot_wal_keep_size = '40MB'");
  });
  test.each([
    [{ walStatus: 'lost' as const, restartLsn: null }, 'max_slot_wal_keep_size'],
    [{ invalidation: 'idle_timeout' }, 'idle_replication_slot_timeout'],
    [{ invalidation: 'rows_removed' }, 'hot_standby_feedback'],
    [{ invalidation: 'something_new' }, "server's log"],
    [{ exists: false, restartLsn: null, walStatus: null }, 'pgsluice_'],
  ])('a slot that is lost is told with its remedy: %j', (change, remedy) => {
    const lost = judgeSlot({ ...row, ...change }, steady, limits);
    expect(lost.verdict).toBe('lost');
    expect(lost.health.lastsSeconds).toBeNull();
    expect(lost.hint).toContain('cancel this job and start a new one');
    expect(lost.hint).toContain(remedy);
  });
});
