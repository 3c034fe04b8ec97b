import { rotateKey } from '../../jobs/rotate-key.ts';
import type { Context } from '../context.ts';
import { exitCodes } from '../exit.ts';
import { plural } from '../format.ts';

/** `pgsluice rotate-key`: the stored passwords are sealed with another key. */
export async function rotateStateKey(context: Context, flags: { readonly state?: string }): Promise<number> {
  const { env, output } = context;
  const { jobs, file, others } = await rotateKey({
    state: flags.state ?? env.state,
    secretKey: env.secretKey,
    newKey: env.newSecretKey,
  });
  const where =
    file === null
      ? 'From now on start every agent of this state with the new key in PGSLUICE_SECRET_KEY; the old one opens nothing any more.'
      : `The new key stands in ${file}.`;
  output.out(`The passwords of ${plural(jobs, 'job')} are sealed with a new key. ${where}\n`);
  for (const agent of others) output.out(`Start ${agent} again: it still has the old key.\n`);
  return exitCodes.done;
}
