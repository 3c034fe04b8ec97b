import type { JobRequestInput } from '../../contract/options.ts';
import type { JobClient } from '../client.ts';
import { connectWatching } from '../connect.ts';
import type { Context } from '../context.ts';
import { passwordInArguments, toJobRequest, type CopyFlags } from '../endpoint-options.ts';
import { follow } from '../follow.ts';
import { Interrupts } from '../interrupts.ts';
import { reportResult } from '../report-result.ts';
import { clean } from '../text.ts';
import { createViewer } from '../view.ts';

/** `pgsluice clone`: one job, watched to its end. */
export async function clone(context: Context, flags: CopyFlags): Promise<number> {
  const request = toJobRequest(flags, context.env, true);
  warnOfPassword(context, flags);
  const interrupts = new Interrupts();
  const client = await connectWatching(context, flags, interrupts);
  try {
    return await runClone(context, client, request, flags, interrupts);
  } finally {
    await client.close('The command ended.');
    interrupts.dispose();
  }
}

async function runClone(
  { output }: Context,
  client: JobClient,
  request: JobRequestInput,
  flags: CopyFlags,
  interrupts: Interrupts,
): Promise<number> {
  const job = await client.create(request);
  const json = flags.json === true;
  const viewer = createViewer(output, { json, title: clean(job.name), checks: 'notable' });
  if (!json) viewer.note(`Job ${job.id}: ${endpoint(job.source)} → ${endpoint(job.target)}`);
  if (!json && client.kind === 'remote') viewer.note(`It runs in the agent at ${client.where}.`);
  try {
    const followed = await follow({ client, job, after: 0, until: 'ended', viewer, interrupts });
    viewer.close();
    const code = reportResult(output, followed, flags.verify, json);
    if (!json && followed.job.state === 'completed') await printTodo(output, client, job.id);
    return code;
  } finally {
    viewer.close();
  }
}

async function printTodo(output: Context['output'], client: JobClient, id: string): Promise<void> {
  const { todo } = await client.report(id);
  if (todo.length === 0) return;
  output.out(`${output.style.bold('What is left to do:')}\n${todo.map((line) => `  • ${clean(line)}\n`).join('')}`);
}

export function endpoint(view: { user: string; host: string; port: number; database: string }): string {
  return clean(`${view.user}@${view.host}:${view.port}/${view.database}`);
}

/** Hides the arguments from `ps` as far as this process can, and says how to keep them out altogether. */
export function warnOfPassword({ output }: Context, flags: Partial<CopyFlags>): void {
  if (!passwordInArguments(flags)) return;
  process.title = 'pgsluice';
  output.err(
    `${output.errStyle.yellow('A password in an argument can be read by other users of this machine (ps, shell history).')}\n` +
      '→ Set PGSLUICE_SOURCE_URL and PGSLUICE_TARGET_URL instead of --source and --target.\n',
  );
}
