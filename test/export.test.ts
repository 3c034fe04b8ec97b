import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JobView } from '../src/contract/job.ts';
import { Manifest } from '../src/contract/manifest.ts';
import { JobOptions } from '../src/contract/options.ts';
import { PauseGate } from '../src/gate.ts';
import { archiveRooms } from '../src/jobs/archive-rooms.ts';
import { openSession } from '../src/postgres/session.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { findPgTools } from '../src/postgres/tools.ts';
import { readServerVersion } from '../src/postgres/version.ts';
import { checksumSql } from '../src/verify/checksum.ts';
import { measureLargeObjects } from '../src/verify/measure.ts';
import { ownRows } from '../src/verify/tables.ts';
import { loadEverything } from './fixtures/everything.ts';
import { runCli } from './support/cli.ts';
import { contentsOf } from './support/contents.ts';
import { type Daemon, startDaemon } from './support/daemon.ts';
import { findMajor, pgDumpFor, startServer, type TestServer } from './support/servers.ts';

const exec = promisify(execFile);

let server: TestServer;
let pgRestore: string;
/** Archives. */
let dir: string;
/** Of the one agent that the jobs run in. */
let state: string;
let daemon: Daemon;

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'pgsluice-test-state-'));
  dir = await mkdtemp(join(tmpdir(), 'pgsluice-test-archives-'));
  [server, daemon] = await Promise.all([startServer({ name: 'export' }), startDaemon(state)]);
  pgRestore = join(await pgDumpFor(server.major, server.binDir), '..', 'pg_restore');
});
afterAll(async () => {
  await Promise.all([server?.stop(), daemon?.stop()]);
  for (const path of [dir, state]) await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
});

const get = (id: string): Promise<JobView> => daemon.api(`/api/jobs/${id}`) as Promise<JobView>;
const act = (id: string, action: string): Promise<JobView> =>
  daemon.api(`/api/jobs/${id}/${action}`, { method: 'POST' }) as Promise<JobView>;

function begin(url: string, path: string, options: Partial<JobOptions> = {}): Promise<JobView> {
  const body = { kind: 'export', source: { url }, archive: { path }, options, start: true };
  return daemon.api('/api/jobs', { method: 'POST', body }) as Promise<JobView>;
}

/** Looks at the job until it has come as far as `enough` says, or to its end. */
async function until(id: string, enough: (view: JobView) => boolean): Promise<JobView> {
  for (;;) {
    const view = await get(id);
    if (enough(view) || ['completed', 'failed', 'blocked', 'cancelled'].includes(view.state)) return view;
    await sleep(25);
  }
}

async function runExport(url: string, path: string, options: Partial<JobOptions> = {}): Promise<JobView> {
  const { id } = await begin(url, path, options);
  return until(id, () => false);
}

async function readManifest(archive: string): Promise<Manifest> {
  return Manifest.parse(JSON.parse(await readFile(join(archive, 'manifest.json'), 'utf8')));
}

/** By hand, as somebody without pgsluice would. */
async function restore(archive: string, database: string): Promise<void> {
  await server.createDatabase(database, `TEMPLATE template0 ENCODING 'UTF8'`);
  await exec(pgRestore, ['--exit-on-error', '--jobs=2', `--dbname=${server.url(database)}`, archive], {
    env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' },
  });
}

/** What another database holds of what the manifest speaks of, by the columns and in the order that it names. */
async function measure(database: string, manifest: Manifest): Promise<Pick<Manifest, 'tables' | 'largeObjects'>> {
  const { signal } = new AbortController();
  const settings = parseEndpoint({ url: server.url(database) }, 'source');
  const session = await openSession(settings, { signal, side: 'source', purpose: 'test' });
  try {
    await session.run('BEGIN READ ONLY');
    const tables: Manifest['tables'] = [];
    for (const table of manifest.tables) {
      const sql = checksumSql(manifest.checksums.method, ownRows(table), table.columns, table.condition);
      const [row] = await session.query<{ rows: string; checksum: string }>(sql);
      tables.push({ ...table, rows: Number(row?.rows), checksum: row?.checksum ?? null });
    }
    return { tables, largeObjects: await measureLargeObjects(session, true) };
  } finally {
    await session.close();
  }
}

