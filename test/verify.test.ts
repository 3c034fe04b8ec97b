import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import PQueue from 'p-queue';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { JobOptions } from '../src/contract/options.ts';
import type { Verification } from '../src/contract/report.ts';
import { type Archive, dumpArchive } from '../src/postgres/archive.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { findPgTools, libpqEnvironment, runTool } from '../src/postgres/tools.ts';
import type { PgTools } from '../src/postgres/tools.ts';
import { verifyDatabases } from '../src/verify/verify.ts';
import { createEverythingRoles, loadEverything } from './fixtures/everything.ts';
import { findMajor, root } from './support/binaries.ts';
import { slice } from './support/long.ts';
import { loadPagila, pagilaDir } from './support/pagila.ts';
import { type TestServer, startServer } from './support/servers.ts';

const workDir = join(tmpdir(), `pgsluice-verify-${process.pid}`);
const never = new AbortController().signal;
afterAll(() => rm(workDir, { recursive: true, force: true }));

interface Side {
  readonly server: TestServer;
  readonly database: string;
}

interface Extra {
  readonly options?: Partial<JobOptions>;
  readonly mode?: 'counts' | 'full';
  readonly connections?: number;
  /** The source's schema; by default it is dumped for this comparison. */
  readonly archive?: Archive;
  /** Role of the target, with its name as password. */
  readonly role?: string;
  readonly lines?: string[];
}

async function compare(tools: PgTools, source: Side, target: Side, extra: Extra = {}): Promise<Verification> {
  const connections = extra.connections ?? 3;
  return verifyDatabases({
    source: parseEndpoint({ url: source.server.url(source.database) }, 'source'),
    target: parseEndpoint({ url: target.server.url(target.database, extra.role, extra.role) }, 'target'),
    snapshot: null,
    connections: { source: connections, target: connections },
    options: JobOptions.parse(extra.options ?? {}),
    mode: extra.mode ?? 'full',
    tools,
    sourceArchive: extra.archive ?? null,
    workDir,
    signal: never,
    emit: (event) => {
      if (event.type === 'log') extra.lines?.push(event.message);
    },
  });
}

/** A copy made by pg_dump and pg_restore alone, so that nothing of ours has a part in what is compared. */
async function copyDatabase(tools: PgTools, source: Side, target: Side): Promise<void> {
  await target.server.createDatabase(target.database, `TEMPLATE template0 ENCODING 'UTF8'`);
  const file = join(workDir, `${target.server.major}-${target.database}.dump`);
  const settings = (side: Side): Record<string, string> =>
    libpqEnvironment(parseEndpoint({ url: side.server.url(side.database) }, 'source'));
  await runTool({
    command: tools.pgDump,
    args: ['--format=custom', '--compress=0', `--file=${file}`],
    env: settings(source),
    signal: never,
  });
  await runTool({
    command: tools.pgRestore,
    args: ['--exit-on-error', `--dbname=${target.database}`, file],
    env: settings(target),
    signal: never,
  });
}

async function loadFixture(server: TestServer, database: string): Promise<void> {
  await server.createDatabase(database);
  await server.run(await readFile(join(root, 'test/fixtures/verify.sql'), 'utf8'), database);
}

