import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { JobOptions } from '../src/contract/options.ts';
import type { Verification } from '../src/contract/report.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import type { Side } from '../src/postgres/settings.ts';
import { SourceSnapshot } from '../src/postgres/snapshot.ts';
import { findPgTools } from '../src/postgres/tools.ts';
import type { PgTools } from '../src/postgres/tools.ts';
import { verifyDatabases } from '../src/verify/verify.ts';
import type { VerifyInput } from '../src/verify/verify.ts';
import { findMajor, root } from './support/binaries.ts';
import { type TestServer, startServer } from './support/servers.ts';

const workDir = join(tmpdir(), `pgsluice-live-verify-${process.pid}`);
const never = new AbortController().signal;
let server: TestServer;
let tools: PgTools;

beforeAll(async () => {
  server = await startServer({ name: 'live-verify', settings: { wal_level: 'logical' } });
  tools = await findPgTools({ binDir: null, minMajor: server.major });
  await server.createDatabase('pristine');
  await server.run(await readFile(join(root, 'test/fixtures/verify.sql'), 'utf8'), 'pristine');
  await server.run(
    `CREATE TABLE s.child (t integer, k integer, CONSTRAINT "a fk" FOREIGN KEY (t) REFERENCES s.t DEFERRABLE INITIALLY DEFERRED);
     INSERT INTO s.child VALUES (1, 1)`,
    'pristine',
  );
});
afterAll(async () => {
  await server.stop();
  await rm(workDir, { recursive: true, force: true });
});

function moment(database: string, side: Side, connections: number, on = server): Promise<SourceSnapshot> {
  return SourceSnapshot.open(parseEndpoint({ url: on.url(database) }, side), {
    side,
    connections,
    signal: never,
    log: () => undefined,
  });
}

interface Given {
  /** Run on the target before its moment. */
  readonly before?: string;
  /** Run on the source and on the target after their moments. */
  readonly source?: string;
  readonly target?: string;
  readonly connections?: number;
  readonly input?: Partial<VerifyInput>;
}

