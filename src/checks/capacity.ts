import { qualified } from '../postgres/quote.ts';
import { failed, informed, passed, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import type { Database } from './database.ts';
import { freeDiskOf } from './disk.ts';
import { targetEmpty } from './empty.ts';
import { longTransactions } from './long-transactions.ts';
import { packedBytes, readSourceSize } from './size.ts';
import type { RelationSize, SourceSize } from './size.ts';
import { count, formatBytes } from './words.ts';
import type { JobOptions } from '../contract/options.ts';

const bytes = (r: RelationSize): number => r.tableBytes + r.indexBytes;

/** Bytes the rows, indexes and large objects will take on the target, dead rows and empty pages left behind. */
export function estimateTargetBytes(size: SourceSize): number {
  return size.relations.map(packedBytes).reduce((sum, r) => sum + r.table + r.index, size.largeObjectBytes);
}

const sourceBytes = (size: SourceSize): number =>
  size.relations.reduce((sum, r) => sum + bytes(r), size.largeObjectBytes);

const LARGEST_NAMED = 5;

export function judgeSourceSize(size: SourceSize): Verdict {
  const total = sourceBytes(size);
  const largest = size.relations
    .filter((r) => bytes(r) > 0)
    .toSorted((a, b) => bytes(b) - bytes(a))
    .slice(0, LARGEST_NAMED)
    .map((r) => `${qualified(r.schema, r.name)} ${formatBytes(bytes(r))}`);
  const large = size.largeObjectBytes > 65_536 ? `, large objects ${formatBytes(size.largeObjectBytes)}` : '';
  const first = largest.length === 0 ? '' : ` The largest: ${largest.join(', ')}.`;
  return informed(
    `${formatBytes(total)} on the source's disk in ${count(size.relations.length, 'table')} with their indexes${large}.${first}`,
  );
}

const sourceSize: Check = {
  id: 'capacity.source-size',
  severity: 'informs',
  title: 'How much is moved.',
  needs: 'source',
  run: async (source, { options }) => judgeSourceSize(await readSourceSize(source, options)),
};

/** WAL that stands beside the data for a while: a share of what is written, at most about what the server keeps. */
const WAL_SHARE = 0.3;
const COMFORT = 1.25;
/** Below this share of the source, what a copy leaves behind is not worth a word. */
const BLOAT_SHARE = 0.2;

export interface DiskNeed {
  /** What the source takes for what is moved. */
  readonly sourceBytes: number;
  readonly dataBytes: number;
  /** max_wal_size of the target in bytes. */
  readonly maxWalBytes: number;
  /** Free on the target's disk; null when unknown. */
  readonly free: { readonly bytes: number; readonly how: 'declared' | 'read' } | null;
}

/** Pure. */
export function judgeTargetDisk(need: DiskNeed): Verdict {
  const wal = Math.min(need.dataBytes * WAL_SHARE, need.maxWalBytes);
  const total = need.dataBytes + wal;
  const loose = need.sourceBytes - need.dataBytes;
  const bloat =
    loose > need.sourceBytes * BLOAT_SHARE ? ` (${formatBytes(loose)} on the source are room that nothing is in)` : '';
  const words = `About ${formatBytes(total)} is needed on the target: ${formatBytes(need.dataBytes)} of tables and indexes${bloat}, ${formatBytes(wal)} of WAL meanwhile`;
  if (need.free === null) {
    return informed(
      `${words}. What is free there is unknown: a server does not tell its free disk space.`,
      `--target-disk SIZE, with what your provider shows as free; ${Math.ceil((total * COMFORT) / 2 ** 30)} GiB would do`,
    );
  }
  const { bytes: freeBytes, how } = need.free;
  const free = `${formatBytes(freeBytes)} ${how === 'declared' ? 'was declared as free' : 'is free on the disk of its data directory'}`;
  const remedy = `Give the target at least ${formatBytes(total * COMFORT)} of free disk, or leave tables out (--exclude-table-data).`;
  if (freeBytes < total) return failed('TARGET_DISK_TOO_SMALL', `${words}; ${free}.`, remedy);
  if (freeBytes < total * COMFORT) return warned(`${words}; ${free}, which is tight.`, remedy);
  return passed(`${words}; ${free}.`);
}

const MAX_WAL = `SELECT pg_size_bytes(current_setting('max_wal_size'))::float8 AS bytes`;

/** Bytes. */
export async function readMaxWal(target: Database): Promise<number> {
  return (await target.one<{ bytes: number }>(MAX_WAL)).bytes;
}

/** Free bytes of the target's disk: as the job declares them, else as they can be read; null where neither says. */
export async function readFree(
  target: Database,
  { targetDisk: declared }: Pick<JobOptions, 'targetDisk'>,
): Promise<Parameters<typeof judgeTargetDisk>[0]['free']> {
  if (declared !== null) return { bytes: declared, how: 'declared' };
  const read = await freeDiskOf(target.session);
  return read === null ? null : { bytes: read, how: 'read' };
}

const targetDisk: Check = {
  id: 'capacity.target-disk',
  severity: 'blocks',
  title: "The target's disk has room for the data, its indexes and the WAL of the copy.",
  needs: 'both',
  side: 'target',
  run: async (source, target, { options }) => {
    const size = await readSourceSize(source, options);
    return judgeTargetDisk({
      sourceBytes: sourceBytes(size),
      dataBytes: estimateTargetBytes(size),
      free: await readFree(target, options),
      maxWalBytes: await readMaxWal(target),
    });
  },
};

export const capacityChecks: readonly Check[] = [sourceSize, targetDisk, targetEmpty, longTransactions];
