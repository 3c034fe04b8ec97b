import type { Logger } from 'pino';
import type { JobState, LogLevel } from '../contract/event.ts';
import type { Retention } from './retention.ts';

export interface ManagerConfig {
  /** A directory (embedded store), or a postgres:// URL of a database that several agents may share. */
  readonly state: string;
  /** PGSLUICE_SECRET_KEY; null: a key file with mode 0600 is made and used. */
  readonly secretKey: string | null;
  /** How many jobs run at once; the others wait in order. */
  readonly concurrency: number;
  /** Folder with pg_dump and pg_restore; null: they are looked for. */
  readonly pgBinDir: string | null;
  readonly logger: Logger;
  readonly role: 'daemon' | 'foreground';
  /** Jobs may name a command that this process runs at the hand-over; false by default. */
  readonly allowCommands?: boolean;
  /** Signs webhooks of hooks (PGSLUICE_HOOK_SECRET); null or left out: they are sent unsigned. */
  readonly hookSecret?: string | null;
  /** Pause before a webhook of a hook is tried again, in ms; doubles. 1000 when left out. */
  readonly hookPauseMs?: number;
  readonly retention?: Partial<Retention>;
  /** Archives of jobs stand below this folder (PGSLUICE_ARCHIVE_DIR); null or left out: anywhere, or nowhere on a shared agent. */
  readonly archiveDir?: string | null;
  /** How long a failed copy keeps its snapshot for a retry, in ms; 30 minutes by default. */
  readonly holdSnapshotMs?: number;
}

/** Which log events `logs` answers. */
export interface LogQuery {
  /** Only events with a greater seq. */
  readonly after?: number;
  /** At most that many, the oldest first; 1,000 by default, 10,000 at most. */
  readonly limit?: number;
  /** This level and the graver ones. */
  readonly level?: LogLevel;
  /** Text that the message holds, whatever its case. */
  readonly search?: string;
}

/** Figures for Prometheus. Counters count from the start of this process. */
export interface ManagerMetrics {
  readonly store: 'embedded' | 'postgresql';
  /** Stored jobs by state. */
  readonly jobs: Readonly<Record<JobState, number>>;
  readonly running: number;
  readonly queued: number;
  readonly eventsWritten: number;
  /** Events that were emitted and are not stored yet. */
  readonly eventsPending: number;
  readonly rowsCopied: number;
  readonly bytesCopied: number;
}
