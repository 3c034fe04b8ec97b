import PQueue from 'p-queue';
import type { GroupActionResult } from '../contract/group.ts';
import type { JobView } from '../contract/job.ts';
import type { JobOptions } from '../contract/options.ts';
import type { Report } from '../contract/report.ts';
import { databaseOf } from '../jobs/group-plan.ts';
import { isWorking } from '../jobs/transitions.ts';
import type { JobClient } from './client.ts';
import type { Context } from './context.ts';
import { emptyResult } from './exit.ts';
import { follow, isEnd, type Followed, type FollowInput } from './follow.ts';
import { mayFollow, serveForeground, type ForegroundServer } from './foreground-server.ts';
import { formatBytes } from './format.ts';
import { combine, type DatabaseResult, exitCodeOfGroup, groupResultLines } from './group-result.ts';
import { createGroupViewer, type GroupViewer } from './group-view.ts';
import type { Interrupts } from './interrupts.ts';
import { LocalClient } from './local-client.ts';
import { resultOf } from './report-result.ts';
import { clean } from './text.ts';

export interface WatchGroupInput {
  readonly context: Context;
  readonly client: JobClient;
  /** What the command has just asked of the group, and how its members took it. */
  readonly asked: GroupActionResult;
  /** Only events of a job after this seq are shown. */
  readonly after: (job: JobView) => number;
  readonly until: FollowInput['until'];
  readonly flags: { readonly json?: true };
  readonly interrupts: Interrupts;
}

/** Streams at once; members run in the order of the plan, and what happens to the others meanwhile is stored. */
const streams = 32;
/** How long cancelled jobs may take to say in which state their targets are, in ms. */
const cancelMs = 20_000;

/** Shows all jobs of a group to their end, prints how each ended and the totals, and gives the exit code. */
export async function watchGroup(input: WatchGroupInput): Promise<number> {
  const { context, client, interrupts, until } = input;
  const { group } = input.asked;
  const { output } = context;
  const json = input.flags.json === true;
  const started = performance.now();
  const viewer = createGroupViewer(output, { json, checks: until === 'validated' ? 'all' : 'notable' });
  let server: ForegroundServer | null = null;
  try {
    introduce(viewer, client, group);
    const [first] = group.jobs;
    if (client instanceof LocalClient && first !== undefined && mayFollow(first.options) && until === 'ended') {
      const own = { jobs: group.jobs.map((job) => job.id), group: group.id };
      server = await serveForeground(context, client.where, client.manager, own);
      viewer.note(
        `To watch it in a browser: ${server.url}${server.tokenFile === null ? '' : ` (token in ${server.tokenFile})`}. Each live job is cut over with: pgsluice cutover JOB`,
      );
    }
    const results = await followAll(input, viewer);
    viewer.close();
    const verify: JobOptions['verify'] | 'validated' =
      until === 'validated' ? 'validated' : (first?.options.verify ?? 'full');
    const all = combine(results, Math.round((performance.now() - started) / 10) / 100);
    if (json) output.out(`${JSON.stringify(all)}\n`);
    else for (const line of groupResultLines(results, all, verify, output.style)) output.out(`${line}\n`);
    if (!json && until === 'ended') for (const line of nextSteps(results, group)) output.out(`${line}\n`);
    return exitCodeOfGroup(results, verify, interrupts.first !== null);
  } finally {
    viewer.close();
    await server?.close();
  }
}

function introduce(viewer: GroupViewer, client: JobClient, group: GroupActionResult['group']): void {
  const members = group.plan.filter((entry) => entry.job !== null);
  const named = members.map(({ database, bytes, target }) => {
    const size = bytes === null ? '' : ` (${formatBytes(bytes)})`;
    return `${clean(database)}${size}${target === 'exists' ? '' : `, ${target} on the target`}`;
  });
  viewer.note(`Group ${group.id}: ${group.jobs.length} databases, ${named.join('; ')}`);
  for (const { database, skipped } of group.plan) {
    if (skipped !== null) viewer.note(`Left out: ${clean(database)}, because ${skipped}.`);
  }
  if (client.kind === 'remote') viewer.note(`It runs in the agent at ${client.where}.`);
}

