import { InvalidArgumentError, Option, type Command } from 'commander';
import { type HookMoment, hookMoments, type JobRequestInput } from '../contract/options.ts';
import { parseHandOverCommand } from './live-options.ts';

type HookInput = NonNullable<NonNullable<JobRequestInput['options']>['hooks']>[number];

export interface HookFlags {
  readonly hook?: readonly HookInput[];
  readonly hookCommand?: readonly HookInput[];
}

export const hookFlags = ['--hook', '--hook-command'] as const;

export const hookHelp = `
Hooks: what is told or run at a moment of the job: ${hookMoments.join(', ')}.
One that fails after-validate or before-cutover stops what would come next; later ones warn.
  --hook completed=https://deploy.example.com/moved     # signed when PGSLUICE_HOOK_SECRET is set
  --hook-command completed='bin/app eval App.Release.migrate'
  --hook-command 'completed=["bin/app","eval","App.Release.migrate()"]'
`;

export function addHookOptions(command: Command): Command {
  return command
    .optionsGroup('Hooks (each may be repeated):')
    .addOption(new Option('--hook <moment=url>', 'send a POST there at that moment').argParser(collect(parseHook)))
    .addOption(
      new Option('--hook-command <moment=program>', 'run it at that moment; no shell reads it').argParser(
        collect(parseHookCommand),
      ),
    );
}

const collect =
  (parse: (text: string) => HookInput) =>
  (text: string, before: readonly HookInput[] | undefined): readonly HookInput[] => [...(before ?? []), parse(text)];

function split(text: string): { on: HookMoment; rest: string } {
  const equals = text.indexOf('=');
  const on = hookMoments.find((moment) => moment === text.slice(0, Math.max(0, equals)).trim());
  if (on === undefined) throw new InvalidArgumentError(`Write MOMENT=…; moments are ${hookMoments.join(', ')}.`);
  return { on, rest: text.slice(equals + 1).trim() };
}

/** `completed=https://…`; throws InvalidArgumentError. */
export function parseHook(text: string): HookInput {
  const { on, rest } = split(text);
  if (URL.canParse(rest) && /^https?:$/.test(new URL(rest).protocol)) return { on, webhook: rest };
  throw new InvalidArgumentError('Write an address like completed=https://deploy.example.com/moved.');
}

/** `completed=prog arg` or `completed=["prog","an arg"]`; throws InvalidArgumentError. */
export function parseHookCommand(text: string): HookInput {
  const { on, rest } = split(text);
  if (/^[[{]/.test(rest)) return { on, command: [...parseHandOverCommand(rest)] };
  // Words are told apart by spaces and by nothing else: what a shell would read has to be spelt out.
  if (rest === '' || /["'\\`$;|&<>*?~]/.test(rest)) {
    const how =
      'No shell reads it. Write words without quotes and signs, or a JSON array: \'["program", "an argument"]\'.';
    throw new InvalidArgumentError(how);
  }
  return { on, command: rest.split(/\s+/) };
}

/** What the flags say of hooks, in the order of their kinds. */
export function toHooks({ hook, hookCommand }: HookFlags): HookInput[] {
  return [...(hook ?? []), ...(hookCommand ?? [])];
}
