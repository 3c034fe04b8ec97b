import type { LogLevel } from '../contract/event.ts';
import type { Guardrail, LiveState } from '../contract/live.ts';
import type { HandOver } from '../contract/options.ts';
import type { CloneContext } from '../clone/context.ts';
import type { LiveCopyContext, StagedClone } from '../clone/staged-types.ts';
import type { CleanUpInput } from '../live/cleanup.ts';
import type { CutoverInput, CutoverOutcome } from '../live/cutover-types.ts';
import type { Fence } from '../live/fence-types.ts';
import type { Follower, FollowerInput } from '../live/follower.ts';
import type { LiveMonitor, MonitorInput } from '../live/monitor.ts';
import type { SlotJudgement } from '../live/slot-health.ts';
import type { PublishedTables, TableName } from '../live/publication.ts';
import type { CreateSlotInput } from '../live/slot.ts';
import type { ProgressState } from '../live/progress.ts';
import type { Lsn } from '../postgres/lsn.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { SnapshotOptions, SourceSnapshot } from '../postgres/snapshot.ts';
import type { SequenceValue } from '../clone/sequences.ts';
import type { FollowLine } from './follow-line.ts';
import type { LiveDrift } from './live-drift-types.ts';
import type { LiveWork, OpenCopy } from './live-work.ts';
import type { Facts } from './rooms.ts';

export type Log = (level: 'debug' | 'info' | 'warn', message: string) => void;

/** Both servers of a live job. */
export interface LivePlace {
  readonly job: string;
  readonly source: ConnectionSettings;
  readonly target: ConnectionSettings;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly say: (level: LogLevel, message: string) => void;
}

/** What the target says of this job; whoever has read it last leads. */
export type TargetProgress = ProgressState;

export interface CopyLead {
  readonly archive: string | null;
  /** Of now. */
  readonly epoch: () => bigint;
}

/** Row changes that a table received on the source after the target had taken over. */
export interface LateChanges {
  readonly schema: string;
  readonly name: string;
  readonly changes: number;
}

/** What a live run needs of the rooms below; each opens and closes what it needs, so that the runner is tested without servers. */
export interface LiveRooms {
  names(job: string): { readonly slot: string; readonly publication: string };
  /** What later steps plan with, for a run that goes on and is not validated again. */
  readFacts(
    input: Pick<LivePlace, 'job' | 'source' | 'target' | 'signal'> & { readonly pgBinDir: string | null },
  ): Promise<Facts>;
  /** Answers what was dropped, in words. */
  dropLeftovers(place: LivePlace, keep: readonly string[]): Promise<readonly string[]>;
  publish(place: LivePlace, name: string, tables: readonly TableName[]): Promise<PublishedTables>;
  createSlot(input: CreateSlotInput): Promise<{ readonly consistentPoint: Lsn }>;
  /** Tables of the publication. */
  publishedTables(place: LivePlace, publication: string): Promise<readonly TableName[]>;
  dropSlotAndPublication(place: LivePlace, state: LiveState): Promise<void>;
  /** Takes the lead; `make`: makes the progress row where there is none. @throws PgsluiceError PROGRESS_MISSING. */
  takeOver(place: LivePlace, make: boolean): Promise<TargetProgress>;
  /** What the copying part is given to keep its progress by: the stored archive, and the epoch under which records are written. */
  copyContext(place: LivePlace, publication: string, lead: CopyLead): LiveCopyContext;
  createStagedClone(context: CloneContext, live: LiveCopyContext): StagedClone;
  /** As the source has them now. */
  readSequences(place: LivePlace, staged: StagedClone): Promise<readonly SequenceValue[]>;
  /** Watches over the source's schema; `archive` as the target has it. */
  openDrift(work: LiveWork, copy: OpenCopy, line: FollowLine): Promise<LiveDrift>;
  /** Position from which the slot sends. @throws PgsluiceError SLOT_LOST when there is none. */
  slotPosition(place: LivePlace, slot: string): Promise<Lsn>;
  startFollowing(place: LivePlace, epoch: bigint, lsn: Lsn): Promise<void>;
  /** Reads only. @throws when the target is not reached. */
  hasFinished(target: ConnectionSettings, job: string, signal: AbortSignal): Promise<boolean>;
  dropProgress(place: LivePlace): Promise<void>;
  follow(
    input: FollowerInput,
  ): Pick<
    Follower,
    | 'run'
    | 'drainTo'
    | 'hold'
    | 'addGate'
    | 'forgetShapes'
    | 'connected'
    | 'done'
    | 'applied'
    | 'epoch'
    | 'counts'
    | 'spooledBytes'
  >;
  monitor(input: MonitorInput): Pick<LiveMonitor, 'slot' | 'guardrails' | 'read' | 'run'>;
  guards(place: LivePlace, publication: string): Guards;
  runCutover(input: CutoverInput): Promise<CutoverOutcome>;
  finishSql(job: string, epoch: bigint): string;
  openSnapshot(settings: ConnectionSettings, options: SnapshotOptions): Promise<SourceSnapshot>;
  handOver(place: LivePlace, how: HandOver | null): Promise<{ readonly detail: string }>;
  undoReadOnly(place: LivePlace, state: NonNullable<LiveState['readOnly']>): Promise<void>;
  undoReadOnlySql(state: NonNullable<LiveState['readOnly']>): string;
  /** Raises the fence again, after an interruption, and reads what the source has committed since the target took over. */
  fenceAgain(input: FenceAgainInput): Promise<{ readonly fence: Fence; readonly late: readonly LateChanges[] }>;
  cleanUp(input: CleanUpInput): Promise<{ done: boolean; left: string[] }>;
}

export interface FenceAgainInput extends LivePlace {
  readonly state: LiveState;
  readonly progress: TargetProgress;
  readonly workDir: string;
  readonly sourceMajor: number;
  /** How long the fence may take, in ms. */
  readonly timeoutMs: number;
  recordReadOnly(state: LiveState['readOnly']): Promise<void>;
}

export interface GuardsInput {
  /** Against the newest WAL; null while the stream is not connected. */
  readonly lag: { readonly bytes: number; readonly seconds: number } | null;
  readonly slot: Pick<SlotJudgement, 'verdict' | 'message' | 'hint'>;
  readonly drift: { readonly found: string; readonly remedy: string } | null;
}

/** Conditions of a calm cutover. */
export interface Guards {
  read(input: GuardsInput): Promise<readonly Guardrail[]>;
  close(): Promise<void>;
}