/** How each member ended; those that have not begun, and that nobody has asked to, are left out. */
async function followAll(input: WatchGroupInput, viewer: GroupViewer): Promise<DatabaseResult[]> {
  const { client, asked, interrupts } = input;
  const stop = new AbortController();
  interrupts.handle((signal) => void endBy(signal, input, viewer, stop));
  const queue = new PQueue({ concurrency: streams });
  const outcomes = new Map(asked.members.map((member) => [member.job, member]));
  const results = await Promise.all(
    asked.group.jobs.map(async (job): Promise<DatabaseResult | null> => {
      const member = outcomes.get(job.id);
      const about = { database: databaseOf(job), job: job.id };
      if (member?.outcome === 'refused') return { ...about, result: emptyResult('failed', member.error) };
      const runs = member?.outcome === 'done' || member?.outcome === 'waiting' || isWorking(job.state);
      if (!runs) return isEnd(job.state, input.until) ? await asItIs(client, job) : null;
      return await queue.add(async () => {
        const followed = await followOne(input, viewer, job, stop.signal);
        return { ...about, result: resultOf({ ...followed, interrupted: interrupts.first !== null }) };
      });
    }),
  );
  return results.filter((result) => result !== null);
}

function followOne(input: WatchGroupInput, viewer: GroupViewer, job: JobView, signal: AbortSignal): Promise<Followed> {
  const { client, until } = input;
  return follow({
    client,
    job,
    after: input.after(job),
    until,
    viewer: viewer.of({ database: databaseOf(job), job: job.id }),
    // Signals are the group's.
    interrupts: { first: null, handle: () => undefined },
    signal,
  });
}

/** Of a member that had ended before: what its report says. */
async function asItIs(client: JobClient, job: JobView): Promise<DatabaseResult> {
  const result = resultOf({ job, result: null, interrupted: false });
  const report = job.state === 'completed' ? await client.report(job.id) : null;
  return {
    database: databaseOf(job),
    job: job.id,
    result: { ...result, ...movedOf(report), differences: report?.verification?.differences ?? result.differences },
  };
}

function movedOf(report: Report | null): Partial<Report['moved']> {
  if (report === null) return {};
  const { tables, rows, bytes } = report.moved;
  return { tables, rows, bytes };
}

/** Ctrl-C cancels the copies; where a member follows its source, and for other signals, all stay resumable. */
async function endBy(
  signal: string,
  { client, asked: { group }, until }: WatchGroupInput,
  viewer: GroupViewer,
  stop: AbortController,
): Promise<void> {
  setTimeout(() => stop.abort(), cancelMs).unref();
  try {
    const now = signal === 'SIGINT' ? await client.group(group.id) : null;
    const live = now?.jobs.some((job) => job.method === 'live' && job.startedAt !== null && job.finishedAt === null);
    if (now !== null && live === false) {
      viewer.note('Cancelling. Press Ctrl-C again to leave at once.');
      await client.actOnGroup(group.id, 'cancel');
      return;
    }
    if (client.kind === 'remote' && until === 'ended') {
      viewer.note(`Leaving. The jobs go on in the agent at ${client.where}.`);
    } else {
      viewer.note('Stopping. The jobs stay resumable.');
      await client.close(`The process received ${signal}.`);
    }
  } catch (error) {
    // The jobs ended in the same moment: their own ends are what counts.
    viewer.note(`Ending the jobs was not possible: ${error instanceof Error ? error.message : String(error)}`);
  }
  stop.abort();
}

function nextSteps(results: readonly DatabaseResult[], group: GroupActionResult['group']): string[] {
  const status = (wanted: string): boolean => results.some(({ result }) => result.status === wanted);
  return [
    ...(status('failed') || status('blocked') ? [`Try the failed ones again: pgsluice retry ${group.id}`] : []),
    ...(results.some(({ result }) => result.error?.code === 'INTERRUPTED')
      ? [`Go on with all of them: pgsluice resume ${group.id}`]
      : []),
  ];
}
