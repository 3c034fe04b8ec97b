import type { SlotHealth } from '../contract/live.ts';
import { type Lsn, parseLsn } from '../postgres/lsn.ts';
import type { Session } from '../postgres/session.ts';

export interface SlotLimits {
  /** Bytes of WAL that the slot may make the source keep before the job warns. */
  readonly warnBytes: number;
  /** Bytes at which the job gives the slot up. */
  readonly giveUpBytes: number;
}

/** One row of pg_replication_slots beside the position of the newest WAL, read at once. */
export interface SlotRow {
  /** False when there is no slot of that name. */
  readonly exists: boolean;
  readonly walStatus: SlotHealth['walStatus'];
  /** Bytes; null where nothing limits the slot, and before 13. */
  readonly safeWalBytes: number | null;
  readonly restartLsn: Lsn | null;
  readonly confirmedLsn: Lsn | null;
  readonly active: boolean;
  readonly activePid: number | null;
  /** pg_replication_slots.invalidation_reason (17+), or `rows_removed` where a standby's slot is conflicting (16). */
  readonly invalidation: string | null;
  /** pg_current_wal_insert_lsn() */
  readonly newestLsn: Lsn;
}

export interface WalReading {
  readonly lsn: Lsn;
  /** ms of the agent's clock */
  readonly at: number;
}

export interface SlotJudgement {
  readonly health: SlotHealth;
  readonly verdict: 'ok' | 'warn' | 'give-up' | 'lost';
  /** One plain sentence. */
  readonly message: string;
  /** Exact remedy; empty when the verdict is ok. */
  readonly hint: string;
}

export interface SlotReading extends SlotJudgement {
  readonly row: SlotRow;
  /** Readings of the last minute, handed to the next call. */
  readonly recent: readonly WalReading[];
}

/** The span over which the WAL rate is measured, ms. */
const WINDOW_MS = 60_000;
/** A slot that lasts less long than this is worth a warning whatever its size, seconds. */
const SHORT_SECONDS = 300;

/** The readings that the next rate is reckoned from: those of the last minute, and one before so that they span it. Pure. */
export function keepRecent(recent: readonly WalReading[], reading: WalReading): readonly WalReading[] {
  // WAL that goes backwards is another server's, or the agent's clock was set.
  const same = recent.filter((old) => old.lsn <= reading.lsn && old.at < reading.at);
  const from = same.findLastIndex((old) => reading.at - old.at >= WINDOW_MS);
  return [...same.slice(Math.max(0, from)), reading];
}

/** Bytes of WAL a second over the readings; 0 until there are two. Pure. */
export function walRate(recent: readonly WalReading[]): number {
  const first = recent[0];
  const last = recent.at(-1);
  if (first === undefined || last === undefined || last.at <= first.at) return 0;
  return Math.round((Number(last.lsn - first.lsn) * 1000) / (last.at - first.at));
}

const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

