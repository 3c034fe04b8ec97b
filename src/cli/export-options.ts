import { resolve } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { JobOptions, type JobRequestInput } from '../contract/options.ts';
import {
  addFilters,
  checkedRequest,
  type CopyFlags,
  gentleOption,
  hideOptions,
  maxRateOption,
  missing,
  parseJobs,
  toJobOptions,
} from './endpoint-options.ts';
import type { EnvironmentSettings } from './settings.ts';

export interface ExportFlags extends CopyFlags {
  readonly compress?: string;
}

const parseCompression = (text: string): string => {
  const parsed = JobOptions.shape.compress.safeParse(text);
  if (parsed.success) return text;
  throw new InvalidArgumentError('Write zstd, gzip, lz4 or none, with a level if you want one: zstd:9.');
};

/** Decided when an archive is loaded: a command line of a clone becomes one of an export by one word. */
const loadingOnly = ['--no-owner', '--roles', '--map-role', '--extension-version', '--exclude-extension'];

export function addExportOptions(command: Command): Command {
  command
    .optionsGroup('Server:')
    .option('--source <url>', 'database to export (or PGSLUICE_SOURCE_URL, which keeps the password out of ps)');
  hideOptions(addFilters(command), loadingOnly)
    .optionsGroup('How it is exported:')
    .addOption(new Option('--table-jobs <n>', 'tables exported at once (default: 4)').argParser(parseJobs))
    .addOption(maxRateOption())
    .addOption(gentleOption())
    .addOption(
      new Option(
        '--compress <method[:level]>',
        'zstd, gzip, lz4 or none (default: zstd where pg_dump has it, else gzip)',
      ).argParser(parseCompression),
    )
    .addOption(
      new Option(
        '--verify <mode>',
        'what is measured on the source for later comparison: rows and checksums (full), rows (counts), nothing (none)',
      )
        .choices(['none', 'counts', 'full'])
        .default('full'),
    );
  return command;
}

/** Throws PgsluiceError SOURCE_MISSING, USAGE. A relative path is one of the directory in which the command runs. */
export function toExportRequest(path: string, flags: Partial<ExportFlags>, env: EnvironmentSettings): JobRequestInput {
  const source = flags.source ?? env.sourceUrl;
  if (source === null) throw missing('source');
  return checkedRequest(
    {
      ...(flags.name === undefined ? {} : { name: flags.name }),
      kind: 'export',
      source: { url: source },
      archive: { path: resolve(path) },
      options: { ...toJobOptions(flags), ...(flags.compress === undefined ? {} : { compress: flags.compress }) },
      start: true,
    },
    'export',
  );
}
