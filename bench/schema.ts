import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { countLargeSchema, fullSize, makeLargeSchema, scaled } from '../test/support/large-schema.ts';
import type { LargeSchemaCount } from '../test/support/large-schema.ts';
import { majorBinDir, startServer } from '../test/support/servers.ts';
import { describeMachine } from './machine.ts';
import { type Command, type Measure, measure } from './measure.ts';
import type { BenchOptions } from './options.ts';
import { readCloneLog } from './phases.ts';
import { megabytes, print, printMachine, seconds, table, writeResult } from './report.ts';
import { type BenchServers, cpuOf, dropDatabase, prepareRun, serverSettings } from './servers.ts';
import { setAside } from './settle.ts';
import { pairedRatios, spread } from './stats.ts';
import { type Contest, type Tool, checkout } from './contest.ts';
import { cloneCommand, findTools, stateDir } from './tools.ts';

const database = 'bench_schema';
const sourceMajor = 15;
const targetMajor = 17;

interface Run extends Measure {
  readonly sourceCpu: number | null;
  readonly targetCpu: number | null;
  readonly phases: readonly { readonly phase: string; readonly seconds: number }[];
}

/** Two servers of different majors; the programs are those of the newer one. */
export async function startMajors(): Promise<BenchServers> {
  const dirs = await Promise.all([majorBinDir(sourceMajor), majorBinDir(targetMajor)]);
  const [sourceDir, targetDir] = dirs;
  if (sourceDir === null || sourceDir === undefined || targetDir === null || targetDir === undefined) {
    throw new Error(`Set PGSLUICE_TEST_PG_${sourceMajor} and PGSLUICE_TEST_PG_${targetMajor} to folders with servers.`);
  }
  const source = await startServer({ name: 'bench-source', binDir: sourceDir, settings: serverSettings });
  try {
    const target = await startServer({ name: 'bench-target', binDir: targetDir, settings: serverSettings });
    const stop = async (): Promise<void> => {
      await Promise.all([source.stop(), target.stop()]);
    };
    return { source, target, binDir: targetDir, stop };
  } catch (error) {
    await source.stop();
    throw error;
  }
}

