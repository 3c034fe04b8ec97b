import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Report } from '../src/contract/report.ts';
import { root } from './support/binaries.ts';
import { runCli } from './support/cli.ts';
import { contentsOf } from './support/contents.ts';
import { type TestServer, startServer } from './support/servers.ts';
import { makeCertificates } from './support/tls.ts';

// Gigalixir: a free tier with two connections that are ended when they idle, TLS by a certificate that nobody knows, a URL that
// begins with ecto://, citext and nothing else; and a standard tier on Cloud SQL, where nobody is a superuser and 25 connections
// are all there are. test/tight-source.test.ts holds two connections against idle_in_transaction_session_timeout for longer.

const exec = promisify(execFile);

let source: TestServer;
let target: TestServer;
let folder: string;
/** Of all command lines here: making one takes seconds. */
let state: string;

const secret = 'pw-1/2:3@4';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pgsluice-gigalixir-'));
  state = join(folder, 'state');
  const { selfSigned, cert, key } = await makeCertificates(join(folder, 'tls'));
  [source, target] = await Promise.all([
    startServer({ name: 'gigalixir-free', ssl: selfSigned, hba: ['hostnossl all "app-user" all reject'] }),
    startServer({ name: 'gigalixir-standard', ssl: { cert, key }, settings: { max_connections: '25' } }),
  ]);
  await source.run(
    `CREATE ROLE "app-user" LOGIN PASSWORD '${secret}' CONNECTION LIMIT 2;
     ALTER ROLE "app-user" SET idle_session_timeout = '2s'; ALTER ROLE "app-user" SET idle_in_transaction_session_timeout = '2s'`,
  );
  await target.run(
    `CREATE ROLE cloudsqlsuperuser NOLOGIN CREATEDB CREATEROLE; CREATE ROLE owner LOGIN PASSWORD '${secret}' CREATEDB IN ROLE cloudsqlsuperuser`,
  );
});
afterAll(async () => {
  await Promise.all([source?.stop(), target?.stop()]);
  await rm(folder, { recursive: true, force: true });
});

/** A Phoenix application of a free tier; its rows are slow to take in, so that the limits of idleness are met. */
async function freeDatabase(name: string): Promise<string> {
  await source.createDatabase(name, 'OWNER "app-user"');
  await source.run(
    `SET ROLE "app-user"; CREATE EXTENSION citext;
     CREATE TABLE schema_migrations (version bigint PRIMARY KEY, inserted_at timestamp(0));
     INSERT INTO schema_migrations VALUES (20250101000000, '2025-01-01'), (20260202000000, '2026-02-02');
     CREATE FUNCTION slow(i bigint) RETURNS boolean LANGUAGE plpgsql AS $$
       BEGIN IF current_setting('test.slow', true) = 'yes' THEN PERFORM pg_sleep(0.01); END IF; RETURN true; END $$;
     CREATE TABLE users (id bigserial PRIMARY KEY, email citext NOT NULL UNIQUE, CHECK (slow(id)));
     CREATE TABLE posts (id bigserial PRIMARY KEY, author bigint REFERENCES users, body text);
     INSERT INTO users (email) SELECT 'User' || i || '@example.com' FROM generate_series(1, 400) i;
     INSERT INTO posts (author, body) SELECT i % 400 + 1, repeat('text ', i % 20) FROM generate_series(1, 5000) i`,
    name,
  );
  return source.url(name, 'app-user', secret).replace('postgres://', 'ecto://') + '?sslmode=require';
}

async function standardDatabase(name: string): Promise<string> {
  await target.createDatabase(name, 'OWNER owner');
  await target.run(`ALTER DATABASE ${name} SET test.slow = 'yes'`);
  return `${target.url(name, 'owner', secret)}?sslmode=require`;
}

/** Of the newest job. */
async function readReport(): Promise<Report> {
  const env = { PATH: process.env['PATH'] ?? '', HOME: folder, PGSLUICE_STATE: state };
  const { stdout } = await exec(process.execPath, [join(root, 'bin/pgsluice.js'), 'report'], { env });
  return JSON.parse(stdout) as Report;
}

