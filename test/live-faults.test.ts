import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { JobView } from '../src/contract/job.ts';
import { contentsOf } from './support/contents.ts';
import { type Daemon, startDaemon } from './support/daemon.ts';
import { LiveJob, lastingTraces, traces } from './support/live-job.ts';
import { long, longTest, slice } from './support/long.ts';
import { faultTables, obstacle } from './support/obstacle.ts';
import { type TestServer, startServer } from './support/servers.ts';

// Cancel, crash and failure in every phase of a live job: afterwards nothing of ours is on either server.

/** PGSLUICE_IDLE_SECONDS=600 repeats the idle stream for ten minutes. */
const idleSeconds = Number(process.env['PGSLUICE_IDLE_SECONDS'] ?? (long ? 10 : 5));

let source: TestServer;
let target: TestServer;
let state: string;
let daemon: Daemon;
let number = 0;
let database: string;
let sourceUrl: string;
let targetUrl: string;

beforeAll(async () => {
  [source, target] = await Promise.all([
    startServer({ name: 'faults-source', settings: { wal_level: 'logical', max_prepared_transactions: '5' } }),
    startServer({ name: 'faults-target' }),
  ]);
  state = await mkdtemp(join(tmpdir(), 'pgsluice-faults-'));
  daemon = await startDaemon(state);
});
afterAll(async () => {
  await daemon?.kill9();
  await Promise.all([source?.stop(), target?.stop()]);
  await rm(state, { recursive: true, force: true });
});

beforeEach(async () => {
  number += 1;
  database = `faults_${number}`;
  sourceUrl = await source.createDatabase(database);
  targetUrl = await target.createDatabase(database);
  await source.run(faultTables, database);
});

interface Place {
  readonly name: string;
  /** Tried in the long run only. */
  readonly long?: true;
  /** Brings a new job to the phase and keeps it there. */
  reach: () => Promise<{ job: LiveJob; remove: () => Promise<void> }>;
}

const start = (options = {}): Promise<LiveJob> => LiveJob.start(() => daemon, sourceUrl, targetUrl, options);

const places: readonly Place[] = [
  {
    name: 'while the slot waits for a transaction',
    long: true,
    reach: async () => {
      const held = await obstacle(sourceUrl, `BEGIN; INSERT INTO z (v) VALUES ('open')`);
      const job = await start();
      await job.until('the slot phase', (view) => view.phase === 'slot');
      await sleep(500);
      return { job, ...held };
    },
  },
  {
    name: 'while a table is copied',
    reach: async () => {
      // The reader's lock on the source is had; the target makes the rows wait.
      const held = await obstacle(sourceUrl, `SELECT 1`);
      const job = await start();
      let lock: { remove: () => Promise<void> } | null = null;
      await job.until('the copy', (view) => ['copy', 'schema', 'indexes'].includes(view.phase ?? ''));
      lock = await obstacle(sourceUrl, `BEGIN; LOCK TABLE b IN ACCESS EXCLUSIVE MODE`);
      const taken = lock;
      return {
        job,
        remove: async () => {
          await taken.remove();
          await held.remove();
        },
      };
    },
  },
  {
    name: 'while following',
    long: true,
    reach: async () => {
      const job = await start();
      await job.untilCaughtUp();
      return { job, remove: () => Promise.resolve() };
    },
  },
  {
    name: 'while paused by a person',
    long: true,
    reach: async () => {
      const job = await start();
      await job.untilCaughtUp();
      await job.act('pause');
      await job.untilState(['paused']);
      return { job, remove: () => Promise.resolve() };
    },
  },
  {
    name: 'while the cutover waits for the fence',
    reach: async () => {
      const job = await start({ cutoverTimeout: 600 });
      await job.untilCaughtUp();
      const held = await obstacle(sourceUrl, `BEGIN; UPDATE a SET v = 'open' WHERE id = 1`);
      await job.act('cutover');
      await job.untilState(['cutting_over']);
      await sleep(700);
      return { job, ...held };
    },
  },
];

