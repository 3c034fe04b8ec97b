import type { ErrorView, JobState, Phase } from '../contract/event.ts';
import type { LiveProgress, LiveState } from '../contract/live.ts';
import type { JobKind, JobOptions } from '../contract/options.ts';
import { undoReadOnlySql } from '../live/read-only.ts';
import { summarizeExport, summarizeImport } from './job-summary-archive.ts';
import { clock, sentence, tablesDone, targetWarning } from './summary-words.ts';
import type { Totals } from './totals.ts';

export interface SummaryInput {
  readonly state: JobState;
  readonly kind: JobKind;
  readonly phase: Phase | null;
  readonly options: Pick<JobOptions, 'verify' | 'schemaOnly'>;
  readonly totals: Totals;
  readonly error: ErrorView | null;
  readonly verified: boolean;
  readonly differences: number;
  readonly targetTouched: boolean;
  /** When the copy's snapshot was taken. */
  readonly snapshotAt: Date | null;
  /** True while the job waits for a free place. */
  readonly queued: boolean;
  /** True while the job's snapshot is kept: by a pause or for a retry; of a live job its slot for a retry. */
  readonly snapshotAlive: boolean;
  /** What a live job has made; null for one that copies. */
  readonly live: LiveState | null;
  /** What a live job in hand last measured. */
  readonly progress: LiveProgress | null;
}

/** What is happening now and whether the source is still safe to use, for a person who reads nothing else. Pure. */
export function summarize(job: SummaryInput): string {
  if (job.queued) return 'Waiting for a free place: other jobs are running. Nothing has been changed.';
  const live = job.live === null ? null : summarizeLive(job, job.live);
  if (live !== null) return live;
  if (job.kind === 'export') return summarizeExport(job);
  if (job.kind === 'import') return summarizeImport(job);
  switch (job.state) {
    case 'draft':
      return 'Not checked yet. Nothing has been changed on either side.';
    case 'validating':
      return 'Checking both servers. Nothing is changed on either side.';
    case 'ready':
      return 'All checks passed; the copy can start. Nothing has been changed on either side.';
    case 'blocked':
      return `A check failed, so the copy cannot start: ${sentence(job.error?.message ?? 'see the checks')} Nothing has been changed on either side.`;
    case 'running':
      return `${work(job)} ${sourceSafe(job)}`;
    case 'following':
      return following(job);
    case 'cutting_over':
      return cuttingOver(job);
    case 'verifying':
      return `The copy is done; comparing the target with the source. ${sourceSafe(job)}`;
    case 'paused':
      return job.snapshotAlive
        ? `Paused with ${tablesDone(job.totals)} copied; resume goes on under the same snapshot. ${sourceSafe(job)}`
        : `Interrupted; resume starts the copy anew. The source is unchanged. ${targetWarning(job)}`;
    case 'completed':
      return completed(job);
    case 'failed':
      return `Failed: ${sentence(job.error?.message ?? 'see the log')}${retryWords(job)} The source is unchanged. ${targetWarning(job)}`;
    case 'cancelled':
      return `Cancelled. The source is unchanged. ${targetWarning(job)}`;
  }
}

/** What of a live job reads differently from a copy; null where it does not. */
function summarizeLive(job: SummaryInput, live: LiveState): string | null {
  const takenOver = live.stage === 'handed-over' || live.keepReadOnly;
  switch (job.state) {
    case 'verifying':
      return 'The target has taken over and can be used. Comparing it with the source as both stood at the cutover.';
    case 'paused':
      if (takenOver) return 'Interrupted after the target has taken over; resume brings the migration to its end.';
      return `${paused(job)} ${slotKept(live)}`;
    case 'completed': {
      const done = 'The target has taken over.';
      if (job.verified) return `${done} Verified: it equals the source as of the cutover.`;
      return `${done} ${unverified(job)}`;
    }
    case 'failed': {
      const error = `Failed: ${sentence(job.error?.message ?? 'see the log')}`;
      if (takenOver) return `${error} The target has taken over; ${sourceLeft(live)}`;
      const retry = job.snapshotAlive ? 'Retry copies only what is missing.' : 'A retry starts anew.';
      const left = job.snapshotAlive || live.stage === 'cleaned' ? '' : ` ${slotKept(live)}`;
      return `${error} ${retry}${left} The source stays fully usable. ${targetWarning(job)}`;
    }
    case 'cancelled': {
      const left = live.stage === 'cleaned' ? 'Nothing of the job is left on the source.' : slotKept(live);
      return `Cancelled. ${left} ${targetWarning(job)}`;
    }
    case 'running':
      return live.stage === 'following' ? 'Going on. The source stays fully usable.' : null;
    case 'draft':
    case 'validating':
    case 'ready':
    case 'blocked':
    case 'following':
    case 'cutting_over':
      return null;
  }
}

