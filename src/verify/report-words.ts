import type { Report } from '../contract/report.ts';
import { importCommand } from '../contract/words.ts';

/** What a job of each kind does, in the words of its report. */
const kinds = {
  move: {
    moved: 'What was moved',
    unverified: 'The copy is complete. It was not verified.',
    full: 'Verified: the target equals the source in everything that was compared.',
    counts: 'Verified by counts: row counts, sequences and objects are equal. Contents were not compared.',
  },
  export: {
    moved: 'What was saved',
    unverified: 'The archive is complete. Nothing was measured of the source.',
    full: 'Verified: the archive was read back whole, and holds what was measured of the source.',
    counts: 'Verified by counts: the archive was read back and holds as many rows as the source counted.',
  },
  import: {
    moved: 'What was loaded',
    unverified: 'Everything is loaded. It was not verified.',
    full: 'Verified: the target equals what the archive says in everything that was compared.',
    counts: 'Verified by counts: the target has what the archive says. Contents were not compared.',
  },
} as const;

const wordsOf = ({ kind = 'move' }: Report): (typeof kinds)[keyof typeof kinds] => kinds[kind];

export function movedTitle(report: Report): string {
  return wordsOf(report).moved;
}

/** The command that loads the archive of a completed export; null for any other job. Pure. */
export function importLine({ kind, state, archive }: Report): string | null {
  return kind === 'export' && state === 'completed' && archive != null ? importCommand(archive.path) : null;
}

const count = (value: number): string => value.toLocaleString('en-US');

interface Verdict {
  readonly tone: 'good' | 'bad' | 'warn';
  readonly sentence: string;
}

/** The one sentence at the top. Claims nothing that was not checked. Pure. */
export function verdictOf(report: Report): Verdict {
  const { verification, error } = report;
  if (error !== null) return { tone: 'bad', sentence: `${error.message} ${error.hint}` };
  if (verification === null || verification.mode === 'none') {
    return report.state === 'completed'
      ? { tone: 'warn', sentence: wordsOf(report).unverified }
      : { tone: 'warn', sentence: `The job is ${report.state}. Nothing has been verified.` };
  }
  const found = verification.differences.length;
  if (found > 0) {
    return {
      tone: 'bad',
      sentence: `Verification found ${count(found)} ${found === 1 ? 'difference' : 'differences'}.`,
    };
  }
  if (!verification.verified) {
    return {
      tone: 'warn',
      sentence: 'Nothing that was compared differs, but not everything could be compared: see below.',
    };
  }
  return { tone: 'good', sentence: wordsOf(report)[verification.mode] };
}
