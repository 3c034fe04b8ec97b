import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type ValidationOutcome, validate } from '../src/checks/validate.ts';
import type { CheckResult } from '../src/contract/check.ts';
import { JobOptions } from '../src/contract/options.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { type TestServer, findMajor, pgDumpFor, startServer } from './support/servers.ts';

/** Fit to be followed; holds the targets too. */
let fit: TestServer;
/** wal_level replica, and neither a slot nor a sender to spare. */
let unfit: TestServer;
let tools: string;
const open: Client[] = [];

const SHOP = `
CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id serial PRIMARY KEY, customer bigint REFERENCES customers);
CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (9);`;

beforeAll(async () => {
  [fit, unfit] = await Promise.all([
    startServer({
      name: 'live-fit',
      settings: {
        wal_level: 'logical',
        max_prepared_transactions: '5',
        max_slot_wal_keep_size: '10GB',
        log_min_messages: 'fatal',
      },
    }),
    startServer({
      name: 'live-unfit',
      settings: { wal_level: 'replica', max_replication_slots: '0', max_wal_senders: '0', log_min_messages: 'fatal' },
    }),
  ]);
  for (const server of [fit, unfit]) {
    await server.createDatabase('shop');
    await server.run(SHOP, 'shop');
  }
  await fit.createDatabase('target');
  await fit.run(
    `CREATE ROLE plain LOGIN PASSWORD 'plain' IN ROLE pg_read_all_data; CREATE ROLE keeper LOGIN PASSWORD 'keeper' REPLICATION`,
  );
  tools = dirname(await pgDumpFor(fit.major, fit.binDir));
});

afterAll(() => Promise.all([fit?.stop(), unfit?.stop()]));
afterEach(async () => {
  for (const client of open.splice(0)) await client.end();
});

let databases = 0;
/** A database of its own with these objects beside the shop's; answers its name. */
async function database(sql: string, extra = ''): Promise<string> {
  const name = `db${(databases += 1)}`;
  await fit.createDatabase(name, extra);
  await fit.run(`${SHOP}${sql}`, name);
  return name;
}

interface Case {
  readonly source?: string;
  readonly target?: string;
  readonly options?: object;
  readonly ownNames?: readonly string[];
}

function run(given: Case = {}): Promise<ValidationOutcome> {
  return validate({
    source: parseEndpoint({ url: given.source ?? fit.url('shop') }, 'source'),
    target: parseEndpoint({ url: given.target ?? fit.url('target') }, 'target'),
    options: JobOptions.parse({ method: 'live', ...given.options }),
    pgBinDir: tools,
    signal: new AbortController().signal,
    onCheck: () => undefined,
    ...(given.ownNames === undefined ? {} : { ownNames: given.ownNames }),
  });
}

function check(outcome: ValidationOutcome, id: string): CheckResult {
  const found = outcome.checks.find((one) => one.id === id);
  if (found === undefined) throw new Error(`${id} was not made`);
  return found;
}

const live = (outcome: ValidationOutcome): CheckResult[] => outcome.checks.filter((one) => one.family === 'live');

const ids = [
  'standby',
  'source-version',
  'wal-level',
  'slots',
  'senders',
  'output-plugins',
  'replication-right',
  'publication',
  'connections',
  'replica-identity',
  'fence',
  'target-progress',
  'limits',
  'wal-rate',
  'long-transactions',
  'not-followed',
  'excluded-extensions',
].map((id) => `live.${id}`);

/** What a trial could have left: publications, slots, schemas, the position of the next change that is published. */
const traces = (): Promise<unknown> =>
  fit.query(
    `SELECT (SELECT count(*) FROM pg_publication) AS p, (SELECT count(*) FROM pg_replication_slots) AS s,
       (SELECT count(*) FROM pg_publication_rel) AS r, (SELECT array_agg(nspname ORDER BY 1) FROM pg_namespace) AS n`,
    'shop',
  );

