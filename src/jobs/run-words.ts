import type { JobState } from '../contract/event.ts';
import type { LiveState } from '../contract/live.ts';
import type { JobKind } from '../contract/options.ts';
import { PgsluiceError } from '../errors.ts';
import { isHandedOver } from './live-hand.ts';
import type { HeldRun, RunEnd } from './run-job.ts';

/** What an interruption leaves, for the log and the state's reason. Pure. */
export function interruptedWords(live: LiveState | null, kind: JobKind): string {
  if (kind === 'export') return 'The source is unchanged; resume starts the export anew under a fresh snapshot.';
  if (kind === 'import') return 'The archive is unchanged; resume starts the import anew.';
  if (isHandedOver(live)) return 'The target has taken over; resume brings the migration to its end.';
  if (live === null || live.stage === 'cleaned') {
    return 'The source is unchanged; resume starts the copy anew under a fresh snapshot.';
  }
  return `Nothing is lost: replication slot ${live.slot} stays on the source, which keeps its WAL until the job goes on (resume) or is given up (cancel).`;
}

export const handedOverWords = 'The target has taken over, so there is no way back.';

/** Pure. */
export function leftForHold(kind: HeldRun['kind'], holdMs: number): string {
  const minutes = Math.round(holdMs / 60_000);
  return `The ${kind === 'live' ? 'slot' : 'snapshot'} was kept for ${minutes} minutes and is given up; a retry copies everything anew.`;
}

/** What a paused run keeps. Pure. */
export function keptWords(kind: JobKind, slotStands: boolean): string {
  if (slotStands) return 'the slot is kept, so the source keeps its WAL';
  return kind === 'import' ? 'what is restored stays' : 'the snapshot is kept';
}

/** Pure. */
export function completedWords(end: RunEnd, kind: JobKind): string {
  const { verification } = end;
  if (verification === null) return 'Done; nothing was verified.';
  if (verification.verified && kind === 'export') return 'Done: the archive was read back, and every row is in it.';
  if (verification.verified && kind === 'import') return 'Done and verified: the target equals what the archive says.';
  if (verification.verified) return 'Done and verified: the target equals the source.';
  if (verification.differences.length === 0) return 'Done, but not everything could be verified.';
  const found = verification.differences.length;
  return `Done, but verification found ${found} ${found === 1 ? 'difference' : 'differences'}.`;
}

export function overAlready(): PgsluiceError {
  return new PgsluiceError({
    code: 'INVALID_TRANSITION',
    message: 'The job is coming to its end; it cannot be paused any more.',
    hint: 'Wait a moment and look at the result.',
  });
}

export function notNow(state: JobState): PgsluiceError {
  return new PgsluiceError({
    code: 'INVALID_TRANSITION',
    message: `The job is ${state}; that is not possible now.`,
    hint: 'Look at the job again.',
  });
}
