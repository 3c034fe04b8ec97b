import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Command } from './measure.ts';
import type { ToolName } from './options.ts';
import type { BenchServers } from './servers.ts';

const exec = promisify(execFile);

export interface Contest {
  readonly servers: BenchServers;
  /** The same name on both sides. */
  readonly database: string;
  readonly jobs: number;
  /** Scratch folder of the whole benchmark. */
  readonly workDir: string;
}

/** One contestant. */
export interface Tool {
  readonly name: ToolName;
  readonly version: string;
  readonly how: string;
  /** Not timed: what must be out of the way before a run. */
  prepare(contest: Contest): Promise<void>;
  commands(contest: Contest): readonly Command[];
}

export type DumpFormat = 'directory' | 'custom';

export interface SkippedTool {
  readonly name: ToolName;
  readonly reason: string;
}

/** The checkout: the nearest folder above this file, compiled or not, that holds package.json. */
export function checkout(): string {
  let dir = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(dir, 'package.json'))) dir = dirname(dir);
  return dir;
}

/** Finds the contestants of `names`; those that are not here come back with the reason. */
export async function findTools(
  names: readonly ToolName[],
  binDir: string,
  jobs: number,
  format: DumpFormat = 'directory',
): Promise<{ tools: Tool[]; skipped: SkippedTool[] }> {
  const tools: Tool[] = [];
  const skipped: SkippedTool[] = [];
  const peer = names.some((name) => name.startsWith('pgcopydb')) ? await findPgcopydb() : null;
  for (const name of names) {
    if (name === 'pgsluice') tools.push(await pgsluice(jobs));
    else if (name === 'dump-restore') tools.push(await dumpRestore(binDir, jobs, format));
    else if (peer?.path !== undefined) tools.push(await pgcopydb(name, peer.path, binDir, jobs));
    else skipped.push({ name, reason: peer?.reason ?? '' });
  }
  return { tools, skipped };
}

async function firstLine(file: string, args: readonly string[], pattern: RegExp): Promise<string> {
  const { stdout, stderr } = await exec(file, [...args]);
  const line = `${stdout}\n${stderr}`.split('\n').find((candidate) => pattern.test(candidate));
  return line?.trim() ?? 'unknown version';
}

/** @throws Error when the checkout is not built. */
async function pgsluice(jobs: number): Promise<Tool> {
  const program = join(checkout(), 'bin/pgsluice.js');
  if (!existsSync(join(checkout(), 'dist/cli/main.js')))
    throw new Error('pgsluice is not built yet. Run: npm run build');
  return {
    name: 'pgsluice',
    version: await firstLine(process.execPath, [program, '--version'], /\d/),
    how: `clone --table-jobs ${jobs} --index-jobs ${jobs} --verify none, state in a directory that is there already`,
    prepare: () => Promise.resolve(),
    commands: (contest) => [cloneCommand(contest, 'none', stateDir(contest))],
  };
}

export const stateDir = ({ workDir }: Contest): string => join(workDir, 'state');
const dumpDir = ({ workDir }: Contest): string => join(workDir, 'dump');
const pgcopydbDir = ({ workDir }: Contest): string => join(workDir, 'pgcopydb');

export function cloneCommand(contest: Contest, verify: 'none' | 'full', state: string): Command {
  const { servers, database, jobs } = contest;
  const number = String(jobs);
  return {
    file: process.execPath,
    args: [
      join(checkout(), 'bin/pgsluice.js'),
      'clone',
      '--json',
      `--table-jobs=${number}`,
      `--index-jobs=${number}`,
      `--verify=${verify}`,
      `--state=${state}`,
    ],
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: contest.workDir,
      PGSLUICE_SOURCE_URL: servers.source.url(database),
      PGSLUICE_TARGET_URL: servers.target.url(database),
      PGSLUICE_PG_BIN: servers.binDir,
    },
  };
}

