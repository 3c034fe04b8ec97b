import type { JobView } from '../../contract/job.ts';
import { PgsluiceError } from '../../errors.ts';
import { connectWatching } from '../connect.ts';
import type { Context } from '../context.ts';
import { exitCodes } from '../exit.ts';
import { Interrupts } from '../interrupts.ts';
import { watchToEnd } from '../watch.ts';
import { findJob, groupNamed, onlyFollowing } from './find-job.ts';
import { printJob, type JobFlags } from './jobs.ts';

/** `pgsluice cutover`: asks whoever runs the job; with --follow it is watched to its end. */
export async function cutOver(context: Context, id: string | undefined, flags: JobFlags): Promise<number> {
  const interrupts = new Interrupts();
  const client = await connectWatching(context, flags, interrupts);
  try {
    const group = id === undefined ? null : await groupNamed(client, id);
    if (group !== null) throw oneByOne((await client.group(group)).jobs);
    const before = id === undefined ? await onlyFollowing(client) : await findJob(client, id);
    if (client.kind === 'local' && before.method === 'live' && before.finishedAt === null) throw notRunning(before.id);
    const job = before.state === 'cutting_over' ? before : await client.act(before.id, 'cutover');
    if (flags.follow) return await watchToEnd({ context, client, job, after: before.lastSeq, flags, interrupts });
    printJob(context, job, flags);
    return exitCodes.done;
  } finally {
    await client.close('The command ended.');
    interrupts.dispose();
  }
}

/** Each database of a group has its own moment of taking over, and a person who points its application there. */
function oneByOne(jobs: readonly JobView[]): PgsluiceError {
  const following = jobs.filter(({ state }) => state === 'following');
  const commands = following.map(({ id, target }) => `pgsluice cutover ${id} (${target?.database ?? ''})`);
  return new PgsluiceError({
    code: 'INVALID_TRANSITION',
    message: 'The jobs of a group are cut over one by one.',
    hint: commands.length === 0 ? 'None of them follows its source now; see: pgsluice jobs' : commands.join('; '),
  });
}

function notRunning(id: string): PgsluiceError {
  return new PgsluiceError({
    code: 'INVALID_TRANSITION',
    message: 'No agent runs this job now, so there is nothing that could cut over.',
    hint: `Let it go on first: pgsluice resume ${id}`,
  });
}
