import { InvalidArgumentError, Option, type Command } from 'commander';
import { GroupRequest, type GroupRequestInput } from '../contract/group.ts';
import { PgsluiceError } from '../errors.ts';
import { toJobRequest, type CopyFlags } from './endpoint-options.ts';
import type { EnvironmentSettings } from './settings.ts';

/** Options that turn one job into one for each of several databases. */
export interface GroupFlags {
  readonly databases?: readonly string[];
  readonly allDatabases?: true;
}

/**
 * `a,b,c`; a name that holds a comma, or begins or ends with a space, stands in double quotes, with `""` for one of them.
 * Throws InvalidArgumentError.
 */
export function parseDatabases(text: string, before: readonly string[] = []): readonly string[] {
  const names: string[] = [];
  const one = /\s*(?:"((?:[^"]|"")*)"|([^",][^,]*))\s*(,|$)/y;
  for (let at = 0; at <= text.length; at = one.lastIndex) {
    one.lastIndex = at;
    const match = one.exec(text);
    const name = match?.[1]?.replaceAll('""', '"') ?? match?.[2]?.trim() ?? '';
    if (match === null || name === '') {
      throw new InvalidArgumentError('Write names like shop,billing; one with a comma in it as "a,b".');
    }
    names.push(name);
    if (match[3] === '') break;
  }
  return [...before, ...names];
}

export function addGroupOptions(command: Command): Command {
  return command
    .optionsGroup('Several databases of the two servers (those in the URLs are then only where the lists are read):')
    .addOption(
      new Option('--databases <names>', 'one job for each of these, divided by commas; may be repeated').argParser(
        (text: string, before: readonly string[] | undefined) => parseDatabases(text, before),
      ),
    )
    .addOption(
      new Option('--all-databases', 'one job for each database that can be connected to').conflicts('databases'),
    );
}

export function isGroup(flags: GroupFlags): boolean {
  return flags.databases !== undefined || flags.allDatabases === true;
}

/** The request that the flags and the environment make. Throws as toJobRequest does. */
export function toGroupRequest(
  flags: Partial<CopyFlags> & GroupFlags,
  env: EnvironmentSettings,
  start: boolean,
): GroupRequestInput {
  const { name, source, target, options } = toJobRequest(flags, env, start);
  const request = {
    ...(name === undefined ? {} : { name }),
    source: source ?? {},
    target: target ?? {},
    databases: flags.allDatabases === true ? ('all' as const) : [...(flags.databases ?? [])],
    options: options ?? {},
    start,
  };
  const parsed = GroupRequest.safeParse(request);
  if (parsed.success) return request;
  throw new PgsluiceError({
    code: 'USAGE',
    message: parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '),
    hint: 'See pgsluice clone --help.',
  });
}
