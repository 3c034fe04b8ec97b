import { connectWatching } from '../connect.ts';
import type { Context } from '../context.ts';
import { passwordInArguments, toJobRequest, type CopyFlags } from '../endpoint-options.ts';
import { Interrupts } from '../interrupts.ts';
import { isGroup, type GroupFlags } from '../group-options.ts';
import { watchToEnd } from '../watch.ts';
import { cloneGroup } from './group.ts';

/** `pgsluice clone`: one job, or one for each of several databases, watched to its end. */
export async function clone(context: Context, flags: CopyFlags & GroupFlags): Promise<number> {
  if (isGroup(flags)) return await cloneGroup(context, flags);
  const request = toJobRequest(flags, context.env, true);
  warnOfPassword(context, flags);
  const interrupts = new Interrupts();
  const client = await connectWatching(context, flags, interrupts, 'new work');
  try {
    const job = await client.create(request);
    return await watchToEnd({ context, client, job, after: 0, flags, interrupts });
  } finally {
    await client.close('The command ended.');
    interrupts.dispose();
  }
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
