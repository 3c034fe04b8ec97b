import type { JobOptions } from '../contract/options.ts';
import { PgsluiceError } from '../errors.ts';

/**
 * A job that runs a program of this machine is refused by an agent that was not started for it, before anything is done.
 * @throws PgsluiceError COMMANDS_NOT_ALLOWED.
 */
export function assertCommandAllowed(options: Pick<JobOptions, 'handOver'>, allowed: boolean): void {
  if (allowed || options.handOver?.command === undefined) return;
  throw new PgsluiceError({
    code: 'COMMANDS_NOT_ALLOWED',
    message: 'This agent runs no commands for its jobs, so options.handOver.command is refused.',
    hint: 'Use options.handOver.webhook, or start the agent with: pgsluice serve --allow-commands',
  });
}
