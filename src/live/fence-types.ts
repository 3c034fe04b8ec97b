import type { LiveState } from '../contract/live.ts';
import type { Lsn } from '../postgres/lsn.ts';

/** What `ALTER DATABASE … SET default_transaction_read_only` was before; as the agent's store keeps it. */
export type ReadOnlyState = NonNullable<LiveState['readOnly']>;

export interface FencedTable {
  /** pg_class.oid on the source. */
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
}

/** Whose sessions a role may end: everybody's, everybody's but superusers', or those of roles it is a member of (documentation, 9.28.2). */
export type Ends = 'all' | 'ordinary' | 'own';

/** How writes will be stopped, decided without touching anything. */
export interface FencePlan {
  /** `lock`: lifts itself when the agent dies. `read-only`: the database default and the end of all other sessions. */
  readonly means: 'lock' | 'read-only';
  readonly database: string;
  /** Published tables and the partitioned tables above them, those first. */
  readonly tables: readonly FencedTable[];
  /** How long the locks may be waited for while some are held, in ms: below deadlock_timeout, so that no other session is its victim. */
  readonly giveUpMs: number;
  readonly deadlockTimeoutMs: number;
  readonly mayAlterDatabase: boolean;
  readonly ends: Ends;
  /** What this role cannot refuse at the cutover, each with the statement that would let it; empty when nothing is left open. */
  readonly limits: readonly string[];
}

/** Another session, as far as this role may see it. */
export interface OtherSession {
  readonly pid: number;
  readonly role: string;
  readonly application: string;
  /** Virtual transaction id, which changes with every transaction; empty where it was not asked for. */
  readonly transaction: string;
  /** ms since 1970; null where the server does not show it to this role. */
  readonly since: number | null;
}

/** Writes are stopped on the source for as long as it stands. Made by `raiseFence`, over with `lift`. */
export interface Fence {
  readonly means: FencePlan['means'];
  /** How often the locks were asked for. */
  readonly attempts: number;
  /** When the attempt that succeeded began: from then on a writer may have waited. ms since 1970. */
  readonly raisedAt: number;
  /** Asks the source whether the fence still stands. @throws PgsluiceError FENCE_LOST. */
  assertStanding(): Promise<void>;
  /** Everything that was written before the fence stood has committed before this position, and the source has it on disk. */
  lsn(): Promise<Lsn>;
  /** Writers that wait for the fence now; none under `read-only`, which refuses them. */
  waiting(): Promise<readonly OtherSession[]>;
  /**
   * Makes sure that nobody is released into this database any more: records and sets the read-only default, ends the other sessions,
   * and until `lift` goes on to end whoever comes to wait. What the role may not do is logged by name.
   * @returns what could not be refused, one sentence each.
   */
  refuseWrites(): Promise<readonly string[]>;
  /** Releases the locks and ends the sessions. The read-only default stays: `undoReadOnly` is for that. Never throws. */
  lift(): Promise<void>;
}
