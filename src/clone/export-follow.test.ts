import { createHash } from 'node:crypto';
import { appendFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PauseGate } from '../gate.ts';
import type { Toc, TocEntry } from '../postgres/archive-toc.ts';
import { FollowedFiles, heldTables } from './export-follow.ts';

let root: string;
let dir: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pgsluice-follow-'));
  dir = join(root, 'archive');
});
afterEach(() => rm(root, { recursive: true, force: true }));

const rows = (count: number): string => `${'a\tb\n'.repeat(count)}\\.\n\n\n`;
const follow = (contents = true): FollowedFiles =>
  new FollowedFiles({ dir, contents, signal: new AbortController().signal, gate: new PauseGate() });
const sum = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

function entry(name: string, file: string, into = name): TocEntry {
  const definition = { type: 'TABLE DATA', schema: 's', name, definition: '', owner: '', hasData: true };
  const place = { dumpId: 1, classOid: 0, oid: 0, dependencies: [], offset: null, file };
  return { ...place, ...definition, copyStatement: `COPY s."${into}" (a, b) FROM stdin;\n` };
}
const tocOf = (...entries: TocEntry[]): Toc => ({
  format: '1.14',
  database: 'd',
  serverVersion: '15',
  dumpVersion: '15',
  createdAt: '',
  entries,
});

test('files are read while they grow, whole and once', async () => {
  const reading = follow();
  await mkdir(dir);
  const packed = gzipSync(rows(5000));
  await writeFile(join(dir, '1.dat.gz'), packed.subarray(0, 20));
  await writeFile(join(dir, '2.dat'), 'a\tb\na\t');
  await writeFile(join(dir, '4.dat.gz'), gzipSync(rows(7)));
  await writeFile(join(dir, '5.dat.zst'), 'to be');
  await sleep(1200);
  // It was put down, and yet has grown.
  await appendFile(join(dir, '5.dat.zst'), ' continued');
  await appendFile(join(dir, '1.dat.gz'), packed.subarray(20));
  await appendFile(join(dir, '2.dat'), 'b\n\\.\n\n\n');
  await writeFile(join(dir, '3.dat'), rows(0));
  const found = await reading.finish();
  expect(found.get('1.dat.gz')).toMatchObject({
    bytes: packed.length,
    sha256: sum(packed),
    held: { rows: 5000, bytes: 20_000 },
  });
  expect(found.get('2.dat')).toMatchObject({ sha256: sum(Buffer.from(rows(2))), held: { rows: 2 } });
  expect(found.get('4.dat.gz')).toMatchObject({ held: { rows: 7 } });
  expect(found.get('5.dat.zst')).toMatchObject({ sha256: sum(Buffer.from('to be continued')), held: null });
  const toc = tocOf(entry('a', '1.dat'), entry('b', '2.dat', 'a'), entry('c', '3.dat'));
  expect([...(heldTables(toc, found)?.values() ?? [])]).toMatchObject([
    { name: 'a', rows: 5002 },
    { name: 'c', rows: 0 },
  ]);
  // One that was not read here leaves the counting to pg_restore.
  expect(heldTables(tocOf(entry('d', '9.dat')), found)).toBeNull();
});

test('what cannot be read to its end is no archive', async () => {
  await mkdir(dir);
  const packed = gzipSync(rows(5000));
  for (const [name, bytes] of [
    ['1.dat.gz', packed.subarray(0, packed.length - 5)],
    ['1.dat.gz', Buffer.from(packed.map((byte, at) => (at === packed.length - 6 ? byte ^ 1 : byte)))],
    ['2.dat', Buffer.from('a\tb\n')],
  ] as const) {
    await writeFile(join(dir, name), bytes);
    await expect(follow().finish()).rejects.toMatchObject({ code: 'ARCHIVE_INCOMPLETE' });
    await rm(join(dir, name));
  }
});

test('with nothing to be counted sums are formed, of other forms as well', async () => {
  await mkdir(dir);
  await writeFile(join(dir, '1.dat.gz'), 'no gzip');
  await writeFile(join(dir, '2.dat.zst'), 'no zstd');
  const found = await follow(false).finish();
  expect([...found.keys()].toSorted()).toEqual(['1.dat.gz', '2.dat.zst']);
  expect([...found.values()].every(({ held }) => held === null)).toBe(true);
});

test('it ends when it is given up', async () => {
  await mkdir(dir);
  await writeFile(join(dir, '1.dat'), rows(2));
  const reading = follow();
  await sleep(150);
  await reading.cancel();
  await expect(reading.finish()).rejects.toMatchObject({ code: 'CANCELLED' });
});
