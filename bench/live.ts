import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { ensureProgress, recordTableSql, startFollowing, takeOver } from '../src/live/progress.ts';
import { parseLsn } from '../src/postgres/lsn.ts';
import { openSession } from '../src/postgres/session.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { drawChart } from './chart.ts';
import { liveEvidence } from './figures.ts';
import type { FollowTask } from './follow-child.ts';
import { type LiveWorkload, type LiveWorkloadName, liveWorkloads } from './live-workloads.ts';
import { describeMachine } from './machine.ts';
import { measure } from './measure.ts';
import type { BenchOptions } from './options.ts';
import { gigabytes, megabytes, print, printMachine, resultFile, seconds, table, tellElsewhere } from './report.ts';
import { type BenchServers, cpuOf, dropDatabase } from './servers.ts';
import { settleServers } from './settle.ts';
import { pairedRatios, spread } from './stats.ts';
import { printVerdicts } from './summary.ts';
import { judge } from './targets.ts';

const database = 'bench_live';
const ours = 'bench_live_ours';
const native = 'bench_live_native';
const job = 'bench';
const slots = { ours: 'pgsluice_bench', native: 'bench_native' } as const;
const publication = 'pgsluice_bench';

/** Its row is the last change of a backlog. */
const marker = 'CREATE TABLE bench_end (id int PRIMARY KEY)';
const pollMs = 20;

interface Round {
  readonly ours: number;
  /** null when it is left out. */
  readonly native: number | null;
  readonly walBytes: number;
  readonly agentBytes: number | null;
  readonly agentCpu: number | null;
  readonly targetCpu: { readonly ours: number | null; readonly native: number | null };
}

/** Applying one recorded backlog of WAL: pgsluice's follower beside PostgreSQL's own subscription, each on its own target database. */
export async function live(
  servers: BenchServers,
  options: BenchOptions,
  workDir: string,
  signal: AbortSignal,
): Promise<void> {
  if (options.json) tellElsewhere();
  const at = new Date();
  const save = resultFile('live');
  const machine = await describeMachine(servers);
  printMachine(machine);
  print(`pgsluice: one follower; native: CREATE SUBSCRIPTION … WITH (${nativeSettings(servers.target.major)})`);
  const results: { workload: LiveWorkloadName; rounds: Round[] }[] = [];
  const all = { at: at.toISOString(), machine, options, results };
  let file = '';
  for (const name of options.live) {
    const workload = liveWorkloads[name];
    print(`\n## ${name}: ${workload.what} (scale ${options.scale})`);
    const rounds: Round[] = [];
    const warm = await oneRound(
      servers,
      workload,
      options.scale * warmUp,
      options.alone ? onlyOurs : oursFirst,
      workDir,
      signal,
    );
    print(`warm-up at a tenth: ours ${seconds(warm.ours)} s, native ${seconds(warm.native)} s`);
    for (let round = 0; round < options.rounds; round += 1) {
      signal.throwIfAborted();
      const takesPart = options.alone ? onlyOurs : round % 2 === 0 ? oursFirst : nativeFirst;
      const measured = await oneRound(servers, workload, options.scale, takesPart, workDir, signal);
      rounds.push(measured);
      print(
        `${name} ${round + 1}: ours ${seconds(measured.ours)} s, native ${seconds(measured.native)} s, backlog ${gigabytes(measured.walBytes)}, agent ${megabytes(measured.agentBytes)}`,
      );
    }
    results.push({ workload: name, rounds });
    file = await save(all);
  }
  print();
  print(
    table(
      ['workload', 'ours s', 'native s', 'ratio', 'min–max', 'agent CPU s', 'agent peak', 'target CPU ours/native'],
      results.map(({ workload, rounds }) => {
        const pairs = rounds.flatMap(({ ours: own, native: theirs }) => (theirs === null ? [] : [{ own, theirs }]));
        const ratios =
          pairs.length === 0
            ? null
            : spread(
                pairedRatios(
                  pairs.map(({ own }) => own),
                  pairs.map(({ theirs }) => theirs),
                ),
              );
        const middle = (values: readonly number[]): string => seconds(spread(values).median);
        const known = (pick: (round: Round) => number | null): number[] => rounds.map((round) => pick(round) ?? 0);
        return [
          workload,
          middle(rounds.map((round) => round.ours)),
          ...(ratios === null
            ? ['—', '—', '—']
            : [
                middle(pairs.map(({ theirs }) => theirs)),
                ratios.median.toFixed(2),
                `${ratios.min.toFixed(2)}–${ratios.max.toFixed(2)}`,
              ]),
          middle(known((round) => round.agentCpu)),
          megabytes(Math.max(...known((round) => round.agentBytes))),
          `${middle(known((round) => round.targetCpu.ours))}/${middle(known((round) => round.targetCpu.native))}`,
        ];
      }),
    ),
  );
  const evidence = results.flatMap((result) => liveEvidence(result, { at: all.at, scale: options.scale }));
  const verdicts = judge(evidence).filter(({ measured }) => measured !== null);
  print();
  printVerdicts(verdicts);
  if (options.chart !== null) await writeFile(options.chart, drawChart(verdicts, { machine, tools: [], at }));
  print(`\nAll figures: ${file}`);
  if (options.json) process.stdout.write(`${JSON.stringify({ ...all, verdicts })}\n`);
}

