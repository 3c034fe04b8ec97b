import { mkdtempSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { PgsluiceError } from '../errors.ts';
import { Spool, SpoolRoom, type SpoolRoomInput } from './spool.ts';

let dir: string;
let failures: PgsluiceError[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pgsluice-spool-'));
  failures = [];
});
afterEach(() => rm(dir, { recursive: true }));

const roomInput = (path: string, slot = 's'): SpoolRoomInput => ({
  dir: path,
  slot,
  onWritten: () => undefined,
  onFailure: (error) => failures.push(error),
  log: (_level, message) => {
    throw new Error(message);
  },
});

async function read(spool: Spool): Promise<Buffer[]> {
  const all: Buffer[] = [];
  for await (const segment of spool.read()) all.push(Buffer.from(segment));
  return all;
}

test('segments come back in order and as they were, again and again, while the file is there', async () => {
  const room = await SpoolRoom.open(roomInput(join(dir, 'new', 'folder')));
  const spool = room.create();
  const segments = Array.from({ length: 200 }, (_, i) => Buffer.alloc(1 + ((i * 7919) % 60_000), i));
  for (const segment of segments) spool.append([segment]);
  expect(room.bytes).toBe(Buffer.concat(segments).length);
  expect(room.unwritten).toBeGreaterThan(0);
  for (let time = 0; time < 2; time++)
    expect((await read(spool)).every((s, i) => s.equals(segments[i] ?? s.subarray(1)))).toBe(true);
  spool.append([Buffer.from('more')]);
  expect((await read(spool)).at(-1)?.toString()).toBe('more');
  expect(room.unwritten).toBe(0);
  const [file] = readdirSync(join(dir, 'new', 'folder'));
  expect(statSync(join(dir, 'new', 'folder', file ?? '')).mode & 0o777).toBe(0o600);
  expect(statSync(join(dir, 'new', 'folder')).mode & 0o777).toBe(0o700);
  await spool.delete();
  await spool.delete();
  expect(readdirSync(join(dir, 'new', 'folder'))).toEqual([]);
  expect(room.bytes).toBe(0);
  await expect(read(spool)).rejects.toMatchObject({ code: 'SPOOL_FAILED' });
});

test('what an agent that died left behind for this slot is deleted, and nothing else', async () => {
  for (const name of ['s.012345.changes', 's.txt', 'st.012345.changes', 'other']) writeFileSync(join(dir, name), 'x');
  await SpoolRoom.open(roomInput(dir));
  expect(readdirSync(dir).toSorted()).toEqual(['other', 's.txt', 'st.012345.changes']);
});

test('closing deletes what is there, also while it is written', async () => {
  const room = await SpoolRoom.open(roomInput(dir));
  const spools = [room.create(), room.create(), room.create()];
  for (const spool of spools) spool.append(Array.from({ length: 50 }, () => Buffer.alloc(60_000)));
  await room.close();
  expect(readdirSync(dir)).toEqual([]);
  expect(room.bytes).toBe(0);
  expect(room.unwritten).toBe(0);
  spools[0]?.append([Buffer.from('late')]);
  await room.close();
  expect(room.unwritten).toBe(0);
  expect(readdirSync(dir)).toEqual([]);
});

test.skipIf(process.platform !== 'linux')(
  'a full disk is told plainly, to its owner and to whoever reads',
  async () => {
    let waiting = 0;
    const path = join(dir, 'full');
    symlinkSync('/dev/full', path);
    const spool = new Spool(path, {
      waiting: (bytes) => (waiting += bytes),
      failed: (error) => failures.push(error),
      gone: () => undefined,
    });
    spool.append([Buffer.alloc(100_000)]);
    const failure = {
      code: 'SPOOL_FAILED',
      retryable: true,
      message: expect.stringContaining('ENOSPC'),
      hint: expect.stringContaining('Make room'),
    };
    await expect(read(spool)).rejects.toMatchObject(failure);
    expect(failures).toMatchObject([failure]);
    expect(waiting).toBe(0);
    await spool.delete();
  },
);
