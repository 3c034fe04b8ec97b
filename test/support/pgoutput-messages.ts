/** Messages of pgoutput as a server writes them (documentation, 55.9), for tests without one. */

const u8 = (value: number): Buffer => Buffer.from([value]);
const u16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
};
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};
const u64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
};
const name = (text: string): Buffer => Buffer.from(`${text}\0`);

/** undefined: an untouched out-of-line value. */
export type Sent = string | Buffer | null | undefined;

/** Of a streamed transaction: it stands in front of the body. */
const at = (letter: string, xid: number | null, ...body: Buffer[]): Buffer =>
  Buffer.concat([Buffer.from(letter), ...(xid === null ? [] : [u32(xid)]), ...body]);

export function tuple(values: readonly Sent[]): Buffer {
  const parts = values.map((value) => {
    if (value === null) return Buffer.from('n');
    if (value === undefined) return Buffer.from('u');
    const bytes = Buffer.from(value);
    return Buffer.concat([Buffer.from('t'), u32(bytes.length), bytes]);
  });
  return Buffer.concat([u16(values.length), ...parts]);
}

/** µs since 2000 of 2026-11-21 12:00:00.123456 UTC. */
export const TIME_US = 848_577_600_123_456n;

export const begin = (xid: number, finalLsn = 0n): Buffer => at('B', null, u64(finalLsn), u64(TIME_US), u32(xid));
export const commit = (commitLsn: bigint, endLsn: bigint): Buffer =>
  at('C', null, u8(0), u64(commitLsn), u64(endLsn), u64(TIME_US));
export const streamStart = (xid: number, first = false): Buffer => at('S', xid, u8(first ? 1 : 0));
export const streamStop = (): Buffer => at('E', null);
export const streamCommit = (xid: number, commitLsn: bigint, endLsn: bigint): Buffer =>
  at('c', xid, u8(0), u64(commitLsn), u64(endLsn), u64(TIME_US));
export const streamAbort = (xid: number, sub: number): Buffer => at('A', xid, u32(sub));

export interface SentColumn {
  readonly name: string;
  readonly type?: number;
  readonly key?: boolean;
}
export const relation = (
  oid: number,
  table: string,
  columns: readonly SentColumn[],
  xid: number | null = null,
  schema = 'public',
  identity = 'd',
): Buffer =>
  at(
    'R',
    xid,
    u32(oid),
    name(schema),
    name(table),
    Buffer.from(identity),
    u16(columns.length),
    ...columns.flatMap((column) => [
      u8(column.key === true ? 1 : 0),
      name(column.name),
      u32(column.type ?? 25),
      u32(-1),
    ]),
  );

export const insert = (oid: number, row: readonly Sent[], xid: number | null = null): Buffer =>
  at('I', xid, u32(oid), Buffer.from('N'), tuple(row));
export const update = (
  oid: number,
  row: readonly Sent[],
  before: { readonly key?: readonly Sent[]; readonly old?: readonly Sent[] } = {},
  xid: number | null = null,
): Buffer => {
  const old =
    before.key !== undefined
      ? [Buffer.from('K'), tuple(before.key)]
      : before.old === undefined
        ? []
        : [Buffer.from('O'), tuple(before.old)];
  return at('U', xid, u32(oid), ...old, Buffer.from('N'), tuple(row));
};
export const remove = (oid: number, letter: 'K' | 'O', row: readonly Sent[], xid: number | null = null): Buffer =>
  at('D', xid, u32(oid), Buffer.from(letter), tuple(row));
export const truncate = (oids: readonly number[], flags = 0, xid: number | null = null): Buffer =>
  at('T', xid, u32(oids.length), u8(flags), ...oids.map(u32));
export const origin = (): Buffer => at('O', null, u64(1n), name('elsewhere'));
export const type = (): Buffer => at('Y', null, u32(16_500), name('public'), name('mood'));
export const logicalMessage = (): Buffer => at('M', null, u8(1), u64(5n), name('prefix'), u32(2), Buffer.from('hi'));
