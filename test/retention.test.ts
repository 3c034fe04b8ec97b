import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'drizzle-orm';
import { readMigrationFiles } from 'drizzle-orm/migrator';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JobEvent, JobState } from '../src/contract/event.ts';
import { JobOptions } from '../src/contract/options.ts';
import { JobEvents } from '../src/jobs/job-events.ts';
import { type Retention, retain } from '../src/jobs/retention.ts';
import { noTotals } from '../src/jobs/totals.ts';
import { rowsOf } from '../src/store/database.ts';
import { eventBounds, readEvents, writeEvents } from '../src/store/event-queries.ts';
import { compactEvents, scatteredJobs, sizeOfEvents } from '../src/store/event-retention.ts';
import { deleteJob, findReport, insertJob } from '../src/store/job-queries.ts';
import { migrateState, migrationsFolder } from '../src/store/migrate.ts';
import { openPostgres } from '../src/store/postgres-database.ts';
import { Store } from '../src/store/store.ts';
import { startServer, type TestServer } from './support/servers.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startServer({ name: 'retention' });
});
afterAll(() => server.stop());

const day = 86_400_000;
const never = new AbortController().signal;
const wide: Pick<Retention, 'maxEventsPerJob' | 'maxAgeDays' | 'maxBytes'> = {
  maxEventsPerJob: 1e9,
  maxAgeDays: 10_000,
  maxBytes: 1e15,
};
const means = { signal: never, logger: pino({ level: 'silent' }), vacuum: () => Promise.resolve() };

/** Text that does not compress, and that tells whether it is the one that was written. */
const messageOf = (id: string, seq: number): string =>
  `${seq} ${createHash('sha512').update(`${id}${seq}`).digest('hex')}`;
const eventOf = (id: string, seq: number, at: Date): JobEvent => ({
  seq,
  at: at.toISOString(),
  type: 'log',
  level: 'info',
  message: messageOf(id, seq),
});

async function addJob(store: Store, id: string, state: JobState, finishedAt: Date | null): Promise<void> {
  const row = { id, name: id, state, options: JobOptions.parse({}), totals: noTotals, ownerId: store.agentId };
  await insertJob(store.db, { ...row, finishedAt });
}

/** Appends `count` events, `perBatch` at a time. */
async function append(store: Store, id: string, count: number, perBatch: number, at = new Date()): Promise<void> {
  const from = (await eventBounds(store.db, id))?.last ?? 0;
  for (let first = from + 1; first <= from + count; first += perBatch) {
    const lastSeq = Math.min(first + perBatch - 1, from + count);
    const events = Array.from({ length: lastSeq - first + 1 }, (_, i) => eventOf(id, first + i, at));
    const stored = await writeEvents(store.db, {
      jobId: id,
      ownerId: store.agentId,
      firstSeq: first,
      lastSeq,
      at: at.toISOString(),
      events: JSON.stringify(events),
      totals: null,
      phase: null,
      tables: [],
      checks: [],
    });
    expect(stored).toBe(true);
  }
}

/** All that is stored of a job, held against what was written: a gapless suffix that ends with the job's last seq. */
async function firstKept(store: Store, id: string): Promise<number> {
  const bounds = await eventBounds(store.db, id);
  const seen: JobEvent[] = [];
  let after = 0;
  for (;;) {
    const some = await readEvents(store.db, id, after, 1_000);
    if (some.length === 0) break;
    seen.push(...some);
    after = some.at(-1)?.seq ?? after;
  }
  const first = seen[0]?.seq ?? 0;
  expect(seen.map((event) => [event.seq, event.type === 'log' ? event.message : ''])).toEqual(
    Array.from({ length: seen.length }, (_, i) => [first + i, messageOf(id, first + i)]),
  );
  expect({ first: seen[0]?.seq, last: seen.at(-1)?.seq }).toEqual(bounds);
  return bounds?.first ?? 0;
}

const stores = [
  { kind: 'embedded', state: () => mkdtempSync(join(tmpdir(), 'pgsluice-retention-')) },
  { kind: 'PostgreSQL', state: () => server.createDatabase('kept') },
] as const;

