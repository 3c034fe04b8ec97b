import type { JobEventBody } from '../contract/event.ts';
import type { Manifest, ManifestTable } from '../contract/manifest.ts';
import type { JobOptions } from '../contract/options.ts';
import type { PauseGate } from '../gate.ts';
import type { Pace } from '../pace.ts';
import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { PgTools } from '../postgres/tools.ts';
import type { ServerVersion } from '../postgres/version.ts';

/** What an archive's manifest says of its contents. */
export type Measured = Pick<Manifest, 'tables' | 'checksums' | 'largeObjects' | 'notMeasured'>;

export interface MeasureRequest {
  /** Inside of the moment's transaction. */
  readonly session: Session;
  readonly mode: 'counts' | 'full';
  readonly signal: AbortSignal;
  readonly pace: () => Promise<void>;
  readonly onTable: (table: ManifestTable) => void;
  /** Of a gentle job: tables are read in pieces, each paid for. */
  readonly rate?: Pace;
}

/** Everything an export is given. */
export interface ExportContext {
  /** Names the directory in which the archive grows. */
  readonly job: string;
  readonly source: ConnectionSettings;
  readonly sourceVersion: ServerVersion;
  readonly options: JobOptions;
  readonly tools: PgTools;
  /** Connections that may be open at once, in all; at least 1. */
  readonly connections: { readonly source: number };
  /** Absolute path of the directory that is made. */
  readonly archive: string;
  /** Directory of the agent for short-lived files. */
  readonly workDir: string;
  readonly signal: AbortSignal;
  readonly gate: PauseGate;
  /** Of pgsluice, for the manifest. */
  readonly toolVersion: string;
  readonly applications: Manifest['applications'];
  /** Measures the source in the moment of the archive. */
  measure(request: MeasureRequest): Promise<Measured>;
  /** Called once the moment is chosen. */
  showMoment(moment: { readonly alive: boolean; readonly takenAt: string }): void;
  /** Called when all is written, before it is read back. */
  beforeReading(): Promise<void>;
  emit(event: JobEventBody): void;
}
