import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { sql } from 'drizzle-orm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openPostgres } from '../src/store/postgres-database.ts';
import { migrateState } from '../src/store/migrate.ts';
import { DirectoryLock } from '../src/store/directory-lock.ts';
import { findJob, insertJob } from '../src/store/job-queries.ts';
import { ownIdentity } from '../src/store/process-identity.ts';
import { Store } from '../src/store/store.ts';
import { JobOptions } from '../src/contract/options.ts';
import { type ChildProgram, compileChild } from './support/child.ts';
import { startServer, type TestServer } from './support/servers.ts';

const code = (value: string) => expect.objectContaining({ code: value });
let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pgsluice-store-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const embedded = (secretKey: string | null = null) => ({ state: join(dir, 'state'), secretKey, role: 'daemon' });
const noTotals = { tables: 0, tablesDone: 0, tablesFailed: 0, rows: 0, bytes: 0, fraction: 0 };

describe('the lock of a state directory', () => {
  let child: ChildProgram;
  beforeAll(async () => {
    child = await compileChild('lock-child.ts');
  });
  afterAll(() => child.remove());

  test('a living second process is named; its death frees the directory', async () => {
    const holder = child.start([dir]);
    expect(await holder.line()).toBe('won');
    await expect(DirectoryLock.acquire(dir)).rejects.toThrow(
      expect.objectContaining({
        code: 'STATE_DIRECTORY_HELD',
        message: expect.stringContaining(`pid ${holder.process.pid}`) as string,
      }),
    );
    await holder.kill9();
    const lock = await DirectoryLock.acquire(dir);
    lock.release();
    expect(existsSync(join(dir, 'agent.lock'))).toBe(false);
  });

  test('of many processes that find a dead holder, one takes over', async () => {
    const first = child.start([dir]);
    expect(await first.line()).toBe('won');
    await first.kill9();
    const takers = Array.from({ length: 8 }, () => child.start([dir]));
    const answers = await Promise.all(takers.map((taker) => taker.line()));
    expect(answers.filter((answer) => answer === 'won')).toHaveLength(1);
    expect(answers.filter((answer) => answer === 'STATE_DIRECTORY_HELD')).toHaveLength(7);
    await Promise.all(takers.map((taker) => taker.kill9()));
  });

  test('nor do two, when they come to it in the same millisecond', async () => {
    const directories = Array.from({ length: 40 }, (_, n) => join(dir, String(n)));
    for (const directory of directories) {
      mkdirSync(directory);
      const dead = JSON.stringify({ ...ownIdentity(), processStart: '1', token: 'dead' });
      writeFileSync(join(directory, 'agent.lock'), dead);
    }
    const moment = String(Date.now() + 2_500);
    const takers = Array.from({ length: 4 }, () => child.start([moment, '60', ...directories]));
    const ends = await Promise.all(takers.map(async (taker) => JSON.parse(await taker.line()) as string[]));
    const won = directories.map((_, n) => ends.filter((one) => one[n] === 'won').length);
    expect(won).toEqual(directories.map(() => 1));
    await Promise.all(takers.map((taker) => taker.kill9()));
  });

  test('a recycled process id is not mistaken for the holder, nor is a torn lock file', async () => {
    const path = join(dir, 'agent.lock');
    writeFileSync(path, JSON.stringify({ ...ownIdentity(), processStart: '1', token: 'old' }));
    const lock = await DirectoryLock.acquire(dir);
    await expect(DirectoryLock.acquire(dir)).rejects.toThrow(code('STATE_DIRECTORY_HELD'));
    lock.release();
    writeFileSync(path, '');
    (await DirectoryLock.acquire(dir)).release();
  });

  test('a holder of another host without a heartbeat is believed dead', async () => {
    const path = join(dir, 'agent.lock');
    writeFileSync(path, JSON.stringify({ ...ownIdentity(), scope: 'elsewhere', token: 'old' }));
    const lock = await DirectoryLock.acquire(dir);
    expect(readdirSync(dir)).toEqual(['agent.lock']);
    lock.release();
  });
});