async function nothingIsLeft(): Promise<void> {
  expect(await lastingTraces(source, database)).toEqual([]);
  expect(await lastingTraces(target, database)).toEqual([]);
  // The source takes writes from everybody.
  await source.run(`INSERT INTO z (v) VALUES ('after'); UPDATE a SET v = 'after' WHERE id = 2`, database);
}

describe.each(slice(places, (place) => place.long !== true))('$name', ({ reach }) => {
  test('cancel leaves nothing behind', async () => {
    const { job, remove } = await reach();
    try {
      await job.act('cancel');
      await job.untilState(['cancelled'], 30_000);
      // Even before what stood in the way has gone.
      expect((await lastingTraces(source, database)).filter((trace) => !trace.startsWith('session'))).toEqual([]);
    } finally {
      await remove();
    }
    await nothingIsLeft();
  });

  test('a killed agent goes on when it runs again, and a cancel then leaves nothing behind', async () => {
    const { job, remove } = await reach();
    const pausedByPerson = (await job.view()).state === 'paused';
    await daemon.kill9();
    // A fence of locks falls with its agent.
    await remove();
    await source.run(`INSERT INTO z (v) VALUES ('meanwhile')`, database);
    daemon = await startDaemon(state);
    // What a person has paused stays so.
    if (pausedByPerson) {
      await job.untilState(['paused'], 5000);
      await job.act('resume');
    }
    await job.untilCaughtUp();
    expect((await contentsOf(target, database)).get('"public"."z"')).toBe(
      (await contentsOf(source, database)).get('"public"."z"'),
    );
    await job.act('cancel');
    await job.untilState(['cancelled'], 30_000);
    await nothingIsLeft();
  });
});

test('an agent that is killed right after the target has taken over finishes the hand-over when it runs again', async () => {
  const seen = { calls: 0 };
  const hook = createServer((_request, response) => {
    seen.calls += 1;
    // The first call is never answered: its agent is killed meanwhile.
    if (seen.calls > 1) response.end();
  });
  hook.listen(0, '127.0.0.1');
  await once(hook, 'listening');
  const address = hook.address();
  if (address === null || typeof address === 'string') throw new Error('the hook has no port');
  try {
    const job = await start({ handOver: { webhook: `http://127.0.0.1:${address.port}/` } });
    await job.untilCaughtUp();
    await job.act('cutover').catch(() => undefined);
    const end = Date.now() + 60_000;
    while (seen.calls === 0 && Date.now() < end) await sleep(20);
    await daemon.kill9();
    // Whoever connects to the source now may not write any more, though the agent and its locks are gone.
    await expect(source.run(`INSERT INTO z (v) VALUES ('late')`, database)).rejects.toThrow(/read-only/);
    daemon = await startDaemon(state);
    const done = await job.untilState(['completed', 'failed']);
    expect(done.state, await job.log()).toBe('completed');
    expect(seen.calls).toBeGreaterThan(1);
    expect(await lastingTraces(target, database)).toEqual([]);
    expect(await lastingTraces(source, database, 3000)).toEqual(['setting default_transaction_read_only=on']);
    expect([...(await contentsOf(target, database))]).toEqual([...(await contentsOf(source, database))]);
    const keys = await target.query(
      `SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace`,
      database,
    );
    expect(keys).toEqual([{ conname: 'b_a_fkey', convalidated: true }]);
  } finally {
    hook.closeAllConnections();
    hook.close();
  }
});

longTest('a cutover that cannot end in time is rolled back, and writers who waited go on', async () => {
  const job = await start({ cutoverTimeout: 2 });
  await job.untilCaughtUp();
  const held = await obstacle(sourceUrl, `BEGIN; UPDATE a SET v = 'open' WHERE id = 1`);
  try {
    await job.act('cutover').catch(() => undefined);
    await job.until('the rollback', (view) => view.state === 'following', 30_000);
    await source.run(`INSERT INTO z (v) VALUES ('rolled back')`, database);
    expect((await traces(source, database)).filter((trace) => trace.startsWith('setting'))).toEqual([]);
  } finally {
    await held.remove();
  }
  await job.untilCaughtUp();
  await job.act('cutover');
  const done = await job.untilState(['completed', 'failed', 'following']);
  expect(done.state, await job.log()).toBe('completed');
  expect(done.verified).toBe(true);
});

