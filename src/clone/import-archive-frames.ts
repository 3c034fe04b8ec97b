import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { Writable } from 'node:stream';
import { createGunzip } from 'node:zlib';

/** Bytes at a position of a file; fewer where it ends. */
export type ReadAt = (at: number, length: number) => Promise<Buffer>;

const ZSTD = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
const LZ4 = 0x184d2204;

/**
 * Whether a file of zstd frames ends where its last frame does. Walks the headers of blocks and unpacks nothing (RFC 8878, 3.1).
 */
export async function endsWithZstdFrame(read: ReadAt, size: number): Promise<boolean> {
  let at = 0;
  let frames = 0;
  while (at < size) {
    const head = await read(at, 14);
    if (head.length < 5) return false;
    const magic = head.readUInt32LE(0);
    if (magic >= SKIPPABLE && magic <= SKIPPABLE + 15) {
      if (head.length < 8) return false;
      at += 8 + head.readUInt32LE(4);
      continue;
    }
    if (magic !== ZSTD) return false;
    const flags = head.readUInt8(4);
    const single = (flags & 0x20) !== 0;
    const contentSize = [single ? 1 : 0, 2, 4, 8][flags >> 6] ?? 0;
    const dictionary = [0, 1, 2, 4][flags & 3] ?? 0;
    at += 5 + (single ? 0 : 1) + dictionary + contentSize;
    for (let last = false; !last;) {
      const block = await read(at, 3);
      if (block.length < 3) return false;
      const word = block.readUIntLE(0, 3);
      last = (word & 1) === 1;
      const type = (word >> 1) & 3;
      if (type === 3) return false;
      // A run-length block stores one byte, however long it is.
      at += 3 + (type === 1 ? 1 : word >> 3);
    }
    at += (flags & 4) !== 0 ? 4 : 0;
    frames += 1;
  }
  // Of an empty object nothing is written at all.
  return at === size && (frames > 0 || size === 0);
}

/** The same of lz4 frames (LZ4 Frame Format Description 1.6). */
export async function endsWithLz4Frame(read: ReadAt, size: number): Promise<boolean> {
  let at = 0;
  let frames = 0;
  while (at < size) {
    const head = await read(at, 6);
    if (head.length < 6 || head.readUInt32LE(0) !== LZ4) return false;
    const flags = head.readUInt8(4);
    at += 7 + ((flags & 8) !== 0 ? 8 : 0) + ((flags & 1) !== 0 ? 4 : 0);
    for (;;) {
      const block = await read(at, 4);
      if (block.length < 4) return false;
      at += 4;
      const length = block.readUInt32LE(0) & 0x7fffffff;
      if (length === 0) break;
      at += length + ((flags & 16) !== 0 ? 4 : 0);
    }
    at += (flags & 4) !== 0 ? 4 : 0;
    frames += 1;
  }
  // Of an empty object nothing is written at all.
  return at === size && (frames > 0 || size === 0);
}

async function withFile(path: string, judge: (read: ReadAt, size: number) => Promise<boolean>): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    return await judge(async (at, length) => {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, at);
      return buffer.subarray(0, bytesRead);
    }, size);
  } finally {
    await file.close();
  }
}

async function isWholeGzip(path: string, signal: AbortSignal): Promise<boolean> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const [end] = await Promise.allSettled([pipeline(createReadStream(path), createGunzip(), nowhere, { signal })]);
  return end.status === 'fulfilled';
}

/**
 * Whether a compressed file of an archive's directory is whole. pg_restore takes the end of a large object's file for the end of
 * the object, wherever that is. true also for what is not compressed, of which nothing can be said.
 */
export async function isWholeFile(path: string, signal: AbortSignal): Promise<boolean> {
  if (path.endsWith('.gz')) return isWholeGzip(path, signal);
  if (path.endsWith('.zst')) return withFile(path, endsWithZstdFrame);
  if (path.endsWith('.lz4')) return withFile(path, endsWithLz4Frame);
  return true;
}
