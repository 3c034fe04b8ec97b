import { readFile, writeFile } from 'node:fs/promises';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { escapeIdentifier } from 'pg';
import { type TestServer, type TestServerOptions, startServer } from '../test/support/servers.ts';
import { othersCpu, serverCpu } from './proc.ts';

/**
 * A small production server, but for fsync: with it the disk of the machine would be measured, not the programs.
 * maintenance_work_mem, wal_level, autovacuum and all else are PostgreSQL's defaults.
 */
export const serverSettings = {
  shared_buffers: '512MB',
  max_wal_size: '4GB',
  fsync: 'off',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  checkpoint_timeout: '5min',
  max_connections: '100',
  // pg_dump and every other reader hold one lock a table.
  max_locks_per_transaction: '512',
  wal_level: 'logical',
} as const;

export interface BenchServers {
  readonly source: TestServer;
  readonly target: TestServer;
  /** Folder of the servers' own pg_dump and pg_restore: all contestants use these. */
  readonly binDir: string;
  stop(): Promise<void>;
}

export async function startServers(ssl?: TestServerOptions['ssl']): Promise<BenchServers> {
  const options = { settings: serverSettings, ...(ssl === undefined ? {} : { ssl }) };
  const source = await startServer({ name: 'bench-source', ...options });
  try {
    const target = await startServer({ name: 'bench-target', ...options });
    return {
      source,
      target,
      binDir: source.binDir,
      stop: async () => {
        await Promise.all([source.stop(), target.stop()]);
      },
    };
  } catch (error) {
    await source.stop();
    throw error;
  }
}

/** An empty target database, and both servers with no dirty pages left over from whoever ran before. */
export async function prepareRun({ source, target }: BenchServers, database: string): Promise<void> {
  await dropDatabase(target, database);
  await target.createDatabase(database);
  await Promise.all([source.run('CHECKPOINT'), target.run('CHECKPOINT')]);
}

/** The same server at another port: behind a line. */
export function reachedAt(server: TestServer, port: number): TestServer {
  const url: TestServer['url'] = (...args) => server.url(...args).replace(`:${server.port}/`, `:${port}/`);
  return Object.create(server, { port: { value: port }, url: { value: url } }) as TestServer;
}

export async function dropDatabase(server: TestServer, database: string): Promise<void> {
  await server.run(`DROP DATABASE IF EXISTS ${escapeIdentifier(database)} WITH (FORCE)`);
}

export async function cpuOf(server: TestServer): Promise<number | null> {
  return serverCpu(await postmasterOf(server));
}

/** CPU seconds of programs that are neither this one, nor started by it, nor its servers; null where there is no /proc. */
export async function foreignCpu({ source, target }: BenchServers): Promise<number | null> {
  return othersCpu([process.pid, await postmasterOf(source), await postmasterOf(target)]);
}

export async function postmasterOf(server: TestServer): Promise<number> {
  const [pid = ''] = (await readFile(join(server.dataDir, 'postmaster.pid'), 'utf8')).split('\n');
  return Number(pid);
}

/**
 * Leaves the processors to whoever else wants them, as if the servers stood on machines of their own. A session's share is what counts
 * where the kernel groups by sessions (man 7 sched, autogroup), else each process's. For all backends that start from now on.
 */
export async function stepBack({ source, target }: BenchServers): Promise<void> {
  for (const server of [source, target]) await giveWay(await postmasterOf(server));
}

export async function giveWay(pid: number): Promise<void> {
  setPriority(pid, 15);
  // Not there: the kernel knows no groups.
  await writeFile(`/proc/${pid}/autogroup`, '15').catch(() => undefined);
}

export interface Census {
  readonly bytes: number;
  readonly tables: number;
  readonly rows: number;
  readonly indexes: number;
  readonly constraints: number;
  readonly largeObjects: number;
}

/** What a database holds, counted row by row: a run that left something out must not count as fast. */
export async function census(server: TestServer, database: string): Promise<Census> {
  const [row] = await server.query(
    `SELECT pg_database_size(current_database())::float8 AS bytes,
            count(*) FILTER (WHERE relkind = 'r')::int AS tables,
            count(*) FILTER (WHERE relkind = 'i')::int AS indexes,
            (SELECT count(*)::int FROM pg_constraint WHERE connamespace = 'public'::regnamespace) AS constraints,
            (SELECT count(*)::int FROM pg_largeobject_metadata) AS large_objects,
            coalesce(sum((xpath('/row/n/text()',
              query_to_xml(format('SELECT count(*) AS n FROM %s', oid::regclass), false, true, '')))[1]::text::float8)
              FILTER (WHERE relkind = 'r'), 0) AS rows
     FROM pg_class WHERE relnamespace = 'public'::regnamespace`,
    database,
  );
  const number = (name: string): number => Number(row?.[name]);
  return {
    bytes: number('bytes'),
    tables: number('tables'),
    rows: number('rows'),
    indexes: number('indexes'),
    constraints: number('constraints'),
    largeObjects: number('large_objects'),
  };
}