longTest(
  'an agent that is killed after a cancel that could not reach the source cleans up when it runs again',
  async () => {
    const job = await start();
    await job.untilCaughtUp();
    await source.halt('fast');
    await job.act('cancel');
    await job.untilState(['cancelled'], 60_000);
    await daemon.kill9();
    await source.start();
    expect(await traces(source, database)).not.toEqual([]);
    daemon = await startDaemon(state);
    await nothingIsLeft();
  },
);

test('a slot that somebody drops fails the job in plain words, and nothing else is left', async () => {
  const job = await start();
  await job.untilCaughtUp();
  await source.query(
    `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = $1`,
    'postgres',
    [database],
  );
  await source.query(
    `DO $$ BEGIN FOR i IN 1..100 LOOP BEGIN PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '${database}'; EXIT; EXCEPTION WHEN object_in_use THEN PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '${database}'; PERFORM pg_sleep(0.05); END; END LOOP; END $$`,
  );
  const failed = await job.untilState(['failed']);
  expect(failed.error?.code).toBe('SLOT_LOST');
  expect(failed.error?.hint).not.toBe('');
  await nothingIsLeft();
});

longTest('a table that cannot be stored on the target fails the job and leaves nothing on the source', async () => {
  await source.run(
    `CREATE DOMAIN odd AS int; CREATE TABLE c (id int PRIMARY KEY, v int); INSERT INTO c VALUES (1, 1)`,
    database,
  );
  const held = await obstacle(sourceUrl, `BEGIN; INSERT INTO z (v) VALUES ('open')`);
  const job = await start();
  await job.until('the slot phase', (view) => view.phase === 'slot');
  await target.run(
    `CREATE SCHEMA IF NOT EXISTS pgsluice_test_blocker; CREATE FUNCTION pgsluice_test_blocker.f() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no tables here'; END $$;
    CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION pgsluice_test_blocker.f()`,
    database,
  );
  await held.remove();
  const failed: JobView = await job.untilState(['failed']);
  expect(failed.error?.message).not.toBe('');
  await target.run(`DROP EVENT TRIGGER refuse; DROP SCHEMA pgsluice_test_blocker CASCADE`, database);
  await job.act('cancel');
  await job.untilState(['cancelled'], 30_000);
  await nothingIsLeft();
});

test(
  `an empty stream makes the source keep no WAL while other databases write, for ${idleSeconds} s`,
  async () => {
    const other = `other_${number}`;
    await source.createDatabase(other);
    await source.run('CREATE TABLE noise (v text)', other);
    const job = await start();
    await job.untilCaughtUp();
    const retained: number[] = [];
    const end = Date.now() + idleSeconds * 1000;
    while (Date.now() < end) {
      // About 2 MB of WAL that has nothing to do with the job.
      await source.run(
        `INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 2000); TRUNCATE noise`,
        other,
      );
      await source.run('CHECKPOINT');
      await sleep(Math.min(5000, idleSeconds * 100));
      retained.push((await job.view()).live?.slot?.retainedBytes ?? Number.NaN);
    }
    const [slot] = await source.query(
      `SELECT pg_current_wal_lsn() - restart_lsn AS bytes FROM pg_replication_slots WHERE database = $1`,
      'postgres',
      [database],
    );
    console.log(`retained over ${idleSeconds} s, MB: ${retained.map((bytes) => (bytes / 1e6).toFixed(1)).join(' ')}`);
    // What was written in all is many times this.
    expect(Number(slot?.['bytes'])).toBeLessThan(12_000_000);
    expect(Math.max(...retained.slice(-3))).toBeLessThan(16_000_000);
    await job.act('cancel');
    await job.untilState(['cancelled'], 30_000);
    await nothingIsLeft();
  },
  idleSeconds * 1000 + 120_000,
);
