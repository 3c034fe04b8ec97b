import { statfsSync } from 'node:fs';
import type { PGlite, QueryOptions, Results, Transaction } from '@electric-sql/pglite';
import { PgsluiceError } from '../errors.ts';

/** One segment of the embedded server's log, bytes. */
const segment = 16 * 1024 * 1024;
/** What has to be free for a statement that writes: the next segment and what the tables take. */
const writeRoom = 2 * segment;

/** Whether the disk below `directory` has no room to write, or to open a state. */
export function isFull(directory: string): boolean {
  return freeBytes(directory) < writeRoom;
}

function freeBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
}

export function diskFull(directory: string, cause?: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'STATE_DISK_FULL',
    message: `The disk that holds the state directory ${directory} is full.`,
    hint: 'Make room on that disk (64 MB or more), then try again; jobs that stopped for it are resumed. Nothing in the state is lost.',
    retryable: true,
    cause,
  });
}

/** A statement with which nothing is written to a table. Pure. */
export function onlyReads(statement: string): boolean {
  return /^\s*(select|show)\s/i.test(statement);
}

/**
 * The embedded server, asked nothing for which the disk has no room. When it cannot make the next segment of its log it waits for
 * itself for ever, and this process with it; so that is never tried. A look at the disk takes microseconds.
 * Its methods throw PgsluiceError STATE_DISK_FULL.
 */
export function withRoom(Base: typeof PGlite, directory: string): typeof PGlite {
  return class extends Base {
    override async query<T>(statement: string, params?: unknown[], options?: QueryOptions): Promise<Results<T>> {
      demandRoom(directory, onlyReads(statement) ? segment : writeRoom);
      return await super.query<T>(statement, params, options);
    }

    override async exec(statements: string, options?: QueryOptions): Promise<Results[]> {
      demandRoom(directory, writeRoom);
      return await super.exec(statements, options);
    }

    override async transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
      demandRoom(directory, writeRoom);
      return await super.transaction(work);
    }
  };
}

function demandRoom(directory: string, bytes: number): void {
  if (freeBytes(directory) < bytes) throw diskFull(directory);
}