function paused(job: SummaryInput): string {
  if (job.error !== null) return `Paused: ${sentence(job.error.message)} Resume goes on where it stopped.`;
  return 'Paused; resume goes on where it stopped.';
}

/** In what state a cutover has left the source, and the statement that undoes it. */
function sourceLeft({ readOnly }: LiveState): string {
  return readOnly === null
    ? 'nothing keeps new sessions from writing to the source.'
    : `new sessions on the source are read-only until ${undoReadOnlySql(readOnly)}; is run there.`;
}

/** Writes wait from the fence on, and not while the cutover is only being prepared. */
function cuttingOver({ progress }: SummaryInput): string {
  const fenced = progress?.cutover.some(({ step }) => step === 'fence') ?? false;
  return fenced
    ? 'Cutting over: writes on the source wait until the target has taken over.'
    : 'Preparing the cutover; the source is still written to as usual.';
}

function slotKept(live: LiveState): string {
  return `The source stays usable, but keeps its WAL for replication slot ${live.slot}.`;
}

function following(job: SummaryInput): string {
  const usable = 'The source stays fully usable.';
  const { progress } = job;
  if (progress === null) return `Following the source: what is written there arrives on the target. ${usable}`;
  if (!progress.connected) return `Following is interrupted and connecting anew; nothing is lost. ${usable}`;
  const behind =
    progress.lagSeconds < 1 ? 'less than a second' : `${Math.round(progress.lagSeconds).toLocaleString('en')} s`;
  return `Following the source, ${behind} behind. ${usable}`;
}

function unverified(job: SummaryInput): string {
  if (job.differences > 0) {
    const count = job.differences === 1 ? '1 difference' : `${job.differences} differences`;
    return `Verification found ${count}: read the report before more is built on it.`;
  }
  return job.options.verify === 'none'
    ? 'Not verified (verification was switched off).'
    : 'Not everything could be verified; see the report.';
}

export function work(job: SummaryInput): string {
  switch (job.phase) {
    case 'copy':
      return job.totals.tables === 0
        ? 'Copying the data.'
        : `Copying: ${job.totals.tablesDone} of ${job.totals.tables} tables are done.`;
    case 'indexes':
      return 'The data is copied; building indexes.';
    case 'constraints':
      return 'The data is copied; adding constraints and what depends on them.';
    case 'sequences':
      return 'The data is copied; setting sequences.';
    case 'analyze':
      return 'The data is copied; collecting statistics on the target.';
    case 'schema':
      return 'Creating the tables on the target.';
    case 'slot':
      return 'Making the replication slot on the source.';
    case 'follow':
    case 'cutover':
    case 'validate':
    case 'verify':
    case null:
      return 'Starting the copy.';
  }
}

function sourceSafe(job: SummaryInput): string {
  return job.snapshotAt === null
    ? 'The source stays fully usable.'
    : `The source stays fully usable; changes made there after ${clock(job.snapshotAt)} are not in this copy.`;
}

export function completed(job: SummaryInput): string {
  const age = job.snapshotAt === null ? '' : ` It holds the source as of ${clock(job.snapshotAt)}.`;
  if (job.verified)
    return `Done and verified: the target equals the source${job.options.schemaOnly ? ' in its schema' : ''}.${age}`;
  if (job.differences > 0) {
    const count = job.differences === 1 ? '1 difference' : `${job.differences} differences`;
    return `Done, but verification found ${count}. Do not use the target before you have read the report.${age}`;
  }
  return job.options.verify === 'none'
    ? `Done, not verified (verification was switched off).${age}`
    : `Done, but not everything could be verified; see the report.${age}`;
}

function retryWords(job: SummaryInput): string {
  return job.snapshotAlive ? ' Retry does only what is missing, under the same snapshot.' : '';
}

/** What state the target is in when a run ends early; for the log. Pure. */
export function describeTarget(job: {
  targetTouched: boolean;
  phase: Phase | null;
  tablesCopied: number;
  tables: number;
  schemaOnly: boolean;
}): string {
  if (!job.targetTouched) return 'The target was not touched.';
  if (job.phase === 'verify')
    return 'The target holds the whole copy, but it was not compared to its end: it is not verified.';
  if (job.phase === 'schema') return 'The target holds a part of the tables and no rows; it is not a usable copy.';
  if (job.schemaOnly) return 'The target holds a part of the schema; it is not a usable copy.';
  const tables = job.tablesCopied === 1 ? '1 complete table' : `${job.tablesCopied} complete tables`;
  const of = job.tables > job.tablesCopied ? ` of ${job.tables}` : '';
  const rest =
    job.phase === 'analyze' ? 'without all of its statistics' : 'without all of their indexes and constraints';
  return `The target holds ${tables}${of}, ${rest}; it is not a usable copy.`;
}
