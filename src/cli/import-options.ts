import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import type { JobRequestInput } from '../contract/options.ts';
import {
  addFilters,
  addVerifyMode,
  checkedRequest,
  extensionVersionOption,
  type CopyFlags,
  missing,
  parseJobs,
  targetDiskOption,
  toJobOptions,
} from './endpoint-options.ts';
import type { EnvironmentSettings } from './settings.ts';

export type ImportFlags = CopyFlags;

export function addImportOptions(command: Command): Command {
  command
    .optionsGroup('Server:')
    .option('--target <url>', 'database to import into (or PGSLUICE_TARGET_URL, which keeps the password out of ps)');
  addFilters(command)
    .optionsGroup('How it is imported:')
    .addOption(new Option('--table-jobs <n>', 'tables loaded at once (default: 4)').argParser(parseJobs))
    .addOption(new Option('--index-jobs <n>', 'indexes built at once (default: 4)').argParser(parseJobs))
    .addOption(extensionVersionOption())
    .option('--create-database', "make the target's database first where it does not exist, as the archive's was")
    .option('--replace', 'the target is not empty: drop what is in it, after all checks have passed')
    .option('--allow-downgrade', 'the target may be of an older major than the server that was dumped')
    .addOption(targetDiskOption());
  return addVerifyMode(command);
}

/** Throws PgsluiceError TARGET_MISSING, USAGE. A relative path is one of the directory in which the command runs. */
export function toImportRequest(path: string, flags: Partial<ImportFlags>, env: EnvironmentSettings): JobRequestInput {
  const target = flags.target ?? env.targetUrl;
  if (target === null) throw missing('target');
  return checkedRequest(
    {
      ...(flags.name === undefined ? {} : { name: flags.name }),
      kind: 'import',
      target: { url: target },
      archive: { path: resolve(path) },
      options: toJobOptions(flags),
      start: true,
    },
    'import',
  );
}
