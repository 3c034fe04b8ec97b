import type { ErrorView } from '../contract/event.ts';
import type { JobOptions } from '../contract/options.ts';
import type { Difference } from '../contract/report.ts';
import { exitCodeOfResult, exitCodes, type ResultLine } from './exit.ts';
import { formatBytes, formatSeconds, plural } from './format.ts';
import { differenceLines, errorLines } from './report-result.ts';
import type { Style } from './style.ts';
import { clean } from './text.ts';

/** How one database of a group ended. */
export interface DatabaseResult {
  readonly database: string;
  /** null where there was no job, as for a comparison. */
  readonly job: string | null;
  readonly result: ResultLine;
}

/** What `--json` prints last for several databases. */
export type GroupResultLine = ResultLine & {
  readonly databases: readonly {
    readonly database: string;
    readonly job: string | null;
    readonly status: ResultLine['status'];
    readonly verified: boolean;
    readonly tables: number;
    readonly rows: number;
    readonly differences: readonly Difference[];
    readonly error: ErrorView | null;
  }[];
};

/** The worst first. */
const statuses: readonly ResultLine['status'][] = ['failed', 'blocked', 'cancelled', 'completed'];
const worstFirst: readonly number[] = [
  exitCodes.failed,
  exitCodes.usage,
  exitCodes.blocked,
  exitCodes.different,
  exitCodes.cancelled,
  exitCodes.done,
];

/** All results as one; `seconds` is how long the whole took. Pure. */
export function combine(results: readonly DatabaseResult[], seconds: number): GroupResultLine {
  const status = statuses.find((each) => results.some(({ result }) => result.status === each)) ?? 'completed';
  const sum = (of: (result: ResultLine) => number): number => results.reduce((all, { result }) => all + of(result), 0);
  return {
    type: 'result',
    status,
    verified: results.length > 0 && results.every(({ result }) => result.status === 'completed' && result.verified),
    tables: sum((result) => result.tables),
    rows: sum((result) => result.rows),
    bytes: sum((result) => result.bytes),
    seconds,
    differences: results.flatMap(({ result }) => result.differences),
    error: results.find(({ result }) => result.status === status && result.error !== null)?.result.error ?? null,
    databases: results.map(({ database, job, result }) => ({
      database,
      job,
      status: result.status,
      verified: result.verified,
      tables: result.tables,
      rows: result.rows,
      differences: result.differences,
      error: result.error,
    })),
  };
}

/** The worst of the exit codes; a command that was asked to stop, and so left a database undone, was cancelled. Pure. */
export function exitCodeOfGroup(
  results: readonly DatabaseResult[],
  verify: JobOptions['verify'] | 'validated',
  interrupted: boolean,
): number {
  if (interrupted && results.some(({ result }) => result.status === 'cancelled')) return exitCodes.cancelled;
  const codes = results.map(({ result }) => exitCodeOfResult(result, verify === 'validated' ? 'none' : verify));
  return worstFirst.find((code) => codes.includes(code)) ?? exitCodes.done;
}

/** One line for each database with what is wrong with it, then the totals. Pure. */
export function groupResultLines(
  results: readonly DatabaseResult[],
  all: GroupResultLine,
  verify: JobOptions['verify'] | 'validated',
  style: Style,
): string[] {
  const lines = results.flatMap(({ database, job, result }) => [
    `${sentence(result, verify, style)} ${style.bold(clean(database))}${job === null ? '' : style.dim(` (job ${job})`)}: ${figures(result, verify)}`,
    ...[...differenceLines(result.differences), ...errorLines(result.error, style)].map((line) => `    ${line}`),
  ]);
  const count = (status: ResultLine['status']): number =>
    results.filter(({ result }) => result.status === status).length;
  const counted = statuses
    .toReversed()
    .filter((status) => count(status) > 0)
    .map((status) => `${count(status)} ${verify === 'validated' && status === 'completed' ? 'ready' : status}`);
  const total = verify === 'validated' ? '' : `; ${figures(all, verify)} in ${formatSeconds(all.seconds)}`;
  return [...lines, style.bold(`${plural(results.length, 'database')}: ${counted.join(', ')}${total}.`)];
}

function figures(result: ResultLine, verify: JobOptions['verify'] | 'validated'): string {
  if (verify === 'validated') return result.status === 'completed' ? 'all checks passed' : 'see its checks';
  return `${plural(result.tables, 'table')}, ${plural(result.rows, 'row')}, ${formatBytes(result.bytes)}`;
}

function sentence(result: ResultLine, verify: JobOptions['verify'] | 'validated', style: Style): string {
  if (result.status !== 'completed') {
    return style.red(`✗ ${result.status[0]?.toUpperCase()}${result.status.slice(1)}`);
  }
  if (verify === 'validated') return style.green('✓ Ready');
  if (result.verified) return style.green('✓ Completed and verified');
  if (result.differences.length > 0) return style.red('✗ Completed, but different');
  return verify === 'none' ? 'Completed, not verified' : style.red('✗ Completed, but not all compared');
}
