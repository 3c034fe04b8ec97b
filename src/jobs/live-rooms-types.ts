import type { Guardrail, LiveState, SlotHealth } from '../contract/live.ts';
import type { HandOver } from '../contract/options.ts';
import type { CleanUpInput } from '../live/cleanup.ts';
import type { CutoverInput, CutoverOutcome } from '../live/cutover-types.ts';
import type { Fence } from '../live/fence-types.ts';
import type { Follower, FollowerInput } from '../live/follower.ts';
import type { LiveMonitor, MonitorInput } from '../live/monitor.ts';
import type { PublishedTables, TableName } from '../live/publication.ts';
import type { CreateSlotInput } from '../live/slot.ts';
import type { TableGate } from '../live/types.ts';
import type { Lsn } from '../postgres/lsn.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { SnapshotOptions, SourceSnapshot } from '../postgres/snapshot.ts';
import type { Facts } from './rooms.ts';

export type Log = (level: 'debug' | 'info' | 'warn', message: string) => void;

/** Both servers of a live job. */
export interface LivePlace {
  readonly job: string;
  readonly source: ConnectionSettings;
  readonly target: ConnectionSettings;
  readonly signal: AbortSignal;
  readonly log: Log;
}

/** What the target says of this job; whoever has read it last leads. */
export interface TargetProgress {
  /** Position up to which everything is applied; null before following has begun. */
  readonly applied: Lsn | null;
  readonly epoch: bigint;
  /** The cutover's commit has happened. */
  readonly finished: boolean;
  /** Tables that are copied, with the snapshot that each was copied under. */
  readonly tables: readonly TableGate[];
  /** The fitted archive as JSON. */
  readonly archive: string | null;
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
  readFacts(input: Omit<LivePlace, 'job' | 'log'> & { readonly pgBinDir: string | null }): Promise<Facts>;
  /** Answers what was dropped, in words. */
  dropLeftovers(place: LivePlace, keep: readonly string[]): Promise<readonly string[]>;
  publish(place: LivePlace, name: string, tables: readonly TableName[]): Promise<PublishedTables>;
  createSlot(input: CreateSlotInput): Promise<{ readonly consistentPoint: Lsn }>;
  dropSlotAndPublication(place: LivePlace, state: LiveState): Promise<void>;
  /** Makes the progress row where there is none, and takes the lead. */
  takeOver(place: LivePlace): Promise<TargetProgress>;
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
  readGuardrails(input: GuardrailsInput): Promise<readonly Guardrail[]>;
  runCutover(input: CutoverInput): Promise<CutoverOutcome>;
  finishSql(job: string, epoch: bigint): string;
  openSnapshot(settings: ConnectionSettings, options: SnapshotOptions): Promise<SourceSnapshot>;
  handOver(place: LivePlace, how: HandOver | null): Promise<{ readonly detail: string }>;
  undoReadOnly(place: LivePlace, state: NonNullable<LiveState['readOnly']>): Promise<void>;
  undoReadOnlySql(state: NonNullable<LiveState['readOnly']>): string;
  /** Raises the fence again and reads what the source has committed on the followed tables since `applied`. */
  fenceAgain(place: LivePlace, state: LiveState, applied: Lsn): Promise<{ fence: Fence; late: readonly LateChanges[] }>;
  cleanUp(input: CleanUpInput): Promise<{ done: boolean; left: string[] }>;
}

export interface GuardrailsInput extends LivePlace {
  readonly lag: { readonly bytes: number; readonly seconds: number };
  readonly slot: SlotHealth | null;
}
