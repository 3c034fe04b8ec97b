import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PgsluiceError } from '../errors.ts';

/** Segments that are written with one call. */
const AT_ONCE = 16;
/** Segments that are read with one call, in bytes. */
const READ_BYTES = 1024 * 1024;

function failed(path: string, doing: string, cause: unknown): PgsluiceError {
  const why = cause instanceof Error ? cause.message : String(cause);
  const full = cause instanceof Error && Reflect.get(cause, 'code') === 'ENOSPC';
  return new PgsluiceError({
    code: 'SPOOL_FAILED',
    message: `A large transaction of the source could not be ${doing} this machine's disk: ${why} (${path}).`,
    hint: full
      ? 'Make room on that disk: a transaction needs about as many bytes as it changed. The job tries again by itself; the slot keeps what it needs.'
      : "Check that pgsluice may write to that directory (it is in the agent's state directory). The job tries again by itself; the slot keeps what it needs.",
    retryable: true,
    cause,
  });
}

/** What a spool tells the room that it belongs to. */
interface Owner {
  /** So many more bytes, or fewer, wait in memory to be written. */
  waiting(bytes: number): void;
  failed(error: PgsluiceError): void;
  /** `left` says why the file is still there. */
  gone(spool: Spool, left: string | null): void;
}

/** One transaction's segments in a file: appended, then read as often as is wanted, then deleted. */
export class Spool {
  readonly path: string;
  readonly #owner: Owner;
  readonly #lengths: number[] = [];
  #waiting: Buffer[] = [];
  #size = 0;
  #handle: FileHandle | null = null;
  #writing: Promise<void> | null = null;
  #failure: PgsluiceError | null = null;
  #deleted: Promise<void> | null = null;

  constructor(path: string, owner: Owner) {
    this.path = path;
    this.#owner = owner;
  }

  /** Bytes appended so far. */
  get size(): number {
    return this.#size;
  }

  /** Takes the segments over; they must not change any more. Returns at once, a failure reaches the owner and later readers. */
  append(segments: readonly Buffer[]): void {
    for (const segment of segments) {
      this.#waiting.push(segment);
      this.#lengths.push(segment.length);
    }
    const bytes = total(segments);
    this.#size += bytes;
    this.#owner.waiting(bytes);
    if (this.#waiting.length > 0) this.#writing ??= this.#write();
  }

  /** Never rejects: a failure is kept. */
  async #write(): Promise<void> {
    let batch: Buffer[] = [];
    try {
      while (this.#waiting.length > 0 && this.#failure === null && this.#deleted === null) {
        this.#handle ??= await open(this.path, 'w+', 0o600);
        batch = this.#waiting.splice(0, AT_ONCE);
        const bytes = total(batch);
        const { bytesWritten } = await this.#handle.writev(batch);
        // A disk that fills up takes a part first and refuses the rest.
        if (bytesWritten < bytes) await this.#handle.writeFile(Buffer.concat(batch).subarray(bytesWritten));
        batch = [];
        this.#owner.waiting(-bytes);
      }
    } catch (error) {
      this.#failure = failed(this.path, 'written to', error);
      this.#owner.failed(this.#failure);
    } finally {
      if (this.#failure !== null || this.#deleted !== null) {
        this.#owner.waiting(-total(batch) - total(this.#waiting));
        this.#waiting = [];
      }
      this.#writing = null;
    }
  }

