import { type Command, InvalidArgumentError, Option } from 'commander';
import { defaultRetention, type Retention } from '../jobs/retention.ts';
import { parseSize } from './size.ts';

/** How long `serve` keeps the logs of jobs. */
export interface KeepFlags {
  readonly keepDays?: number;
  /** Bytes. */
  readonly keepSize?: number;
}

const parseDays = (text: string): number => {
  const days = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (days < 1 || days > 36_500) throw new InvalidArgumentError('It must be a whole number of days, 1 to 36500.');
  return days;
};

const parseKept = (text: string): number => {
  const bytes = parseSize(text);
  if (bytes === null || bytes < 1e6) throw new InvalidArgumentError('Write a size from 1MB on, like 500MB or 20GiB.');
  return bytes;
};

export function addKeepOptions(command: Command): Command {
  const { maxAgeDays, maxBytes } = defaultRetention;
  return command
    .addOption(
      new Option(
        '--keep-days <n>',
        `days after which the log of a job that is over is pruned; its report stays (default: ${maxAgeDays})`,
      ).argParser(parseDays),
    )
    .addOption(
      new Option(
        '--keep-size <size>',
        `room for the logs of all jobs; those that ended first are pruned first (default: ${maxBytes / 1e9}GB)`,
      ).argParser(parseKept),
    );
}

/** What was asked for. Pure. */
export function retentionOf({ keepDays, keepSize }: KeepFlags): Partial<Retention> {
  return {
    ...(keepDays === undefined ? {} : { maxAgeDays: keepDays }),
    ...(keepSize === undefined ? {} : { maxBytes: keepSize }),
  };
}