/** Two equal databases, changed before and after their moments, and compared as of these. */
async function compare(given: Given): Promise<Verification> {
  for (const database of ['source', 'target']) {
    await server.run(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
    await server.createDatabase(database, 'TEMPLATE pristine');
  }
  await server.run(given.before ?? 'SELECT 1', 'target');
  const connections = given.connections ?? 3;
  const source = await moment('source', 'source', connections);
  const target = await moment('target', 'target', connections);
  try {
    await server.run(given.source ?? 'SELECT 1', 'source');
    await server.run(given.target ?? 'SELECT 1', 'target');
    return await verifyDatabases({
      source: parseEndpoint({ url: server.url('source') }, 'source'),
      target: parseEndpoint({ url: server.url('target') }, 'target'),
      snapshot: source,
      targetSnapshot: target,
      connections: { source: connections, target: connections },
      options: JobOptions.parse({}),
      mode: 'full',
      tools,
      sourceArchive: null,
      workDir,
      signal: never,
      emit: () => undefined,
      ...given.input,
    });
  } finally {
    await Promise.all([source.close(), target.close()]);
  }
}

const names = (result: Verification): string[] => result.differences.map((one) => `${one.kind} ${one.name}`);
const counter = { schema: 's', name: 'counter', lastValue: '7', isCalled: true };

it('compares two moments although both databases have moved on, down to two connections a side', async () => {
  for (const connections of [2, 4]) {
    const result = await compare({
      connections,
      source: `INSERT INTO s.t (id) VALUES (5000); DELETE FROM s.careful; SELECT nextval('s.counter')`,
      target: `DELETE FROM s.t WHERE id > 100; INSERT INTO s.keyless VALUES (9); DELETE FROM s.careful WHERE id = 2;
        SELECT nextval('s.counter'); SELECT lo_put(77001, 0, 'X'); SELECT lo_unlink(77002);
        CREATE TABLE s.more (a integer)`,
      input: { copiedSequences: [counter], targetSequences: [counter] },
    });
    expect(names(result)).toEqual([]);
    expect(result).toMatchObject({ verified: true, sequencesCompared: 1, largeObjectsCompared: 2 });
    expect(result.tables.find((table) => table.name === 'careful')).toMatchObject({ sourceRows: 4, targetRows: 4 });
  }
  expect(await server.sessions()).toEqual([]);
});

it('names what differed before the moment', async () => {
  const result = await compare({
    before: `UPDATE s.t SET d = NULL WHERE id = 17; DROP VIEW s.w; SELECT lo_put(77001, 0, 'X')`,
    target: `UPDATE s.t SET d = ('x' IN ('x', 'y')) WHERE id = 17; SELECT lo_put(77001, 0, 's')`,
    input: { copiedSequences: [counter], targetSequences: [{ ...counter, lastValue: '6' }] },
  });
  expect(result.verified).toBe(false);
  expect(names(result).toSorted()).toEqual([
    'CONTENT s.t',
    'LARGE OBJECT DATA 77001',
    'SEQUENCE VALUE s.counter',
    'VIEW s.w',
  ]);
  expect(result.differences.find((one) => one.kind === 'CONTENT')?.target).toContain('(17), in column d');
});

it('claims neither equality nor a difference of what the target has rewritten since its moment', async () => {
  const result = await compare({
    target: `TRUNCATE s.keyless; ALTER TABLE s.nothing ADD COLUMN late float8 DEFAULT random();
      TRUNCATE s.parts_true; DELETE FROM s.t WHERE id > 100; REFRESH MATERIALIZED VIEW s.mv`,
  });
  expect(names(result)).toEqual([]);
  expect(result.verified).toBe(false);
  for (const name of ['s.keyless', 's.nothing', 's.parts_true', 's.mv']) {
    expect(result.notChecked.join(' ')).toContain(`${name} could not be compared: since its moment it was truncated`);
  }
  expect(result.tables.find((table) => table.name === 't')).toMatchObject({ equal: true, sourceRows: 300 });
  expect(result.objectsCompared).toBeGreaterThan(20);
});

it('goes on with the contents where the target has dropped or renamed what pg_dump would have to read', async () => {
  const result = await compare({
    target: `ALTER TABLE s.nothing RENAME TO renamed; ALTER TABLE s.careful DROP COLUMN other; DROP TABLE s.keyless`,
  });
  expect(names(result)).toEqual([]);
  expect(result).toMatchObject({ verified: false, objectsCompared: 0 });
  expect(result.notChecked.join(' ')).toContain(`Objects could not be compared as of the target's moment`);
  for (const name of ['s.nothing', 's.careful', 's.keyless']) {
    expect(result.notChecked.join(' ')).toContain(`${name} could not be compared: since its moment it was truncated`);
  }
});

it('takes a foreign key for equal that only awaits its validation, and no other one', async () => {
  const before = `ALTER TABLE s.child DROP CONSTRAINT "a fk";
    ALTER TABLE s.child ADD CONSTRAINT "a fk" FOREIGN KEY (t) REFERENCES s.t DEFERRABLE INITIALLY DEFERRED NOT VALID`;
  const pendingConstraints = [{ schema: 's', table: 'child', name: 'a fk' }];
  expect(await compare({ before, input: { pendingConstraints } })).toMatchObject({ verified: true, differences: [] });
  expect(names(await compare({ before }))).toEqual(['FK CONSTRAINT s.child a fk']);
  const other = before.replace(' DEFERRABLE INITIALLY DEFERRED', '').replace('(t)', '(k)');
  expect(names(await compare({ before: other, input: { pendingConstraints } }))).toEqual([
    'FK CONSTRAINT s.child a fk',
  ]);
});

it('leaves out what a job made for itself, on both sides', async () => {
  const live = `CREATE SCHEMA pgsluice_live; CREATE TABLE pgsluice_live.progress (job text PRIMARY KEY);
    INSERT INTO pgsluice_live.progress VALUES ('j')`;
  const result = await compare({ before: live, source: 'SELECT 1' });
  expect(result).toMatchObject({ verified: true, differences: [] });
  for (const database of ['source', 'target']) await server.run(`DROP DATABASE ${database} WITH (FORCE)`);
  await server.createDatabase('source', 'TEMPLATE pristine');
  await server.createDatabase('target', 'TEMPLATE pristine');
  await server.run(`CREATE PUBLICATION pgsluice_j1 FOR TABLE ONLY s.t, ONLY s.child; ${live}`, 'source');
  const now = await verifyDatabases({
    source: parseEndpoint({ url: server.url('source') }, 'source'),
    target: parseEndpoint({ url: server.url('target') }, 'target'),
    snapshot: null,
    connections: { source: 2, target: 2 },
    options: JobOptions.parse({}),
    mode: 'full',
    tools,
    sourceArchive: null,
    workDir,
    signal: never,
    emit: () => undefined,
  });
  expect(now).toMatchObject({ verified: true, differences: [] });
  expect(now.tables.map((table) => table.schema)).not.toContain('pgsluice_live');
});

it('names a view of the target that is neither what the source holds nor what its definition yields', async () => {
  const result = await compare({
    before: `INSERT INTO s.t (id, st) VALUES (900, 'a'); REFRESH MATERIALIZED VIEW s.mv; DELETE FROM s.t WHERE id = 900`,
  });
  expect(names(result)).toEqual(['MATERIALIZED VIEW CONTENT s.mv']);
});

const newer = await findMajor(17);

it.skipIf(newer.binDir === null)(
  `decides on the target of another major, beside its moment (${newer.binDir === null ? newer.reason : newer.binDir})`,
  async () => {
    if (newer.binDir === null) return;
    const other = await startServer({ name: 'live-verify-17', binDir: newer.binDir });
    try {
      await other.createDatabase('target');
      await other.run(await readFile(join(root, 'test/fixtures/verify.sql'), 'utf8'), 'target');
      await server.run('DROP DATABASE IF EXISTS source WITH (FORCE)');
      await server.createDatabase('source', 'TEMPLATE pristine');
      await server.run('DROP TABLE s.child', 'source');
      const target = await moment('target', 'target', 2, other);
      await other.run('DELETE FROM s.t', 'target');
      try {
        const lines: string[] = [];
        const result = await verifyDatabases({
          source: parseEndpoint({ url: server.url('source') }, 'source'),
          target: parseEndpoint({ url: other.url('target') }, 'target'),
          snapshot: null,
          targetSnapshot: target,
          connections: { source: 2, target: 2 },
          options: JobOptions.parse({}),
          mode: 'full',
          tools: await findPgTools({ binDir: newer.binDir, minMajor: other.major }),
          sourceArchive: null,
          workDir,
          signal: never,
          emit: (event) => {
            if (event.type === 'log') lines.push(event.message);
          },
        });
        expect(names(result)).toEqual([]);
        expect(lines[0]).toMatch(/only printed differently/);
      } finally {
        await target.close();
      }
    } finally {
      await other.stop();
    }
  },
);