describe.each(stores)('events kept in the $kind store', ({ kind, state }) => {
  let at: string;
  let store: Store;
  beforeAll(async () => {
    at = await state();
    store = await Store.open({ state: at, secretKey: 'a key that is long enough', role: 'daemon' });
  });
  afterAll(async () => {
    await store.close();
    if (kind === 'embedded') rmSync(at, { recursive: true, force: true });
  });

  test('small batches are put together, and every event stays', async () => {
    await addJob(store, 'little', 'running', null);
    await append(store, 'little', 600, 2);
    expect(await retain(store.db, wide, means)).toEqual({ removed: 0, compacted: 1 });
    const [rows] = rowsOf<{ n: string | number }>(
      await store.db.execute(sql`select count(*) as n from pgsluice.job_event_batches where job_id = 'little'`),
    );
    expect(Number(rows?.n)).toBeLessThan(10);
    expect(await firstKept(store, 'little')).toBe(1);
    expect(await eventBounds(store.db, 'little')).toEqual({ first: 1, last: 600 });
  });

  test('by number, even of a job that runs, and what remains is a gapless suffix', async () => {
    await addJob(store, 'many', 'running', null);
    await append(store, 'many', 25_000, 500);
    let sweeps = 0;
    const vacuum = async (): Promise<void> => {
      sweeps += 1;
      await store.vacuum();
    };
    const { removed } = await retain(
      store.db,
      { ...wide, maxEventsPerJob: 3_000 },
      { ...means, vacuum, sweepEvery: 10_000 },
    );
    expect(removed).toBe(22_000);
    // As it goes: an embedded store stands still while all of it is swept at once.
    expect(sweeps).toBe(2);
    expect(await firstKept(store, 'many')).toBe(22_001);
    expect(await retain(store.db, { ...wide, maxEventsPerJob: 3_000 }, means)).toEqual({ removed: 0, compacted: 0 });
    await append(store, 'many', 1_200, 100);
    await firstKept(store, 'many');
  });

  test('by age, of jobs that are over, and never the newest', async () => {
    for (const [id, over] of [
      ['old', 'completed'],
      ['older', 'failed'],
      ['follows', 'following'],
    ] as const) {
      await addJob(store, id, over, over === 'following' ? null : new Date());
      await append(store, id, 1_000, 100, new Date(Date.now() - 40 * day));
    }
    await append(store, 'old', 300, 100, new Date(Date.now() - 3 * day));
    const { removed } = await retain(store.db, { ...wide, maxAgeDays: 30 }, means);
    expect(removed).toBe(1_900);
    expect(await firstKept(store, 'old')).toBe(1_001);
    expect(await firstKept(store, 'older')).toBe(901);
    expect(await firstKept(store, 'follows')).toBe(1);
    expect((await retain(store.db, { ...wide, maxAgeDays: 30 }, means)).removed).toBe(0);
  });

  test('by size, the job that ended first first; one that is not over keeps all, and reports stay', async () => {
    const ids = ['first', 'second', 'third'];
    for (const [index, id] of ids.entries()) {
      await addJob(store, id, 'completed', new Date(Date.now() - (10 - index) * 3_600_000));
      await append(store, id, 5_000, 500);
      await store.db.execute(sql`insert into pgsluice.job_reports (job_id, report) values (${id}, '{"of": 1}')`);
    }
    await addJob(store, 'going', 'running', null);
    await append(store, 'going', 5_000, 500);
    const { bytes, ended } = await sizeOfEvents(store.db);
    const own = ended.filter(({ id }) => ids.includes(id));
    expect(own.map(({ id }) => id)).toEqual(ids);
    // Room for all but the first and half of the second.
    const less = (own[0]?.bytes ?? 0) + (own[1]?.bytes ?? 0) / 2;
    const older = ended
      .slice(
        0,
        ended.findIndex(({ id }) => id === 'first'),
      )
      .map(({ id }) => id);
    await retain(store.db, { ...wide, maxBytes: bytes - less }, means);
    expect(await firstKept(store, 'first')).toBe(4_501);
    expect(await firstKept(store, 'third')).toBe(1);
    expect(await firstKept(store, 'going')).toBe(1);
    expect(older).toEqual([]);
    const after = await sizeOfEvents(store.db);
    expect(after.bytes).toBeLessThanOrEqual(bytes - less);
    for (const id of ids) expect(await findReport(store.db, id)).toEqual({ of: 1 });
    // With no room at all, every job that is over keeps its last batch.
    await retain(store.db, { ...wide, maxBytes: 0 }, means);
    for (const id of ids) expect(await firstKept(store, id)).toBe(4_501);
    expect(await firstKept(store, 'going')).toBe(1);
  });

  test('who follows while a job is pruned, put together and written reads every event once, or is told of the gap', async () => {
    await addJob(store, 'busy', 'running', null);
    await append(store, 'busy', 3_000, 3);
    expect(await scatteredJobs(store.db)).toContain('busy');
    const events = new JobEvents(store);
    const gone = new AbortController();
    const total = 9_000;
    const follow = async (slow: boolean): Promise<{ seen: number; resets: number }> => {
      let cursor = 0;
      let seen = 0;
      let resets = 0;
      for await (const batch of events.stream('busy', 0, gone.signal)) {
        for (const message of batch) {
          if (message.type === 'reset') {
            resets += 1;
            if (message.firstSeq <= cursor + 1) throw new Error(`a reset where nothing is missing: ${cursor}`);
            cursor = message.firstSeq - 1;
            continue;
          }
          expect(message.seq).toBe(cursor + 1);
          cursor = message.seq;
          seen += 1;
        }
        if (cursor >= total) break;
        if (slow) await new Promise((resolve) => setTimeout(resolve, 60));
      }
      return { seen, resets };
    };
    const followers = [follow(false), follow(false), follow(true)];
    await append(store, 'busy', 3_000, 7);
    let from: number | null = 0;
    while (from !== null) from = await compactEvents(store.db, 'busy', from);
    await append(store, 'busy', 1_000, 50);
    await retain(store.db, { ...wide, maxEventsPerJob: 1_500 }, means);
    // Written by another agent as far as this one knows: without a feed a follower of the embedded store is woken by hand.
    const feed = events.feed('busy');
    feed.open(7_000);
    await append(store, 'busy', 2_000, 500);
    feed.release();
    const ends = await Promise.all(followers);
    gone.abort();
    for (const { seen, resets } of ends) {
      expect(seen).toBeGreaterThanOrEqual(1_500);
      expect(seen === total || resets > 0).toBe(true);
    }
    const fresh = events.stream('busy', 10, never);
    expect((await fresh.next()).value).toEqual([
      { type: 'reset', firstSeq: (await eventBounds(store.db, 'busy'))?.first, lastSeq: total },
    ]);
    await fresh.return(undefined);
    expect(await firstKept(store, 'busy')).toBeGreaterThan(5_000);
    const [rows] = rowsOf<{ n: string | number }>(
      await store.db.execute(sql`select count(*) as n from pgsluice.job_event_batches where job_id = 'busy'`),
    );
    expect(Number(rows?.n)).toBeLessThan(30);
    await deleteJob(store.db, 'busy');
    expect(await readEvents(store.db, 'busy', 0, 10)).toEqual([]);
    await store.vacuum();
  });
});

