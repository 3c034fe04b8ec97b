import { afterAll, beforeAll, expect, it } from 'vitest';
import { runCli, type CliOptions, type CliOutcome } from './support/cli.ts';
import { startServer, type TestServer } from './support/servers.ts';

let source: TestServer;
let target: TestServer;

beforeAll(async () => {
  [source, target] = await Promise.all([
    startServer({ name: 'options-source' }),
    startServer({ name: 'options-target' }),
  ]);
});
afterAll(() => Promise.all([source?.stop(), target?.stop()]));

function run(command: string, name: string, args: readonly string[], options: CliOptions = {}): Promise<CliOutcome> {
  const env = { PGSLUICE_SOURCE_URL: source.url(name), PGSLUICE_TARGET_URL: target.url(name) };
  return runCli([command, '--json', ...args], { ...options, env });
}

const verified = { code: 0, verified: true, differences: [], error: null };
const ending = ({ code, result }: CliOutcome): Record<string, unknown> => ({
  code,
  verified: result?.verified,
  differences: result?.differences,
  error: result?.error,
});

it('carries what a source that is set up in its own way means, and proves it across encodings', async () => {
  await source.createDatabase('legacy', "TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
  await target.createDatabase('legacy', "TEMPLATE template0 ENCODING 'UTF8'");
  await source.run(
    `CREATE TABLE t (id int PRIMARY KEY, a text DEFAULT 'C:\\temp', b char(5));
     INSERT INTO t VALUES (1, 'é', 'ü'), (2, DEFAULT, NULL);
     COMMENT ON TABLE t IS 'back\\slash';
     CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1';
     CREATE FUNCTION finish() RETURNS int LANGUAGE sql AS 'SELECT 2';
     CREATE SCHEMA junk; CREATE TABLE junk.x (a int);
     SELECT lo_from_bytea(4711, 'abc');
     ALTER DATABASE legacy SET standard_conforming_strings = off`,
    'legacy',
  );
  // The configuration sequence of an extension belongs to the rows that users made.
  for (const server of [source, target]) {
    await server.run(
      `CREATE SEQUENCE conf; ALTER EXTENSION plpgsql ADD SEQUENCE conf;
       UPDATE pg_extension SET extconfig = ARRAY['conf'::regclass], extcondition = ARRAY[''] WHERE extname = 'plpgsql'`,
      'legacy',
    );
  }
  await source.query(`SELECT setval('conf', 77)`, 'legacy');

  expect(ending(await run('clone', 'legacy', ['--exclude-schema', 'junk']))).toEqual(verified);
  const facts = `SELECT obj_description('t'::regclass) AS comment, (SELECT a FROM t WHERE id = 2) AS a,
                        (SELECT last_value::int FROM conf) AS conf, finish() AS finish, lo_get(4711) AS large`;
  expect(await target.query(facts, 'legacy')).toEqual([
    { comment: 'back\\slash', a: 'C:\\temp', conf: 77, finish: 2, large: Buffer.from('abc') },
  ]);

  await target.run(`UPDATE t SET a = 'è' WHERE id = 1`, 'legacy');
  const changed = await run('verify', 'legacy', ['--exclude-schema', 'junk']);
  expect(changed.code).toBe(4);
  expect(changed.result?.differences.map(({ kind, name }) => `${kind} ${name}`)).toEqual(['CONTENT public.t']);
});

it('takes what the globs say and nothing else, and names who holds a lock that it waits for', async () => {
  await source.createDatabase('globs');
  await target.createDatabase('globs');
  await source.run(
    `CREATE TABLE people (id serial PRIMARY KEY); INSERT INTO people DEFAULT VALUES;
     CREATE SCHEMA old; CREATE TABLE old.people (id int); INSERT INTO old.people VALUES (1)`,
    'globs',
  );
  const locker = source
    .run(`BEGIN; LOCK TABLE people IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)`, 'globs')
    .catch((error: unknown) => String(error));
  const release = `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK%'`;
  const released: Promise<unknown>[] = [];
  const outcome = await run('clone', 'globs', ['--include-table', 'p*', '--exclude-schema', 'old'], {
    onEvent: (event) => {
      if (event.type !== 'log' || !event.message.includes('public.people (process ')) return;
      released.push(source.query(release));
    },
  });
  expect(released.length).toBeGreaterThan(0);
  await Promise.all(released);
  expect(await locker).toContain('canceling statement due to user request');
  expect(ending(outcome)).toEqual(verified);
  expect(await target.query(`SELECT FROM pg_namespace WHERE nspname = 'old'`, 'globs')).toEqual([]);
});

it('makes roles as an ordinary role, and replaces what is its own but no extension of an administrator', async () => {
  await source.run(
    `CREATE ROLE options_group; CREATE ROLE options_owner IN ROLE options_group; CREATE ROLE options_reader IN ROLE pg_monitor`,
  );
  await source.createDatabase('roles', 'OWNER options_owner');
  await source.run(
    `CREATE SCHEMA app AUTHORIZATION options_owner; SET ROLE options_owner;
     CREATE TABLE app.t (id int PRIMARY KEY); GRANT SELECT ON app.t TO options_reader`,
    'roles',
  );
  await target.run(`CREATE ROLE options_mover LOGIN CREATEROLE PASSWORD 'x'`);
  await target.createDatabase('roles', 'OWNER options_mover');
  await target.run(
    `CREATE SCHEMA tools AUTHORIZATION options_mover; CREATE EXTENSION citext SCHEMA tools;
     SET ROLE options_mover; CREATE TABLE tools.mine (a tools.citext); CREATE SCHEMA gone`,
    'roles',
  );
  await source.run(`CREATE SCHEMA tools AUTHORIZATION options_owner; CREATE EXTENSION citext SCHEMA tools`, 'roles');
  const env = {
    PGSLUICE_SOURCE_URL: source.url('roles'),
    PGSLUICE_TARGET_URL: target.url('roles', 'options_mover', 'x'),
  };
  const outcome = await runCli(['clone', '--json', '--roles', 'create', '--replace'], { env });
  expect(ending(outcome)).toEqual(verified);
  expect(outcome.stdout).toContain('Dropped 2 objects on the target: schema gone, table tools.mine');
  const member = await target.query(
    `SELECT pg_has_role('options_owner', 'options_group', 'MEMBER') AS group, pg_has_role('options_reader', 'pg_monitor', 'MEMBER') AS monitor`,
  );
  // Before 16 CREATEROLE may grant every ordinary role.
  expect(member).toEqual([{ group: true, monitor: target.major < 16 }]);
});
