import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ValidationInput, checkIds, validate } from '../src/checks/validate.ts';
import type { CheckResult } from '../src/contract/check.ts';
import { JobOptions } from '../src/contract/options.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { startProxy } from './support/proxy.ts';
import { type TestServer, pgDumpFor, startServer } from './support/servers.ts';

// The whole catalogue on real servers: a pair that fits fires nothing; each case then makes one check fire, by name, and runs its remedy.

let source: TestServer;
let target: TestServer;
let tools: string;

beforeAll(async () => {
  [source, target] = await Promise.all([
    startServer({ name: 'catalogue-source', settings: { max_prepared_transactions: '5' } }),
    startServer({ name: 'catalogue-target' }),
  ]);
  const roles = `CREATE ROLE mover LOGIN PASSWORD 'mover'`;
  await Promise.all([source.run(roles), target.run(roles)]);
  tools = dirname(await pgDumpFor(Math.max(source.major, target.major), source.binDir));
});

afterAll(() => Promise.all([source?.stop(), target?.stop()]));

interface Pair {
  /** The database's name, the same on both servers. */
  readonly name: string;
  readonly sourceUrl: string;
  readonly targetUrl: string;
}

type Outcome = CheckResult['outcome'];

interface Case {
  readonly id: string;
  /** Which of its findings, where a check has several. */
  readonly what?: string;
  /** Statements of a superuser in the pair's database. */
  readonly onSource?: string;
  readonly onTarget?: string;
  /** The rest of CREATE DATABASE. */
  readonly makeSource?: string;
  readonly makeTarget?: string;
  /** The side that logs in as mover, who is no superuser. */
  readonly mover?: 'source' | 'target';
  readonly options?: object;
  readonly change?: (pair: Pair) => Promise<Partial<ValidationInput>>;
  readonly outcome: Outcome;
  readonly code?: string;
  /** All of them stand in what was found. */
  readonly names: readonly string[];
  readonly absent?: readonly string[];
  /** Where the remedy is run as it stands; left out where it is none of SQL. */
  readonly cure?: 'source' | 'target';
  /** What a person does in place of a remedy that is no SQL. */
  readonly byHand?: (pair: Pair) => Promise<void>;
  /** After that; `passed` by default. */
  readonly afterwards?: Outcome;
}

let count = 0;

async function makePair(
  one: Pick<Case, 'makeSource' | 'makeTarget' | 'mover' | 'onSource' | 'onTarget'>,
): Promise<Pair> {
  const name = `case${(count += 1)}`;
  await Promise.all([source.createDatabase(name, one.makeSource), target.createDatabase(name, one.makeTarget)]);
  await Promise.all([
    one.onSource === undefined ? null : runEach(source, name, one.onSource),
    one.onTarget === undefined ? null : runEach(target, name, one.onTarget),
  ]);
  return {
    name,
    sourceUrl: one.mover === 'source' ? source.url(name, 'mover', 'mover') : source.url(name),
    targetUrl: one.mover === 'target' ? target.url(name, 'mover', 'mover') : target.url(name),
  };
}

/** Each line by itself, as a person pastes them: some must not share a transaction. */
async function runEach(server: TestServer, database: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: server.url(database) });
  await client.connect();
  try {
    for (const line of sql.split('\n').filter((text) => text.trim() !== '' && !text.startsWith('--')))
      await client.query(line);
  } finally {
    await client.end();
  }
}

async function make(id: string, pair: Pair, one: Partial<Case> = {}): Promise<CheckResult> {
  const outcome = await validate({
    source: parseEndpoint({ url: pair.sourceUrl }, 'source'),
    target: parseEndpoint({ url: pair.targetUrl }, 'target'),
    options: JobOptions.parse(one.options ?? {}),
    pgBinDir: tools,
    signal: new AbortController().signal,
    onCheck: () => undefined,
    only: [id],
    ...(await one.change?.(pair)),
  });
  const [check] = outcome.checks;
  if (check === undefined || outcome.checks.length !== 1) throw new Error(`${id} was not made alone`);
  return check;
}