/** Share of a workload that each tool applies before any round counts. */
const warmUp = 0.1;

type Tool = 'ours' | 'native';
const onlyOurs: readonly Tool[] = ['ours'];
const oursFirst: readonly Tool[] = ['ours', 'native'];
const nativeFirst: readonly Tool[] = ['native', 'ours'];

async function oneRound(
  servers: BenchServers,
  workload: LiveWorkload,
  scale: number,
  takesPart: readonly Tool[],
  workDir: string,
  signal: AbortSignal,
): Promise<Round> {
  const { source, target } = servers;
  await Promise.all([dropDatabase(source, database), dropDatabase(target, ours), dropDatabase(target, native)]);
  await source.createDatabase(database);
  await workload.fill(source, database, scale);
  await source.run(marker, database);
  // The targets begin as the source stands, made the same way.
  await target.createDatabase(ours);
  await workload.fill(target, ours, scale);
  await target.run(marker, ours);
  await target.run(`CREATE DATABASE ${native} TEMPLATE ${ours}`);
  try {
    await source.run(`CREATE PUBLICATION ${publication} FOR ALL TABLES`, database);
    for (const slot of Object.values(slots)) {
      await source.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, database, [slot]);
    }
    const from = await positionOf(source);
    await prepareOurs(servers);
    await prepareNative(servers);
    await workload.write(source, database, scale);
    await source.run('INSERT INTO bench_end VALUES (1)', database);
    const until = await positionOf(source);

    let own = null;
    let theirs = null;
    for (const who of takesPart) {
      await settleServers(servers);
      if (who === 'ours') own = await runOurs(servers, until, workDir, signal);
      else theirs = await runNative(servers, signal);
    }
    if (own === null) throw new Error('pgsluice takes part in every round');
    await assertEqual(servers, takesPart);
    return {
      ours: own.seconds,
      native: theirs?.seconds ?? null,
      walBytes: Number(parseLsn(until) - parseLsn(from)),
      agentBytes: own.mainBytes,
      agentCpu: own.cpu,
      targetCpu: { ours: own.targetCpu, native: theirs?.targetCpu ?? null },
    };
  } finally {
    await target.run(
      `ALTER SUBSCRIPTION bench_native DISABLE; ALTER SUBSCRIPTION bench_native SET (slot_name = NONE)`,
      native,
    );
    await target.run(`DROP SUBSCRIPTION bench_native`, native);
    await sleep(200);
    await source.query(
      `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active`,
      database,
    );
  }
}

async function positionOf(server: BenchServers['source']): Promise<string> {
  const [row] = await server.query('SELECT pg_current_wal_insert_lsn()::text AS lsn', database);
  return String(row?.['lsn']);
}

