import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Report } from '../src/contract/report.ts';
import { contentsOf } from './support/contents.ts';
import {
  CrashJob,
  type Ledger,
  MortalAgent,
  crashSchema,
  mixedMoments,
  restoreAlone,
  startLedger,
  stillContents,
  foundWhole,
} from './support/crash.ts';
import { lastingTraces } from './support/live-job.ts';
import { slice } from './support/long.ts';
import { type TestServer, pgDumpFor, startServer } from './support/servers.ts';
import { seeded } from './support/torture-workload.ts';

// kill -9 of the agent at random moments of every kind of job. 25 kills here, hundreds in `npm run test:faults`.
const kills = Number(process.env['PGSLUICE_CRASH_KILLS'] ?? 25);
const seed = Number(process.env['PGSLUICE_CRASH_SEED'] ?? Math.floor(Math.random() * 1e9));
/** How long a job may take in the end, ms: a machine that does much else takes its time. */
const patienceMs = 300_000;

const kinds = ['copy', 'live', 'import', 'export'] as const;
type Kind = (typeof kinds)[number];

let source: TestServer;
let target: TestServer;
let agent: MortalAgent;
let pgBin: string;
let ledger: Ledger;
const archiveMade = (): string => join(agent.dir, 'archives', 'made');

beforeAll(async () => {
  [source, target] = await Promise.all([
    startServer({ name: 'crash-source', settings: { wal_level: 'logical' } }),
    startServer({ name: 'crash-target' }),
  ]);
  pgBin = dirname(await pgDumpFor(source.major, source.binDir));
  agent = await MortalAgent.start(pgBin);
  await source.createDatabase('app');
  await source.run(crashSchema, 'app');
  await source.createDatabase('pattern', 'TEMPLATE app');
  ledger = startLedger(source.url('app'));
  // What every import reads; by pg_restore alone it says what is in it.
  await new CrashJob(agent, 'the archive', {
    kind: 'export',
    source: { url: source.url('app') },
    archive: { path: archiveMade() },
  }).tend(patienceMs);
  await restoreAlone(target, pgBin, archiveMade(), 'restored');
});
afterAll(async () => {
  await ledger?.stop();
  await agent?.end();
  await Promise.all([source?.stop(), target?.stop()]);
});

interface Run {
  readonly job: CrashJob;
  /** Proves by a reader of our own what the job says of itself. */
  prove(): Promise<void>;
}

const options = { tableJobs: 2, indexJobs: 2 };

type Request = ConstructorParameters<typeof CrashJob>[2];
const jobOf = (name: string, request: Request): CrashJob => new CrashJob(agent, name, request);

async function isOneMomentOfApp(database: string): Promise<void> {
  expect(await mixedMoments(target, database)).toEqual([]);
  expect(await stillContents(target, database)).toEqual(await stillContents(source, 'app'));
}