function bytesText(bytes: number): string {
  let value = Math.max(0, bytes);
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit] ?? 'bytes'}`;
}

function lasts(seconds: number | null): string {
  if (seconds === null) return '';
  if (seconds < 120) return `, about ${seconds} s more at this rate`;
  if (seconds < 7200) return `, about ${Math.round(seconds / 60)} min more at this rate`;
  return `, about ${Math.round(seconds / 3600)} h more at this rate`;
}

/** pg_replication_slots.invalidation_reason (documentation, 53.20) in plain words, with what would have prevented it. */
const REASONS: Readonly<Record<string, readonly [why: string, remedy: string]>> = {
  wal_removed: [
    'it kept more WAL than max_slot_wal_keep_size allows',
    'raise max_slot_wal_keep_size on the source (ALTER SYSTEM SET max_slot_wal_keep_size = …; SELECT pg_reload_conf();)',
  ],
  rows_removed: [
    'the source, a standby, removed rows that it needed',
    'name the primary as the source, or set hot_standby_feedback = on there',
  ],
  wal_level_insufficient: ['wal_level was lowered', 'set wal_level = logical on the source and restart it'],
  idle_timeout: [
    'nobody read from it for idle_replication_slot_timeout',
    'raise idle_replication_slot_timeout on the source, or set it to 0',
  ],
};

function judgeLost(row: SlotRow): { readonly message: string; readonly hint: string } | null {
  const anew = 'Changes since then are missing for good: cancel this job and start a new one, which copies anew.';
  if (!row.exists)
    return {
      message:
        'The slot is gone from the source: somebody dropped it, or the source failed over to a server without it.',
      hint: `${anew} See to it that nothing else drops slots named pgsluice_….`,
    };
  const invalid = row.walStatus === 'lost' || row.invalidation !== null || row.restartLsn === null;
  if (!invalid) return null;
  const [why, remedy] = REASONS[row.invalidation ?? 'wal_removed'] ?? [
    `the server says ${row.invalidation}`,
    "look at the server's log for the reason",
  ];
  return { message: `The source has given the slot up: ${why}.`, hint: `${anew} Before that ${remedy}.` };
}

/**
 * What the slot costs the source and how long that may go on. `recent` as `keepRecent` answers it. The time is reckoned as if
 * nothing were confirmed from now on: that is how long the job may stand still. Pure.
 */
export function judgeSlot(row: SlotRow, recent: readonly WalReading[], limits: SlotLimits): SlotJudgement {
  const retainedBytes =
    row.restartLsn === null || row.restartLsn > row.newestLsn ? 0 : Number(row.newestLsn - row.restartLsn);
  const walBytesPerSecond = walRate(recent);
  const rooms = [limits.giveUpBytes - retainedBytes, ...(row.safeWalBytes === null ? [] : [row.safeWalBytes])];
  const room = Math.max(0, Math.min(...rooms));
  const lostNow = judgeLost(row);
  const lastsSeconds = walBytesPerSecond > 0 && lostNow === null ? Math.floor(room / walBytesPerSecond) : null;
  const health: SlotHealth = {
    walStatus: row.walStatus,
    safeWalBytes: row.safeWalBytes,
    retainedBytes,
    walBytesPerSecond,
    lastsSeconds,
    active: row.active,
  };
  if (lostNow !== null) return { health, verdict: 'lost', ...lostNow };
  const keeps = `The slot makes the source keep ${bytesText(retainedBytes)} of WAL`;
  const faster =
    'Let the job follow (resume it when it is paused), and see what the target or the line is short of; long transactions on the source hold it up too.';
  if (retainedBytes >= limits.giveUpBytes)
    return {
      health,
      verdict: 'give-up',
      message: `${keeps}; the limit of this job is ${bytesText(limits.giveUpBytes)}.`,
      hint: "Start a new job with a higher limit (--slot-limit) when the source's disk has room for it.",
    };
  const end = lasts(lastsSeconds);
  if (row.walStatus === 'unreserved' || (row.safeWalBytes !== null && row.safeWalBytes <= 0))
    return {
      health,
      verdict: 'warn',
      message: `${keeps}, more than the source still guarantees: with its next checkpoint the slot may be lost.`,
      hint: `Raise the server's limit now: ALTER SYSTEM SET max_slot_wal_keep_size = '${Math.ceil((retainedBytes * 4) / 2 ** 20)}MB'; SELECT pg_reload_conf(); ${faster}`,
    };
  if (retainedBytes >= limits.warnBytes)
    return {
      health,
      verdict: 'warn',
      message: `${keeps}; at ${bytesText(limits.giveUpBytes)} the job gives the slot up${end}.`,
      hint: faster,
    };
  if (lastsSeconds !== null && lastsSeconds < SHORT_SECONDS)
    return {
      health,
      verdict: 'warn',
      message: `${keeps}, and writes so much that a pause of ${lastsSeconds} s would lose the slot.`,
      hint: `Raise max_slot_wal_keep_size on the source or this job's limit (--slot-limit). ${faster}`,
    };
  return { health, verdict: 'ok', message: `${keeps}${end}.`, hint: '' };
}

/** wal_status and safe_wal_size are there from 13 on, conflicting from 16, invalidation_reason from 17: read through jsonb. */
const READ = `
SELECT s.slot_name IS NOT NULL AS exists, to_jsonb(s)->>'wal_status' AS "walStatus",
       (to_jsonb(s)->>'safe_wal_size')::float8 AS "safeWalBytes", s.restart_lsn::text AS restart,
       s.confirmed_flush_lsn::text AS confirmed, COALESCE(s.active, false) AS active, s.active_pid AS "activePid",
       COALESCE(to_jsonb(s)->>'invalidation_reason',
                CASE WHEN (to_jsonb(s)->>'conflicting')::bool THEN 'rows_removed' END) AS invalidation,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END)::text AS newest
FROM (VALUES (1)) AS one (n) LEFT JOIN pg_replication_slots s ON s.slot_name = $1`;

interface ReadRow {
  readonly [column: string]: unknown;
  readonly exists: boolean;
  readonly walStatus: SlotHealth['walStatus'];
  readonly safeWalBytes: number | null;
  readonly restart: string | null;
  readonly confirmed: string | null;
  readonly active: boolean;
  readonly activePid: number | null;
  readonly invalidation: string | null;
  readonly newest: string;
}

const lsnOrNull = (text: string | null): Lsn | null => (text === null ? null : parseLsn(text));

/**
 * Reads the slot on the source and judges it. `previous`: what the last call answered, for the rate; null at first.
 * @throws PgsluiceError what the connection says.
 */
export async function readSlotHealth(
  session: Session,
  slot: string,
  previous: SlotReading | null,
  limits: SlotLimits,
  now: () => number = Date.now,
): Promise<SlotReading> {
  const [read] = await session.query<ReadRow>(READ, [slot]);
  if (read === undefined) throw new Error('a query that always answers one row answered none');
  const row: SlotRow = {
    exists: read.exists,
    walStatus: read.walStatus,
    safeWalBytes: read.safeWalBytes,
    restartLsn: lsnOrNull(read.restart),
    confirmedLsn: lsnOrNull(read.confirmed),
    active: read.active,
    activePid: read.activePid,
    invalidation: read.invalidation,
    newestLsn: parseLsn(read.newest),
  };
  const recent = keepRecent(previous?.recent ?? [], { lsn: row.newestLsn, at: now() });
  return { ...judgeSlot(row, recent, limits), row, recent };
}
