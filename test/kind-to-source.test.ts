import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { copyLargeObjects, pacer } from '../src/clone/large-objects.ts';
import { streamTransfer, transferCopy } from '../src/clone/transfer.ts';
import type { JobRequestInput } from '../src/contract/options.ts';
import { PauseGate } from '../src/gate.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { Pace } from '../src/pace.ts';
import { pausable } from '../src/verify/pausable.ts';
import { openSession, type Session } from '../src/postgres/session.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { contentsOf } from './support/contents.ts';
import { LockWatch } from './support/lock-watch.ts';
import { every, longTest, slice } from './support/long.ts';
import { type MeteredLine, startMeteredLine } from './support/metered-line.ts';
import { type TestServer, startServer } from './support/servers.ts';
import { through } from './support/standby.ts';
import { WatchedJob } from './support/watched-job.ts';

// What a job costs those who use the source: bytes a second, connections, locks, and how soon it lets go.

let source: TestServer;
let target: TestServer;
let line: MeteredLine;
let state: string;
let manager: JobManager;
let number = 0;

beforeAll(async () => {
  [source, target] = await Promise.all([
    startServer({ name: 'kind-source', settings: { wal_level: 'logical' } }),
    startServer({ name: 'kind-target' }),
  ]);
  line = await startMeteredLine(source.port);
  state = mkdtempSync(join(tmpdir(), 'pgsluice-kind-'));
  const logger = pino({ level: 'silent' });
  manager = await JobManager.open({ state, secretKey: null, concurrency: 2, pgBinDir: null, logger, role: 'daemon' });
}, 120_000);
afterAll(async () => {
  await manager?.stop('end of the tests');
  await line?.close();
  await Promise.all([source?.stop(), target?.stop()]);
  rmSync(state, { recursive: true, force: true });
});

/** `tables` of `bytes` each that do not compress, and what the clone has to leave alone. */
const filled = (tables: number, bytes: number): string =>
  Array.from(
    { length: tables },
    (_, n) => `CREATE TABLE t${n} (id int PRIMARY KEY, v text); ALTER TABLE t${n} ALTER v SET STORAGE EXTERNAL;
      INSERT INTO t${n} SELECT g, repeat(md5(g::text), 50) FROM generate_series(1, ${Math.round(bytes / 1600)}) g;`,
  ).join(' ');

async function pair(sql: string): Promise<string> {
  const name = `kind_${(number += 1)}`;
  await source.createDatabase(name);
  await target.createDatabase(name);
  await source.run(`${sql}; ANALYZE`, name);
  return name;
}

function begin(name: string, options: JobRequestInput['options'] = {}): Promise<WatchedJob> {
  return WatchedJob.start(manager, {
    source: { url: through(source.url(name), line.port) },
    target: { url: target.url(name) },
    options: { verify: 'none', ...options },
  });
}

async function expectSame(name: string): Promise<void> {
  expect([...(await contentsOf(target, name))]).toEqual([...(await contentsOf(source, name))]);
}

async function session(url: string, side: 'source' | 'target'): Promise<Session> {
  const signal = new AbortController().signal;
  return openSession(parseEndpoint({ url }, side), { signal, side, purpose: 'test' });
}

