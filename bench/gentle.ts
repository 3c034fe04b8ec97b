import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { keepSourceApart } from './apart.ts';
import { describeMachine } from './machine.ts';
import { type BenchOptions, besideNames, usersNames } from './options.ts';
import { initialise, type Second, Users } from './pgbench.ts';
import { reapedCpu } from './proc.ts';
import { print, printMachine, seconds, table, writeResult } from './report.ts';
import { type BenchServers, cpuOf, dropDatabase, foreignCpu, prepareRun } from './servers.ts';
import { cloneCommand } from './tools.ts';

const database = 'bench_gentle';
/** Rows of the table that is copied while pgbench works on its own, at --scale 1: about 150 MB that do not compress. */
const filling = 500_000;
const pgbenchScale = 50;
/** pgbench alone, before and after each job, ms. */
const aloneMs = 12_000;
/** After a job's end its checkpoints and vacuums are still going, ms. */
const settleMs = 3_000;
/** How long a snapshot is held where no gentle job has said it, s. */
const heldSeconds = 20;
/** Share of what the machine can that the users of the case with a fixed rate ask for. */
const share = 0.5;

type JobKind = (typeof besideNames)[number];

interface Window {
  readonly seconds: number;
  /** Transactions a second. */
  readonly tps: number;
  /** ms */
  readonly latency: number;
}

interface Beside {
  readonly load: string;
  readonly job: JobKind;
  readonly alone: Window;
  /** From the start of the program to its end. */
  readonly whole: Window;
  /** The comparison with the source, in it. */
  readonly verification: Window | null;
  /** null: nothing was copied. */
  readonly verified: boolean | null;
  readonly seconds: number;
  /** Processors that the job itself took: the agent, the target, and of the source what pgbench alone does not explain. */
  readonly own: number | null;
  /** Processors that programs outside the bench took meanwhile: figures with more than a few hundredths are worth little. */
  readonly foreign: number | null;
}

/** What those who use the source lose while a job reads from it: pgbench alone, beside an ordinary copy, beside a gentle one, beside a snapshot alone. */
export async function gentle(
  servers: BenchServers,
  options: BenchOptions,
  workDir: string,
  signal: AbortSignal,
): Promise<void> {
  const machine = await describeMachine(servers);
  printMachine(machine);
  const { source } = servers;
  const apart = await keepSourceApart(servers);
  print(
    apart
      ? 'The source has a processor for itself, as on a machine of its own; pgbench, the agent and the target share the others, of which the last two take what is left.'
      : 'Source, target, agent and pgbench share the processors: what the target and the agent take is in the loss.',
  );
  await source.createDatabase(database);
  await initialise(source, database, pgbenchScale);
  await source.run(
    `CREATE TABLE filling (id int PRIMARY KEY, a text, b text);
     INSERT INTO filling SELECT g, md5(g::text) || md5((g + 1)::text), repeat(md5((-g)::text), 6)
       FROM generate_series(1, ${Math.round(filling * options.scale)}) g`,
    database,
  );
  await source.run('VACUUM ANALYZE', database);
  await source.run('CHECKPOINT');
  const most = await capacity(servers, signal);
  const rate = Math.round(most * share);
  print(`pgbench alone: ${Math.round(most)} transactions a second; the case with a fixed rate asks for ${rate}\n`);
  const results: Beside[] = [];
  for (const kind of usersNames.filter((name) => options.users.includes(name))) {
    const [load, limit] = kind === 'fixed' ? ([`${rate}/s`, rate] as const) : ([kind, null] as const);
    for (const job of besideNames) {
      if (!options.beside.includes(job)) continue;
      const gentleTook = results.find((result) => result.load === load && result.job === 'gentle')?.seconds;
      const hold = job === 'snapshot' ? (gentleTook ?? heldSeconds) : null;
      const result = await beside(servers, workDir, { load, limit, job, hold }, signal);
      results.push(result);
      print(line(result, results).join('  '));
    }
  }
  print();
  print(
    table(
      [
        'pgbench',
        'job',
        'alone',
        'beside',
        'ratio',
        'in its proof',
        'latency ms',
        'job s',
        'longer',
        'verified',
        'its own',
        'foreign',
      ],
      results.map((result) => line(result, results)),
    ),
  );
  print(`\nAll figures: ${await writeResult('gentle', { machine, options, apart, most, rate, results })}`);
}

function line(result: Beside, all: readonly Beside[]): string[] {
  const { alone, whole, verification } = result;
  const ordinary = all.find(({ load, job }) => load === result.load && job === 'ordinary');
  const of = (window: Window | null): string =>
    window === null || window.seconds < 3 ? 'n/a' : (window.tps / alone.tps).toFixed(3);
  return [
    result.load,
    result.job,
    String(Math.round(alone.tps)),
    String(Math.round(whole.tps)),
    of(whole),
    of(verification),
    `${alone.latency.toFixed(1)} to ${whole.latency.toFixed(1)}`,
    seconds(result.seconds),
    ordinary === undefined ? 'n/a' : `${(result.seconds / ordinary.seconds).toFixed(1)} x`,
    result.verified === null ? 'n/a' : result.verified ? 'yes' : 'no',
    result.own === null ? 'n/a' : result.own.toFixed(2),
    result.foreign === null ? 'n/a' : result.foreign.toFixed(2),
  ];
}

