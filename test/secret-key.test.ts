import { cpSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { sql } from 'drizzle-orm';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { JobOptions, JobRequest } from '../src/contract/options.ts';
import { forgetPasswords, passwordBounds } from '../src/jobs/forget-passwords.ts';
import { openEndpoints } from '../src/jobs/job-view.ts';
import { newJobRow } from '../src/jobs/new-job.ts';
import { rotateKey } from '../src/jobs/rotate-key.ts';
import { withCalls } from '../src/jobs/sealed-calls.ts';
import { deleteJob, findJob, insertJob } from '../src/store/job-queries.ts';
import { Store } from '../src/store/store.ts';
import { startServer, type TestServer } from './support/servers.ts';

const password = `p@ss/w:rd %41 'q"\\ $x é`;
const webhook = 'https://user:token@hooks.example/a/b?c=d';
const code = (value: string) => expect.objectContaining({ code: value }) as Error;
let dir: string;
let server: TestServer;

/** An empty state in a directory: to make one takes seconds, to copy it none. */
let template: string;

beforeAll(async () => {
  server = await startServer({ name: 'secret-key' });
  template = mkdtempSync(join(tmpdir(), 'pgsluice-key-template-'));
  await (await Store.open({ state: template, secretKey: null, role: 'daemon' })).close();
});
afterAll(async () => {
  await server?.stop();
  rmSync(template, { recursive: true, force: true });
});
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pgsluice-key-'));
  cpSync(template, join(dir, 'state'), { recursive: true });
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const inDirectory = () => ({ state: join(dir, 'state'), secretKey: null });
const keyFile = () => join(dir, 'state', 'secret.key');
const open = (at: { state: string; secretKey: string | null }) => Store.open({ ...at, role: 'daemon' });

async function addJob(store: Store): Promise<string> {
  const side = { host: 'db.example', user: 'app', database: 'shop', password };
  const request = JobRequest.parse({ source: side, target: side, options: { hooks: [{ on: 'completed', webhook }] } });
  const row = newJobRow(store, request, null);
  await store.underKey((db) => insertJob(db, row));
  return row.id;
}

async function readable(store: Store, id: string): Promise<boolean> {
  const row = await findJob(store.db, id);
  if (row === null) throw new Error('the job is gone');
  const { source, target } = openEndpoints(store.secrets, row);
  const [hook] = withCalls(store.secrets, row).options.hooks;
  return source.password === password && target.password === password && hook?.webhook === webhook;
}

test('a new key file opens everything, and the old one nothing', async () => {
  let store = await open(inDirectory());
  const ids = [await addJob(store), await addJob(store)];
  await store.close();
  const old = readFileSync(keyFile(), 'utf8');

  expect(await rotateKey({ ...inDirectory(), newKey: null })).toEqual({ jobs: 2, file: keyFile(), others: [] });
  expect(readFileSync(keyFile(), 'utf8')).not.toBe(old);
  store = await open(inDirectory());
  for (const id of ids) expect(await readable(store, id)).toBe(true);
  await store.close();

  writeFileSync(keyFile(), old);
  const refused = open(inDirectory());
  await expect(refused).rejects.toThrow(code('SECRET_KEY_WRONG'));
  await expect(refused).rejects.toThrow(/sealed with a new key at 2/);
});

test('interrupted before the commit the old key counts, after it the new one, and the next start finds out which', async () => {
  let store = await open(inDirectory());
  const id = await addJob(store);
  await store.close();
  const old = readFileSync(keyFile(), 'utf8');

  // Killed before the commit: a key stands beside the file that nothing was sealed with.
  writeFileSync(`${keyFile()}.next`, `${randomBytes(32).toString('hex')}\n`);
  store = await open(inDirectory());
  expect(await readable(store, id)).toBe(true);
  await store.close();
  expect(existsSync(`${keyFile()}.next`)).toBe(false);
  expect(readFileSync(keyFile(), 'utf8')).toBe(old);

  // Killed after the commit: the new key does not have its name yet.
  await rotateKey({ ...inDirectory(), newKey: null });
  const fresh = readFileSync(keyFile(), 'utf8');
  renameSync(keyFile(), `${keyFile()}.next`);
  writeFileSync(keyFile(), old);
  store = await open(inDirectory());
  expect(await readable(store, id)).toBe(true);
  await store.close();
  expect(readFileSync(keyFile(), 'utf8')).toBe(fresh);
  expect(existsSync(`${keyFile()}.next`)).toBe(false);
});

test('a failure in the middle changes nothing', async () => {
  const at = { state: await server.createDatabase('middle'), secretKey: randomBytes(32).toString('hex') };
  const store = await open(at);
  const [first, second] = [await addJob(store), await addJob(store)];
  // What cannot be opened cannot be sealed anew: the second of two.
  const kept = await findJob(store.db, second);
  await store.db.execute(sql`update pgsluice.jobs set target = ${kept?.source} where id = ${second}`);
  await store.close();
  const newKey = randomBytes(32).toString('hex');
  await expect(rotateKey({ ...at, newKey })).rejects.toThrow(code('SECRET_KEY_WRONG'));
  const again = await open(at);
  expect(await readable(again, first)).toBe(true);
  await again.close();
});

test('agents of a shared state are told, and store nothing under the old key', async () => {
  const state = await server.createDatabase('shared');
  const [oldKey, newKey] = [randomBytes(32).toString('hex'), 'a passphrase of enough letters'];
  const agent = await open({ state, secretKey: oldKey });
  try {
    const id = await addJob(agent);
    await expect(rotateKey({ state, secretKey: oldKey, newKey: null })).rejects.toThrow(code('SECRET_KEY_NEW_MISSING'));
    expect(await agent.keyIsCurrent()).toBe(true);

    const { jobs, file, others } = await rotateKey({ state, secretKey: oldKey, newKey });
    expect({ jobs, file }).toEqual({ jobs: 1, file: null });
    expect(others).toEqual([expect.stringContaining(`pid ${process.pid}`)]);

    expect(await agent.keyIsCurrent()).toBe(false);
    await expect(addJob(agent)).rejects.toThrow(code('SECRET_KEY_ROTATED'));
    await expect(readable(agent, id)).rejects.toThrow(code('SECRET_KEY_WRONG'));
    await expect(open({ state, secretKey: oldKey })).rejects.toThrow(/sealed with a new key at/);
    const fresh = await open({ state, secretKey: newKey });
    expect(await readable(fresh, id)).toBe(true);
    expect(await server.query('select count(*)::int as n from pgsluice.jobs', 'shared')).toEqual([{ n: 1 }]);
    await fresh.close();
  } finally {
    await agent.close();
  }
});

test('a job that is sealed while the key changes is sealed anew or refused, never left behind', async () => {
  const state = await server.createDatabase('race');
  const [oldKey, newKey] = [randomBytes(32).toString('hex'), randomBytes(32).toString('hex')];
  const agent = await open({ state, secretKey: oldKey });
  const made: string[] = [];
  const refused: unknown[] = [];
  const over = new AbortController();
  const making = Promise.all(
    Array.from({ length: 4 }, async () => {
      while (!over.signal.aborted && refused.length === 0) {
        try {
          made.push(await addJob(agent));
        } catch (error) {
          refused.push(error);
        }
      }
    }),
  );
  await rotateKey({ state, secretKey: oldKey, newKey });
  setTimeout(() => over.abort(), 2000).unref();
  await making;
  await agent.close();
  expect(refused[0]).toEqual(code('SECRET_KEY_ROTATED'));
  expect(made.length).toBeGreaterThan(0);
  const fresh = await open({ state, secretKey: newKey });
  for (const id of made) expect(await readable(fresh, id)).toBe(true);
  expect(await server.query('select count(*)::int as n from pgsluice.jobs', 'race')).toEqual([{ n: made.length }]);
  await fresh.close();
});

test('passwords go when nothing needs them any more, and stay while something may', async () => {
  const store = await open({
    state: await server.createDatabase('forget'),
    secretKey: randomBytes(32).toString('hex'),
  });
  const put = async (set: string): Promise<string> => {
    const id = await addJob(store);
    await store.db.execute(sql.raw(`update pgsluice.jobs set ${set} where id = '${id}'`));
    return id;
  };
  const ended = `finished_at = now() - interval '25 hours'`;
  const old = `updated_at = now() - interval '31 days'`;
  const gone = [
    await put(`state = 'completed', ${ended}`),
    await put(`state = 'failed', ${old}`),
    await put(`state = 'draft', ${old}`),
    await put(`state = 'completed', ${ended}, live = '{"stage": "cleaned"}'`),
  ];
  const owed = await put(`state = 'completed', ${ended}`);
  await store.db.execute(
    sql`insert into pgsluice.job_hooks (delivery, job_id, moment, position, state) values ('d', ${owed}, 'completed', 0, 'due')`,
  );
  const kept = [
    owed,
    await put(`state = 'completed', finished_at = now()`),
    await put(`state = 'failed', ${ended}`),
    await put(`state = 'paused', ${old}, ${ended}`),
    await put(`state = 'running', held = true, ${old}, ${ended}`),
    await put(`state = 'failed', ${old}, live = '{"stage": "following"}'`),
  ];
  const inHand = await put(`state = 'failed', ${old}`);
  expect(await forgetPasswords(store, passwordBounds, (id) => id !== inHand)).toBe(gone.length);
  for (const id of [...kept, inHand]) expect(await readable(store, id)).toBe(true);
  for (const id of gone) {
    const row = await findJob(store.db, id);
    if (row === null) throw new Error('the job is gone');
    const { source, target } = openEndpoints(store.secrets, row);
    expect([source.password, target.password, row.calls, source.host]).toEqual([null, null, null, 'db.example']);
    expect(row.passwordsForgottenAt).not.toBeNull();
    expect(JobOptions.parse(row.options).hooks[0]?.webhook).toBe('https://hooks.example/***');
  }
  expect(await forgetPasswords(store, passwordBounds, (id) => id !== inHand)).toBe(0);
  await store.close();
});

test('what is sealed goes with its job: no row of any table holds it then', async () => {
  const store = await open({
    state: await server.createDatabase('gone'),
    secretKey: randomBytes(32).toString('hex'),
  });
  const id = await addJob(store);
  const { source, target, calls } = (await findJob(store.db, id)) ?? {};
  const sealed = [source, target, calls].map((text) => text ?? '');
  const tables = await server.query(`select tablename from pg_tables where schemaname = 'pgsluice'`, 'gone');
  const holding = async (): Promise<string[]> => {
    const found: string[] = [];
    for (const { tablename } of tables) {
      const rows = await server.query(`select to_jsonb(t)::text as row from pgsluice.${String(tablename)} t`, 'gone');
      if (rows.some(({ row }) => sealed.some((text) => String(row).includes(text)))) found.push(String(tablename));
    }
    return found;
  };
  expect(await holding()).toEqual(['jobs']);
  await deleteJob(store.db, id);
  expect(await holding()).toEqual([]);
  await store.close();
});