/** Where the port of the pair's URL is another. */
const elsewhere = async (url: string): Promise<ReturnType<typeof parseEndpoint>> =>
  await Promise.resolve(parseEndpoint({ url, port: 1 }, 'source'));

const cases: readonly Case[] = [
  {
    id: 'connect.source',
    change: async (pair) => ({ source: await elsewhere(pair.sourceUrl) }),
    outcome: 'failed',
    code: 'CONNECTION_REFUSED',
    names: ['127.0.0.1:1'],
  },
  {
    id: 'connect.target',
    change: async (pair) => ({ target: await elsewhere(pair.targetUrl) }),
    outcome: 'failed',
    code: 'CONNECTION_REFUSED',
    names: ['127.0.0.1:1'],
  },
  {
    id: 'connect.same-database',
    change: (pair) => Promise.resolve({ target: parseEndpoint({ url: pair.sourceUrl }, 'target') }),
    outcome: 'failed',
    code: 'SAME_DATABASE',
    names: ['case'],
  },
  {
    id: 'connect.standby-target',
    onTarget: `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only TO on', current_database()); END $$`,
    outcome: 'failed',
    code: 'TARGET_READ_ONLY',
    names: ['default_transaction_read_only'],
    cure: 'target',
  },
  {
    id: 'connect.headroom',
    mover: 'target',
    onTarget: 'ALTER ROLE mover CONNECTION LIMIT 2',
    outcome: 'info',
    names: ['This role can have 2 at once', 'CONNECTION LIMIT 2'],
    cure: 'target',
  },
  {
    id: 'version.tools',
    change: () => Promise.resolve({ pgBinDir: '/no/such/folder' }),
    outcome: 'failed',
    names: ['/no/such/folder'],
  },
  {
    id: 'server.encoding',
    makeTarget: `ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`,
    outcome: 'failed',
    code: 'ENCODING_MISMATCH',
    names: ['UTF8', 'LATIN1'],
  },
  {
    id: 'server.encoding',
    what: 'converted',
    makeSource: `ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`,
    outcome: 'warned',
    names: ['from LATIN1 on the source to UTF8'],
  },
  {
    id: 'server.locale',
    makeSource: `LOCALE 'C' TEMPLATE template0`,
    makeTarget: `LOCALE 'C.UTF-8' TEMPLATE template0`,
    outcome: 'warned',
    names: ['libc C on the source', 'C.UTF-8'],
  },
  {
    id: 'server.collation-versions',
    onSource: `CREATE TABLE t (a text COLLATE "de-x-icu", CONSTRAINT sorted UNIQUE (a))
CREATE INDEX plain ON t (a COLLATE "C")
UPDATE pg_collation SET collversion = '1' WHERE collname = 'de-x-icu'`,
    outcome: 'warned',
    names: ['"pg_catalog"."de-x-icu" (from 1 to', '1 index on text', '"sorted" on "public"."t"', 'duplicates'],
    absent: ['"plain"'],
    cure: 'source',
  },
  {
    id: 'server.collation-versions',
    what: 'of a collation that nothing sorts by is no word worth',
    onSource: `UPDATE pg_collation SET collversion = '1' WHERE collname = 'fr-x-icu'`,
    outcome: 'passed',
    names: [],
  },
  {
    id: 'server.settings',
    onSource: `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET "DateStyle" TO %L', current_database(), 'German'); END $$
DO $$ BEGIN EXECUTE format('ALTER ROLE mover IN DATABASE %I SET search_path TO shop, public', current_database()); END $$`,
    outcome: 'info',
    names: ['DateStyle is', '2 settings of the database or its roles'],
    cure: 'target',
  },
  {
    id: 'server.timeouts',
    what: 'that our sessions set aside',
    onSource: `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET idle_session_timeout TO %L', current_database(), '9s'); END $$`,
    outcome: 'info',
    names: ['Source: idle_session_timeout = 9 s', 'set it to 0 for themselves'],
  },
  {
    id: 'server.timeouts',
    what: 'of the line',
    onSource: `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET tcp_user_timeout TO %L', current_database(), '5s'); END $$`,
    outcome: 'warned',
    names: ['tcp_user_timeout = 5 s'],
    cure: 'source',
  },
  {
    id: 'server.create-database',
    mover: 'target',
    options: { createDatabase: true, noOwner: true },
    change: (pair) =>
      Promise.resolve({ target: parseEndpoint({ url: pair.targetUrl, database: `${pair.name}_absent` }, 'target') }),
    outcome: 'failed',
    code: 'CREATEDB_DENIED',
    names: ['_absent"'],
    byHand: ({ name }) => target.run('ALTER ROLE mover CREATEDB', name),
  },
  {
    id: 'privilege.schema-usage',
    mover: 'source',
    onSource: 'CREATE SCHEMA closed CREATE TABLE t (a int)',
    outcome: 'failed',
    code: 'MISSING_USAGE',
    names: ['"closed"'],
    cure: 'source',
  },
  {
    id: 'privilege.select',
    mover: 'source',
    onSource: `CREATE TABLE closed (a serial)`,
    outcome: 'failed',
    code: 'MISSING_SELECT',
    names: ['"public"."closed"', '"public"."closed_a_seq"'],
    cure: 'source',
  },
  {
    id: 'privilege.large-objects',
    mover: 'source',
    onSource: `SELECT lo_create(4711)`,
    outcome: 'failed',
    code: 'MISSING_LARGE_OBJECT_SELECT',
    names: ['4711'],
    cure: 'source',
  },
  {
    id: 'privilege.row-security',
    mover: 'source',
    onSource: `CREATE TABLE hidden (a int); ALTER TABLE hidden OWNER TO mover; ALTER TABLE hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`,
    outcome: 'failed',
    code: 'ROW_SECURITY_HIDES_ROWS',
    names: ['"public"."hidden"'],
    cure: 'source',
  },
  {
    id: 'privilege.target-create',
    mover: 'target',
    onSource: 'CREATE SCHEMA shop; CREATE TABLE shop.t (a int)',
    outcome: 'failed',
    code: 'TARGET_CREATE_DENIED',
    names: ['schema "shop"'],
    cure: 'target',
  },
  {
    id: 'privilege.roles',
    onSource: 'CREATE ROLE only_there; CREATE TABLE t (a int); ALTER TABLE t OWNER TO only_there',
    outcome: 'failed',
    code: 'ROLE_MISSING',
    names: ['"only_there" (owner of TABLE "public"."t")'],
    cure: 'target',
  },
  {
    id: 'privilege.set-owner',
    mover: 'target',
    onSource: 'CREATE ROLE keeper; CREATE TABLE t (a int); ALTER TABLE t OWNER TO keeper',
    onTarget: 'CREATE ROLE keeper',
    outcome: 'failed',
    code: 'OWNER_NOT_ALLOWED',
    names: ['"keeper"'],
    cure: 'target',
  },
  {
    id: 'privilege.owner-rights',
    mover: 'target',
    onSource: 'CREATE ROLE lender; CREATE TABLE t (a int); ALTER TABLE t OWNER TO lender',
    onTarget: `CREATE ROLE lender
ALTER ROLE mover NOINHERIT
GRANT lender TO mover`,
    outcome: 'failed',
    code: 'OWNER_NOT_INHERITED',
    names: ['"lender"', 'WITHOUT INHERIT'],
    cure: 'target',
  },
  {
    id: 'privilege.superuser-objects',
    mover: 'target',
    onSource: `CREATE FUNCTION in_c() RETURNS trigger LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler'
CREATE FUNCTION leaky(int) RETURNS bool LANGUAGE sql LEAKPROOF AS 'SELECT true'
CREATE FUNCTION loud() RETURNS int LANGUAGE sql SET log_statement = 'all' AS 'SELECT 1'
CREATE AGGREGATE collect (anynonarray) (sfunc = array_agg_transfn, stype = internal, finalfunc = array_agg_finalfn, finalfunc_extra)
CREATE AGGREGATE plain_sum (int) (sfunc = int4pl, stype = int, initcond = '0')
CREATE FUNCTION fire() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'
CREATE EVENT TRIGGER fires ON ddl_command_end EXECUTE FUNCTION fire()
CREATE PUBLICATION everything FOR ALL TABLES
CREATE PUBLICATION schemas FOR TABLES IN SCHEMA public
CREATE CAST (text AS bool) WITH INOUT
CREATE TEXT SEARCH TEMPLATE words (lexize = dsimple_lexize)
CREATE OPERATOR CLASS backwards FOR TYPE int USING btree AS OPERATOR 1 >, OPERATOR 5 <, FUNCTION 1 btint4cmp(int, int)
CREATE FUNCTION ordinary() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
    outcome: 'warned',
    names: [
      'in_c(): it is written in C',
      'leaky(integer): it is LEAKPROOF',
      'loud(): it sets log_statement',
      'collect(anynonarray): its state is of type internal',
      'EVENT TRIGGER "fires"',
      'PUBLICATION "everything": it publishes ALL TABLES',
      'PUBLICATION "schemas": it publishes TABLES IN SCHEMA',
      'CAST text AS boolean: both of its types',
      'TEXT SEARCH TEMPLATE "public"."words"',
      'OPERATOR CLASS "public"."backwards"',
    ],
    absent: ['ordinary', 'plain_sum'],
  },
  {
    id: 'capacity.source-size',
    onSource: `CREATE TABLE large AS SELECT repeat('x', 100) AS a FROM generate_series(1, 20000)`,
    outcome: 'info',
    names: ['The largest: "public"."large"', 'MiB'],
  },
  {
    id: 'capacity.target-disk',
    onSource: `CREATE TABLE large AS SELECT repeat('x', 100) AS a FROM generate_series(1, 20000)`,
    options: { targetDisk: 1_000_000 },
    outcome: 'failed',
    code: 'TARGET_DISK_TOO_SMALL',
    names: ['977 KiB was declared as free'],
  },
  {
    id: 'capacity.target-disk',
    what: 'and room that nothing is in',
    onSource: `CREATE TABLE loose (id int PRIMARY KEY, a text)
INSERT INTO loose SELECT i, repeat('x', 100) FROM generate_series(1, 40000) i
DELETE FROM loose WHERE id % 20 > 0
VACUUM ANALYZE loose`,
    options: { targetDisk: 2 ** 40 },
    outcome: 'passed',
    names: ['on the source are room that nothing is in', '1.0 TiB was declared'],
  },
  {
    id: 'capacity.target-empty',
    onTarget: 'CREATE TABLE there (a int)',
    outcome: 'failed',
    code: 'TARGET_NOT_EMPTY',
    names: ['TABLE "public"."there"'],
  },
  {
    id: 'capacity.target-empty',
    what: 'and is to be replaced',
    onTarget: 'CREATE TABLE there (a int)',
    options: { replace: true },
    outcome: 'warned',
    names: ['--replace will drop', 'TABLE "public"."there"'],
  },
  {
    id: 'capacity.long-transactions',
    onSource: `CREATE TABLE locked (a int)
BEGIN
LOCK TABLE locked
PREPARE TRANSACTION 'of the catalogue'`,
    outcome: 'failed',
    code: 'TABLES_LOCKED',
    names: [`prepared 'of the catalogue'`, 'locks "public"."locked"'],
    cure: 'source',
  },
  {
    id: 'capacity.long-transactions',
    what: 'without a lock',
    onSource: `CREATE TABLE t (a int)
BEGIN
INSERT INTO t VALUES (1)
PREPARE TRANSACTION 'harmless'`,
    outcome: 'warned',
    names: [`prepared 'harmless'`],
    absent: [', locks'],
    cure: 'source',
  },
  {
    id: 'objects.languages',
    onSource: 'CREATE LANGUAGE ours HANDLER plpgsql_call_handler',
    outcome: 'warned',
    names: ['"ours"'],
  },
  {
    id: 'objects.collations',
    onSource: `CREATE COLLATION pg_catalog.odd_one (LOCALE = 'C')
CREATE TABLE t (a text COLLATE odd_one)`,
    outcome: 'failed',
    code: 'COLLATION_MISSING',
    names: ['"odd_one"'],
    byHand: async ({ name }) => await target.run(`CREATE COLLATION pg_catalog.odd_one (LOCALE = 'C')`, name),
  },
  {
    id: 'objects.foreign',
    onSource: 'CREATE FOREIGN DATA WRAPPER far; CREATE SERVER away FOREIGN DATA WRAPPER far',
    outcome: 'warned',
    names: ['"away"', 'from its own network'],
  },
  {
    id: 'objects.foreign',
    what: 'whose wrapper the target role may not use',
    mover: 'target',
    onSource: 'CREATE FOREIGN DATA WRAPPER far; CREATE SERVER away FOREIGN DATA WRAPPER far',
    onTarget: 'CREATE FOREIGN DATA WRAPPER far',
    outcome: 'failed',
    code: 'WRAPPER_USAGE_DENIED',
    names: ['"far"', '"away"'],
    cure: 'target',
    afterwards: 'warned',
  },
  {
    id: 'objects.inventory',
    what: 'of an empty source',
    outcome: 'warned',
    names: ['The job moves no table'],
  },
  {
    id: 'objects.inventory',
    onSource: `CREATE TABLE plain (a int PRIMARY KEY, b int GENERATED ALWAYS AS IDENTITY, c int GENERATED ALWAYS AS (a) STORED, EXCLUDE USING btree (c WITH =))
CREATE UNLOGGED TABLE quick (a int)
CREATE TABLE parts (a int) PARTITION BY LIST (a)
CREATE TABLE part1 PARTITION OF parts DEFAULT
CREATE TABLE child () INHERITS (quick)
CREATE MATERIALIZED VIEW empty AS SELECT 1 AS a WITH NO DATA
SELECT lo_create(0)`,
    outcome: 'info',
    names: [
      '1 partitioned table',
      '1 partition,',
      '1 unlogged table',
      '1 inheriting table',
      '1 identity column',
      '1 generated column',
      '1 exclusion constraint',
      '1 large object',
      'Not populated, and left so: "public"."empty"',
    ],
  },
  {
    id: 'objects.invalid-indexes',
    onSource: `CREATE TABLE t (a int)
CREATE INDEX broken ON t (a)
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass`,
    outcome: 'warned',
    names: ['"broken" on "public"."t"'],
    cure: 'source',
  },
  {
    id: 'objects.not-valid',
    onSource: `CREATE TABLE t (a int)
ALTER TABLE t ADD CONSTRAINT unproven CHECK (a > 0) NOT VALID`,
    outcome: 'info',
    names: ['"unproven" on "public"."t"'],
  },
  {
    id: 'objects.disabled-triggers',
    onSource: `CREATE TABLE t (a int)
CREATE TRIGGER asleep BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()
ALTER TABLE t DISABLE TRIGGER asleep`,
    outcome: 'info',
    names: ['"asleep" on "public"."t"'],
  },
  {
    id: 'objects.subscriptions',
    onSource: `CREATE SUBSCRIPTION feed CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION p WITH (connect = false)
ALTER SUBSCRIPTION feed ENABLE`,
    outcome: 'warned',
    names: ['"feed"'],
    cure: 'source',
    afterwards: 'info',
  },
  {
    id: 'objects.violations',
    what: 'of a foreign key',
    onSource: `CREATE TABLE parent (id int PRIMARY KEY)
CREATE TABLE child (id int, parent int CONSTRAINT points REFERENCES parent)
CREATE TABLE parts (a int PRIMARY KEY) PARTITION BY LIST (a)
CREATE TABLE part1 PARTITION OF parts FOR VALUES IN (1)
CREATE TABLE part2 PARTITION OF parts FOR VALUES IN (2)
CREATE TABLE of_parts (a int REFERENCES parts)
INSERT INTO parts VALUES (1), (2)
INSERT INTO of_parts VALUES (1), (2), (null)
SET session_replication_role = replica
INSERT INTO child VALUES (1, 7), (2, null)`,
    outcome: 'warned',
    names: ['1 foreign key: "points" on "public"."child"'],
    absent: ['parts', 'unique'],
    byHand: ({ name }) => source.run('DELETE FROM child WHERE parent = 7', name),
  },
  {
    id: 'objects.violations',
    what: 'under a unique index that is corrupt',
    onSource: `CREATE TABLE t (a int CONSTRAINT once UNIQUE, b text)
INSERT INTO t VALUES (1), (null), (null)
UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 'once'::regclass
INSERT INTO t VALUES (1)
UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = 'once'::regclass`,
    outcome: 'warned',
    names: ['1 unique index, which must be corrupt: "once" on "public"."t"'],
    byHand: ({ name }) => source.run(`DELETE FROM t WHERE ctid = (SELECT max(ctid) FROM t WHERE a = 1)`, name),
  },
  {
    id: 'leftovers.source',
    onSource: 'CREATE SCHEMA pgcopydb; CREATE PUBLICATION pgsluice_gone',
    outcome: 'warned',
    names: ['pgcopydb', 'pgsluice_gone'],
    cure: 'source',
  },
  {
    id: 'leftovers.target',
    onTarget: 'CREATE SCHEMA pgsluice_live',
    outcome: 'warned',
    names: ['pgsluice_live'],
    cure: 'target',
  },
];

/** Made to fire elsewhere: in which file, and a word of that test. */
const provedIn: Readonly<Record<string, readonly [string, string]>> = {
  'connect.place': ['src/checks/place.test.ts', 'judgePlace'],
  'version.servers': ['test/downgrade.test.ts', 'version.servers failed'],
  'version.downgrade': ['test/downgrade.test.ts', 'is generated and virtual'],
  // A fork, or a server older than any at hand, cannot be started here.
  'version.supported': ['src/checks/version.test.ts', 'judgeSupported'],
  'server.target-database': ['test/target-database.test.ts', 'server.target-database'],
  'server.create-database': ['test/target-database.test.ts', 'CREATEDB_DENIED'],
  'privilege.owners': ['test/roles.test.ts', 'privilege.owners'],
  'privilege.role-attributes': ['test/roles.test.ts', 'privilege.role-attributes'],
  'objects.extensions': ['test/validate.test.ts', 'EXTENSION_UNAVAILABLE'],
  'objects.excluded-extensions': ['src/checks/extensions.test.ts', 'judgeExcluded('],
  'objects.application': ['src/checks/application.test.ts', 'judgeApplication'],
  'live.source-version': ['src/checks/live-server.test.ts', 'judgeVersion'],
  'live.connections': ['test/live-connections.test.ts', 'CONNECTIONS_TOO_FEW'],
  'live.excluded-extensions': ['src/checks/extensions.test.ts', 'judgeExcludedLive'],
};
const liveChecks = 'test/live-checks.test.ts';

const titleOf = (one: Case): string => `${one.id}${one.what === undefined ? '' : `, ${one.what}`}`;

describe('a pair that fits', () => {
  test('no check fails or warns', async () => {
    const pair = await makePair({ onSource: 'CREATE TABLE t (a int PRIMARY KEY)' });
    const outcome = await validate({
      source: parseEndpoint({ url: pair.sourceUrl }, 'source'),
      target: parseEndpoint({ url: pair.targetUrl }, 'target'),
      options: JobOptions.parse({ targetDisk: 2 ** 40 }),
      pgBinDir: tools,
      signal: new AbortController().signal,
      onCheck: () => undefined,
    });
    expect(outcome.checks.filter((check) => check.outcome === 'failed' || check.outcome === 'warned')).toEqual([]);
    const quiet = outcome.checks.map((check) => check.id);
    expect([...new Set(cases.map((one) => one.id))].filter((id) => !quiet.includes(id))).toEqual([]);
  });
});

describe('fires, and its remedy works', () => {
  test.each(cases.map((one) => [titleOf(one), one] as const))('%s', async (_title, one) => {
    const pair = await makePair(one);
    const check = await make(one.id, pair, one);
    expect(check, check.found).toMatchObject({ id: one.id, outcome: one.outcome, code: one.code ?? check.code });
    for (const name of one.names) expect(check.found).toContain(name);
    for (const name of one.absent ?? []) expect(check.found).not.toContain(name);
    expect(one.outcome === 'failed' && check.remedy === '').toBe(false);
    const curable = one.cure !== undefined || one.byHand !== undefined;
    expect(await cured(one, pair, check)).toBe(curable ? (one.afterwards ?? 'passed') : null);
  });
});

/** What is found after the remedy; null where there is none to be run. */
async function cured(one: Case, pair: Pair, check: CheckResult): Promise<Outcome | null> {
  if (one.cure !== undefined) await runEach(one.cure === 'source' ? source : target, pair.name, check.remedy);
  await one.byHand?.(pair);
  if (one.cure === undefined && one.byHand === undefined) return null;
  const { outcome } = await make(one.id, pair, one);
  if (one.mover !== undefined) await reset();
  return outcome;
}

/** What cures do to mover must not cure the next case. */
async function reset(): Promise<void> {
  const plain = 'ALTER ROLE mover NOBYPASSRLS NOCREATEDB INHERIT CONNECTION LIMIT -1';
  await Promise.all([source.run(plain), target.run(plain)]);
}

describe('what takes more than a pair of databases', () => {
  test('connect.pooler: somebody in between makes up the process id', async () => {
    const pair = await makePair({});
    // BackendKeyData: 'K', length 12, process id, key.
    const proxy = await startProxy(source.port, undefined, undefined, (chunk) => {
      const at = chunk.indexOf(Buffer.from([0x4b, 0, 0, 0, 12]));
      if (at >= 0) chunk.writeInt32BE(4_000_000, at + 5);
      return chunk;
    });
    try {
      const url = pair.sourceUrl.replace(`:${source.port}/`, `:${proxy.port}/`);
      const check = await make('connect.pooler', { ...pair, sourceUrl: url });
      expect(check).toMatchObject({ outcome: 'warned', found: expect.stringContaining('pooler or proxy') });
      expect((await make('connect.pooler', pair)).outcome).toBe('passed');
    } finally {
      await proxy.close();
    }
  });

  test('connect.standby-source: a standby warns until it waits for readers', async () => {
    const standby = await startServer({ name: 'catalogue-standby' });
    try {
      await standby.createDatabase('shop');
      await standby.halt();
      await writeFile(join(standby.dataDir, 'standby.signal'), '');
      await standby.start();
      const pair = { name: 'shop', sourceUrl: standby.url('shop'), targetUrl: target.url() };
      const check = await make('connect.standby-source', pair);
      expect(check.outcome).toBe('warned');
      await runEach(standby, 'shop', check.remedy);
      await expect.poll(async () => (await make('connect.standby-source', pair)).outcome).toBe('info');
    } finally {
      await standby.stop();
    }
  });

  test('objects.tablespaces: missing, then closed, then used', async () => {
    const inPlace = `SET allow_in_place_tablespaces = on
CREATE TABLESPACE fast LOCATION ''`;
    const pair = await makePair({ mover: 'target', onSource: `${inPlace}\nCREATE TABLE t (a int) TABLESPACE fast` });
    expect(await make('objects.tablespaces', pair)).toMatchObject({
      outcome: 'warned',
      found: expect.stringContaining('"fast"'),
    });
    await runEach(target, pair.name, inPlace);
    const closed = await make('objects.tablespaces', pair);
    expect(closed).toMatchObject({ outcome: 'warned', found: expect.stringContaining('may not create') });
    await runEach(target, pair.name, closed.remedy);
    expect((await make('objects.tablespaces', pair)).outcome).toBe('passed');
    await runEach(source, pair.name, 'DROP TABLE t\nDROP TABLESPACE fast');
    await runEach(target, pair.name, 'DROP TABLESPACE fast');
  });

  test('capacity.target-disk: what is free on a server of this machine is read', async () => {
    const check = await make('capacity.target-disk', await makePair({}));
    expect(check.found).toContain('is free on the disk of its data directory');
    const stranger = await make('capacity.target-disk', await makePair({ mover: 'target' }));
    expect(stranger.found).toContain('What is free there is unknown');
  });

  test('capacity.long-transactions: sessions of others that cannot be looked into are said', async () => {
    const pair = await makePair({ mover: 'source' });
    const other = new Client({ connectionString: source.url(pair.name) });
    await other.connect();
    try {
      const check = await make('capacity.long-transactions', pair);
      expect(check).toMatchObject({ outcome: 'passed', found: expect.stringContaining('1 session of other roles') });
    } finally {
      await other.end();
    }
  });
});

describe('2,000 tables', () => {
  const tables = `DO $$ BEGIN FOR i IN 1..2000 LOOP EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, parent int REFERENCES t%s, a text UNIQUE)', i, greatest(1, i - 1));
    IF i % 250 = 0 THEN COMMIT; END IF; END LOOP; END $$`;
  let pair: Pair;
  beforeAll(async () => {
    pair = await makePair({ onSource: tables.replaceAll('\n', ' ') });
  });

  async function timed(urls: Pick<Pair, 'sourceUrl' | 'targetUrl'>): Promise<number> {
    const start = performance.now();
    const outcome = await validate({
      source: parseEndpoint({ url: urls.sourceUrl }, 'source'),
      target: parseEndpoint({ url: urls.targetUrl }, 'target'),
      options: JobOptions.parse({ method: 'auto', cutover: 'manual' }),
      pgBinDir: tools,
      signal: new AbortController().signal,
      onCheck: () => undefined,
    });
    expect(outcome).toMatchObject({ blocked: false, error: null });
    return performance.now() - start;
  }

  test('are judged within 10 s', async () => {
    expect(await timed(pair)).toBeLessThan(10_000);
  });

  test('are judged within 60 s, and far less, where a round trip takes 80 ms', async () => {
    const line = (port: number) => startProxy(port, undefined, undefined, undefined, 40);
    const [near, far] = await Promise.all([line(source.port), line(target.port)]);
    try {
      const sourceUrl = pair.sourceUrl.replace(`:${source.port}/`, `:${near.port}/`);
      const targetUrl = pair.targetUrl.replace(`:${target.port}/`, `:${far.port}/`);
      expect(await timed({ sourceUrl, targetUrl })).toBeLessThan(30_000);
    } finally {
      await Promise.all([near.close(), far.close()]);
    }
  });
});

test('every check of the code is proved here, or where this file says', async () => {
  const own = await readFile(new URL(import.meta.url), 'utf8');
  const here = new Set(cases.map((one) => one.id));
  const homeless: string[] = [];
  for (const id of checkIds) {
    if (here.has(id) || own.includes(`make('${id}'`)) continue;
    const [file, word] = provedIn[id] ?? (id.startsWith('live.') ? [liveChecks, `'${id}'`] : [null, id]);
    const text = file === null ? '' : await readFile(new URL(`../${file}`, import.meta.url), 'utf8').catch(() => '');
    if (!text.includes(word)) homeless.push(id);
  }
  expect(homeless).toEqual([]);
  expect([...here].filter((id) => !checkIds.includes(id))).toEqual([]);
});
