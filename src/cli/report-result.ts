import type { ErrorView, JobState } from '../contract/event.ts';
import type { JobView } from '../contract/job.ts';
import type { JobOptions } from '../contract/options.ts';
import type { Difference } from '../contract/report.ts';
import { emptyResult, exitCodeOfResult, exitCodes, type ResultLine } from './exit.ts';
import type { Followed } from './follow.ts';
import { formatBytes, formatSeconds, plural } from './format.ts';
import type { Output } from './output.ts';
import type { Style } from './style.ts';
import { clean, cleanLines } from './text.ts';

const shownDifferences = 20;

/** The result line of a followed job: its own result event, or what its state says where it ended without one. */
export function resultOf(followed: Followed): ResultLine {
  const { job, result } = followed;
  if (result !== null) {
    const { type, status, verified, tables, rows, bytes, seconds, differences, error } = result;
    return { type, status, verified, tables, rows, bytes, seconds, differences, error };
  }
  const status = stoppedByItself(followed) ? 'failed' : statusOfState(job.state, followed.interrupted);
  const { tables, rows, bytes } = job.totals;
  const error = status === 'cancelled' && job.state !== 'cancelled' ? stoppedEarly(job) : withResume(job);
  return { ...emptyResult(status, error), verified: job.verified, tables, rows, bytes };
}

type Stopped = Pick<JobView, 'id' | 'state' | 'method' | 'error'>;

/** A live job pauses by itself where only a person can help, for instance after a change of the source's schema. */
function stoppedByItself({ job, interrupted }: Followed): boolean {
  return job.state === 'paused' && job.method === 'live' && job.error !== null && !interrupted;
}

function withResume(job: Stopped): ErrorView | null {
  if (job.error === null || job.state !== 'paused') return job.error;
  return { ...job.error, hint: `${job.error.hint}\n${resumeHint(job)}`.trim() };
}

function stoppedEarly(job: Stopped): ErrorView {
  return job.state === 'paused'
    ? { code: 'INTERRUPTED', message: 'The job is paused.', hint: resumeHint(job) }
    : {
        code: 'INTERRUPTED',
        message: 'The job was left before its end.',
        hint: `Look at it with: pgsluice logs -f ${job.id}`,
      };
}

/** While nobody follows, the slot makes the source keep every change: that must not be forgotten. */
function resumeHint({ id, method }: Stopped): string {
  const resume = `Go on with: pgsluice resume ${id}`;
  return method === 'live'
    ? `${resume}\nUntil then the source keeps all of its WAL for the replication slot of this job. To end the job and drop the slot: pgsluice cancel ${id}`
    : resume;
}

function statusOfState(state: JobState, interrupted: boolean): ResultLine['status'] {
  switch (state) {
    case 'completed':
    case 'failed':
    case 'blocked':
    case 'cancelled':
      return state;
    case 'ready':
      return 'completed';
    case 'draft':
    case 'validating':
    case 'running':
    case 'following':
    case 'cutting_over':
    case 'verifying':
    case 'paused':
      return interrupted || state === 'paused' ? 'cancelled' : 'failed';
  }
}

/** Prints how a clone ended, in words or as the last JSON line, and gives the exit code. */
export function reportResult(output: Output, followed: Followed, verify: JobOptions['verify'], json: boolean): number {
  const result = resultOf(followed);
  if (json) output.out(`${JSON.stringify(result)}\n`);
  else for (const line of resultLines(followed.job, result, verify, output.style)) output.out(`${line}\n`);
  // A job that was left running or paused by a signal did not end, whatever it will become.
  if (followed.interrupted && result.status !== 'completed' && result.status !== 'blocked') return exitCodes.cancelled;
  return exitCodeOfResult(result, verify);
}

export function resultLines(
  job: { readonly id: string; readonly state: JobState },
  result: ResultLine,
  verify: JobOptions['verify'],
  style: Style,
): string[] {
  const moved = `${plural(result.tables, 'table')}, ${plural(result.rows, 'row')}, ${formatBytes(result.bytes)} in ${formatSeconds(result.seconds)}`;
  const lines: string[] = [];
  if (result.status === 'completed') {
    if (result.verified) lines.push(style.green(`✓ Completed and verified: ${moved}.`));
    else if (result.differences.length > 0) {
      lines.push(style.red(`✗ Completed, but the target differs from the source: ${moved}.`));
    } else if (verify === 'none') lines.push(`Completed, not verified (--verify none): ${moved}.`);
    else lines.push(style.red(`✗ Completed, but not everything could be compared: ${moved}.`));
  } else if (result.error?.code !== 'INTERRUPTED') {
    lines.push(style.red(`✗ ${result.status[0]?.toUpperCase()}${result.status.slice(1)}: ${moved}.`));
  }
  lines.push(...differenceLines(result.differences), ...errorLines(result.error, style));
  if (result.status === 'completed') lines.push(`The report: pgsluice report ${job.id} --html report.html`);
  if (result.status === 'failed' && job.state !== 'paused') lines.push(`Try again: pgsluice retry ${job.id}`);
  return lines;
}

export function differenceLines(differences: readonly Difference[]): string[] {
  const lines = differences
    .slice(0, shownDifferences)
    .flatMap((difference) => [
      `  ${difference.change} on the target: ${difference.kind} ${clean(difference.name)}`,
      ...(difference.change === 'different'
        ? [`    source: ${short(difference.source)}`, `    target: ${short(difference.target)}`]
        : []),
    ]);
  const more = differences.length - shownDifferences;
  return more > 0 ? [...lines, `  and ${plural(more, 'more difference')}`] : lines;
}

function short(text: string | null): string {
  const line = clean(text ?? 'nothing');
  return line.length > 160 ? `${line.slice(0, 159)}…` : line;
}

/** Message, then what to do; the code in brackets, to search for. */
export function errorLines(
  error: { readonly code: string; readonly message: string; readonly hint: string } | null,
  style: Style,
): string[] {
  if (error === null) return [];
  const hint = cleanLines(error.hint).trim();
  return [
    `${style.red(clean(error.message))} [${error.code}]`,
    ...hint
      .split('\n')
      .filter((line) => line !== '')
      .map((line, index) => `${index === 0 ? '→' : ' '} ${line}`),
  ];
}
