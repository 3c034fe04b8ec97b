import type { CheckResult } from '../../contract/check.ts';
import { connectWatching } from '../connect.ts';
import type { Context } from '../context.ts';
import { toJobRequest, type CopyFlags } from '../endpoint-options.ts';
import { exitCodes } from '../exit.ts';
import { follow } from '../follow.ts';
import { plural } from '../format.ts';
import { Interrupts } from '../interrupts.ts';
import { errorLines, resultOf } from '../report-result.ts';
import type { Style } from '../style.ts';
import { clean } from '../text.ts';
import { createViewer } from '../view.ts';
import { isGroup, type GroupFlags } from '../group-options.ts';
import { warnOfPassword } from './clone.ts';
import { validateGroup } from './group.ts';

/** `pgsluice validate`: a job that only checks, and is forgotten afterwards. */
export async function validate(context: Context, flags: Partial<CopyFlags> & GroupFlags): Promise<number> {
  if (isGroup(flags)) return await validateGroup(context, flags);
  const { output } = context;
  const request = toJobRequest(flags, context.env, false);
  warnOfPassword(context, flags);
  const json = flags.json === true;
  const interrupts = new Interrupts();
  const client = await connectWatching(context, flags, interrupts, 'new work');
  try {
    const job = await client.create(request);
    const viewer = createViewer(output, { json, title: clean(job.name), checks: 'all' });
    try {
      await client.act(job.id, 'validate');
      const followed = await follow({ client, job, after: 0, until: 'validated', viewer, interrupts });
      const result = resultOf(followed);
      const checks = await client.checks(job.id);
      viewer.close();
      if (json) output.out(`${JSON.stringify(result)}\n`);
      else output.out(verdict(followed.job.state, checks, output.style));
      if (!json && result.status === 'failed') {
        output.err(
          errorLines(result.error, output.errStyle)
            .map((line) => `${line}\n`)
            .join(''),
        );
      }
      if (result.status === 'completed') return exitCodes.done;
      if (result.status === 'blocked') return exitCodes.blocked;
      return result.status === 'cancelled' ? exitCodes.cancelled : exitCodes.failed;
    } finally {
      viewer.close();
      await client.remove(job.id);
    }
  } finally {
    await client.close('The command ended.');
    interrupts.dispose();
  }
}

export function verdict(state: string, checks: readonly CheckResult[], style: Style): string {
  const count = (outcome: CheckResult['outcome']): number => checks.filter((check) => check.outcome === outcome).length;
  const notes = count('warned') > 0 ? `, ${count('warned')} to note` : '';
  const counted = `${plural(checks.length, 'check')}, ${count('failed')} failed${notes}`;
  if (state === 'ready') return `${style.green('✓ Ready to clone')}: ${counted}. Nothing was changed on either side.\n`;
  if (state === 'blocked') return `${style.red('✗ Blocked')}: ${counted}. Nothing was changed on either side.\n`;
  return `Validation was ${state === 'cancelled' ? 'cancelled' : 'not finished'}: ${counted}.\n`;
}
