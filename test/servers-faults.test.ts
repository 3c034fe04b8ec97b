import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { slice } from './support/long.ts';
import type { JobEvent } from '../src/contract/event.ts';
import type { JobRequestInput } from '../src/contract/options.ts';
import { ordinaryUser } from '../src/demo/ordinary-user.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { freshState } from './support/fresh-state.ts';
import { contentsOf } from './support/contents.ts';
import { openEngine } from './support/engine.ts';
import { lastingTraces } from './support/live-job.ts';
import { type TestServer, startServer } from './support/servers.ts';
import { WatchedJob } from './support/watched-job.ts';

// What servers do to a job while they are up: full, out of places, impatient, locked, written to by others. Restarts and crashes are
// in scenarios-scalingo.test.ts, standbys in failover.test.ts, a server without room for locks in large-schema.test.ts.

let source: TestServer;
let target: TestServer;
let state: string;
let manager: JobManager;
let number = 0;

beforeAll(async () => {
  [source, target] = await Promise.all([
    startServer({ name: 'sf-source', settings: { wal_level: 'logical' } }),
    startServer({ name: 'sf-target' }),
  ]);
  state = await freshState('servers');
  const logger = pino({ level: 'silent' });
  manager = await JobManager.open({ state, secretKey: null, concurrency: 2, pgBinDir: null, logger, role: 'daemon' });
}, 120_000);
afterAll(async () => {
  await manager?.stop('end of the tests');
  await Promise.all([source?.stop(), target?.stop()]);
  rmSync(state, { recursive: true, force: true });
});

async function pair(sql: string, targetExtra = ''): Promise<string> {
  const name = `faults_${(number += 1)}`;
  await source.createDatabase(name);
  await target.createDatabase(name, targetExtra);
  await source.run(sql, name);
  return name;
}

function begin(
  name: string,
  options: JobRequestInput['options'] = {},
  onEvent?: (event: JobEvent) => void,
  role?: string,
): Promise<WatchedJob> {
  const url = (server: TestServer): string => (role === undefined ? server.url(name) : server.url(name, role, 'x'));
  return WatchedJob.start(
    manager,
    {
      source: { url: url(source) },
      target: { url: url(target) },
      options: { tableJobs: 2, indexJobs: 2, ...options },
    },
    onEvent,
  );
}

