import type { CheckResult } from '../../contract/check.ts';
import { PgsluiceError } from '../../errors.ts';
import { type CheckFormat, checksAsCsv, checksAsMarkdown } from '../../jobs/checks-as-text.ts';
import type { JobClient } from '../client.ts';
import type { ConnectFlags } from '../connect.ts';
import type { Context } from '../context.ts';
import { checkLines } from '../event-lines.ts';
import { exitCodes } from '../exit.ts';
import { clean } from '../text.ts';
import { findJob } from './find-job.ts';
import { withClient } from './jobs.ts';

export interface ChecksFlags extends ConnectFlags {
  readonly run?: string;
  readonly accept?: string;
  readonly unaccept?: string;
  readonly by?: string;
  readonly note?: string;
  readonly format?: 'text' | CheckFormat;
}

/** Checks of a job: shown or exported; one made again, or accepted, before. Exit code 3 while one of those shown has failed. */
export function showChecks(context: Context, id: string | undefined, flags: ChecksFlags): Promise<number> {
  assertFlags(flags);
  return withClient(context, flags, async (client) => {
    const job = await findJob(client, id);
    const one = await change(client, job.id, flags);
    const checks = one === null ? await client.checks(job.id) : [one];
    context.output.out(print(checks, `Checks of ${clean(job.name)}`, flags.format ?? 'text', context));
    return checks.some((check) => check.outcome === 'failed') ? exitCodes.blocked : exitCodes.done;
  });
}

function assertFlags({ run, accept, unaccept, by, note }: ChecksFlags): void {
  const asked = [run, accept, unaccept].filter((flag) => flag !== undefined).length;
  const wrong =
    asked > 1
      ? 'Only one of --run, --accept and --unaccept can be given.'
      : accept !== undefined && (by ?? '').trim() === ''
        ? '--accept needs --by NAME: everybody sees who let a warning stand.'
        : accept === undefined && (by !== undefined || note !== undefined)
          ? '--by and --note belong to --accept.'
          : null;
  if (wrong === null) return;
  throw new PgsluiceError({ code: 'INVALID_OPTION', message: wrong, hint: 'See: pgsluice checks --help' });
}

async function change(client: JobClient, id: string, flags: ChecksFlags): Promise<CheckResult | null> {
  if (flags.run !== undefined) return await client.runCheck(id, flags.run);
  if (flags.unaccept !== undefined) return await client.unacceptCheck(id, flags.unaccept);
  if (flags.accept === undefined) return null;
  return await client.acceptCheck(id, flags.accept, { by: (flags.by ?? '').trim(), note: (flags.note ?? '').trim() });
}

function print(
  checks: readonly CheckResult[],
  title: string,
  format: 'text' | CheckFormat,
  { output }: Context,
): string {
  if (format === 'csv') return checksAsCsv(checks);
  if (format === 'md') return checksAsMarkdown(checks, title);
  if (format === 'json') return checks.map((check) => `${JSON.stringify(check)}\n`).join('');
  if (checks.length === 0) return 'There are no checks yet. Validate the job first.\n';
  return checks
    .flatMap((check) => [...checkLines(check, output.style), output.style.dim(`         ${check.id}`)])
    .map((line) => `${line}\n`)
    .join('');
}
