import type { JobEventBody } from '../../contract/event.ts';
import type { GroupAction } from '../../contract/group.ts';
import { GroupRequest } from '../../contract/group.ts';
import { JobRequest } from '../../contract/options.ts';
import { cancelledError, PgsluiceError, throwIfAborted } from '../../errors.ts';
import { planGroup } from '../../jobs/groups.ts';
import { verifyOnly } from '../../jobs/verify-only.ts';
import type { JobClient } from '../client.ts';
import { connectWatching } from '../connect.ts';
import type { Context } from '../context.ts';
import type { CopyFlags } from '../endpoint-options.ts';
import { emptyResult, exitCodeOf, exitCodes, toErrorView, type ResultLine } from '../exit.ts';
import { toGroupRequest, type GroupFlags } from '../group-options.ts';
import { combine, type DatabaseResult, exitCodeOfGroup, groupResultLines } from '../group-result.ts';
import { createGroupViewer } from '../group-view.ts';
import { Interrupts } from '../interrupts.ts';
import { clean } from '../text.ts';
import { watchGroup } from '../watch-group.ts';
import { warnOfPassword } from './clone.ts';
import { toResult } from './verify.ts';

export type GroupCommandFlags = Partial<CopyFlags> & GroupFlags;

/** Jobs of a group that run at once in a foreground command, where both servers leave them the connections. */
export const atOnce = 2;

/** `pgsluice clone --databases …`: all of them, watched to their ends. */
export function cloneGroup(context: Context, flags: GroupCommandFlags): Promise<number> {
  return withGroup(context, flags, async (client, interrupts) => {
    const group = await client.createGroup(toGroupRequest(flags, context.env, false));
    const asked = await client.actOnGroup(group.id, 'start');
    return await watchGroup({ context, client, asked, after: () => 0, until: 'ended', flags, interrupts });
  });
}

/** `pgsluice validate --databases …`: jobs that only check, and are forgotten afterwards. */
export function validateGroup(context: Context, flags: GroupCommandFlags): Promise<number> {
  return withGroup(context, flags, async (client, interrupts) => {
    const group = await client.createGroup(toGroupRequest(flags, context.env, false));
    try {
      const asked = await client.actOnGroup(group.id, 'validate');
      return await watchGroup({ context, client, asked, after: () => 0, until: 'validated', flags, interrupts });
    } finally {
      // A process that was told to end has closed its state already, and the jobs stay in it.
      const closed = client.kind === 'local' && interrupts.first !== null && interrupts.first !== 'SIGINT';
      if (!closed) await client.removeGroup(group.id);
    }
  });
}

/** `start`, `resume` and `retry` of a group. */
export async function goOnWithGroup(
  input: { context: Context; client: JobClient; interrupts: Interrupts; flags: { json?: true; follow?: true } },
  id: string,
  action: GroupAction,
): Promise<number> {
  const { context, client, interrupts, flags } = input;
  const before = new Map((await client.group(id)).jobs.map((job) => [job.id, job.lastSeq]));
  let asked = await client.actOnGroup(id, action);
  const nothing = asked.members.every((member) => member.outcome === 'left');
  // What a person means by `resume` where all that is left undone has failed.
  if (action === 'resume' && nothing) asked = await client.actOnGroup(id, 'retry');
  if (client.kind === 'remote' && flags.follow !== true) {
    printGroup(context, asked, flags);
    return exitCodes.done;
  }
  const after = (job: { readonly id: string }): number => before.get(job.id) ?? 0;
  return await watchGroup({ context, client, asked, after, until: 'ended', flags, interrupts });
}

/** What a step did to each member, one line a database. */
export function printGroup(
  { output }: Context,
  asked: Awaited<ReturnType<JobClient['actOnGroup']>>,
  flags: { readonly json?: true },
): void {
  if (flags.json) return output.out(`${JSON.stringify(asked)}\n`);
  for (const { database, job, message, error } of asked.members) {
    output.out(`${clean(database)} (job ${job}): ${clean(message)}${error === null ? '' : ` [${error.code}]`}\n`);
  }
  output.out(`Group ${asked.group.id}: ${clean(asked.group.summary)}\n`);
}

async function withGroup(
  context: Context,
  flags: GroupCommandFlags,
  run: (client: JobClient, interrupts: Interrupts) => Promise<number>,
): Promise<number> {
  // Wrong usage is told before anything is opened.
  toGroupRequest(flags, context.env, false);
  warnOfPassword(context, flags);
  const interrupts = new Interrupts();
  const client = await connectWatching(context, flags, interrupts, 'new work', atOnce);
  try {
    return await run(client, interrupts);
  } finally {
    await client.close('The command ended.');
    interrupts.dispose();
  }
}

/** `pgsluice verify --databases …`: one comparison after the other, in this process, and nothing is stored. */
export async function verifyGroup(context: Context, flags: GroupCommandFlags): Promise<number> {
  const { output, env } = context;
  const request = GroupRequest.parse(toGroupRequest(flags, env, false));
  warnOfPassword(context, flags);
  const json = flags.json === true;
  const interrupts = new Interrupts();
  const cancel = new AbortController();
  interrupts.handle((signal) => cancel.abort(cancelledError(`The comparison was ended by ${signal}.`)));
  const viewer = createGroupViewer(output, { json, checks: 'notable' });
  const started = performance.now();
  const results: DatabaseResult[] = [];
  try {
    for (const { database, skipped } of await planGroup(request, cancel.signal)) {
      if (skipped !== null) {
        viewer.note(`Left out: ${clean(database)}, because ${skipped}.`);
        continue;
      }
      const part = viewer.of({ database, job: database });
      let seq = 0;
      const emit = (body: JobEventBody): void => {
        seq += 1;
        part.event({ ...body, seq, at: new Date().toISOString() });
      };
      const one = JobRequest.parse({
        source: { ...request.source, database },
        target: { ...request.target, database },
        options: request.options,
      });
      results.push({ database, job: null, result: await compare(one, env.pgBinDir, cancel.signal, emit) });
    }
  } finally {
    viewer.close();
    interrupts.dispose();
  }
  const verify = flags.verify ?? 'full';
  const all = combine(results, Math.round((performance.now() - started) / 10) / 100);
  if (json) output.out(`${JSON.stringify(all)}\n`);
  else for (const line of groupResultLines(results, all, verify, output.style)) output.out(`${line}\n`);
  return exitCodeOfGroup(results, verify, interrupts.first !== null);
}

async function compare(
  request: JobRequest,
  pgBinDir: string | null,
  signal: AbortSignal,
  emit: (body: JobEventBody) => void,
): Promise<ResultLine> {
  let begun = false;
  try {
    throwIfAborted(signal);
    const verification = await verifyOnly({
      request,
      pgBinDir,
      signal,
      emit: (body) => {
        begun = true;
        emit(body);
      },
    });
    return toResult(verification);
  } catch (error) {
    if (error instanceof PgsluiceError && error.code === 'CANCELLED')
      return emptyResult('cancelled', toErrorView(error));
    // Where not one comparison was made, what stands in the way is told like a blocked job.
    const blocked = !begun && error instanceof PgsluiceError && exitCodeOf(error) === exitCodes.failed;
    return emptyResult(blocked ? 'blocked' : 'failed', toErrorView(error));
  }
}
