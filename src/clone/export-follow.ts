import { createHash, type Hash } from 'node:crypto';
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Gunzip, createGunzip } from 'node:zlib';
import type { ManifestFile } from '../contract/manifest.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import type { PauseGate } from '../gate.ts';
import type { Toc } from '../postgres/archive-toc.ts';
import { type PrintedTable, PrintedData, printedTable } from './printed-data.ts';

const LOOK_EVERY_MS = 100;
/** A file to which nothing was added for so long, and whose rows have come to their end, is taken for whole. */
const QUIET_MS = 500;
const PIECE_BYTES = 1024 * 1024;
/** Data of a table: pg_dump writes it from its beginning to its end, and never again (pg_backup_directory.c). */
const dataFile = /^\d+\.dat(\.gz|\.zst|\.lz4)?$/;

export interface FollowInput {
  /** The directory that pg_dump makes. */
  readonly dir: string;
  /** Whether rows are counted; else only sums are formed. */
  readonly contents: boolean;
  readonly signal: AbortSignal;
  readonly gate: PauseGate;
}

/** A file as it was read back. */
export interface Followed extends ManifestFile {
  /** null where its form is not read here. */
  readonly held: { readonly rows: number; readonly bytes: number } | null;
}

/**
 * Reads the files of tables while pg_dump writes them, so that little is left to read back when it has ended. A file that seems to be
 * whole is put down; whether it has grown after that is looked at when pg_dump has ended.
 */
export class FollowedFiles {
  readonly #input: FollowInput;
  readonly #stop = new AbortController();
  readonly #open = new Map<string, FileReading>();
  readonly #done = new Map<string, Followed>();
  readonly #reading: Promise<void>;
  #written = false;

  constructor(input: FollowInput) {
    this.#input = input;
    this.#reading = this.#run(AbortSignal.any([input.signal, this.#stop.signal]));
    // Its failure is told by `finish`, or by whoever ended it.
    this.#reading.catch(() => undefined);
  }

  /** To be called once pg_dump has ended well: reads what is left. @throws PgsluiceError ARCHIVE_INCOMPLETE, or the cancellation. */
  async finish(): Promise<ReadonlyMap<string, Followed>> {
    this.#written = true;
    await this.#reading;
    return this.#done;
  }