async function session(server: TestServer, name: string): Promise<Client> {
  const client = new Client({ connectionString: server.url(name), application_name: 'the application' });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

async function expectSame(name: string): Promise<void> {
  expect([...(await contentsOf(target, name))]).toEqual([...(await contentsOf(source, name))]);
}

/** Waits until a session of `server` that `condition` describes waits for a lock. */
async function untilWaiting(server: TestServer, name: string, condition: string): Promise<void> {
  for (let look = 0; look < 1000; look += 1) {
    const rows = await server.query(
      `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() AND ${condition}`,
      name,
    );
    if (rows.length > 0) return;
    await sleep(20);
  }
  throw new Error(`nobody waits: ${condition}`);
}

const phaseIs =
  (phase: string, act: () => void) =>
  (event: JobEvent): void => {
    if (event.type === 'phase' && event.phase === phase && event.status === 'started') act();
  };

const filled = (table: string, rows: number, bytes: number): string =>
  `CREATE TABLE ${table} (id int PRIMARY KEY, v text); ALTER TABLE ${table} ALTER v SET STORAGE EXTERNAL;
   INSERT INTO ${table} SELECT g, repeat(md5(g::text), ${Math.round(bytes / 32)}) FROM generate_series(1, ${rows}) g;`;

describe.each(slice(['source', 'target'] as const, (side) => side === 'source'))('a %s', (side) => {
  test('that has no connection left for a while is waited for, and says so', async () => {
    const name = await pair(filled('a', 400, 1600) + filled('b', 400, 1600) + filled('c', 400, 1600));
    const server = side === 'source' ? source : target;
    const role = `crowded_${number}`;
    for (const one of [source, target]) {
      await one.run(
        `CREATE ROLE ${role} LOGIN PASSWORD 'x' CONNECTION LIMIT 12; GRANT ALL ON SCHEMA public TO ${role}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${role}`,
        name,
      );
    }
    // From the snapshot on: readers and writers have yet to connect.
    const lowered: Promise<void>[] = [];
    const job = await begin(
      name,
      { noOwner: true, noAcl: true },
      phaseIs('schema', () => {
        if (lowered.length === 0) lowered.push(server.run(`ALTER ROLE ${role} CONNECTION LIMIT 1`));
      }),
      role,
    );
    await job.until('the wait', () => job.log().includes('no connection left'), 60_000);
    await server.run(`ALTER ROLE ${role} CONNECTION LIMIT 12`);
    const { view, acts } = await job.bringToEnd();
    expect(view, job.log()).toMatchObject({ state: 'completed', verified: true, differences: 0 });
    expect(acts).toEqual([]);
    await expectSame(name);
    await job.settled();
    await Promise.all(lowered);
  }, 120_000);
});

/** A file system of `size`; null where this account may not make one. */
async function smallDisk(path: string, size: string): Promise<(() => void) | null> {
  mkdirSync(path, { recursive: true });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=0777`, 'tmpfs', path], { stdio: 'ignore' });
  } catch {
    return null;
  }
  const user = await ordinaryUser();
  if (user !== null) execFileSync('chown', [`${user.uid}:${user.gid}`, path]);
  return () => execFileSync('umount', ['-l', path]);
}

test('a target whose disk is full fails the job by name, leaves the source alone, and goes on with a retry once there is room', async (context) => {
  const path = join(tmpdir(), `pgsluice-small-${process.pid}`);
  const unmount = await smallDisk(path, '24m');
  if (unmount === null) return context.skip('no file system can be mounted here');
  try {
    await target.run(`CREATE TABLESPACE small LOCATION '${path}'`);
    const name = await pair(filled('big', 16000, 3200) + filled('little', 10, 320), 'TABLESPACE small');
    const job = await begin(name);
    const failed = await job.until('an end', ({ state: at }) => at === 'failed' || at === 'completed');
    expect(failed, job.log()).toMatchObject({ state: 'failed', verified: false });
    const said = `${failed.error?.code} ${failed.error?.message} ${failed.error?.hint}\n${job.log()}`;
    expect(said).toMatch(/has no disk space left: .*No space left on device/);
    expect(said).toContain('Free or add disk space on that server, then retry the job.');
    // The rows that did not fit take no room any more, and writers of the source were never in the way.
    await source.run(`INSERT INTO big VALUES (0, 'after')`, name);
    execFileSync('mount', ['-o', 'remount,size=400m', path]);
    await manager.waitUntilSettled(job.id);
    const { view } = await job.bringToEnd();
    expect(view, job.log()).toMatchObject({ state: 'completed', verified: true, differences: 0 });
    await job.settled();
    const [count] = await target.query('SELECT count(*)::int AS n FROM big', name);
    expect([16000, 16001]).toContain(count?.['n']);
    expect(await lastingTraces(source, name)).toEqual([]);
    await target.run(`DROP DATABASE ${name}`);
  } finally {
    await target.run('DROP TABLESPACE IF EXISTS small').catch(() => undefined);
    unmount();
    rmSync(path, { recursive: true, force: true });
  }
}, 120_000);

test("the agent's own full disk is told apart from a server's, and a retry goes on once there is room", async (context) => {
  const unmount = await smallDisk(join(state, 'work'), '16k');
  if (unmount === null) return context.skip('no file system can be mounted here');
  let mounted = true;
  try {
    const name = await pair(Array.from({ length: 60 }, (_, n) => filled(`t${n}`, 1, 32)).join(''));
    const job = await begin(name);
    const failed = await job.until('an end', ({ state: at }) => at === 'failed' || at === 'completed');
    expect(failed, job.log()).toMatchObject({ state: 'failed', error: { code: 'AGENT_DISK_FULL' } });
    expect(failed.error?.hint).toContain(join(state, 'work'));
    expect(await target.query(`SELECT 1 FROM pg_tables WHERE schemaname = 'public'`, name)).toEqual([]);
    await manager.waitUntilSettled(job.id);
    unmount();
    mounted = false;
    const { view } = await job.bringToEnd();
    expect(view, job.log()).toMatchObject({ state: 'completed', verified: true, differences: 0 });
    await job.settled();
    await expectSame(name);
  } finally {
    if (mounted) unmount();
  }
}, 120_000);

describe.each(slice(['copy', 'live'] as const, (method) => method === 'copy'))(
  'timeouts that are forced on the role',
  (method) => {
    test(`end nothing of method ${method}, which takes longer than all of them`, async () => {
      const name = await pair(
        `CREATE FUNCTION slow(i int) RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN IF current_setting('test.slow', true) = 'yes' THEN PERFORM pg_sleep(0.01); END IF; RETURN true; END $$;
       CREATE TABLE t (id int PRIMARY KEY, v text, CHECK (slow(id))); INSERT INTO t SELECT g, 'v' FROM generate_series(1, 200) g;
       CREATE TABLE u (id int PRIMARY KEY, t int REFERENCES t); INSERT INTO u SELECT g, g FROM generate_series(1, 50) g`,
      );
      const forced = [
        `statement_timeout = '600ms'`,
        `lock_timeout = '600ms'`,
        `idle_in_transaction_session_timeout = '600ms'`,
        ...(source.major >= 14 ? [`idle_session_timeout = '600ms'`] : []),
        ...(source.major >= 17 ? [`transaction_timeout = '600ms'`] : []),
      ];
      for (const server of [source, target]) {
        await server.run(`DROP ROLE IF EXISTS hurried; CREATE ROLE hurried SUPERUSER REPLICATION LOGIN PASSWORD 'x'`);
        for (const setting of forced) await server.run(`ALTER ROLE hurried SET ${setting}`);
      }
      await target.run(`ALTER DATABASE ${name} SET test.slow = 'yes'`);
      const started = Date.now();
      const job = await begin(name, { method, cutover: method === 'live' ? 'manual' : null }, undefined, 'hurried');
      const { view, acts } = await job.bringToEnd();
      expect(view, job.log()).toMatchObject({ state: 'completed', verified: true, differences: 0 });
      expect(acts.filter((act) => act !== 'cutover')).toEqual([]);
      expect(job.log()).not.toMatch(/timeout/);
      expect(Date.now() - started).toBeGreaterThan(2000);
      await job.settled();
      await expectSame(name);
    }, 120_000);
  },
);

test('a lock that somebody keeps on a table of the target is shown with its holder, keeps no other table, and is left by a cancel', async () => {
  const name = await pair(filled('a', 50, 320) + filled('b', 50, 320) + filled('c', 50, 320));
  await target.run(
    'CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (LIKE a); CREATE TABLE c (LIKE a)',
    name,
  );
  const app = await session(target, name);
  await app.query('BEGIN; LOCK TABLE b IN SHARE MODE');
  const job = await begin(name, { dataOnly: true, verify: 'none' });
  await untilWaiting(target, name, `application_name LIKE 'pgsluice copy%'`);
  await job.until('the others', ({ totals }) => totals.tablesDone === 2);
  // With the statement, the process and its transaction's begin, within the 10 s in which nothing may move.
  const waits = (): string =>
    job.events
      .flatMap((event) => (event.type === 'metric' && event.waiting !== null ? [event.waiting.what] : []))
      .at(-1) ?? '';
  await job.until(
    'the wait to be shown',
    () => /held by process \d+ \(postgres, the application\) since [\d:]+ UTC, for: COPY/.test(waits()),
    30_000,
  );
  // Whoever asks sees the same at once, from both servers.
  const activity = await manager.activity(job.id);
  const waiting = activity.target?.sessions.find(({ waitsFor }) => waitsFor === 'Lock: relation');
  expect(waiting).toMatchObject({
    application: `pgsluice copy ${job.id}`,
    query: expect.stringMatching(/COPY "?public"?."?b"? /),
    blockedBy: [expect.stringMatching(/^process \d+ \(postgres, the application\), in a transaction since/)],
  });
  expect(activity.source?.sessions.map(({ application }) => application)).toContain(`pgsluice snapshot ${job.id}`);
  const asked = Date.now();
  await manager.act(job.id, 'cancel');
  expect(Date.now() - asked).toBeLessThan(5000);
  expect(await job.settled()).toMatchObject({ state: 'cancelled' });
  await app.query('ROLLBACK');
  await app.end();
  expect(await lastingTraces(source, name)).toEqual([]);
  expect((await lastingTraces(target, name)).filter((trace) => trace.startsWith('session'))).toEqual([]);
}, 120_000);

test('a deadlock with the application on the target costs the table one attempt; the application is not its victim', async () => {
  const name = await pair(filled('t', 20, 320));
  await target.run('CREATE TABLE t (id int PRIMARY KEY, v text)', name);
  const app = await session(target, name);
  await app.query(`BEGIN; INSERT INTO t VALUES (10, 'of the application')`);
  const job = await begin(name, { dataOnly: true });
  // Rows 1 to 9 are in, and row 10 waits for the application; now the application waits for row 1.
  await untilWaiting(target, name, `application_name LIKE 'pgsluice copy%'`);
  await app.query(`INSERT INTO t VALUES (1, 'of the application')`);
  await app.query('ROLLBACK');
  await app.end();
  const { view, acts } = await job.bringToEnd();
  expect(view, job.log()).toMatchObject({ state: 'completed', verified: true, differences: 0 });
  expect(acts).toEqual([]);
  expect(job.log()).toMatch(/Copy of "public"."t" was interrupted \(.*deadlock.*\); trying this table again/);
  await job.settled();
  await expectSame(name);
}, 120_000);

test('a migration of the application that locks in another order is no victim of the copy, and the copy gives way', async () => {
  const name = await pair(`${filled('a', 20, 320)} CREATE VIEW v AS SELECT id FROM a`);
  const app = await session(source, name);
  await app.query('BEGIN; ALTER VIEW v RENAME TO w');
  const engine = await openEngine({ sourceUrl: source.url(name), targetUrl: target.url(name) });
  try {
    const run = engine.run.run();
    run.catch(() => undefined);
    for (let round = 0; round < 3; round += 1) {
      // The copy has a and waits for the view, which the application has; now the application waits for a.
      await untilWaiting(source, name, `application_name LIKE 'pgsluice dump%'`);
      await app.query('SAVEPOINT s; ALTER TABLE a ADD COLUMN w int');
      await app.query('ROLLBACK TO s');
    }
    await app.query('COMMIT');
    expect(await run, engine.logText()).toMatchObject({ ok: true, error: null });
    expect(engine.logText()).toMatch(/Giving way to a lock of another session on the source/);
    expect(await target.query(`SELECT viewname FROM pg_views WHERE schemaname = 'public'`, name)).toEqual([
      { viewname: 'w' },
    ]);
    await expectSame(name);
  } finally {
    await app.end();
    await engine.close();
  }
}, 120_000);

test('nor is one that wants what the copy has locked already, however soon the server looks for deadlocks', async () => {
  const name = await pair(`${filled('a', 20, 320)} ${filled('b', 20, 320)} ${filled('c', 20, 320)}`);
  await source.run(`ALTER DATABASE ${name} SET deadlock_timeout = '200ms'`);
  const app = await session(source, name);
  await app.query('BEGIN; LOCK TABLE b IN ACCESS EXCLUSIVE MODE');
  const engine = await openEngine({ sourceUrl: source.url(name), targetUrl: target.url(name) });
  try {
    const run = engine.run.run();
    run.catch(() => undefined);
    await untilWaiting(source, name, `application_name LIKE 'pgsluice snapshot%'`);
    // By now its own look for a deadlock is over; in whatever order it locks, a or c comes before b.
    for (const table of ['a', 'c', 'a', 'c']) {
      await sleep(300);
      await app.query(`SAVEPOINT s; ALTER TABLE ${table} ADD COLUMN w int`);
      await app.query('ROLLBACK TO s');
    }
    await app.query('COMMIT');
    expect(await run, engine.logText()).toMatchObject({ ok: true, error: null });
    expect(engine.logText()).toMatch(/Waiting for an exclusive lock of another session on the source/);
    await expectSame(name);
  } finally {
    await app.end();
    await engine.close();
  }
}, 120_000);

test.each([
  ['a row is added', `INSERT INTO b VALUES (-1, 'of somebody else')`],
  ['a row is changed', `UPDATE b SET v = v || '!' WHERE id = 7`],
  ['a row goes', `DELETE FROM b WHERE id = 7`],
  ['an index goes', `DROP INDEX b_v`],
])(
  'somebody else writes to the target in the middle, %s: it is never verified, and the table is named',
  async (_, sql) => {
    // A view of the target is filled last, and waits for the test.
    const name = await pair(`${filled('a', 50, 320)}${filled('b', 50, 320)} CREATE INDEX b_v ON b (left(v, 10));
      CREATE FUNCTION held() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN 1; END $$;
      CREATE MATERIALIZED VIEW m AS SELECT held() AS one`);
    const other = await session(target, name);
    await other.query('SELECT pg_advisory_lock(42)');
    const job = await begin(name);
    await untilWaiting(target, name, `application_name LIKE 'pgsluice %'`);
    await other.query(sql);
    await other.end();
    const over = await job.until('the end', ({ state: at }) => at === 'completed' || at === 'failed');
    expect(over, job.log()).toMatchObject({ state: 'completed', verified: false });
    expect(over.differences).toBeGreaterThan(0);
    await job.settled();
    const report = await manager.report(job.id);
    expect(report.verification?.differences.map(({ name: what }) => what).join()).toMatch(/\bb\b|b_v/);
  },
  120_000,
);