/** Cloning a schema of thousands of objects between majors beside pg_dump -Fc | pg_restore -j, in turn on the same two servers. */
export async function schema(
  servers: BenchServers,
  options: BenchOptions,
  workDir: string,
  signal: AbortSignal,
): Promise<void> {
  if (!existsSync(join(servers.binDir, 'pg_dump'))) throw new Error(`${servers.binDir} has no pg_dump.`);
  const machine = await describeMachine(servers);
  printMachine(machine);
  const size = scaled(fullSize, options.scale);
  const started = performance.now();
  await servers.source.createDatabase(database);
  await makeLargeSchema(servers.source, database, size);
  const counted = await countLargeSchema(servers.source, database);
  print(
    `\n## schema: ${counted.tables} tables, ${counted.indexes} indexes, ${counted.partitions} partitions, ${counted.routines} functions and views ${size.depth} deep, seed ${size.seed}; made in ${seconds((performance.now() - started) / 1000)} s`,
  );
  const contest: Contest = { servers, database, jobs: options.jobs, workDir };
  const { tools } = await findTools(['pgsluice', 'dump-restore'], servers.binDir, options.jobs, 'custom');
  const [ours, peer] = tools;
  if (ours === undefined || peer === undefined) throw new Error('both take part in a round');
  const clone: Tool = { ...ours, commands: () => [cloneCommand(contest, 'none', stateDir(contest))] };
  const verified: Tool = { ...ours, commands: () => [cloneCommand(contest, 'full', stateDir(contest))] };
  // The first use of a state directory makes its database, which a second one finds.
  const warm: Command = { ...cloneCommand(contest, 'none', stateDir(contest)), args: listArguments(contest) };
  await measure([warm], join(workDir, 'warm-up.log'), signal);
  const aside: string[] = [];
  const runs = { clone: [] as Run[], verified: [] as Run[], peer: [] as Run[] };
  for (let round = 0; round < options.rounds; round += 1) {
    const turn = async (): Promise<void> => {
      runs.clone.push(await timed(clone, contest, counted, aside, signal));
    };
    const other = async (): Promise<void> => {
      runs.peer.push(await timed(peer, contest, counted, aside, signal));
    };
    for (const run of round % 2 === 0 ? [turn, other] : [other, turn]) await run();
    if (options.verified) runs.verified.push(await timed(verified, contest, counted, aside, signal));
    const line = [runs.clone, runs.peer, runs.verified].map((list) => seconds(list.at(-1)?.seconds ?? null));
    print(
      `round ${round + 1}: pgsluice ${line[0]}, ${peer.name} ${line[1]}, pgsluice with full verification ${line[2]} s`,
    );
  }
  print();
  const rows = [
    ['pgsluice', runs.clone],
    ['pgsluice, all verified', runs.verified],
    [peer.how, runs.peer],
  ] as const;
  print(
    table(
      ['seconds', 'min', 'median', 'max', 'tool CPU', 'source CPU', 'target CPU', 'peak RSS', 'main process'],
      rows.filter(([, list]) => list.length > 0).map(([name, list]) => [name, ...cells(list)]),
    ),
  );
  const ratio = spread(
    pairedRatios(
      runs.clone.map((run) => run.seconds),
      runs.peer.map((run) => run.seconds),
    ),
  );
  print(
    `pgsluice / ${peer.name}: median ${ratio.median.toFixed(2)} (${ratio.min.toFixed(2)} to ${ratio.max.toFixed(2)})`,
  );
  for (const [name, list] of rows) {
    const phases = list.at(-1)?.phases ?? [];
    if (phases.length > 0)
      print(`phases of ${name}: ${phases.map(({ phase, seconds: s }) => `${phase} ${seconds(s)}`).join(', ')} s`);
  }
  await Promise.all([
    dropDatabase(servers.source, database),
    ...[database, ...aside].map((name) => dropDatabase(servers.target, name)),
  ]);
  print(`\nAll figures: ${await writeResult('schema', { machine, options, size, counted, runs })}`);
}

function listArguments(contest: Contest): string[] {
  return [join(checkout(), 'bin/pgsluice.js'), 'jobs', '--json', `--state=${stateDir(contest)}`];
}

function cells(runs: readonly Run[]): string[] {
  const { min, median, max } = spread(runs.map((run) => run.seconds));
  const last = runs.at(-1);
  return [
    ...[min, median, max, last?.cpu ?? null, last?.sourceCpu ?? null, last?.targetCpu ?? null].map(seconds),
    megabytes(last?.treeBytes ?? null),
    megabytes(last?.mainBytes ?? null),
  ];
}

/** @throws Error when the tool fails, or ends well without having made everything. */
async function timed(
  tool: Tool,
  contest: Contest,
  expected: LargeSchemaCount,
  aside: string[],
  signal: AbortSignal,
): Promise<Run> {
  const { servers, workDir } = contest;
  await setAside(servers.target, database, aside);
  await prepareRun(servers, database);
  await tool.prepare(contest);
  const before = await Promise.all([cpuOf(servers.source), cpuOf(servers.target)]);
  const logFile = join(workDir, `${tool.name}.log`);
  const measured = await measure(tool.commands(contest), logFile, signal);
  const after = await Promise.all([cpuOf(servers.source), cpuOf(servers.target)]);
  const got = await countLargeSchema(servers.target, database);
  for (const what of ['tables', 'indexes', 'partitions', 'routines'] as const) {
    if (got[what] !== expected[what])
      throw new Error(`${tool.name} ended well with ${got[what]} ${what}; the source has ${expected[what]}.`);
  }
  const used = (at: 0 | 1): number | null => {
    const [from, to] = [before[at], after[at]];
    return from === null || to === null ? null : to - from;
  };
  const phases = tool.name === 'pgsluice' ? (await readCloneLog(logFile)).phases : [];
  return { ...measured, sourceCpu: used(0), targetCpu: used(1), phases };
}
