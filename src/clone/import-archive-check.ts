import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { manifestFormat, manifestName, Manifest } from '../contract/manifest.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { decodeArchiveText } from '../postgres/archive-encoding.ts';
import { TocEndError, parseToc } from '../postgres/archive-toc.ts';
import type { Toc } from '../postgres/archive-toc.ts';
import { streamTool } from '../postgres/tool-stream.ts';
import type { PgTools } from '../postgres/tools.ts';
import type { MeasuredData } from './import-archive.ts';
import { BlockReader, countLines } from './import-archive-blocks.ts';
import { archiveEncoding } from './import-archive-entries.ts';
import { isWholeFile } from './import-archive-frames.ts';
import type { ArchivePlace } from './import-archive-kind.ts';

const AGAIN = 'Take the archive from its origin again; if it is like that there too, make a new one.';

export function torn(message: string, cause?: unknown): PgsluiceError {
  return new PgsluiceError({ code: 'ARCHIVE_TORN', message, hint: AGAIN, cause });
}

function altered(message: string, cause?: unknown): PgsluiceError {
  return new PgsluiceError({ code: 'ARCHIVE_ALTERED', message, hint: AGAIN, cause });
}

/** Bytes of the table of contents that are read at first; a database of thousands of tables has a few MB of it. */
const FIRST_BYTES = 1024 * 1024;

/** The archive's table of contents. @throws PgsluiceError ARCHIVE_TORN, ARCHIVE_UNREADABLE, ARCHIVE_TOO_NEW. */
export async function readToc(place: ArchivePlace): Promise<Toc> {
  const file = await open(place.tocFile, 'r');
  try {
    const { size } = await file.stat();
    for (let length = Math.min(size, FIRST_BYTES); ; length = Math.min(size, length * 4)) {
      const bytes = Buffer.alloc(length);
      const { bytesRead } = await file.read(bytes, 0, length, 0);
      try {
        const raw = parseToc(bytes.subarray(0, bytesRead), (text) => text.toString('latin1'));
        const encoding = archiveEncoding(raw);
        return parseToc(bytes.subarray(0, bytesRead), (text) => decodeArchiveText(text, encoding));
      } catch (error) {
        if (!(error instanceof TocEndError)) throw error;
        if (length >= size) throw torn(`${place.tocFile} ends in the middle of its table of contents.`, error);
      }
    }
  } finally {
    await file.close();
  }
}

/** What pgsluice wrote of its archive; null without a manifest. @throws PgsluiceError ARCHIVE_TORN, ARCHIVE_ALTERED, ARCHIVE_TOO_NEW. */
export async function readManifest(place: ArchivePlace): Promise<Manifest | null> {
  return place.manifestFile === null ? null : parseManifest(await readFile(place.manifestFile, 'utf8'));
}

/** Pure. @throws PgsluiceError ARCHIVE_TORN, ARCHIVE_ALTERED, ARCHIVE_TOO_NEW. */
export function parseManifest(text: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw torn(`${manifestName} is not whole: ${cause instanceof Error ? cause.message : 'it is no JSON'}.`, cause);
  }
  const format: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, 'format') : undefined;
  if (typeof format === 'number' && Number.isInteger(format) && format > manifestFormat) {
    throw new PgsluiceError({
      code: 'ARCHIVE_TOO_NEW',
      message: `The archive was written by a newer pgsluice: its manifest has the format ${format}, this version reads up to ${manifestFormat}.`,
      hint: 'Update pgsluice. Or import it as a plain archive of pg_dump, without its proof: copy the directory without manifest.json.',
    });
  }
  const parsed = Manifest.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw altered(
      `${manifestName} is not as pgsluice writes it: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}.`,
    );
  }
  return parsed.data;
}

export type Progress = (done: number, all: number) => void;

async function digestOf(path: string, signal: AbortSignal, onBytes: (bytes: number) => void): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { signal, highWaterMark: 1024 * 1024 })) {
    const bytes: unknown = chunk;
    if (!Buffer.isBuffer(bytes)) throw new TypeError('a file was read as text');
    hash.update(bytes);
    onBytes(bytes.length);
  }
  return hash.digest('hex');
}

/** Paths of all files below, relative, with `/`. */
async function filesBelow(path: string): Promise<string[]> {
  const found = await readdir(path, { recursive: true, withFileTypes: true });
  return found
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.replace(/\/+$/, '').length + 1));
}

/**
 * Holds every file against the manifest: none may be missing, cut, altered or added. `onProgress` in bytes.
 * @returns bytes in all. @throws PgsluiceError ARCHIVE_TORN, ARCHIVE_ALTERED, or the cancellation.
 */
export async function checkFiles(
  place: ArchivePlace,
  manifest: Manifest,
  signal: AbortSignal,
  onProgress: Progress,
): Promise<number> {
  const listed = new Map(manifest.files.map((file) => [file.path, file]));
  const present = new Set(await filesBelow(place.path));
  present.delete(manifestName);
  const missing = [...listed.keys()].filter((path) => !present.has(path));
  if (missing.length > 0) throw torn(`${missing.length} file(s) of the archive are missing: ${named(missing)}.`);
  const added = [...present].filter((path) => !listed.has(path));
  if (added.length > 0) throw altered(`There are files that the archive was not made with: ${named(added)}.`);
  if (!listed.has('toc.dat')) throw altered(`${manifestName} does not list toc.dat.`);
  const all = manifest.files.reduce((sum, file) => sum + file.bytes, 0);
  for (const { path, bytes } of manifest.files) {
    const { size } = await stat(join(place.path, path));
    if (size < bytes) throw torn(`${path} has ${size} bytes of ${bytes}.`);
    if (size > bytes) throw altered(`${path} has ${size} bytes instead of ${bytes}.`);
  }
  let done = 0;
  for (const { path, sha256 } of manifest.files) {
    throwIfAborted(signal);
    const digest = await digestOf(join(place.path, path), signal, (bytes) => {
      done += bytes;
      onProgress(done, all);
    }).catch((error: unknown) => {
      throwIfAborted(signal);
      throw torn(`${path} cannot be read: ${error instanceof Error ? error.message : 'for no reason given'}.`, error);
    });
    if (digest !== sha256) throw altered(`${path} is not as it was written: its SHA-256 is ${digest}, not ${sha256}.`);
  }
  return all;
}

