import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  statfsSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { sql } from 'drizzle-orm';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rowsOf } from '../src/store/database.ts';
import { ownIdentity } from '../src/store/process-identity.ts';
import { Store } from '../src/store/store.ts';
import { killStarting, startDaemon } from './support/daemon.ts';
import { slice } from './support/long.ts';

// What may happen to the files of a state: each has one outcome, and none of them is an empty state that looks like a new one.

const exec = promisify(execFile);
let dir: string;
let whole: string;

const open = (state: string): Promise<Store> => Store.open({ state, secretKey: null, role: 'daemon' });

async function kept(store: Store): Promise<number> {
  const [row] = rowsOf<{ n: number }>(await store.db.execute(sql`select count(*)::int as n from public.kept`));
  return row?.n ?? -1;
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'pgsluice-store-faults-'));
  whole = join(dir, 'whole');
  const store = await open(whole);
  await store.db.execute(
    sql`create table public.kept as select g, repeat('x', 500) as f from generate_series(1, 2000) g`,
  );
  await store.close();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** What stands in the files' folder; the embedded server's own mark of being at work is none of it. */
const listed = (state: string): string[] | null =>
  existsSync(join(state, 'db'))
    ? readdirSync(join(state, 'db'))
        .filter((name) => name !== 'postmaster.pid')
        .toSorted()
    : null;

const files = (state: string, folder: string, more: (name: string) => boolean): string[] =>
  readdirSync(join(state, 'db', folder))
    .filter(more)
    .map((name) => join(state, 'db', folder, name));

describe('torn files', () => {
  const tears = [
    {
      what: 'pg_control cut off',
      tear: (state: string): void => truncateSync(join(state, 'db/global/pg_control'), 100),
    },
    { what: 'PG_VERSION gone', tear: (state: string) => rmSync(join(state, 'db/PG_VERSION')) },
    { what: 'no file left', tear: (state: string) => rmSync(join(state, 'db'), { recursive: true }) },
    {
      what: 'an empty log',
      tear: (state: string) => {
        for (const file of files(state, 'pg_wal', (name) => /^[0-9A-F]{24}$/.test(name))) truncateSync(file, 0);
      },
    },
    {
      what: 'tables cut off',
      tear: (state: string) => {
        for (const file of files(state, 'base/5', (name) => /^\d+$/.test(name)))
          if (statSync(file).size > 8192) truncateSync(file, 100);
      },
    },
  ];
  test.each(slice(tears, ({ what }) => /PG_VERSION|tables/.test(what)))(
    '$what: the state is called damaged and left as it is, and the directory is free',
    async ({ what, tear }) => {
      const state = join(dir, what.replaceAll(' ', '-'));
      cpSync(whole, state, { recursive: true });
      tear(state);
      const before = listed(state);
      const error: unknown = await open(state).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: 'STATE_DAMAGED', hint: expect.stringContaining('copy') as string });
      expect(existsSync(join(state, 'agent.lock'))).toBe(false);
      expect(listed(state)).toEqual(before);
      // What was put back is used.
      rmSync(join(state, 'db'), { recursive: true, force: true });
      cpSync(join(whole, 'db'), join(state, 'db'), { recursive: true });
      const again = await open(state);
      expect(await kept(again)).toBe(2000);
      await again.close();
    },
  );

  test('a first start that was killed in its middle leaves nothing in the way of the next one', async () => {
    const state = join(dir, 'first');
    mkdirSync(join(state, 'db/global'), { recursive: true });
    writeFileSync(join(state, 'db/PG_VERSION'), '17\n');
    writeFileSync(join(state, 'db/global/pg_control'), 'half');
    await (await open(state)).close();
    expect(readdirSync(state).filter((name) => name.startsWith('db.unfinished-'))).toHaveLength(1);
    // Really killed, at several moments; each next start is a good one.
    const moments = slice([400, 900, 1500, 2500], (ms) => ms === 1500);
    for (const ms of moments) {
      const fresh = join(dir, `killed-after-${ms}`);
      mkdirSync(fresh);
      await killStarting(fresh, ms);
    }
    const last = join(dir, 'killed-after-1500');
    await (await startDaemon(last)).stop();
  });
});