describe('a source that can be followed', () => {
  test('passes every check of the family, and no trace of the trials is left', async () => {
    const before = await traces();
    const outcome = await run();
    expect(live(outcome).map((one) => one.id)).toEqual(ids);
    expect(live(outcome).filter((one) => !['passed', 'info'].includes(one.outcome))).toEqual([]);
    expect(outcome).toMatchObject({ blocked: false, method: 'live', methodReason: 'Method live was asked for.' });
    expect(check(outcome, 'live.replication-right').found).toMatch(/made as postgres \(timeline 1\)/);
    expect(check(outcome, 'live.publication').found).toContain('may publish all 3 tables; tried, and undone');
    expect(check(outcome, 'live.fence').found).toContain('by locks on 4 tables');
    expect(check(outcome, 'live.wal-rate').found).toContain('of WAL a second at the moment');
    expect(check(outcome, 'leftovers.source').outcome).toBe('passed');
    expect(check(outcome, 'leftovers.target').outcome).toBe('passed');
    expect(await traces()).toEqual(before);
    await expect.poll(() => fit.sessions()).toEqual([]);
  });

  test('is followed by method auto when a cutover was asked for, and copied without these checks when not', async () => {
    const asked = await run({ options: { method: 'auto', cutover: 'auto' } });
    expect(asked).toMatchObject({ method: 'live', blocked: false });
    const calm = await run({ options: { method: 'auto' } });
    expect(calm).toMatchObject({ method: 'copy', blocked: false });
    expect(live(calm)).toEqual([]);
    expect(live(await run({ options: { method: 'copy', cutover: 'auto' } }))).toEqual([]);
  });

  test('the WAL rate is measured on writes that happen', async () => {
    const writer = new Client({ connectionString: fit.url('shop') });
    await writer.connect();
    open.push(writer);
    const enough = new AbortController();
    const writing = (async () => {
      while (!enough.signal.aborted)
        await writer.query(`INSERT INTO customers (name) SELECT repeat('x', 1000) FROM generate_series(1, 500)`);
    })();
    const outcome = await run();
    enough.abort();
    await writing;
    await fit.run('TRUNCATE customers CASCADE', 'shop');
    expect(check(outcome, 'live.wal-rate').found).toMatch(
      /writes [\d.]+ [KM]iB of WAL a second .* \(max_slot_wal_keep_size\) last \d+/,
    );
  });
});