test('the free tier is copied with its two connections, and the application migrates afterwards', async () => {
  const sourceUrl = await freeDatabase('free');
  const targetUrl = await standardDatabase('free');
  const migrate = `const pg = require(process.argv[1]); (async () => {
    const client = new pg.Client({ connectionString: process.env.PGSLUICE_TARGET_URL.replace('sslmode=require', 'sslmode=no-verify') });
    await client.connect(); await client.query("INSERT INTO schema_migrations VALUES (20261121000000, now())"); await client.end();
    console.log('migrated'); })()`;
  const hook = [
    '--hook-command',
    `completed=${JSON.stringify([process.execPath, '-e', migrate, join(root, 'node_modules/pg')])}`,
  ];
  const outcome = await runCli(['clone', '--json', '--no-owner', '--no-acl', ...hook], {
    state,
    env: { PGSLUICE_SOURCE_URL: sourceUrl, PGSLUICE_TARGET_URL: targetUrl },
  });
  expect(outcome.result, outcome.stderr).toMatchObject({ status: 'completed', verified: true, error: null });
  // Longer than either limit of idleness.
  expect(outcome.seconds).toBeGreaterThan(4);
  const [migrated, copied] = [await contentsOf(target, 'free'), await contentsOf(source, 'free')];
  for (const contents of [migrated, copied]) contents.delete('"public"."schema_migrations"');
  expect(migrated).toEqual(copied);
  const [found] = await target.query(`SELECT count(*)::int AS n FROM users WHERE email = 'uSER7@EXAMPLE.com'`, 'free');
  expect(found).toEqual({ n: 1 });
  expect(await target.query('SELECT max(version) AS v FROM schema_migrations', 'free')).toEqual([
    { v: '20261121000000' },
  ]);
  const checks = outcome.events.flatMap((event) => (event.type === 'check' ? [event.check] : []));
  expect(checks.find(({ id }) => id === 'connect.place')?.found).toContain('Target: It runs on Google Cloud SQL');
  // The log says what the limit costs.
  expect(checks.find(({ id }) => id === 'connect.headroom')?.found).toContain(
    'the role app-user has CONNECTION LIMIT 2',
  );
  const report = await readReport();
  expect(report.places).toEqual({ source: null, target: 'Google Cloud SQL' });
  expect(report.applications).toMatchObject([
    { framework: 'Phoenix/Ecto', version: '20260202000000', sameOnTarget: true },
  ]);
  expect(report.todo).toEqual([]);
});

test('the standard tier: export, destroy the free database, create the standard one, import, compare with the manifest', async () => {
  const sourceUrl = await freeDatabase('upgrade');
  const before = await contentsOf(source, 'upgrade');
  const archive = join(folder, 'upgrade');
  const exported = await runCli(['export', archive, '--json'], { state, env: { PGSLUICE_SOURCE_URL: sourceUrl } });
  expect(exported.result, exported.stderr).toMatchObject({ status: 'completed', verified: true });
  expect(await readdir(archive)).toContain('toc.dat');
  await source.run('DROP DATABASE upgrade');
  await source.halt('fast');
  try {
    const targetUrl = await standardDatabase('upgrade');
    const imported = await runCli(['import', archive, '--json', '--no-owner', '--no-acl'], {
      state,
      env: { PGSLUICE_TARGET_URL: targetUrl },
    });
    expect(imported.result, imported.stderr).toMatchObject({ status: 'completed', verified: true, error: null });
    expect([...(await contentsOf(target, 'upgrade'))]).toEqual([...before]);
    const report = await readReport();
    expect(report.places?.target).toBe('Google Cloud SQL');
    expect(report.applications).toMatchObject([{ framework: 'Phoenix/Ecto', version: '20260202000000' }]);
    const keys = await target.query(
      `SELECT conname FROM pg_constraint WHERE contype = 'f' AND convalidated`,
      'upgrade',
    );
    expect(keys).toEqual([{ conname: 'posts_author_fkey' }]);
  } finally {
    await source.start();
  }
});
