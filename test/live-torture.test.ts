import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { JobView } from '../src/contract/job.ts';
import type { Report } from '../src/contract/report.ts';
import { contentsOf } from './support/contents.ts';
import { type Daemon, startDaemon } from './support/daemon.ts';
import { startRoughLine } from './support/rough-line.ts';
import { type TestServer, startServer } from './support/servers.ts';
import { hugeTransaction, seeded, startWriters, tortureSchema } from './support/torture-workload.ts';

// Long runs: npm run test:torture. Here a short slice of the same, with the same faults.
const number = (name: string, otherwise: number): number => Number(process.env[name] ?? otherwise);
const runs = number('PGSLUICE_TORTURE_RUNS', 1);
const seconds = number('PGSLUICE_TORTURE_SECONDS', 20);
const kills = number('PGSLUICE_TORTURE_KILLS', 3);
const hugeRows = number('PGSLUICE_TORTURE_HUGE_ROWS', 60_000);
const firstSeed = number('PGSLUICE_TORTURE_SEED', Math.floor(Math.random() * 1e9));
const ownerOnly = process.env['PGSLUICE_TORTURE_OWNER'] !== 'superuser';

/** From so many rows on a transaction is certain to go through the agent's disk, for long enough to be seen. */
const surelySpooled = 200_000;

/** The job has come to an end that no waiting will change. */
class JobOver extends Error {}

async function until<T>(what: string, ms: number, ask: () => Promise<T | null>): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const answer = await ask().catch((error: unknown) => {
      if (Date.now() > end || error instanceof JobOver) throw error;
      return null;
    });
    if (answer !== null) return answer;
    if (Date.now() > end) throw new Error(`waited ${ms / 1000} s for ${what}`);
    await sleep(200);
  }
}

interface Stage {
  readonly source: TestServer;
  readonly target: TestServer;
  readonly state: string;
  daemon: Daemon;
}

async function killAgent(stage: Stage): Promise<void> {
  await stage.daemon.kill9();
  stage.daemon = await startDaemon(stage.state);
}

/** Asks once. A line that was silenced last is found out in half a minute: until then, or right then, the agent gives up and says to ask again. */
async function askForCutover({ daemon }: Stage, id: string): Promise<void> {
  await daemon.api(`/api/jobs/${id}/cutover`, { method: 'POST' }).catch((error: unknown) => {
    if (!/CUTOVER_NOT_BEGUN|CONNECTION_LOST/.test(String(error))) throw error;
    console.log(String(error));
  });
}

async function leftOn(server: TestServer, database: string): Promise<string[]> {
  const rows = await server.query(
    `SELECT 'slot ' || slot_name AS what FROM pg_replication_slots
     UNION ALL SELECT 'publication ' || pubname FROM pg_publication WHERE pubname LIKE 'pgsluice%'
     UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'pgsluice%'
     UNION ALL SELECT 'session ' || application_name FROM pg_stat_activity WHERE application_name LIKE 'pgsluice%'`,
    database,
  );
  return rows.map((row) => String(row['what']));
}

