import type { Difference, TableVerification } from '../contract/report.ts';

/** A report is read by people; the objects themselves stand in the databases. */
const LONGEST = 2000;

export function shorten(text: string | null): string | null {
  if (text === null || text.length <= LONGEST) return text;
  return `${text.slice(0, LONGEST - 1)}…`;
}

/** Collects what verification finds. `incomplete` is set by everything that was to be compared and could not be. */
export class Findings {
  readonly tables: TableVerification[] = [];
  readonly differences: Difference[] = [];
  readonly notChecked: string[] = [];
  /** Relations whose rows could not be read on the target for want of the relation; the catalogues name most of them too. */
  readonly absent: Difference[] = [];
  incomplete = false;

  differ(difference: Difference): void {
    this.differences.push({ ...difference, source: shorten(difference.source), target: shorten(difference.target) });
  }

  /** Not part of what was asked, or known to be of no consequence. */
  note(sentence: string): void {
    this.notChecked.push(sentence);
  }

  /** Should have been compared: the result is then not "verified", even without a difference. */
  fail(sentence: string): void {
    this.notChecked.push(sentence);
    this.incomplete = true;
  }
}