/** One change of the target, and the difference that must name it. Changes that must be found alone say nothing more. */
const changes: readonly (readonly [sql: string, kind: string, name: string, detail?: string])[] = [
  [`UPDATE s.t SET d = NULL WHERE id = 17`, 'CONTENT', 's.t', 'primary key (id): other contents: (17), in column d'],
  [`DELETE FROM s.t WHERE id IN (5, 6)`, 'ROWS', 's.t'],
  [`UPDATE s.careful SET big = 4294967296 WHERE id = 1`, 'CONTENT', 's.careful', 'in column big'],
  [`UPDATE s.careful SET num = 1.00 WHERE id = 1`, 'CONTENT', 's.careful', 'in column num'],
  [`UPDATE s.careful SET fl = '-0' WHERE id = 1`, 'CONTENT', 's.careful', 'in column fl'],
  [`UPDATE s.careful SET iv = '1 day' WHERE id = 1`, 'CONTENT', 's.careful', 'in column iv'],
  [`UPDATE s.careful SET js = '{"a": 1.00}' WHERE id = 1`, 'CONTENT', 's.careful', 'in column js'],
  [`UPDATE s.careful SET ci = 'ABC' WHERE id = 1`, 'CONTENT', 's.careful', 'in column ci'],
  [`UPDATE s.careful SET bp = 'x ' WHERE id = 1`, 'CONTENT', 's.careful', 'in column bp'],
  [`UPDATE s.careful SET p = ROW(NULL, NULL) WHERE id = 1`, 'CONTENT', 's.careful', 'in column p'],
  [`UPDATE s.careful SET m = 'ok' WHERE id = 1`, 'CONTENT', 's.careful', 'in column m'],
  [`UPDATE s.careful SET arr = '{a,"NULL"}' WHERE id = 1`, 'CONTENT', 's.careful', 'in column arr'],
  [`UPDATE s.careful SET ts = ts + interval '1 microsecond' WHERE id = 1`, 'CONTENT', 's.careful', 'in column ts'],
  [`UPDATE s.careful SET by = '\\x01' WHERE id = 1`, 'CONTENT', 's.careful', 'in column by'],
  [`UPDATE s.careful SET other = NULL WHERE id = 1`, 'CONTENT', 's.careful', 'in column other'],
  // Two rows exchange a value: every column's values stay the same as a whole.
  [
    `UPDATE s.careful SET other = CASE id WHEN 3 THEN 'and me' ELSE 'exchange me' END WHERE id IN (3, 4)`,
    'CONTENT',
    's.careful',
    '(3), (4)',
  ],
  [`DELETE FROM s.keyless WHERE a = 1; INSERT INTO s.keyless VALUES (3, 'x'), (3, 'x')`, 'CONTENT', 's.keyless'],
  [`INSERT INTO s.nothing DEFAULT VALUES`, 'ROWS', 's.nothing'],
  [`SELECT nextval('s.counter')`, 'SEQUENCE VALUE', 's.counter'],
  [`SELECT setval('s.counter', 7, false)`, 'SEQUENCE VALUE', 's.counter'],
  [`SELECT lo_put(77001, 4, 'L')`, 'LARGE OBJECT DATA', '77001'],
  [`SELECT lo_put(77002, 8500000, '\\x00')`, 'LARGE OBJECT DATA', '77002'],
  [`SELECT lo_unlink(77001)`, 'LARGE OBJECT', '77001'],
  [`SELECT lo_create(77003)`, 'LARGE OBJECT', '77003'],
  [`COMMENT ON LARGE OBJECT 77001 IS 'x'`, 'LARGE OBJECT', '77001'],
  [`ALTER TABLE s.t DROP CONSTRAINT c1, ADD CONSTRAINT c1 CHECK (st IN ('a', 'b', 'd', 'c'))`, 'TABLE', 's.t'],
  [`ALTER TABLE s.t ALTER d SET DEFAULT ('x'::varchar IN ('x', 'z'))`, 'TABLE', 's.t'],
  [`DROP INDEX s.i1; CREATE INDEX i1 ON s.t (id) WHERE st IN ('a', 'c')`, 'INDEX', 's.i1'],
  [`DROP INDEX s."i ON s.t x"`, 'INDEX', 's."i ON s.t x"'],
  [`ALTER POLICY p ON s.t USING (st IN ('a', 'c'))`, 'POLICY', 's.t p'],
  [
    `DROP TRIGGER "T ON" ON s.t; CREATE TRIGGER "T ON" BEFORE UPDATE OF st ON s.t FOR EACH ROW WHEN (OLD.st IN ('a', 'c')) EXECUTE FUNCTION s.tf('a ON s.t b')`,
    'TRIGGER',
    's.t T ON',
  ],
  [`CREATE OR REPLACE VIEW s.v AS SELECT id, st IN ('a', 'c') AS x, st FROM s.t WHERE st IN ('a', 'b')`, 'VIEW', 's.v'],
  [`ALTER VIEW s.w RESET (check_option)`, 'VIEW', 's.w'],
  [
    `CREATE OR REPLACE RULE "R2" AS ON INSERT TO s.v DO INSTEAD INSERT INTO s.t (id, st) SELECT NEW.id, NEW.st WHERE NEW.st IN ('a', 'c')`,
    'RULE',
    's.v R2',
  ],
  [
    `CREATE OR REPLACE FUNCTION s.f(a varchar, b integer DEFAULT 2) RETURNS boolean LANGUAGE sql BEGIN ATOMIC SELECT a IN ('a', 'b'); END`,
    'FUNCTION',
    's.f(character varying, integer)',
  ],
  [
    `CREATE OR REPLACE FUNCTION s.f2(a varchar, b boolean DEFAULT true) RETURNS boolean LANGUAGE sql AS 'SELECT true'`,
    'FUNCTION',
    's.f2(character varying, boolean)',
  ],
  [`DROP STATISTICS s.sx; CREATE STATISTICS s.sx ON (st IN ('a', 'c')), (id + 1) FROM s.t`, 'STATISTICS', 's.sx'],
  [`ALTER DOMAIN s.code SET DEFAULT lower('Y'::varchar)`, 'DOMAIN', 's.code'],
  [`COMMENT ON TABLE s.t IS 'a Table'`, 'COMMENT', 's.TABLE t'],
  [`CREATE TABLE s.more (a integer)`, 'TABLE', 's.more'],
  [`DROP TABLE s.keyless`, 'TABLE', 's.keyless'],
  [`GRANT SELECT (id) ON s.t TO PUBLIC`, 'ACL', 's.COLUMN t.id'],
  [`REFRESH MATERIALIZED VIEW s.mv WITH NO DATA`, 'MATERIALIZED VIEW CONTENT', 's.mv'],
];

