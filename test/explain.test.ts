import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Explanation } from '../src/contract/explain.ts';
import { Report } from '../src/contract/report.ts';
import { root } from './support/binaries.ts';
import { runCli } from './support/cli.ts';
import { startServer, type TestServer } from './support/servers.ts';

const exec = promisify(execFile);
let source: TestServer;
let target: TestServer;
let state: string;

const env = (): Record<string, string> => ({
  PGSLUICE_SOURCE_URL: source.url('shop'),
  PGSLUICE_TARGET_URL: target.url('shop'),
});

/** What a command that prints one thing prints. */
async function printed(
  args: readonly string[],
  stateDirectory: string,
  more: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { stdout } = await exec(process.execPath, [join(root, 'bin/pgsluice.js'), ...args], {
    env: { PATH: process.env['PATH'] ?? '', HOME: state, PGSLUICE_STATE: stateDirectory, ...env(), ...more },
  });
  return stdout;
}

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'pgsluice-test-explain-'));
  [source, target] = await Promise.all([
    startServer({ name: 'explain-source' }),
    startServer({ name: 'explain-target' }),
  ]);
  await Promise.all([source.createDatabase('shop'), target.createDatabase('shop')]);
  // Of the two large tables the smaller one has the longer path, since everything is indexed.
  await source.run(
    `CREATE TABLE plain (id int, t text);
     INSERT INTO plain SELECT n, repeat('x', 80) FROM generate_series(1, 60000) n;
     CREATE TABLE indexed (id int PRIMARY KEY, a int, b int, c int, d int, t text);
     INSERT INTO indexed SELECT n, n, n, n, n, repeat('x', 40) FROM generate_series(1, 55000) n;
     CREATE INDEX ON indexed (a); CREATE INDEX ON indexed (b); CREATE INDEX ON indexed (c); CREATE INDEX ON indexed (d, a);
     CREATE TABLE customers (id int PRIMARY KEY REFERENCES indexed, m money[]);
     INSERT INTO customers SELECT n FROM generate_series(1, 200) n;
     CREATE TABLE nothing ("an id" int PRIMARY KEY);
     SELECT lo_from_bytea(0, 'abc'); ANALYZE`,
    'shop',
  );
});
afterAll(async () => {
  await Promise.all([source?.stop(), target?.stop()]);
  await rm(state, { recursive: true, force: true });
});

/** Every row of the target's catalogue with its transaction, and its large objects. */
const catalogue = `
SELECT md5(string_agg(part, ',' ORDER BY part)) AS hash FROM (
  SELECT 'c' || oid || ':' || xmin AS part FROM pg_class
  UNION ALL SELECT 'n' || oid || ':' || xmin FROM pg_namespace
  UNION ALL SELECT 'e' || oid || ':' || xmin FROM pg_extension
  UNION ALL SELECT 'r' || oid || ':' || xmin FROM pg_authid
  UNION ALL SELECT 'd' || oid || ':' || xmin FROM pg_database
  UNION ALL SELECT 'l' || oid || ':' || xmin FROM pg_largeobject_metadata) parts`;

async function fingerprints(): Promise<unknown> {
  const of = async (server: TestServer): Promise<unknown> => [
    await server.query(catalogue, 'shop'),
    await server.dumpSchema('shop'),
  ];
  return [await of(source), await of(target)];
}

