import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli } from './support/cli.ts';
import { contentsOf } from './support/contents.ts';
import { type TestServer, startServer } from './support/servers.ts';

// Elestio: a new database made with the source's encoding and locale, owners and grants left behind, and jobs that move the schema,
// the data or one table alone. Its three steps in the page: test/browser.test.ts; extension checks: test/extensions.test.ts.

let source: TestServer;
let target: TestServer;
/** Of all command lines here: making one takes seconds. */
let state: string;

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'pgsluice-elestio-'));
  [source, target] = await Promise.all([startServer({ name: 'elestio-old' }), startServer({ name: 'elestio-new' })]);
  await source.createDatabase('shop', `TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'`);
  await source.run(
    `CREATE ROLE shopkeeper; ALTER DATABASE shop SET work_mem = '8MB';
     CREATE TABLE customers (id serial PRIMARY KEY, name text); ALTER TABLE customers OWNER TO shopkeeper;
     CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers, note text);
     CREATE TABLE audit (line text); GRANT SELECT ON audit TO shopkeeper; CREATE INDEX ON orders (note);
     INSERT INTO customers (name) SELECT 'Café ' || i FROM generate_series(1, 1000) i;
     INSERT INTO orders (customer, note) SELECT i % 1000 + 1, 'ü' || i FROM generate_series(1, 3000) i;
     INSERT INTO audit SELECT 'line ' || i FROM generate_series(1, 500) i`,
    'shop',
  );
});
afterAll(async () => {
  await Promise.all([source?.stop(), target?.stop()]);
  await rm(state, { recursive: true, force: true });
});

async function clone(database: string, ...args: readonly string[]) {
  const outcome = await runCli(['clone', '--json', '--no-owner', '--no-acl', ...args], {
    state,
    env: { PGSLUICE_SOURCE_URL: source.url('shop'), PGSLUICE_TARGET_URL: target.url(database) },
  });
  expect(outcome.result, outcome.stderr).toMatchObject({ status: 'completed', error: null, differences: [] });
  expect(outcome.code).toBe(0);
}

test("the target's database is made with the source's encoding, locale and settings", async () => {
  await clone('made', '--create-database');
  const database = (server: TestServer, name: string) =>
    server.query(
      `SELECT pg_encoding_to_char(encoding) AS encoding, datcollate, datctype,
         (SELECT setconfig FROM pg_db_role_setting s WHERE s.setdatabase = d.oid AND s.setrole = 0) AS settings
       FROM pg_database d WHERE datname = $1`,
      'postgres',
      [name],
    );
  expect(await database(target, 'made')).toEqual(await database(source, 'shop'));
  expect([...(await contentsOf(target, 'made'))]).toEqual([...(await contentsOf(source, 'shop'))]);
  // The role stayed behind: everything belongs to whoever moved it.
  expect(await target.query(`SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'`, 'made')).toEqual([
    { tableowner: 'postgres' },
  ]);
  expect(await target.query(`SELECT FROM pg_roles WHERE rolname = 'shopkeeper'`)).toEqual([]);
});

test('first the schema, then the data into it', async () => {
  const name = 'steps';
  await target.createDatabase(name, `TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'`);
  await clone(name, '--schema-only');
  expect(await target.query('SELECT FROM orders', name)).toEqual([]);
  const [index] = await target.query(`SELECT count(*)::int AS n FROM pg_indexes WHERE tablename = 'orders'`, name);
  expect(index).toEqual({ n: 2 });
  await clone(name, '--data-only');
  expect([...(await contentsOf(target, name))]).toEqual([...(await contentsOf(source, 'shop'))]);
});

test('one table alone, beside what is there', async () => {
  const name = 'part';
  await target.createDatabase(name, `TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'`);
  await clone(name, '--include-table', 'audit');
  const [there, here] = [await contentsOf(target, name), await contentsOf(source, 'shop')];
  expect([...there.keys()]).toEqual(['"public"."audit"']);
  expect(there.get('"public"."audit"')).toBe(here.get('"public"."audit"'));
});