const contents = ({ tables }: Pick<Manifest, 'tables'>): string[] =>
  tables.map(({ schema, name, rows, checksum }) => `${schema}.${name} ${rows} ${checksum}`);

/** A server notices within a moment that the other end is gone. */
async function expectNoSessions(): Promise<void> {
  for (let attempt = 0; attempt < 40 && (await server.sessions()).length > 0; attempt += 1) await sleep(100);
  expect(await server.sessions()).toEqual([]);
}

/** Nothing of an export is left on the server or beside its archive. */
async function expectNothingLeft(archive: string): Promise<void> {
  await expectNoSessions();
  expect((await readdir(dir)).filter((entry) => entry.startsWith(basename(archive)))).toEqual([]);
}

test('every kind of object comes back from an archive, by pg_restore alone', async () => {
  await loadEverything(server, 'every thing');
  await server.run(
    `CREATE TABLE public.schema_migrations (version bigint PRIMARY KEY, inserted_at timestamp(0));
     INSERT INTO public.schema_migrations VALUES (20260101120000, now())`,
    'every thing',
  );
  const archive = join(dir, 'everything');
  // A relative path is one of the directory in which the command runs, wherever the agent runs.
  const outcome = await runCli(['export', join(basename(dir), 'everything'), '--json'], {
    env: { PGSLUICE_SOURCE_URL: server.url('every thing') },
    state,
  });
  expect(outcome.result).toMatchObject({ status: 'completed', verified: true, differences: [], error: null });
  expect(outcome.code).toBe(0);
  expect(await server.sessions()).toEqual([]);

  const manifest = await readManifest(archive);
  const source = await contentsOf(server, 'every thing');
  const counted = new Map(
    manifest.tables
      .filter(({ kind }) => kind === 'table')
      .map(({ schema, name, rows }) => [`"${schema}"."${name}"`, rows]),
  );
  const leaves = [...source].filter(([name]) => counted.has(name));
  expect(leaves.length).toBeGreaterThan(30);
  for (const [name, print] of leaves) expect(`${name} ${counted.get(name)}`).toBe(`${name} ${print.split(' ')[0]}`);
  expect(manifest.source).toMatchObject({
    version: { text: expect.stringMatching(/^\d+/) as unknown },
    database: 'every thing',
    encoding: 'UTF8',
    comment: 'a database',
  });
  expect(manifest.source.settings).toContain('DateStyle=SQL, DMY');
  expect(manifest.roles.map(({ name }) => name)).toContain('Ev Weird-Role');
  expect(manifest.extensions.length).toBeGreaterThan(1);
  expect(manifest.applications).toContainEqual({
    name: expect.any(String) as unknown,
    table: expect.stringContaining('schema_migrations') as unknown,
    version: '20260101120000',
  });

  const files = (await readdir(archive)).filter((name) => name !== 'manifest.json').toSorted();
  expect(manifest.files.map(({ path }) => path)).toEqual(files);
  for (const { path, bytes, sha256 } of manifest.files) {
    const content = await readFile(join(archive, path));
    expect([path, content.length, createHash('sha256').update(content).digest('hex')]).toEqual([path, bytes, sha256]);
  }
  expect((await stat(archive)).mode & 0o777).toBe(0o700);
  for (const name of await readdir(archive)) expect((await stat(join(archive, name))).mode & 0o777).toBe(0o600);
  expect(JSON.stringify(manifest)).not.toContain(server.password);

  await restore(archive, 'restored');
  expect(await contentsOf(server, 'restored')).toEqual(source);
  const again = await measure('restored', manifest);
  expect(contents(again)).toEqual(contents(manifest));
  expect(again.largeObjects).toEqual(manifest.largeObjects);
  for (const database of ['every thing', 'restored']) await server.run('DROP SUBSCRIPTION ev_sub', database);

  expect(await runExport(server.url('every thing'), archive)).toMatchObject({
    state: 'blocked',
    error: { code: 'ARCHIVE_EXISTS' },
    summary: expect.stringMatching(/^A check failed, so the export cannot start: There is something at/) as unknown,
  });
  expect(contents(await readManifest(archive))).toEqual(contents(manifest));
});

