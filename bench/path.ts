import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeCertificates } from '../test/support/tls.ts';
import { pathEvidence } from './figures.ts';
import { describeMachine } from './machine.ts';
import { type Measure, measure } from './measure.ts';
import type { BenchOptions } from './options.ts';
import { orderOf } from './order.ts';
import type { PathCopied, PathTask } from './path-child.ts';
import { gigabytes, megabytes, print, printMachine, resultFile, seconds, table } from './report.ts';
import { type BenchServers, cpuOf, dropDatabase, startServers } from './servers.ts';
import { settle } from './settle.ts';
import { spread } from './stats.ts';
import { printVerdicts } from './summary.ts';
import { type PathName, judge, pathNames } from './targets.ts';
import { workloads } from './workloads.ts';

const database = 'bench_path';
const accounts = 'public.pgbench_accounts';
const ways = ['wire', 'streams'] as const;
type Way = (typeof ways)[number];

interface Copied extends PathCopied {
  readonly cpuPerGb: number;
  readonly peakBytes: number | null;
  readonly sourceCpu: number | null;
  readonly targetCpu: number | null;
}
type Round = Readonly<Record<Way, Copied>>;

/** Servers that take connections with TLS and without it. */
export async function startTlsServers(workDir: string): Promise<BenchServers> {
  return startServers(await makeCertificates(certificates(workDir)));
}

const certificates = (workDir: string): string => join(workDir, 'tls');

/** One big table as one COPY by an agent in a process of its own, both ways in turn: CPU time a GB, wall time and memory. */
export async function path(
  servers: BenchServers,
  options: BenchOptions,
  workDir: string,
  signal: AbortSignal,
): Promise<void> {
  const { source } = servers;
  const at = new Date().toISOString();
  const save = resultFile('path');
  const machine = await describeMachine(servers);
  printMachine(machine);
  await source.createDatabase(database);
  await workloads.pgbench.fill(source, database, options.scale);
  const contents = await checksum(source);
  const [size] = await source.query(`SELECT pg_table_size('${accounts}')::float8 AS bytes`, database);
  print(
    `\n## path: pgbench_accounts, ${gigabytes(Number(size?.['bytes']))}, as one binary COPY (scale ${options.scale})`,
  );
  const ca = join(certificates(workDir), 'ca.crt');
  const results: { name: PathName; rounds: Round[] }[] = [];
  const evidence = () => results.map((result) => pathEvidence(result, { at, scale: options.scale }));
  let file = '';
  for (const name of pathNames) {
    const parameters =
      name === 'tls' ? `?sslmode=verify-full&sslrootcert=${encodeURIComponent(ca)}` : '?sslmode=disable';
    const once = (way: Way): Promise<Copied> =>
      oneCopy(servers, { way, parameters, encrypted: name === 'tls', contents, workDir }, signal);
    for (const way of ways) print(`${name}, warm-up: ${way} ${seconds((await once(way)).seconds)} s`);
    const rounds: Round[] = [];
    for (let round = 0; round < options.rounds; round += 1) {
      const seen: Partial<Record<Way, Copied>> = {};
      for (const way of orderOf(ways, round)) seen[way] = await once(way);
      const { wire, streams } = seen;
      if (wire === undefined || streams === undefined) throw new Error('both ways take part in every round');
      rounds.push({ wire, streams });
      const line = ways.map(
        (way) => `${way} ${(seen[way]?.cpuPerGb ?? 0).toFixed(2)} CPU s/GB, ${seconds(seen[way]?.seconds ?? null)} s`,
      );
      print(`${name}, round ${round + 1}: ${line.join('; ')}`);
    }
    results.push({ name, rounds });
    file = await save({ at, machine, options, results });
  }
  await Promise.all([dropDatabase(source, database), dropDatabase(servers.target, database)]);
  print();
  print(
    table(
      ['path', 'CPU s/GB', 'min–max', 'wall s', 'peak', 'source CPU', 'target CPU'],
      results.flatMap(({ name, rounds }) =>
        ways.map((way) => [`${name}, ${way}`, ...cells(rounds.map((one) => one[way]))]),
      ),
    ),
  );
  print();
  printVerdicts(judge(evidence()).filter(({ measured }) => measured !== null));
  print(`\nAll figures: ${file}`);
}

function cells(copies: readonly Copied[]): string[] {
  const cpu = spread(copies.map(({ cpuPerGb }) => cpuPerGb));
  const middle = (pick: (copy: Copied) => number | null): string =>
    seconds(spread(copies.map((copy) => pick(copy) ?? 0)).median);
  return [
    cpu.median.toFixed(2),
    `${cpu.min.toFixed(2)}–${cpu.max.toFixed(2)}`,
    middle((copy) => copy.seconds),
    megabytes(Math.max(...copies.map(({ peakBytes }) => peakBytes ?? 0))),
    middle((copy) => copy.sourceCpu),
    middle((copy) => copy.targetCpu),
  ];
}

interface Copy {
  readonly way: Way;
  /** Of the connection strings. */
  readonly parameters: string;
  readonly encrypted: boolean;
  /** What the target has to hold afterwards. */
  readonly contents: string;
  readonly workDir: string;
}

/** @throws Error when the target is not what the source is, or the line was not what it was to be. */
async function oneCopy(
  servers: BenchServers,
  { way, parameters, encrypted, contents, workDir }: Copy,
  signal: AbortSignal,
): Promise<Copied> {
  const { source, target } = servers;
  await settle(servers, database);
  await target.run(
    `CREATE TABLE ${accounts} (aid int NOT NULL, bid int, abalance int, filler char(84)) WITH (fillfactor = 100)`,
    database,
  );
  const task: PathTask = {
    way,
    sourceUrl: `${source.url(database)}${parameters}`,
    targetUrl: `${target.url(database)}${parameters}`,
    copyOut: `COPY ${accounts} TO STDOUT (FORMAT binary)`,
    copyIn: `COPY ${accounts} FROM STDIN (FORMAT binary)`,
  };
  const command = {
    file: process.execPath,
    args: [fileURLToPath(new URL('./path-child.js', import.meta.url)), JSON.stringify(task)],
    env: { PATH: process.env['PATH'] ?? '', HOME: workDir },
  };
  const logFile = join(workDir, 'path.log');
  const before = await Promise.all([cpuOf(source), cpuOf(target)]);
  const measured: Measure = await measure([command], logFile, signal);
  const after = await Promise.all([cpuOf(source), cpuOf(target)]);
  const last = (await readFile(logFile, 'utf8')).trimEnd().split('\n').at(-1) ?? '{}';
  const copied = JSON.parse(last) as PathCopied;
  if (copied.encrypted !== encrypted) throw new Error(`The line was ${encrypted ? 'not ' : ''}encrypted.`);
  if ((await checksum(target)) !== contents) throw new Error(`The ${way} path lost or changed rows.`);
  const used = (side: 0 | 1): number | null => {
    const [from, to] = [before[side], after[side]];
    return from === null || to === null ? null : to - from;
  };
  return {
    ...copied,
    cpuPerGb: copied.cpu / (copied.bytes / 1e9),
    peakBytes: measured.mainBytes,
    sourceCpu: used(0),
    targetCpu: used(1),
  };
}

async function checksum(server: BenchServers['source']): Promise<string> {
  const [row] = await server.query(
    `SELECT count(*) || ':' || coalesce(sum(hashtextextended(a::text, 0)::numeric), 0) AS contents FROM ${accounts} a`,
    database,
  );
  return String(row?.['contents']);
}
