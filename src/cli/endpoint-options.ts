import { InvalidArgumentError, Option, type Command } from 'commander';
import type { JobRequestInput } from '../contract/options.ts';
import { JobRequest, lowestRate } from '../contract/options.ts';
import { PgsluiceError } from '../errors.ts';
import { toHooks, type HookFlags } from './hook-options.ts';
import { methodOption, toLiveOptions, type LiveFlags } from './live-options.ts';
import type { EnvironmentSettings } from './settings.ts';
import { parseSize } from './size.ts';

/** Options of `validate`, `clone` and `verify` as commander hands them over. */
export interface CopyFlags extends LiveFlags, HookFlags {
  readonly source?: string;
  readonly target?: string;
  readonly name?: string;
  readonly tableJobs?: number;
  readonly indexJobs?: number;
  readonly splitAbove?: number;
  /** Bytes a second. */
  readonly maxRate?: number;
  readonly gentle?: true;
  readonly includeSchema: readonly string[];
  readonly excludeSchema: readonly string[];
  readonly includeTable: readonly string[];
  readonly excludeTable: readonly string[];
  readonly excludeTableData: readonly string[];
  /** commander turns `--no-owner` into `owner: false`. */
  readonly owner: boolean;
  readonly acl: boolean;
  readonly roles: 'none' | 'create';
  readonly mapRole: Readonly<Record<string, string>>;
  readonly createDatabase?: true;
  readonly allowDowngrade?: true;
  readonly extensionVersion?: 'source' | 'newest';
  readonly excludeExtension?: readonly string[];
  readonly schemaOnly?: true;
  readonly dataOnly?: true;
  readonly replace?: true;
  readonly verify: 'none' | 'counts' | 'full';
  readonly targetDisk?: number;
  readonly state?: string;
  readonly json?: true;
}

/** Of how much is done at once. */
export const parseJobs = (text: string): number => {
  const jobs = /^\d+$/.test(text) ? Number(text) : 0;
  if (jobs < 1 || jobs > 64) throw new InvalidArgumentError('It must be a whole number from 1 to 64.');
  return jobs;
};

const parseBytes = (text: string): number => {
  const bytes = parseSize(text);
  if (bytes === null) throw new InvalidArgumentError('Write a size like 500MB, 20GiB or 1.5TB.');
  return bytes;
};

const parseRate = (text: string): number => {
  const rate = parseBytes(text.replace(/\/s$/i, ''));
  if (rate < lowestRate) throw new InvalidArgumentError(`It must be at least ${lowestRate / 1024} KiB a second.`);
  return rate;
};

const collect = (value: string, before: readonly string[]): readonly string[] => {
  if (value === '') throw new InvalidArgumentError('It must not be empty.');
  return [...before, value];
};

/** `old=new`; a name that holds `=` itself is given by the API. */
const collectRole = (value: string, before: Readonly<Record<string, string>>): Readonly<Record<string, string>> => {
  const [, from, to] = /^([^=]+)=([^=]+)$/.exec(value) ?? [];
  if (from === undefined || to === undefined) throw new InvalidArgumentError('Write it as old=new.');
  if (Object.hasOwn(before, from)) throw new InvalidArgumentError(`The role ${from} is mapped twice.`);
  return { ...before, [from]: to };
};

export function addEndpoints(command: Command): Command {
  return command
    .optionsGroup('Servers:')
    .option('--source <url>', 'database to copy from (or PGSLUICE_SOURCE_URL, which keeps the password out of ps)')
    .option('--target <url>', 'database to copy into (or PGSLUICE_TARGET_URL)');
}

const globs = (flag: string, text: string, unset: string): Option =>
  new Option(`${flag} <glob>`, text).argParser(collect).default([], unset);

export function addFilters(command: Command): Command {
  return command
    .optionsGroup('What is copied (globs with * and ?, each option may be repeated):')
    .addOption(globs('--include-schema', 'only these schemas', 'all'))
    .addOption(globs('--exclude-schema', 'not these schemas', 'none'))
    .addOption(globs('--include-table', 'only these tables; "orders" in every schema, or "shop.orders"', 'all'))
    .addOption(globs('--exclude-table', 'not these tables', 'none'))
    .addOption(globs('--exclude-table-data', 'these tables without their rows', 'none'))
    .option('--schema-only', 'definitions without rows')
    .option('--data-only', 'rows into tables that exist already')
    .option('--no-owner', 'everything belongs to the user that connects to the target')
    .option('--no-acl', 'leave out GRANT and REVOKE')
    .addOption(
      new Option('--roles <mode>', 'create: make roles that the target lacks, with passwords where both sides allow it')
        .choices(['none', 'create'])
        .default('none'),
    )
    .addOption(
      new Option('--map-role <old=new>', 'what belongs or is granted to old on the source, to new on the target')
        .argParser(collectRole)
        .default({}, 'none'),
    )
    .addOption(
      new Option('--exclude-extension <glob>', 'leave these extensions out, with all that depends on them')
        .argParser(collect)
        .default([], 'none'),
    );
}

export function addCopyOptions(command: Command): Command {
  return command
    .optionsGroup('How it is copied:')
    .addOption(methodOption())
    .addOption(new Option('--table-jobs <n>', 'tables copied at once (default: 4)').argParser(parseJobs))
    .addOption(new Option('--index-jobs <n>', 'indexes built at once (default: 4)').argParser(parseJobs))
    .addOption(
      new Option('--split-above <size>', 'copy tables above this size in several ranges (method copy)').argParser(
        parseBytes,
      ),
    )
    .addOption(maxRateOption())
    .addOption(gentleOption())
    .addOption(extensionVersionOption())
    .option('--create-database', "make the target's database first where it does not exist, as the source's is")
    .option('--replace', 'the target is not empty: drop what is in it, after all checks have passed')
    .option('--allow-downgrade', 'the target may be of an older major than the source')
    .addOption(targetDiskOption());
}

