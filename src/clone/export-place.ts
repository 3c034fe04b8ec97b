import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, open, readdir, rename, rm, rmdir, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PgsluiceError } from '../errors.ts';

/** Where an export's files grow: beside the archive, so that one rename finishes it. */
export function partialRoot(archive: string, job: string): string {
  return `${archive}.part-${job}`;
}

const REMOVE_ATTEMPTS = 5;

/**
 * Removes what a run of this job has left behind; nothing when there is nothing. A program of an earlier run that has not noticed
 * its end yet may still add files, hence the repetition.
 */
export async function removePartial(archive: string, job: string): Promise<void> {
  const root = partialRoot(archive, job);
  for (let attempt = 1; ; attempt += 1) {
    try {
      await rm(root, { recursive: true, force: true });
      return;
    } catch (error) {
      if (attempt >= REMOVE_ATTEMPTS) throw error;
      await sleep(100 * attempt);
    }
  }
}

/**
 * Makes the directory for one run, empty of what earlier runs have left, and answers the path in it that pg_dump is to make: of
 * this run alone, so that no forgotten program of an earlier one writes into it.
 * @throws PgsluiceError ARCHIVE_PLACE_UNUSABLE.
 */
export async function preparePartial(archive: string, job: string): Promise<string> {
  try {
    await removePartial(archive, job);
    const root = partialRoot(archive, job);
    await mkdir(root, { mode: 0o700 });
    return join(root, randomBytes(4).toString('hex'));
  } catch (error) {
    throw unusable(archive, error);
  }
}

export function unusable(archive: string, cause: unknown): PgsluiceError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new PgsluiceError({
    code: 'ARCHIVE_PLACE_UNUSABLE',
    message: `The archive cannot be written below ${dirname(archive)}: ${why}`,
    hint: 'Name a path whose parent directory exists and may be written by the user that runs pgsluice.',
    cause,
  });
}

function exists(archive: string, cause?: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'ARCHIVE_EXISTS',
    message: `There is something at ${archive} already; nothing is overwritten.`,
    hint: 'Name another path, or move away what is there.',
    cause,
  });
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Every file below `dir`, relative to it, sorted. */
export async function listFiles(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1))
    .toSorted();
}

/** Only this user may read the files. */
export async function closeToOthers(dir: string): Promise<void> {
  for (const file of await listFiles(dir)) await chmod(join(dir, file), 0o600);
  await chmod(dir, 0o700);
}

/** Writes a file of which after a power failure all is there or nothing but its name. */
export async function writeSynced(path: string, text: string): Promise<void> {
  const handle = await open(path, 'wx', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Makes a whole archive out of what `partial` holds: all is on disk, then it gets its name at once.
 * @throws PgsluiceError ARCHIVE_EXISTS when something stands there by now.
 */
export async function publish(partial: string, archive: string): Promise<void> {
  for (const file of await listFiles(partial)) await sync(join(partial, file));
  await sync(partial);
  // An empty directory would be replaced without a word.
  const there = await lstat(archive).catch(() => null);
  if (there !== null) throw exists(archive);
  try {
    await rename(partial, archive);
  } catch (error) {
    const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : null;
    throw code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOTDIR'
      ? exists(archive, error)
      : unusable(archive, error);
  }
  await sync(dirname(archive));
  await rmdir(dirname(partial));
}

const MOST_RESERVED = 256 * 1024 * 1024;
const RESERVED_SHARE = 0.05;

/** Bytes that an export leaves free on a file system of this size: whoever else writes there goes on. Pure. */
export function reservedBytes(totalBytes: number): number {
  return Math.min(MOST_RESERVED, Math.floor(totalBytes * RESERVED_SHARE));
}

export interface Disk {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** Of the file system that `path` is on, as far as this user may fill it. */
export async function readDisk(path: string): Promise<Disk> {
  const { bsize, blocks, bavail } = await statfs(path);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}

export function diskFull(archive: string, free: number | null, cause?: unknown): PgsluiceError {
  const left = free === null ? '' : `; ${Math.floor(free / 1024 / 1024).toLocaleString('en-US')} MiB are left there`;
  return new PgsluiceError({
    code: 'DISK_FULL',
    message: `The disk below ${dirname(archive)} is full${left}, so the export was stopped and what it had written is removed.`,
    hint: 'Free some disk or name a path on a larger one, then retry the job. --compress zstd:19 makes a smaller archive, --exclude-table-data leaves rows out.',
    retryable: true,
    cause,
  });
}

/** True for the words of a program that found no room on the disk. Pure. */
export function saysDiskFull(text: string): boolean {
  return /No space left on device|Disk quota exceeded|ENOSPC|EDQUOT/.test(text);
}

const LOOK_EVERY_MS = 200;

/**
 * Looks at the free disk until it is stopped; `onFull` is called once, before the disk is full, with the bytes that are free.
 * @returns a function that ends the watch.
 */
export function watchDisk(dir: string, onFull: (freeBytes: number) => void): () => void {
  const stop = new AbortController();
  const watch = async (): Promise<void> => {
    for (;;) {
      const { freeBytes, totalBytes } = await readDisk(dir);
      if (stop.signal.aborted) return;
      if (freeBytes < reservedBytes(totalBytes)) return onFull(freeBytes);
      await sleep(LOOK_EVERY_MS, undefined, { signal: stop.signal, ref: false });
    }
  };
  // It ends by being stopped, or because the disk cannot be asked: then it cannot be written either, and whoever writes says so.
  void watch().catch(() => undefined);
  return () => stop.abort();
}