describe('a source that cannot be followed', () => {
  test('blocks method live by each condition that is missing', async () => {
    const outcome = await run({ source: unfit.url('shop') });
    expect(outcome).toMatchObject({ blocked: true, error: { code: 'WAL_LEVEL_TOO_LOW' } });
    expect(check(outcome, 'live.wal-level')).toMatchObject({ outcome: 'failed' });
    expect(check(outcome, 'live.slots')).toMatchObject({ outcome: 'failed', code: 'NO_SLOT_LEFT' });
    expect(check(outcome, 'live.senders')).toMatchObject({ outcome: 'failed', code: 'NO_SENDER_LEFT' });
    expect(check(outcome, 'live.replication-right')).toMatchObject({ outcome: 'failed', code: 'NO_SENDER_LEFT' });
    expect(check(outcome, 'live.limits')).toMatchObject({ outcome: 'warned' });
    expect(check(outcome, 'live.limits').found).toContain('max_slot_wal_keep_size is -1');
  });

  test('is copied by method auto, which says why and blocks nothing', async () => {
    const outcome = await run({ source: unfit.url('shop'), options: { method: 'auto', cutover: 'manual' } });
    expect(outcome).toMatchObject({ blocked: false, error: null, method: 'copy' });
    expect(outcome.methodReason).toMatch(
      /^The source cannot be followed: wal_level is replica: .* \(and 3 more checks failed\)$/,
    );
    expect(check(outcome, 'live.wal-level')).toMatchObject({ outcome: 'warned', code: null });
    expect(check(outcome, 'live.wal-level').remedy).toContain('wal_level = logical');
  });

  test('a standby is refused with its primary', async () => {
    const standby = await startServer({ name: 'live-standby', settings: { wal_level: 'logical' } });
    try {
      await standby.createDatabase('shop');
      await standby.run(SHOP, 'shop');
      await standby.halt();
      await writeFile(join(standby.dataDir, 'standby.signal'), '');
      await standby.start();
      const outcome = await run({ source: standby.url('shop') });
      expect(check(outcome, 'live.standby')).toMatchObject({ outcome: 'failed', code: 'SOURCE_IS_STANDBY' });
      expect(check(outcome, 'live.publication').outcome).toBe('skipped');
      expect(check(outcome, 'live.wal-rate').outcome).toBe('skipped');
    } finally {
      await standby.stop();
    }
  });

  test('a role without the rights is told each grant, and has what it needs with them', async () => {
    const name = await database('');
    const poor = await run({ source: fit.url(name, 'plain', 'plain') });
    expect(check(poor, 'live.replication-right')).toMatchObject({ outcome: 'failed', code: 'REPLICATION_DENIED' });
    expect(check(poor, 'live.replication-right').remedy).toContain('ALTER ROLE "plain" REPLICATION');
    expect(check(poor, 'live.publication')).toMatchObject({ outcome: 'failed', code: 'PUBLICATION_DENIED' });
    expect(check(poor, 'live.publication').found).toContain(
      'does not own 3 tables: "public"."customers", "public"."orders", "public"."part1"',
    );
    expect(check(poor, 'live.publication').remedy).toContain(`GRANT CREATE ON DATABASE "${name}" TO "plain";`);
    expect(check(poor, 'live.fence')).toMatchObject({ outcome: 'failed', code: 'FENCE_IMPOSSIBLE' });
    expect(check(poor, 'live.fence').found).toContain('public.parts');
    await fit.run(
      `ALTER TABLE customers OWNER TO keeper; ALTER TABLE orders OWNER TO keeper; ALTER TABLE parts OWNER TO keeper; ALTER TABLE part1 OWNER TO keeper;
       ALTER DATABASE ${name} OWNER TO keeper; GRANT pg_signal_backend TO keeper`,
      name,
    );
    const rich = await run({ source: fit.url(name, 'keeper', 'keeper') });
    for (const id of ['replication-right', 'publication', 'fence'])
      expect(check(rich, `live.${id}`)).toMatchObject({ outcome: 'passed' });
  });

  test('without the right to end other sessions the fence warns', async () => {
    const name = await database('');
    await fit.run(
      `CREATE ROLE half LOGIN PASSWORD 'half'; GRANT UPDATE, SELECT ON ALL TABLES IN SCHEMA public TO half`,
      name,
    );
    const outcome = await run({ source: fit.url(name, 'half', 'half') });
    expect(check(outcome, 'live.fence')).toMatchObject({ outcome: 'warned' });
    expect(check(outcome, 'live.fence').remedy).toContain('GRANT pg_signal_backend TO "half";');
    await fit.run('DROP OWNED BY half; DROP ROLE half', name);
  });

  test('a target role that may not keep its progress there blocks', async () => {
    await fit.createDatabase('closed');
    const outcome = await run({ target: fit.url('closed', 'plain', 'plain') });
    expect(check(outcome, 'live.target-progress')).toMatchObject({
      outcome: 'failed',
      code: 'PROGRESS_DENIED',
      remedy: 'GRANT CREATE ON DATABASE "closed" TO "plain";',
    });
  });
});

