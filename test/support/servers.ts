import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chown, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client, escapeIdentifier } from 'pg';
import { prepareEmbedded } from '../../src/demo/embedded.ts';
import { LocalServer, type StopMode, initCluster } from '../../src/demo/local-server.ts';
import { type OrdinaryUser, ordinaryUser } from '../../src/demo/ordinary-user.ts';
import { clientBinDirs, embeddedCopy, majorOf, systemBinDir } from './binaries.ts';

export { findMajor, majorBinDir, sharedDir, type MajorSearch } from './binaries.ts';

const exec = promisify(execFile);
const password = 'Test/Pass word:1@#%';

/** Throwaway servers need no durability; everything else is PostgreSQL's default. */
const quick = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  max_wal_size: '2GB',
  checkpoint_timeout: '30min',
  max_connections: '60',
  log_checkpoints: 'off',
};

export type Row = Record<string, unknown>;

export interface TestServerOptions {
  readonly name?: string;
  /** Folder with initdb and postgres; default `systemBinDir()`, else the embedded binaries of the demo. */
  readonly binDir?: string;
  readonly settings?: Readonly<Record<string, string>>;
  /** Lines of pg_hba.conf that come before the default ones (scram for everybody on the loopback addresses). */
  readonly hba?: readonly string[];
  /** Paths of PEM files; they are copied to where the server may read them. */
  readonly ssl?: { readonly cert: string; readonly key: string; readonly ca?: string };
  readonly port?: number;
  /** A data directory that is copied instead of a new one. */
  readonly template?: string;
}

/** What scenarios need of a server, wherever it runs (here, or in a container). */
export interface TestServerLike {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly major: number;
  url(database?: string, user?: string, password?: string): string;
  /** One statement on a connection of its own. */
  query(sql: string, database?: string, params?: readonly unknown[]): Promise<Row[]>;
  /** Several statements at once on a connection of their own (simple query protocol). */
  run(sql: string, database?: string): Promise<void>;
  /** Creates a database, `extra` being the rest of CREATE DATABASE, and answers its URL. */
  createDatabase(name: string, extra?: string): Promise<string>;
  /** `pg_dump -s`, without comments and empty lines, sorted by line. */
  dumpSchema(database: string, pgDump?: string): Promise<string>;
  /** Rows of pg_stat_activity that belong to pgsluice. */
  sessions(): Promise<Row[]>;
  stop(): Promise<void>;
}

export interface TestServer extends TestServerLike {
  readonly host: '127.0.0.1';
  readonly binDir: string;
  readonly dataDir: string;
  readonly socketDir: string;
  readonly logFile: string;
  /** Stops the server and removes its folder. */
  stop(): Promise<void>;
  restart(mode?: StopMode, settings?: Readonly<Record<string, string>>): Promise<void>;
  /** Stops it without removing anything; `start` brings it back on the same port. */
  halt(mode?: StopMode): Promise<void>;
  start(): Promise<void>;
  kill9(): Promise<void>;
}

/** Starts a server of its own in a temporary folder, gone with the test process at the latest. */
export async function startServer(options: TestServerOptions = {}): Promise<TestServer> {
  const user = await ordinaryUser();
  const binDir = options.binDir ?? (await systemBinDir()) ?? (await prepareEmbedded(embeddedCopy)).binDir;
  const local = new LocalServer({
    binDir,
    dir: join(tmpdir(), `pgsluice-test-${options.name ?? 'server'}-${process.pid}-${randomBytes(4).toString('hex')}`),
    password,
    user,
    settings: { ...quick, ...tlsSettings(options), ...options.settings },
    hba: options.hba ?? [],
    port: options.port ?? 0,
    template: options.template ?? (await clusterTemplate(binDir, user)),
  });
  await local.create();
  if (options.ssl !== undefined) {
    await local.writeFile('server.crt', await readFile(options.ssl.cert, 'utf8'));
    await local.writeFile('server.key', await readFile(options.ssl.key, 'utf8'));
    if (options.ssl.ca !== undefined) await local.writeFile('root.crt', await readFile(options.ssl.ca, 'utf8'));
  }
  try {
    await local.start();
  } catch (error) {
    await local.remove();
    throw error;
  }
  return {
    ...serverApi({
      host: '127.0.0.1',
      port: local.port,
      user: 'postgres',
      password,
      major: await majorOf(join(binDir, 'postgres')),
      binDir,
    }),
    host: '127.0.0.1',
    binDir,
    dataDir: local.dataDir,
    socketDir: local.input.dir,
    logFile: local.logFile,
    stop: () => local.remove(),
    halt: (mode) => local.stop(mode),
    start: () => local.start(),
    restart: async (mode = 'fast', settings = {}) => {
      await local.stop(mode);
      await local.start(settings);
    },
    kill9: () => local.kill9(),
  };
}