function named(paths: readonly string[]): string {
  return `${paths.slice(0, 10).join(', ')}${paths.length > 10 ? ', …' : ''}`;
}

/** Bytes of the archive's files. */
export async function archiveBytes(place: ArchivePlace): Promise<number> {
  const paths =
    place.kind === 'custom' ? [place.path] : (await filesBelow(place.path)).map((path) => join(place.path, path));
  let bytes = 0;
  for (const path of paths) bytes += (await stat(path)).size;
  return bytes;
}

function restoreInput(tools: PgTools, args: readonly string[], signal: AbortSignal): Parameters<typeof streamTool>[0] {
  return { command: tools.pgRestore, args, env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' }, signal };
}

/** That pg_restore reads the same table of contents. @throws PgsluiceError ARCHIVE_UNREADABLE in pg_restore's words. */
export async function checkListing(tools: PgTools, place: ArchivePlace, toc: Toc, signal: AbortSignal): Promise<void> {
  const stream = streamTool(restoreInput(tools, ['--list', place.path], signal));
  let head = '';
  try {
    for await (const chunk of stream.output) if (head.length < 10_000) head += String(chunk);
    await stream.ended;
  } catch (cause) {
    throwIfAborted(signal);
    throw new PgsluiceError({
      code: 'ARCHIVE_UNREADABLE',
      message: `pg_restore ${tools.version} cannot read the archive: ${cause instanceof Error ? cause.message : 'no reason given'}`,
      hint: AGAIN,
      cause,
    });
  } finally {
    await stream.stop();
  }
  const entries = Number(/^;\s+TOC Entries: (\d+)$/m.exec(head)?.[1] ?? Number.NaN);
  if (entries !== toc.entries.length) {
    throw torn(`pg_restore reads ${entries} entries in the archive, and ${toc.entries.length} were found in it.`);
  }
}

function unreadable(cause: unknown): PgsluiceError {
  const why = cause instanceof Error ? cause.message : 'no reason given';
  return torn(`The archive cannot be read to its end: ${why}`, cause);
}

/** Large objects that the archive makes: an entry each, or from 17 on a list of oids an entry (PostgreSQL source, pg_dump.c). */
function countLargeObjects(toc: Toc): number {
  return toc.entries.reduce((sum, { type, definition }) => {
    if (type === 'BLOB') return sum + 1;
    return type === 'BLOB METADATA' ? sum + definition.split('\n').filter((line) => /^\d+$/.test(line)).length : sum;
  }, 0);
}

/** Files of large objects, for which pg_restore does not notice where they are cut. @throws PgsluiceError ARCHIVE_TORN. */
async function checkLargeObjectFiles(place: ArchivePlace, signal: AbortSignal): Promise<void> {
  if (place.kind !== 'directory') return;
  for (const name of await filesBelow(place.path)) {
    throwIfAborted(signal);
    if (/^blob_\d+\.dat/.test(name) && !(await isWholeFile(join(place.path, name), signal))) {
      throwIfAborted(signal);
      throw torn(`${name}, the bytes of a large object, is cut or damaged.`);
    }
  }
}

/**
 * Has pg_restore read everything in the archive once and counts the rows of each table, so that one that is torn is known before
 * the target is touched. `onProgress` in tables.
 * @throws PgsluiceError ARCHIVE_TORN, or the cancellation.
 */
export async function readThrough(
  tools: PgTools,
  place: ArchivePlace,
  toc: Toc,
  signal: AbortSignal,
  onProgress: Progress,
): Promise<Map<number, MeasuredData>> {
  const measured = new Map<number, MeasuredData>();
  const tables = toc.entries.filter((entry) => entry.type === 'TABLE DATA' && entry.copyStatement !== '');
  const stream = streamTool(restoreInput(tools, ['--file=-', place.path], signal));
  try {
    const reader = new BlockReader(stream.output);
    for (const table of tables) {
      let [rows, bytes] = [0, 0];
      for await (const chunk of reader.block(table.copyStatement)) {
        rows += countLines(chunk);
        bytes += chunk.length;
      }
      measured.set(table.dumpId, { rows, bytes });
      onProgress(measured.size, tables.length);
    }
    // Bytes of large objects stand behind all tables.
    let objects = 0;
    await reader.drain((line) => {
      if (line.startsWith('SELECT pg_catalog.lo_open(')) objects += 1;
    });
    await stream.ended;
    const expected = countLargeObjects(toc);
    if (toc.entries.some(({ type }) => type === 'BLOBS') && objects !== expected) {
      throw torn(`The archive holds the bytes of ${objects} large objects of ${expected}.`);
    }
    await checkLargeObjectFiles(place, signal);
    return measured;
  } catch (error) {
    throwIfAborted(signal);
    if (error instanceof PgsluiceError) throw error.code === 'PG_TOOL_FAILED' ? unreadable(error) : error;
    const [end] = await Promise.allSettled([stream.ended]);
    const cause: unknown = end.status === 'rejected' ? end.reason : error;
    throwIfAborted(signal);
    throw unreadable(cause);
  } finally {
    await stream.stop();
  }
}
