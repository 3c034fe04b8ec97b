import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { JobRequest } from '../src/contract/options.ts';
import type { Report } from '../src/contract/report.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { freshState } from './support/fresh-state.ts';
import { contentsOf } from './support/contents.ts';
import { type TestServer, findMajor, pgDumpFor, startServer } from './support/servers.ts';

// From a newer major to an older one, for those who ask for it: whole, or every object named that the older one refuses.

const NEWER = 18;
const OLDER = 15;

let source: TestServer | null = null;
let target: TestServer | null = null;
let manager: JobManager | null = null;
let state: string;
let reason = '';

beforeAll(async () => {
  state = await freshState('downgrade', 'k'.repeat(32));
  const [newer, older] = await Promise.all([findMajor(NEWER), findMajor(OLDER)]);
  const client = await pgDumpFor(NEWER, newer.binDir).catch(() => null);
  if (newer.binDir === null || older.binDir === null || client === null) {
    reason = newer.binDir === null ? newer.reason : older.binDir === null ? older.reason : 'no pg_dump is new enough';
    return;
  }
  [source, target] = await Promise.all([
    startServer({ name: 'downgrade-source', binDir: newer.binDir }),
    startServer({ name: 'downgrade-target', binDir: older.binDir }),
  ]);
  const config = { state, secretKey: 'k'.repeat(32), concurrency: 1, logger: pino({ level: 'silent' }) };
  manager = await JobManager.open({ ...config, pgBinDir: dirname(client), role: 'daemon' });
});

afterAll(async () => {
  await manager?.stop('The test ended.');
  await Promise.all([source?.stop(), target?.stop(), rm(state, { recursive: true, force: true })]);
});

const SCHEMA = `
CREATE ROLE reader; CREATE SCHEMA shop; CREATE EXTENSION citext SCHEMA shop;
CREATE TYPE shop.mood AS ENUM ('good', 'bad'); CREATE DOMAIN shop.positive AS int CHECK (VALUE > 0);
CREATE TYPE shop.span AS RANGE (subtype = int);
CREATE TABLE shop.customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE NULLS NOT DISTINCT,
  mail shop.citext, mood shop.mood DEFAULT 'good', n shop.positive, twice int GENERATED ALWAYS AS (n * 2) STORED, spans int4multirange,
  CONSTRAINT named NOT NULL mood);
CREATE TABLE shop.orders (id serial PRIMARY KEY, customer bigint REFERENCES shop.customers ON DELETE CASCADE, at timestamptz DEFAULT now(),
  EXCLUDE USING gist (int4range(id, id + 1) WITH &&));
CREATE TABLE shop.log (at date, line text) PARTITION BY RANGE (at);
CREATE TABLE shop.log_2026 PARTITION OF shop.log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE INDEX ON shop.log (at) INCLUDE (line);
CREATE VIEW shop.names WITH (security_invoker = true) AS SELECT name FROM shop.customers;
CREATE MATERIALIZED VIEW shop.counts AS SELECT count(*) FROM shop.orders;
CREATE FUNCTION shop.bodied(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC; SELECT a + 1; END;
CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER t BEFORE UPDATE ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.touch();
CREATE STATISTICS shop.st ON (name || 'x') FROM shop.customers;
CREATE PUBLICATION p FOR TABLE shop.orders WHERE (id > 0);
ALTER TABLE shop.customers ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON shop.customers USING (true);
GRANT ALL ON shop.orders TO reader; GRANT USAGE ON SCHEMA shop TO reader;
COMMENT ON TABLE shop.orders IS 'what they bought';
INSERT INTO shop.customers (name, n, spans) SELECT 'c' || i, i, '{[1,3),[5,7)}' FROM generate_series(1, 500) i;
INSERT INTO shop.orders (customer) SELECT i FROM generate_series(1, 500) i;
INSERT INTO shop.log SELECT '2026-02-03', 'line ' || i FROM generate_series(1, 500) i;
REFRESH MATERIALIZED VIEW shop.counts;
SELECT lo_from_bytea(0, 'bytes');`;

interface Ran {
  readonly id: string;
  readonly state: string;
  readonly report: Report | null;
  readonly found: string;
}

async function run(name: string, options: object): Promise<Ran> {
  if (manager === null || source === null || target === null) throw new Error('not started');
  const request = { source: { url: source.url(name) }, target: { url: target.url(name) }, options };
  const { id } = await manager.create(JobRequest.parse({ ...request, start: true }));
  const { state: at } = await manager.waitUntilSettled(id);
  const checks = await manager.checks(id);
  const found = checks
    .filter((check) => check.family === 'version' || check.outcome === 'failed')
    .map((c) => `${c.id} ${c.outcome} ${c.found}`);
  return { id, state: at, report: at === 'blocked' ? null : await manager.report(id), found: found.join('\n') };
}

test(`from ${NEWER} to ${OLDER}: refused without being asked for, whole when it was`, async (context) => {
  if (source === null || target === null) return context.skip(reason);
  await source.createDatabase('whole');
  await source.run(SCHEMA, 'whole');
  await target.run('CREATE ROLE reader');
  await target.createDatabase('whole');
  const refused = await run('whole', {});
  expect(refused.state).toBe('blocked');
  expect(refused.found).toContain('version.servers failed');
  const done = await run('whole', { allowDowngrade: true });
  expect(done.found).toContain('version.servers warned');
  expect(done.found).toContain('version.downgrade info');
  expect(done.state, done.found).toBe('completed');
  expect(done.report?.restoreProblems.filter((problem) => !problem.harmless)).toEqual([]);
  expect(done.report?.verification?.differences).toEqual([]);
  expect(done.report?.error).toBeNull();
  expect([...(await contentsOf(target, 'whole'))]).toEqual([...(await contentsOf(source, 'whole'))]);
});

test('what the older major does not know blocks by name, and what only it can judge is named when it refuses', async (context) => {
  if (source === null || target === null) return context.skip(reason);
  await source.createDatabase('newer');
  await source.run(
    `CREATE ROLE keeper; CREATE TABLE virtual (a int PRIMARY KEY, b int GENERATED ALWAYS AS (a * 2));
     CREATE TABLE lax (a int REFERENCES virtual NOT ENFORCED); CREATE TABLE kept (a int); GRANT SELECT, MAINTAIN ON kept TO keeper;
     CREATE TABLE plain (a int); INSERT INTO plain SELECT generate_series(1, 100);
     CREATE VIEW tabled AS SELECT * FROM json_table('[1]', '$[*]' COLUMNS (x int PATH '$'))`,
    'newer',
  );
  await target.run('CREATE ROLE keeper');
  await target.createDatabase('newer');
  const blocked = await run('newer', { allowDowngrade: true });
  expect(blocked.state).toBe('blocked');
  expect(blocked.found).toContain('"public"."virtual": "b" is generated and virtual');
  expect(blocked.found).toContain('"public"."lax": "lax_a_fkey" is NOT ENFORCED');
  expect(blocked.found).toContain('"public"."kept" grants MAINTAIN');
  const failed = await run('newer', { allowDowngrade: true, noAcl: true, excludeTable: ['virtual', 'lax'] });
  expect(failed.state).toBe('failed');
  const problems = failed.report?.restoreProblems.filter((problem) => !problem.harmless) ?? [];
  expect(new Set(problems.map((problem) => problem.name))).toEqual(new Set(['public.tabled']));
});