test('events of a state from before are taken along, one for one', async () => {
  const url = await server.createDatabase('before');
  const open = await openPostgres(url);
  const { db } = open;
  try {
    const all = readMigrationFiles({ migrationsFolder: migrationsFolder() });
    const old = all.slice(0, 6);
    await db.execute(sql`create schema pgsluice`);
    await db.execute(
      sql`create table pgsluice.migrations (id serial primary key, hash text not null, created_at bigint)`,
    );
    for (const { sql: statements, hash, folderMillis } of old) {
      for (const statement of statements) await db.execute(sql.raw(statement));
      await db.execute(sql`insert into pgsluice.migrations (hash, created_at) values (${hash}, ${folderMillis})`);
    }
    await db.execute(
      sql`insert into pgsluice.jobs (id, name, state, options, totals, last_seq) values ('was', 'was', 'completed', '{}', '{}', 1300)`,
    );
    await db.execute(sql`insert into pgsluice.job_events (job_id, seq, at, type, level, body)
      select 'was', i, '2026-01-02T03:04:05.006Z', 'log', 'info', jsonb_build_object('type', 'log', 'level', 'info', 'message', 'é"' || i)
      from generate_series(201, 1300) i`);
    await migrateState(db, 'exclusive');
    const events: JobEvent[] = [];
    for (let more = await readEvents(db, 'was', 0, 500); more.length > 0;) {
      events.push(...more);
      more = await readEvents(db, 'was', events.at(-1)?.seq ?? 0, 500);
    }
    expect(events).toEqual(
      Array.from({ length: 1_100 }, (_, i) => ({
        seq: 201 + i,
        at: '2026-01-02T03:04:05.006Z',
        type: 'log',
        level: 'info',
        message: `é"${201 + i}`,
      })),
    );
    expect(await eventBounds(db, 'was')).toEqual({ first: 201, last: 1_300 });
  } finally {
    await open.close();
  }
});
