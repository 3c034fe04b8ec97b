import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JobView } from '../src/contract/job.ts';
import { RemoteClient } from '../src/cli/remote-client.ts';
import type { Ask, Told } from './load-followers.ts';
import { fillState, secretKey } from './load-fill.ts';
import { describeMachine } from './machine.ts';
import { type BenchOptions, stateNames } from './options.ts';
import { readMemory } from './proc.ts';
import { megabytes, print, printMachine, seconds, table, writeResult } from './report.ts';
import { type BenchServers, foreignCpu, stepBack } from './servers.ts';
import { checkout } from './tools.ts';

const source = 'bench_load';
const stateDatabase = 'bench_load_state';
const running = 20;
const queued = 200;
const readers = 900;
const stalled = 100;
const token = 'the-token-of-the-load-benchmark-0123456789';
const goal = 200;
const search = 'a search in an old log';

interface Latency {
  readonly what: string;
  readonly asked: number;
  readonly p50: number;
  readonly p99: number;
  readonly worst: number;
}

interface LoadRun {
  readonly state: string;
  readonly lines: number;
  readonly fillSeconds: number;
  readonly startSeconds: number;
  readonly latencies: readonly Latency[];
  /** The same while an agent that is restarted prunes most of the lines. */
  readonly pruning: { readonly seconds: number; readonly left: number; readonly latencies: readonly Latency[] };
  /** Bytes of the agent's process: when it had started, and most. */
  readonly resident: number | null;
  readonly peak: number | null;
  readonly completed: number;
  readonly cancelled: number;
  readonly events: number;
  readonly reconnects: number;
  readonly lost: number;
  readonly foreign: number | null;
}

/** An agent with many jobs, many clients and a long history: its memory, its answers, and whether anything is lost to a reader. */
export async function load(
  servers: BenchServers,
  options: BenchOptions,
  workDir: string,
  signal: AbortSignal,
): Promise<void> {
  const machine = await describeMachine(servers);
  printMachine(machine);
  for (const server of [servers.source, servers.target]) {
    await server.run('ALTER SYSTEM SET max_connections = 300');
    await server.restart();
  }
  await stepBack(servers);
  print(
    'The servers have a low priority, as if they stood elsewhere; pg_dump and the clients share the processors with the agent.',
  );
  await servers.source.createDatabase(source);
  await servers.source.run(
    Array.from(
      { length: 6 },
      (_, n) =>
        `CREATE TABLE t${n} (id int PRIMARY KEY, v text); INSERT INTO t${n} SELECT g, md5(g::text) FROM generate_series(1, 500) g;`,
    ).join('\n'),
    source,
  );
  const runs: LoadRun[] = [];
  for (const state of stateNames.filter((name) => options.states.includes(name))) {
    runs.push(await runWith(state, servers, options, workDir, signal));
  }
  print();
  print(
    table(
      ['state', 'lines', 'jobs', 'peak RSS', 'events read', 'reconnects', 'lost', 'foreign'],
      runs.map((run) => [
        run.state,
        String(run.lines),
        `${run.completed} + ${run.cancelled} cancelled`,
        megabytes(run.peak),
        String(run.events),
        String(run.reconnects),
        String(run.lost),
        run.foreign === null ? 'n/a' : run.foreign.toFixed(2),
      ]),
    ),
  );
  print();
  const row = (state: string, { what, asked, p50, p99, worst }: Latency): string[] => [
    `${state}: ${what}`,
    ...[asked, p50, p99, worst].map((figure) => String(Math.round(figure))),
    p99 < goal ? 'yes' : 'NO',
  ];
  print(
    table(
      ['asked for', 'times', 'p50 ms', 'p99 ms', 'worst', `p99 < ${goal}`],
      runs.flatMap((run) => [
        ...run.latencies.map((latency) => row(run.state, latency)),
        ...run.pruning.latencies.map((latency) => row(`${run.state}, pruning`, latency)),
      ]),
    ),
  );
  for (const { state, pruning } of runs)
    print(`${state}: pruned to ${pruning.left} lines in ${seconds(pruning.seconds)} s`);
  print(`\nAll figures: ${await writeResult('load', { machine, options, runs })}`);
  const lost = runs.reduce((sum, run) => sum + run.lost, 0);
  if (lost > 0) throw new Error(`${lost} readers did not get every event once.`);
}

