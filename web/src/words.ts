import type { CheckFamily, CheckOutcome } from '../../src/contract/check.ts';
import type { JobView } from '../../src/contract/job.ts';
import type { JobState, Phase } from '../../src/contract/event.ts';
import { kindWords } from './kind-words.ts';

const stateWords: Record<JobState, string> = {
  draft: 'Draft',
  validating: 'Validating',
  ready: 'Ready to start',
  blocked: 'Blocked',
  running: 'Migrating',
  following: 'Following',
  cutting_over: 'Cutting over',
  paused: 'Paused',
  verifying: 'Verifying',
  completed: 'Completed',
  failed: 'Failed',
  cancelled: 'Cancelled',
};

export function stateWord(job: Pick<JobView, 'state' | 'kind'>): string {
  return job.state === 'running' ? kindWords(job).running : stateWords[job.state];
}

export type Tone = 'neutral' | 'active' | 'good' | 'warn' | 'bad' | 'info';

const stateTones: Record<JobState, Tone> = {
  draft: 'neutral',
  validating: 'active',
  ready: 'info',
  blocked: 'bad',
  running: 'active',
  following: 'active',
  cutting_over: 'active',
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
  return { word: stateWord(job), tone: stateTones[job.state] };
}

interface PhaseWords {
  readonly phase: Phase;
  readonly word: string;
  readonly does: string;
}

/** Phases of the phase line in their order, with what each does. */
const copyPhases: readonly PhaseWords[] = [
  { phase: 'schema', word: 'Schema', does: 'creating tables, types and functions' },
  { phase: 'copy', word: 'Copy', does: 'copying the rows' },
  { phase: 'indexes', word: 'Indexes', does: 'building indexes' },
  { phase: 'constraints', word: 'Constraints', does: 'adding keys, triggers and policies' },
  { phase: 'sequences', word: 'Sequences', does: 'setting sequences to their values' },
  { phase: 'analyze', word: 'Analyze', does: 'collecting statistics for the planner' },
  { phase: 'verify', word: 'Verify', does: 'comparing source and target' },
];

const livePhases: readonly PhaseWords[] = [
  { phase: 'slot', word: 'Slot', does: 'making the replication slot on the source' },
  { phase: 'schema', word: 'Schema', does: 'creating tables, types and functions' },
  { phase: 'copy', word: 'Copy', does: 'copying the rows' },
  { phase: 'indexes', word: 'Indexes', does: 'building indexes' },
  { phase: 'follow', word: 'Follow', does: 'following the source' },
  { phase: 'cutover', word: 'Cutover', does: 'handing over to the target' },
  { phase: 'verify', word: 'Verify', does: 'comparing source and target' },
];

const exportPhases: readonly PhaseWords[] = [
  { phase: 'copy', word: 'Save', does: 'writing definitions and rows' },
  { phase: 'verify', word: 'Read back', does: 'reading the archive back' },
];

const importPhases: readonly PhaseWords[] = copyPhases.map((entry) =>
  entry.phase === 'copy'
    ? { ...entry, word: 'Load', does: 'loading the rows' }
    : entry.phase === 'verify'
      ? { ...entry, does: 'comparing the target with the archive’s manifest' }
      : entry,
);

export function phasesOf(job: Pick<JobView, 'method' | 'options' | 'kind'>): readonly PhaseWords[] {
  if (job.kind !== 'move') return job.kind === 'export' ? exportPhases : importPhases;
  return isLive(job) ? livePhases : copyPhases;
}

/** Until it is decided, what was asked for counts. */
export function isLive(job: Pick<JobView, 'method' | 'options' | 'kind'>): boolean {
  if (job.kind !== 'move') return false;
  return job.method === null ? job.options.method === 'live' : job.method === 'live';
}

export const familyWords: Record<CheckFamily, string> = {
  connect: 'Connection',
  version: 'Versions',
  server: 'Server settings',
  privilege: 'Privileges',
  capacity: 'Capacity',
  objects: 'Objects',
  live: 'Following',
  leftovers: 'Leftovers',
  archive: 'Archive',
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
