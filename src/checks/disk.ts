import { stat, statfs } from 'node:fs/promises';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';

/** Paths and times of a server's data directory, as the server tells them to those who may know. */
interface DataDirectory {
  readonly path: string | null;
  readonly mayStat: boolean;
}

const DIRECTORY = `
SELECT (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS path,
       has_function_privilege('pg_stat_file(text)', 'EXECUTE') AS "mayStat"`;

/** Seconds since 1970. */
const CHANGED = `SELECT extract(epoch FROM (pg_stat_file('.')).modification)::float8 AS at`;

const isLocal = (host: string): boolean =>
  host.startsWith('/') || host.startsWith('@') || host === 'localhost' || host === '::1' || host.startsWith('127.');

/**
 * Bytes that are free on the disk of the server's data directory, where that stands on this very machine; null elsewhere, and
 * where the role may not know. PostgreSQL itself has no function that tells free disk space. A tunnel also ends at a loopback
 * address, so the directory must have been changed in the same second by what the server and this machine say.
 */
export async function freeDiskOf(session: Session): Promise<number | null> {
  if (!isLocal(session.settings.host)) return null;
  const [directory] = await session.query<DataDirectory & Record<string, unknown>>(DIRECTORY);
  if (directory === undefined || directory.path === null || !directory.mayStat) return null;
  const [changed] = await session.query<{ at: number }>(CHANGED);
  try {
    const here = await stat(directory.path);
    if (!here.isDirectory() || Math.floor(here.mtimeMs / 1000) !== changed?.at) return null;
    const disk = await statfs(directory.path);
    return disk.bavail * disk.bsize;
  } catch (error) {
    // No such directory here, or not for this process: the server runs elsewhere.
    if (error instanceof Error && 'code' in error) return null;
    throw error;
  }
}

/** Size of the target's database and what is free on its disk, in bytes, over a connection for this moment. Throws like openSession. */
export async function readDisk(
  target: ConnectionSettings,
  signal: AbortSignal,
): Promise<{ readonly databaseBytes: number; readonly freeBytes: number | null }> {
  const session = await openSession(target, { signal, side: 'target', purpose: 'disk', readOnly: true });
  try {
    const [size] = await session.query<{ bytes: number }>(
      'SELECT pg_database_size(current_database())::float8 AS bytes',
    );
    return { databaseBytes: size?.bytes ?? 0, freeBytes: await freeDiskOf(session) };
  } finally {
    await session.close();
  }
}
