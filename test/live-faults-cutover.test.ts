import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { JobView } from '../src/contract/job.ts';
import type { Report } from '../src/contract/report.ts';
import { contentsOf } from './support/contents.ts';
import { type Daemon, startDaemon } from './support/daemon.ts';
import { LiveJob, lastingTraces } from './support/live-job.ts';
import { longTest } from './support/long.ts';
import { faultTables, obstacle } from './support/obstacle.ts';
import { type TestServer, startServer } from './support/servers.ts';

// The agent is killed within a cutover, at moments that are held open from outside: nothing is lost, nothing is claimed that was not checked.

const readOnly = 'setting default_transaction_read_only=on';

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
    startServer({ name: 'faults-cutover-source', settings: { wal_level: 'logical' } }),
    startServer({ name: 'faults-cutover-target' }),
  ]);
  state = await mkdtemp(join(tmpdir(), 'pgsluice-faults-cutover-'));
  daemon = await startDaemon(state);
});
afterAll(async () => {
  await daemon?.kill9();
  await Promise.all([source?.stop(), target?.stop()]);
  await rm(state, { recursive: true, force: true });
});

beforeEach(async () => {
  number += 1;
  database = `faults_cutover_${number}`;
  sourceUrl = await source.createDatabase(database);
  targetUrl = await target.createDatabase(database);
  await source.run(faultTables, database);
});

const start = (options = {}): Promise<LiveJob> => LiveJob.start(() => daemon, sourceUrl, targetUrl, options);

async function reportOf(job: LiveJob): Promise<Report> {
  return (await daemon.api(`/api/jobs/${job.id}/report`)) as Report;
}

/** @throws with the job's log when it failed. */
async function untilCompleted(job: LiveJob): Promise<JobView> {
  const view = await job.untilState(['completed', 'failed']);
  if (view.state === 'failed') throw new Error(`${view.summary}\n${await job.log()}`);
  return view;
}

async function until(what: string, ask: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 60_000;
  while (!(await ask())) {
    if (Date.now() > end) throw new Error(`waited a minute for ${what}`);
    await sleep(50);
  }
}

async function expectForeignKeys(): Promise<void> {
  const keys = await target.query(
    `SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace`,
    database,
  );
  expect(keys).toEqual([{ conname: 'b_a_fkey', convalidated: true }]);
}

longTest(
  'an agent that is killed while it compares brings the migration to its end, and claims nothing that it did not compare',
  async () => {
    const held: { remove(): Promise<void> }[] = [];
    let calls = 0;
    const hook = createServer((_request, response) => {
      calls += 1;
      // The comparison comes to this table, and no further.
      const answer = async (): Promise<void> => {
        held.push(await obstacle(targetUrl, 'BEGIN; LOCK TABLE a IN ACCESS EXCLUSIVE MODE'));
        response.end();
      };
      void answer();
    });
    hook.listen(0, '127.0.0.1');
    await once(hook, 'listening');
    const address = hook.address();
    if (address === null || typeof address === 'string') throw new Error('the hook has no port');
    try {
      const job = await start({ handOver: { webhook: `http://127.0.0.1:${address.port}/` } });
      await job.untilCaughtUp();
      await job.act('cutover');
      await job.untilState(['verifying']);
      await until('the comparison to wait', async () => {
        const waiting = `SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'public.a'::regclass`;
        return (await target.query(waiting, database)).length > 0;
      });
      await daemon.kill9();
      await Promise.all(held.map((lock) => lock.remove()));
      daemon = await startDaemon(state);
      expect(await untilCompleted(job)).toMatchObject({ verified: false, error: null });
      // Whoever was told is not told again.
      expect(calls).toBe(1);
      const { todo, verification } = await reportOf(job);
      expect(verification).toBeNull();
      expect(todo.join('\n')).toMatch(/agent ended after the hand-over.*unverified.*pgsluice verify/);
      expect(todo.join('\n')).toMatch(/ALTER DATABASE .* RESET default_transaction_read_only;/);
      await expectForeignKeys();
      expect(await lastingTraces(target, database)).toEqual([]);
      expect(await lastingTraces(source, database, 3000)).toEqual([readOnly]);
      expect([...(await contentsOf(target, database))]).toEqual([...(await contentsOf(source, database))]);
    } finally {
      await Promise.all(held.map((lock) => lock.remove()));
      hook.closeAllConnections();
      hook.close();
    }
  },
);

