import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type ValidationOutcome, validate } from '../src/checks/validate.ts';
import type { CheckResult } from '../src/contract/check.ts';
import { JobOptions, type JobRequestInput } from '../src/contract/options.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { runCli } from './support/cli.ts';
import { type TestServer, startServer } from './support/servers.ts';

// RDS and Aurora, Azure, Cloud SQL, Supabase, Neon, Heroku, Aiven, DigitalOcean: each told by a role that only its servers have, and
// each check's remedy in its words. By host and setting: src/postgres/places/places.test.ts.

let server: TestServer;
const adminRoles = ['rds_superuser', 'azure_pg_admin', 'cloudsqlsuperuser', 'supabase_admin', 'neon_superuser'];
const others = ['heroku_admin', 'avnadmin', 'doadmin'];

beforeAll(async () => {
  // Nothing that following needs: the remedies are what is looked at.
  server = await startServer({
    name: 'places',
    settings: { wal_level: 'replica', max_replication_slots: '0' },
  });
  await server.run(`CREATE ROLE app LOGIN PASSWORD 'app'`);
  await server.createDatabase('old', 'OWNER app');
  await server.createDatabase('new', 'OWNER app');
  await server.run(`SET ROLE app; CREATE TABLE t (id int PRIMARY KEY)`, 'old');
});
afterAll(async () => {
  await server?.stop();
});
beforeEach(async () => {
  for (const role of [...adminRoles, ...others]) await server.run(`DROP ROLE IF EXISTS ${role}`);
});

async function look(options: JobRequestInput['options'], user = 'app', password = 'app'): Promise<ValidationOutcome> {
  return await validate({
    source: parseEndpoint({ url: server.url('old', user, password) }, 'source'),
    target: parseEndpoint({ url: server.url('new', user, password) }, 'target'),
    options: JobOptions.parse(options ?? {}),
    pgBinDir: null,
    signal: AbortSignal.timeout(60_000),
    onCheck: () => undefined,
  });
}

const found = ({ checks }: ValidationOutcome, id: string): CheckResult | undefined => checks.find((c) => c.id === id);

const placesByRole = [
  ['rds_superuser', 'Amazon RDS', 'Set rds.logical_replication = 1', 'GRANT rds_replication TO "app"'],
  ['azure_pg_admin', 'Azure Database for PostgreSQL', 'server parameter wal_level to LOGICAL', 'WITH REPLICATION'],
  [
    'cloudsqlsuperuser',
    'Google Cloud SQL',
    'flag cloudsql.logical_decoding to on',
    'ALTER USER "app" WITH REPLICATION',
  ],
  [
    'supabase_admin',
    'Supabase',
    'ALTER SYSTEM SET wal_level = logical',
    'ALTER ROLE "app" REPLICATION; -- as postgres',
  ],
  ['neon_superuser', 'Neon', 'Settings > Logical Replication > Enable', 'belongs to neon_superuser'],
  ['heroku_admin', 'Heroku Postgres', 'use --method copy', 'use --method copy'],
  ['avnadmin', 'Aiven for PostgreSQL', 'ALTER SYSTEM SET wal_level = logical', 'Log in as avnadmin'],
  ['doadmin', 'DigitalOcean Managed Databases', 'ALTER SYSTEM SET wal_level = logical', 'ALTER ROLE "app" REPLICATION'],
] as const;

test.each(placesByRole)('a server with the role %s is told as %s', async (role, name, walLevel, right) => {
  await server.run(`CREATE ROLE ${role}`);
  const outcome = await look({ method: 'live' });
  expect(outcome.places).toEqual({ source: name, target: name });
  expect(found(outcome, 'connect.place')).toMatchObject({ outcome: 'info', side: 'both' });
  expect(found(outcome, 'connect.place')?.found).toContain(`Source: It runs on ${name}`);
  expect(found(outcome, 'live.wal-level')).toMatchObject({ outcome: 'failed' });
  expect(found(outcome, 'live.wal-level')?.remedy).toContain(walLevel);
  expect(found(outcome, 'live.wal-level')?.remedy).toContain('use --method copy');
  expect(found(outcome, 'live.replication-right')?.remedy).toContain(right);
});

