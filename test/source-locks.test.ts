import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import pino from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { JobEvent } from '../src/contract/event.ts';
import type { JobView } from '../src/contract/job.ts';
import { JobRequest } from '../src/contract/options.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { freshState } from './support/fresh-state.ts';
import { contentsOf } from './support/contents.ts';
import { startServer, type TestServer } from './support/servers.ts';

// What the application locks on the source while a copy reads it.

let source: TestServer;
let target: TestServer;
let state: string;
let manager: JobManager;
let count = 0;

beforeAll(async () => {
  [source, target] = await Promise.all([startServer({ name: 'locks-source' }), startServer({ name: 'locks-target' })]);
  state = await freshState('locks');
  const logger = pino({ level: 'silent' });
  const config = { state, secretKey: null, concurrency: 2, pgBinDir: null, logger, role: 'daemon' as const };
  manager = await JobManager.open(config);
}, 60_000);
afterAll(async () => {
  await manager?.stop('end of the tests');
  await Promise.all([source?.stop(), target?.stop()]);
  rmSync(state, { recursive: true, force: true });
});

async function pair(sql: string): Promise<string> {
  count += 1;
  const name = `locks_${count}`;
  await source.createDatabase(name);
  await target.createDatabase(name);
  await source.run(sql, name);
  return name;
}

async function session(name: string): Promise<Client> {
  const client = new Client({ connectionString: source.url(name), application_name: 'the application' });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

function begin(name: string, user?: string): Promise<JobView> {
  return manager.create(
    JobRequest.parse({
      source: { url: user === undefined ? source.url(name) : source.url(name, user, 'x') },
      target: { url: target.url(name) },
      options: { tableJobs: 1, noOwner: true, noAcl: true },
      start: true,
    }),
  );
}

/** The first event that `matches`; throws when there is none within `ms`. */
async function eventOf(id: string, ms: number, matches: (event: JobEvent) => boolean): Promise<JobEvent> {
  for await (const batch of manager.stream(id, 0, AbortSignal.timeout(ms))) {
    for (const event of batch) if (event.type !== 'reset' && matches(event)) return event;
  }
  const logs = (await manager.logs(id, {})).map((event) => (event.type === 'log' ? event.message : ''));
  throw new Error(`there was none within ${ms} ms; the log: ${logs.join('\n')}`);
}

async function ended(id: string): Promise<JobView> {
  await eventOf(id, 30_000, (event) => event.type === 'result');
  return await manager.waitUntilSettled(id);
}

const waiting = (sql: string): string =>
  `SELECT 1 FROM pg_stat_activity WHERE query LIKE '${sql}%' AND wait_event_type = 'Lock'`;

async function untilWaiting(name: string, sql: string): Promise<void> {
  for (let look = 0; look < 200; look += 1) {
    if ((await source.query(waiting(sql), name)).length > 0) return;
    await sleep(20);
  }
  throw new Error(`nobody waits with ${sql}`);
}

test('a TRUNCATE that waits for the snapshot keeps no table from being copied and compared', async () => {
  // Rows of the first table wait on the target until the test lets them go on, so that the other table is still to come.
  const name = await pair(`
    CREATE FUNCTION held(bigint) RETURNS boolean LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN true; END $$;
    CREATE TABLE first (id bigint PRIMARY KEY, filler text, CHECK (held(id)));
    INSERT INTO first SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 3000) i;
    CREATE TABLE second (id bigint PRIMARY KEY, filler text); INSERT INTO second SELECT i, 'row ' || i FROM generate_series(1, 500) i;
    ANALYZE`);
  const hold = new Client({ connectionString: target.url(name) });
  await hold.connect();
  await hold.query('SELECT pg_advisory_lock(42)');
  const before = await contentsOf(source, name);
  const job = await begin(name);
  await eventOf(job.id, 20_000, (event) => event.type === 'table' && event.table.state === 'copying');
  const [truncating, writing] = [await session(name), await session(name)];
  const truncated = truncating.query('TRUNCATE second');
  await untilWaiting(name, 'TRUNCATE second');
  await hold.end();
  const written = writing.query(`INSERT INTO second VALUES (1, 'written behind it')`);
  try {
    const over = await ended(job.id);
    expect(over).toMatchObject({ state: 'completed', verified: true, differences: 0 });
    expect(await contentsOf(target, name)).toEqual(before);
    await Promise.all([truncated, written]);
    expect(await source.query('SELECT filler FROM second', name)).toEqual([{ filler: 'written behind it' }]);
    const told = (await manager.logs(job.id, { search: 'waits on the source' })).map((event) =>
      event.type === 'log' ? event.message : '',
    );
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/Process \d+ \(role postgres\) .*: TRUNCATE second\. .*SELECT pg_cancel_backend\(\d+\);/);
  } finally {
    await Promise.all([truncating.end(), writing.end()]);
  }
}, 60_000);

test('what pg_dump waits for is told within 2 s, by process and statement, and shown until it is over', async () => {
  const name = await pair('CREATE TABLE t AS SELECT 1 AS i; CREATE VIEW v AS SELECT i FROM t');
  const application = await session(name);
  await application.query('BEGIN; ALTER VIEW v RENAME TO renamed');
  try {
    const job = await begin(name);
    const about =
      /pg_dump \(process \d+\) waits for a lock on the source since [\d:]+ UTC, held by process \d+ \(postgres, the application\), in a transaction since [\d:]+ UTC: BEGIN; ALTER VIEW v RENAME/;
    const dumping = `SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'pgsluice dump %' AND wait_event_type = 'Lock'`;
    for (let look = 0; look < 400 && (await source.query(dumping, name)).length === 0; look += 1) await sleep(20);
    const shown = await eventOf(job.id, 2_000, (event) => event.type === 'metric' && event.waiting !== null);
    expect(shown).toMatchObject({ waiting: { what: expect.stringMatching(about) } });
    await eventOf(
      job.id,
      2_000,
      (event) => event.type === 'log' && event.level === 'warn' && about.test(event.message),
    );
    await application.query('ROLLBACK');
    await eventOf(
      job.id,
      10_000,
      (event) => event.type === 'metric' && event.seq > shown.seq && event.waiting === null,
    );
    expect(await ended(job.id)).toMatchObject({ state: 'completed', verified: true });
  } finally {
    await application.end();
  }
}, 60_000);

test('with a single connection pg_dump gives up in time to say who is in its way', async () => {
  const name = await pair('CREATE TABLE t AS SELECT 1 AS i');
  await source.run(
    `CREATE ROLE single LOGIN PASSWORD 'x' CONNECTION LIMIT 1; GRANT SELECT ON t TO single; GRANT pg_read_all_stats TO single`,
    name,
  );
  const application = await session(name);
  try {
    const job = await begin(name, 'single');
    await eventOf(job.id, 20_000, (event) => event.type === 'state' && event.state === 'ready');
    await application.query('BEGIN; ALTER TABLE t ADD COLUMN j int');
    const told = await eventOf(
      job.id,
      10_000,
      (event) => event.type === 'log' && /Waiting for an exclusive lock/.test(event.message),
    );
    expect(told).toMatchObject({
      message: expect.stringMatching(
        /public\.t \(process \d+, role postgres, since [\d:]+ UTC: BEGIN; ALTER TABLE t ADD/,
      ),
    });
    await application.query('ROLLBACK');
    expect(await ended(job.id)).toMatchObject({ state: 'completed' });
  } finally {
    await application.end();
  }
}, 60_000);