test('explains a clone in the order of its copies, and changes nothing on either side', async () => {
  const before = await fingerprints();
  const stdout = await printed(['clone', '--explain', '--json'], join(state, 'never-made'));
  expect(existsSync(join(state, 'never-made'))).toBe(false);
  expect(stdout.trim().split('\n')).toHaveLength(1);
  const plan = Explanation.parse(JSON.parse(stdout));
  expect(plan.longest.map((table) => `${table.schema}.${table.name}`)).toEqual([
    'public.indexed',
    'public.plain',
    'public.customers',
    'public.nothing',
  ]);
  const [indexed, plain, customers, nothing] = plan.longest;
  expect(indexed).toMatchObject({ rows: 55_000, format: 'binary', pieces: 1, freeze: true, indexes: 5 });
  expect(plain).toMatchObject({ rows: 60_000, indexes: 0 });
  expect(plain?.bytes).toBeGreaterThan(indexed?.bytes ?? Infinity);
  expect(customers).toMatchObject({ rows: 200, freeze: false, indexes: 1 });
  expect(nothing).toMatchObject({ rows: 0, bytes: 0, indexes: 1 });
  expect(plan).toMatchObject({ tables: 4, emptyTables: 1, indexes: 7, foreignKeys: 1, largeObjects: { count: 1 } });
  expect(plan.phases.map(({ phase }) => phase)).toEqual([
    'schema',
    'copy',
    'indexes',
    'constraints',
    'analyze',
    'verify',
  ]);
  expect(plan.seconds).toBeGreaterThan(0);
  expect(plan.settings).toContainEqual({ name: 'maintenance_work_mem', value: '256MB' });
  expect(await fingerprints()).toEqual(before);

  const absent = { PGSLUICE_TARGET_URL: target.url('not_yet') };
  const words = await printed(['clone', '--explain', '--create-database'], join(state, 'never-made'), absent);
  expect(words).toContain('The target has no such database yet: its round trip and settings are not known.');
  expect(words.indexOf('public.indexed')).toBeLessThan(words.indexOf('public.plain'));
  expect(await target.query(`SELECT FROM pg_database WHERE datname = 'not_yet'`)).toEqual([]);
  expect([...(await source.sessions()), ...(await target.sessions())]).toEqual([]);
});

test('a run says the estimate first and reports it beside what was measured; explain of a full target is blocked', async () => {
  const outcome = await runCli(['clone', '--json'], { env: env(), state });
  expect(outcome.result).toMatchObject({ status: 'completed', verified: true });
  const logs = outcome.events.flatMap((event) => (event.type === 'log' ? [event.message] : []));
  const said = logs.findIndex((line) => /^About .* for .*; this is an estimate\.$/.test(line));
  const copying = logs.findIndex((line) => line.startsWith('Copying 4 tables, the longest first'));
  expect([said >= 0, copying > said]).toEqual([true, true]);
  expect(logs.filter((line) => /^Estimated .* s, took .* s/.test(line))).toHaveLength(1);
  const started = outcome.events.flatMap((event) =>
    event.type === 'table' && event.table.state === 'copying' ? [event.table.name] : [],
  );
  expect(started.slice(0, 2)).toEqual(['indexed', 'plain']);

  const report = Report.parse(JSON.parse(await printed(['report'], state)));
  const { estimate } = report;
  const figures = [
    estimate?.estimatedSeconds,
    estimate?.measuredSeconds,
    ...(estimate?.phases.flatMap((phase) => [phase.estimatedSeconds, phase.measuredSeconds]) ?? []),
    ...(estimate?.misses.flatMap(({ estimated, measured }) => [
      estimated.copy,
      estimated.build,
      estimated.verify,
      measured.copy,
      measured.build,
      measured.verify,
    ]) ?? []),
  ];
  expect(figures).toHaveLength(2 + 2 * 6 + 6 * 2);
  expect(figures.every((figure) => typeof figure === 'number' && Number.isFinite(figure) && figure >= 0)).toBe(true);
  const of = (name: string) => estimate?.phases.find(({ phase }) => phase === name);
  const measured = (name: string): number => report.phases.find(({ phase }) => phase === name)?.seconds ?? -1;
  for (const name of ['schema', 'copy', 'verify']) expect(of(name)?.measuredSeconds).toBeCloseTo(measured(name), 2);
  expect(estimate?.misses.map(({ name }) => name).toSorted()).toEqual(['indexed', 'plain']);
  expect(estimate?.misses.find(({ name }) => name === 'indexed')?.measured.build).toBeGreaterThan(0);

  const blocked = await runCli(['clone', '--explain', '--json'], { env: env() });
  expect(blocked.code).toBe(3);
  expect(blocked.result).toMatchObject({ status: 'blocked', verified: false });
});