async function oneRun(seed: number): Promise<void> {
  const random = seeded(seed);
  const quiet = { log_min_messages: 'fatal', max_wal_size: '4GB' };
  const [source, target] = await Promise.all([
    startServer({
      name: 'torture-source',
      settings: { ...quiet, wal_level: 'logical', logical_decoding_work_mem: '256kB' },
    }),
    startServer({ name: 'torture-target', settings: quiet }),
  ]);
  const [sourceLine, targetLine] = await Promise.all([startRoughLine(source.port), startRoughLine(target.port)]);
  const state = await mkdtemp(join(tmpdir(), 'pgsluice-torture-'));
  const watched = new AbortController();
  let writers: ReturnType<typeof startWriters> | null = null;
  const stage: Stage = { source, target, state, daemon: await startDaemon(state) };
  try {
    const sourceUrl = await source.createDatabase('torture');
    await source.run(tortureSchema, 'torture');
    let targetUrl = target.url('torture');
    if (ownerOnly) {
      await target.run(`CREATE ROLE mover LOGIN PASSWORD 'mover'`);
      await target.createDatabase('torture', 'OWNER mover');
      targetUrl = target.url('torture', 'mover', 'mover');
    } else await target.createDatabase('torture');
    writers = startWriters(sourceUrl, 8, seed);
    const through = (url: string, port: number): string => {
      const parsed = new URL(url);
      parsed.port = String(port);
      return parsed.href;
    };
    const created = (await stage.daemon.api('/api/jobs', {
      method: 'POST',
      body: {
        source: { url: through(sourceUrl, sourceLine.port) },
        target: { url: through(targetUrl, targetLine.port) },
        options: { method: 'live', cutover: 'manual', cutoverTimeout: 120, noOwner: true, tableJobs: 2, indexJobs: 2 },
        start: true,
      },
    })) as JobView;
    const job = async (): Promise<JobView> => (await stage.daemon.api(`/api/jobs/${created.id}`)) as JobView;
    const told = async (): Promise<string> =>
      JSON.stringify(await stage.daemon.api(`/api/jobs/${created.id}/logs?level=warn`).catch(() => ''), null, 1).slice(
        -6000,
      );

    await until('validation to pass', 60_000, async () => ((await job()).state === 'validating' ? null : true));
    // Faults at random moments, spread over the time that the writers have.
    const startedAt = Date.now();
    const faults: { at: number; name: string; act: () => Promise<void> }[] = [];
    const plan = (name: string, act: () => Promise<void>, earliest = 0.02): void => {
      faults.push({ at: (earliest + random() * (0.95 - earliest)) * seconds * 1000, name, act });
    };
    for (let kill = 0; kill < kills; kill += 1) plan('kill -9 of the agent', () => killAgent(stage));
    plan('restart of the source', () => source.restart('fast'), 0.3);
    plan('crash of the target', () => target.restart('immediate'), 0.3);
    plan('cut to the source', async () => sourceLine.cut());
    plan('cut to the target', async () => targetLine.cut());
    plan('silence on the source line', async () => sourceLine.freeze());
    plan('silence on the target line', async () => targetLine.freeze());
    plan('slow lines', async () => {
      sourceLine.delay(40);
      targetLine.delay(40);
      await sleep(Math.min(8000, seconds * 100));
      sourceLine.delay(0);
      targetLine.delay(0);
    });
    let hugeCommitted = 0;
    const goHuge = async (): Promise<void> => {
      try {
        await hugeTransaction(sourceUrl, hugeRows);
        hugeCommitted += 1;
      } catch (error) {
        // The restart of the source ends it; what was not committed must not arrive.
        if (!/terminat|connection|recovery|shutting/i.test(String(error))) throw error;
      }
    };
    plan('huge transaction', goHuge);
    let mostSpooled = 0;
    const spooling = (async () => {
      while (!watched.signal.aborted) {
        // The agent may be dead at the moment.
        const view = await job().catch(() => null);
        mostSpooled = Math.max(mostSpooled, view?.live?.spooledBytes ?? 0);
        await sleep(100);
      }
    })();
    const huge = goHuge().catch(() => undefined);
    for (const fault of faults.toSorted((a, b) => a.at - b.at)) {
      const wait = fault.at - (Date.now() - startedAt);
      if (wait > 0) await sleep(wait);
      await fault.act();
    }
    const rest = seconds * 1000 - (Date.now() - startedAt);
    if (rest > 0) await sleep(rest);
    await huge;
    // One that committed before its table was copied came with the copy.
    if (hugeCommitted === 0 || (hugeRows >= surelySpooled && mostSpooled === 0)) await goHuge();
    expect(hugeCommitted).toBeGreaterThan(0);

    const following = await until('the job to follow', 240_000, async () => {
      const view = await job();
      if (['failed', 'cancelled', 'completed', 'blocked'].includes(view.state))
        throw new JobOver(`${view.state}: ${view.summary}\n${await told()}`);
      // Caught up to within a second's work, with the writers still writing.
      return view.state === 'following' && (view.live?.lagBytes ?? Infinity) < 4_000_000 ? view : null;
    }).catch(async (error: unknown) => {
      throw new Error(`${String(error)}\n${JSON.stringify((await job()).live)}\n${await told()}`);
    });
    watched.abort();
    await spooling;
    expect(hugeRows < surelySpooled || mostSpooled > 0, 'a transaction went through the disk').toBe(true);
    expect(following.live?.applied.transactions).toBeGreaterThan(0);
    expect(writers.committed()).toBeGreaterThan(seconds * 10);

    // The cutover happens under full load; writers are refused by it, so what they committed until then is what counts.
    for (let attempt = 0; attempt < 10; attempt += 1) {
      if ((await job()).state === 'following') await askForCutover(stage, created.id);
      const after = await until('the cutover to end', 180_000, async () => {
        const view = await job();
        return view.state === 'cutting_over' ? null : view;
      });
      if (after.state !== 'following') break;
      await sleep(1000);
    }
    const done = await until('the job to complete', 240_000, async () => {
      const view = await job();
      return ['completed', 'failed', 'cancelled', 'paused'].includes(view.state) ? view : null;
    });
    await writers.stop();
    expect(`${done.state} ${done.error?.code ?? ''}`, await told()).toBe('completed ');
    const report = (await stage.daemon.api(`/api/jobs/${created.id}/report`)) as Report;
    expect(report.verification?.differences, await told()).toEqual([]);
    expect(done.verified).toBe(true);
    // By a reader of our own; `verified` is what the agent claims.
    const [here, there] = [await contentsOf(source, 'torture'), await contentsOf(target, 'torture')];
    expect([...there]).toEqual([...here]);
    const [bulk] = await target.query('SELECT count(*)::int AS rows FROM t.bulk', 'torture');
    expect(bulk?.['rows']).toBeGreaterThanOrEqual(Math.floor(hugeRows / 2));
    expect(await leftOn(source, 'torture')).toEqual([]);
    expect(await leftOn(target, 'torture')).toEqual([]);
    expect(writers.surprises).toEqual([]);
    console.log(
      `seed ${seed}: ${writers.committed()} transactions, ${kills} kills, cutover ${report.cutover?.downtimeMs ?? '?'} ms, 0 differences`,
    );
  } finally {
    watched.abort();
    await writers?.stop();
    await stage.daemon.kill9();
    await Promise.all([sourceLine.close(), targetLine.close()]);
    await Promise.all([source.stop(), target.stop()]);
    await rm(state, { recursive: true, force: true });
  }
}

for (let run = 0; run < runs; run += 1) {
  const seed = firstSeed + run;
  test(
    `8 writers, ${kills} kills of the agent, restarts and bad lines: nothing is lost (seed ${seed})`,
    () => oneRun(seed),
    seconds * 1000 + 900_000,
  );
}