const begin: Readonly<Record<Kind, (name: string) => Promise<Run>>> = {
  copy: async (name) => {
    const url = await target.createDatabase(name);
    return {
      job: jobOf(name, {
        source: { url: source.url('app') },
        target: { url },
        options: { ...options, method: 'copy' },
      }),
      prove: async () => {
        await isOneMomentOfApp(name);
        expect(await target.dumpSchema(name)).toBe(await source.dumpSchema('app'));
        expect(await lastingTraces(target, name)).toEqual([]);
      },
    };
  },
  live: async (name) => {
    const sourceUrl = await source.createDatabase(name, 'TEMPLATE pattern');
    const url = await target.createDatabase(name);
    const writes = startLedger(sourceUrl);
    const live = { ...options, method: 'live' as const, cutoverTimeout: 60 };
    return {
      job: jobOf(name, { source: { url: sourceUrl }, target: { url }, options: live }),
      prove: async () => {
        await writes.stop();
        expect(writes.committed()).toBeGreaterThan(0);
        expect(await mixedMoments(target, name)).toEqual([]);
        expect([...(await contentsOf(target, name))]).toEqual([...(await contentsOf(source, name))]);
        const left = (await lastingTraces(source, name, 0)).filter((trace) => !trace.startsWith('session'));
        expect(left).toEqual(['setting default_transaction_read_only=on']);
        expect(await lastingTraces(target, name)).toEqual([]);
      },
    };
  },
  import: async (name) => {
    const url = await target.createDatabase(name);
    return {
      job: jobOf(name, { kind: 'import', target: { url }, archive: { path: archiveMade() }, options }),
      prove: async () => {
        expect([...(await contentsOf(target, name))]).toEqual([...(await contentsOf(target, 'restored'))]);
        expect(await lastingTraces(target, name)).toEqual([]);
      },
    };
  },
  export: (name) => {
    const path = join(agent.dir, 'archives', name);
    return Promise.resolve({
      job: jobOf(name, { kind: 'export', source: { url: source.url('app') }, archive: { path }, options }),
      prove: async () => {
        await restoreAlone(target, pgBin, path, name);
        await isOneMomentOfApp(name);
      },
    });
  },
};

/** Only an agent that died after the hand-over leaves a job without its proof, and that job says so. */
async function unclaimed(kind: Kind, { name, id }: CrashJob): Promise<void> {
  const report = (await agent.ask(`/api/jobs/${id}/report`)) as Report;
  expect({ name, kind, verification: report.verification }).toEqual({ name, kind: 'live', verification: null });
  expect(report.todo.join(' ')).toMatch(/agent ended after the hand-over.*unverified/);
}

test(
  `${kills} kills of the agent at random moments: every job ends proven, and nothing is left (seed ${seed})`,
  async () => {
    const random = seeded(seed);
    const places = new Map<string, number>();
    const failures: string[] = [];
    const done = { copy: 0, live: 0, import: 0, export: 0 };
    const current = new Map<Kind, CrashJob>();
    const stop = { killed: false };

    /** One job of a kind after the other, until there are no more kills. */
    const lane = async (kind: Kind): Promise<void> => {
      for (let number = 1; number === 1 || !stop.killed; number += 1) {
        const run = await begin[kind](`${kind}_${number}`);
        current.set(kind, run.job);
        const view = await run.job.tend(patienceMs + kills * 10_000);
        current.delete(kind);
        failures.push(...run.job.failures.map((text) => `${run.job.name} ${text}`));
        if (foundWhole(view)) failures.push(`${run.job.name} was whole when its agent died`);
        else if (!view.verified) await unclaimed(kind, run.job);
        expect(view.differences).toBe(0);
        await run.prove();
        done[kind] += 1;
      }
    };
    /** A random number of phases of a random job from now, and somewhere in that phase; on a slow machine as on a quick one. */
    const moment = async (): Promise<void> => {
      const [kind = 'copy'] = kinds.slice(Math.floor(random() * kinds.length));
      const job = current.get(kind);
      const phases = Math.floor(random() * 8);
      await job?.untilMoved(phases, 4000);
      await sleep(random() * 250);
    };
    const killing = async (): Promise<void> => {
      for (let kill = 0; kill < kills; kill += 1) {
        await moment();
        for (const [kind, { place }] of current) {
          const key = `${kind} in ${place}`;
          places.set(key, (places.get(key) ?? 0) + 1);
        }
        await agent.kill();
        if (random() < 0.2) {
          kill += 1;
          places.set('starting', (places.get('starting') ?? 0) + 1);
          await agent.killStarting(random() * 2000);
        }
        await agent.restart();
      }
      stop.killed = true;
    };
    const began = Date.now();
    await Promise.all([killing(), ...kinds.map(lane)]);
    const where = [...places].toSorted(([a], [b]) => a.localeCompare(b)).map(([key, count]) => `${key} ${count}`);
    console.log(
      `seed ${seed}: ${kills} kills in ${Math.round((Date.now() - began) / 1000)} s; ended and proven: ${JSON.stringify(done)}; where: ${where.join(', ')}; failures that a retry cured: ${failures.join(' | ') || 'none'}`,
    );
    expect(await source.query(`SELECT slot_name FROM pg_replication_slots`)).toEqual([]);
    const ends = Date.now() + 15_000;
    while ((await source.sessions()).length + (await target.sessions()).length > 0 && Date.now() < ends)
      await sleep(200);
    expect([await source.sessions(), await target.sessions()]).toEqual([[], []]);
    expect(await agent.leftPrograms()).toEqual([]);
    expect(await agent.leftFiles()).toEqual([]);
  },
  patienceMs + kills * 30_000,
);