describe('while others write', () => {
  const writing = new AbortController();
  let writer: Promise<void> = Promise.resolve();

  beforeAll(async () => {
    await server.createDatabase('busy');
    await server.run(
      `CREATE TABLE a (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text);
       CREATE TABLE b (id bigint PRIMARY KEY REFERENCES a, note text);
       CREATE TABLE c (id int PRIMARY KEY, n bigint); INSERT INTO c SELECT g, 0 FROM generate_series(1, 2000) g;
       INSERT INTO a (note) SELECT md5(g::text) FROM generate_series(1, 40000) g; INSERT INTO b SELECT id, note FROM a;
       SELECT lo_from_bytea(0, 'one'), lo_from_bytea(0, decode(repeat('ab', 100000), 'hex'));
       CREATE ROLE one LOGIN PASSWORD 'one' CONNECTION LIMIT 1; CREATE ROLE two LOGIN PASSWORD 'two' CONNECTION LIMIT 2;
       GRANT SELECT ON ALL TABLES IN SCHEMA public TO one, two; GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO one, two;
       DO $$ DECLARE o oid; BEGIN FOR o IN SELECT oid FROM pg_largeobject_metadata LOOP
         EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO one, two', o); END LOOP; END $$`,
      'busy',
    );
    writer = (async () => {
      const client = new Client({ connectionString: server.url('busy') });
      await client.connect();
      try {
        // In every moment b has the rows of a, and c has their number.
        while (!writing.signal.aborted) {
          await client.query(
            `WITH row AS (INSERT INTO a (note) VALUES (md5(random()::text)) RETURNING id, note), same AS (INSERT INTO b SELECT * FROM row)
             UPDATE c SET n = n + 1 WHERE id = 1`,
          );
          await sleep(1);
        }
      } finally {
        await client.end();
      }
    })();
  });
  afterAll(async () => {
    writing.abort();
    await writer;
  });

  test.each([
    ['one', 1, { compress: 'gzip:1' }],
    ['two', 2, {}],
    ['postgres', 6, { compress: 'none' }],
  ] as const)(
    'an archive and its manifest are of one moment (role %s, %i connections)',
    async (role, _most, options) => {
      const archive = join(dir, `busy-${role}`);
      const url = role === 'postgres' ? server.url('busy') : server.url('busy', role, role);
      expect(await runExport(url, archive, options)).toMatchObject({ state: 'completed', verified: true, error: null });
      const manifest = await readManifest(archive);
      const rows = new Map(manifest.tables.map((table) => [table.name, table.rows]));
      expect(rows.get('a')).toBeGreaterThan(40_000);
      expect(rows.get('b')).toBe(rows.get('a'));
      await restore(archive, `moment_${role}`);
      expect(contents(await measure(`moment_${role}`, manifest))).toEqual(contents(manifest));
      const [told] = await server.query(
        `SELECT (SELECT n FROM c WHERE id = 1)::int + 40000 AS n, (SELECT last_value >= max(id) FROM a, a_id_seq GROUP BY last_value) AS ahead`,
        `moment_${role}`,
      );
      expect(told).toEqual({ n: rows.get('a'), ahead: true });
      expect(manifest.largeObjects).toMatchObject({ count: 2, bytes: 100_003 });
      const [sequence] = manifest.sequences;
      expect(await server.query('SELECT last_value::text AS value FROM a_id_seq', `moment_${role}`)).toEqual([
        { value: sequence?.value },
      ]);
    },
  );
});

