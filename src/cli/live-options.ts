import { InvalidArgumentError, Option, type Command } from 'commander';
import { z } from '@hono/zod-openapi';
import { cutoverModes, methods, type JobOptions, type JobRequestInput } from '../contract/options.ts';
import { parseSize } from './size.ts';

/** Options that matter only to a job that follows its source, as commander hands them over. */
export interface LiveFlags {
  readonly method: JobOptions['method'];
  readonly cutover?: 'auto' | 'manual';
  /** Seconds. */
  readonly cutoverTimeout?: number;
  /** Bytes. */
  readonly slotWarn?: number;
  readonly slotLimit?: number;
  readonly carrySchemaChanges?: true;
  readonly dropLeftovers?: true;
  readonly handOverCommand?: readonly string[];
  readonly handOverWebhook?: string;
}

type LiveOptions = Pick<
  NonNullable<JobRequestInput['options']>,
  | 'method'
  | 'cutover'
  | 'cutoverTimeout'
  | 'slotWarn'
  | 'slotLimit'
  | 'carrySchemaChanges'
  | 'dropLeftovers'
  | 'handOver'
>;

const defaultSlotWarn = 8 * 1024 ** 3;

export const liveHelp = `
Following (--method live): the source stays in use, its changes are followed, and the cutover takes seconds.
It begins by itself with --cutover auto; with --cutover manual when you type "cutover" here, or in another terminal:
  pgsluice cutover JOB
A hand-over command is one program, or a JSON array of the program and its arguments; no shell reads it:
  --hand-over-command /usr/local/bin/switch
  --hand-over-command '["/usr/local/bin/switch", "--to", "new"]'
`;

export const liveOnlyFlags = [
  '--cutover',
  '--cutover-timeout',
  '--slot-warn',
  '--slot-limit',
  '--carry-schema-changes',
  '--drop-leftovers',
  '--hand-over-command',
  '--hand-over-webhook',
] as const;

export function methodOption(): Option {
  return new Option('--method <method>', 'copy once, follow live, or auto: live where it can and --cutover is given')
    .choices(methods)
    .default('auto');
}

export function addLiveOptions(command: Command): Command {
  return command
    .optionsGroup('Following (live):')
    .addOption(
      new Option('--cutover <mode>', 'who starts the cutover: auto, as soon as all is calm, or manual').choices(
        cutoverModes,
      ),
    )
    .addOption(
      new Option(
        '--cutover-timeout <seconds>',
        'from refusing writes to the hand-over; after it all is undone (default: 60)',
      ).argParser(parseTimeout),
    )
    .addOption(
      new Option(
        '--slot-warn <size>',
        'warn when the source keeps that much WAL for the job (default: 8GiB)',
      ).argParser(parseBytes),
    )
    .addOption(
      new Option(
        '--slot-limit <size>',
        'give the slot up rather than make the source keep more (default: 64GiB)',
      ).argParser(parseBytes),
    )
    .option('--carry-schema-changes', 'carry new columns, dropped columns and new tables over while following')
    .option('--drop-leftovers', 'drop slots and publications that earlier jobs left on the source')
    .addOption(
      new Option(
        '--hand-over-command <program>',
        'run when the target has taken over (its URL: PGSLUICE_TARGET_URL)',
      ).argParser(parseHandOverCommand),
    )
    .addOption(
      new Option('--hand-over-webhook <url>', 'send a POST there when the target has taken over').argParser(
        parseWebhook,
      ),
    );
}

const parseTimeout = (text: string): number => {
  const seconds = /^\d+$/.test(text) ? Number(text) : 0;
  if (seconds < 1 || seconds > 3600) throw new InvalidArgumentError('It must be a whole number of seconds, 1 to 3600.');
  return seconds;
};

const parseBytes = (text: string): number => {
  const bytes = parseSize(text);
  if (bytes === null || bytes < 1) throw new InvalidArgumentError('Write a size like 500MB, 20GiB or 1.5TB.');
  return bytes;
};

const Words = z.array(z.string().min(1)).min(1);

/** `/bin/switch` or `["/bin/switch","--to","new"]` → program and arguments; throws InvalidArgumentError. */
export function parseHandOverCommand(text: string): readonly string[] {
  const trimmed = text.trim();
  if (!/^[[{]/.test(trimmed)) {
    if (trimmed !== '' && !/\s/.test(trimmed)) return [trimmed];
    throw new InvalidArgumentError(
      'Arguments go into a JSON array, because no shell reads it: \'["program", "first argument"]\'.',
    );
  }
  const words = Words.safeParse(parseJson(trimmed));
  if (words.success) return words.data;
  throw new InvalidArgumentError('It must be a JSON array of texts: \'["program", "first argument"]\'.');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The schema names what was expected.
    return null;
  }
}

const parseWebhook = (text: string): string => {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text;
  throw new InvalidArgumentError('Write an address like https://deploy.example.com/moved.');
};

/** Whoever lowers the limit below the usual warning wants to be warned before it, not told that both disagree. */
export function slotWarnFor(flags: Partial<LiveFlags>): number | null {
  if (flags.slotWarn !== undefined) return flags.slotWarn;
  if (flags.slotLimit === undefined || flags.slotLimit >= defaultSlotWarn) return null;
  return Math.max(1, Math.floor(flags.slotLimit / 2));
}

/** What the flags say of a live job; what they do not say is left to the contract's defaults. */
export function toLiveOptions(flags: Partial<LiveFlags>): LiveOptions {
  const slotWarn = slotWarnFor(flags);
  const { handOverCommand: command, handOverWebhook: webhook } = flags;
  return {
    ...(flags.method === undefined ? {} : { method: flags.method }),
    ...(flags.cutover === undefined ? {} : { cutover: flags.cutover }),
    ...(flags.cutoverTimeout === undefined ? {} : { cutoverTimeout: flags.cutoverTimeout }),
    ...(slotWarn === null ? {} : { slotWarn }),
    ...(flags.slotLimit === undefined ? {} : { slotLimit: flags.slotLimit }),
    ...(flags.carrySchemaChanges ? { carrySchemaChanges: true } : {}),
    ...(flags.dropLeftovers ? { dropLeftovers: true } : {}),
    ...(command === undefined && webhook === undefined
      ? {}
      : {
          handOver: {
            ...(command === undefined ? {} : { command: [...command] }),
            ...(webhook === undefined ? {} : { webhook }),
          },
        }),
  };
}
