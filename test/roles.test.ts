import { afterAll, beforeAll, expect, it } from 'vitest';
import type { CheckResult } from '../src/contract/check.ts';
import { runCli, type CliOutcome } from './support/cli.ts';
import { findMajor, pgDumpFor, startServer, type TestServer } from './support/servers.ts';
import { dirname } from 'node:path';

let source: TestServer;
let target: TestServer;

beforeAll(async () => {
  [source, target] = await Promise.all([startServer({ name: 'roles-source' }), startServer({ name: 'roles-target' })]);
});
afterAll(() => Promise.all([source?.stop(), target?.stop()]));

const verified = { code: 0, verified: true, differences: [], error: null };
const ending = ({ code, result }: CliOutcome): Record<string, unknown> => ({
  code,
  verified: result?.verified,
  differences: result?.differences,
  error: result?.error,
});
const checkOf = (outcome: CliOutcome, id: string): CheckResult | undefined =>
  outcome.events.flatMap((event) => (event.type === 'check' ? [event.check] : [])).findLast((one) => one.id === id);

const rolesSql = `
  CREATE ROLE "Ro Owner" CREATEDB;
  CREATE ROLE id NOINHERIT;
  CREATE ROLE readers;
  CREATE ROLE alice LOGIN PASSWORD 'al''ice \\ 🐘' CONNECTION LIMIT 7 VALID UNTIL '2031-05-06 07:08:09+00' IN ROLE readers;
  CREATE ROLE nopass LOGIN IN ROLE readers;
  CREATE ROLE boss REPLICATION BYPASSRLS;
  CREATE ROLE stranger LOGIN PASSWORD 'x';
  GRANT boss TO id WITH ADMIN OPTION;
  COMMENT ON ROLE alice IS 'reads; "a lot"';
  ALTER ROLE alice SET work_mem = '5MB';
  ALTER ROLE alice SET log_min_messages = 'error';
  SET password_encryption = 'md5';
  CREATE ROLE old_style LOGIN PASSWORD 'md5 pass' IN ROLE readers;`;

const schemaSql = `
  CREATE SCHEMA "Ro Owner" AUTHORIZATION "Ro Owner";
  GRANT USAGE ON SCHEMA "Ro Owner" TO readers, id;
  GRANT CREATE ON SCHEMA "Ro Owner" TO id;
  CREATE TABLE "Ro Owner".id (id int PRIMARY KEY, readers text DEFAULT 'OWNER TO id', "Ro Owner" int);
  ALTER TABLE "Ro Owner".id OWNER TO "Ro Owner";
  INSERT INTO "Ro Owner".id SELECT i, 'text ' || i FROM generate_series(1, 500) i;
  CREATE TABLE "Ro Owner".second (a int); ALTER TABLE "Ro Owner".second OWNER TO id;
  SET ROLE "Ro Owner";
  GRANT SELECT (id, readers), UPDATE (readers) ON "Ro Owner".id TO id WITH GRANT OPTION;
  GRANT SELECT ON "Ro Owner".id TO readers;
  ALTER TABLE "Ro Owner".id ENABLE ROW LEVEL SECURITY;
  CREATE POLICY readers ON "Ro Owner".id TO readers, "boss" USING (readers <> 'boss');
  CREATE FUNCTION "Ro Owner".f(id text) RETURNS text LANGUAGE sql AS $$ SELECT 'GRANT ALL TO id; OWNER TO readers' || id $$;
  REVOKE ALL ON FUNCTION "Ro Owner".f(text) FROM PUBLIC;
  RESET ROLE;
  ALTER DEFAULT PRIVILEGES FOR ROLE "Ro Owner" IN SCHEMA "Ro Owner" GRANT SELECT ON TABLES TO readers;
  SELECT lo_from_bytea(4712, 'abc'); ALTER LARGE OBJECT 4712 OWNER TO id; GRANT SELECT ON LARGE OBJECT 4712 TO readers;`;

