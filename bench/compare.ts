import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startProxy } from '../test/support/proxy.ts';
import { drawChart } from './chart.ts';
import { type Limit, limitOf } from './limit.ts';
import { describeMachine } from './machine.ts';
import { type Measure, measure } from './measure.ts';
import type { BenchOptions, ToolName } from './options.ts';
import { type CloneLog, readCloneLog } from './phases.ts';
import { gigabytes, megabytes, print, printMachine, seconds, table, tellElsewhere, writeResult } from './report.ts';
import { type BenchServers, type Census, census, cpuOf, dropDatabase, prepareRun, reachedAt } from './servers.ts';
import { pairedRatios, spread } from './stats.ts';
import { type Contest, type Tool, cloneCommand, findTools, stateDir } from './tools.ts';
import { type Workload, workloads } from './workloads.ts';

interface Run extends Measure {
  readonly sourceCpu: number | null;
  readonly targetCpu: number | null;
  /** Only of pgsluice. */
  readonly log: CloneLog | null;
}

interface WorkloadResult {
  readonly workload: string;
  readonly what: string;
  readonly source: Census;
  readonly runs: Readonly<Partial<Record<ToolName, readonly Run[]>>>;
  readonly verified: Run | null;
  readonly limit: Limit | null;
}

/** Times all contestants in turn on the same two servers, prints what was seen and writes it down. */
export async function compare(
  servers: BenchServers,
  options: BenchOptions,
  workDir: string,
  signal: AbortSignal,
): Promise<void> {
  if (options.json) tellElsewhere();
  const machine = await describeMachine(servers);
  const { tools, skipped } = await findTools(options.tools, servers.binDir, options.jobs);
  printMachine(machine);
  for (const tool of tools) print(`${tool.name}: ${tool.version}; ${tool.how}`);
  for (const { name, reason } of skipped) print(`${name}: skipped, ${reason}`);
  const results: WorkloadResult[] = [];
  for (const name of options.workloads) {
    signal.throwIfAborted();
    const result = await compareOn(workloads[name], tools, servers, options, workDir, signal);
    results.push(result);
    printResult(result);
  }
  const named = tools.map(({ name, version, how }) => ({ name, version, how }));
  print(`\n${summary(results)}`);
  const all = { machine, options, tools: named, skipped, results };
  if (options.chart !== null) await writeFile(options.chart, drawChart(machine, results.map(charted)));
  print(`\nAll figures: ${await writeResult('compare', all)}`);
  if (options.json) process.stdout.write(`${JSON.stringify(all)}\n`);
}

async function compareOn(
  workload: Workload,
  tools: readonly Tool[],
  servers: BenchServers,
  options: BenchOptions,
  workDir: string,
  signal: AbortSignal,
): Promise<WorkloadResult> {
  const database = `bench_${workload.name}`;
  const half = (workload.roundTripMs ?? 0) / 2;
  const lines = half === 0 ? [] : await Promise.all([servers.source, servers.target].map((one) => lineTo(one, half)));
  const [toSource, toTarget] = lines;
  const reached =
    toSource === undefined || toTarget === undefined
      ? servers
      : {
          ...servers,
          source: reachedAt(servers.source, toSource.port),
          target: reachedAt(servers.target, toTarget.port),
        };
  const contest: Contest = { servers: reached, database, jobs: options.jobs, workDir };
  print(`\n## ${workload.name}: ${workload.what} (scale ${options.scale})`);
  await servers.source.createDatabase(database);
  await workload.fill(servers.source, database, options.scale);
  const source = await census(servers.source, database);
  print(
    `${gigabytes(source.bytes)} on the source, ${source.tables} tables, ${source.rows} rows, ${source.indexes} indexes`,
  );
  const once = (tool: Tool): Promise<Run> => timedRun(tool, contest, servers, source, signal);
  const [first] = tools;
  if (first !== undefined) print(`warm-up: ${first.name} ${seconds((await once(first)).seconds)} s`);
  const runs: Partial<Record<ToolName, Run[]>> = {};
  for (let round = 1; round <= options.rounds; round += 1) {
    const line: string[] = [];
    for (const tool of tools) {
      const run = await once(tool);
      (runs[tool.name] ??= []).push(run);
      line.push(`${tool.name} ${seconds(run.seconds)}`);
    }
    print(`round ${round}: ${line.join(', ')} s`);
  }
  const ours = tools.find(({ name }) => name === 'pgsluice');
  const verified =
    ours !== undefined && options.verified
      ? await once({ ...ours, commands: () => [cloneCommand(contest, 'full', stateDir(contest))] })
      : null;
  const limit = options.limit && half === 0 ? await limitOf(servers, database, workDir) : null;
  for (const line of lines) await line.close();
  await Promise.all([dropDatabase(servers.source, database), dropDatabase(servers.target, database)]);
  return { workload: workload.name, what: workload.what, source, runs, verified, limit };
}