function tlsSettings(options: TestServerOptions): Record<string, string> {
  if (options.ssl === undefined) return {};
  const ca = options.ssl.ca === undefined ? {} : { ssl_ca_file: 'root.crt' };
  return { ssl: 'on', ssl_cert_file: 'server.crt', ssl_key_file: 'server.key', ...ca };
}

/** initdb takes a second or more, copying its result 0.1 s: one data directory a set of binaries is kept to copy from. */
async function clusterTemplate(binDir: string, user: OrdinaryUser | null): Promise<string> {
  const { stdout } = await exec(join(binDir, 'postgres'), ['--version']);
  const key = createHash('sha256')
    .update(`${binDir} ${stdout} ${user?.uid ?? process.getuid?.() ?? ''} ${password}`)
    .digest('hex');
  const base = join(tmpdir(), `pgsluice-test-templates-${process.getuid?.() ?? 'user'}`);
  const template = join(base, key.slice(0, 16));
  if (existsSync(template)) return template;
  await mkdir(base, { recursive: true, mode: 0o755 });
  const draft = join(base, `draft-${randomBytes(4).toString('hex')}`);
  await mkdir(draft);
  if (user !== null) await chown(draft, user.uid, user.gid);
  try {
    await initCluster({ binDir, dataDir: join(draft, 'data'), password, user });
    await rename(join(draft, 'data'), template);
  } catch (error) {
    // Another test process was quicker: its directory is as good as ours.
    if (!existsSync(template)) throw error;
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return template;
}

/** The part that needs a connection only, so that containers and local servers share it. */
export function serverApi(at: {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly major: number;
  readonly binDir: string | null;
}): Omit<TestServerLike, 'stop'> {
  const url: TestServerLike['url'] = (database = 'postgres', user = at.user, secret = at.password) =>
    `postgres://${encodeURIComponent(user)}:${encodeURIComponent(secret)}@${at.host}:${at.port}/${encodeURIComponent(database)}`;
  async function withClient<T>(database: string, use: (client: Client) => Promise<T>): Promise<T> {
    const client = new Client({
      host: at.host,
      port: at.port,
      user: at.user,
      password: at.password,
      database,
      application_name: 'test',
    });
    // A server stopped on purpose ends the connection; the query in flight rejects anyway.
    client.on('error', () => undefined);
    await client.connect();
    try {
      return await use(client);
    } finally {
      await client.end();
    }
  }
  const query: TestServerLike['query'] = (sql, database = 'postgres', params = []) =>
    withClient(database, async (client) => (await client.query<Row>(sql, [...params])).rows);
  const run: TestServerLike['run'] = (sql, database = 'postgres') =>
    withClient(database, async (client) => {
      await client.query(sql);
    });
  return {
    ...at,
    url,
    query,
    run,
    createDatabase: async (name, extra = '') => {
      await run(`CREATE DATABASE ${escapeIdentifier(name)} ${extra}`);
      return url(name);
    },
    dumpSchema: async (database, pgDump) => {
      const program = pgDump ?? (await pgDumpFor(at.major, at.binDir));
      const { stdout } = await exec(
        program,
        ['-s', '-h', at.host, '-p', String(at.port), '-U', at.user, '-d', database],
        {
          maxBuffer: 1 << 28,
          env: {
            PATH: process.env['PATH'] ?? '',
            PGPASSWORD: at.password,
            LC_ALL: 'C',
            PGOPTIONS: '-c timezone=UTC -c datestyle=ISO',
          },
        },
      );
      const lines = stdout.split('\n').filter((line) => line !== '' && !/^(--|\\(un)?restrict )/.test(line));
      return lines.toSorted().join('\n');
    },
    sessions: () => query(`SELECT * FROM pg_stat_activity WHERE application_name LIKE 'pgsluice%'`),
  };
}

/** A pg_dump that is new enough: the server's own where there is one. */
export async function pgDumpFor(major: number, binDir: string | null): Promise<string> {
  for (const dir of await clientBinDirs(binDir === null ? [] : [binDir])) {
    const program = join(dir, 'pg_dump');
    if ((await majorOf(program)) >= major) return program;
  }
  throw new Error(`no pg_dump of major ${major} or newer was found; set PGSLUICE_TEST_PG_${major} to a bin folder`);
}
