import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { PgsluiceError, cancelledError, throwIfAborted } from '../errors.ts';
import { JobRequest } from '../contract/options.ts';
import { JobManager } from '../jobs/manager.ts';
import { openSession } from '../postgres/session.ts';
import { parseEndpoint } from '../postgres/settings.ts';
import { findPgTools } from '../postgres/tools.ts';
import { type RunningServer, startServer } from '../server/server.ts';
import { watchJob } from './demo-progress.ts';
import { type EmbeddedPostgres, prepareEmbedded } from './embedded.ts';
import { LocalServer, startWatchdog } from './local-server.ts';
import { type OrdinaryUser, ordinaryUser } from './ordinary-user.ts';
import { createShopRoles, fillShop } from './shop.ts';

export interface DemoOptions {
  /** Stop everything when the migration is over, instead of leaving the page up until Ctrl-C. */
  readonly exit: boolean;
  /** Port of the page; by default 7432, or any free one when that is taken. */
  readonly port?: number;
  readonly version?: string;
  readonly write?: (line: string) => void;
}

/** What the machine lacks, apart from what went wrong. */
const notPossibleHere = /^(PG_TOOLS_|EMBEDDED_POSTGRES_|NO_ORDINARY_USER|PORT_)/;
const defaultPort = 7432;
const database = 'shop';
const webDir = fileURLToPath(new URL('../../dist/web/', import.meta.url));

/** The demo shows work, not durability: a throwaway server may lose its data in a power cut. */
const serverSettings = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  max_wal_size: '4GB',
  shared_buffers: '128MB',
  maintenance_work_mem: '128MB',
  wal_level: 'logical',
  max_connections: '40',
  // Filling takes many locks in one transaction, and autovacuum would stand in its way; it ends with ANALYZE.
  autovacuum: 'off',
};

/**
 * Two throwaway PostgreSQL servers, a shop on the first, the agent with its page, and one migration to its end.
 * Answers the exit code: 0 verified, 1 failed, 2 not possible on this machine, 3 blocked, 4 differences, 130 cancelled.
 */
export async function runDemo(options: DemoOptions): Promise<number> {
  const write = options.write ?? ((line: string) => void process.stdout.write(`${line}\n`));
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    // Who asks twice is in a hurry: the watchdogs remove what is left.
    if (stop.signal.aborted) process.exit(130);
    write('');
    write('Stopping the servers and removing what the demo made …');
    stop.abort(cancelledError(`The demo was stopped by ${signal}.`));
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  process.on('SIGHUP', onSignal);
  const cleanups: (() => Promise<void>)[] = [];
  try {
    return await demo(options, write, stop.signal, cleanups);
  } catch (error) {
    if (stop.signal.aborted) return 130;
    if (!(error instanceof PgsluiceError)) throw error;
    write(`${error.message} ${error.hint}`);
    return notPossibleHere.test(error.code) ? 2 : 1;
  } finally {
    for (const cleanup of cleanups.toReversed()) {
      await cleanup().catch((error: unknown) => write(`Not everything was removed: ${messageOf(error)}`));
    }
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    process.off('SIGHUP', onSignal);
  }
}

