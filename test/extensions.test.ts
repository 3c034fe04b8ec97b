import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { validate } from '../src/checks/validate.ts';
import type { CheckResult } from '../src/contract/check.ts';
import { JobOptions } from '../src/contract/options.ts';
import type { Verification } from '../src/contract/report.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { findPgTools } from '../src/postgres/tools.ts';
import { verifyDatabases } from '../src/verify/verify.ts';
import { type Engine, openEngine } from './support/engine.ts';
import { type ExtensionFiles, installExtensionFiles, whyNoFiles } from './support/extension-files.ts';
import { findMajor, pgDumpFor, startServer, type TestServer } from './support/servers.ts';

const searches = await Promise.all([findMajor(15), findMajor(17)]);
const lacking = searches.find(({ binDir }) => binDir === null);
const workDir = join(tmpdir(), `pgsluice-extensions-${process.pid}`);

let source: TestServer;
let target: TestServer;
let tools: string;
let databases = 0;
const engines: Engine[] = [];
const files: ExtensionFiles[] = [];

interface Pair {
  readonly sourceUrl: string;
  readonly targetUrl: string;
  readonly name: string;
}

/** The same empty database on both sides; `role` owns the target's and is no superuser. */
async function pair(role?: string): Promise<Pair> {
  databases += 1;
  const name = `ext_${databases}`;
  const sourceUrl = await source.createDatabase(name);
  if (role !== undefined) await target.run(`CREATE ROLE ${role} LOGIN PASSWORD 'secret'`);
  await target.createDatabase(name, role === undefined ? '' : `OWNER ${role}`);
  return { name, sourceUrl, targetUrl: role === undefined ? target.url(name) : target.url(name, role, 'secret') };
}

async function checks(of: Pair, options: Partial<JobOptions> = {}): Promise<Map<string, CheckResult>> {
  const outcome = await validate({
    source: parseEndpoint({ url: of.sourceUrl }, 'source'),
    target: parseEndpoint({ url: of.targetUrl }, 'target'),
    options: JobOptions.parse(options),
    pgBinDir: tools,
    signal: new AbortController().signal,
    onCheck: () => undefined,
    only: ['objects.extensions', 'objects.excluded-extensions', 'live.excluded-extensions'],
  });
  return new Map(outcome.checks.map((check) => [check.id, check]));
}

async function clone(of: Pair, options: Partial<JobOptions> = {}): Promise<Engine> {
  const engine = await openEngine({ sourceUrl: of.sourceUrl, targetUrl: of.targetUrl, options });
  engines.push(engine);
  const outcome = await engine.run.run();
  expect(outcome.error).toBeNull();
  return engine;
}

async function compare(of: Pair, engine: Engine | null, options: Partial<JobOptions> = {}): Promise<Verification> {
  return verifyDatabases({
    source: parseEndpoint({ url: of.sourceUrl }, 'source'),
    target: parseEndpoint({ url: of.targetUrl }, 'target'),
    snapshot: engine?.run.snapshot ?? null,
    connections: { source: 3, target: 3 },
    options: JobOptions.parse(options),
    mode: 'full',
    tools: await findPgTools({ binDir: tools, minMajor: 17 }),
    sourceArchive: engine?.run.sourceArchive ?? null,
    workDir,
    signal: new AbortController().signal,
    emit: () => undefined,
  });
}

async function versionOf(server: TestServer, database: string, extension: string): Promise<unknown> {
  const [row] = await server.query(`SELECT extversion FROM pg_extension WHERE extname = $1`, database, [extension]);
  return row?.['extversion'];
}