  /** The segments in order. @throws PgsluiceError SPOOL_FAILED. */
  async *read(): AsyncGenerator<Buffer> {
    while (this.#writing !== null) await this.#writing;
    let offset = 0;
    let next = 0;
    while (next < this.#lengths.length) {
      let bytes = 0;
      const first = next;
      do {
        bytes += this.#lengths[next] ?? 0;
        next += 1;
      } while (bytes + (this.#lengths[next] ?? 0) <= READ_BYTES && next < this.#lengths.length);
      const block = await this.#block(offset, bytes);
      offset += bytes;
      let at = 0;
      for (const length of this.#lengths.slice(first, next)) {
        yield block.subarray(at, at + length);
        at += length;
      }
    }
  }

  async #block(offset: number, bytes: number): Promise<Buffer> {
    if (this.#failure !== null) throw this.#failure;
    const block = Buffer.allocUnsafeSlow(bytes);
    let filled = 0;
    try {
      while (filled < bytes) {
        if (this.#handle === null || this.#deleted !== null) throw new Error('it was deleted already');
        const { bytesRead } = await this.#handle.read(block, filled, bytes - filled, offset + filled);
        if (bytesRead === 0) throw new Error('it is shorter than what was written to it');
        filled += bytesRead;
      }
    } catch (error) {
      throw failed(this.path, 'read back from', error);
    }
    return block;
  }

  /** Removes the file; a second call does nothing more. Never rejects. */
  delete(): Promise<void> {
    this.#deleted ??= this.#delete();
    return this.#deleted;
  }

  async #delete(): Promise<void> {
    while (this.#writing !== null) await this.#writing;
    let left: string | null = null;
    try {
      await this.#handle?.close();
      await rm(this.path, { force: true });
    } catch (error) {
      left = error instanceof Error ? error.message : String(error);
    }
    this.#handle = null;
    this.#owner.gone(this, left);
  }
}

function total(segments: readonly Buffer[]): number {
  return segments.reduce((sum, segment) => sum + segment.length, 0);
}

export interface SpoolRoomInput {
  readonly dir: string;
  /** Two slots never share a file. */
  readonly slot: string;
  /** Fewer bytes wait in memory than before. */
  onWritten(): void;
  /** A file could not be written: SPOOL_FAILED. */
  onFailure(error: PgsluiceError): void;
  log(level: 'warn', message: string): void;
}

/** All spools of one stream. */
export class SpoolRoom {
  readonly #input: SpoolRoomInput;
  readonly #spools = new Set<Spool>();
  readonly #owner: Owner;
  #unwritten = 0;

  private constructor(input: SpoolRoomInput) {
    this.#input = input;
    this.#owner = {
      waiting: (bytes) => {
        this.#unwritten += bytes;
        if (bytes < 0) input.onWritten();
      },
      failed: (error) => input.onFailure(error),
      gone: (spool, left) => {
        this.#spools.delete(spool);
        if (left === null) return;
        input.log(
          'warn',
          `The file ${spool.path} could not be deleted: ${left}. It is deleted when the slot is read next.`,
        );
      },
    };
  }

  /** Makes the directory, and deletes what an agent that died left in it for this slot. @throws PgsluiceError SPOOL_FAILED. */
  static async open(input: SpoolRoomInput): Promise<SpoolRoom> {
    try {
      await mkdir(input.dir, { recursive: true, mode: 0o700 });
      for (const name of await readdir(input.dir)) {
        if (name.startsWith(`${input.slot}.`) && name.endsWith('.changes')) await rm(join(input.dir, name));
      }
    } catch (error) {
      throw failed(input.dir, 'prepared for on', error);
    }
    return new SpoolRoom(input);
  }

  /** Bytes of all spools. */
  get bytes(): number {
    let bytes = 0;
    for (const spool of this.#spools) bytes += spool.size;
    return bytes;
  }

  /** Of these, the bytes that are still in memory. */
  get unwritten(): number {
    return this.#unwritten;
  }

  create(): Spool {
    const name = `${this.#input.slot}.${randomBytes(6).toString('hex')}.changes`;
    const spool = new Spool(join(this.#input.dir, name), this.#owner);
    this.#spools.add(spool);
    return spool;
  }

  /** Deletes all files. */
  async close(): Promise<void> {
    await Promise.all([...this.#spools].map((spool) => spool.delete()));
  }
}