test('a full disk refuses what is new, loses nothing that was kept, says what it wants, and goes on when it has it', async ({
  skip,
}) => {
  const mount = join(dir, 'small');
  mkdirSync(mount);
  const mounted = await exec('mount', ['-t', 'tmpfs', '-o', 'size=110m', 'tmpfs', mount]).then(
    () => true,
    () => false,
  );
  if (!mounted) return skip('only root may mount a small disk');
  try {
    const state = join(mount, 'state');
    const store = await open(state);
    await store.db.execute(sql`create table public.kept (g int primary key, f text)`);
    await store.db.execute(sql`alter table public.kept alter f set storage external`);
    let acknowledged = 0;
    let refused: unknown = null;
    while (refused === null && acknowledged < 1000) {
      const row = sql`insert into public.kept values (${acknowledged + 1}, repeat('0123456789', 20000))`;
      refused = await store.db.execute(row).then(
        () => null,
        (error: unknown) => error,
      );
      if (refused === null) acknowledged += 1;
    }
    expect((refused as Error).cause).toMatchObject({ code: 'STATE_DISK_FULL', retryable: true });
    expect(acknowledged).toBeGreaterThan(50);
    expect(await kept(store)).toBe(acknowledged);
    // Somebody else takes the rest: now even what only reads could want room that is not there, and would wait for itself for ever.
    const filler = join(mount, 'filler');
    expect(() => writeFileSync(filler, Buffer.alloc(120 * 1024 * 1024))).toThrow(/ENOSPC/);
    await expect(kept(store)).rejects.toMatchObject({ cause: { code: 'STATE_DISK_FULL' } });
    rmSync(filler);
    expect(await kept(store)).toBe(acknowledged);
    // With room again it goes on as it is.
    await exec('mount', ['-o', 'remount,size=300m', mount]);
    await store.db.execute(sql`insert into public.kept values (0, 'more')`);
    expect(await kept(store)).toBe(acknowledged + 1);
    await store.close();

    // The same of an agent: what is asked of it is answered, and in words.
    const daemon = await startDaemon(state);
    const left = statfsSync(mount);
    writeFileSync(filler, Buffer.alloc(left.bavail * left.bsize - 20 * 1024 * 1024));
    const job = { source: { url: 'postgres://a@127.0.0.1:1/b' }, target: { url: 'postgres://a@127.0.0.1:1/c' } };
    const create = (): Promise<unknown> => daemon.api('/api/jobs', { method: 'POST', body: job });
    await expect(create()).rejects.toThrow(/answered 503.*STATE_DISK_FULL.*Make room on that disk/);
    expect(await daemon.api('/api/jobs')).toMatchObject({ jobs: [] });
    rmSync(filler);
    expect(await create()).toMatchObject({ state: 'draft' });
    await daemon.kill9();

    // Nothing to open it with.
    expect(() => writeFileSync(filler, Buffer.alloc(301 * 1024 * 1024))).toThrow(/ENOSPC/);
    await expect(open(state)).rejects.toMatchObject({ code: 'STATE_DISK_FULL', retryable: true });
    rmSync(filler);
    const again = await open(state);
    expect(await kept(again)).toBe(acknowledged + 1);
    await again.close();
  } finally {
    // The embedded server keeps files open as long as this process lives.
    await exec('umount', ['-l', mount]);
  }
});

test('a second agent is refused while the first one lives, with the process that has the state; a stale lock is taken over', async () => {
  const state = join(dir, 'held');
  cpSync(whole, state, { recursive: true });
  const daemon = await startDaemon(state);
  await expect(open(state)).rejects.toMatchObject({ code: 'STATE_DIRECTORY_HELD', retryable: true });
  await expect(startDaemon(state)).rejects.toThrow(/in use by another pgsluice process \(pid \d+/);
  expect(await daemon.api('/api/jobs')).toMatchObject({ jobs: [] });
  await daemon.kill9();
  // Of a process that is gone, and of one whose number another process has now.
  const store = await open(state);
  await store.close();
  writeFileSync(join(state, 'agent.lock'), JSON.stringify({ ...ownIdentity(), processStart: '1', token: 'stale' }));
  const another = await open(state);
  expect(await kept(another)).toBe(2000);
  await another.close();
});

test('an older program leaves the state of a newer one as it is, also as a daemon', async () => {
  const state = join(dir, 'newer');
  cpSync(whole, state, { recursive: true });
  const store = await open(state);
  await store.db.execute(sql`insert into pgsluice.migrations (hash, created_at) values ('future', 9999999999999)`);
  await store.close();
  await expect(startDaemon(state)).rejects.toThrow(/newer version of pgsluice/);
  await expect(open(state)).rejects.toMatchObject({ code: 'STATE_TOO_NEW' });
});
