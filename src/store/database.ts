import { chmodSync, existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core';
import { PgsluiceError } from '../errors.ts';
import { diskFull, isFull, withRoom } from './embedded-room.ts';
import { makeDirectory } from './make-directory.ts';
import * as schema from './schema.ts';

/** What the queries need; both drivers are it. */
export type StateDatabase = PgDatabase<PgQueryResultHKT, typeof schema>;

/** An open database for the state, with what is needed to end it. */
export interface OpenDatabase {
  readonly db: StateDatabase;
  /** Runs `task` on one connection of its own (session-level locks). */
  onOneConnection<T>(task: (db: StateDatabase) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Rows of a raw statement: both drivers answer `{ rows }`, which drizzle's common type does not say. */
export function rowsOf<R>(result: unknown): R[] {
  return (result as { rows: R[] }).rows;
}

/** Memory settings of the embedded server: its defaults cost 130 MB more. */
const embeddedSettings = ['shared_buffers=8MB', 'wal_buffers=256kB'];

/** Stands beside the embedded server's files from the moment on in which they were whole for the first time. */
const madeName = 'db.made';

/**
 * Opens the embedded server in `directory`. The caller holds the directory's lock: the server takes none itself. Files that a first
 * start has left half-made are put aside; those of a state that was whole are never replaced by empty ones, which the server would do.
 * @throws PgsluiceError STATE_DAMAGED when files are missing or cannot be read, STATE_DISK_FULL when there is no room to read them.
 */
export async function openEmbedded(directory: string): Promise<OpenDatabase> {
  const data = join(directory, 'db');
  const made = join(directory, madeName);
  // The key comes after the files; a state that an earlier version has made has nothing else that says so.
  const wasMade = existsSync(made) || existsSync(join(directory, 'secret.key'));
  const whole = existsSync(join(data, 'PG_VERSION'));
  if (wasMade && !whole) throw unopened(directory, new Error(`${join(data, 'PG_VERSION')} is missing`));
  if (!wasMade && !whole) putAside(data);
  let open: OpenDatabase;
  try {
    open = await openFiles(data);
  } catch (cause) {
    if (wasMade || !whole || isFull(directory)) throw unopened(directory, cause);
    putAside(data);
    open = await openFiles(data);
  }
  if (!existsSync(made)) writeFileSync(made, '', { mode: 0o600 });
  return open;
}

async function openFiles(data: string): Promise<OpenDatabase> {
  mkdirSync(data, { recursive: true, mode: 0o700 });
  // The optimising compiler of WebAssembly costs a second of CPU and 40–80 MB at each start for a store that is hardly busy.
  setFlagsFromString('--liftoff-only');
  const [{ PGlite }, { drizzle }] = await Promise.all([import('@electric-sql/pglite'), import('drizzle-orm/pglite')]);
  const client = new (withRoom(PGlite, data))(data, {
    startParams: [...PGlite.defaultStartParams, ...embeddedSettings.flatMap((setting) => ['-c', setting])],
  });
  await client.waitReady;
  const db: StateDatabase = drizzle(client, { schema });
  return { db, onOneConnection: (task) => task(db), close: () => client.close() };
}

function unopened(directory: string, cause: unknown): PgsluiceError {
  if (isFull(directory)) return diskFull(directory, cause);
  const why = cause instanceof Error ? cause.message : String(cause);
  return new PgsluiceError({
    code: 'STATE_DAMAGED',
    message: `The files of the state in ${join(directory, 'db')} are damaged or not complete (${why}). They were left as they are.`,
    hint: `Put back a copy of ${directory} that was made while no agent ran; or move it away and start with a new one. What live jobs have left on servers is listed there by: SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'pgsluice%'.`,
    cause,
  });
}

function putAside(data: string): void {
  if (existsSync(data)) renameSync(data, `${data}.unfinished-${Date.now()}`);
}

/**
 * Makes the state directory, for its owner only.
 * @throws PgsluiceError STATE_DIRECTORY_UNUSABLE when it cannot be made or written.
 */
export function prepareDirectory(directory: string): void {
  try {
    makeDirectory(directory);
    chmodSync(directory, 0o700);
  } catch (cause) {
    throw new PgsluiceError({
      code: 'STATE_DIRECTORY_UNUSABLE',
      message: `The state directory ${directory} cannot be made or written: ${(cause as Error).message}.`,
      hint: 'Name a directory of yours with --state or PGSLUICE_STATE.',
      cause,
    });
  }
}
