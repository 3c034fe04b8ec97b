import { setTimeout as sleep } from 'node:timers/promises';
import type { LogLevel } from '../contract/event.ts';
import type { JobOptions } from '../contract/options.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { DiskReading, JobRooms } from './rooms.ts';

/** How the target's disk stands: quiet, a quarter left, a tenth left, or more taken than was declared as free. */
export type DiskLevel = 'quiet' | 'low' | 'nearly full' | 'overdrawn';

const grave: readonly DiskLevel[] = ['quiet', 'low', 'nearly full', 'overdrawn'];
const LOW = 0.25;
const NEARLY_FULL = 0.1;

/** `used`: bytes that the database has grown by; `left`: bytes that are free, below 0 where more was taken than declared. Pure. */
export function judgeGrowth(used: number, left: number): DiskLevel {
  if (left < 0) return 'overdrawn';
  const share = left / Math.max(1, used + left);
  if (share < NEARLY_FULL) return 'nearly full';
  return share < LOW ? 'low' : 'quiet';
}

const mebibytes = (bytes: number): string => `${Math.max(0, Math.round(bytes / 2 ** 20)).toLocaleString('en-US')} MiB`;

/** What the log says of a level. Pure. */
export function growthWords(level: DiskLevel, used: number, left: number): { level: LogLevel; message: string } {
  const grown = `The target's database has grown by ${mebibytes(used)}`;
  if (level === 'overdrawn')
    return {
      level: 'error',
      message: `${grown}, ${mebibytes(-left)} more than was declared as free (--target-disk). Look at the disk of the target now: pause the job and enlarge it before it is full.`,
    };
  return {
    level: level === 'low' ? 'warn' : 'error',
    message: `${grown}, and ${mebibytes(left)} of its disk are left. Enlarge it, or pause the job before it is full.`,
  };
}

export interface DiskWatchInput {
  readonly target: ConnectionSettings;
  readonly options: Pick<JobOptions, 'targetDisk'>;
  readonly rooms: Pick<JobRooms, 'readDisk'>;
  readonly signal: AbortSignal;
  /** A look takes a connection for a moment: without one to spare nothing is watched. */
  readonly spare: boolean;
  log(level: LogLevel, message: string): void;
  /** ms between two looks; 15,000 when left out. */
  readonly everyMs?: number;
}

const EVERY_MS = 15_000;

/**
 * Does `work` while the growth of the target's database is held against the disk that is known: read where the server stands on
 * this machine, else as declared. Tells each level once, in the log. Where nothing is known, nothing is asked.
 * A look that fails is left out: the work itself tells what is wrong with the target.
 */
export async function whileDiskIsWatched<T>(input: DiskWatchInput, work: () => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const signal = AbortSignal.any([input.signal, stop.signal]);
  const watching = input.spare ? watch(input, signal) : Promise.resolve();
  try {
    return await work();
  } finally {
    stop.abort();
    await watching;
  }
}

async function watch(input: DiskWatchInput, signal: AbortSignal): Promise<void> {
  const first = await look(input, signal);
  if (first === null || (first.freeBytes === null && input.options.targetDisk === null)) return;
  let told: DiskLevel = 'quiet';
  for (;;) {
    try {
      await sleep(input.everyMs ?? EVERY_MS, undefined, { signal });
    } catch {
      // The work is over.
      return;
    }
    const now = await look(input, signal);
    if (now === null) continue;
    const used = Math.max(0, now.databaseBytes - first.databaseBytes);
    const left = now.freeBytes ?? (input.options.targetDisk ?? 0) - used;
    const level = judgeGrowth(used, left);
    if (grave.indexOf(level) <= grave.indexOf(told)) continue;
    told = level;
    const words = growthWords(level, used, left);
    input.log(words.level, words.message);
  }
}

async function look(input: DiskWatchInput, signal: AbortSignal): Promise<DiskReading | null> {
  if (signal.aborted) return null;
  try {
    return await input.rooms.readDisk(input.target, signal);
  } catch (error) {
    if (!signal.aborted)
      input.log(
        'debug',
        `The target's size could not be read: ${error instanceof Error ? error.message : String(error)}`,
      );
    return null;
  }
}