describe('an export that ends early', () => {
  beforeAll(async () => {
    await server.createDatabase('large');
    await server.run(
      `CREATE TABLE small (id int); INSERT INTO small SELECT generate_series(1, 10);
       CREATE TABLE large (id int, data text);
       INSERT INTO large SELECT g, md5(g::text) || md5((g + 1)::text) || md5((g + 2)::text) FROM generate_series(1, 200000) g`,
      'large',
    );
  });

  const begun = ({ totals }: JobView): boolean => totals.rows > 20_000;

  test('stands still while it is paused, and says so', async () => {
    const archive = join(dir, 'paused');
    const { id } = await begin(server.url('large'), archive, { compress: 'gzip:9' });
    await until(id, begun);
    const paused = await act(id, 'pause');
    expect(paused).toMatchObject({ state: 'paused', kind: 'export', target: null, archive, snapshotAlive: true });
    expect(paused.summary).toMatch(
      /^Paused with .* exported\. Resume goes on under the same snapshot\. The source stays/,
    );
    await sleep(400);
    const before = (await get(id)).totals.rows;
    await sleep(800);
    expect((await get(id)).totals.rows).toBe(before);
    expect(before).toBeLessThan(200_010);
    expect(existsSync(archive)).toBe(false);
    await act(id, 'resume');
    const done = await until(id, () => false);
    expect(done).toMatchObject({ state: 'completed', verified: true, totals: { rows: 200_010, fraction: 1 } });
    expect(done.summary).toMatch(/^Done: the archive holds the source as of .* and was read back whole\./);
    expect(await daemon.api(`/api/jobs/${id}/report`)).toMatchObject({
      kind: 'export',
      archive: { path: archive, bytes: expect.any(Number) as unknown },
      target: { label: `archive ${archive}` },
      moved: { tables: 2, rows: 200_010 },
      verification: { mode: 'counts', verified: true },
    });
    expect((await readManifest(archive)).compression).toBe('gzip:9');
  });

  test('begins anew by itself when the source restarts', async () => {
    const archive = join(dir, 'restarted');
    const { id } = await begin(server.url('large'), archive, { compress: 'gzip:9' });
    await until(id, begun);
    await server.restart('immediate');
    expect(await until(id, () => false)).toMatchObject({
      state: 'completed',
      verified: true,
      totals: { rows: 200_010 },
    });
    expect((await readManifest(archive)).tables.map(({ rows }) => rows)).toEqual([200_000, 10]);
    const logs = JSON.stringify(await daemon.api(`/api/jobs/${id}/logs?level=warn`));
    expect(logs).toContain('begins anew under another snapshot');
  });

  test('leaves nothing at all when it is cancelled', async () => {
    const archive = join(dir, 'cancelled');
    const { id } = await begin(server.url('large'), archive, { compress: 'gzip:9', tableJobs: 2 });
    await until(id, begun);
    expect(await act(id, 'cancel')).toMatchObject({
      state: 'cancelled',
      summary:
        'Cancelled. The source is unchanged and can be used. There is no archive: it appears only when it is whole.',
    });
    await expectNothingLeft(archive);
  });

  test('leaves no archive when its agent is killed, nothing on the server, and goes on with resume', async () => {
    const archive = join(dir, 'killed');
    const { id } = await begin(server.url('large'), archive, { compress: 'gzip:9' });
    await until(id, begun);
    await daemon.kill9();
    expect(existsSync(archive)).toBe(false);
    await expectNoSessions();
    expect((await readdir(dir)).filter((name) => name.startsWith('killed'))).toEqual([`killed.part-${id}`]);

    daemon = await startDaemon(state);
    expect(await get(id)).toMatchObject({ state: 'paused', snapshotAlive: false });
    await act(id, 'resume');
    expect(await until(id, () => false)).toMatchObject({
      state: 'completed',
      verified: true,
      totals: { rows: 200_010 },
    });
    expect((await readManifest(archive)).tables.map(({ rows }) => rows)).toEqual([200_000, 10]);
    expect((await readdir(dir)).filter((name) => name.startsWith('killed'))).toEqual(['killed']);
  });

  test('is refused, or stopped before the disk is full', async ({ skip }) => {
    const mount = await mkdtemp(join(tmpdir(), 'pgsluice-test-disk-'));
    const mounted = await exec('mount', ['-t', 'tmpfs', '-o', 'size=12m', 'tmpfs', mount]).then(
      () => true,
      () => false,
    );
    if (!mounted) {
      await rm(mount, { recursive: true, force: true });
      skip('only root can mount a small file system');
    }
    try {
      const archive = join(mount, 'large');
      expect(await runExport(server.url('large'), archive, { compress: 'none' })).toMatchObject({
        state: 'failed',
        error: { code: 'DISK_FULL' },
      });
      expect(await readdir(mount)).toEqual([]);
      await writeFile(join(mount, 'other'), randomBytes(11 * 1024 * 1024));
      expect(await runExport(server.url('large'), archive)).toMatchObject({
        state: 'blocked',
        error: { code: 'DISK_FULL' },
      });
      expect(await readdir(mount)).toEqual(['other']);
    } finally {
      await exec('umount', [mount]);
      await rm(mount, { recursive: true, force: true });
    }
  });
});