async function demo(
  options: DemoOptions,
  write: (line: string) => void,
  signal: AbortSignal,
  cleanups: (() => Promise<void>)[],
): Promise<number> {
  const dir = await mkdtemp(join(tmpdir(), 'pgsluice-demo-'));
  const watchdog = startWatchdog(dir);
  cleanups.push(async () => {
    await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    watchdog?.stdin?.end();
  });
  // The servers' account has to reach its folders in here; the state stays closed.
  await chmod(dir, 0o755);
  const binaries = await prepareEmbedded(join(dir, 'postgres'));
  const tools = await findPgTools({ binDir: process.env['PGSLUICE_PG_BIN'] ?? null, minMajor: binaries.major });
  const user = await ordinaryUser();

  write(`Starting two PostgreSQL ${binaries.major} servers (pg_dump ${tools.version} from ${tools.dir}) …`);
  const begun = Date.now();
  const source = localServer('source', dir, binaries, user);
  const target = localServer('target', dir, binaries, user);
  cleanups.push(async () => {
    await Promise.all([source.remove(), target.remove()]);
  });
  await startBoth([source, target], signal);
  await prepareDatabases(source, target, write, signal);
  write(`The shop is ready after ${seconds(Date.now() - begun)}.`);

  let page: RunningServer | null = null;
  const manager = await JobManager.open({
    state: await privateFolder(join(dir, 'state')),
    secretKey: null,
    concurrency: 2,
    pgBinDir: process.env['PGSLUICE_PG_BIN'] ?? null,
    logger: pino({ level: 'silent' }),
    role: 'daemon',
  });
  // First the job, so that its last events still reach the page; then the page.
  cleanups.push(async () => {
    page?.stopListening();
    await manager.stop('The demo ends.');
    await page?.close();
  });
  const token = randomBytes(24).toString('base64url');
  page = await openPage(manager, token, options);
  const request = JobRequest.parse({
    name: 'Demo: the shop moves',
    source: { url: urlOf(source) },
    target: { url: urlOf(target) },
    start: true,
  });
  const job = await manager.create(request);
  write('');
  write(`  Watch it: ${page.url}/#token=${token}&/jobs/${job.id}`);
  write('');
  throwIfAborted(signal);
  const code = await watchJob({ manager, id: job.id, write, signal });
  if (options.exit || signal.aborted) return signal.aborted ? 130 : code;
  write('');
  write('The page and both servers stay up. Ctrl-C stops them and removes everything.');
  write(`  source: ${urlOf(source)}`);
  write(`  target: ${urlOf(target)}`);
  await aborted(signal);
  return code;
}

function localServer(name: string, dir: string, binaries: EmbeddedPostgres, user: OrdinaryUser | null): LocalServer {
  return new LocalServer({
    binDir: binaries.binDir,
    dir: join(dir, name),
    password: randomBytes(12).toString('base64url'),
    user,
    settings: serverSettings,
  });
}

/** Waits for both even when one fails, so that nothing is still starting while it is being removed. */
async function startBoth(servers: readonly LocalServer[], signal: AbortSignal): Promise<void> {
  const outcomes = await Promise.allSettled(
    servers.map(async (server) => {
      await server.create();
      throwIfAborted(signal);
      await server.start();
    }),
  );
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

async function prepareDatabases(
  source: LocalServer,
  target: LocalServer,
  write: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  for (const [server, side] of [
    [source, 'source'],
    [target, 'target'],
  ] as const) {
    const session = await openSession(parseEndpoint({ url: urlOf(server, 'postgres') }, side), {
      signal,
      side,
      purpose: 'demo',
    });
    try {
      await createShopRoles(session);
      await session.run(`CREATE DATABASE ${database}`);
    } finally {
      await session.close();
    }
  }
  const session = await openSession(parseEndpoint({ url: urlOf(source) }, 'source'), {
    signal,
    side: 'source',
    purpose: 'demo',
  });
  try {
    await fillShop(session, (label) => write(`  filling the shop: ${label}`));
  } finally {
    await session.close();
  }
}

/** The usual port, so that the address is easy to keep; any free one when it is taken and nobody asked for it. */
async function openPage(manager: JobManager, token: string, options: DemoOptions): Promise<RunningServer> {
  const open = (port: number): Promise<RunningServer> =>
    startServer({
      host: '127.0.0.1',
      port,
      manager,
      token,
      webDir,
      version: options.version ?? 'demo',
      logger: pino({ level: 'silent' }),
    });
  if (options.port !== undefined) return open(options.port);
  try {
    return await open(defaultPort);
  } catch (error) {
    if (error instanceof PgsluiceError && error.code === 'PORT_IN_USE') return open(0);
    throw error;
  }
}

async function privateFolder(path: string): Promise<string> {
  await mkdir(path, { mode: 0o700 });
  return path;
}

function urlOf(server: LocalServer, name = database): string {
  return `postgres://postgres:${encodeURIComponent(server.input.password)}@127.0.0.1:${server.port}/${name}`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
