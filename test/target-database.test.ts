import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pino from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { CheckResult } from '../src/contract/check.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { missingLocales } from '../src/postgres/database-facts.ts';
import { openSession } from '../src/postgres/session.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { runCli, type CliOutcome } from './support/cli.ts';
import { findMajor, pgDumpFor, startServer, type TestServer } from './support/servers.ts';
import { WatchedJob } from './support/watched-job.ts';
import { databaseFactsOf } from './support/database-facts.ts';

let source: TestServer;
let target: TestServer;

beforeAll(async () => {
  [source, target] = await Promise.all([
    startServer({ name: 'made-source', settings: { wal_level: 'logical' } }),
    startServer({ name: 'made-target' }),
  ]);
  await source.run(
    `CREATE ROLE shop_owner; CREATE ROLE guest; CREATE ROLE mover LOGIN REPLICATION PASSWORD 'm' IN ROLE shop_owner`,
  );
  await target.run(`CREATE ROLE shop_owner; CREATE ROLE guest; CREATE ROLE maker LOGIN CREATEDB PASSWORD 'm' IN ROLE shop_owner;
    CREATE ROLE poor LOGIN PASSWORD 'p' IN ROLE shop_owner`);
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

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** A database whose encoding, locale, settings, rights and owner are none of the defaults. */
async function loadSource(name: string): Promise<void> {
  await source.createDatabase(
    name,
    `TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'de' LC_COLLATE 'C' LC_CTYPE 'C' OWNER shop_owner CONNECTION LIMIT 9`,
  );
  const database = `DATABASE ${quoted(name)}`;
  await source.run(
    `CREATE TABLE t (id int PRIMARY KEY, a text UNIQUE); ALTER TABLE t OWNER TO shop_owner;
     INSERT INTO t SELECT i, 'x' || i FROM generate_series(1, 2000) i;
     ALTER ${database} SET search_path = 'My app', public;
     ALTER ${database} SET work_mem = '7MB';
     ALTER ${database} SET app.mode = 'it''s';
     REVOKE ALL ON ${database} FROM PUBLIC; GRANT CONNECT ON ${database} TO guest WITH GRANT OPTION;
     COMMENT ON ${database} IS 'the shop; "all" of it'`,
    name,
  );
}

const factsOf = (server: TestServer, name: string): Promise<unknown> => databaseFactsOf(server.url(name));

it('makes the database as the source is, by a role with CREATEDB, and says before what it will make', async () => {
  const name = 'the "shop"';
  await loadSource(name);
  const env = { PGSLUICE_SOURCE_URL: source.url(name), PGSLUICE_TARGET_URL: target.url(name, 'maker', 'm') };

  const missing = await runCli(['validate', '--json'], { env });
  expect(missing).toMatchObject({ code: 3, result: { error: { code: 'UNKNOWN_DATABASE' } } });
  const denied = await runCli(['validate', '--json', '--create-database'], {
    env: { ...env, PGSLUICE_TARGET_URL: target.url(name, 'poor', 'p') },
  });
  expect(denied).toMatchObject({ code: 3, result: { error: { code: 'CREATEDB_DENIED' } } });
  expect(await target.query('SELECT FROM pg_database WHERE datname = $1', 'postgres', [name])).toEqual([]);

  const outcome = await runCli(['clone', '--json', '--create-database'], { env });
  expect(ending(outcome)).toEqual(verified);
  const said = checkOf(outcome, 'server.target-database');
  expect(said?.found).toContain(
    'encoding UTF8 and icu locale de beside C, owned by "maker", then given to "shop_owner"',
  );
  expect(checkOf(outcome, 'capacity.target-empty')?.outcome).toBe('passed');
  // A parameter that no server knows takes a superuser.
  const settings = ['search_path="My app", public', 'work_mem=7MB'];
  const wanted = await factsOf(source, name);
  expect(wanted).toMatchObject({ localeProvider: 'icu', connectionLimit: 9, comment: 'the shop; "all" of it' });
  expect(await factsOf(target, name)).toEqual({ ...(wanted as object), settings });
  expect(outcome.stdout).toContain('Made the database');
  expect(outcome.stdout).toContain(String.raw`SET \"app\".\"mode\" TO 'it''s'`);

  // One that is there is left as it is.
  await target.run(`COMMENT ON DATABASE ${quoted(name)} IS 'mine'`);
  const again = await runCli(['clone', '--json', '--create-database', '--replace'], {
    env: { ...env, PGSLUICE_TARGET_URL: target.url(name) },
  });
  expect(ending(again)).toEqual(verified);
  expect(await factsOf(target, name)).toEqual({ ...(wanted as object), settings, comment: 'mine' });
});

it('goes on with a database that a killed agent has made', async () => {
  const name = 'killed';
  await loadSource(name);
  const env = { PGSLUICE_SOURCE_URL: source.url(name), PGSLUICE_TARGET_URL: target.url(name) };
  const state = await mkdtemp(join(tmpdir(), 'pgsluice-test-state-'));
  try {
    const killed = await runCli(['clone', '--json', '--create-database'], {
      env,
      state,
      onEvent: (event, kill) => {
        if (event.type === 'log' && event.message.includes('Made the database')) kill('SIGKILL');
      },
    });
    expect(killed.code).not.toBe(0);
    const [made] = await target.query(
      `SELECT shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = 'killed'`,
    );
    expect(made?.['comment']).toContain('Made by pgsluice');
    const resumed = await runCli(['resume', '--json'], { env, state });
    expect(ending(resumed)).toEqual(verified);
    expect(await factsOf(target, name)).toEqual(await factsOf(source, name));
  } finally {
    await rm(state, { recursive: true, force: true });
  }
});

it('makes it for a live job of ordinary roles, who follows into it', async () => {
  const name = 'live "shop"';
  await loadSource(name);
  await source.run(`GRANT ALL ON SCHEMA public TO shop_owner`, name);
  const state = await mkdtemp(join(tmpdir(), 'pgsluice-test-state-'));
  const logger = pino({ level: 'silent' });
  const manager = await JobManager.open({
    state,
    secretKey: null,
    concurrency: 1,
    pgBinDir: null,
    logger,
    role: 'daemon',
  });
  try {
    const written: Promise<void>[] = [];
    const job = await WatchedJob.start(
      manager,
      {
        source: { url: source.url(name, 'mover', 'm') },
        target: { url: target.url(name, 'maker', 'm') },
        options: { method: 'live', createDatabase: true, tableJobs: 1, indexJobs: 1 },
      },
      (event) => {
        if (event.type === 'state' && event.state === 'following')
          written.push(source.run(`INSERT INTO t VALUES (5000, 'while following')`, name));
      },
    );
    const { view, acts } = await job.bringToEnd();
    await Promise.all(written);
    expect(view, `${JSON.stringify(view.error)}\n${job.log()}`).toMatchObject({ state: 'completed', verified: true });
    expect(acts).toEqual(['cutover']);
    await job.settled();
    expect(await target.query(`SELECT count(*)::int AS n FROM t`, name)).toEqual([{ n: 2001 }]);
    const wanted = await factsOf(source, name);
    // A parameter that no server knows takes a superuser; a limit could shut the job itself out, and is a person's.
    const settings = ['search_path="My app", public', 'work_mem=7MB'];
    expect(await factsOf(target, name)).toEqual({ ...(wanted as object), settings, connectionLimit: -1 });
  } finally {
    await manager.stop('end of the test');
    await rm(state, { recursive: true, force: true });
  }
});

it('asks the operating system of a server for its locales without making anything', async () => {
  const session = await openSession(parseEndpoint({ url: target.url() }, 'target'), {
    signal: new AbortController().signal,
    side: 'target',
    purpose: 'test',
    readOnly: true,
  });
  try {
    const before = await session.query(`SELECT current_setting('lc_time') AS value`);
    expect(await missingLocales(session, ['C', 'xx_XX.utf8', 'POSIX'])).toEqual(['xx_XX.utf8']);
    expect(await session.query(`SELECT current_setting('lc_time') AS value`)).toEqual(before);
  } finally {
    await session.close();
  }
});

it('makes it on a newer major', async (context) => {
  const search = await findMajor(17);
  if (search.binDir === null) context.skip(search.reason);
  const newer = await startServer({ name: 'made-17', binDir: search.binDir ?? '' });
  try {
    await newer.run('CREATE ROLE shop_owner; CREATE ROLE guest');
    await loadSource('up');
    const pgBin = dirname(await pgDumpFor(17, search.binDir));
    const env = { PGSLUICE_SOURCE_URL: source.url('up'), PGSLUICE_TARGET_URL: newer.url('up') };
    expect(ending(await runCli(['clone', '--json', '--create-database'], { env, pgBin }))).toEqual(verified);
    expect(await factsOf(newer, 'up')).toEqual(await factsOf(source, 'up'));
  } finally {
    await newer.stop();
  }
});
