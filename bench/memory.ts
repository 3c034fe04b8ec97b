import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describeMachine } from './machine.ts';
import { measure } from './measure.ts';
import type { BenchOptions } from './options.ts';
import { readCloneLog } from './phases.ts';
import { gigabytes, megabytes, print, printMachine, seconds, table, writeResult } from './report.ts';
import { type BenchServers, census, dropDatabase, prepareRun } from './servers.ts';
import type { Contest } from './contest.ts';
import { cloneCommand } from './tools.ts';
import { mixedBytes, workloads } from './workloads.ts';

const database = 'bench_memory';
const stateDatabase = 'bench_state';

interface MemoryRun {
  readonly databaseBytes: number;
  readonly rows: number;
  readonly state: 'embedded' | 'postgres';
  readonly seconds: number;
  /** Peak of the agent's process. */
  readonly agentBytes: number | null;
  /** Peak of the agent and of the pg_dump it runs. */
  readonly treeBytes: number | null;
  readonly verified: boolean;
}

/** Whole jobs, verification included, on databases of several sizes: the agent's peak must not depend on the size. */
export async function memory(
  servers: BenchServers,
  options: BenchOptions,
  workDir: string,
  signal: AbortSignal,
): Promise<void> {
  const machine = await describeMachine(servers);
  printMachine(machine);
  const runs: MemoryRun[] = [];
  for (const size of options.sizes) {
    signal.throwIfAborted();
    await servers.source.createDatabase(database);
    await workloads.mixed.fill(servers.source, database, size / mixedBytes);
    const { bytes, rows } = await census(servers.source, database);
    for (const state of options.postgresState ? (['embedded', 'postgres'] as const) : (['embedded'] as const)) {
      const run = await memoryRun(servers, options.jobs, workDir, state, signal);
      runs.push({ databaseBytes: bytes, rows, state, ...run });
      print(`${gigabytes(bytes)}, state ${state}: ${seconds(run.seconds)} s, peak ${megabytes(run.agentBytes)}`);
    }
    await Promise.all([dropDatabase(servers.source, database), dropDatabase(servers.target, database)]);
  }
  print();
  print(
    table(
      ['state', 'database', 'rows', 'seconds', 'agent peak RSS', 'with pg_dump', 'verified'],
      runs
        .toSorted((a, b) => a.state.localeCompare(b.state))
        .map((run) => [
          run.state,
          gigabytes(run.databaseBytes),
          String(run.rows),
          seconds(run.seconds),
          megabytes(run.agentBytes),
          megabytes(run.treeBytes),
          run.verified ? 'yes' : 'no',
        ]),
    ),
  );
  print(`\nAll figures: ${await writeResult('memory', { machine, options, runs })}`);
}

async function memoryRun(
  servers: BenchServers,
  jobs: number,
  workDir: string,
  state: MemoryRun['state'],
  signal: AbortSignal,
): Promise<Omit<MemoryRun, 'databaseBytes' | 'rows' | 'state'>> {
  const contest: Contest = { servers, database, jobs, workDir };
  await prepareRun(servers, database);
  const directory = join(workDir, 'memory-state');
  await rm(directory, { recursive: true, force: true });
  await dropDatabase(servers.target, stateDatabase);
  const at = state === 'embedded' ? directory : await servers.target.createDatabase(stateDatabase);
  const logFile = join(workDir, 'memory.log');
  // The first start makes the embedded database, which takes more memory than any job and would hide its growth.
  const listing = cloneCommand(contest, 'full', at);
  await measure([{ ...listing, args: [listing.args[0] ?? '', 'jobs', `--state=${at}`] }], logFile, signal);
  const measured = await measure([cloneCommand(contest, 'full', at)], logFile, signal);
  const { verified } = await readCloneLog(logFile);
  return { seconds: measured.seconds, agentBytes: measured.mainBytes, treeBytes: measured.treeBytes, verified };
}
