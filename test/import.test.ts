import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, mkdir, readFile, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chooseEntries } from '../src/clone/import-archive-entries.ts';
import { readToc } from '../src/clone/import-archive-check.ts';
import { Manifest } from '../src/contract/manifest.ts';
import { JobOptions } from '../src/contract/options.ts';
import { ArchiveExam } from '../src/jobs/import-checks.ts';
import { dumpFilterArguments } from '../src/postgres/filters.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { createEverythingRoles, loadEverything } from './fixtures/everything.ts';
import { type ArchiveRun, exportHere, importHere } from './support/archive-run.ts';
import { type CliOutcome, runCli } from './support/cli.ts';
import { contentsOf } from './support/contents.ts';
import { findMajor, pgDumpFor, startServer, type TestServer } from './support/servers.ts';

const exec = promisify(execFile);
const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const seed = Number(process.env['PGSLUICE_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

/** mulberry32 */
function randomOf(start: number): (below: number) => number {
  let state = start;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const shop = `
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL DEFAULT 'nobody', note text);
CREATE TABLE orders (id serial PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customer, at timestamptz NOT NULL DEFAULT '2026-01-01 00:00+02', total numeric CHECK (total >= 0));
CREATE INDEX ON orders (customer_id, at DESC);
CREATE TABLE by_mood (feeling mood, n int) PARTITION BY HASH (feeling);
CREATE TABLE by_mood_0 PARTITION OF by_mood FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE by_mood_1 PARTITION OF by_mood FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE empty (a int);
CREATE TABLE "no columns" ();
INSERT INTO customer (name, note) SELECT 'c' || n, repeat(md5(n::text), 3) FROM generate_series(1, 3000) n;
INSERT INTO customer (name, note) VALUES (E'tab\\tline\\nback\\\\slash', E'\\\\.'), ('ünï 🐘', NULL);
INSERT INTO orders (customer_id, total) SELECT 1 + n % 3000, n / 7.0 FROM generate_series(1, 6000) n;
INSERT INTO by_mood SELECT (ARRAY['sad', 'ok', 'happy']::mood[])[1 + n % 3], n FROM generate_series(1, 300) n;
INSERT INTO "no columns" DEFAULT VALUES; INSERT INTO "no columns" DEFAULT VALUES;
CREATE MATERIALIZED VIEW totals AS SELECT customer_id, sum(total) AS total FROM orders GROUP BY 1;
CREATE VIEW rich AS SELECT c.id FROM customer c JOIN totals t ON t.customer_id = c.id WHERE t.total > 10;
SELECT lo_from_bytea(4711, decode(repeat('00ff5c27', 30000), 'hex')), lo_from_bytea(4712, ''), lo_from_bytea(4713, 'small');
SELECT setval('orders_id_seq', 70000);`;

let source: TestServer;
let dir: string;
let pgBin: string;
let archives: { ours: string; directory: string; custom: string; everything: string };

async function dump(server: TestServer, args: readonly string[], binDir = pgBin): Promise<void> {
  await exec(join(binDir, 'pg_dump'), [...args, `--dbname=${server.url('shop')}`], {
    env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' },
  });
}

beforeAll(async () => {
  source = await startServer({ name: 'import-source', ...binOf(await findMajor(15)) });
  pgBin = join(await pgDumpFor(source.major, source.binDir), '..');
  dir = await mkdtemp(join(tmpdir(), 'pgsluice-test-import-'));
  await source.createDatabase('shop', `TEMPLATE template0 ENCODING 'UTF8'`);
  await source.run(shop, 'shop');
  archives = {
    ours: join(dir, 'ours'),
    directory: join(dir, 'directory'),
    custom: join(dir, 'shop.dump'),
    everything: join(dir, 'everything'),
  };
  await loadEverything(source, 'everything');
  for (const [database, archive] of [
    ['shop', archives.ours],
    ['everything', archives.everything],
  ] as const) {
    const { end } = await exportHere({ url: source.url(database), archive, pgBin });
    if (end.status !== 'completed') throw new Error(end.error?.message ?? 'the export failed');
  }
  await Promise.all([
    dump(source, ['--format=directory', `--file=${archives.directory}`]),
    dump(source, ['--format=custom', `--file=${archives.custom}`]),
  ]);
});
afterAll(async () => {
  await source?.run('DROP SUBSCRIPTION ev_sub', 'everything');
  await source?.stop();
  await rm(dir, { recursive: true, force: true });
});

function binOf({ binDir }: { binDir: string | null }): { binDir?: string } {
  return binDir === null ? {} : { binDir };
}

let databases = 0;
async function freshDatabase(server: TestServer): Promise<string> {
  databases += 1;
  await server.createDatabase(`into_${databases}`, `TEMPLATE template0 ENCODING 'UTF8'`);
  return `into_${databases}`;
}

async function importInto(
  server: TestServer,
  database: string,
  archive: string,
  more: { options?: Partial<JobOptions>; pgBin?: string } = {},
): Promise<ArchiveRun> {
  return importHere({ url: server.url(database), archive, pgBin: more.pgBin ?? pgBin, options: more.options ?? {} });
}

function ending({ end }: ArchiveRun): Record<string, unknown> {
  const { status, verification, error } = end;
  const { verified, differences } = verification ?? { verified: false, differences: [] };
  return { status, verified, differences, error: error?.code ?? null };
}
const whole = { status: 'completed', verified: true, differences: [], error: null };
const wholeByCli = { code: 0, ...whole };

function endingOfCli({ code, result, stderr }: CliOutcome): Record<string, unknown> {
  if (result === null) return { code, stderr };
  const { status, verified, differences, error } = result;
  return { code, status, verified, differences, error: error?.code ?? null };
}

async function expectSame(server: TestServer, from: string, into: string): Promise<void> {
  const [before, after] = await Promise.all([contentsOf(source, from), contentsOf(server, into)]);
  expect(after).toEqual(before);
}

for (const to of [15, 17]) {
  const found = await findMajor(to);
  describe.skipIf(found.binDir === null)(
    `from PostgreSQL 15 to ${to}${found.binDir === null ? ` (skipped: ${found.reason})` : ''}`,
    () => {
      let target: TestServer;
      let bin: string;
      beforeAll(async () => {
        target = await startServer({ name: `import-${to}`, ...binOf(found) });
        bin = join(await pgDumpFor(to, target.binDir), '..');
      });
      afterAll(() => target?.stop());

      test('an archive of pgsluice brings every kind of object and value, and is proven', async () => {
        await createEverythingRoles(target);
        const database = await freshDatabase(target);
        const outcome = await importInto(target, database, archives.everything, { pgBin: bin });
        expect(ending(outcome)).toEqual(whole);
        expect(outcome.end.copy?.moved.tables).toBeGreaterThan(40);
        expect(outcome.end.verification?.tables.every(({ targetChecksum }) => targetChecksum !== null)).toBe(true);
        await expectSame(target, 'everything', database);
        expect(await target.sessions()).toEqual([]);
        await target.run('DROP SUBSCRIPTION ev_sub', database);
      });

      test.each(['directory', 'custom', 'piped'] as const)(
        'a foreign archive (%s) arrives whole, and no more is claimed',
        async (kind) => {
          const database = await freshDatabase(target);
          const path = kind === 'piped' ? join(dir, `piped-${to}.dump`) : archives[kind];
          if (kind === 'piped') {
            // Without positions of the data, since a pipe cannot be wound back.
            const command = `"$0" --format=custom --dbname="$1" | cat > "$2"`;
            await exec('sh', ['-c', command, join(pgBin, 'pg_dump'), source.url('shop'), path]);
          }
          const outcome = await importInto(target, database, path, { pgBin: bin });
          expect(ending(outcome)).toEqual(whole);
          await expectSame(target, 'shop', database);
          const view = await target.query('SELECT count(*)::int AS n FROM rich', database);
          expect(view[0]?.['n']).toBeGreaterThan(0);
          expect(outcome.end.verification?.tables.every(({ targetChecksum }) => targetChecksum === null)).toBe(true);
          expect(outcome.end.verification?.notChecked.join('\n')).toContain('Contents were not compared');
        },
      );
    },
  );
}

describe('what is not whole', () => {
  async function examine(path: string, bin: string | null = pgBin): Promise<string[]> {
    const exam = new ArchiveExam({
      path,
      target: parseEndpoint({ url: source.url('nowhere') }, 'target'),
      options: JobOptions.parse({}),
      pgBinDir: bin,
      workDir: join(dir, 'work'),
      signal: new AbortController().signal,
      say: () => undefined,
    });
    const codes: string[] = [];
    const scope = {
      options: JobOptions.parse({}),
      ownTarget: false,
      ownNames: [],
      job: null,
      slotsNeeded: 0,
      signal: new AbortController().signal,
    };
    for (const check of exam.checks) {
      const verdict = await check.run(null, scope);
      if (verdict.outcome !== 'failed') continue;
      codes.push(verdict.code ?? '');
      expect(verdict.found).not.toBe('');
      expect(verdict.remedy).not.toBe('');
    }
    if (codes.length === 0 && exam.archive === null) codes.push('NOTHING');
    return codes;
  }

  const refusals: readonly (string | undefined)[] = [
    'ARCHIVE_TORN',
    'ARCHIVE_ALTERED',
    'ARCHIVE_UNREADABLE',
    'ARCHIVE_TOO_NEW',
  ];

  /** `partial` is what must never be: done and called verified, and not all of it. */
  async function fate(path: string): Promise<'refused' | 'whole' | 'different' | 'partial'> {
    const codes = await examine(path);
    if (codes.length > 0) return refusals.includes(codes[0]) ? 'refused' : 'partial';
    const database = await freshDatabase(source);
    const { end } = await importInto(source, database, path);
    if ((end.verification?.differences.length ?? 0) > 0) return 'different';
    const [before, after] = await Promise.all([contentsOf(source, 'shop'), contentsOf(source, database)]);
    const same = JSON.stringify([...after]) === JSON.stringify([...before]);
    return end.status === 'completed' && end.verification?.verified === true && same ? 'whole' : 'partial';
  }

  async function copyOf(path: string): Promise<string> {
    const copy = await mkdtemp(join(dir, 'copy-'));
    await rm(copy, { recursive: true });
    await cp(path, copy, { recursive: true });
    return copy;
  }

  test(`archives that are cut at 20 random bytes are refused, or whole (PGSLUICE_TEST_SEED=${seed})`, async () => {
    const random = randomOf(seed);
    const seen: string[] = [];
    for (let at = 0; at < 20; at += 1) {
      const kind = (['ours', 'directory', 'custom'] as const)[at % 3] ?? 'custom';
      const copy = await copyOf(archives[kind]);
      const files = kind === 'custom' ? [copy] : (await readdir(copy)).map((name) => join(copy, name));
      const file = files[random(files.length)] ?? copy;
      const length = random((await stat(file)).size);
      await truncate(file, length);
      seen.push(`${await fate(copy)}: ${kind}, ${basename(file)} at ${length}`);
      await rm(copy, { recursive: true });
    }
    expect(seen.filter((line) => !/^(refused|whole):/.test(line))).toEqual([]);
    expect(seen.filter((line) => line.startsWith('refused')).length).toBeGreaterThan(15);
  });

  test('a flipped bit in any file of an archive of ours is noticed', async () => {
    const random = randomOf(seed + 1);
    const names = (await readdir(archives.ours)).toSorted(byText);
    const seen: string[] = [];
    for (const name of names) {
      const copy = await copyOf(archives.ours);
      const bytes = await readFile(join(copy, name));
      const at = random(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
      await writeFile(join(copy, name), bytes);
      const found = name === 'manifest.json' ? await fate(copy) : (await examine(copy))[0];
      seen.push(`${name === 'manifest.json' ? name : 'other'} ${found}`);
      await rm(copy, { recursive: true });
    }
    const others = seen.filter((line) => line.startsWith('other'));
    expect(new Set(others)).toEqual(new Set(['other ARCHIVE_ALTERED']));
    expect(others.length).toBeGreaterThan(8);
    // A bit of the manifest may be one that matters to nothing.
    expect(seen).toContainEqual(expect.stringMatching(/^manifest.json (refused|different|whole)$/));
  });

  test('a file that is missing or added, and what the manifest says otherwise, is noticed', async () => {
    const missing = await copyOf(archives.ours);
    const [data = ''] = (await readdir(missing)).filter((name) => /^\d+\.dat/.test(name));
    await rm(join(missing, data));
    expect(await examine(missing)).toEqual(expect.arrayContaining(['ARCHIVE_TORN']));
    const added = await copyOf(archives.ours);
    await writeFile(join(added, '9999.dat'), 'more');
    expect((await examine(added))[0]).toBe('ARCHIVE_ALTERED');

    const lying = await copyOf(archives.ours);
    const manifest = Manifest.parse(JSON.parse(await readFile(join(lying, 'manifest.json'), 'utf8')));
    const told = manifest.tables.find(({ name }) => name === 'customer');
    if (told?.checksum == null || manifest.largeObjects === null) throw new Error('the manifest has no checksum');
    told.checksum = String(BigInt(told.checksum) + 1n);
    manifest.largeObjects.checksum = '0'.repeat(64);
    manifest.sequences.forEach((sequence) => (sequence.value = '12'));
    await writeFile(join(lying, 'manifest.json'), JSON.stringify(manifest));
    const database = await freshDatabase(source);
    const outcome = await importInto(source, database, lying);
    expect(ending(outcome)).toMatchObject({ status: 'completed', verified: false });
    const kinds = (outcome.end.verification?.differences ?? [])
      .map(({ kind, name }) => `${kind} ${name}`)
      .toSorted(byText);
    expect(kinds).toEqual([
      'CONTENT public.customer',
      'LARGE OBJECT DATA all large objects',
      'SEQUENCE VALUE public.customer_id_seq',
      'SEQUENCE VALUE public.orders_id_seq',
    ]);
    const plain = await copyOf(archives.ours);
    await rm(join(plain, 'manifest.json'));
    expect(await fate(plain)).toBe('whole');
  });

  test('what an archive makes beyond what its list says it would is not run, and nothing of it is', async () => {
    const smuggled = 'CREATE ROLE mallory SUPERUSER LOGIN;';
    // Of a length with it, so that the archive stays one that pg_restore reads without a word.
    const right = `COMMENT ON TABLE public.t IS '`;
    const said = 'x'.repeat(smuggled.length);
    const database = await freshDatabase(source);
    await source.run(`CREATE TABLE t (id int); COMMENT ON TABLE t IS '${said}'`, database);
    const archive = join(dir, 'smuggled');
    await exec(join(pgBin, 'pg_dump'), ['--format=directory', `--file=${archive}`, `--dbname=${source.url(database)}`]);
    const toc = join(archive, 'toc.dat');
    const bytes = await readFile(toc);
    const at = bytes.indexOf(right);
    expect(at).toBeGreaterThan(0);
    bytes.fill(' ', at, at + right.length + said.length + 2);
    bytes.write(smuggled, at, 'latin1');
    await writeFile(toc, bytes);
    const printed = await exec(join(pgBin, 'pg_restore'), ['--file=-', archive]);
    expect(printed.stdout).toContain(smuggled);
    const into = await freshDatabase(source);
    expect(ending(await importInto(source, into, archive))).toMatchObject({ error: 'ARCHIVE_NOT_AS_LISTED' });
    expect(await source.query(`SELECT rolname FROM pg_roles WHERE rolname = 'mallory'`)).toEqual([]);
    expect([...(await contentsOf(source, into))]).toEqual([]);
  });

  test('what is no archive is named, with the command that loads it', async () => {
    const target = parseEndpoint({ url: source.url('nowhere') }, 'target');
    const sql = join(dir, "it's.sql");
    await dump(source, [`--file=${sql}`]);
    const found = async (path: string): Promise<[string | null, string]> => {
      const exam = new ArchiveExam({
        path,
        target,
        options: JobOptions.parse({}),
        pgBinDir: pgBin,
        workDir: dir,
        signal: new AbortController().signal,
        say: () => undefined,
      });
      const scope = {
        options: JobOptions.parse({}),
        ownTarget: false,
        ownNames: [],
        job: null,
        slotsNeeded: 0,
        signal: new AbortController().signal,
      };
      const [first] = exam.checks;
      const verdict = await first?.run(null, scope);
      return [verdict?.code ?? null, verdict?.remedy ?? ''];
    };
    const [code, remedy] = await found(sql);
    expect(code).toBe('ARCHIVE_IS_SQL');
    const database = await freshDatabase(source);
    const command = remedy.replace(/^Run: psql /, `'${join(pgBin, 'psql')}' `).replace('-d nowhere', `-d ${database}`);
    if (existsSync(join(pgBin, 'psql'))) {
      await exec('sh', ['-c', command], { env: { PATH: process.env['PATH'] ?? '', PGPASSWORD: source.password } });
      await expectSame(source, 'shop', database);
    }
    await exec('sh', ['-c', 'gzip -c "$0" > "$1"', sql, `${sql}.gz`]);
    expect(await found(`${sql}.gz`)).toMatchObject(['ARCHIVE_IS_SQL', expect.stringContaining('gunzip -c')]);

    const tar = join(dir, 'shop.tar');
    await dump(source, ['--format=tar', `--file=${tar}`]);
    const [tarCode, tarRemedy] = await found(tar);
    expect(tarCode).toBe('ARCHIVE_UNREADABLE');
    await exec('sh', ['-c', tarRemedy.slice(tarRemedy.indexOf('mkdir'), tarRemedy.lastIndexOf(' && '))]);
    expect(await fate(`${tar}.d`)).toBe('whole');

    expect(await found(join(dir, 'absent'))).toMatchObject(['ARCHIVE_NOT_FOUND', expect.any(String)]);
    await mkdir(join(dir, 'nothing'));
    expect(await found(join(dir, 'nothing'))).toMatchObject(['ARCHIVE_UNREADABLE', expect.any(String)]);
    await writeFile(join(dir, 'zero'), '');
    expect(await found(join(dir, 'zero'))).toMatchObject(['ARCHIVE_UNREADABLE', expect.any(String)]);
    const inserts = join(dir, 'inserts.dump');
    await dump(source, ['--format=custom', '--inserts', `--file=${inserts}`]);
    expect(await examine(inserts)).toEqual(['ARCHIVE_HAS_INSERTS']);
  });

  test('an archive of a newer pg_dump is refused with the version it takes', async (context) => {
    const newer = await findMajor(17);
    if (newer.binDir === null || !existsSync(join(newer.binDir, 'pg_dump')))
      return context.skip(newer.binDir === null ? newer.reason : 'no pg_dump 17');
    const path = join(dir, 'newer.dump');
    await dump(source, ['--format=custom', `--file=${path}`], newer.binDir);
    const older = join(await pgDumpFor(15, source.binDir), '..');
    const found = (await exec(join(older, 'pg_dump'), ['--version'])).stdout;
    if (!/ 15\./.test(found)) return context.skip('no pg_dump 15');
    const database = await freshDatabase(source);
    const outcome = await importInto(source, database, path, { pgBin: older });
    expect(ending(outcome)).toMatchObject({ status: 'blocked', error: 'ARCHIVE_TOO_NEW' });
    expect(outcome.end.error?.message).toContain('pg_restore 17 or newer');
    expect(await contentsOf(source, database)).toEqual(new Map());
  });
});

describe('the options of an import', () => {
  const filters = [
    { includeSchema: ['ev_parts'] },
    { excludeSchema: ['ev*'] },
    { includeTable: ['ev.book', 'ev.author'] },
    { excludeTable: ['ev.c*', 'ev_parts.*'] },
    { includeSchema: ['ev'], excludeTable: ['book'] },
    { includeTable: ['customer', 'unlogged'] },
  ];
  test('filters choose what pg_dump itself would have chosen', async () => {
    const url = `--dbname=${source.url('everything')}`;
    const path = archives.everything;
    const toc = await readToc({ kind: 'directory', path, tocFile: join(path, 'toc.dat'), manifestFile: null });
    for (const filter of filters) {
      const options = JobOptions.parse(filter);
      const part = join(dir, 'part.dump');
      await exec(join(pgBin, 'pg_dump'), [
        '--format=custom',
        '--compress=0',
        ...dumpFilterArguments(options),
        `--file=${part}`,
        url,
      ]);
      const wanted = await readToc({ kind: 'custom', path: part, tocFile: part, manifestFile: null });
      const chosen = chooseEntries(toc, options);
      const names = (entries: typeof toc.entries): string[] =>
        entries
          .filter(
            ({ type }) => !['ENCODING', 'STDSTRINGS', 'SEARCHPATH', 'DATABASE', 'DATABASE PROPERTIES'].includes(type),
          )
          .filter(({ name, type }) => !(type === 'COMMENT' && name.startsWith('DATABASE ')))
          // A view that needs another table's key is printed in two parts, and pg_dump names publications of tables it leaves out.
          .filter(({ name, type }) => !name.endsWith(' _RETURN') && !type.startsWith('PUBLICATION '))
          .map(({ type, schema, name }) => `${type} ${schema ?? '-'} ${name}`)
          .toSorted(byText);
      const ours = names(toc.entries.filter(({ dumpId }) => chosen.has(dumpId)));
      expect(ours, JSON.stringify(filter)).toEqual(names(wanted.entries));
    }
  });

  test('a target with contents is refused, replaced on request, and filled with rows alone', async () => {
    const database = await freshDatabase(source);
    await source.run('CREATE TABLE mine (a int); INSERT INTO mine VALUES (1)', database);
    expect(ending(await importInto(source, database, archives.ours))).toMatchObject({
      status: 'blocked',
      error: 'TARGET_NOT_EMPTY',
    });
    expect(await source.query('SELECT a FROM mine', database)).toEqual([{ a: 1 }]);
    expect(
      ending(await importInto(source, database, archives.ours, { options: { replace: true, schemaOnly: true } })),
    ).toEqual(whole);
    expect(await source.query('SELECT count(*)::int AS n FROM customer', database)).toEqual([{ n: 0 }]);
    await source.run(`ALTER TABLE orders ADD CONSTRAINT small CHECK (total < 100)`, database);
    const failed = await importInto(source, database, archives.ours, { options: { dataOnly: true } });
    expect(ending(failed)).toMatchObject({ status: 'failed', error: 'TABLES_FAILED' });
    expect(failed.end.error?.message).toContain('public.orders');
    expect(await source.query('SELECT count(*)::int AS n FROM customer', database)).toEqual([{ n: 3002 }]);
    await source.run(`ALTER TABLE orders DROP CONSTRAINT small`, database);
    expect(
      ending(await importInto(source, database, archives.custom, { options: { dataOnly: true, replace: true } })),
    ).toEqual(whole);
    await expectSameRows(database);
  });

  async function expectSameRows(database: string): Promise<void> {
    const [before, after] = await Promise.all([contentsOf(source, 'shop'), contentsOf(source, database)]);
    expect(after).toEqual(before);
  }
});

describe('what ends in the middle', () => {
  test('an agent that is killed while it loads: resume ends with a proven copy', async () => {
    const database = await freshDatabase(source);
    const state = await mkdtemp(join(tmpdir(), 'pgsluice-test-state-'));
    try {
      const killed = await runCli(['import', archives.ours, '--json'], {
        env: { PGSLUICE_TARGET_URL: source.url(database) },
        pgBin,
        state,
        onEvent: (event, kill) => {
          if (event.type === 'table' && event.table.state === 'copied') kill('SIGKILL');
        },
      });
      expect(killed.code).toBe(-1);
      const resumed = await runCli(['resume', '--json'], { state, pgBin });
      expect(endingOfCli(resumed)).toEqual(wholeByCli);
      await expectSame(source, 'shop', database);
    } finally {
      await rm(state, { recursive: true, force: true });
    }
  });

  test('a cancelled import ends soon, and leaves neither sessions nor a program behind', async () => {
    const big = join(dir, 'big.dump');
    await source.createDatabase('big', `TEMPLATE template0 ENCODING 'UTF8'`);
    await source.run(
      `CREATE TABLE big AS SELECT n, repeat(md5(n::text), 20) AS t FROM generate_series(1, 60000) n`,
      'big',
    );
    await exec(join(pgBin, 'pg_dump'), [
      '--format=custom',
      '--compress=0',
      `--file=${big}`,
      `--dbname=${source.url('big')}`,
    ]);
    const database = await freshDatabase(source);
    let told = false;
    const outcome = await runCli(['import', big, '--json'], {
      env: { PGSLUICE_TARGET_URL: source.url(database) },
      pgBin,
      onEvent: (event, kill) => {
        if (told || event.type !== 'table' || event.table.state !== 'copying') return;
        told = true;
        kill('SIGINT');
      },
    });
    expect(endingOfCli(outcome)).toMatchObject({ code: 130, status: 'cancelled' });
    expect(await source.sessions()).toEqual([]);
    const { stdout } = await exec('sh', ['-c', 'ps -eo args | grep "[p]g_restore" | grep -F "$0" || true', big]);
    expect(stdout).toBe('');
  });
});
