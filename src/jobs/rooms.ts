import type { CheckResult } from '../contract/check.ts';
import type { JobEventBody } from '../contract/event.ts';
import type { JobOptions } from '../contract/options.ts';
import type { PhaseTiming, Report, RestoreProblem, Verification } from '../contract/report.ts';
import type { ErrorReport, PgsluiceError } from '../errors.ts';
import type { PauseGate } from '../gate.ts';
import type { Archive } from '../postgres/archive.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { SourceSnapshot } from '../postgres/snapshot.ts';
import type { PgTools } from '../postgres/tools.ts';
import type { ServerVersion } from '../postgres/version.ts';

/** What a run needs of the rooms below, so that the runner is tested without servers. */
export interface JobRooms {
  validate(input: ValidateInput): Promise<ValidateOutcome>;
  createClone(input: CloneInput): CloneHandle;
  verifyDatabases(input: VerifyInput): Promise<Verification>;
  /** The report as one printable page. */
  reportHtml(report: Report): string;
}

export interface ValidateInput {
  readonly source: ConnectionSettings;
  readonly target: ConnectionSettings;
  readonly options: JobOptions;
  readonly pgBinDir: string | null;
  readonly signal: AbortSignal;
  /** The target's contents were made by this very job. */
  readonly ownTarget: boolean;
  onCheck(check: CheckResult): void;
}

export interface Facts {
  readonly source: { readonly version: ServerVersion; readonly connectionsAvailable: number };
  readonly target: { readonly version: ServerVersion; readonly connectionsAvailable: number };
  readonly tools: PgTools;
}

export interface ValidateOutcome {
  readonly checks: readonly CheckResult[];
  readonly blocked: boolean;
  /** Of the first failed check. */
  readonly error: ErrorReport | null;
  /** null when a side was not reached. */
  readonly facts: Facts | null;
}

export interface CloneInput {
  readonly source: ConnectionSettings;
  readonly target: ConnectionSettings;
  readonly options: JobOptions;
  readonly tools: PgTools;
  readonly sourceVersion: ServerVersion;
  readonly targetVersion: ServerVersion;
  readonly connections: { readonly source: number; readonly target: number };
  readonly workDir: string;
  readonly signal: AbortSignal;
  readonly gate: PauseGate;
  readonly replaceTarget: boolean;
  /** Awaited right before the target is changed for the first time. */
  beforeFirstWrite(): Promise<void>;
  emit(event: JobEventBody): void;
}

/** A clone that is kept by its job, so that a failed copy can be retried under the same snapshot. */
export interface CloneHandle {
  /** The first time everything; again: only the failed tables and what follows them. */
  run(): Promise<CloneResult>;
  readonly snapshot: SourceSnapshot | null;
  readonly sourceArchive: Archive | null;
  /** The sequences' values as they were read from the source; null before that. */
  readonly sequences:
    | readonly {
        readonly schema: string;
        readonly name: string;
        readonly lastValue: string;
        readonly isCalled: boolean;
      }[]
    | null;
  readonly canRetry: boolean;
  close(): Promise<void>;
}

export interface CloneResult {
  readonly ok: boolean;
  readonly error: PgsluiceError | null;
  readonly failedTables: readonly { readonly schema: string; readonly name: string; readonly error: ErrorReport }[];
  readonly restoreProblems: readonly RestoreProblem[];
  readonly phases: readonly PhaseTiming[];
  readonly moved: Report['moved'];
  /** Extensions that the target had before and the source does not have; they stay. */
  readonly targetExtensions: readonly string[];
  readonly todo: readonly string[];
}

export interface VerifyInput {
  readonly source: ConnectionSettings;
  readonly target: ConnectionSettings;
  readonly snapshot: SourceSnapshot | null;
  readonly connections: { readonly source: number; readonly target: number };
  readonly options: JobOptions;
  readonly mode: 'counts' | 'full';
  readonly tools: PgTools;
  readonly sourceArchive: Archive | null;
  readonly workDir: string;
  readonly signal: AbortSignal;
  /** Entries that the target refused without harm: their absence is explained, not counted. */
  readonly accepted?: readonly { readonly kind: string; readonly name: string; readonly reason: string }[];
  /** What the copy set the target's sequences to; the source's may have moved on since. */
  readonly copiedSequences?: CloneHandle['sequences'];
  emit(event: JobEventBody): void;
}