test('a server that nobody knows loses nothing', async () => {
  const outcome = await look({ method: 'live' });
  expect(outcome.places).toEqual({ source: null, target: null });
  expect(found(outcome, 'connect.place')?.outcome).toBe('passed');
  expect(found(outcome, 'live.wal-level')?.remedy).toContain('ALTER SYSTEM SET wal_level = logical;');
});

test("a superuser's own server with a role that was carried along is not taken for the place it came from", async () => {
  await server.run('CREATE ROLE rds_superuser');
  expect((await look({}, server.user, server.password)).places).toEqual({ source: null, target: null });
});

test('applications are told with their versions; a migration that failed is warned of, and the report has them all', async () => {
  await server.createDatabase('apps');
  await server.createDatabase('apps_new');
  await server.run(
    `CREATE TABLE schema_migrations (version varchar PRIMARY KEY); INSERT INTO schema_migrations VALUES ('20230101000000'), ('20240101000000');
     CREATE TABLE ar_internal_metadata (key varchar PRIMARY KEY, value varchar);
     CREATE TABLE django_migrations (id bigserial, app varchar, name varchar, applied timestamptz);
     INSERT INTO django_migrations (app, name, applied) VALUES ('auth', '0001_initial', '2024-01-01'), ('shop', '0002_price', '2024-02-01');
     CREATE SCHEMA billing; CREATE TABLE billing._prisma_migrations (id varchar, migration_name varchar, started_at timestamptz, finished_at timestamptz, rolled_back_at timestamptz);
     INSERT INTO billing._prisma_migrations VALUES ('1', '20240101_init', '2024-01-01', '2024-01-01', NULL), ('2', '20240301_broken', '2024-03-01', NULL, NULL);
     CREATE TABLE flyway_schema_history (installed_rank int, version varchar, script varchar, success boolean);
     INSERT INTO flyway_schema_history VALUES (1, '1', 'V1__a.sql', true), (2, NULL, 'R__b.sql', true), (3, '3', 'V3__c.sql', false);
     CREATE TABLE alembic_version (version_num varchar); INSERT INTO alembic_version VALUES ('ae1027a6acf');
     CREATE TABLE "SequelizeMeta" (name varchar); INSERT INTO "SequelizeMeta" VALUES ('001-a.js'), ('002-b.js');
     CREATE TABLE migrations (id serial, migration varchar, batch int); INSERT INTO migrations (migration, batch) VALUES ('2014_users', 1);
     CREATE TABLE knex_migrations (id serial, name varchar, batch int, migration_time timestamptz)`,
    'apps',
  );
  const outcome = await runCli(['clone', '--json', '--exclude-table', 'knex_migrations'], {
    env: { PGSLUICE_SOURCE_URL: server.url('apps'), PGSLUICE_TARGET_URL: server.url('apps_new') },
  });
  expect(outcome.result, outcome.stderr).toMatchObject({ status: 'completed', verified: true });
  const checks = outcome.events.flatMap((event) => (event.type === 'check' ? [event.check] : []));
  const application = checks.find(({ id }) => id === 'objects.application');
  expect(application?.outcome).toBe('warned');
  expect(application?.found).toContain(
    '2 migrations failed or did not end: 20240301_broken (Prisma), V3__c.sql (Flyway)',
  );
  const told = (outcome.stdout.match(/Application: [^"]*/g) ?? []).map((line) => line.replace(/ \(.*/s, '')).toSorted();
  expect(told).toEqual([
    'Application: Alembic at ae1027a6acf',
    'Application: Django at shop.0002_price',
    'Application: Flyway at 1',
    'Application: Laravel at 2014_users',
    'Application: Prisma at 20240101_init',
    'Application: Rails at 20240101000000',
    'Application: Sequelize at 002-b.js',
  ]);
  expect(outcome.stdout).not.toContain('the target does not say the same');
});
