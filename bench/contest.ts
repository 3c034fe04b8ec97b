import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Command } from './measure.ts';
import type { WorkloadName } from './options.ts';
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
  /** Known by it in the figures: its ToolName, or with its version where there are several of it. */
  readonly name: string;
  readonly version: string;
  readonly how: string;
  /** The workloads it takes part in; all when left out. */
  readonly only?: readonly WorkloadName[];
  /** Not timed: what must be out of the way before a run. */
  prepare(contest: Contest): Promise<void>;
  commands(contest: Contest): readonly Command[];
}

/** The checkout: the nearest folder above this file, compiled or not, that holds package.json. */
export function checkout(): string {
  let dir = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(dir, 'package.json'))) dir = dirname(dir);
  return dir;
}

/** The first line of what a program says that looks like its version. */
export async function firstLine(file: string, args: readonly string[], pattern: RegExp): Promise<string> {
  const { stdout, stderr } = await exec(file, [...args]);
  const line = `${stdout}\n${stderr}`.split('\n').find((candidate) => pattern.test(candidate));
  return line?.trim() ?? 'unknown version';
}

/** What pgsluice and pgcopydb set by themselves, and a person would who wants it fast. */
export const tuned = '-c maintenance_work_mem=512MB -c synchronous_commit=off';

/** `options`: settings of the peer's sessions (libpq's PGOPTIONS). */
export function peerEnvironment(contest: Contest, password: string, options = ''): Record<string, string> {
  const settings = options === '' ? {} : { PGOPTIONS: options };
  return { PATH: process.env['PATH'] ?? '', HOME: contest.workDir, LC_ALL: 'C', PGPASSWORD: password, ...settings };
}
