import { writeFile } from 'node:fs/promises';
import type { JobEvent, LogLevel } from '../../contract/event.ts';
import { GroupAction } from '../../contract/group.ts';
import type { JobAction, JobView } from '../../contract/job.ts';
import { PgsluiceError } from '../../errors.ts';
import { isWorking } from '../../jobs/transitions.ts';
import type { JobClient } from '../client.ts';
import { connect, connectWatching, type ConnectFlags } from '../connect.ts';
import type { Context } from '../context.ts';
import { atLeast, checkLines, paintLevel } from '../event-lines.ts';
import { exitCodes } from '../exit.ts';
import { isEnd } from '../follow.ts';
import { formatBytes, formatPercent, plural } from '../format.ts';
import { Interrupts } from '../interrupts.ts';
import { liveLines } from '../live-lines.ts';
import { errorLines } from '../report-result.ts';
import { clean, padTo } from '../text.ts';
import { sideText, watchToEnd } from '../watch.ts';
import { findJob, groupNamed, newestUnfinished, resolveId } from './find-job.ts';
import { atOnce, goOnWithGroup, printGroup } from './group.ts';

export interface JobFlags extends ConnectFlags {
  readonly json?: true;
  readonly follow?: true;
}

export async function withClient(
  context: Context,
  flags: ConnectFlags,
  run: (client: JobClient) => Promise<number>,
): Promise<number> {
  const client = await connect(context, flags);
  try {
    return await run(client);
  } finally {
    await client.close('The command ended.');
  }
}

export function listJobs(context: Context, flags: JobFlags): Promise<number> {
  const { output } = context;
  return withClient(context, flags, async (client) => {
    const jobs = await client.list();
    if (flags.json) for (const job of jobs) output.out(`${JSON.stringify(job)}\n`);
    else if (jobs.length === 0) output.out(`No jobs in ${client.where}.\n`);
    else output.out(jobTable(jobs, output.tty ? output.columns : 500));
    return exitCodes.done;
  });
}

export function jobTable(jobs: readonly JobView[], width: number): string {
  const idWidth = Math.max(4, ...jobs.map((job) => job.id.length));
  // Most people have none.
  const groupWidth = Math.max(0, ...jobs.map((job) => job.group?.id.length ?? 0));
  const row = (id: string, group: string, state: string, done: string, what: string): string => {
    const grouped = groupWidth === 0 ? '' : `${padTo(group, groupWidth)}  `;
    const left = width - idWidth - grouped.length - 24;
    return `${padTo(id, idWidth)}  ${grouped}${padTo(state, 12)}  ${padTo(done, 5)}  ${padTo(what, Math.max(20, left)).trimEnd()}\n`;
  };
  return (
    row('JOB', 'GROUP', 'STATE', 'DONE', 'WHAT') +
    jobs
      .map((job) =>
        row(
          job.id,
          job.group?.id ?? '',
          job.state,
          formatPercent(job.totals.fraction),
          `${sideText(job, 'source')} → ${sideText(job, 'target')}`,
        ),
      )
      .join('')
  );
}

export function showJob(context: Context, id: string | undefined, flags: JobFlags): Promise<number> {
  const { output } = context;
  return withClient(context, flags, async (client) => {
    const job = await findJob(client, id);
    if (flags.json) {
      output.out(`${JSON.stringify(job)}\n`);
      return exitCodes.done;
    }
    const { style } = output;
    const { totals } = job;
    const lines = [
      `${style.bold(job.id)}  ${clean(job.name)}`,
      ...(job.group === null ? [] : [`Group    ${job.group.id}  ${clean(job.group.name)}`]),
      `State    ${job.state}${job.phase === null ? '' : ` (${job.phase})`}${job.verified ? ', verified' : ''}`,
      `Source   ${sideText(job, 'source')}`,
      `Target   ${sideText(job, 'target')}`,
      `Copied   ${totals.tablesDone} of ${plural(totals.tables, 'table')}, ${plural(totals.rows, 'row')}, ${formatBytes(totals.bytes)} (${formatPercent(totals.fraction)})`,
      `Created  ${job.createdAt}`,
      ...(job.finishedAt === null ? [] : [`Ended    ${job.finishedAt}`]),
      clean(job.summary),
      ...(job.live === null ? [] : liveLines(job.live, style)),
      ...errorLines(job.error, style),
    ];
    const checks = await client.checks(job.id);
    const notable = checks.filter((check) => check.outcome === 'failed' || check.outcome === 'warned');
    lines.push(...notable.flatMap((check) => checkLines(check, style)));
    const failed = (await client.tables(job.id)).filter((table) => table.state === 'failed');
    for (const table of failed) {
      lines.push(
        style.red(`Table ${clean(table.schema)}.${clean(table.name)} failed: ${clean(table.error?.message ?? '')}`),
      );
    }
    output.out(lines.map((line) => `${line}\n`).join(''));
    return exitCodes.done;
  });
}

export interface LogFlags extends JobFlags {
  readonly level?: LogLevel;
  readonly search?: string;
}

const logPage = 5000;

export function showLogs(context: Context, id: string | undefined, flags: LogFlags): Promise<number> {
  const { output } = context;
  return withClient(context, flags, async (client) => {
    const job = await findJob(client, id);
    const print = (event: JobEvent): void => {
      if (event.type !== 'log') return;
      if (flags.json) output.out(`${JSON.stringify(event)}\n`);
      else output.out(`${logLine(event, output.style)}\n`);
    };
    let after = 0;
    for (;;) {
      const page = await client.logs(job.id, {
        after,
        limit: logPage,
        ...(flags.level === undefined ? {} : { level: flags.level }),
        ...(flags.search === undefined ? {} : { search: flags.search }),
      });
      page.forEach(print);
      after = page.at(-1)?.seq ?? after;
      if (page.length < logPage || output.closed) break;
    }
    if (flags.follow && !output.closed) await followLogs(client, job, after, flags, print, output);
    return exitCodes.done;
  });
}