async function dumpRestore(binDir: string, jobs: number, format: DumpFormat): Promise<Tool> {
  // pg_dump writes a custom archive with one process.
  const directory = format === 'directory';
  return {
    name: 'dump-restore',
    version: await firstLine(join(binDir, 'pg_dump'), ['--version'], /PostgreSQL/),
    how: `pg_dump ${directory ? `-Fd -Z0 -j${jobs}` : '-Fc'}, then pg_restore -j${jobs}`,
    prepare: (contest) => rm(dumpDir(contest), { recursive: true, force: true }),
    commands: (contest) => {
      const { source, target } = contest.servers;
      const at = (server: typeof source): string[] => ['-h', server.host, '-p', String(server.port), '-U', server.user];
      const common = ['-d', contest.database];
      const parallel = ['-j', String(jobs)];
      const how = directory ? ['-Fd', '-Z0', ...parallel] : ['-Fc'];
      return [
        {
          file: join(binDir, 'pg_dump'),
          args: [...at(source), ...common, ...how, '-f', dumpDir(contest)],
          env: peerEnvironment(contest, source.password),
        },
        {
          file: join(binDir, 'pg_restore'),
          args: [...at(target), ...common, ...parallel, '--exit-on-error', dumpDir(contest)],
          env: peerEnvironment(contest, target.password),
        },
      ];
    },
  };
}

async function pgcopydb(
  name: 'pgcopydb' | 'pgcopydb-binary',
  path: string,
  binDir: string,
  jobs: number,
): Promise<Tool> {
  const binary = name === 'pgcopydb-binary' ? ['--use-copy-binary'] : [];
  const numbers = ['--table-jobs', '--index-jobs', '--restore-jobs', '--large-objects-jobs'].flatMap((flag) => [
    flag,
    String(jobs),
  ]);
  const version = await firstLine(path, ['--version'], /^pgcopydb version/);
  return {
    name,
    version,
    how: ['clone', '--table-jobs', jobs, '--index-jobs', jobs, ...binary].join(' '),
    prepare: (contest) => rm(pgcopydbDir(contest), { recursive: true, force: true }),
    commands: (contest) => {
      const { source, target } = contest.servers;
      // The password comes from the environment: both servers have the same one.
      const url = (server: typeof source): string =>
        `postgres://${server.user}@${server.host}:${server.port}/${contest.database}`;
      const env = peerEnvironment(contest, source.password);
      return [
        {
          file: path,
          args: [
            'clone',
            '--source',
            url(source),
            '--target',
            url(target),
            '--dir',
            pgcopydbDir(contest),
            ...numbers,
            ...binary,
          ],
          env: { ...env, PATH: `${binDir}${delimiter}${env['PATH'] ?? ''}` },
        },
      ];
    },
  };
}

function peerEnvironment(contest: Contest, password: string): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '', HOME: contest.workDir, LC_ALL: 'C', PGPASSWORD: password };
}

/** PGSLUICE_BENCH_PGCOPYDB, then PATH, then the tool beside the project that unpacks it from Debian packages. */
async function findPgcopydb(): Promise<{ path?: string; reason: string }> {
  const named = process.env['PGSLUICE_BENCH_PGCOPYDB'];
  if (named !== undefined && named !== '') {
    return existsSync(named)
      ? { path: named, reason: '' }
      : { reason: `PGSLUICE_BENCH_PGCOPYDB names ${named}, and there is no such file` };
  }
  const inPath = (process.env['PATH'] ?? '').split(delimiter).map((dir) => join(dir, 'pgcopydb'));
  const installed = inPath.find(existsSync);
  if (installed !== undefined) return { path: installed, reason: '' };
  const unpacker = join(process.env['PGSLUICE_TEST_SHARED'] ?? join(checkout(), '../shared'), 'tools/peers');
  if (!existsSync(unpacker)) {
    return { reason: 'pgcopydb is not in PATH; install it (apt install pgcopydb) or set PGSLUICE_BENCH_PGCOPYDB' };
  }
  const dest = join(tmpdir(), 'pgsluice-bench-peers');
  await mkdir(dest, { recursive: true, mode: 0o755 });
  try {
    await exec(unpacker, [dest], { timeout: 600_000, maxBuffer: 1 << 24 });
    return { path: join(dest, 'bin/pgcopydb'), reason: '' };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { reason: `pgcopydb could not be unpacked from Debian packages: ${why}` };
  }
}
