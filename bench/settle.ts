import { execFile } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { promisify } from 'node:util';
import { escapeIdentifier } from 'pg';
import type { TestServer } from '../test/support/servers.ts';
import { type BenchServers, dropDatabase, prepareRun } from './servers.ts';

const exec = promisify(execFile);

/**
 * The same beginning for every timed run: an empty target database; both servers restarted, so that nobody profits from what their buffers
 * hold by then; nothing left over that the system still has to write to disk; all files of the source's database in the system's cache.
 */
export async function settle(servers: BenchServers, database: string): Promise<void> {
  await prepareRun(servers, database);
  await settleServers(servers);
  const [row] = await servers.source.query(
    'SELECT oid::int8::text AS oid FROM pg_database WHERE datname = $1',
    'postgres',
    [database],
  );
  await readAll(join(servers.source.dataDir, 'base', String(row?.['oid'])));
}

/** The part of `settle` that concerns no database. */
export async function settleServers({ source, target }: BenchServers): Promise<void> {
  await Promise.all([source.run('CHECKPOINT'), target.run('CHECKPOINT')]);
  await Promise.all([source.restart(), target.restart()]);
  // The servers leave their pages to the system (fsync is off), which would write them while the next one is measured.
  await exec('sync', { timeout: 300_000 });
}

async function readAll(dir: string): Promise<void> {
  const names = await readdir(dir);
  for (const name of names) await finished(createReadStream(join(dir, name), { highWaterMark: 1 << 20 }).resume());
}

/**
 * Keeps the target of an earlier run under another name, and tells it in `aside`. ext4 passes over inodes that were freed in the last
 * minutes, one by one, so after a DROP DATABASE each of the tens of thousands of files of the next run would cost the server more than
 * the statement.
 */
export async function setAside(server: TestServer, database: string, aside: string[]): Promise<void> {
  const found = await server.query('SELECT FROM pg_database WHERE datname = $1', 'postgres', [database]);
  if (found.length === 0) return;
  const name = `${database}_${aside.length + 1}`;
  await dropDatabase(server, name);
  await server.run(`ALTER DATABASE ${escapeIdentifier(database)} RENAME TO ${escapeIdentifier(name)}`);
  aside.push(name);
}