describe.skipIf(lacking !== undefined)(
  `extensions, PostgreSQL 15 to 17${lacking ? ` (skipped: ${lacking.reason})` : ''}`,
  () => {
    beforeAll(async () => {
      const start = (name: string, binDir: string | null | undefined): Promise<TestServer> =>
        startServer({ name, ...(typeof binDir === 'string' ? { binDir } : {}) });
      [source, target] = await Promise.all([
        start('extension-source', searches[0]?.binDir),
        start('extension-target', searches[1]?.binDir),
      ]);
      tools = dirname(await pgDumpFor(17, target.binDir));
    });
    afterEach(async () => {
      for (const engine of engines.splice(0)) await engine.close();
      for (const file of files.splice(0)) await file.remove();
    });
    afterAll(async () => {
      await Promise.all([source?.stop(), target?.stop(), rm(workDir, { recursive: true, force: true })]);
    });

    test('arrive in the version the source has, and in the newest where that is asked for', async () => {
      for (const [mode, version] of [
        ['source', '1.4'],
        ['newest', '1.6'],
      ] as const) {
        const of = await pair();
        await source.run(
          `CREATE SCHEMA kept; CREATE EXTENSION citext WITH SCHEMA kept VERSION '1.4';
         CREATE TABLE people (id int PRIMARY KEY, mail kept.citext UNIQUE); INSERT INTO people VALUES (1, 'A@b.c')`,
          of.name,
        );
        const options = { extensionVersion: mode };
        expect((await checks(of, options)).get('objects.extensions')?.outcome).toBe('passed');
        const engine = await clone(of, options);
        expect(await versionOf(target, of.name, 'citext')).toBe(version);
        expect(await target.query(`SELECT 1 FROM people WHERE mail OPERATOR(kept.=) 'a@B.C'`, of.name)).toHaveLength(1);
        const verification = await compare(of, engine, options);
        expect(verification.differences).toEqual([]);
        expect(verification.verified).toBe(true);
      }
    });

    test('are installed by a role that is no superuser, and their comment stays their own', async () => {
      const of = await pair('plain_owner');
      await source.run(
        `CREATE EXTENSION hstore; COMMENT ON EXTENSION hstore IS 'ours'; CREATE TABLE t (h hstore); INSERT INTO t VALUES ('a=>1')`,
        of.name,
      );
      expect((await checks(of, { noOwner: true })).get('objects.extensions')?.outcome).toBe('passed');
      const engine = await clone(of, { noOwner: true });
      expect(await target.query(`SELECT h -> 'a' AS a FROM t`, of.name)).toEqual([{ a: '1' }]);
      expect(
        await target.query(`SELECT obj_description(oid) AS c FROM pg_extension WHERE extname = 'hstore'`, of.name),
      ).toEqual([{ c: 'ours' }]);
      expect((await compare(of, engine, { noOwner: true })).differences).toEqual([]);

      await source.run('CREATE EXTENSION pg_stat_statements', of.name);
      expect((await checks(of, { noOwner: true })).get('objects.extensions')).toMatchObject({
        outcome: 'failed',
        code: 'EXTENSION_NOT_ALLOWED',
      });
    });

    test('that an administrator has put there stay as they are', async () => {
      const of = await pair('plain_guest');
      await source.run(
        `CREATE EXTENSION citext VERSION '1.4'; COMMENT ON EXTENSION citext IS 'ours'; CREATE TABLE t (c citext)`,
        of.name,
      );
      await target.run('CREATE EXTENSION citext', of.name);
      const options: Partial<JobOptions> = { noOwner: true, extensionVersion: 'newest' };
      const check = (await checks(of, options)).get('objects.extensions');
      expect(check).toMatchObject({ outcome: 'info' });
      expect(check?.found).toContain('1.4 on the source and arrives as 1.6: the target had it before in that version');
      const engine = await clone(of, options);
      expect(engine.logText()).toContain("An extension's comment belongs to the extension's owner");
      expect(await versionOf(target, of.name, 'citext')).toBe('1.6');
    });

    test("an allowlist of the target's place is read", async () => {
      const of = await pair();
      await source.run('CREATE EXTENSION citext', of.name);
      await target.run(`ALTER DATABASE ${of.name} SET azure.extensions = 'HSTORE, pg_trgm'`);
      expect((await checks(of)).get('objects.extensions')).toMatchObject({
        outcome: 'failed',
        code: 'EXTENSION_NOT_ALLOWED',
      });
      await target.run(`ALTER DATABASE ${of.name} SET azure.extensions = 'CITEXT'`);
      expect((await checks(of)).get('objects.extensions')?.outcome).toBe('passed');
    });

    test('one that stands elsewhere on the target, where objects would not find it, stops the job', async () => {
      const of = await pair();
      await source.run('CREATE EXTENSION citext; CREATE TABLE people (mail citext)', of.name);
      await target.run('CREATE SCHEMA extensions; CREATE EXTENSION citext SCHEMA extensions', of.name);
      const check = (await checks(of)).get('objects.extensions');
      expect(check).toMatchObject({ outcome: 'failed', code: 'EXTENSION_ELSEWHERE' });
      await target.run(check?.remedy ?? '', of.name);
      expect((await checks(of)).get('objects.extensions')?.outcome).toBe('passed');
    });

    test('what depends on one that is left out is named, left out and not missed', async () => {
      const of = await pair();
      await source.run(
        `CREATE EXTENSION citext; CREATE EXTENSION pg_trgm; CREATE EXTENSION "uuid-ossp";
       CREATE DOMAIN mail AS citext CHECK (VALUE ~ '@');
       CREATE TABLE people (id int PRIMARY KEY, "E, mail" citext NOT NULL UNIQUE, name text DEFAULT 'a, (b)', work mail,
         key uuid DEFAULT public.uuid_generate_v4() NOT NULL, CONSTRAINT long CHECK (length("E, mail") > 2), CHECK (id > 0));
       COMMENT ON COLUMN people."E, mail" IS 'gone'; COMMENT ON COLUMN people.name IS 'stays';
       GRANT SELECT ("E, mail") ON people TO PUBLIC;
       CREATE INDEX by_name ON people (name); CREATE INDEX by_trigram ON people USING gin (name gin_trgm_ops);
       CREATE VIEW mails AS SELECT id, "E, mail" FROM people; CREATE VIEW over_mails AS SELECT id FROM mails;
       CREATE VIEW names AS SELECT id, name FROM people;
       CREATE FUNCTION same(citext) RETURNS boolean LANGUAGE sql RETURN true;
       CREATE FUNCTION double(int) RETURNS int LANGUAGE sql RETURN $1 * 2;
       CREATE MATERIALIZED VIEW counted AS SELECT count("E, mail") AS n FROM people;
       CREATE TABLE parted (id int, mail citext, day int) PARTITION BY RANGE (day);
       CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
       INSERT INTO people SELECT i, 'm' || i || '@x.y', 'n' || i, 'w@x.y' FROM generate_series(1, 50) i;
       INSERT INTO parted SELECT i, 'p' || i, i FROM generate_series(0, 9) i`,
        of.name,
      );
      const options = { excludeExtension: ['citext', 'pg_t*', 'uuid-ossp'] };
      const found = await checks(of, options);
      expect(found.get('objects.extensions')?.outcome).toBe('passed');
      const told = found.get('objects.excluded-extensions');
      expect(told?.outcome).toBe('warned');
      const named = [
        'table column public.people."E, mail"',
        'table column public.people.work',
        'index public.by_trigram',
        'view public.mails',
        'view public.over_mails',
        'function public.same(public.citext)',
        'materialized view public.counted',
        'default value for public.people.key',
        'table constraint long on public.people',
        'table column public.parted.mail',
        'table column public.parted_1.mail',
      ];
      for (const name of named) expect(told?.found).toContain(name);
      expect(told?.found).not.toContain('by_name');
      expect(told?.found).not.toContain('names');
      expect((await checks(of, { ...options, method: 'live' })).get('live.excluded-extensions')?.code).toBe(
        'EXTENSION_EXCLUDED_LIVE',
      );

      const engine = await clone(of, options);
      for (const name of named) expect(engine.logText()).toContain(name);
      const here = await source.query('SELECT id, name, key FROM people ORDER BY id', of.name);
      expect(await target.query('SELECT * FROM people ORDER BY id', of.name)).toEqual(here);
      expect(await target.query('SELECT id, day FROM parted_1 ORDER BY id', of.name)).toEqual(
        await source.query('SELECT id, day FROM parted ORDER BY id', of.name),
      );
      expect(
        await target.query(
          `SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY relname COLLATE "C"`,
          of.name,
        ),
      ).toEqual(['by_name', 'names', 'parted', 'parted_1', 'people', 'people_pkey'].map((name) => ({ name })));
      const verification = await compare(of, engine, options);
      expect(verification.differences).toEqual([]);
      expect(verification.verified).toBe(true);
      expect(verification.notChecked.join('\n')).toContain('table column public.people."E, mail"');
      // By itself, from what the source is now.
      expect((await compare(of, null, options)).differences).toEqual([]);

      await target.run('DROP VIEW names; ALTER TABLE people ALTER COLUMN name DROP DEFAULT', of.name);
      const missed = (await compare(of, null, options)).differences.map(({ kind, name, change }) => [
        kind,
        name,
        change,
      ]);
      expect(missed).toHaveLength(2);
      expect(missed).toContainEqual(['TABLE', 'public.people', 'different']);
      expect(missed).toContainEqual(['VIEW', 'public.names', 'missing']);
    });

    describe('with configuration of its own', () => {
      let reason: string | null = null;
      beforeAll(async () => {
        reason = (await whyNoFiles(source)) ?? (await whyNoFiles(target));
      });
      const name = `pgsluice_test_${process.pid}`;

      /** Its files on both sides, and an installed one on the source with rows of users. */
      async function configured(from: '1.0' | '1.1' = '1.0'): Promise<Pair> {
        files.push(
          await installExtensionFiles(source, name, '1.1'),
          await installExtensionFiles(target, name, '2.0', from),
        );
        const of = await pair();
        await source.run(
          `CREATE EXTENSION ${name} VERSION '1.0'; INSERT INTO settings VALUES ('font', 'serif'), ('mood', 'good');
         SELECT nextval('ticket'), nextval('ticket')`,
          of.name,
        );
        return of;
      }
      const rows = (server: TestServer, database: string): Promise<unknown> =>
        server.query('SELECT key, value, built_in FROM settings ORDER BY key', database);

      test('its rows arrive once, under either version', async ({ skip }) => {
        if (reason !== null) skip(reason);
        for (const [mode, version] of [
          ['source', '1.0'],
          ['newest', '2.0'],
        ] as const) {
          const of = await configured();
          const options = { extensionVersion: mode };
          expect((await checks(of, options)).get('objects.extensions')?.outcome).toBe('passed');
          const engine = await clone(of, options);
          expect(await versionOf(target, of.name, name)).toBe(version);
          expect(await target.query('SELECT release() AS release', of.name)).toEqual([{ release: version }]);
          expect(await rows(target, of.name)).toEqual(await rows(source, of.name));
          expect(await target.query(`SELECT last_value::int AS n FROM ticket`, of.name)).toEqual([{ n: 2 }]);
          const verification = await compare(of, engine, options);
          expect(verification.differences).toEqual([]);
          expect(verification.verified).toBe(true);
          // A retry finds its extension there, with the rows of the attempt before.
          const again = await openEngine({ ...of, options: JobOptions.parse(options), replaceTarget: true });
          engines.push(again);
          expect((await again.run.run()).error).toBeNull();
          expect(await rows(target, of.name)).toEqual(await rows(source, of.name));
        }
      });

      test('a version that the target lacks gives way to the nearest above it, and that is said', async ({ skip }) => {
        if (reason !== null) skip(reason);
        const of = await configured('1.1');
        const check = (await checks(of)).get('objects.extensions');
        expect(check).toMatchObject({ outcome: 'info' });
        expect(check?.found).toContain('1.0 on the source and arrives as 1.1');
        const engine = await clone(of);
        expect(await versionOf(target, of.name, name)).toBe('1.1');
        expect(engine.logText()).toContain('arrives as 1.1');
        expect(await rows(target, of.name)).toEqual(await rows(source, of.name));
        const verification = await compare(of, engine);
        expect(verification.differences).toEqual([]);
        expect(verification.notChecked.join('\n')).toContain('1.0 on the source and 1.1 on the target');
      });

      test('rows that somebody made on the target before stop the job', async ({ skip }) => {
        if (reason !== null) skip(reason);
        const of = await configured();
        await target.run(
          `CREATE EXTENSION ${name} VERSION '1.0'; INSERT INTO settings VALUES ('theirs', 'x')`,
          of.name,
        );
        const check = (await checks(of)).get('objects.extensions');
        expect(check).toMatchObject({ outcome: 'failed', code: 'EXTENSION_ROWS_PRESENT' });
        expect((await checks(of, { schemaOnly: true })).get('objects.extensions')?.outcome).toBe('passed');
        await target.run(check?.remedy ?? '', of.name);
        expect((await checks(of)).get('objects.extensions')?.outcome).toBe('passed');
        await clone(of);
        expect(await rows(target, of.name)).toEqual(await rows(source, of.name));
      });
    });
  },
);
