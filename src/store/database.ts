import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core';
import { PgsluiceError } from '../errors.ts';
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

/** Opens the embedded server in `directory`. The caller holds the directory's lock: the server takes none itself. */
export async function openEmbedded(directory: string): Promise<OpenDatabase> {
  // The optimising compiler of WebAssembly costs a second of CPU and 40–80 MB at each start for a store that is hardly busy.
  setFlagsFromString('--liftoff-only');
  const [{ PGlite }, { drizzle }] = await Promise.all([import('@electric-sql/pglite'), import('drizzle-orm/pglite')]);
  const data = join(directory, 'db');
  const client = new PGlite(data, {
    startParams: [...PGlite.defaultStartParams, ...embeddedSettings.flatMap((setting) => ['-c', setting])],
  });
  await client.waitReady;
  const db: StateDatabase = drizzle(client, { schema });
  return { db, onOneConnection: (task) => task(db), close: () => client.close() };
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
