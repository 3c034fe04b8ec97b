/** `pg_current_snapshot()` with its 64-bit transaction ids (PostgreSQL documentation, 9.27.12). */
export interface Snapshot {
  /** Everything below it is visible or rolled back. */
  readonly xmin: bigint;
  /** Nothing from it on is visible. */
  readonly xmax: bigint;
  /** In progress when it was taken. */
  readonly inProgress: ReadonlySet<bigint>;
}

const EPOCH = 1n << 32n;

/** Reads `xmin:xmax:xip,…`. @throws RangeError for text that is no pg_snapshot. */
export function parseSnapshot(text: string): Snapshot {
  const match = /^(\d+):(\d+):((?:\d+(?:,\d+)*)?)$/.exec(text);
  if (match?.[1] === undefined || match[2] === undefined) throw new RangeError(`${text} is no snapshot`);
  const list = match[3] ?? '';
  return {
    xmin: BigInt(match[1]),
    xmax: BigInt(match[2]),
    inProgress: new Set(list === '' ? [] : list.split(',').map(BigInt)),
  };
}

/**
 * The 64-bit transaction id nearest to `reference` whose lower half is `xid`. Right as long as both are within 2^31 of each other,
 * which PostgreSQL guarantees for all transactions that run at one time (documentation, 25.1.5).
 */
export function widenXid(xid: number, reference: bigint): bigint {
  const distance = (xid - Number(reference & (EPOCH - 1n))) | 0;
  const wide = reference + BigInt(distance);
  return wide < 0n ? wide + EPOCH : wide;
}

/** True when what the committed transaction `xid` (64 bits) did is part of what `snapshot` sees. */
export function visibleIn(snapshot: Snapshot, xid: bigint): boolean {
  return xid < snapshot.xmax && (xid < snapshot.xmin || !snapshot.inProgress.has(xid));
}
