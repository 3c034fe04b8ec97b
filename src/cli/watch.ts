import type { JobView } from '../contract/job.ts';
import type { Report } from '../contract/report.ts';
import type { JobClient } from './client.ts';
import type { Context } from './context.ts';
import { follow } from './follow.ts';
import { mayFollow, serveForeground, type ForegroundServer } from './foreground-server.ts';
import type { Interrupts } from './interrupts.ts';
import { LiveGuide } from './live-guide.ts';
import { cutoverSentence } from './live-lines.ts';
import { LocalClient } from './local-client.ts';
import { reportResult } from './report-result.ts';
import { clean } from './text.ts';
import { createViewer, type JobViewer } from './view.ts';

export interface WatchInput {
  readonly context: Context;
  readonly client: JobClient;
  readonly job: JobView;
  /** Only events after this seq are shown. */
  readonly after: number;
  readonly flags: { readonly json?: true; readonly state?: string };
  readonly interrupts: Interrupts;
}

/** Shows a job to its end, prints how it ended, and gives the exit code. A job of this process that follows can be reached from outside meanwhile. */
export async function watchToEnd(input: WatchInput): Promise<number> {
  const { context, client, job, interrupts } = input;
  const { output } = context;
  const json = input.flags.json === true;
  const display = createViewer(output, { json, title: clean(job.name), checks: 'notable' });
  const interactive = !json && output.tty && output.input !== null;
  const viewer = new LiveGuide({
    output,
    client,
    job,
    viewer: display,
    interactive,
    steps: !json,
    flags: stateFlag(input.flags),
  });
  let server: ForegroundServer | null = null;
  try {
    if (!json) introduce(viewer, client, job);
    if (client instanceof LocalClient && mayFollow(job.options)) {
      server = await serveForeground(context, client.where, client.manager, { jobs: [job.id], group: null });
      viewer.note(
        `To watch it in a browser: ${server.url}${server.tokenFile === null ? '' : ` (token in ${server.tokenFile})`}`,
      );
    }
    const followed = await follow({
      client,
      job,
      after: input.after,
      until: 'ended',
      stayPaused: interactive,
      viewer,
      interrupts,
    });
    viewer.close();
    const report = !json && followed.job.state === 'completed' ? await client.report(job.id) : null;
    if (report?.cutover != null) output.out(`${cutoverSentence(report.cutover)}\n`);
    const code = reportResult(output, followed, followed.job.options.verify, json);
    if (report !== null) printTodo(output, report);
    return code;
  } finally {
    viewer.close();
    await server?.close();
  }
}

function introduce(viewer: JobViewer, client: JobClient, job: JobView): void {
  viewer.note(`Job ${job.id}: ${sideText(job, 'source')} → ${sideText(job, 'target')}`);
  if (client.kind === 'remote') viewer.note(`It runs in the agent at ${client.where}.`);
}

function stateFlag({ state }: WatchInput['flags']): string {
  if (state === undefined) return '';
  return ` --state ${/^[\w./-]+$/.test(state) ? state : `'${state.replace(/:[^:@/]*@/, ':…@').replaceAll("'", "'\\''")}'`}`;
}

function printTodo(output: Context['output'], { todo }: Report): void {
  if (todo.length === 0) return;
  output.out(`${output.style.bold('What is left to do:')}\n${todo.map((line) => `  • ${clean(line)}\n`).join('')}`);
}

/** A server, or the archive that stands in its place. */
export function sideText(job: Pick<JobView, 'source' | 'target' | 'archive'>, side: 'source' | 'target'): string {
  const view = job[side];
  return view === null ? clean(job.archive ?? '') : endpoint(view);
}

function endpoint(view: { user: string; host: string; port: number; database: string }): string {
  return clean(`${view.user}@${view.host}:${view.port}/${view.database}`);
}
