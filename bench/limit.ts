import { execFile } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { qualified } from '../src/postgres/quote.ts';
import { type BenchServers, cpuOf } from './servers.ts';
import { settle } from './settle.ts';

const exec = promisify(execFile);

/** CPU seconds that the two servers need for the same database with nothing in between, and what that comes to on all cores. */
export interface Limit {
  readonly definitions: number;
  readonly copyOut: number;
  readonly copyIn: number;
  readonly indexes: number;
  readonly cores: number;
  /** All of it divided by the cores: what a tool would take that costs nothing itself and lets no core idle. */
  readonly seconds: number;
}

/** Where large objects stand; their content only a superuser may write there, and no tool does. */
const largeObjects = ['pg_catalog.pg_largeobject_metadata', 'pg_catalog.pg_largeobject'];

/** null where CPU time cannot be read. */
export async function limitOf(servers: BenchServers, database: string, workDir: string): Promise<Limit | null> {
  const { source, target, binDir } = servers;
  if ((await cpuOf(source)) === null) return null;
  const [blobs] = await source.query('SELECT EXISTS (SELECT FROM pg_largeobject_metadata) AS some', database);
  const rows = await source.query(
    `SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r' AND n.nspname = 'public' ORDER BY pg_relation_size(c.oid) DESC`,
    database,
  );
  const tables = [
    ...rows.map((row) => qualified(String(row['schema']), String(row['name']))),
    ...(blobs?.['some'] === true ? largeObjects : []),
  ];
  // Where the servers' own user may write.
  const dir = join(source.dataDir, 'bench-copy');
  const program = (name: string, args: readonly string[], server: typeof source): Promise<unknown> =>
    exec(
      join(binDir, name),
      ['-h', server.host, '-p', String(server.port), '-U', server.user, '-d', database, ...args],
      {
        env: { PATH: process.env['PATH'] ?? '', PGPASSWORD: server.password },
        maxBuffer: 1 << 24,
      },
    );
  const dump = join(workDir, 'limit.dump');
  const cpuOfWork = async (server: typeof source, work: () => Promise<unknown>): Promise<number> => {
    const before = (await cpuOf(server)) ?? 0;
    await work();
    return ((await cpuOf(server)) ?? 0) - before;
  };
  const inOneSession = (server: typeof source, statement: (name: string, at: number) => string): Promise<void> =>
    server.run(['SET allow_system_table_mods = on', ...tables.map(statement)].join(';\n'), database);
  try {
    await source.run(`COPY (SELECT 1) TO PROGRAM 'mkdir -p ${dir}'`, database);
    await mkdir(workDir, { recursive: true });
    await settle(servers, database);
    const describing = await cpuOfWork(source, () => program('pg_dump', ['-s', '-Fc', '-f', dump], source));
    const making = await cpuOfWork(target, () => program('pg_restore', ['--section=pre-data', dump], target));
    const copyOut = await cpuOfWork(source, () => inOneSession(source, (name) => `COPY ${name} TO '/dev/null'`));
    await inOneSession(source, (name, at) => `COPY ${name} TO '${dir}/${at}'`);
    const copyIn = await cpuOfWork(target, () =>
      inOneSession(target, (name, at) => `COPY ${name} FROM '${dir}/${at}'`),
    );
    const indexes = await cpuOfWork(target, () => program('pg_restore', ['--section=post-data', dump], target));
    const cores = availableParallelism();
    const definitions = describing + making;
    return {
      definitions,
      copyOut,
      copyIn,
      indexes,
      cores,
      seconds: (definitions + copyOut + copyIn + indexes) / cores,
    };
  } finally {
    await rm(dir, { recursive: true, force: true });
    await rm(dump, { force: true });
  }
}
