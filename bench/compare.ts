import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startProxy } from '../test/support/proxy.ts';
import { drawChart } from './chart.ts';
import { printRuns } from './compare-report.ts';
import type { Contest, Tool } from './contest.ts';
import { cloneEvidence } from './figures.ts';
import { type Limit, limitOf } from './limit.ts';
import { describeMachine } from './machine.ts';
import { type Measure, measure } from './measure.ts';
import type { BenchOptions, WorkloadName } from './options.ts';
import { orderOf } from './order.ts';
import { type CloneLog, readCloneLog } from './phases.ts';
import { gigabytes, print, printMachine, resultFile, seconds, tellElsewhere } from './report.ts';
import { type BenchServers, type Census, census, cpuOf, dropDatabase, reachedAt } from './servers.ts';
import { setAside, settle } from './settle.ts';
import { printVerdicts } from './summary.ts';
import { judge } from './targets.ts';
import { cloneCommand, findTools, stateDir } from './tools.ts';
import { type Workload, workloads } from './workloads.ts';

export interface Run extends Measure {
  readonly sourceCpu: number | null;
  readonly targetCpu: number | null;
  /** Only of pgsluice. */
  readonly log: CloneLog | null;
}

export interface WorkloadResult {
  readonly workload: WorkloadName;
  readonly what: string;
  readonly source: Census;
  /** By the tool's name, round by round. */
  readonly runs: Readonly<Record<string, readonly Run[]>>;
  /** pgsluice with its full verification, round by round. */
  readonly verified: readonly Run[];
  readonly limit: Limit | null;
  /** Peers that did not come to their end, with what they said; their runs do not count. */
  readonly failed: Readonly<Record<string, string>>;
}

/** Times all contestants in turn on the same two servers, prints what was seen and writes it down after every workload. */
export async function compare(
  servers: BenchServers,
  options: BenchOptions,
  workDir: string,
  signal: AbortSignal,
): Promise<void> {
  if (options.json) tellElsewhere();
  const at = new Date();
  const save = resultFile('compare');
  const machine = await describeMachine(servers);
  const { jobs, scale } = options;
  const { tools, skipped } = await findTools(options.tools, servers.binDir, jobs, 'directory', scale);
  printMachine(machine);
  print('Before every run: servers restarted, caches of the source filled, all that waits for the disk written');
  for (const tool of tools) print(`${tool.name}: ${tool.version}; ${tool.how}`);
  for (const { name, reason } of skipped) print(`${name}: skipped, ${reason}`);
  const named = tools.map(({ name, version, how }) => ({ name, version, how }));
  const results: WorkloadResult[] = [];
  const all = { at: at.toISOString(), machine, options, tools: named, skipped, results };
  let file = '';
  for (const name of options.workloads) {
    signal.throwIfAborted();
    const workload = workloads[name];
    const taking = tools.filter(({ only }) => only?.includes(name) ?? true);
    const result = await compareOn(workload, taking, servers, options, workDir, signal);
    results.push(result);
    file = await save(all);
    printRuns(result);
  }
  const evidence = results.flatMap((result) => cloneEvidence(result, { at: all.at, scale }));
  const verdicts = judge(evidence).filter(({ measured }) => measured !== null);
  for (const { workload, failed } of results) {
    for (const name of Object.keys(failed)) print(`\n${name} failed in ${workload}: it is not among the peers there`);
  }
  print();
  printVerdicts(verdicts);
  if (options.chart !== null) {
    await writeFile(options.chart, drawChart(verdicts, { machine, tools: tools.map(({ version }) => version), at }));
  }
  print(`\nAll figures: ${file}`);
  if (options.json) process.stdout.write(`${JSON.stringify({ ...all, verdicts })}\n`);
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
  const aside: string[] = [];
  let slowest: number | null = null;
  const once = async (tool: Tool): Promise<Run> => {
    if (workload.manyFiles === true) await setAside(servers.target, database, aside);
    const peer = tool.name !== 'pgsluice';
    const patience = peer && slowest !== null ? Math.max(leastPatience, slowest * hopeless) : null;
    const run = await timedRun(tool, contest, servers, source, patience, signal);
    if (!peer) slowest = Math.max(slowest ?? 0, run.seconds);
    return run;
  };
  const ours = tools.find(({ name }) => name === 'pgsluice');
  const checking: Tool | null =
    ours !== undefined && options.verified
      ? { ...ours, commands: () => [cloneCommand(contest, 'full', stateDir(contest))] }
      : null;
  const failed: Record<string, string> = {};
  /** null for a peer that fails: it takes no further part, and the others go on. */
  const attempt = async (tool: Tool): Promise<Run | null> => {
    if (failed[tool.name] !== undefined) return null;
    try {
      return await once(tool);
    } catch (error) {
      if (tool === ours || tool === checking || signal.aborted) throw error;
      const why = error instanceof Error ? error.message : String(error);
      failed[tool.name] = why;
      print(`${tool.name} takes no further part in ${workload.name}: ${why}`);
      return null;
    }
  };
  const warm: string[] = [];
  for (const tool of tools) warm.push(`${tool.name} ${seconds((await attempt(tool))?.seconds ?? null)}`);
  print(`warm-up: ${warm.join(', ')} s`);
  const runs: Record<string, Run[]> = Object.fromEntries(tools.map(({ name }) => [name, []]));
  const verified: Run[] = [];
  for (let round = 0; round < options.rounds; round += 1) {
    const line: string[] = [];
    for (const tool of orderOf([...tools, ...(checking === null ? [] : [checking])], round)) {
      const run = await attempt(tool);
      if (run === null) continue;
      (tool === checking ? verified : runs[tool.name])?.push(run);
      line.push(`${tool.name}${tool === checking ? ', all verified' : ''} ${seconds(run.seconds)}`);
    }
    print(`round ${round + 1}: ${line.join('; ')} s`);
  }
  for (const name of Object.keys(failed)) runs[name] = [];
  const limit = options.limit ? await limitOf(servers, database, workDir) : null;
  for (const line of lines) await line.close();
  await dropDatabase(servers.source, database);
  for (const name of [database, ...aside]) await dropDatabase(servers.target, name);
  return { workload: workload.name, what: workload.what, source, runs, verified, limit, failed };
}

/** A peer that takes so many times as long as ours, and so many seconds, is not waited for: it is not the best one. */
const hopeless = 10;
const leastPatience = 120;

/** `patience`: seconds. @throws Error when the tool fails, takes longer, or is done and the target is not what the source is. */
async function timedRun(
  tool: Tool,
  contest: Contest,
  servers: BenchServers,
  expected: Census,
  patience: number | null,
  signal: AbortSignal,
): Promise<Run> {
  const { database, workDir } = contest;
  await settle(servers, database);
  await tool.prepare(contest);
  const [sourceBefore, targetBefore] = await Promise.all([cpuOf(servers.source), cpuOf(servers.target)]);
  const logFile = join(workDir, 'run.log');
  const late = new AbortController();
  const clock = patience === null ? null : setTimeout(() => late.abort(), patience * 1000);
  const measured = await measure(tool.commands(contest), logFile, AbortSignal.any([signal, late.signal]))
    .catch((error: unknown) => {
      if (signal.aborted || !late.signal.aborted) throw error;
      throw new Error(`It was not done after ${seconds(patience)} s.`, { cause: error });
    })
    .finally(() => {
      if (clock !== null) clearTimeout(clock);
    });
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
