import type { CheckFamily, CheckOutcome, CheckResult } from '../contract/check.ts';
import type { JobOptions } from '../contract/options.ts';
import { plain } from '../postgres/places/plain.ts';
import { type WordValues, remedyAt } from '../postgres/places/places.ts';
import type { Need, Place } from '../postgres/places/types.ts';
import type { Database } from './database.ts';

/** A line or more of a remedy; what it is for, where the place it runs on may have words of its own. */
export interface RemedyPart {
  readonly text: string;
  readonly need?: Need;
  readonly values?: WordValues;
}

/** PostgreSQL's own way as text, or in parts that a place may put into its own words. */
export type Remedy = string | readonly RemedyPart[];

/** What a judge says about what was measured. */
export interface Verdict {
  readonly outcome: CheckOutcome;
  readonly code: string | null;
  readonly found: string;
  readonly remedy: string;
  /** True when the same check may pass later with nothing changed by a person. */
  readonly retryable?: boolean;
  /** What `remedy` is made of, until it is put into the words of the place (`atPlace`). */
  readonly parts?: readonly RemedyPart[];
}

/** What the job is about, for checks that depend on filters and on what is moved. */
export interface Scope {
  readonly options: JobOptions;
  /** The target's contents were made by this very job. */
  readonly ownTarget: boolean;
  /** Slots and publications of this job, and of others that its agent knows. */
  readonly ownNames: readonly string[];
  /** This job; null when there is none, or `ownNames` says it. */
  readonly job: string | null;
  /** Live jobs that were made together and have yet to make their slot on this source, this one included. */
  readonly slotsNeeded: number;
  readonly signal: AbortSignal;
}

/** The worst a check may say; decides what becomes of a check that could not be made. */
export type Severity = 'blocks' | 'warns' | 'informs';

interface CheckHead {
  readonly id: `${CheckFamily}.${string}`;
  readonly severity: Severity;
  readonly title: string;
  /** Nothing else is asked of the servers meanwhile: it measures, or keeps a transaction open. */
  readonly alone?: true;
}

/** One check with its query; `needs` says which side must have been reached for it to be made. */
export type Check = CheckHead &
  (
    | { readonly needs: 'source' | 'target'; readonly run: (database: Database, scope: Scope) => Promise<Verdict> }
    | {
        readonly needs: 'both';
        readonly side: CheckResult['side'];
        readonly run: (source: Database, target: Database, scope: Scope) => Promise<Verdict>;
      }
    /** Made on each side that was reached; the verdicts are joined into one. */
    | { readonly needs: 'each'; readonly run: (database: Database, scope: Scope) => Promise<Verdict> }
  );

export function passed(found: string): Verdict {
  return { outcome: 'passed', code: null, found, remedy: '' };
}

export function informed(found: string, remedy: Remedy = ''): Verdict {
  return { outcome: 'info', code: null, found, ...remedyOf(remedy) };
}

export function warned(found: string, remedy: Remedy = ''): Verdict {
  return { outcome: 'warned', code: null, found, ...remedyOf(remedy) };
}

export function failed(code: string, found: string, remedy: Remedy): Verdict {
  return { outcome: 'failed', code, found, ...remedyOf(remedy) };
}

function remedyOf(remedy: Remedy): Pick<Verdict, 'remedy' | 'parts'> {
  return typeof remedy === 'string' ? { remedy } : { remedy: partsAt(remedy, plain), parts: remedy };
}

const partsAt = (parts: readonly RemedyPart[], place: Place): string =>
  [
    ...new Set(
      parts.map(({ text, need, values }) => (need === undefined ? text : remedyAt(place, need, text, values))),
    ),
  ].join('\n');

/** The same with its remedy in the words of the place where it has to be done. Pure. */
export function atPlace({ parts, ...verdict }: Verdict, place: Place): Verdict {
  return parts === undefined ? verdict : { ...verdict, remedy: partsAt(parts, place) };
}

/** The check says nothing about these servers; `why` says what it lacked or why it does not apply. */
export function skipped(why: string): Verdict {
  return { outcome: 'skipped', code: null, found: why, remedy: '' };
}

const gravity: Readonly<Record<CheckOutcome, number>> = { skipped: 0, passed: 1, info: 2, warned: 3, failed: 4 };

/** One verdict out of several: the gravest outcome and its code, everything that was found, every remedy once. */
export function joinVerdicts(parts: readonly { readonly label: string; readonly verdict: Verdict }[]): Verdict {
  const worst = parts
    .map((part) => part.verdict)
    .reduce<Verdict | null>((a, b) => (a === null || gravity[b.outcome] > gravity[a.outcome] ? b : a), null);
  if (worst === null) return skipped('Neither server could be reached.');
  const remedies = parts.filter((part) => part.verdict.remedy !== '');
  return {
    outcome: worst.outcome,
    code: worst.code,
    found: parts.map((part) => `${part.label}: ${part.verdict.found}`).join('\n'),
    remedy:
      remedies.length === 1 && parts.length === 1
        ? (remedies[0]?.verdict.remedy ?? '')
        : remedies.map((part) => `-- ${part.label}\n${part.verdict.remedy}`).join('\n'),
    ...(worst.retryable === undefined ? {} : { retryable: worst.retryable }),
  };
}
