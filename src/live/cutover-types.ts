import type { CutoverReport, CutoverStep, Guardrail } from '../contract/live.ts';
import type { JobOptions } from '../contract/options.ts';
import type { ErrorReport } from '../errors.ts';
import type { Lsn } from '../postgres/lsn.ts';
import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { Fence, ReadOnlyState } from './fence-types.ts';

export interface SequenceLike {
  readonly schema: string;
  readonly name: string;
  /** Decimal digits: a bigint. */
  readonly lastValue: string;
  readonly isCalled: boolean;
}

export interface CutoverTable {
  readonly schema: string;
  readonly name: string;
}

/** What a cutover is given; everything that belongs to other rooms comes in as a function. */
export interface CutoverInput {
  readonly job: string;
  readonly source: ConnectionSettings;
  readonly target: ConnectionSettings;
  /** `cutoverTimeout` s for everything before the fence, and as long again from the fence to the commit. */
  readonly options: Pick<JobOptions, 'cutoverTimeout'>;
  readonly signal: AbortSignal;
  /**
   * All that takes time and needs no fence; what it still does when its signal has fired is its giver's to end.
   * @returns the published tables of afterwards.
   */
  prepare(signal: AbortSignal): Promise<{ readonly detail: string; readonly tables: readonly CutoverTable[] }>;
  readGuardrails(): Promise<readonly Guardrail[]>;
  /** Resolves when everything that committed before `lsn` is durable on the target. */
  drainTo(lsn: Lsn, signal: AbortSignal): Promise<void>;
  /** From its answer on nothing is applied, so that progress stays as it is; the answer lets it go on. */
  pauseApply(): Promise<() => void>;
  readSequences(source: Session): Promise<readonly SequenceLike[]>;
  /** Sets those of the target; called again right before the end for those that moved meanwhile. */
  writeSequences(target: Session, sequences: readonly SequenceLike[]): Promise<void>;
  /** Foreign keys, triggers, rules, policies, privileges and sequences, inside of the target's open transaction. */
  finish(target: Session, sequences: readonly SequenceLike[]): Promise<{ readonly detail: string }>;
  /** Marks the job's progress as finished, or fails when this agent no longer leads. Asked for after `pauseApply`. */
  readonly finishProgressSql: string;
  /** Of the source, under the fence. After a rollback it is the giver's to close. */
  openSourceSnapshot(): Promise<{ readonly detail: string }>;
  /** Of the target, right after the COMMIT and before anybody is told of it. */
  openTargetSnapshot(): Promise<{ readonly detail: string }>;
  /** Stores it before it is done; null once it has been undone. */
  recordReadOnly(state: ReadOnlyState | null): Promise<void>;
  /** `begins`: the COMMIT is about to be sent, from then on only the target knows; `failed`: it certainly did not happen. */
  onCommit?(what: 'begins' | 'failed'): void;
  /** Stored right after the COMMIT. */
  recordHandedOver(): Promise<void>;
  /** Tells the world of the target; makes its own further attempts. */
  handOver(): Promise<{ readonly detail: string }>;
  dropSlot(): Promise<void>;
  /** After every change of the timeline. */
  onStep(steps: readonly CutoverStep[]): void;
  readonly log: (level: 'debug' | 'info' | 'warn' | 'error', message: string) => void;
  /** ms since 1970 */
  readonly now?: () => number;
}

export type CutoverOutcome =
  | {
      readonly kind: 'handed-over';
      /** Still stands; to be lifted when the verification has ended. */
      readonly fence: Fence;
      readonly report: CutoverReport;
      /** What is left for a person, one sentence each. */
      readonly todo: readonly string[];
    }
  | { readonly kind: 'rolled-back'; readonly error: ErrorReport; readonly report: CutoverReport };