/** The progress rows that a job's copy would have left. */
async function prepareOurs({ source, target }: BenchServers): Promise<void> {
  const tables = await source.query(
    `SELECT c.oid::int8::text AS oid, n.nspname AS schema, c.relname AS name, pg_current_snapshot()::text AS snapshot
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = 'public'`,
    database,
  );
  const { signal } = new AbortController();
  const session = await openSession(parseEndpoint({ url: target.url(ours) }, 'target'), {
    signal,
    side: 'target',
    purpose: 'progress',
  });
  try {
    await ensureProgress(session, job);
    for (const row of tables) {
      const copied = { oid: Number(row['oid']), schema: String(row['schema']), name: String(row['name']), via: null };
      await session.run(recordTableSql(job, copied, String(row['snapshot'])));
    }
    const { epoch } = await takeOver(session, job);
    await startFollowing(session, job, epoch, 0n);
  } finally {
    await session.close();
  }
}

/** What makes it fastest: values in binary, and large transactions sent before their end, from 16 on applied at once by workers. */
const nativeSettings = (major: number): string => `binary = on, streaming = ${major >= 16 ? 'parallel' : 'on'}`;

async function prepareNative({ source, target }: BenchServers): Promise<void> {
  const connection = `host=${source.host} port=${source.port} user=${source.user} password='${source.password}' dbname=${database}`;
  const client = new Client({ connectionString: target.url(native) });
  await client.connect();
  try {
    await client.query(
      `CREATE SUBSCRIPTION bench_native CONNECTION ${client.escapeLiteral(connection)} PUBLICATION ${publication}
       WITH (create_slot = false, slot_name = '${slots.native}', copy_data = false, enabled = false, ${nativeSettings(target.major)})`,
    );
  } finally {
    await client.end();
  }
}

async function runOurs(
  { source, target }: BenchServers,
  until: string,
  workDir: string,
  signal: AbortSignal,
): Promise<Awaited<ReturnType<typeof measure>> & { targetCpu: number | null }> {
  const task: FollowTask = {
    job,
    sourceUrl: source.url(database),
    targetUrl: target.url(ours),
    slot: slots.ours,
    publication,
    sourceMajor: source.major,
    workDir,
    until,
  };
  const before = await cpuOf(target);
  const command = {
    file: process.execPath,
    args: [fileURLToPath(new URL('./follow-child.js', import.meta.url)), JSON.stringify(task)],
    env: { PATH: process.env['PATH'] ?? '', HOME: workDir },
  };
  const logFile = join(workDir, 'follow.log');
  const measured = await measure([command], logFile, signal);
  // From the moment it is told to follow: an agent runs already, as the server does that a subscription is enabled in.
  const last = (await readFile(logFile, 'utf8')).trimEnd().split('\n').at(-1) ?? '{}';
  const { seconds: following } = JSON.parse(last) as { seconds: number };
  return { ...measured, seconds: following, targetCpu: difference(await cpuOf(target), before) };
}

async function runNative(
  { target }: BenchServers,
  signal: AbortSignal,
): Promise<{ seconds: number; targetCpu: number | null }> {
  const before = await cpuOf(target);
  const watch = new Client({ connectionString: target.url(native) });
  await watch.connect();
  const started = performance.now();
  try {
    await target.run('ALTER SUBSCRIPTION bench_native ENABLE', native);
    // What it reports to the source comes later than what it has stored.
    while ((await watch.query('SELECT FROM bench_end')).rowCount === 0) {
      signal.throwIfAborted();
      await sleep(pollMs);
    }
    const elapsed = (performance.now() - started) / 1000;
    return { seconds: elapsed, targetCpu: difference(await cpuOf(target), before) };
  } finally {
    await watch.end();
  }
}

function difference(after: number | null, before: number | null): number | null {
  return after === null || before === null ? null : after - before;
}

/** A tool that lost rows must not count as fast. */
async function assertEqual({ source, target }: BenchServers, tools: readonly Tool[]): Promise<void> {
  const sum = `SELECT c.relname AS name, (xpath('/row/s/text()', query_to_xml(format(
      'SELECT count(*) || '':'' || coalesce(sum(hashtextextended(x::text, 0)::numeric), 0) AS s FROM %s x', c.oid::regclass), false, true, '')))[1]::text AS content
    FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace ORDER BY 1`;
  const here = JSON.stringify(await source.query(sum, database));
  for (const tool of tools) {
    const there = JSON.stringify(await target.query(sum, tool === 'ours' ? ours : native));
    if (here !== there) throw new Error(`${tool === 'ours' ? 'pgsluice' : 'the subscription'} lost or changed rows`);
  }
}