describe('--max-rate', () => {
  test('bounds all tables of a job together', async () => {
    const name = await pair(filled(4, 2e6));
    const before = line.received;
    const job = await begin(name, { maxRate: 2e6, tableJobs: 4 });
    await job.until('the first rows', ({ totals }) => totals.bytes > 0);
    const started = Date.now();
    const { view } = await job.bringToEnd();
    const seconds = (Date.now() - started) / 1000;
    expect(view, job.log()).toMatchObject({ state: 'completed' });
    await job.settled();
    expect(line.received - before).toBeGreaterThan(8e6);
    // 8 MB at 2 MB/s, less what had gone through by the first look.
    expect(seconds).toBeGreaterThan(2.9);
    await expectSame(name);
  });

  const ways = [
    ['socket to socket', transferCopy],
    ["the driver's streams", streamTransfer],
  ] as const;
  test.each(slice(ways, every(2)))('holds for each way in which rows go: %s', async (_, transfer) => {
    const name = await pair(filled(1, 1.5e6));
    await target.run('CREATE TABLE t0 (id int PRIMARY KEY, v text)', name);
    const [from, to] = [await session(source.url(name), 'source'), await session(target.url(name), 'target')];
    const started = Date.now();
    const moved = await transfer({
      source: from,
      copyOut: 'COPY public.t0 TO STDOUT (FORMAT binary)',
      target: to,
      copyIn: 'COPY public.t0 FROM STDIN (FORMAT binary)',
      format: 'binary',
      gate: new PauseGate(new Pace(1e6)),
      onProgress: () => undefined,
    });
    expect(moved.bytes).toBeGreaterThan(1.4e6);
    // The last piece is not waited for.
    expect(Date.now() - started).toBeGreaterThan(1200);
    await Promise.all([from.close(), to.close()]);
    await expectSame(name);
  });

  longTest('holds for large objects', async () => {
    const name = await pair(
      `SELECT lo_from_bytea(0, decode(repeat(md5(g::text), 5000), 'hex')) FROM generate_series(1, 20) g`,
    );
    const [from, to] = [await session(source.url(name), 'source'), await session(target.url(name), 'target')];
    await from.run('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const pace = pacer({ gate: new PauseGate(new Pace(1e6)), signal: new AbortController().signal });
    const started = Date.now();
    const copied = await copyLargeObjects(from, to, { noOwner: true, noAcl: true, mapRole: {} }, pace);
    expect(copied).toEqual({ objects: 20, bytes: 1_600_000 });
    expect(Date.now() - started).toBeGreaterThan(1200);
    await Promise.all([from.close(), to.close()]);
    await expectSame(name);
  });

  longTest('holds for small tables, which are read together', async () => {
    const name = await pair(filled(150, 3e4));
    const job = await begin(name, { maxRate: 1e6, tableJobs: 2 });
    const { view } = await job.bringToEnd();
    expect(view, job.log()).toMatchObject({ state: 'completed' });
    await job.settled();
    const copy = job.events.find((event) => event.type === 'phase' && event.phase === 'copy' && event.seconds !== null);
    // 4.5 MB, less the last group of either reader, which is not waited for.
    expect(copy).toMatchObject({ seconds: expect.toSatisfy((seconds: number) => seconds > 3) });
    await expectSame(name);
  });

  longTest('holds for an export', async () => {
    const name = await pair(filled(1, 12e6));
    const archive = join(state, `archive-${name}`);
    const job = await WatchedJob.start(manager, {
      kind: 'export',
      source: { url: through(source.url(name), line.port) },
      archive: { path: archive },
      options: { maxRate: 2e6, verify: 'none', compress: 'none' },
    });
    const begun = line.received;
    await job.until('rows', () => line.received - begun > 1e6);
    const before = line.received;
    const started = Date.now();
    const { view } = await job.bringToEnd();
    expect(view, job.log()).toMatchObject({ state: 'completed' });
    const moved = line.received - before;
    expect(moved).toBeGreaterThan(4e6);
    expect(Date.now() - started).toBeGreaterThan((moved - 5e5) / 2000);
    await job.settled();
  });
});

/** Bytes from the source in each of the next `seconds`, after `settleMs`. */
async function bytesPerSecond(settleMs: number, seconds: number): Promise<number[]> {
  await sleep(settleMs);
  const counts: number[] = [];
  for (let at = 0; at < seconds; at += 1) {
    const before = line.received;
    await sleep(1000);
    counts.push(line.received - before);
  }
  return counts;
}

/**
 * Bytes of a table that would still be on its way 3 s after the pause of a job with 6 MB/s and two such tables: sockets of this machine
 * hold some 4 MB each, which have left the source long before they are due.
 */
const longerThanALook = 16e6;

describe('a pause', () => {
  test('stops the bytes of a copy within 2 s, and a resume goes on under the same snapshot', async () => {
    const name = await pair(filled(2, longerThanALook));
    const job = await begin(name, { maxRate: 6e6, tableJobs: 2 });
    await job.until('rows', ({ totals }) => totals.bytes > 1e6);
    await manager.act(job.id, 'pause');
    const paused = await job.view();
    expect(paused).toMatchObject({ state: 'paused', snapshotAlive: true });
    // Signs of life on the snapshot's session are all that passes.
    for (const bytes of await bytesPerSecond(2000, 1)) expect(bytes).toBeLessThan(10_000);
    await manager.act(job.id, 'resume');
    const { view, acts } = await job.bringToEnd();
    expect(view, job.log()).toMatchObject({ state: 'completed' });
    expect(acts).toEqual([]);
    expect(job.log().match(/Snapshot \S+ taken/g)).toHaveLength(1);
    await job.settled();
    await expectSame(name);
  });

  longTest('stops a table whose COPY had only just been asked for', async () => {
    const name = await pair(filled(1, 4e6));
    await target.run('CREATE TABLE t0 (id int PRIMARY KEY, v text)', name);
    const from = await session(through(source.url(name), line.port), 'source');
    const to = await session(target.url(name), 'target');
    const gate = new PauseGate();
    gate.pause();
    let bytes = 0;
    const moving = transferCopy({
      source: from,
      copyOut: 'COPY public.t0 TO STDOUT',
      target: to,
      copyIn: 'COPY public.t0 FROM STDIN',
      format: 'text',
      gate,
      onProgress: (moved) => {
        bytes = moved;
      },
    });
    await sleep(700);
    expect(bytes).toBe(0);
    gate.resume();
    expect((await moving).rows).toBe(2500);
    await Promise.all([from.close(), to.close()]);
  });

  test('stops what a live job applies within 2 s, and loses nothing of it', async () => {
    const name = await pair(filled(1, 1e5));
    const job = await begin(name, { method: 'live', cutover: 'manual' });
    await job.until('following', ({ state: at, live }) => at === 'following' && live?.connected === true);
    const writer = new Client({ connectionString: source.url(name) });
    await writer.connect();
    const stop = new AbortController();
    const writing = (async (): Promise<number> => {
      let id = 100_000;
      for (; !stop.signal.aborted; id += 1) {
        await writer.query('INSERT INTO t0 VALUES ($1, $2)', [id, 'written']);
        await sleep(5);
      }
      return id - 100_000;
    })();
    const arrived = async (): Promise<number> => {
      const [row] = await target.query('SELECT count(*)::int AS n FROM t0 WHERE id >= 100000', name);
      return Number(row?.['n']);
    };
    while ((await arrived()) < 20) await sleep(50);
    await manager.act(job.id, 'pause');
    await sleep(2000);
    const first = await arrived();
    await sleep(1500);
    expect(await arrived()).toBe(first);
    await manager.act(job.id, 'resume');
    stop.abort();
    const written = await writing;
    await writer.end();
    for (let look = 0; look < 400 && (await arrived()) < written; look += 1) await sleep(50);
    expect(await arrived()).toBe(written);
    expect(written).toBeGreaterThan(first);
    await manager.act(job.id, 'cancel');
    await job.settled();
  });

  longTest('says which indexes the target has to build to their end first, and when they are', async () => {
    const name = await pair(
      `CREATE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
         BEGIN IF current_setting('test.slow', true) = 'yes' THEN PERFORM pg_sleep(0.01); END IF; RETURN i; END $$;
       CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 250); CREATE INDEX built_slowly ON t (slow(id));
       CREATE TABLE u (id int PRIMARY KEY); CREATE MATERIALIZED VIEW m AS SELECT id FROM t`,
    );
    await target.run(`ALTER DATABASE ${name} SET test.slow = 'yes'`);
    const job = await begin(name);
    const built = (state_: string): boolean =>
      job.events.some((event) => event.type === 'index' && event.name === 'built_slowly' && event.state === state_);
    await job.until('the build', () => built('building'));
    await manager.act(job.id, 'pause');
    const words = 'The target first comes to the end of what it builds now: public.built_slowly.';
    await job.until('what it waits for', () => JSON.stringify(job.events).includes(words));
    await job.until('its end', () => built('built'));
    await job.until('the word', () => job.log().includes('What was under way has come to its end'));
    expect(await job.view()).toMatchObject({ state: 'paused' });
    await manager.act(job.id, 'resume');
    const { view } = await job.bringToEnd();
    expect(view, job.log()).toMatchObject({ state: 'completed' });
    await job.settled();
  });
});

longTest('a pause stops the bytes of an export within 2 s', async () => {
  const name = await pair(filled(2, longerThanALook));
  const job = await WatchedJob.start(manager, {
    kind: 'export',
    source: { url: through(source.url(name), line.port) },
    archive: { path: join(state, `paused-${name}`) },
    options: { maxRate: 6e6, verify: 'none', compress: 'none' },
  });
  const before = line.received;
  await job.until('rows', () => line.received - before > 1e6);
  await manager.act(job.id, 'pause');
  for (const bytes of await bytesPerSecond(2000, 1)) expect(bytes).toBeLessThan(10_000);
  await manager.act(job.id, 'resume');
  const { view, acts } = await job.bringToEnd();
  expect(view, job.log()).toMatchObject({ state: 'completed' });
  expect(acts).toEqual([]);
  expect(line.received - before).toBeGreaterThan(2 * longerThanALook);
  await job.settled();
});

longTest('a pause stops the bytes of the copy of a live job within 2 s', async () => {
  const name = await pair(filled(2, longerThanALook));
  const job = await begin(name, { method: 'live', cutover: 'manual', maxRate: 6e6 });
  await job.until('rows', ({ totals }) => totals.bytes > 5e5);
  await manager.act(job.id, 'pause');
  expect(await job.view()).toMatchObject({ state: 'paused' });
  for (const bytes of await bytesPerSecond(2000, 1)) expect(bytes).toBeLessThan(10_000);
  await manager.act(job.id, 'resume');
  const { view } = await job.bringToEnd();
  expect(view, job.log()).toMatchObject({ state: 'completed' });
  await job.settled();
  await expectSame(name);
});

describe('a pause of the comparison', () => {
  longTest('begins nothing more on the source within 2 s, and the comparison goes on after it', async () => {
    const name = await pair(filled(1, 10e6));
    const job = await begin(name, { gentle: true, verify: 'full', maxRate: 4e6, tableJobs: 1 });
    await job.until('the comparison', ({ state: at }) => at === 'verifying');
    const pieces = `SELECT coalesce(extract(epoch FROM max(query_start)), 0)::float8 AS at FROM pg_stat_activity
      WHERE datname = '${name}' AND query LIKE '%ctid >=%' AND pid <> pg_backend_pid()`;
    const lastPiece = async (): Promise<number> => Number((await source.query(pieces))[0]?.['at']);
    await expect.poll(lastPiece, { timeout: 30_000 }).toBeGreaterThan(0);
    await manager.act(job.id, 'pause');
    expect(await job.view()).toMatchObject({ state: 'paused', snapshotAlive: true });
    await sleep(2000);
    const last = await lastPiece();
    await sleep(1500);
    expect(await lastPiece()).toBe(last);
    await manager.act(job.id, 'resume');
    const { view, acts } = await job.bringToEnd();
    expect(view, job.log()).toMatchObject({ state: 'completed', verified: true, differences: 0 });
    expect(acts).toEqual([]);
    await job.settled();
  });

  test('cancels a statement that runs on and does it again, but never one of the session that keeps the snapshot', async () => {
    const own = await session(source.url('postgres'), 'source');
    const gate = new PauseGate();
    const { signal } = new AbortController();
    const running = async (): Promise<number> => {
      const sql = `SELECT count(*)::int AS n FROM pg_stat_activity WHERE pid = ${own.processId} AND state = 'active'`;
      return Number((await source.query(sql))[0]?.['n']);
    };
    let begun = 0;
    const work = async (given: Session): Promise<string> => {
      begun += 1;
      const [row] = await given.query<{ v: string }>('SELECT pg_sleep($1), ($1 * 2)::text AS v', [
        begun === 1 ? 30 : 0.1,
      ]);
      return row?.v ?? '';
    };
    const answer = pausable((run) => run(own), { gate, signal, spare: () => false })(work);
    await expect.poll(running).toBe(1);
    gate.pause();
    await sleep(2000);
    expect(await running()).toBe(0);
    expect(begun).toBe(1);
    gate.resume();
    expect(await answer).toBe('0.2');
    expect(begun).toBe(2);
    begun = 1;
    const spared = pausable((run) => run(own), { gate, signal, spare: () => true })(async (given) => {
      await given.query('SELECT pg_sleep(1.5)');
      return 'whole';
    });
    await expect.poll(running).toBe(1);
    gate.pause();
    expect(await spared).toBe('whole');
    await own.close();
  });
});

const shop = `CREATE TABLE parents (id int PRIMARY KEY, v text); INSERT INTO parents SELECT g, 'p' FROM generate_series(1, 5000) g;
  CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents, v text); CREATE INDEX ON children (v);
  INSERT INTO children SELECT g, g, 'c' || g FROM generate_series(1, 5000) g;
  CREATE VIEW seen AS SELECT * FROM parents; CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM children;
  CREATE TABLE parted (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
  INSERT INTO parted SELECT g, 'x' FROM generate_series(1, 99) g; CREATE SEQUENCE numbers`;

describe('locks on the source', () => {
  test.each(slice(['copy', 'export'] as const, (kind) => kind === 'copy'))(
    'are those of a reader, through a whole %s and its proof',
    async (kind) => {
      const name = await pair(shop);
      const watch = new LockWatch(source.url('postgres'), name);
      const job =
        kind === 'copy'
          ? await begin(name, { verify: 'full', tableJobs: 2, indexJobs: 2 })
          : await WatchedJob.start(manager, {
              kind,
              source: { url: source.url(name) },
              archive: { path: join(state, `locks-${name}`) },
              options: { tableJobs: 2 },
            });
      const { view } = await job.bringToEnd();
      await job.settled();
      await watch.stop();
      expect(view, job.log()).toMatchObject({ state: 'completed', verified: true });
      expect([...watch.modes]).toEqual(['AccessShareLock']);
      expect(watch.looks).toBeGreaterThan(50);
      console.log(`${kind}: ${[...watch.modes].join(', ')} in ${watch.looks} looks`);
    },
  );

  test('of a live job are a reader’s, but for the publication and the fence of the cutover', async () => {
    const name = await pair(shop);
    const watch = new LockWatch(source.url('postgres'), name);
    const job = await begin(name, { method: 'live', cutover: 'manual', verify: 'full', tableJobs: 2, indexJobs: 2 });
    await job.until('following', ({ state: at, live }) => at === 'following' && live?.connected === true);
    await sleep(1500);
    const beforeCutover = [...watch.strong];
    const { view } = await job.bringToEnd();
    await job.settled();
    await watch.stop();
    expect(view, job.log()).toMatchObject({ state: 'completed', verified: true });
    // CREATE PUBLICATION: others read and write (PostgreSQL documentation, 13.3.1).
    for (const lock of beforeCutover) expect(lock).toMatch(/^ShareUpdateExclusiveLock on /);
    // The fence: others read, and writers wait, for as long as the cutover takes.
    const atCutover = [...watch.strong].filter((lock) => !beforeCutover.includes(lock));
    for (const lock of atCutover) expect(lock).toMatch(/^(ShareLock|ShareUpdateExclusiveLock) on /);
    expect(watch.looks).toBeGreaterThan(50);
    console.log(`live: ${[...watch.modes].join(', ')} in ${watch.looks} looks; ${[...watch.strong].join(', ')}`);
  });

  test('no more connections are taken than the plan says, and a gentle job takes two and one to see how the source fares', async () => {
    const name = await pair(filled(6, 2e5));
    const counts: number[] = [];
    for (const options of [{ tableJobs: 3, indexJobs: 2 }, { gentle: true }]) {
      const watch = new LockWatch(source.url('postgres'), name);
      const job = await begin(name, { ...options, replace: true, verify: 'full' });
      const { view } = await job.bringToEnd();
      await job.settled();
      await watch.stop();
      expect(view, job.log()).toMatchObject({ state: 'completed', verified: true });
      counts.push(watch.mostSessions);
    }
    expect(counts[0]).toBeLessThanOrEqual(7);
    expect(counts[1]).toBeLessThanOrEqual(3);
    await expectSame(name);
  });
});

test('no statement of a gentle job is run by several processes of the source', async () => {
  const { signal } = new AbortController();
  const settings = parseEndpoint({ url: source.url('postgres') }, 'source');
  const shown: unknown[] = [];
  for (const gentle of [{}, { gentle: true } as const]) {
    const own = await openSession({ ...settings, ...gentle }, { signal, side: 'source', purpose: 'test' });
    shown.push(await own.query('SHOW max_parallel_workers_per_gather'));
    await own.close();
  }
  expect(shown).toEqual([2, 0].map((n) => [{ max_parallel_workers_per_gather: String(n) }]));
});

longTest('a gentle job reads no table of the source by several processes, and compares it in pieces', async () => {
  const name = await pair(filled(1, 12e6));
  await source.run(
    `ALTER DATABASE ${name} SET min_parallel_table_scan_size = 0; ALTER DATABASE ${name} SET parallel_setup_cost = 0`,
  );
  const statements = new Set<string>();
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  const watching = (async (): Promise<void> => {
    const client = new Client({ connectionString: source.url(name), application_name: 'the watch' });
    await client.connect();
    while (!stop.signal.aborted) {
      const { rows } = await client.query<{ query: string; type: string }>(
        `SELECT query, backend_type AS type FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
           AND (application_name LIKE 'pgsluice%' OR backend_type = 'parallel worker')`,
      );
      for (const { query, type } of rows) {
        // pg_dump reads catalogues alone, and is not told: some proxies refuse a connection that brings options.
        if (!/FROM ONLY .*t0/.test(query)) continue;
        if (type === 'parallel worker') statements.add(`parallel: ${query}`);
        else statements.add(query.replace(/^.*FROM/s, 'FROM'));
      }
      await sleep(1);
    }
    await client.end();
  })();
  const job = await begin(name, { gentle: true, maxRate: 20e6, verify: 'full' });
  const { view } = await job.bringToEnd();
  expect(view, job.log()).toMatchObject({ state: 'completed', verified: true, differences: 0 });
  await job.settled();
  stop.abort();
  await watching;
  expect([...statements].filter((statement) => statement.startsWith('parallel'))).toEqual([]);
  expect([...statements].filter((statement) => /ctid >= /.test(statement)).length).toBeGreaterThan(1);
  expect(job.log()).toMatch(/Gentle with the source: 2 connections, no parallel scans, 4 MB\/s at first/);
});