  /** Gives up; whatever was read is forgotten. */
  async cancel(): Promise<void> {
    this.#stop.abort(new Error('the export was given up'));
    await Promise.allSettled([this.#reading]);
    for (const file of this.#open.values()) file.drop();
  }

  async #run(signal: AbortSignal): Promise<void> {
    for (;;) {
      const last = this.#written;
      const started = performance.now();
      for (const path of await this.#list()) {
        if (!last && this.#done.has(path)) continue;
        await this.#readOn(path, last, signal);
      }
      if (last) return;
      // Looking at many files must not take more than a small share of a processor.
      const pause = Math.max(LOOK_EVERY_MS, (performance.now() - started) * 10);
      await this.#sleep(pause, signal);
    }
  }

  async #readOn(path: string, last: boolean, signal: AbortSignal): Promise<void> {
    const { size } = await stat(join(this.#input.dir, path));
    if (this.#done.get(path)?.bytes === size) return;
    this.#done.delete(path);
    const file = this.#open.get(path) ?? new FileReading(this.#input, path);
    this.#open.set(path, file);
    const grown = await file.readTo(size, signal);
    if (!last && (grown || file.quietMs < QUIET_MS || !file.seemsWhole)) return;
    this.#done.set(path, await file.end());
    this.#open.delete(path);
  }

  /** Ends early when pg_dump has. */
  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    for (const end = Date.now() + ms; Date.now() < end && !this.#written;)
      await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => throwIfAborted(signal));
  }

  async #list(): Promise<string[]> {
    try {
      return (await readdir(this.#input.dir)).filter((name) => dataFile.test(name));
    } catch (error) {
      // pg_dump has yet to make it.
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
      throw error;
    }
  }
}

/** One file, as far as it was read. */
class FileReading {
  readonly #input: FollowInput;
  readonly #path: string;
  readonly #hash: Hash = createHash('sha256');
  readonly #rows: PrintedData | null;
  readonly #gunzip: Gunzip | null;
  #failure: Error | null = null;
  #bytes = 0;
  #grewAt = performance.now();

  constructor(input: FollowInput, path: string) {
    this.#input = input;
    this.#path = path;
    const readable = input.contents && /\.(dat|gz)$/.test(path);
    this.#rows = readable ? PrintedData.ofRows() : null;
    this.#gunzip = readable && path.endsWith('.gz') ? createGunzip({ chunkSize: 256 * 1024 }) : null;
    this.#gunzip?.on('data', (chunk: Buffer) => this.#rows?.feed(chunk));
    this.#gunzip?.on('error', (error) => (this.#failure ??= error));
  }

  /** For how long nothing has been added to it. */
  get quietMs(): number {
    return performance.now() - this.#grewAt;
  }

  get seemsWhole(): boolean {
    return this.#rows?.whole ?? true;
  }

  /** Reads on to this size; false where nothing was left to read. */
  async readTo(size: number, signal: AbortSignal): Promise<boolean> {
    if (size === this.#bytes) return false;
    this.#grewAt = performance.now();
    const handle = await open(join(this.#input.dir, this.#path), 'r');
    try {
      while (this.#bytes < size) {
        await this.#input.gate.wait(signal);
        throwIfAborted(signal);
        const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, size - this.#bytes));
        const { bytesRead } = await handle.read(piece, 0, piece.length, this.#bytes);
        if (bytesRead === 0) break;
        this.#bytes += bytesRead;
        await this.#take(piece.subarray(0, bytesRead));
      }
    } finally {
      await handle.close();
    }
    return true;
  }

  async #take(piece: Buffer): Promise<void> {
    this.#hash.update(piece);
    const gunzip = this.#gunzip;
    if (gunzip === null) this.#rows?.feed(piece);
    if (gunzip === null || this.#failure !== null) return;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        gunzip.off('error', go);
        resolve();
      };
      gunzip.once('error', go);
      gunzip.write(piece, go);
    });
  }

  async end(): Promise<Followed> {
    try {
      if (this.#gunzip !== null && this.#failure === null) await ended(this.#gunzip);
      if (this.#failure !== null) throw this.#failure;
      this.#rows?.end();
    } catch (error) {
      throw unreadable(this.#path, error);
    } finally {
      this.drop();
    }
    const [table] = this.#rows?.tables.values() ?? [];
    return { path: this.#path, bytes: this.#bytes, sha256: this.#hash.digest('hex'), held: table ?? null };
  }

  drop(): void {
    this.#gunzip?.destroy();
  }
}

function ended(gunzip: Gunzip): Promise<void> {
  return new Promise((resolve) => {
    gunzip.once('end', resolve);
    gunzip.once('error', () => resolve());
    gunzip.end();
  });
}

function unreadable(path: string, cause: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'ARCHIVE_INCOMPLETE',
    message: `The archive's file ${path} could not be read back: ${cause instanceof Error ? cause.message : String(cause)}.`,
    hint: 'Look at the disk of the archive, then export again.',
    cause,
  });
}

/** Rows by table, as pg_restore would put them; null where not every file with rows was read here. Pure. */
export function heldTables(toc: Toc, followed: ReadonlyMap<string, Followed>): Map<string, PrintedTable> | null {
  const tables = new Map<string, PrintedTable>();
  for (const { type, hasData, file, copyStatement } of toc.entries) {
    if (type !== 'TABLE DATA' || !hasData) continue;
    const held = (followed.get(file ?? '') ?? followed.get(`${file ?? ''}.gz`))?.held ?? null;
    const into = printedTable(copyStatement.trimEnd());
    if (held === null || into === null) return null;
    const key = JSON.stringify([into.schema, into.name]);
    const table = tables.get(key) ?? { ...into, rows: 0, bytes: 0 };
    table.rows += held.rows;
    table.bytes += held.bytes;
    tables.set(key, table);
  }
  return tables;
}
