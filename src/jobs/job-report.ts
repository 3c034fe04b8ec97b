import type { ErrorView, ResultEvent } from '../contract/event.ts';
import type { Application, Report, Verification } from '../contract/report.ts';
import { describeSettings } from '../postgres/settings.ts';
import type { JobRow } from '../store/job-queries.ts';
import { estimateOfRun } from './estimate-report.ts';
import { type Sides, methodOf } from './job-view.ts';
import type { RunEnd } from './run-job.ts';

/** Differences that the result event carries; the report has them all. */
const mostInEvent = 1_000;

export type ResultStatus = ResultEvent['status'];

export interface Ending {
  readonly status: ResultStatus;
  readonly error: ErrorView | null;
  readonly startedAt: Date | null;
  readonly finishedAt: Date;
  /** null when the run was ended from outside. */
  readonly end: RunEnd | null;
  /** Tables, rows and bytes that were counted when there is no result of the copy. */
  readonly counted: { readonly tables: number; readonly rows: number; readonly bytes: number };
  readonly places: Required<Report>['places'];
  readonly applications: readonly Application[];
  /** What is left to do beside what the run itself says. */
  readonly todo: readonly string[];
}

const nothingMoved: Report['moved'] = { tables: 0, rows: 0, bytes: 0, indexes: 0, sequences: 0, largeObjects: 0 };

export function secondsOf(ending: Ending): number | null {
  return ending.startedAt === null ? null : (ending.finishedAt.getTime() - ending.startedAt.getTime()) / 1000;
}

/** True only when something was compared and nothing differed. */
export function isVerified(verification: Verification | null): boolean {
  return verification !== null && verification.mode !== 'none' && verification.verified;
}

/** Pure. */
export function buildReport(row: JobRow, sides: Sides, ending: Ending): Report {
  const { end } = ending;
  const phases = [...(end?.phases ?? []), ...(end?.copy?.phases ?? [])].toSorted((a, b) =>
    a.startedAt.localeCompare(b.startedAt),
  );
  return {
    jobId: row.id,
    name: row.name,
    state: ending.status,
    method: methodOf(row) ?? 'copy',
    kind: row.kind,
    archive: row.archive === null ? null : { path: row.archive, bytes: end?.archiveBytes ?? null },
    cutover: end?.cutover ?? null,
    source: sideOf('source', row, sides, end),
    target: sideOf('target', row, sides, end),
    places: ending.places,
    applications: [...ending.applications],
    createdAt: row.createdAt.toISOString(),
    startedAt: ending.startedAt?.toISOString() ?? null,
    finishedAt: ending.finishedAt.toISOString(),
    seconds: secondsOf(ending),
    moved: end?.copy?.moved ?? { ...nothingMoved, ...ending.counted },
    phases,
    ...(ending.status === 'completed' ? estimateOfRun(end?.copy?.expected, phases, end?.verification ?? null) : {}),
    restoreProblems: [...(end?.copy?.restoreProblems ?? [])],
    verification: end?.verification ?? null,
    todo: todo(row, ending),
    error: ending.error,
  };
}

/** Where one side is an archive, its place is named, and what is known of the server behind it. Pure. */
function sideOf(side: 'source' | 'target', row: JobRow, sides: Sides, end: RunEnd | null): Report['source'] {
  const settings = sides[side];
  const label = settings === null ? `archive ${row.archive ?? ''}` : describeSettings(settings);
  return { label, version: end?.facts?.[side].version.text ?? end?.versions?.[side] ?? null };
}

function todo(row: JobRow, ending: Ending): string[] {
  const own: string[] = [];
  const differences = ending.end?.verification?.differences.length ?? 0;
  if (differences > 0) own.push('Look at every difference below before anybody uses the target.');
  if (ending.status === 'completed' && row.options.verify === 'none') {
    own.push(
      row.kind === 'export'
        ? 'Nothing was measured on the source: an import of this archive has nothing to compare rows with.'
        : 'Nothing was compared. Compare both sides with: pgsluice verify',
    );
  }
  if (ending.status === 'failed' || ending.status === 'blocked') own.push(ending.error?.hint ?? 'Read the log.');
  const { end } = ending;
  return [...own.filter((line) => line !== ''), ...(end?.todo ?? []), ...(end?.copy?.todo ?? []), ...ending.todo];
}

/** The last event of a run. Pure. */
export function resultEvent(report: Report, status: ResultStatus): ResultEvent {
  return {
    type: 'result',
    status,
    verified: isVerified(report.verification),
    tables: report.moved.tables,
    rows: report.moved.rows,
    bytes: report.moved.bytes,
    seconds: report.seconds ?? 0,
    differences: (report.verification?.differences ?? []).slice(0, mostInEvent),
    applications: report.applications ?? [],
    error: report.error,
  };
}