/** Two tables whose sums belong together, the second of which takes a while to be copied. */
const slowPurses = `
  CREATE FUNCTION slow(int) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN IF current_setting('test.slow', true) = 'yes' THEN PERFORM pg_sleep(0.005); END IF; RETURN true; END $$;
  CREATE TABLE left_purse (id int PRIMARY KEY, v bigint NOT NULL, filler text);
  ALTER TABLE left_purse ALTER filler SET STORAGE EXTERNAL;
  INSERT INTO left_purse SELECT g, 1000, repeat(md5(g::text), 300) FROM generate_series(1, 200) g;
  CREATE TABLE ledger (n bigint PRIMARY KEY, at timestamptz DEFAULT now());
  CREATE TABLE right_purse (id int PRIMARY KEY, v bigint NOT NULL, CHECK (slow(id)));
  INSERT INTO right_purse SELECT g, 1000 FROM generate_series(1, 200) g;`;

const losses = [
  { lost: 'with its agent', lose: () => agent.kill().then(() => agent.restart()) },
  {
    lost: 'with its session',
    lose: () =>
      source.run(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pgsluice snapshot%' AND datname = current_database()`,
        'lost',
      ),
  },
];

test.each(slice(losses, ({ lost }) => lost === 'with its agent'))(
  'a snapshot that is lost $lost between two tables is not mixed with the next one: both are copied anew',
  async ({ lose }) => {
    for (const server of [source, target]) await server.run('DROP DATABASE IF EXISTS lost (FORCE)');
    const sourceUrl = await source.createDatabase('lost');
    await source.run(slowPurses, 'lost');
    const targetUrl = await target.createDatabase('lost');
    await target.run(`ALTER DATABASE lost SET test.slow = 'yes'`);
    const writes = startLedger(sourceUrl);
    try {
      const job = jobOf(`lost snapshot ${Date.now()}`, {
        source: { url: sourceUrl },
        target: { url: targetUrl },
        options: { method: 'copy', tableJobs: 1 },
      });
      const tended = job.tend(patienceMs);
      const copied = async (): Promise<string[]> => {
        if (job.id === '') return [];
        const { tables } = (await agent.ask(`/api/jobs/${job.id}/tables`)) as {
          readonly tables: readonly { readonly name: string; readonly state: string }[];
        };
        return tables.map(({ name, state }) => `${name} ${state}`);
      };
      await expect.poll(copied, { timeout: 60_000, interval: 30 }).toContain('right_purse copying');
      expect((await copied()).filter((text) => text.startsWith('left_purse'))).not.toContain('left_purse copying');
      const before = writes.committed();
      await lose();
      const { verified } = await tended;
      expect(writes.committed()).toBeGreaterThan(before);
      expect(await mixedMoments(target, 'lost')).toEqual([]);
      expect(verified).toBe(true);
      const log = await job.log();
      expect(log.match(/Snapshot \S+ taken/g)?.length, log).toBe(2);
      expect(log.match(/"left_purse".*copied|copied.*"left_purse"/gi)?.length, log).toBe(2);
    } finally {
      await writes.stop();
    }
  },
);