describe('verification on one server', () => {
  let server: TestServer;
  let tools: PgTools;
  const source = (): Side => ({ server, database: 'source' });

  beforeAll(async () => {
    server = await startServer({ name: 'verify' });
    tools = await findPgTools({ binDir: null, minMajor: server.major });
    await loadFixture(server, 'source');
    await server.run('CREATE DATABASE pristine TEMPLATE source');
  });
  afterAll(() => server.stop());

  /** `pristine` is nobody's source: a database with sessions is no template. */
  async function changed(sql: string, database = 'target'): Promise<Side> {
    await server.run(`DROP DATABASE IF EXISTS ${database}`);
    await server.run(`CREATE DATABASE ${database} TEMPLATE pristine`);
    await server.run(sql, database);
    return { server, database };
  }

  it('finds nothing between equal databases, down to one connection a side, and leaves nothing behind', async () => {
    const before = await server.query('SELECT count(*) AS n FROM pg_namespace', 'pristine');
    const lines: string[] = [];
    for (const connections of [1, 2, 4]) {
      const result = await compare(tools, source(), { server, database: 'pristine' }, { connections, lines });
      expect(result).toMatchObject({ verified: true, differences: [], sequencesCompared: 1, largeObjectsCompared: 2 });
      expect(result.tables.map((table) => table.equal)).toEqual(result.tables.map(() => true));
    }
    expect(lines).toContain('verified s.t: 300 rows, checksums equal');
    expect(await server.query('SELECT count(*) AS n FROM pg_namespace', 'pristine')).toEqual(before);
    expect(await server.sessions()).toEqual([]);
  });

  describe.concurrent('names', () => {
    /** Two comparisons at once are what two cores carry. */
    const queue = new PQueue({ concurrency: 2 });
    let archive: Archive;

    beforeAll(async () => {
      archive = await dumpArchive({
        tools,
        settings: parseEndpoint({ url: server.url('source') }, 'source'),
        snapshotId: null,
        filter: JobOptions.parse({}),
        noOwner: false,
        noAcl: false,
        workDir,
        signal: never,
      });
    });

    it.each(changes.map((change, at) => ({ sql: change[0], at, change })))('$sql', async ({ at, change }) => {
      const [sql, kind, name, detail] = change;
      const result = await queue.add(async () =>
        compare(tools, source(), await changed(sql, `target_${at}`), { archive }),
      );
      expect(result.verified).toBe(false);
      const found = result.differences.find((one) => one.kind === kind && one.name === name);
      expect(result.differences.map((one) => [one.kind, one.name])).toContainEqual([kind, name]);
      expect(found?.target ?? '').toContain(detail ?? '');
      // A change of rows or values is no change of the catalogue, and one object's change is no other's.
      const allowed = new Set([name, ...(/^ALTER TABLE|^UPDATE|^DELETE/.test(sql) ? ['s.mv'] : [])]);
      expect(result.differences.filter((one) => !allowed.has(one.name))).toEqual([]);
    });
  });

  it('counts only, when asked, and says so', async () => {
    const target = await changed(`UPDATE s.t SET d = NULL WHERE id = 17`);
    const result = await compare(tools, source(), target, { mode: 'counts' });
    expect(result).toMatchObject({ mode: 'counts', verified: true, differences: [] });
    expect(result.tables.every((table) => table.sourceChecksum === null)).toBe(true);
    expect(result.notChecked.join(' ')).toContain('only counted');
  });

  it('keeps to the filters', async () => {
    const target = await changed(`DROP TABLE s.nothing; DELETE FROM s.keyless`);
    const options = { excludeTable: ['s.nothing'], excludeTableData: ['keyless'] };
    const result = await compare(tools, source(), target, { options });
    expect(result).toMatchObject({ verified: true, differences: [] });
    expect(result.notChecked.join(' ')).toContain('s.keyless');
    const data = await compare(tools, source(), target, { options: { ...options, dataOnly: true } });
    expect(data).toMatchObject({ verified: true, objectsCompared: 0 });
    const schema = await compare(tools, source(), target, { options: { ...options, schemaOnly: true } });
    expect(schema).toMatchObject({ verified: true, tables: [], sequencesCompared: 0, largeObjectsCompared: 0 });
  });

  it('names a table that only the data comparison can miss', async () => {
    const target = await changed(`DROP TABLE s.keyless; ALTER TABLE s.careful DROP COLUMN by`);
    const result = await compare(tools, source(), target, { options: { dataOnly: true } });
    expect(new Set(result.differences.map((one) => `${one.kind} ${one.name} ${one.change}`))).toEqual(
      new Set(['TABLE s.careful different', 'TABLE s.keyless missing']),
    );
  });

  it('calls a stale materialized view of the source stale, not different', async () => {
    await server.run('DROP DATABASE IF EXISTS stale');
    await server.run('CREATE DATABASE stale TEMPLATE source');
    await server.run(`INSERT INTO s.t (id, st) VALUES (1000, 'a')`, 'stale');
    await server.run('DROP DATABASE IF EXISTS target');
    await server.run('CREATE DATABASE target TEMPLATE stale');
    await server.run('REFRESH MATERIALIZED VIEW s.mv', 'target');
    const result = await compare(tools, { server, database: 'stale' }, { server, database: 'target' });
    expect(result).toMatchObject({ verified: true, differences: [] });
    expect(result.notChecked.join(' ')).toContain('out of date');
  });

  it('does not claim what it may not read', async () => {
    await server.run(`CREATE ROLE weak LOGIN PASSWORD 'weak'`);
    await changed(
      `GRANT USAGE ON SCHEMA s TO weak; GRANT SELECT ON ALL TABLES IN SCHEMA s TO weak; GRANT SELECT ON ALL SEQUENCES IN SCHEMA s TO weak;
       ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; GRANT SELECT ON LARGE OBJECT 77001 TO weak`,
    );
    const result = await verifyDatabases({
      source: parseEndpoint({ url: server.url('source') }, 'source'),
      target: parseEndpoint({ url: server.url('target', 'weak', 'weak') }, 'target'),
      snapshot: null,
      connections: { source: 2, target: 2 },
      options: JobOptions.parse({ dataOnly: true }),
      mode: 'full',
      tools,
      sourceArchive: null,
      workDir,
      signal: never,
      emit: () => undefined,
    });
    expect(result.verified).toBe(false);
    expect(result.notChecked.join('\n')).toMatch(/s\.t could not be compared/);
    expect(result.notChecked.join('\n')).toMatch(/Large object 77002 could not be compared/);
  });

  it('stops at once when cancelled', async () => {
    const controller = new AbortController();
    const run = verifyDatabases({
      source: parseEndpoint({ url: server.url('source') }, 'source'),
      target: parseEndpoint({ url: server.url('pristine') }, 'target'),
      snapshot: null,
      connections: { source: 3, target: 3 },
      options: JobOptions.parse({}),
      mode: 'full',
      tools,
      sourceArchive: null,
      workDir,
      signal: controller.signal,
      emit: () => controller.abort('enough'),
    });
    await expect(run).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(await server.sessions()).toEqual([]);
  });

  it('finds nothing in a copy by pg_dump and pg_restore, whatever went through the parser twice', async () => {
    const copy = { server, database: 'copy' };
    await copyDatabase(tools, source(), copy);
    expect(await compare(tools, source(), copy)).toMatchObject({ verified: true, differences: [] });
    const again = { server, database: 'again' };
    await copyDatabase(tools, copy, again);
    expect(await compare(tools, source(), again)).toMatchObject({ verified: true, differences: [] });
  });
});

