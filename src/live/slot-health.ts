import type { SlotHealth } from '../contract/live.ts';
import type { Lsn } from '../postgres/lsn.ts';
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

export async function readSlotHealth(
  _session: Session,
  _slot: string,
  _previous: SlotReading | null,
  _limits: SlotLimits,
  _now: () => number = Date.now,
): Promise<SlotReading> {
  return await Promise.reject(new Error('not built yet'));
}