describe('tables', () => {
  test('what the server itself refuses to update once published is what fails, and the remedy cures it', async () => {
    const name = await database(`
      CREATE TABLE bare (a int); CREATE TABLE uniq (a int NOT NULL, b text NOT NULL); CREATE UNIQUE INDEX uniq_b ON uniq (b);
      CREATE TABLE late (a int PRIMARY KEY DEFERRABLE); CREATE TABLE off (a int PRIMARY KEY); ALTER TABLE off REPLICA IDENTITY NOTHING;
      CREATE TABLE gone (a int NOT NULL); CREATE UNIQUE INDEX gone_a ON gone (a); ALTER TABLE gone REPLICA IDENTITY USING INDEX gone_a; DROP INDEX gone_a;
      CREATE TABLE good (a int NOT NULL); CREATE UNIQUE INDEX good_a ON good (a); ALTER TABLE good REPLICA IDENTITY USING INDEX good_a;
      CREATE TABLE partial (a int NOT NULL); CREATE UNIQUE INDEX ON partial (a) WHERE a > 0;
      CREATE TABLE expr (a int NOT NULL); CREATE UNIQUE INDEX ON expr ((a + 1));
      CREATE TABLE full_one (a int); ALTER TABLE full_one REPLICA IDENTITY FULL;
      CREATE UNLOGGED TABLE quick (a int); INSERT INTO full_one SELECT generate_series(1, 1000); ANALYZE full_one`);
    const judged = check(await run({ source: fit.url(name) }), 'live.replica-identity');
    expect(judged).toMatchObject({ outcome: 'failed', code: 'NO_REPLICA_IDENTITY' });
    const named = [...judged.found.matchAll(/"public"\."(\w+)"/g)].map((match) => match[1]);
    // PostgreSQL's own word on each table.
    const refused: string[] = [];
    const all = ['bare', 'uniq', 'late', 'off', 'gone', 'good', 'partial', 'expr', 'full_one', 'customers', 'part1'];
    await fit.run(`CREATE PUBLICATION trial FOR TABLE ${all.join(', ')}`, name);
    for (const table of all) await fit.run(`DELETE FROM ${table}`, name).catch(() => refused.push(table));
    expect(refused.length).toBeGreaterThan(4);
    expect(named).toEqual(refused.toSorted());
    await fit.run('DROP PUBLICATION trial', name);
    await fit.run(judged.remedy, name);
    const cured = check(await run({ source: fit.url(name) }), 'live.replica-identity');
    expect(cured.outcome).toBe('warned');
    expect(cured.found).toContain('"public"."full_one" (about 1,000 rows)');
    expect(cured.found).not.toContain('"uniq"');
    // Out of scope, out of the check.
    const some = await run({ source: fit.url(name), options: { includeTable: ['customers'] } });
    expect(check(some, 'live.replica-identity').found).toBe('All 1 table identify their rows by a key.');
  });

  test('generated columns in an identity are refused as the server does from 18 on', async (context) => {
    const search = await findMajor(18);
    if (search.binDir === null) return context.skip(search.reason);
    const newest = await startServer({
      name: 'live-18',
      binDir: search.binDir,
      settings: {
        wal_level: 'logical',
        output_plugin_libraries: 'test_decoding',
        idle_replication_slot_timeout: '10min',
      },
    });
    try {
      await newest.createDatabase('shop');
      await newest.run(
        `CREATE TABLE fine (a int PRIMARY KEY, g int GENERATED ALWAYS AS (a * 2) STORED);
         CREATE TABLE whole (a int, g int GENERATED ALWAYS AS (a * 2) STORED); ALTER TABLE whole REPLICA IDENTITY FULL;
         CREATE TABLE virt (a int, g int GENERATED ALWAYS AS (a * 2)); ALTER TABLE virt REPLICA IDENTITY FULL`,
        'shop',
      );
      const outcome = await run({ source: newest.url('shop'), target: newest.url('postgres') });
      const judged = check(outcome, 'live.replica-identity');
      expect(judged).toMatchObject({ outcome: 'failed' });
      expect(judged.found).toContain('2 tables');
      expect(judged.found).toContain('"public"."virt", "public"."whole"');
      expect(check(outcome, 'live.output-plugins')).toMatchObject({ outcome: 'failed', code: 'OUTPUT_PLUGIN_REFUSED' });
      expect(check(outcome, 'live.limits').found).toContain('idle_replication_slot_timeout is 10 min');
    } finally {
      await newest.stop();
    }
  });

  test('what does not follow is listed', async () => {
    const name = await database(`
      CREATE UNLOGGED TABLE quick (id int PRIMARY KEY); SELECT lo_from_bytea(0, 'x'); CREATE MATERIALIZED VIEW view AS SELECT 1 AS one;
      CREATE FUNCTION audit() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION audit();
      ALTER EVENT TRIGGER watch ENABLE ALWAYS; CREATE PUBLICATION cdc FOR TABLE orders`);
    const { outcome, found, remedy } = check(await run({ source: fit.url(name) }), 'live.not-followed');
    expect(outcome).toBe('warned');
    for (const words of [
      'UNLOGGED tables after their copy do not arrive: "public"."quick"',
      'Large objects (1)',
      'Materialized views (1)',
      '"watch"',
      'Sequences are set at the cutover',
      '1 table is in publications already: "cdc"',
    ])
      expect(found).toContain(words);
    expect(remedy).toContain('ALTER TABLE "public"."quick" SET LOGGED;');
  });
});

