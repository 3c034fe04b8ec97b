import { connectWatching } from '../connect.ts';
import type { Context } from '../context.ts';
import { type ExportFlags, toExportRequest } from '../export-options.ts';
import { Interrupts } from '../interrupts.ts';
import { watchToEnd } from '../watch.ts';
import { warnOfPassword } from './clone.ts';

/** `pgsluice export`: one job, watched to its end. */
export async function exportDatabase(context: Context, path: string, flags: ExportFlags): Promise<number> {
  const request = toExportRequest(path, flags, context.env);
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
