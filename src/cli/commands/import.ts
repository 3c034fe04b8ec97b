import { connectWatching } from '../connect.ts';
import type { Context } from '../context.ts';
import { type ImportFlags, toImportRequest } from '../import-options.ts';
import { Interrupts } from '../interrupts.ts';
import { watchToEnd } from '../watch.ts';
import { warnOfPassword } from './clone.ts';

/** `pgsluice import`: one job, watched to its end. */
export async function importArchive(context: Context, path: string, flags: ImportFlags): Promise<number> {
  const request = toImportRequest(path, flags, context.env);
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