/** @throws Error when the tool fails, or says that it is done and the target is not what the source is. */
async function timedRun(
  tool: Tool,
  contest: Contest,
  servers: BenchServers,
  expected: Census,
  signal: AbortSignal,
): Promise<Run> {
  const { database, workDir } = contest;
  await prepareRun(servers, database);
  await tool.prepare(contest);
  const [sourceBefore, targetBefore] = await Promise.all([cpuOf(servers.source), cpuOf(servers.target)]);
  const logFile = join(workDir, `${tool.name}.log`);
  const measured = await measure(tool.commands(contest), logFile, signal);
  const [sourceAfter, targetAfter] = await Promise.all([cpuOf(servers.source), cpuOf(servers.target)]);
  const got = await census(servers.target, database);
  for (const what of ['tables', 'rows', 'indexes', 'constraints', 'largeObjects'] as const) {
    if (got[what] !== expected[what]) {
      throw new Error(
        `${tool.name} ended well, but the target has ${got[what]} ${what} and the source ${expected[what]}.`,
      );
    }
  }
  return {
    ...measured,
    sourceCpu: used(sourceBefore, sourceAfter),
    targetCpu: used(targetBefore, targetAfter),
    log: tool.name === 'pgsluice' ? await readCloneLog(logFile) : null,
  };
}

function used(before: number | null, after: number | null): number | null {
  return before === null || after === null ? null : after - before;
}

const lineTo = (server: BenchServers['source'], delayMs: number): ReturnType<typeof startProxy> =>
  startProxy(server.port, undefined, undefined, undefined, delayMs);

/** Ours by the best peer's, and by what the servers alone need, of every workload. */
function summary(results: readonly WorkloadResult[]): string {
  const rows = results.map(({ workload, runs, verified, limit }) => {
    const ours = runs.pgsluice ?? [];
    const times = ours.map((run) => run.seconds);
    const peers = Object.entries(runs).flatMap(([name, list]) =>
      name === 'pgsluice' || list.length === 0
        ? []
        : [{ name, median: spread(list.map((run) => run.seconds)).median, list }],
    );
    const [best] = peers.toSorted((a, b) => a.median - b.median);
    const median = times.length === 0 ? null : spread(times).median;
    const ratio =
      best === undefined || median === null
        ? null
        : spread(
            pairedRatios(
              times,
              best.list.map((run) => run.seconds),
            ),
          ).median;
    const more = verified === null || median === null ? null : (verified.seconds - median) / median;
    const byLimit = limit === null || median === null ? null : median / limit.seconds;
    const two = (value: number | null): string => (value === null ? 'n/a' : value.toFixed(2));
    return [
      workload,
      seconds(median),
      best === undefined ? 'n/a' : `${best.name} ${seconds(best.median)}`,
      two(ratio),
      seconds(limit?.seconds ?? null),
      two(byLimit),
      two(more),
    ];
  });
  return table(
    ['workload', 'pgsluice s', 'best peer s', 'ratio', 'limit s', 'by limit', 'full verification adds'],
    rows,
  );
}

function charted({ workload, runs, limit }: WorkloadResult): Parameters<typeof drawChart>[1][number] {
  const bars = Object.entries(runs).flatMap(([name, list]) =>
    list.length === 0 ? [] : [{ name, ...spread(list.map((run) => run.seconds)) }],
  );
  return { workload, bars, limit: limit?.seconds ?? null };
}

function printResult({ runs, verified, limit }: WorkloadResult): void {
  const rows = Object.entries(runs).map(([name, list]) => [name, ...cells(list)]);
  if (verified !== null) rows.push(['pgsluice, all verified', ...cells([verified])]);
  print(
    table(
      ['seconds', 'min', 'median', 'max', 'tool CPU', 'source CPU', 'target CPU', 'peak RSS', 'main process'],
      rows,
    ),
  );
  if (limit !== null) {
    const { definitions, copyOut, copyIn, indexes } = limit;
    const parts = Object.entries({ definitions, 'copy out': copyOut, 'copy in': copyIn, 'indexes and keys': indexes });
    print(
      `limit ${seconds(limit.seconds)} s: CPU of the servers alone (${parts.map(([name, cpu]) => `${name} ${seconds(cpu)}`).join(', ')} s) by ${limit.cores} cores`,
    );
  }
  const ours = runs.pgsluice ?? [];
  for (const [name, list] of Object.entries(runs)) {
    if (name === 'pgsluice' || ours.length === 0) continue;
    const ratio = spread(
      pairedRatios(
        ours.map((run) => run.seconds),
        list.map((run) => run.seconds),
      ),
    );
    const range = `${ratio.min.toFixed(2)} to ${ratio.max.toFixed(2)}`;
    print(
      `pgsluice / ${name}: median ${ratio.median.toFixed(2)} (${range}), ${ratio.median <= 1 ? 'not slower' : 'slower'}`,
    );
  }
  const typical = middle(ours);
  const phases = typical?.log?.phases ?? [];
  if (phases.length > 0) {
    print(`phases of its middle run: ${phases.map(({ phase, seconds: s }) => `${phase} ${seconds(s)}`).join(', ')} s`);
  }
}

function cells(runs: readonly Run[]): string[] {
  const { min, median, max } = spread(runs.map((run) => run.seconds));
  const typical = middle(runs);
  return [
    ...[min, median, max, typical?.cpu ?? null, typical?.sourceCpu ?? null, typical?.targetCpu ?? null].map(seconds),
    megabytes(typical?.treeBytes ?? null),
    megabytes(typical?.mainBytes ?? null),
  ];
}

/** The run whose time is the median, or the one just below it. */
function middle(runs: readonly Run[]): Run | undefined {
  return runs.toSorted((a, b) => a.seconds - b.seconds)[Math.floor((runs.length - 1) / 2)];
}