test('a place that cannot be used is named before anything is read', async () => {
  await server.createDatabase('nothing');
  const url = server.url('nothing');
  await expect(begin(url, 'somewhere')).rejects.toThrow('RELATIVE_ARCHIVE');
  expect(await runExport(url, join(dir, 'no', 'where'))).toMatchObject({ error: { code: 'ARCHIVE_PLACE_UNUSABLE' } });
  await mkdir(join(dir, 'empty'));
  expect(await runExport(url, join(dir, 'empty'))).toMatchObject({ error: { code: 'ARCHIVE_EXISTS' } });
});

const newer = await findMajor(17);

test.skipIf(newer.binDir === null)('a newer pg_dump writes zstd, and filters leave out what they name', async () => {
  const binDir = newer.binDir ?? '';
  await server.createDatabase('filtered');
  await server.run(
    `CREATE SCHEMA shop; CREATE TABLE shop.orders (id int PRIMARY KEY); INSERT INTO shop.orders SELECT generate_series(1, 1000);
     CREATE TABLE shop.sessions (id int); INSERT INTO shop.sessions SELECT generate_series(1, 500);
     CREATE SCHEMA other; CREATE TABLE other.things (id int); INSERT INTO other.things VALUES (1);
     SELECT lo_from_bytea(0, 'left out')`,
    'filtered',
  );
  const source = parseEndpoint({ url: server.url('filtered') }, 'source');
  const { signal } = new AbortController();
  const session = await openSession(source, { signal, side: 'source', purpose: 'test' });
  const sourceVersion = await readServerVersion(session);
  await session.close();
  const archive = join(dir, 'filtered');
  const { manifest } = await archiveRooms.exportArchive({
    job: 'filtered',
    source,
    sourceVersion,
    options: JobOptions.parse({ includeSchema: ['shop'], excludeTableData: ['sess*'], verify: 'counts' }),
    tools: await findPgTools({ binDir, minMajor: 17 }),
    connections: { source: 3 },
    archive,
    workDir: state,
    signal,
    gate: new PauseGate(),
    toolVersion: '0',
    applications: [],
    showMoment: () => undefined,
    beforeReading: () => Promise.resolve(),
    emit: () => undefined,
  });
  expect(manifest).toMatchObject({ compression: 'zstd', measured: 'counts', largeObjects: null });
  expect(manifest.tables).toMatchObject([{ schema: 'shop', name: 'orders', rows: 1000, checksum: null }]);
  expect(manifest.files.map(({ path }) => path)).toContainEqual(expect.stringMatching(/\.dat\.zst$/));
  const { stdout } = await exec(join(binDir, 'pg_restore'), ['--list', archive]);
  expect(stdout).toContain('TABLE DATA shop orders');
  expect(stdout).toContain('TABLE shop sessions');
  expect(stdout).not.toMatch(/TABLE DATA shop sessions|other|BLOB/);
});