/** A foreign server and what is on it go to a superuser's target only: others lack the right to the wrapper. */
const foreignSql = `
  CREATE EXTENSION postgres_fdw;
  CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;
  GRANT USAGE ON FOREIGN SERVER far TO id;
  CREATE USER MAPPING FOR alice SERVER far OPTIONS (user 'alice', password 'far away');`;

async function loadSource(server: TestServer, database: string): Promise<void> {
  const known = await server.query(`SELECT FROM pg_roles WHERE rolname = 'Ro Owner'`);
  if (known.length === 0) await server.run(rolesSql);
  await server.createDatabase(database);
  await server.run(schemaSql, database);
  await server.run(
    `ALTER ROLE alice IN DATABASE "${database.replaceAll('"', '""')}" SET search_path = 'Ro Owner', public`,
  );
}

/** What a role is, apart from what its server numbers. */
const facts = (names: readonly string[]): string => `
  SELECT r.rolname, r.rolcanlogin, r.rolinherit, r.rolcreatedb, r.rolcreaterole, r.rolconnlimit, r.rolvaliduntil, r.rolconfig,
         shobj_description(r.oid, 'pg_authid') AS comment, a.rolpassword,
         ARRAY(SELECT pg_get_userbyid(m.roleid) || ' ' || m.admin_option FROM pg_auth_members m WHERE m.member = r.oid ORDER BY 1) AS groups
  FROM pg_roles r JOIN pg_authid a USING (rolname)
  WHERE r.rolname = ANY (ARRAY[${names.map((name) => `'${name}'`).join(', ')}]::name[]) ORDER BY 1`;

it('makes the roles that objects need as they are, with their passwords, and says what its own role may not give', async () => {
  const name = 'ro "les';
  await loadSource(source, name);
  await target.run(`CREATE ROLE mover LOGIN CREATEROLE PASSWORD 'm'`);
  await target.createDatabase(name, 'OWNER mover');
  const env = { PGSLUICE_SOURCE_URL: source.url(name), PGSLUICE_TARGET_URL: target.url(name, 'mover', 'm') };
  const outcome = await runCli(['clone', '--json', '--roles', 'create'], { env });
  expect(ending(outcome)).toEqual(verified);

  const names = ['Ro Owner', 'id', 'readers', 'alice', 'nopass', 'boss', 'old_style', 'stranger'];
  const [before, after] = await Promise.all([source.query(facts(names)), target.query(facts(names))]);
  // What the target's role may not set, and who is none of the database's business.
  const expected = before
    .filter((role) => role['rolname'] !== 'stranger')
    .map((role) => (role['rolname'] === 'alice' ? { ...role, rolconfig: ['work_mem=5MB'] } : role));
  expect(after).toEqual(expected);
  expect(await target.query(`SELECT rolreplication, rolbypassrls FROM pg_roles WHERE rolname = 'boss'`)).toEqual([
    { rolreplication: false, rolbypassrls: false },
  ]);
  // A password is proven by logging in with it; the setting for the database arrives in the session.
  const own = `SELECT current_user::text AS role, current_setting('work_mem') AS mem, current_setting('search_path') AS path`;
  const { Client } = await import('pg');
  const logIn = async (role: string, password: string): Promise<unknown> => {
    const client = new Client({ connectionString: target.url(name, role, password) });
    await client.connect();
    const { rows } = await client.query(own);
    await client.end();
    return rows[0];
  };
  expect(await logIn('alice', String.raw`al'ice \ 🐘`)).toEqual({
    role: 'alice',
    mem: '5MB',
    path: '"Ro Owner", public',
  });
  expect(await source.query(`SELECT rolpassword ~ '^md5' AS md5 FROM pg_authid WHERE rolname = 'old_style'`)).toEqual([
    { md5: true },
  ]);
  await expect(logIn('old_style', 'wrong')).rejects.toThrow(/password authentication failed/);

  const attributes = checkOf(outcome, 'privilege.role-attributes');
  expect(attributes).toMatchObject({ outcome: 'warned' });
  expect(attributes?.found).toContain('the role "boss" is made without REPLICATION, BYPASSRLS');
  expect(attributes?.found).toContain('log_min_messages of the role "alice" takes a superuser to set');
  expect(attributes?.found).not.toContain('password');
  expect(checkOf(outcome, 'privilege.owners')?.found).toContain('"id" owns 2 objects: which will be created');
  // Nothing of a password in what anybody reads.
  expect(outcome.stdout + outcome.stderr).not.toMatch(/SCRAM-SHA-256\$|md5[0-9a-f]{32}/);
  expect(outcome.stdout).toContain('PASSWORD (as on the source)');
});