/** Transactions a second with nothing beside. */
async function capacity({ source }: BenchServers, signal: AbortSignal): Promise<number> {
  const users = new Users(source, database, null);
  try {
    await sleep(2_000, undefined, { signal });
    const from = Date.now();
    await sleep(aloneMs, undefined, { signal });
    return windowOf(users.between(from, Date.now())).tps;
  } finally {
    await users.stop();
  }
}

async function beside(
  servers: BenchServers,
  workDir: string,
  { load, limit, job, hold }: { load: string; limit: number | null; job: JobKind; hold: number | null },
  signal: AbortSignal,
): Promise<Beside> {
  await prepareRun(servers, database);
  const users = new Users(servers.source, database, limit);
  try {
    await sleep(2_000, undefined, { signal });
    const before = Date.now();
    const sourceAlone = await cpuOf(servers.source);
    await sleep(aloneMs, undefined, { signal });
    const foreignBefore = await foreignCpu(servers);
    const [source, target, agent] = await spent(servers);
    const start = Date.now();
    const ended =
      hold === null ? await runJob(servers, workDir, job, signal) : await holdSnapshot(servers, hold, signal);
    const end = Date.now();
    const [sourceAfter, targetAfter, agentAfter] = await spent(servers);
    const foreignAfter = await foreignCpu(servers);
    await sleep(settleMs, undefined, { signal });
    const after = Date.now();
    await sleep(aloneMs, undefined, { signal });
    const alone = [...users.between(before, start), ...users.between(after, Date.now())];
    const whole = windowOf(users.between(start, end));
    const transactions = (of: Window): number => of.tps * of.seconds;
    const first = windowOf(users.between(before, start));
    const each = ((source ?? NaN) - (sourceAlone ?? NaN)) / transactions(first);
    const excess = (sourceAfter ?? NaN) - (source ?? NaN) - each * transactions(whole);
    const own = excess + (targetAfter ?? NaN) - (target ?? NaN) + (agentAfter ?? NaN) - (agent ?? NaN);
    return {
      load,
      job,
      alone: windowOf(alone),
      whole,
      verification: ended.verifying === null ? null : windowOf(users.between(ended.verifying, end)),
      verified: ended.verified,
      seconds: (end - start) / 1000,
      own: Number.isNaN(own) ? null : own / ((end - start) / 1000),
      foreign:
        foreignBefore === null || foreignAfter === null
          ? null
          : (foreignAfter - foreignBefore) / ((end - start) / 1000),
    };
  } finally {
    await users.stop();
    await dropDatabase(servers.target, database);
  }
}

/** CPU seconds so far: of the source, of the target, of programs that were started here and have ended. */
function spent({ source, target }: BenchServers): Promise<(number | null)[]> {
  return Promise.all([cpuOf(source), cpuOf(target), reapedCpu()]);
}

function windowOf(all: readonly Second[]): Window {
  const mean = (of: (second: Second) => number): number =>
    all.length === 0 ? Number.NaN : all.reduce((sum, second) => sum + of(second), 0) / all.length;
  return { seconds: all.length, tps: mean(({ tps }) => tps), latency: mean(({ latency }) => latency) };
}

/**
 * A snapshot that is held for `seconds` and reads nothing: what every consistent copy costs the source, because rows that are written
 * meanwhile leave versions behind which nobody may clean up (documentation, 25.1.2).
 */
async function holdSnapshot(
  { source }: BenchServers,
  held: number,
  signal: AbortSignal,
): Promise<{ verifying: null; verified: null }> {
  const client = new Client({ connectionString: source.url(database) });
  await client.connect();
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await client.query('SELECT count(*) FROM pg_class');
    await sleep(held * 1000, undefined, { signal });
    return { verifying: null, verified: null };
  } finally {
    await client.end();
  }
}

/** The program as a user starts it. `verifying`: when the comparison began, ms as of Date.now(). */
async function runJob(
  servers: BenchServers,
  workDir: string,
  job: JobKind,
  signal: AbortSignal,
): Promise<{ verifying: number | null; verified: boolean }> {
  const contest = { servers, database, jobs: 2, workDir };
  const { file, args, env } = cloneCommand(contest, 'full', join(workDir, 'gentle-state'));
  // The users come first, as they would on machines of their own.
  const child = spawn(
    'nice',
    [
      '-n',
      '15',
      file,
      ...args,
      '--method=copy',
      '--exclude-table=pgbench_*',
      ...(job === 'gentle' ? ['--gentle'] : []),
    ],
    {
      env: { ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      signal,
    },
  );
  let verifying: number | null = null;
  let verified = false;
  let end = '';
  const note = (text: string): void => {
    end = `${end}${text}\n`.slice(-4000);
    if (!text.startsWith('{')) return;
    const event = JSON.parse(text) as Record<string, unknown>;
    if (event['type'] === 'phase' && event['phase'] === 'verify' && event['status'] === 'started')
      verifying = Date.now();
    if (event['type'] === 'result') verified = event['verified'] === true;
    if (event['type'] === 'log' && /source (?:has room|is busy)|Gentle with/.test(String(event['message'])))
      print(`  ${String(event['message'])}`);
  };
  createInterface({ input: child.stdout }).on('line', note);
  createInterface({ input: child.stderr }).on('line', note);
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`The ${job} copy ended with ${code}:\n${end}`);
  return { verifying, verified };
}