export function extensionVersionOption(): Option {
  return new Option(
    '--extension-version <which>',
    "extensions as the source has them, or updated to the target's newest",
  )
    .choices(['source', 'newest'])
    .default('source');
}

export function targetDiskOption(): Option {
  return new Option(
    '--target-disk <size>',
    'free disk on the target, where the server cannot tell, e.g. 20GiB',
  ).argParser(parseBytes);
}

export function maxRateOption(): Option {
  return new Option(
    '--max-rate <size>',
    'take at most that much a second from the source, all tables together, e.g. 20MB',
  ).argParser(parseRate);
}

export function gentleOption(): Option {
  return new Option('--gentle', 'leave the source to its users: one reader, slower whenever the source is slower');
}

export function addVerifyMode(command: Command): Command {
  return command.addOption(
    new Option('--verify <mode>', 'compare rows and contents (full), row counts only (counts), or nothing (none)')
      .choices(['none', 'counts', 'full'])
      .default('full'),
  );
}

export function addComparison(command: Command): Command {
  return command
    .optionsGroup('How it is compared:')
    .addOption(
      new Option('--verify <mode>', 'rows and contents (full), or row counts only (counts)')
        .choices(['counts', 'full'])
        .default('full'),
    );
}

/**
 * A person turns the command line of a clone into one of validate or verify by one word: what matters only to copying is
 * accepted there, does nothing and is not shown.
 */
export function hideOptions(command: Command, names: readonly string[]): Command {
  for (const option of command.options) if (names.includes(option.long ?? '')) option.hideHelp();
  return command;
}

/** The options that the flags make; what they leave out is left to the defaults. */
export function toJobOptions(flags: Partial<CopyFlags>): NonNullable<JobRequestInput['options']> {
  return {
    ...toLiveOptions(flags),
    hooks: toHooks(flags),
    ...(flags.tableJobs === undefined ? {} : { tableJobs: flags.tableJobs }),
    ...(flags.indexJobs === undefined ? {} : { indexJobs: flags.indexJobs }),
    ...(flags.splitAbove === undefined ? {} : { splitAbove: flags.splitAbove }),
    ...(flags.maxRate === undefined ? {} : { maxRate: flags.maxRate }),
    ...(flags.gentle === undefined ? {} : { gentle: flags.gentle }),
    includeSchema: [...(flags.includeSchema ?? [])],
    excludeSchema: [...(flags.excludeSchema ?? [])],
    includeTable: [...(flags.includeTable ?? [])],
    excludeTable: [...(flags.excludeTable ?? [])],
    excludeTableData: [...(flags.excludeTableData ?? [])],
    noOwner: flags.owner === false,
    noAcl: flags.acl === false,
    ...(flags.roles === undefined ? {} : { roles: flags.roles }),
    ...(flags.mapRole === undefined ? {} : { mapRole: { ...flags.mapRole } }),
    createDatabase: flags.createDatabase ?? false,
    allowDowngrade: flags.allowDowngrade ?? false,
    ...(flags.extensionVersion === undefined ? {} : { extensionVersion: flags.extensionVersion }),
    excludeExtension: [...(flags.excludeExtension ?? [])],
    schemaOnly: flags.schemaOnly ?? false,
    dataOnly: flags.dataOnly ?? false,
    replace: flags.replace ?? false,
    ...(flags.verify === undefined ? {} : { verify: flags.verify }),
    ...(flags.targetDisk === undefined ? {} : { targetDisk: flags.targetDisk }),
  };
}

/** The request that the flags and the environment make. Throws PgsluiceError SOURCE_MISSING, TARGET_MISSING, USAGE. */
export function toJobRequest(flags: Partial<CopyFlags>, env: EnvironmentSettings, start: boolean): JobRequestInput {
  const source = flags.source ?? env.sourceUrl;
  const target = flags.target ?? env.targetUrl;
  if (source === null) throw missing('source');
  if (target === null) throw missing('target');
  return checkedRequest(
    {
      ...(flags.name === undefined ? {} : { name: flags.name }),
      source: { url: source },
      target: { url: target },
      options: toJobOptions(flags),
      start,
    },
    'clone',
  );
}

/** The request as it is, where it is one. @throws PgsluiceError USAGE, which names what is wrong and the command whose help says more. */
export function checkedRequest(request: JobRequestInput, command: string): JobRequestInput {
  const parsed = JobRequest.safeParse(request);
  if (parsed.success) return request;
  throw new PgsluiceError({
    code: 'USAGE',
    message: parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '),
    hint: `See pgsluice ${command} --help.`,
  });
}

/** Of the error where a server is named by no flag and no variable. */
export function missing(side: 'source' | 'target'): PgsluiceError {
  const variable = `PGSLUICE_${side.toUpperCase()}_URL`;
  return new PgsluiceError({
    code: side === 'source' ? 'SOURCE_MISSING' : 'TARGET_MISSING',
    message: `No ${side} database is named.`,
    hint: `Give --${side} postgres://user@host:5432/database, or: export ${variable}='postgres://user:password@host:5432/database'`,
  });
}

/** True when a password stands in the arguments, where every user of the machine can read it. */
export function passwordInArguments(flags: Partial<CopyFlags>): boolean {
  return [flags.source, flags.target].some(
    (url) => url !== undefined && /^[a-z]+:\/\/[^/?#@]*:[^/?#@]+@|[?&]password=./i.test(url),
  );
}