async function runWith(
  kind: LoadRun['state'],
  servers: BenchServers,
  { lines, seconds: most }: Pick<BenchOptions, 'lines' | 'seconds'>,
  workDir: string,
  signal: AbortSignal,
): Promise<LoadRun> {
  const directory = join(workDir, `load-${kind}`);
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  const state = kind === 'embedded' ? directory : await servers.target.createDatabase(stateDatabase);
  let begun = performance.now();
  const took = (): number => (performance.now() - begun) / 1000;
  const old = await fillState(state, lines, signal);
  const fillSeconds = took();
  print(`${kind}: ${lines} lines written in ${seconds(fillSeconds)} s`);
  begun = performance.now();
  const agent = await startAgent(state, directory, [], servers.binDir, signal);
  const startSeconds = took();
  const crowd = fork(new URL('./load-followers.js', import.meta.url), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const tell = async (ask: Ask): Promise<Told | 'done'> => {
    const answered = once(crowd, 'message', { signal });
    crowd.send(ask);
    const [answer] = (await answered) as [Told | 'done' | { error: string }];
    if (typeof answer === 'object' && 'error' in answer) throw new Error(answer.error);
    return answer;
  };
  const told = async (): Promise<Told> => {
    const answer = await tell({ do: 'tell' });
    if (answer === 'done') throw new Error('the followers did not tell');
    return answer;
  };
  try {
    const client = new RemoteClient(agent.url, token);
    const resident = (await readMemory(agent.pid))?.resident ?? null;
    const ids = await createJobs(servers, client, kind);
    await tell({ do: 'open', url: agent.url, token });
    const idOf = (n: number): string => ids[n % ids.length] ?? '';
    for (let n = 0; n < stalled; n += 1) {
      await tell({ do: 'follow', job: old[n % old.length] ?? '', reads: false, cutAfter: null });
    }
    for (let n = 0; n < readers; n += 1) {
      await tell({ do: 'follow', job: idOf(n), reads: true, cutAfter: n % 3 === 0 ? 10 + (n % 40) : null });
    }
    print(`${kind}: ${(await told()).connected} clients connected after ${seconds(took())} s; the jobs are started`);
    await Promise.all(ids.map((id) => client.act(id, 'start')));
    const foreignBefore = await foreignCpu(servers);
    const own = new Set(ids);
    const from = performance.now();
    const measured = await probe(client, { old, ids }, signal, async () => {
      if (performance.now() - from > most * 1000) return false;
      const views = await client.list();
      return views.some((view) => own.has(view.id) && isGoing(view));
    });
    const measuredSeconds = (performance.now() - from) / 1000;
    const foreign = await foreignCpu(servers);
    printAll(kind, measured);
    await endAll(client, ids, signal);
    const views = new Map((await client.list()).map((view) => [view.id, view]));
    const of = (at: JobView['state']): number => ids.filter((id) => views.get(id)?.state === at).length;
    let last = await told();
    const behind = (): (readonly [string, number, number, number, number])[] =>
      last.readers.filter(([job, cursor, events, resets]) => {
        const seq = views.get(job)?.lastSeq ?? -1;
        return cursor !== seq || events !== seq || resets !== 0;
      });
    for (let look = 0; look < 60 && behind().length > 0; look += 1) {
      await sleep(1000, undefined, { signal });
      last = await told();
    }
    print(
      `${kind}: ${last.events} events were read by ${last.readers.length} clients; ${behind().length} did not get all of them`,
    );
    for (const fault of last.faults.slice(0, 5)) print(`  ${fault}`);
    const peak = (await readMemory(agent.pid))?.peak ?? null;
    const failed = ids.map((id) => views.get(id)).find((view) => view?.state === 'failed');
    if (failed !== undefined) print(`  ${of('failed')} jobs failed, for instance: ${failed.error?.message ?? ''}`);
    await agent.stop();
    const pruning = await prune(kind, { state, directory, servers, old, most }, signal);
    return {
      state: kind,
      lines,
      fillSeconds,
      startSeconds,
      latencies: measured,
      pruning,
      resident,
      peak,
      completed: of('completed'),
      cancelled: of('cancelled'),
      events: last.events,
      reconnects: last.readers.reduce((sum, [, , , , connections]) => sum + connections - 1, 0),
      lost: behind().length + last.faults.length,
      foreign: foreign === null || foreignBefore === null ? null : (foreign - foreignBefore) / measuredSeconds,
    };
  } finally {
    crowd.kill();
    await agent.stop();
  }
}

function printAll(what: string, latencies: readonly Latency[]): void {
  for (const { what: asked, asked: times, p50, p99, worst } of latencies) {
    const [half, most, longest] = [p50, p99, worst].map((ms) => Math.round(ms));
    print(`  ${what}, ${asked}: ${times} times, p50 ${half} ms, p99 ${most} ms, worst ${longest} ms`);
  }
}

const isGoing = ({ state }: JobView): boolean => !['completed', 'failed', 'cancelled', 'blocked'].includes(state);

async function createJobs(servers: BenchServers, client: RemoteClient, kind: string): Promise<string[]> {
  const ids: string[] = [];
  for (let n = 0; n < running + queued; n += 1) {
    const target = `load_${kind}_${n}`;
    await servers.target.createDatabase(target);
    const job = await client.create({
      source: { url: servers.source.url(source) },
      target: { url: servers.target.url(target) },
      options: { method: 'copy', tableJobs: 1, indexJobs: 1 },
    });
    ids.push(job.id);
  }
  return ids;
}

/** Cancels what waits for its turn, and waits for what runs. */
async function endAll(client: RemoteClient, ids: readonly string[], signal: AbortSignal): Promise<void> {
  const own = new Set(ids);
  for (const { id, state } of await client.list()) if (own.has(id) && state === 'draft') await client.act(id, 'cancel');
  for (;;) {
    const left = (await client.list()).filter((view) => own.has(view.id) && isGoing(view));
    if (left.length === 0) return;
    await sleep(500, undefined, { signal });
  }
}

/** Asks for each thing at fixed moments, whether what was asked before is answered or not, until `more` says no. */
async function probe(
  client: RemoteClient,
  { old, ids }: { old: readonly string[]; ids: readonly string[] },
  signal: AbortSignal,
  more: () => Promise<boolean>,
): Promise<Latency[]> {
  const pick = (from: readonly string[]): string => from[Math.floor(Math.random() * from.length)] ?? '';
  const asks: Record<string, () => Promise<unknown>> = {
    'list of 50 jobs': () => client.list({ limit: 50 }),
    'a job that runs': () => client.get(pick(ids)),
    'a page of its log': () => client.logs(pick(ids), { limit: 200 }),
    'its tables': () => client.tables(pick(ids)),
    'a page of an old log': () => client.logs(pick(old), { after: Math.floor(Math.random() * 300_000), limit: 200 }),
    [search]: () => client.logs(pick(old), { search: 'orders_77 ', limit: 50 }),
  };
  const times = new Map<string, number[]>(Object.keys(asks).map((what) => [what, []]));
  const over = new AbortController();
  const regularly = async (what: string, ask: () => Promise<unknown>): Promise<void> => {
    const every = what === search ? 2_000 : 300;
    const first = performance.now() + Math.random() * every;
    const answers: Promise<void>[] = [];
    for (let n = 0; !over.signal.aborted; n += 1) {
      const due = first + n * every;
      await sleep(Math.max(0, due - performance.now()), undefined, { signal });
      // From when it was due: a delay of one answer is a delay of those that were due meanwhile.
      answers.push(ask().then(() => void times.get(what)?.push(performance.now() - due)));
    }
    await Promise.all(answers);
  };
  const asking = Promise.all(Object.entries(asks).map(([what, ask]) => regularly(what, ask)));
  try {
    do await Promise.race([sleep(2_000, undefined, { signal }), asking]);
    while (await more());
  } finally {
    over.abort();
    await asking;
  }
  // A search reads a whole log, for a second at most; the goal is for what a page asks for.
  const all = [...times].flatMap(([what, list]) => (what === search ? [] : list));
  return [...times, ['all but searches', all] as const].map(([what, list]) => latencyOf(what, list));
}

function latencyOf(what: string, list: readonly number[]): Latency {
  const sorted = list.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? NaN;
  return { what, asked: sorted.length, p50: at(0.5), p99: at(0.99), worst: at(1) };
}

/** An agent that may keep a tenth: how it answers meanwhile, and how long it takes. */
async function prune(
  kind: string,
  {
    state,
    directory,
    servers,
    old,
    most,
  }: { state: string; directory: string; servers: BenchServers; old: readonly string[]; most: number },
  signal: AbortSignal,
): Promise<LoadRun['pruning']> {
  const agent = await startAgent(state, directory, ['--keep-size', '50MB'], servers.binDir, signal);
  try {
    const client = new RemoteClient(agent.url, token);
    const begun = performance.now();
    let left = Infinity;
    let quiet = 0;
    const latencies = await probe(client, { old, ids: old }, signal, async () => {
      const first = await Promise.all(old.map((id) => client.logs(id, { limit: 1 })));
      const now = first.reduce((sum, [event]) => sum + (event === undefined ? 0 : 400_001 - event.seq), 0);
      quiet = now === left ? quiet + 1 : 0;
      left = now;
      return quiet < 3 && performance.now() - begun < most * 1000;
    });
    print(`${kind}: ${left} lines left after ${seconds((performance.now() - begun) / 1000)} s`);
    printAll(`${kind}, pruning`, latencies);
    return { seconds: (performance.now() - begun) / 1000, left, latencies };
  } finally {
    await agent.stop();
  }
}

interface Agent {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

async function startAgent(
  state: string,
  home: string,
  flags: readonly string[],
  binDir: string,
  signal: AbortSignal,
): Promise<Agent> {
  const port = await freePort();
  const args = ['serve', '--port', String(port), '--concurrency', String(running), ...flags];
  const child = spawn(process.execPath, [join(checkout(), 'bin/pgsluice.js'), ...args], {
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: home,
      PGSLUICE_STATE: state,
      PGSLUICE_SECRET_KEY: secretKey,
      PGSLUICE_TOKEN: token,
      PGSLUICE_PG_BIN: binDir,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-4000);
    });
  }
  const gone = once(child, 'exit');
  const url = `http://127.0.0.1:${port}`;
  const until = performance.now() + 120_000;
  for (;;) {
    signal.throwIfAborted();
    if (child.exitCode !== null || performance.now() > until) throw new Error(`The agent did not start:\n${output}`);
    const answer = await fetch(`${url}/healthz`).catch(() => null);
    if (answer?.ok === true) break;
    await sleep(50, undefined, { signal });
  }
  return {
    url,
    pid: child.pid ?? 0,
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      await gone;
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('there is no free port');
  return address.port;
}