describe('the embedded store', () => {
  test('opens for one process only, keeps what it was given, and is private', async () => {
    // Made by somebody, who thought of nothing.
    mkdirSync(join(dir, 'state'), { mode: 0o755 });
    const store = await Store.open(embedded());
    expect(statSync(join(dir, 'state')).mode & 0o777).toBe(0o700);
    await expect(Store.open(embedded())).rejects.toThrow(code('STATE_DIRECTORY_HELD'));
    await insertJob(store.db, job('one', store));
    await store.close();

    const again = await Store.open(embedded());
    expect(await again.ready()).toBe(true);
    const row = await findJob(again.db, 'one');
    expect(again.secrets.open(row?.source ?? '', 'one:source')).toContain(password);
    await again.close();
  });

  test('no file of the state holds the password', async () => {
    const store = await Store.open(embedded('a secret of more than 16 characters'));
    await insertJob(store.db, job('one', store));
    await store.db.execute(sql`checkpoint`);
    await store.close();
    const files = readdirSync(join(dir, 'state'), { recursive: true, withFileTypes: true }).filter((f) => f.isFile());
    expect(files.length).toBeGreaterThan(100);
    for (const file of files) {
      const bytes = readFileSync(join(file.parentPath, file.name));
      const found = ['db.example.com', password].filter((text) => bytes.includes(text));
      expect({ file: file.name, found }).toEqual({ file: file.name, found: [] });
    }
  });

  test('a wrong key is told at once and leaves the directory free', async () => {
    await (await Store.open(embedded('the first secret key'))).close();
    await expect(Store.open(embedded('another secret key'))).rejects.toThrow(code('SECRET_KEY_WRONG'));
    await expect(Store.open(embedded())).rejects.toThrow(code('SECRET_KEY_WRONG'));
    await expect(Store.open(embedded('short'))).rejects.toThrow(code('SECRET_KEY_TOO_SHORT'));
    await (await Store.open(embedded('the first secret key'))).close();
  });

  test('a state of a newer program is left alone', async () => {
    const store = await Store.open(embedded());
    await store.db.execute(sql`insert into pgsluice.migrations (hash, created_at) values ('future', 9999999999999)`);
    await store.close();
    await expect(Store.open(embedded())).rejects.toThrow(code('STATE_TOO_NEW'));
  });
});

describe('the store in PostgreSQL', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startServer({ name: 'state' });
  });
  afterAll(() => server.stop());

  test('ten agents open an empty state at once', async () => {
    const state = await server.createDatabase('ten');
    const options = { state, secretKey: randomBytes(32).toString('hex'), role: 'daemon' };
    const stores = await Promise.all(Array.from({ length: 10 }, () => Store.open(options)));
    // Each migration once.
    const files = readdirSync(join(import.meta.dirname, '..', 'migrations')).filter((file) => file.endsWith('.sql'));
    expect(await server.query('select count(*)::int as n from pgsluice.migrations', 'ten')).toEqual([
      { n: files.length },
    ]);
    expect(await server.query('select count(*)::int as n from pgsluice.agents', 'ten')).toEqual([{ n: 10 }]);
    await expect(Store.open({ ...options, secretKey: 'quite another secret' })).rejects.toThrow(
      code('SECRET_KEY_WRONG'),
    );
    await Promise.all(stores.map((store) => store.close()));
    expect(await server.query('select count(*)::int as n from pgsluice.agents', 'ten')).toEqual([{ n: 0 }]);
  });

  test('a newer state is left alone, and the lock is not kept', async () => {
    const state = await server.createDatabase('newer');
    const open = await openPostgres(state);
    await open.onOneConnection((db) => migrateState(db, 'advisory'));
    await open.db.execute(sql`insert into pgsluice.migrations (hash, created_at) values ('future', 9999999999999)`);
    await expect(open.onOneConnection((db) => migrateState(db, 'advisory'))).rejects.toThrow(code('STATE_TOO_NEW'));
    const locks = await server.query(`select count(*)::int as n from pg_locks where locktype = 'advisory'`, 'newer');
    expect(locks).toEqual([{ n: 0 }]);
    await open.close();
  });

  test('a database that cannot be used is told without the password', async () => {
    const state = server.url('postgres', 'postgres', 'wr0ng-password');
    const error = await Store.open({ state, secretKey: null, role: 'daemon' }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'STATE_UNREACHABLE', message: expect.stringContaining('The state') as string });
    expect(inspect(error, { depth: 5 })).not.toContain('wr0ng');
    await expect(Store.open({ state: 'postgres://h:x', secretKey: null, role: 'daemon' })).rejects.toThrow(
      code('INVALID_STATE'),
    );
  });
});

const password = 'Pa55-that-must-not-be-found';

function job(id: string, store: Store) {
  const settings = JSON.stringify({ host: 'db.example.com', password });
  return {
    id,
    name: 'a job',
    state: 'draft' as const,
    source: store.secrets.seal(settings, `${id}:source`),
    target: store.secrets.seal(settings, `${id}:target`),
    options: JobOptions.parse({}),
    totals: noTotals,
  };
}
