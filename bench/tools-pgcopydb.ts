import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { ToolName, WorkloadName } from './options.ts';
import { type Contest, type Tool, checkout, firstLine, peerEnvironment } from './contest.ts';

const exec = promisify(execFile);

/** Those with a table that is worth being split. */
const large: readonly WorkloadName[] = ['pgbench', 'mixed', 'indexes', 'skew'];
/** At scale 1, MB: five parts of pgbench's accounts. */
const splitAt = 256;

const workDir = (contest: Contest): string => join(contest.workDir, 'pgcopydb');

/**
 * pgcopydb as it is, with what makes it faster (rows in binary, no VACUUM of what it has copied), and with its large tables split as well.
 * `named`: whether its version belongs to its name, because several take part.
 */
export async function pgcopydb(
  variant: Extract<ToolName, `pgcopydb${string}`>,
  path: string,
  named: boolean,
  { binDir, jobs, scale }: { readonly binDir: string; readonly jobs: number; readonly scale: number },
): Promise<Tool> {
  const more = variant === 'pgcopydb' ? [] : ['--use-copy-binary', '--skip-vacuum'];
  if (variant === 'pgcopydb-split')
    more.push('--split-tables-larger-than', `${Math.max(1, Math.round(splitAt * scale))}MB`);
  const numbers = ['--table-jobs', '--index-jobs', '--restore-jobs', '--large-objects-jobs'];
  const options = [...numbers.flatMap((flag) => [flag, String(jobs)]), ...more];
  const version = await firstLine(path, ['--version'], /^pgcopydb version/);
  const number = /version ([\w.]+)/.exec(version)?.[1] ?? path;
  return {
    name: named ? `${variant} ${number}` : variant,
    version,
    how: ['clone', ...options].join(' '),
    ...(variant === 'pgcopydb-split' ? { only: large } : {}),
    prepare: (contest) => rm(workDir(contest), { recursive: true, force: true }),
    commands: (contest) => {
      const { source, target } = contest.servers;
      // The password comes from the environment: both servers have the same one.
      const url = (server: typeof source): string =>
        `postgres://${server.user}@${server.host}:${server.port}/${contest.database}`;
      const env = peerEnvironment(contest, source.password);
      const ends = ['--source', url(source), '--target', url(target), '--dir', workDir(contest)];
      return [
        {
          file: path,
          args: ['clone', ...ends, ...options],
          env: { ...env, PATH: `${binDir}${delimiter}${env['PATH'] ?? ''}` },
        },
      ];
    },
  };
}

/** All that PGSLUICE_BENCH_PGCOPYDB names, else the one in PATH, else the one that a tool beside the project unpacks from Debian packages. */
export async function findPgcopydb(): Promise<{ paths: readonly string[]; reason: string }> {
  const named = (process.env['PGSLUICE_BENCH_PGCOPYDB'] ?? '').split(delimiter).filter((path) => path !== '');
  const missing = named.filter((path) => !existsSync(path));
  if (missing.length > 0) {
    throw new Error(`PGSLUICE_BENCH_PGCOPYDB names ${missing.join(' and ')}, and there is no such file.`);
  }
  if (named.length > 0) return { paths: named, reason: '' };
  const inPath = (process.env['PATH'] ?? '').split(delimiter).map((dir) => join(dir, 'pgcopydb'));
  const installed = inPath.find(existsSync);
  if (installed !== undefined) return { paths: [installed], reason: '' };
  const unpacker = join(process.env['PGSLUICE_TEST_SHARED'] ?? join(checkout(), '../shared'), 'tools/peers');
  if (!existsSync(unpacker)) {
    const reason = 'pgcopydb is not in PATH; install it (apt install pgcopydb) or set PGSLUICE_BENCH_PGCOPYDB';
    return { paths: [], reason };
  }
  const dest = join(tmpdir(), 'pgsluice-bench-peers');
  await mkdir(dest, { recursive: true, mode: 0o755 });
  try {
    await exec(unpacker, [dest], { timeout: 600_000, maxBuffer: 1 << 24 });
    return { paths: [join(dest, 'bin/pgcopydb')], reason: '' };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { paths: [], reason: `pgcopydb could not be unpacked from Debian packages: ${why}` };
  }
}
