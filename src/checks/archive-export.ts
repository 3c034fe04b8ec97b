import { access, constants, lstat, stat, statfs } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { failed, passed, skipped, warned } from './check.ts';
import type { Verdict } from './check.ts';
import { readSourceSize } from './size.ts';
import type { SourceSize } from './size.ts';
import type { ArchiveCheck } from './validate-one.ts';
import { formatBytes } from './words.ts';

/** What stands at the place of an archive that is to be made. */
export interface Place {
  readonly path: string;
  /** Something is there already. */
  readonly taken: boolean;
  /** null: usable; else the system's words why its parent is not. */
  readonly obstacle: string | null;
}

export function judgePlace({ path, taken, obstacle }: Place): Verdict {
  if (taken) {
    return failed(
      'ARCHIVE_EXISTS',
      `There is something at ${path} already; nothing is overwritten.`,
      `Name another path, or move it away: mv '${path}' '${path}.old'`,
    );
  }
  if (obstacle !== null) {
    return failed(
      'ARCHIVE_PLACE_UNUSABLE',
      `${basename(path)} cannot be made in ${dirname(path)}: ${obstacle}.`,
      `mkdir -p '${dirname(path)}' # as the user that runs pgsluice, or name another path`,
    );
  }
  return passed(`${path} does not exist yet and can be made.`);
}

async function obstacleOf(parent: string): Promise<string | null> {
  try {
    if (!(await stat(parent)).isDirectory()) return 'it is no directory';
    await access(parent, constants.W_OK | constants.X_OK);
    return null;
  } catch (error) {
    const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : null;
    if (code === 'ENOENT') return 'it does not exist';
    if (code === 'EACCES' || code === 'EROFS') return 'it may not be written';
    return error instanceof Error ? error.message : String(error);
  }
}

async function readPlaceOf(path: string): Promise<Place> {
  const there = await lstat(path).catch(() => null);
  return { path, taken: there !== null, obstacle: await obstacleOf(dirname(path)) };
}

/** Bytes of rows and large objects as the source stores them: an archive holds no indexes. Pure. */
export function contentBytes(size: SourceSize): number {
  return size.relations.reduce((sum, r) => sum + r.tableBytes * (1 - r.dead), size.largeObjectBytes);
}

/** Of the source's bytes; what a server stores is seldom compressed, and what is compressed by it cannot be made smaller. */
const LEAST_SHARE = 0.1;
const SAFE_SHARE = 1;

/** How much an archive shrinks is known only when it is made, so it is refused only where nothing could make it fit. Pure. */
export function judgeArchiveDisk(need: { readonly contentBytes: number; readonly freeBytes: number }): Verdict {
  const words = `The source's rows and large objects take ${formatBytes(need.contentBytes)} there; ${formatBytes(need.freeBytes)} are free on the archive's disk`;
  const remedy = 'Free some disk or name a path on a larger one; --exclude-table-data leaves rows out.';
  if (need.freeBytes < need.contentBytes * LEAST_SHARE) return failed('DISK_FULL', `${words}.`, remedy);
  if (need.freeBytes < need.contentBytes * SAFE_SHARE) {
    return warned(
      `${words}, which may not suffice even for the compressed archive. The export stops before the disk is full.`,
      remedy,
    );
  }
  return passed(`${words}.`);
}

/** The checks of the place where an export puts its archive. */
export function exportChecks(path: string): readonly ArchiveCheck[] {
  return [
    {
      id: 'archive.place',
      severity: 'blocks',
      title: 'The archive can be made at its place, where nothing is yet.',
      run: async () => judgePlace(await readPlaceOf(path)),
    },
    {
      id: 'archive.disk',
      severity: 'blocks',
      title: "The archive's disk has room for it.",
      run: async (source, { options }) => {
        if (source === null) return skipped('The source was not reached.');
        const obstacle = await obstacleOf(dirname(path));
        if (obstacle !== null) return skipped(`${dirname(path)} cannot be used: ${obstacle}.`);
        const { bavail, bsize } = await statfs(dirname(path));
        const size = contentBytes(await readSourceSize(source, options));
        return judgeArchiveDisk({ contentBytes: size, freeBytes: bavail * bsize });
      },
    },
  ];
}
