import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { JobOptions } from '../src/contract/options.ts';
import { PauseGate } from '../src/gate.ts';
import { SchemaDriftError } from '../src/live/apply-plan.ts';
import { DriftWatch, carryColumns, findGaps } from '../src/live/drift.ts';
import { readShape } from '../src/live/drift-shape.ts';
import { Follower } from '../src/live/follower.ts';
import { ensureProgress, recordTableSql, startFollowing, takeOver } from '../src/live/progress.ts';
import { createPublication } from '../src/live/publication.ts';
import { createSlot } from '../src/live/slot.ts';
import { parseLsn } from '../src/postgres/lsn.ts';
import { openSession } from '../src/postgres/session.ts';
import type { Session } from '../src/postgres/session.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { type TestServer, startServer } from './support/servers.ts';

const filter = JobOptions.parse({});
const workDir = join(tmpdir(), `pgsluice-live-drift-${process.pid}`);
const seed = Number(process.env['PGSLUICE_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
let server: TestServer;

beforeAll(async () => {
  server = await startServer({ name: 'live-drift-stream', settings: { wal_level: 'logical' } });
});
afterAll(async () => {
  await server.stop();
  await rm(workDir, { recursive: true, force: true });
});

/** A small generator with a printed seed, so that a failure can be repeated. */
function chance(start: number): (below: number) => number {
  let state = start;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return (state >>> 8) % below;
  };
}

const TABLES = ['s.t', 's.k', 's.parts'];

/** Alterations that may all be carried; each column's name is used once. Some stand amid writes of their own transaction. */
function alteration(random: (below: number) => number, at: number, columns: Map<string, string[]>): string {
  const table = TABLES[random(TABLES.length)] ?? 's.t';
  const mine = columns.get(table) ?? [];
  const drop = mine.length > 1 && random(3) === 0;
  const name = drop ? (mine.splice(random(mine.length), 1)[0] ?? '') : `c${at}`;
  if (!drop) columns.set(table, [...mine, name]);
  const add = [
    `ADD ${name} integer`,
    `ADD ${name} integer DEFAULT ${at}`,
    `ADD ${name} timestamptz DEFAULT now()`,
    `ADD ${name} text DEFAULT 'first'; ALTER TABLE ${table} ALTER ${name} SET DEFAULT 'second'`,
    `ADD ${name} numeric DEFAULT 1.50; ALTER TABLE ${table} ALTER ${name} DROP DEFAULT`,
  ][random(5)];
  const alter = `ALTER TABLE ${table} ${drop ? `DROP ${name}` : add}`;
  const passing = `ALTER TABLE ${table} ADD gone${at} uuid DEFAULT '00000000-0000-0000-0000-000000000001';
    ${write(random, at)} ALTER TABLE ${table} DROP gone${at}`;
  switch (table === 's.k' ? 2 * random(2) : random(4)) {
    case 0:
      return `BEGIN; ${write(random, at)} ${alter}; ${write(random, at)} COMMIT`;
    case 1:
      return `BEGIN; ${passing}; COMMIT; ${alter}`;
    case 2:
      return `BEGIN; SAVEPOINT a; ${alter}; ${write(random, at)} ROLLBACK TO a; ${write(random, at)} ${alter}; COMMIT`;
    default:
      return alter;
  }
}

function write(random: (below: number) => number, at: number): string {
  const id = random(40);
  const day = `2026-0${1 + random(2)}-1${random(9)}`;
  return (
    [
      `INSERT INTO s.t (id, a) VALUES (${1000 + at * 10 + random(10)}, ${at}) ON CONFLICT DO NOTHING;`,
      `UPDATE s.t SET a = a + 1 WHERE id % 7 = ${id % 7};`,
      `DELETE FROM s.t WHERE id = ${id};`,
      `INSERT INTO s.k (x) VALUES (${at}), (${at});`,
      `DELETE FROM s.k WHERE x = ${id};`,
      `UPDATE s.k SET x = x + 1 WHERE x % 5 = ${id % 5};`,
      `INSERT INTO s.parts (id, at) VALUES (${1000 + at}, '${day}') ON CONFLICT DO NOTHING;`,
      `UPDATE s.parts SET at = '${day}' WHERE id = ${id} AND at <> '${day}';`,
    ][random(8)] ?? ''
  );
}

it(`carries added and dropped columns at their place in the stream, to the last row (seed ${seed})`, async () => {
  const random = chance(seed);
  await server.createDatabase('source');
  await server.run(
    `CREATE SCHEMA s; CREATE TABLE s.t (id integer PRIMARY KEY, a integer NOT NULL, early text NOT NULL DEFAULT 'e');
     CREATE TABLE s.k (x integer); ALTER TABLE s.k REPLICA IDENTITY FULL;
     CREATE TABLE s.parts (id integer, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
     CREATE TABLE s.parts_1 PARTITION OF s.parts FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
     CREATE TABLE s.parts_2 PARTITION OF s.parts FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
     INSERT INTO s.t SELECT i, i FROM generate_series(1, 40) i; INSERT INTO s.k SELECT i % 10 FROM generate_series(1, 40) i;
     INSERT INTO s.parts SELECT i, '2026-01-02' FROM generate_series(1, 40) i`,
    'source',
  );
  await server.run('CREATE DATABASE target TEMPLATE source');
  const abort = new AbortController();
  const settings = {
    source: parseEndpoint({ url: server.url('source') }, 'source'),
    target: parseEndpoint({ url: server.url('target') }, 'target'),
  };
  const open = (side: 'source' | 'target'): Promise<Session> =>
    openSession(settings[side], { signal: abort.signal, side, purpose: 'test' });
  const [source, target, writer] = [await open('source'), await open('target'), await open('source')];
  const log = (): void => undefined;
  const job = 'j1';
  const slot = 'pgsluice_j1';
  const leaves = ['t', 'k', 'parts_1', 'parts_2'];
  await createPublication(
    source,
    slot,
    leaves.map((name) => ({ schema: 's', name })),
    abort.signal,
  );
  const { consistentPoint } = await createSlot({
    settings: settings.source,
    name: slot,
    signal: abort.signal,
    onWait: log,
    log,
  });
  await ensureProgress(target, job);
  const before = await readShape(source, filter);
  const [snapshot] = await source.query<{ text: string }>('SELECT pg_current_snapshot()::text AS text');
  for (const table of before.tables.filter((one) => one.followed)) {
    const { oid, schema, name } = table;
    await target.run(recordTableSql(job, { oid, schema, name, via: null }, snapshot?.text ?? ''));
  }
  await startFollowing(target, job, (await takeOver(target, job)).epoch, consistentPoint);

  const follower = new Follower({
    job,
    ...settings,
    slot,
    publication: slot,
    sourceMajor: server.major,
    workDir,
    gate: new PauseGate(),
    signal: abort.signal,
    log,
  });
  const watch = new DriftWatch({
    source: settings.source,
    filter,
    job,
    carry: true,
    before,
    signal: abort.signal,
    everyMs: 0,
    log,
  });
  let carriedAtPlace = 0;
  let carriedLater = 0;
  const failures: unknown[] = [];
  const answer = async (error: unknown): Promise<void> => {
    if (!(error instanceof SchemaDriftError)) throw error;
    const drift = await watch.examine({ source, target }, { relation: error.relation, gate: error.gate });
    if (drift.kind !== 'changed' || drift.plan.pause !== null) throw error;
    await carryColumns(target, drift.plan.carry, 'now');
    carriedAtPlace += 1;
  };
  const following = (async () => {
    while (!abort.signal.aborted && failures.length === 0) {
      try {
        await follower.run().catch(answer);
      } catch (error) {
        if (!abort.signal.aborted) failures.push(error);
      }
    }
  })();
  const look = async (at: 'due' | 'now'): Promise<void> => {
    const finding = await watch.check(at);
    if (finding.kind === 'none' || follower.done < finding.seenAt) return;
    expect(finding.plan.pause).toBeNull();
    const release = await follower.hold();
    await carryColumns(target, finding.plan.carry, 'all');
    watch.accept(finding.shape);
    follower.forgetShapes();
    release();
    carriedLater += 1;
  };
  try {
    const columns = new Map<string, string[]>([['s.t', ['early']]]);
    for (let at = 0; at < 60 && failures.length === 0; at += 1) {
      for (let writes = 0; writes < 8; writes += 1) await writer.run(write(random, at));
      await writer.run(alteration(random, at, columns));
      await look('due');
      await sleep(20);
    }
    const [end] = await source.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn()::text AS lsn');
    const lsn = parseLsn(end?.lsn ?? '');
    await writer.run(`SELECT pg_logical_emit_message(true, 'test', '')`);
    await expect.poll(() => failures.length > 0 || follower.done >= lsn, { timeout: 60_000 }).toBe(true);
    expect(failures).toEqual([]);
    await look('now');
    const now = await readShape(source, filter);
    expect(await findGaps(target, now, filter, { sameMajor: true, known: before })).toEqual([]);
    for (const table of ['s.t', 's.k', 's.parts_1', 's.parts_2']) {
      const rows = `SELECT to_jsonb(t) AS row FROM ${table} t ORDER BY to_jsonb(t)::text`;
      expect(await target.query(rows)).toEqual(await source.query(rows));
    }
    expect(carriedAtPlace).toBeGreaterThan(0);
    expect(carriedLater).toBeGreaterThan(0);
  } finally {
    abort.abort();
    await following;
    await watch.close();
    await Promise.all([source, target, writer].map((session) => session.close()));
  }
});