/** Goes on until the job stands still, Ctrl-C, or the reader of the pipe goes away. */
async function followLogs(
  client: JobClient,
  job: JobView,
  after: number,
  flags: LogFlags,
  print: (event: JobEvent) => void,
  output: Context['output'],
): Promise<void> {
  const interrupts = new Interrupts();
  const stop = new AbortController();
  interrupts.handle(() => stop.abort());
  const wanted = flags.search?.toLowerCase();
  try {
    if (isEnd((await client.get(job.id)).state, 'validated')) return;
    for await (const batch of client.stream(job.id, after, stop.signal)) {
      let ended = false;
      for (const event of batch) {
        if (event.type === 'reset') continue;
        if (event.type === 'state') ended = isEnd(event.state, 'validated') && event.state !== 'ready';
        if (event.type !== 'log' || !atLeast(event.level, flags.level ?? 'debug')) continue;
        if (wanted === undefined || event.message.toLowerCase().includes(wanted)) print(event);
      }
      if (ended || output.closed) return;
    }
  } finally {
    interrupts.dispose();
  }
}

function logLine(event: Extract<JobEvent, { type: 'log' }>, style: Context['output']['style']): string {
  return `${style.dim(event.at)} ${paintLevel(event.level, `${event.level.toUpperCase().padEnd(5)} ${clean(event.message)}`, style)}`;
}

/** pause, cancel: ask, and say where the job stands then. */
export function actOn(context: Context, id: string, action: JobAction, flags: JobFlags): Promise<number> {
  return withClient(context, flags, async (client) => {
    const group = await groupNamed(client, id);
    const step = GroupAction.safeParse(action);
    if (group !== null && step.success) {
      printGroup(context, await client.actOnGroup(group, step.data), flags);
      return exitCodes.done;
    }
    const job = await client.act(await resolveId(client, id), action);
    printJob(context, job, flags);
    return exitCodes.done;
  });
}

/**
 * start, resume, retry: where a daemon runs the job it is asked and, with --follow, watched; without a daemon the job
 * runs in this process, so it is always watched to its end.
 */
export async function goOn(
  context: Context,
  id: string | undefined,
  action: 'start' | 'resume' | 'retry',
  flags: JobFlags,
): Promise<number> {
  const interrupts = new Interrupts();
  const client = await connectWatching(context, flags, interrupts, 'new work', atOnce);
  try {
    return await runOn(context, client, id, action, flags, interrupts);
  } finally {
    await client.close('The command ended.');
    interrupts.dispose();
  }
}

async function runOn(
  context: Context,
  client: JobClient,
  id: string | undefined,
  action: 'start' | 'resume' | 'retry',
  flags: JobFlags,
  interrupts: Interrupts,
): Promise<number> {
  const group = id === undefined ? null : await groupNamed(client, id);
  if (group !== null) return await goOnWithGroup({ context, client, interrupts, flags }, group, action);
  const before = id === undefined ? await newestUnfinished(client) : await findJob(client, id);
  // Nobody has named one of its jobs alone.
  if (id === undefined && before.group !== null) {
    return await goOnWithGroup({ context, client, interrupts, flags }, before.group.id, action);
  }
  const job = isWorking(before.state) ? before : await client.act(before.id, actionFor(before, action));
  if (client.kind === 'remote' && !flags.follow) {
    printJob(context, job, flags);
    return exitCodes.done;
  }
  return await watchToEnd({ context, client, job, after: before.lastSeq, flags, interrupts });
}

/** What a person means by `resume` depends on how the job stopped. */
export function actionFor(job: Pick<JobView, 'state'>, asked: 'start' | 'resume' | 'retry'): JobAction {
  if (asked !== 'resume') return asked;
  if (job.state === 'failed') return 'retry';
  return job.state === 'draft' || job.state === 'ready' ? 'start' : 'resume';
}

export function printJob({ output }: Context, job: JobView, flags: JobFlags): void {
  output.out(flags.json ? `${JSON.stringify(job)}\n` : `Job ${job.id} is ${job.state}. ${clean(job.summary)}\n`);
}

export interface ReportFlags extends ConnectFlags {
  readonly html?: string;
}

export function showReport(context: Context, id: string | undefined, flags: ReportFlags): Promise<number> {
  const { output } = context;
  return withClient(context, flags, async (client) => {
    const job = await findJob(client, id);
    if (flags.html === undefined) {
      output.out(`${JSON.stringify(await client.report(job.id), null, 2)}\n`);
      return exitCodes.done;
    }
    const html = await client.reportHtml(job.id);
    if (flags.html === '-') output.out(html);
    else {
      await writeReport(flags.html, html);
      output.out(`Wrote ${flags.html}.\n`);
    }
    return exitCodes.done;
  });
}

async function writeReport(file: string, html: string): Promise<void> {
  try {
    await writeFile(file, html);
  } catch (cause) {
    throw new PgsluiceError({
      code: 'INVALID_FILE',
      message: `The report could not be written to ${file}.`,
      hint: 'Name a file in a directory that exists and that you may write to.',
      cause,
    });
  }
}