test('a long and a prepared transaction that wrote hold up the slot', async () => {
  const writer = new Client({ connectionString: fit.url('target') });
  await writer.connect();
  open.push(writer);
  await writer.query('CREATE TABLE IF NOT EXISTS busy (id int)');
  await fit.run(`BEGIN; INSERT INTO orders (customer) VALUES (NULL); PREPARE TRANSACTION 'pay 9'`, 'shop');
  try {
    const { outcome, found, remedy } = check(await run(), 'live.long-transactions');
    expect(outcome).toBe('warned');
    expect(found).toContain(`prepared 'pay 9' (role postgres, database shop, for`);
    expect(remedy).toContain(`ROLLBACK PREPARED 'pay 9';`);
  } finally {
    await fit.run(`ROLLBACK PREPARED 'pay 9'`, 'shop');
    await writer.query('DROP TABLE busy');
  }
  expect(check(await run(), 'live.long-transactions').outcome).toBe('passed');
});

test('leftovers on either side are told with what drops them, those of this job are not', async () => {
  const name = await database('');
  for (const slot of ['pgsluice_old', 'pgsluice_mine', 'debezium'])
    await fit.query('SELECT pg_create_logical_replication_slot($1, $2)', name, [slot, 'pgoutput']);
  await fit.run(
    'CREATE PUBLICATION pgsluice_old; CREATE PUBLICATION pgsluice_mine; CREATE PUBLICATION theirs; CREATE SCHEMA pgcopydb',
    name,
  );
  await fit.createDatabase('left');
  await fit.run(
    `CREATE SCHEMA pgsluice_live; CREATE TABLE pgsluice_live.progress (job text PRIMARY KEY, finished boolean NOT NULL DEFAULT false);
     INSERT INTO pgsluice_live.progress VALUES ('mine'), ('old')`,
    'left',
  );
  try {
    const outcome = await run({ source: fit.url(name), target: fit.url('left'), ownNames: ['pgsluice_mine'] });
    const source = check(outcome, 'leftovers.source');
    expect(source.outcome).toBe('warned');
    for (const words of [
      `SELECT pg_drop_replication_slot('pgsluice_old');`,
      'DROP PUBLICATION "pgsluice_old";',
      `SELECT pg_drop_replication_slot('debezium');`,
      'DROP SCHEMA "pgcopydb" CASCADE;',
    ])
      expect(source.remedy).toContain(words);
    expect(source.remedy).not.toMatch(/mine|theirs/);
    const target = check(outcome, 'leftovers.target');
    expect(target).toMatchObject({ outcome: 'warned' });
    expect(target.found).toContain('1 other job: old (not cut over)');
    await fit.run(source.remedy, name);
    await fit.run(target.remedy.replace(/DELETE FROM pgsluice_live\.tables[^;]*;/, ''), 'left');
    const after = await run({ source: fit.url(name), target: fit.url('left'), ownNames: ['pgsluice_mine'] });
    expect(check(after, 'leftovers.source').outcome).toBe('passed');
    expect(check(after, 'leftovers.target').outcome).toBe('passed');
  } finally {
    await fit.query(`SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active`);
  }
});