/** Processes of this database that wait for the lock of `holdCommit`. */
const waiting = `FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;

/** Makes the target's COMMIT of the cutover wait for a lock of the test, as long as it is held, whether or not its client lives. */
async function holdCommit(): Promise<{ reached(): Promise<void>; open(): Promise<number>; release(): Promise<void> }> {
  await target.run(
    `CREATE FUNCTION pgsluice_live.held() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('client_connection_check_interval', '0', false); PERFORM pg_advisory_xact_lock(77); RETURN NULL; END $$;
     CREATE CONSTRAINT TRIGGER held AFTER UPDATE ON pgsluice_live.progress DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW WHEN (NEW.finished AND NOT OLD.finished) EXECUTE FUNCTION pgsluice_live.held()`,
    database,
  );
  const lock = await obstacle(targetUrl, 'SELECT pg_advisory_lock(77)');
  const open = async (): Promise<number> => (await target.query(`SELECT pid ${waiting}`, database)).length;
  return {
    reached: () => until('the commit', async () => (await open()) > 0),
    open,
    release: () => lock.remove(),
  };
}

test('an agent that is killed while the target commits, and it has not: the source takes writes again, and the job follows on', async () => {
  const job = await start();
  await job.untilCaughtUp();
  const commit = await holdCommit();
  try {
    await job.act('cutover');
    await commit.reached();
    await daemon.kill9();
    // Only the commit was missing: the source was left read-only, and nobody but the target knows whether it has taken over.
    expect(await lastingTraces(source, database, 1000)).toContain(readOnly);
    await expect(source.run(`INSERT INTO z (v) VALUES ('refused')`, database)).rejects.toThrow(/read-only/);
    await target.query(`SELECT pg_terminate_backend(pid) ${waiting}`, database);
    await until('the end of the transaction', async () => (await commit.open()) === 0);
  } finally {
    await commit.release();
  }
  daemon = await startDaemon(state);
  await job.untilCaughtUp();
  expect((await lastingTraces(source, database, 1000)).filter((trace) => trace.startsWith('setting'))).toEqual([]);
  await source.run(`INSERT INTO z (v) VALUES ('after')`, database);
  await job.act('cutover');
  expect(await untilCompleted(job)).toMatchObject({ verified: true, error: null });
  await expectForeignKeys();
  expect(await lastingTraces(target, database)).toEqual([]);
  expect(await lastingTraces(source, database, 3000)).toEqual([readOnly]);
  expect([...(await contentsOf(target, database))]).toEqual([...(await contentsOf(source, database))]);
});

test('an agent that is killed while the target commits, and it does: the next one waits for that, and ends the migration', async () => {
  const job = await start();
  await job.untilCaughtUp();
  const commit = await holdCommit();
  try {
    await job.act('cutover');
    await commit.reached();
    await daemon.kill9();
    daemon = await startDaemon(state);
    const asking = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgsluice progress%' AND wait_event = 'transactionid'`;
    await until('the next agent to ask the target', async () => (await target.query(asking, database)).length > 0);
    // As long as the answer is open nobody takes the source back.
    expect((await job.view()).state).toBe('running');
    await expect(source.run(`INSERT INTO z (v) VALUES ('refused')`, database)).rejects.toThrow(/read-only/);
  } finally {
    await commit.release();
  }
  expect(await untilCompleted(job)).toMatchObject({ verified: true, error: null });
  await expectForeignKeys();
  expect(await lastingTraces(target, database)).toEqual([]);
  expect(await lastingTraces(source, database, 3000)).toEqual([readOnly]);
  expect([...(await contentsOf(target, database))]).toEqual([...(await contentsOf(source, database))]);
});

longTest(
  'a preparation that waits for a lock is given up in its time: no write waits for it, and nothing of it stays',
  async () => {
    const job = await start({ cutoverTimeout: 3 });
    await job.untilCaughtUp();
    // pg_dump waits for it; the writer of the other table must not.
    const lock = await obstacle(sourceUrl, 'BEGIN; LOCK TABLE a IN ACCESS EXCLUSIVE MODE');
    try {
      await job.act('cutover');
      expect((await job.untilState(['cutting_over'])).summary).toContain('still written to as usual');
      await source.run(`INSERT INTO z (v) VALUES ('meanwhile')`, database);
      await job.untilState(['following'], 20_000);
      const reason = 'The cutover was not prepared within 3 s, so no write was stopped';
      await until('the reason in the log', async () => (await job.log()).includes(reason));
      const dumping = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LOCK TABLE%' AND application_name NOT LIKE 'in the way'`;
      await until('pg_dump to end', async () => (await source.query(dumping, database)).length === 0);
    } finally {
      await lock.remove();
    }
    await job.untilCaughtUp();
    await job.act('cutover');
    expect(await untilCompleted(job)).toMatchObject({ verified: true, error: null });
  },
);
