import { rm } from 'node:fs/promises';
import pino from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { JobRequestInput } from '../src/contract/options.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { freshState } from './support/fresh-state.ts';
import { contentsOf } from './support/contents.ts';
import { lastingTraces } from './support/live-job.ts';
import { longTest } from './support/long.ts';
import { type TestServer, startServer } from './support/servers.ts';
import { type Address, startAddress, startStandby, through } from './support/standby.ts';
import { WatchedJob } from './support/watched-job.ts';

// A provider fails over: another server, a standby that was promoted, answers at the same address in the middle of a job.

interface Place {
  readonly address: Address;
  primary: TestServer;
}

let source: Place;
let target: Place;
let state: string;
let manager: JobManager;
const servers: TestServer[] = [];
let number = 0;

async function place(name: string): Promise<Place> {
  // What a crash may lose is not what is tried here.
  const settings = { wal_level: 'logical', synchronous_commit: 'on' };
  const primary = await startServer({ name, settings });
  servers.push(primary);
  return { primary, address: await startAddress(primary.port) };
}

beforeAll(async () => {
  [source, target] = await Promise.all([place('failover-source'), place('failover-target')]);
  state = await freshState('failover');
  const logger = pino({ level: 'silent' });
  manager = await JobManager.open({ state, secretKey: null, concurrency: 2, pgBinDir: null, logger, role: 'daemon' });
}, 240_000);
afterAll(async () => {
  await manager?.stop('end of the tests');
  await Promise.all([source?.address.close(), target?.address.close(), ...servers.map((server) => server.stop())]);
  await rm(state, { recursive: true, force: true });
});

async function pair(sql: string): Promise<string> {
  const name = `shop_${(number += 1)}`;
  await source.primary.createDatabase(name);
  await target.primary.createDatabase(name);
  await source.primary.run(sql, name);
  return name;
}

function begin(name: string, options: JobRequestInput['options']): Promise<WatchedJob> {
  return WatchedJob.start(manager, {
    source: { url: through(source.primary.url(name), source.address.port) },
    target: { url: through(target.primary.url(name), target.address.port) },
    options: { tableJobs: 1, indexJobs: 1, ...options },
  });
}

/** A standby, and the line over which it follows. */
async function standbyOf(side: Place): Promise<{ standby: TestServer; line: Address; caughtUp: () => Promise<void> }> {
  const line = await startAddress(side.primary.port);
  const standby = await startStandby(side.primary, 'failover-standby', line.port);
  servers.push(standby);
  const caughtUp = async (): Promise<void> => {
    const [now] = await side.primary.query('SELECT pg_current_wal_lsn()::text AS lsn');
    await until(standby, `SELECT pg_last_wal_replay_lsn() >= '${String(now?.['lsn'])}'::pg_lsn AS yes`);
  };
  await caughtUp();
  return { standby, line, caughtUp };
}

async function until(server: TestServer, sql: string): Promise<void> {
  for (let look = 0; look < 400; look += 1) {
    const [row] = await server.query(sql);
    if (row?.['yes'] === true) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`it was never so: ${sql}`);
}

/** The primary dies, the standby takes its place. */
async function failOver(side: Place, standby: TestServer): Promise<void> {
  await side.primary.halt('immediate');
  await standby.query('SELECT pg_promote()');
  side.primary = standby;
  side.address.pointTo(standby.port);
}

const tables = `CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT g, repeat('a', 100) FROM generate_series(1, 3000) g;
  CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a, v text); INSERT INTO b SELECT g, g, 'b' FROM generate_series(1, 3000) g`;

const stands = `SELECT count(*) = 200 AS yes FROM b WHERE v LIKE 'after%'`;

longTest(
  'live, to a standby of the target that had everything: the job goes on by itself, and nothing is missing',
  async () => {
    const name = await pair(tables);
    const { standby, line, caughtUp } = await standbyOf(target);
    const job = await begin(name, { method: 'live', cutover: 'manual' });
    await job.until('following', ({ state: at, live }) => at === 'following' && live?.connected === true);
    await source.primary.run(`UPDATE b SET v = 'after ' || id WHERE id <= 100`, name);
    await caughtUp();
    await failOver(target, standby);
    await source.primary.run(`UPDATE b SET v = 'after ' || id WHERE id BETWEEN 101 AND 200`, name);
    const { view, acts } = await job.bringToEnd();
    expect(view, job.log()).toMatchObject({ state: 'completed', verified: true, differences: 0 });
    expect(acts.filter((act) => act === 'retry')).toEqual([]);
    await job.settled();
    expect([...(await contentsOf(target.primary, name))]).toEqual([...(await contentsOf(source.primary, name))]);
    await until(target.primary, 'SELECT true AS yes');
    expect(await target.primary.query(stands, name)).toEqual([{ yes: true }]);
    await line.close();
  },
  240_000,
);

