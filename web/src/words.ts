import type { CheckFamily, CheckOutcome } from '../../src/contract/check.ts';
import type { JobView } from '../../src/contract/job.ts';
import type { JobState, Phase, TableState } from '../../src/contract/event.ts';

export const stateWords: Record<JobState, string> = {
  draft: 'Draft',
  validating: 'Validating',
  ready: 'Ready to start',
  blocked: 'Blocked',
  running: 'Migrating',
  paused: 'Paused',
  verifying: 'Verifying',
  completed: 'Completed',
  failed: 'Failed',
  cancelled: 'Cancelled',
};

export type Tone = 'neutral' | 'active' | 'good' | 'warn' | 'bad' | 'info';

const stateTones: Record<JobState, Tone> = {
  draft: 'neutral',
  validating: 'active',
  ready: 'info',
  blocked: 'bad',
  running: 'active',
  paused: 'warn',
  verifying: 'active',
  completed: 'good',
  failed: 'bad',
  cancelled: 'neutral',
};

/** A job's state for people: "completed" alone would hide that the proof found differences, or gaps. */
export function stateBadge(job: JobView): { readonly word: string; readonly tone: Tone } {
  if (job.state === 'completed' && !job.verified) {
    if (job.differences > 0) return { word: 'Completed, differs', tone: 'bad' };
    return job.options.verify === 'none'
      ? { word: 'Completed, not verified', tone: 'warn' }
      : { word: 'Completed, not wholly verified', tone: 'warn' };
  }
  return { word: stateWords[job.state], tone: stateTones[job.state] };
}

/** Phases of the phase line in their order, with what each does. */
export const migrationPhases: readonly { readonly phase: Phase; readonly word: string; readonly does: string }[] = [
  { phase: 'schema', word: 'Schema', does: 'creating tables, types and functions' },
  { phase: 'copy', word: 'Copy', does: 'copying the rows' },
  { phase: 'indexes', word: 'Indexes', does: 'building indexes' },
  { phase: 'constraints', word: 'Constraints', does: 'adding keys, triggers and policies' },
  { phase: 'sequences', word: 'Sequences', does: 'setting sequences to their values' },
  { phase: 'analyze', word: 'Analyze', does: 'collecting statistics for the planner' },
  { phase: 'verify', word: 'Verify', does: 'comparing source and target' },
];

export const familyWords: Record<CheckFamily, string> = {
  connect: 'Connection',
  version: 'Versions',
  server: 'Server settings',
  privilege: 'Privileges',
  capacity: 'Capacity',
  objects: 'Objects',
};

export const outcomeWords: Record<CheckOutcome, string> = {
  passed: 'Passed',
  info: 'For your information',
  warned: 'Warning',
  failed: 'Blocks',
  skipped: 'Skipped',
};

export const outcomeTones: Record<CheckOutcome, Tone> = {
  passed: 'good',
  info: 'info',
  warned: 'warn',
  failed: 'bad',
  skipped: 'neutral',
};

export const tableStateWords: Record<TableState, string> = {
  pending: 'Waiting',
  copying: 'Copying',
  copied: 'Copied',
  failed: 'Failed',
  skipped: 'Left out',
};
