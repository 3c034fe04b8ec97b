import { expect, it } from 'vitest';
import { type ReadAt, endsWithLz4Frame, endsWithZstdFrame } from './import-archive-frames.ts';

const block = (last: boolean, type: number, size: number): Buffer => {
  const bytes = Buffer.alloc(3);
  bytes.writeUIntLE((size << 3) | (type << 1) | (last ? 1 : 0), 0, 3);
  return bytes;
};
const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
};

/** A raw block, a run-length one, a compressed one, and a checksum; then a skippable frame and a frame of one segment. */
const zstd = Buffer.concat([
  word(0xfd2fb528),
  Buffer.from([0b0000_0100, 0x58]),
  block(false, 0, 3),
  Buffer.from('abc'),
  block(false, 1, 9000),
  Buffer.from('x'),
  block(true, 2, 5),
  Buffer.alloc(5),
  word(1),
  word(0x184d2a51),
  word(2),
  Buffer.alloc(2),
  word(0xfd2fb528),
  Buffer.from([0b0010_0000, 2]),
  block(true, 0, 2),
  Buffer.from('ab'),
]);
/** Block and content checksums, a content size. */
const lz4 = Buffer.concat([
  word(0x184d2204),
  Buffer.from([0b0111_1100, 0x40]),
  Buffer.alloc(8),
  Buffer.from([0]),
  word(4 | 0x80000000),
  Buffer.from('abcd'),
  word(7),
  word(3),
  Buffer.from('xyz'),
  word(7),
  word(0),
  word(9),
]);

it.each([
  ['zstd', endsWithZstdFrame, zstd, [28, 38]],
  ['lz4', endsWithLz4Frame, lz4, []],
] as const)('knows where %s frames end', async (_name, ends, whole, frames) => {
  const boundaries: readonly number[] = [0, ...frames, whole.length];
  for (let length = 0; length <= whole.length; length += 1) {
    const bytes = whole.subarray(0, length);
    const read: ReadAt = (at, wanted) => Promise.resolve(bytes.subarray(at, at + wanted));
    expect([length, await ends(read, length)]).toEqual([length, boundaries.includes(length)]);
  }
  const foreign = Buffer.from('0123456789');
  expect(await ends((at, wanted) => Promise.resolve(foreign.subarray(at, at + wanted)), foreign.length)).toBe(false);
});
