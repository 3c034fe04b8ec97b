import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Contest, type Tool, checkout, firstLine, peerEnvironment, tuned } from './contest.ts';
import type { Command } from './measure.ts';
import type { ToolName } from './options.ts';
import { findPgcopydb, pgcopydb } from './tools-pgcopydb.ts';
import { psqlCopy } from './tools-psql.ts';

export { checkout } from './contest.ts';

export type DumpFormat = 'directory' | 'custom';

export interface SkippedTool {
  readonly name: ToolName;
  readonly reason: string;
}

/** Finds the contestants of `names`; those that are not here come back with the reason. `scale`: size of the workloads. */
export async function findTools(
  names: readonly ToolName[],
  binDir: string,
  jobs: number,
  format: DumpFormat = 'directory',
  scale = 1,
): Promise<{ tools: Tool[]; skipped: SkippedTool[] }> {
  const tools: Tool[] = [];
  const skipped: SkippedTool[] = [];
  const found = names.some((name) => name.startsWith('pgcopydb')) ? await findPgcopydb() : null;
  for (const name of names) {
    if (name === 'pgsluice') tools.push(await pgsluice(jobs));
    else if (name === 'dump-restore') tools.push(await dumpRestore(binDir, jobs, format));
    else if (name === 'psql-copy') tools.push(await psqlCopy(binDir, jobs));
    else {
      const paths = found?.paths ?? [];
      for (const path of paths) tools.push(await pgcopydb(name, path, paths.length > 1, { binDir, jobs, scale }));
      if (paths.length === 0) skipped.push({ name, reason: found?.reason ?? '' });
    }
  }
  return { tools: tools.map((tool, at) => apart(tool, tools.slice(0, at))), skipped };
}

/** Figures are kept by name: two programs of one version get different ones. */
function apart(tool: Tool, before: readonly Tool[]): Tool {
  const same = before.filter(({ name }) => name === tool.name).length;
  return same === 0 ? tool : { ...tool, name: `${tool.name} #${same + 1}` };
}

/** @throws Error when the checkout is not built. */
async function pgsluice(jobs: number): Promise<Tool> {
  const program = join(checkout(), 'bin/pgsluice.js');
  if (!existsSync(join(checkout(), 'dist/agent/main.js')))
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
    how: `pg_dump ${directory ? `-Fd -Z0 -j${jobs}` : '-Fc'}, then pg_restore -j${jobs}, with PGOPTIONS ${tuned}`,
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
          env: peerEnvironment(contest, source.password, tuned),
        },
        {
          file: join(binDir, 'pg_restore'),
          args: [...at(target), ...common, ...parallel, '--exit-on-error', dumpDir(contest)],
          env: peerEnvironment(contest, target.password, tuned),
        },
      ];
    },
  };
}
