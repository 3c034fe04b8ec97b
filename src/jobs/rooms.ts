import type { CheckResult } from '../contract/check.ts';
import type { JobOptions } from '../contract/options.ts';
import type { Report, Verification } from '../contract/report.ts';
import type { ErrorReport } from '../errors.ts';
import type { CloneContext, CloneRun, EarlyMoment } from '../clone/clone.ts';
import type { MomentContext, SourceMoment } from '../clone/source-moment.ts';
import type { FinishDatabaseInput, FinishedDatabase, TargetDatabaseInput } from '../clone/target-database.ts';
import type { DatabaseFacts } from '../postgres/database-facts.ts';
import type { ApplicationState } from '../postgres/applications/read-applications.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { PgTools } from '../postgres/tools.ts';
import type { ServerVersion } from '../postgres/version.ts';
import type { VerifyInput } from '../verify/verify.ts';
import type { ArchiveRooms } from './archive-rooms.ts';
import type { LiveRooms } from './live-rooms-types.ts';

/** Bytes. */
export interface DiskReading {
  readonly databaseBytes: number;
  /** null where the server does not stand on this machine, or does not tell. */
  readonly freeBytes: number | null;
}

/** What a run needs of the rooms below, so that the runner is tested without servers. */
export interface JobRooms {
  validate(input: ValidateInput): Promise<ValidateOutcome>;
  createClone(input: CloneContext, early?: EarlyMoment): CloneRun;
  /** Snapshot, dump and tables of the source, before there is a clone. */
  takeMoment(input: MomentContext): Promise<SourceMoment>;
  verifyDatabases(input: VerifyInput): Promise<Verification>;
  /** Which applications keep their migrations there, and at which version; null when it could not be read in time. */
  readApplications(input: ReadApplicationsInput): Promise<readonly ApplicationState[] | null>;
  /** How large the target's database is and what is free on its disk. Throws PgsluiceError. */
  readDisk(target: ConnectionSettings, signal: AbortSignal): Promise<DiskReading>;
  /** The report as one printable page. */
  reportHtml(report: Report): string;
  readonly live: LiveRooms;
  readonly archives: ArchiveRooms;
  readonly targetDatabase: TargetDatabaseRoom;
}

/** The target's database itself, for jobs that are to make it. */
export interface TargetDatabaseRoom {
  /** What the source's is like. */
  read(source: ConnectionSettings, signal: AbortSignal): Promise<DatabaseFacts>;
  /** Makes it where it does not exist; true when it did. */
  create(input: TargetDatabaseInput): Promise<boolean>;
  /** Settings, grants, comment, limit and owner of one that was made here. */
  finish(input: FinishDatabaseInput): Promise<FinishedDatabase>;
}

export interface ReadApplicationsInput {
  readonly settings: ConnectionSettings;
  readonly side: 'source' | 'target';
  readonly options: JobOptions;
  readonly signal: AbortSignal;
}

export interface ValidateInput {
  readonly source: ConnectionSettings;
  readonly target: ConnectionSettings;
  readonly options: JobOptions;
  readonly pgBinDir: string | null;
  readonly signal: AbortSignal;
  /** The target's contents were made by this very job. */
  readonly ownTarget: boolean;
  /** Only these checks, by id; there are no facts then. All when left out. */
  readonly only?: readonly string[];
  /** null: no job, only a comparison. */
  readonly job: string | null;
  /** Slots and publications of this job and of others that the agent knows. */
  readonly ownNames: readonly string[];
  /** Jobs of one group that have yet to make their slot on the source, this one included; 1 when left out. */
  readonly slotsNeeded?: number;
  /** Called at most once, when nothing that was found until then speaks against the job. */
  readonly onSourceKnown?: (known: SourceKnown) => void;
  onCheck(check: CheckResult): void;
}

/** What is known of the source before the checks that take longer. */
export interface SourceKnown {
  readonly version: ServerVersion;
  readonly connectionsAvailable: number;
  readonly tools: PgTools;
}

export interface Facts {
  readonly source: { readonly version: ServerVersion; readonly connectionsAvailable: number };
  readonly target: { readonly version: ServerVersion; readonly connectionsAvailable: number };
  readonly tools: PgTools;
  /** What the target's role cannot carry, as validation has said; left out where nothing was validated. */
  readonly leftOut?: readonly string[];
}

export interface ValidateOutcome {
  readonly checks: readonly CheckResult[];
  readonly blocked: boolean;
  /** Of the first failed check. */
  readonly error: ErrorReport | null;
  /** null when a side was not reached. */
  readonly facts: Facts | null;
  /** How the database is moved, and why that way where method `auto` chose. */
  readonly method: 'copy' | 'live';
  readonly methodReason: string;
  /** Where each side runs; null where it is not known. */
  readonly places?: { readonly source: string | null; readonly target: string | null };
  /** On the source; null when they were not looked for. */
  readonly applications?: readonly ApplicationState[] | null;
}