const majors = await Promise.all([findMajor(15), findMajor(17), findMajor(18)]);

/** One source for all newer targets, and what is loaded into it. */
let old: TestServer | undefined;
const loaded = new Set<string>();
afterAll(() => old?.stop());

async function loadOnce(
  database: string,
  load: (server: TestServer, database: string) => Promise<void>,
): Promise<void> {
  if (old === undefined || loaded.has(database)) return;
  loaded.add(database);
  await load(old, database);
}

/** Source and target in different majors, each copied by pg_dump and pg_restore of the newer one. */
const steps = [
  { from: majors[0], to: majors[1], name: '15 to 17' },
  { from: majors[0], to: majors[2], name: '15 to 18' },
];
describe.each(slice(steps, ({ name }) => name === '15 to 18'))('verification from $name', ({ from, to, name }) => {
  const missing = [from, to].find((search) => search?.binDir == null);
  const title = missing === undefined ? '' : ` (skipped: ${missing?.reason ?? 'no binaries'})`;
  let target: TestServer | undefined;
  let tools: PgTools;

  beforeAll(async () => {
    if (missing !== undefined || from?.binDir == null || to?.binDir == null) return;
    old ??= await startServer({ name: 'verify-from', binDir: from.binDir });
    target = await startServer({ name: 'verify-to', binDir: to.binDir });
    tools = await findPgTools({ binDir: to.binDir, minMajor: target.major });
  });
  afterAll(() => target?.stop());

  function sides(database: string): { from: Side; to: Side } {
    if (old === undefined || target === undefined) throw new Error(`no servers for ${name}`);
    return { from: { server: old, database }, to: { server: target, database } };
  }

  it.skipIf(missing !== undefined)(`knows what is only printed differently${title}`, async () => {
    const { from: here, to: there } = sides('fixture');
    await loadOnce(here.database, loadFixture);
    await copyDatabase(tools, here, there);
    const lines: string[] = [];
    expect(await compare(tools, here, there, { lines })).toMatchObject({ verified: true, differences: [] });
    expect(lines[0]).toMatch(/none missing, extra or different; \d\d are only printed differently/);
    await there.server.run(
      `CREATE OR REPLACE VIEW s.v AS SELECT id, st IN ('a', 'b') AS x, st FROM s.t WHERE st IN ('a', 'c');
       DROP INDEX s.i1; CREATE INDEX i1 ON s.t (id) WHERE st IN ('a', 'c')`,
      there.database,
    );
    const { differences } = await compare(tools, here, there);
    expect(differences.map((one) => [one.kind, one.name])).toEqual([
      ['VIEW', 's.v'],
      ['INDEX', 's.i1'],
    ]);
  });

  it.skipIf(missing !== undefined)(`claims nothing where it may not make temporary objects${title}`, async () => {
    const { from: here, to: there } = sides('fixture');
    await there.server.run(
      `CREATE ROLE reader LOGIN PASSWORD 'reader'; GRANT pg_read_all_data TO reader; REVOKE TEMPORARY ON DATABASE fixture FROM PUBLIC`,
      there.database,
    );
    const result = await compare(tools, here, there, { role: 'reader' });
    expect(result.verified).toBe(false);
    expect(result.notChecked.join('\n')).toMatch(/could not be decided on the target .*: .*VIEW s\.w/);
  });

  it.skipIf(missing !== undefined)(`finds nothing in a faithful copy of every kind of object${title}`, async () => {
    const { from: here, to: there } = sides('everything');
    await loadOnce(here.database, loadEverything);
    await createEverythingRoles(there.server);
    await copyDatabase(tools, here, there);
    const result = await compare(tools, here, there);
    expect(result).toMatchObject({ verified: true, differences: [], largeObjectsCompared: 5 });
  });

  it.skipIf(missing !== undefined || pagilaDir() === null)(`finds nothing in a copy of Pagila${title}`, async () => {
    const { from: here, to: there } = sides('pagila');
    await loadOnce(here.database, loadPagila);
    await copyDatabase(tools, here, there);
    expect(await compare(tools, here, there)).toMatchObject({ verified: true, differences: [] });
  });
});
