import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CheckResult } from '../src/contract/check.ts';
import type { JobOptions } from '../src/contract/options.ts';
import { type ArchiveRun, exportHere, importHere } from './support/archive-run.ts';
import { runCli } from './support/cli.ts';
import { contentsOf } from './support/contents.ts';
import { pgDumpFor, startServer, type TestServer } from './support/servers.ts';
import { databaseFactsOf } from './support/database-facts.ts';

// What an import makes beside rows and definitions: the database itself, and extensions. Each from an archive of ours, and from one
// that pg_dump has written alone.

const exec = promisify(execFile);
const name = 'the "shop"';
const quoted = '"the ""shop"""';

let server: TestServer;
let pgBin: string;
let dir: string;
let archives: { ours: string; plain: string };
let contrib = true;

beforeAll(async () => {
  server = await startServer({ name: 'import-target' });
  pgBin = join(await pgDumpFor(server.major, server.binDir), '..');
  dir = await mkdtemp(join(tmpdir(), 'pgsluice-test-import-target-'));
  await server.run(`CREATE ROLE shop_owner; CREATE ROLE guest; CREATE ROLE maker LOGIN CREATEDB PASSWORD 'm' IN ROLE shop_owner;
    CREATE ROLE poor LOGIN PASSWORD 'p' IN ROLE shop_owner`);
  await server.createDatabase(
    name,
    `TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'de' LC_COLLATE 'C' LC_CTYPE 'C' OWNER shop_owner CONNECTION LIMIT 9`,
  );
  await server.run(
    `CREATE TABLE t (id int PRIMARY KEY, a text UNIQUE); ALTER TABLE t OWNER TO shop_owner;
     INSERT INTO t SELECT i, 'x' || i FROM generate_series(1, 2000) i;
     ALTER DATABASE ${quoted} SET search_path = 'My app', public;
     ALTER DATABASE ${quoted} SET work_mem = '7MB';
     REVOKE ALL ON DATABASE ${quoted} FROM PUBLIC; GRANT CONNECT ON DATABASE ${quoted} TO guest WITH GRANT OPTION;
     COMMENT ON DATABASE ${quoted} IS 'the shop''s; "all" of it'`,
    name,
  );
  archives = { ours: join(dir, 'ours'), plain: join(dir, 'plain.dump') };
  await save(name, archives);
});
afterAll(async () => {
  await server?.stop();
  await rm(dir, { recursive: true, force: true });
});

async function save(database: string, to: { ours: string; plain: string }): Promise<void> {
  const { end } = await exportHere({ url: server.url(database), archive: to.ours, pgBin });
  expect(end).toMatchObject({ status: 'completed', error: null });
  await exec(join(pgBin, 'pg_dump'), ['--format=custom', `--file=${to.plain}`, `--dbname=${server.url(database)}`]);
}

const factsOf = (database: string): Promise<Record<string, unknown>> => databaseFactsOf(server.url(database));

let made = 0;
const freshName = (): string => `made_${(made += 1)}`;

function load(url: string, archive: string, options: Partial<JobOptions>): Promise<ArchiveRun> {
  return importHere({ url, archive, pgBin, options });
}

const ending = ({ end }: ArchiveRun): Record<string, unknown> => ({
  status: end.status,
  code: end.error?.code ?? null,
  differences: end.verification?.differences ?? null,
});
const whole = { status: 'completed', code: null, differences: [] };
const checkOf = ({ events }: ArchiveRun, id: string): CheckResult | undefined =>
  events.flatMap((event) => (event.type === 'check' ? [event.check] : [])).findLast((one) => one.id === id);

test('the database is made as the archive says, by a role with CREATEDB, and what it will be is said before', async () => {
  const wanted = await factsOf(name);
  expect(wanted).toMatchObject({ localeProvider: 'icu', connectionLimit: 9, comment: `the shop's; "all" of it` });
  for (const archive of [archives.ours, archives.plain]) {
    const database = freshName();
    const missing = await load(server.url(database, 'maker', 'm'), archive, {});
    expect(ending(missing)).toMatchObject({ status: 'blocked', code: 'UNKNOWN_DATABASE' });
    const denied = await load(server.url(database, 'poor', 'p'), archive, { createDatabase: true });
    expect(ending(denied)).toMatchObject({ status: 'blocked', code: 'CREATEDB_DENIED' });
    expect(await server.query('SELECT FROM pg_database WHERE datname = $1', 'postgres', [database])).toEqual([]);

    const outcome = await load(server.url(database, 'maker', 'm'), archive, { createDatabase: true });
    expect(ending(outcome)).toEqual(whole);
    expect(checkOf(outcome, 'archive.target-database')?.found).toContain(
      'encoding UTF8 and icu locale de beside C, owned by "maker", then given to "shop_owner"',
    );
    expect(checkOf(outcome, 'archive.target-empty')?.outcome).toBe('passed');
    expect(await factsOf(database)).toEqual(wanted);
    expect(await contentsOf(server, database)).toEqual(await contentsOf(server, name));
  }
});

test('where the archive knows no more than its encoding, the locale is the target’s own, and that is said', async () => {
  const archive = join(dir, 'bare');
  await exec(join(pgBin, 'pg_dump'), ['--format=directory', `--file=${archive}`, `--dbname=${server.url(name)}`]);
  const toc = join(archive, 'toc.dat');
  // What another program has written need not hold this entry.
  const bytes = (await readFile(toc)).toString('latin1');
  await writeFile(toc, Buffer.from(bytes.replace('CREATE DATABASE', 'CREATX DATABASE'), 'latin1'));
  const database = freshName();
  const outcome = await load(server.url(database), archive, { createDatabase: true });
  expect(ending(outcome)).toEqual(whole);
  expect(checkOf(outcome, 'archive.target-database')).toMatchObject({
    outcome: 'warned',
    found: expect.stringContaining('says nothing of its database but the encoding'),
  });
  const [template] = await server.query(`SELECT datcollate AS collate FROM pg_database WHERE datname = 'template0'`);
  expect(await factsOf(database)).toMatchObject({
    encoding: 'UTF8',
    localeProvider: 'libc',
    ...template,
    settings: [],
  });
});