test('live, to a standby of the target that was behind: the job ends in plain words, and a retry brings everything', async () => {
  const name = await pair(tables);
  const { standby, line, caughtUp } = await standbyOf(target);
  const job = await begin(name, { method: 'live', cutover: 'manual' });
  await job.until('following', ({ state: at, live }) => at === 'following' && live?.connected === true);
  await caughtUp();
  await line.close();
  // The target commits this, the slot is told so, and the standby never hears of it.
  await source.primary.run(`UPDATE b SET v = 'after ' || id WHERE id <= 100`, name);
  const [now] = await source.primary.query('SELECT pg_current_wal_lsn()::text AS lsn');
  await until(
    source.primary,
    `SELECT coalesce(bool_and(confirmed_flush_lsn >= '${String(now?.['lsn'])}'::pg_lsn), false) AS yes FROM pg_replication_slots`,
  );
  await failOver(target, standby);
  await source.primary.run(`UPDATE b SET v = 'after ' || id WHERE id BETWEEN 101 AND 200`, name);
  const failed = await job.until('an end', ({ state: at }) => ['failed', 'completed', 'paused'].includes(at));
  expect(failed, job.log()).toMatchObject({ state: 'failed', verified: false, error: { code: 'TARGET_WENT_BACK' } });
  expect(failed.error?.message).toContain('has lost changes that it had committed');
  await manager.waitUntilSettled(job.id);
  const { view } = await job.bringToEnd();
  expect(view, job.log()).toMatchObject({ state: 'completed', verified: true, differences: 0 });
  await job.settled();
  expect(await target.primary.query(stands, name)).toEqual([{ yes: true }]);
  expect([...(await contentsOf(target.primary, name))]).toEqual([...(await contentsOf(source.primary, name))]);
}, 240_000);

longTest(
  'copy, to a standby of the target that had not all tables: it is never called verified, and what is missing is named',
  async () => {
    const name = await pair(`${tables};
    CREATE FUNCTION held(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN true; END $$;
    CREATE TABLE z (id int PRIMARY KEY, CHECK (held(id))); INSERT INTO z SELECT generate_series(1, 100)`);
    const { standby, line, caughtUp } = await standbyOf(target);
    const { Client } = await import('pg');
    const hold = new Client({ connectionString: target.primary.url(name) });
    hold.on('error', () => undefined);
    await hold.connect();
    await hold.query('SELECT pg_advisory_lock(42)');
    const job = await begin(name, { method: 'copy' });
    // The standby has the empty tables, and the rows of none: the tables are made, and the first rows wait.
    await job.until('the schema', ({ phase }) => phase === 'copy' || phase === 'indexes');
    await caughtUp();
    await line.close();
    await job.until('two tables', ({ totals }) => totals.tablesDone >= 2);
    await failOver(target, standby);
    const { view, acts } = await job.bringToEnd();
    expect(view, job.log()).toMatchObject({ state: 'completed' });
    const same =
      JSON.stringify([...(await contentsOf(target.primary, name))]) ===
      JSON.stringify([...(await contentsOf(source.primary, name))]);
    // Either the copy was begun anew on the promoted server, or its comparison has found what is missing there.
    expect({ verified: view.verified, differences: view.differences > 0 }, `${acts.join(' ')} ${job.log()}`).toEqual({
      verified: same,
      differences: !same,
    });
    await job.settled();
  },
  240_000,
);

test('copy, of the source: the snapshot is gone with its server; a retry copies the promoted one, and compares with it', async () => {
  const name = await pair(
    `${tables}; CREATE TABLE c AS SELECT g AS id, repeat(md5(g::text), 20) AS v FROM generate_series(1, 2000) g`,
  );
  const { standby, line } = await standbyOf(source);
  const job = await begin(name, { method: 'copy', maxRate: 500_000 });
  await job.until('the copy', ({ totals }) => totals.bytes > 100_000);
  await source.primary.run(`INSERT INTO a VALUES (9001, 'only on the old primary')`, name);
  await failOver(source, standby);
  const { view, acts } = await job.bringToEnd();
  expect(view, job.log()).toMatchObject({ state: 'completed', verified: true, differences: 0 });
  expect(acts).toContain('retry');
  await job.settled();
  expect([...(await contentsOf(target.primary, name))]).toEqual([...(await contentsOf(source.primary, name))]);
  expect(await lastingTraces(source.primary, name)).toEqual([]);
  await line.close();
}, 240_000);

longTest(
  'live, of the source: its slot is gone with the old primary; the job ends in plain words, and a retry begins anew',
  async () => {
    const name = await pair(tables);
    const { standby, line, caughtUp } = await standbyOf(source);
    const job = await begin(name, { method: 'live', cutover: 'manual' });
    await job.until('following', ({ state: at, live }) => at === 'following' && live?.connected === true);
    await source.primary.run(`UPDATE b SET v = 'after ' || id WHERE id <= 100`, name);
    await caughtUp();
    await failOver(source, standby);
    await source.primary.run(`UPDATE b SET v = 'after ' || id WHERE id BETWEEN 101 AND 200`, name);
    const failed = await job.until('an end', ({ state: at }) => ['failed', 'completed', 'paused'].includes(at));
    expect(failed, job.log()).toMatchObject({ state: 'failed', verified: false, error: { code: 'SLOT_LOST' } });
    await manager.waitUntilSettled(job.id);
    const { view } = await job.bringToEnd();
    expect(view, job.log()).toMatchObject({ state: 'completed', verified: true, differences: 0 });
    await job.settled();
    expect(await target.primary.query(stands, name)).toEqual([{ yes: true }]);
    expect([...(await contentsOf(target.primary, name))]).toEqual([...(await contentsOf(source.primary, name))]);
    // It has been handed over: only the old place's refusal of writes stays.
    expect(await lastingTraces(source.primary, name, 2_000)).toEqual(['setting default_transaction_read_only=on']);
    await line.close();
  },
  240_000,
);
