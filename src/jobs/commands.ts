import type { JobOptions } from '../contract/options.ts';
import { PgsluiceError } from '../errors.ts';

/**
 * A job that runs a program of this machine is refused by an agent that was not started for it, before anything is done.
 * @throws PgsluiceError COMMANDS_NOT_ALLOWED.
 */
export function assertCommandAllowed(options: Pick<JobOptions, 'handOver' | 'hooks'>, allowed: boolean): void {
  if (allowed) return;
  const hook = options.hooks.findIndex(({ command }) => command !== undefined);
  const place = options.handOver?.command === undefined ? `hooks[${hook}]` : 'handOver';
  if (place === 'hooks[-1]') return;
  throw new PgsluiceError({
    code: 'COMMANDS_NOT_ALLOWED',
    message: `This agent runs no commands for its jobs, so options.${place}.command is refused.`,
    hint: `Use options.${place}.webhook, or start the agent with: pgsluice serve --allow-commands`,
  });
}