test('by the command line as well; an agent that was killed goes on with the database that it has made', async () => {
  const database = freshName();
  const state = await mkdtemp(join(tmpdir(), 'pgsluice-test-state-'));
  try {
    const killed = await runCli(['import', archives.ours, '--json', '--create-database'], {
      env: { PGSLUICE_TARGET_URL: server.url(database, 'maker', 'm') },
      state,
      pgBin,
      onEvent: (event, kill) => {
        if (event.type === 'log' && event.message.includes('Made the database')) kill('SIGKILL');
      },
    });
    expect(killed.code).not.toBe(0);
    const resumed = await runCli(['resume', '--json'], { state, pgBin });
    expect(resumed).toMatchObject({ code: 0, result: { verified: true, differences: [] } });
    expect(await factsOf(database)).toEqual(await factsOf(name));
  } finally {
    await rm(state, { recursive: true, force: true });
  }
});

test('a target whose declared disk is too small is refused', async () => {
  await server.createDatabase('tight');
  for (const archive of [archives.ours, archives.plain]) {
    const outcome = await load(server.url('tight'), archive, { targetDisk: 1000 });
    expect(ending(outcome)).toMatchObject({ status: 'blocked', code: 'TARGET_DISK_TOO_SMALL' });
    expect(checkOf(outcome, 'archive.target-disk')?.found).toContain('was declared as free');
  }
  expect(await contentsOf(server, 'tight')).toEqual(new Map());
});

async function extensionArchives(): Promise<{ ours: string; plain: string }> {
  const to = { ours: join(dir, 'ext'), plain: join(dir, 'ext.dump') };
  if (existsSync(to.ours)) return to;
  await server.createDatabase('ext');
  await server.run(
    `CREATE EXTENSION hstore VERSION '1.7'; CREATE EXTENSION pg_trgm; CREATE EXTENSION citext;
     CREATE TABLE words (id int PRIMARY KEY, w text); CREATE INDEX words_trgm ON words USING gin (w gin_trgm_ops);
     CREATE VIEW near AS SELECT id FROM words WHERE w % 'abc';
     CREATE FUNCTION likeness(a text) RETURNS real LANGUAGE sql BEGIN ATOMIC SELECT similarity(a, 'abc'); END;
     CREATE TABLE mails (a citext PRIMARY KEY);
     INSERT INTO words VALUES (1, 'abc'), (2, 'xyz'); INSERT INTO mails VALUES ('A@b.c')`,
    'ext',
  );
  await save('ext', to);
  return to;
}

test('extensions arrive in the version of the manifest, or the newest as asked for; without one that is said', async (context) => {
  contrib =
    (await server.query(`SELECT FROM pg_available_extension_versions WHERE name = 'hstore' AND version = '1.7'`))
      .length > 0;
  if (!contrib) return context.skip('this server has no hstore 1.7');
  const to = await extensionArchives();
  const versionOf = async (database: string): Promise<unknown> =>
    (await server.query(`SELECT extversion AS v FROM pg_extension WHERE extname = 'hstore'`, database))[0]?.['v'];
  const [offered] = await server.query(
    `SELECT default_version AS v FROM pg_available_extensions WHERE name = 'hstore'`,
  );
  const cases = [
    [to.ours, 'source', '1.7'],
    [to.ours, 'newest', offered?.['v']],
    [to.plain, 'source', offered?.['v']],
  ] as const;
  for (const [archive, extensionVersion, expected] of cases) {
    const database = freshName();
    await server.createDatabase(database);
    const outcome = await load(server.url(database), archive, { extensionVersion });
    expect(ending(outcome)).toEqual(whole);
    expect(await versionOf(database)).toBe(expected);
    const unknown = checkOf(outcome, 'archive.extensions')?.found.includes('does not say in which version');
    expect(unknown).toBe(archive === to.plain);
  }
});

test('an extension is left out with what stands on it, which is named before; tables that would lose a column block', async (context) => {
  if (!contrib) return context.skip('this server has no contrib extensions');
  const to = await extensionArchives();
  for (const archive of [to.ours, to.plain]) {
    const database = freshName();
    await server.createDatabase(database);
    const refused = await load(server.url(database), archive, { excludeExtension: ['citext'] });
    expect(ending(refused)).toMatchObject({ status: 'blocked', code: 'EXTENSION_HOLDS_ROWS' });
    expect(refused.end.error?.message).toContain('"public"."mails"');

    const outcome = await load(server.url(database), archive, { excludeExtension: ['pg_trgm'] });
    expect(ending(outcome)).toEqual(whole);
    const said = checkOf(outcome, 'archive.excluded-extensions')?.found ?? '';
    for (const one of ['index public.words_trgm', 'view public.near', 'function public.likeness(text)'])
      expect(said).toContain(one);
    const there = await server.query(
      `SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1`,
      database,
    );
    expect(there.map((row) => row['name'])).toEqual(['mails', 'mails_pkey', 'words', 'words_pkey']);
    expect(await server.query(`SELECT FROM pg_extension WHERE extname = 'pg_trgm'`, database)).toEqual([]);
    expect(await contentsOf(server, database)).toEqual(await contentsOf(server, 'ext'));
  }
});