it('lists the roles that need a password where the source hides them', async () => {
  await source.run(`CREATE ROLE reader_of_all LOGIN PASSWORD 'r'`);
  await target.createDatabase('hidden');
  await source.createDatabase('hidden');
  await source.run(
    `CREATE ROLE hidden_one LOGIN PASSWORD 'h'; CREATE TABLE t (); GRANT SELECT ON t TO hidden_one, reader_of_all`,
    'hidden',
  );
  const env = {
    PGSLUICE_SOURCE_URL: source.url('hidden', 'reader_of_all', 'r'),
    PGSLUICE_TARGET_URL: target.url('hidden'),
  };
  const outcome = await runCli(['clone', '--json', '--roles', 'create'], { env });
  expect(ending(outcome)).toEqual(verified);
  const check = checkOf(outcome, 'privilege.role-attributes');
  expect(check?.found).toContain('a password has to be set by a person for "hidden_one"');
  expect(check?.remedy).toContain(`ALTER ROLE "hidden_one" PASSWORD '…';`);
});

it('gives what belongs to one role to another, several to one as well, and still sees what differs', async () => {
  const name = 'mapped';
  await loadSource(source, name);
  await target.run(`CREATE ROLE "the app" LOGIN PASSWORD 'a'; CREATE ROLE "New ""Reader"""; CREATE ROLE swapped`);
  await target.createDatabase(name, 'OWNER "the app"');
  await source.run(foreignSql, name);
  const map = [
    'Ro Owner=the app',
    'id=the app',
    'readers=New "Reader"',
    'boss=swapped',
    'alice=boss',
    'postgres=the app',
  ];
  const args = map.flatMap((pair) => ['--map-role', pair]);
  const env = { PGSLUICE_SOURCE_URL: source.url(name), PGSLUICE_TARGET_URL: target.url(name) };

  const slip = await runCli(['validate', '--json', ...args, '--map-role', 'nobdy=boss'], { env });
  expect(checkOf(slip, 'privilege.owners')).toMatchObject({ outcome: 'warned' });
  expect(checkOf(slip, 'privilege.owners')?.found).toContain('"nobdy"');

  const outcome = await runCli(['clone', '--json', ...args], { env });
  expect(ending(outcome)).toEqual(verified);
  expect(checkOf(outcome, 'privilege.owners')?.found).toContain('mapped to "the app", which exists');
  const owners = await target.query(
    `SELECT DISTINCT pg_get_userbyid(relowner)::text AS owner FROM pg_class WHERE relnamespace = '"Ro Owner"'::regnamespace`,
    name,
  );
  expect(owners).toEqual([{ owner: 'the app' }]);
  const [acl] = await target.query(
    `SELECT relacl::text AS acl, (SELECT polroles::regrole[]::text FROM pg_policy) AS policy,
            (SELECT usename::text FROM pg_user_mappings) AS mapping,
            (SELECT a.attacl::text FROM pg_attribute a WHERE a.attrelid = c.oid AND attname = 'readers') AS column,
            (SELECT pg_get_userbyid(lomowner)::text || lomacl::text FROM pg_largeobject_metadata) AS large,
            (SELECT defaclacl::text || pg_get_userbyid(defaclrole) FROM pg_default_acl) AS defaults
     FROM pg_class c WHERE relname = 'id'`,
    name,
  );
  expect(acl).toEqual({
    acl: String.raw`{"\"the app\"=arwdDxt/\"the app\"","\"New \"\"Reader\"\"\"=r/\"the app\""}`,
    policy: String.raw`{"\"New \"\"Reader\"\"\"",swapped}`,
    mapping: 'boss',
    column: expect.any(String),
    large: expect.stringMatching(/^the app\{.*New/),
    defaults: expect.stringContaining('the app'),
  });
  const [text] = await target.query(
    `SELECT "Ro Owner".f('x') AS f, (SELECT readers FROM "Ro Owner".id WHERE id = 7) AS t`,
    name,
  );
  expect(text).toEqual({ f: 'GRANT ALL TO id; OWNER TO readersx', t: 'text 7' });

  // Its own archives, not the copy's.
  expect(ending(await runCli(['verify', '--json', ...args], { env }))).toEqual(verified);
  await target.run(
    `ALTER TABLE "Ro Owner".second OWNER TO swapped; REVOKE SELECT ON "Ro Owner".id FROM "New ""Reader""";
     ALTER LARGE OBJECT 4712 OWNER TO swapped; GRANT EXECUTE ON FUNCTION "Ro Owner".f(text) TO swapped`,
    name,
  );
  const changed = await runCli(['verify', '--json', ...args], { env });
  expect(changed.code).toBe(4);
  expect(changed.result?.differences.map((one) => `${one.kind} ${one.name} ${one.change}`).toSorted()).toEqual([
    'ACL "Ro Owner".FUNCTION f(id text) different',
    'ACL "Ro Owner".TABLE id missing',
    'LARGE OBJECT 4712 different',
    'TABLE "Ro Owner".second different',
  ]);
});

it('keeps the options of memberships between servers that have them', async (context) => {
  const search = await findMajor(17);
  if (search.binDir === null) context.skip(search.reason);
  const binDir = search.binDir ?? '';
  const [here, there] = await Promise.all([
    startServer({ name: 'roles-17-source', binDir }),
    startServer({ name: 'roles-17-target', binDir }),
  ]);
  try {
    await here.run(`CREATE ROLE grp; CREATE ROLE app LOGIN PASSWORD 'p'; CREATE ROLE deputy; CREATE ROLE clerk;
      GRANT grp TO app WITH INHERIT FALSE, SET TRUE; GRANT grp TO deputy WITH ADMIN TRUE, INHERIT TRUE, SET FALSE;
      GRANT grp TO clerk WITH ADMIN TRUE, INHERIT FALSE, SET FALSE; GRANT pg_read_all_stats TO grp`);
    await here.createDatabase('members', 'OWNER app');
    await here.run('CREATE TABLE t (); ALTER TABLE t OWNER TO app; GRANT SELECT ON t TO grp', 'members');
    await there.run(`CREATE ROLE mover LOGIN CREATEROLE PASSWORD 'm'`);
    await there.createDatabase('members', 'OWNER mover');
    const env = { PGSLUICE_SOURCE_URL: here.url('members'), PGSLUICE_TARGET_URL: there.url('members', 'mover', 'm') };
    const pgBin = dirname(await pgDumpFor(17, binDir));
    const outcome = await runCli(['clone', '--json', '--roles', 'create'], { env, pgBin });
    expect(ending(outcome)).toEqual(verified);
    const members = `SELECT pg_get_userbyid(member)::text AS member, admin_option, inherit_option, set_option
      FROM pg_auth_members WHERE roleid = 'grp'::regrole AND member <> 'mover'::regrole ORDER BY 1`;
    await here.run('CREATE ROLE mover');
    const all = await here.query(members);
    expect(all).toHaveLength(3);
    // Who only administers a role is no user of it.
    expect(await there.query(members)).toEqual(all.filter((one) => one['member'] !== 'clerk'));
    const { Client } = await import('pg');
    const client = new Client({ connectionString: there.url('members', 'app', 'p') });
    await client.connect();
    await client.end();
    expect(checkOf(outcome, 'privilege.role-attributes')?.found).toContain(
      `the membership of "grp" in "pg_read_all_stats" is not the target role's to grant`,
    );
  } finally {
    await Promise.all([here.stop(), there.stop()]);
  }
});
