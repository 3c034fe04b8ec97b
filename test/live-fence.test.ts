import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { PgsluiceError } from '../src/errors.ts';
import {
  type Fence,
  type RaiseFenceInput,
  type ReadOnlyState,
  chooseFence,
  raiseFence,
  undoReadOnly,
} from '../src/live/fence.ts';
import { openSession } from '../src/postgres/session.ts';
import { type ConnectionSettings, parseEndpoint } from '../src/postgres/settings.ts';
import { type TestServer, startServer } from './support/servers.ts';

const SHOP = [
  { schema: 'shop', name: 'orders' },
  { schema: 'shop', name: 'items' },
  { schema: 'shop', name: 'days_1' },
];
const PASSWORD = 'secret word';

let server: TestServer;
const clients: Client[] = [];
const fences: Fence[] = [];
let controller = new AbortController();

beforeAll(async () => {
  server = await startServer({ name: 'fence', settings: { wal_level: 'logical', autovacuum_naptime: '1s' } });
  await server.run(`
    CREATE ROLE app LOGIN PASSWORD '${PASSWORD}';
    CREATE ROLE mover LOGIN PASSWORD '${PASSWORD}';
    CREATE ROLE reader LOGIN PASSWORD '${PASSWORD}'`);
  await server.createDatabase('shop');
  await server.run(
    `CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO app, mover, reader;
     CREATE TABLE shop.orders (id int PRIMARY KEY, n int NOT NULL);
     CREATE TABLE shop.items (id int PRIMARY KEY, n int NOT NULL);
     CREATE TABLE shop.days (day int NOT NULL) PARTITION BY RANGE (day);
     CREATE TABLE shop.days_1 PARTITION OF shop.days FOR VALUES FROM (0) TO (1000);
     INSERT INTO shop.orders SELECT i, 0 FROM generate_series(1, 100) i;
     INSERT INTO shop.items SELECT i, 0 FROM generate_series(1, 100) i;
     GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shop TO app, mover;
     GRANT SELECT ON ALL TABLES IN SCHEMA shop TO reader`,
    'shop',
  );
});

afterEach(async () => {
  controller.abort();
  controller = new AbortController();
  await Promise.all(fences.splice(0).map((fence) => fence.lift()));
  await Promise.all(clients.splice(0).map((client) => client.end().catch(() => undefined)));
  await server.run('ALTER DATABASE shop RESET default_transaction_read_only');
  const left = await server.sessions();
  if (left.length > 0) throw new Error(`sessions of ours are left: ${JSON.stringify(left)}`);
});

afterAll(async () => {
  await server?.stop();
});

async function connect(role: string): Promise<Client> {
  const client = new Client({
    connectionString: role === 'postgres' ? server.url('shop') : server.url('shop', role, PASSWORD),
  });
  client.on('error', () => undefined);
  await client.connect();
  clients.push(client);
  return client;
}

const settingsOf = (role: string): ConnectionSettings =>
  parseEndpoint({ url: role === 'postgres' ? server.url('shop') : server.url('shop', role, PASSWORD) }, 'source');

interface Raised {
  readonly fence: Fence;
  readonly states: string[];
  readonly logs: string[];
  readonly records: (ReadOnlyState | null)[];
}

async function planFor(role: string, tables = SHOP) {
  const session = await openSession(settingsOf(role), { signal: controller.signal, side: 'source', purpose: 'plan' });
  try {
    return await chooseFence(session, tables);
  } finally {
    await session.close();
  }
}

async function raise(role: string, more: Partial<RaiseFenceInput> = {}): Promise<Raised> {
  const states: string[] = [];
  const logs: string[] = [];
  const records: (ReadOnlyState | null)[] = [];
  const fence = await raiseFence({
    settings: settingsOf(role),
    job: 'job-1',
    plan: more.plan ?? (await planFor(role)),
    signal: controller.signal,
    deadlineAt: Date.now() + 10_000,
    onState: (text) => void states.push(text),
    record: (state) => Promise.resolve(void records.push(state)),
    log: (_level, message) => void logs.push(message),
    ...more,
  });
  fences.push(fence);
  return { fence, states, logs, records };
}

/** The outcome of a write: `done`, or the SQLSTATE it failed with. */
async function write(client: Client, sql: string): Promise<string> {
  try {
    await client.query(sql);
    return 'done';
  } catch (error) {
    const code: unknown = Reflect.get(Object(error), 'code');
    return typeof code === 'string' ? code : String(error);
  }
}

async function until<T>(what: () => Promise<T | false | undefined> | T | false | undefined): Promise<T> {
  for (const end = Date.now() + 10_000; Date.now() < end; await sleep(10)) {
    const value = await what();
    if (value !== false && value !== undefined) return value;
  }
  throw new Error('it did not happen in 10 s');
}

const failure = async (work: Promise<unknown>): Promise<PgsluiceError> => {
  try {
    await work;
  } catch (error) {
    if (error instanceof PgsluiceError) return error;
    throw error;
  }
  throw new Error('it succeeded');
};

test('under the lock writers of every role wait, readers go on, and lifting lets the writers go on without an error', async () => {
  const [app, mover, root] = [await connect('app'), await connect('mover'), await connect('postgres')];
  await root.query('BEGIN; SELECT * FROM shop.orders');
  const { fence, records } = await raise('mover');
  expect(fence.means).toBe('lock');
  const late = await connect('app');
  const outcomes = Promise.all([
    write(app, 'UPDATE shop.orders SET n = n + 1 WHERE id = 1'),
    write(mover, 'INSERT INTO shop.items VALUES (1001, 1)'),
    write(root, 'DELETE FROM shop.items WHERE id = 100'),
    write(late, 'INSERT INTO shop.days VALUES (7)'),
  ]);
  const waiting = await until(async () => {
    const now = await fence.waiting();
    return now.length === 4 && now;
  });
  expect(waiting.map((one) => one.role).toSorted()).toEqual(['app', 'app', 'mover', 'postgres']);
  expect(waiting.every((one) => one.since !== null && Date.now() - one.since < 10_000)).toBe(true);
  const reader = await connect('reader');
  expect((await reader.query('SELECT count(*)::int AS n FROM shop.orders')).rows).toEqual([{ n: 100 }]);
  await fence.assertStanding();
  expect(await Promise.race([outcomes, sleep(700, 'waits')])).toBe('waits');
  await fence.lift();
  expect(await outcomes).toEqual(['done', 'done', 'done', 'done']);
  await root.query('COMMIT');
  expect((await reader.query('SELECT n FROM shop.orders WHERE id = 1')).rows).toEqual([{ n: 1 }]);
  expect(records).toEqual([]);
});

test('a commit that was acknowledged before the fence is before its LSN and on disk, with synchronous_commit off', async () => {
  const app = await connect('app');
  await app.query('SET synchronous_commit = off');
  await app.query('UPDATE shop.orders SET n = n + 1 WHERE id = 2');
  const [before] = await server.query('SELECT pg_current_wal_insert_lsn()::text AS lsn', 'shop');
  const { fence } = await raise('mover');
  const startedAt = performance.now();
  const lsn = await fence.lsn();
  const ms = performance.now() - startedAt;
  const [after] = await server.query(
    'SELECT $1::bigint >= ($2::pg_lsn - $3::pg_lsn) AS covers, pg_current_wal_flush_lsn() - $3::pg_lsn > $1 AS flushed',
    'shop',
    [lsn.toString(), before?.['lsn'], '0/0'],
  );
  expect(after).toEqual({ covers: true, flushed: true });
  expect(ms).toBeLessThan(150);
});

test('a transaction in the way is named and waited for; writers are never held for longer than we wait', async () => {
  const blocker = await connect('app');
  await blocker.query('BEGIN; UPDATE shop.items SET n = 5 WHERE id = 5');
  const app = await connect('app');
  const raising = raise('mover');
  let slowest = 0;
  const end = Date.now() + 1500;
  while (Date.now() < end) {
    const startedAt = performance.now();
    expect(await write(app, 'UPDATE shop.orders SET n = n + 1 WHERE id = 3')).toBe('done');
    slowest = Math.max(slowest, performance.now() - startedAt);
  }
  await blocker.query('COMMIT');
  const { fence, states } = await raising;
  expect(slowest).toBeLessThan(700);
  const [pid] = (await blocker.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows;
  expect(
    states.some(
      (text) => text.startsWith('Waiting for') && text.includes(`process ${pid?.pid} (role app, on shop.items`),
    ),
  ).toBe(true);
  expect(fence.attempts).toBe(2);
});

test('a blocker that stays ends the attempt at the deadline by name, with nothing locked', async () => {
  const blocker = await connect('app');
  await blocker.query('BEGIN; UPDATE shop.items SET n = 5 WHERE id = 6');
  const error = await failure(raise('mover', { deadlineAt: Date.now() + 800 }));
  expect(error.code).toBe('FENCE_TIMEOUT');
  expect(error.message).toContain('role app, on shop.items');
  const app = await connect('app');
  expect(await write(app, 'UPDATE shop.orders SET n = n + 1 WHERE id = 3')).toBe('done');
});

test('ten fences over writers that lock two tables in opposite order: no deadlock is ever found in the application', async () => {
  await server.run(`ALTER SYSTEM SET deadlock_timeout = '200ms'; `);
  await server.run('SELECT pg_reload_conf()');
  await until(async () => (await server.query('SHOW deadlock_timeout', 'shop'))[0]?.['deadlock_timeout'] === '200ms');
  const outcomes: string[] = [];
  const over = new AbortController();
  const writer = async (at: number): Promise<void> => {
    const client = await connect('app');
    const [first, second] = at % 2 === 0 ? ['orders', 'items'] : ['items', 'orders'];
    const id = 10 + at;
    while (!over.signal.aborted) {
      const outcome = await write(client, `BEGIN; UPDATE shop.${first} SET n = n + 1 WHERE id = ${id}`);
      await sleep(20);
      const then =
        outcome === 'done'
          ? await write(client, `UPDATE shop.${second} SET n = n + 1 WHERE id = ${id}; COMMIT`)
          : outcome;
      if (then !== 'done') await client.query('ROLLBACK');
      outcomes.push(then);
      await sleep(Math.random() * 60);
    }
  };
  const writers = Array.from({ length: 6 }, (_, at) => writer(at));
  let attempts = 0;
  for (let round = 0; round < 10; round++) {
    const { fence } = await raise('mover', { deadlineAt: Date.now() + 60_000 });
    attempts += fence.attempts;
    await sleep(250);
    await fence.lift();
    await sleep(100);
  }
  over.abort();
  await Promise.all(writers);
  await server.run('ALTER SYSTEM RESET deadlock_timeout');
  await server.run('SELECT pg_reload_conf()');
  expect(outcomes.length).toBeGreaterThan(200);
  expect(outcomes.filter((outcome) => outcome !== 'done')).toEqual([]);
  expect(attempts).toBeGreaterThan(10);
  const [sums] = await server.query(
    'SELECT (SELECT sum(n) FROM shop.orders WHERE id BETWEEN 10 AND 15)::int AS orders, (SELECT sum(n) FROM shop.items WHERE id BETWEEN 10 AND 15)::int AS items',
    'shop',
  );
  expect(sums).toEqual({ orders: outcomes.length, items: outcomes.length });
});

// When the server starts, ends and repeats a vacuum is its own affair.
test('an autovacuum at work gives way', { retry: 2 }, async () => {
  await server.run(
    `CREATE TABLE shop.worn (id int, filler text) WITH (autovacuum_enabled = true, autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0,
       autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, fillfactor = 10);
     INSERT INTO shop.worn SELECT i, repeat('x', 400) FROM generate_series(1, 3000) i; DELETE FROM shop.worn WHERE id % 2 = 0;
     GRANT UPDATE ON shop.worn TO mover`,
    'shop',
  );
  const vacuuming = async (): Promise<boolean> =>
    (await server.query(`SELECT FROM pg_stat_activity WHERE query LIKE 'autovacuum: VACUUM%shop.worn%'`)).length > 0;
  try {
    for (const end = Date.now() + 60_000; !(await vacuuming());) {
      expect(Date.now()).toBeLessThan(end);
      await sleep(100);
    }
    const startedAt = Date.now();
    const tables = [...SHOP, { schema: 'shop', name: 'worn' }];
    const { fence, states } = await raise('mover', { plan: await planFor('mover', tables) });
    expect(await vacuuming()).toBe(false);
    expect(Date.now() - startedAt).toBeLessThan(4000);
    expect(states).toContain('Waiting for a vacuum of shop.worn; writers go on.');
    await fence.lift();
  } finally {
    await server.run('DROP TABLE shop.worn', 'shop');
  }
});

test('when the session of the fence is ended, it is noticed at once and the writers go on', async () => {
  const app = await connect('app');
  let heard: PgsluiceError | null = null;
  const { fence } = await raise('mover', { onLost: (error) => (heard = error) });
  const outcome = write(app, 'UPDATE shop.orders SET n = n + 1 WHERE id = 4');
  await until(async () => (await fence.waiting()).length === 1);
  await server.run(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgsluice fence job-1'`,
  );
  expect(await outcome).toBe('done');
  await until(() => heard !== null);
  const error = await failure(fence.assertStanding());
  expect(error.code).toBe('FENCE_LOST');
  expect(heard).toBe(error);
});

test('refused writers are ended and cannot come back: new sessions are read-only, even after the lock is gone', async () => {
  const [app, idle, root] = [await connect('app'), await connect('app'), await connect('postgres')];
  const { fence, records, logs } = await raise('postgres');
  const outcomes = Promise.all([
    write(app, 'UPDATE shop.orders SET n = n + 1 WHERE id = 7'),
    write(root, 'UPDATE shop.orders SET n = n + 1 WHERE id = 8'),
  ]);
  await until(async () => (await fence.waiting()).length === 2);
  expect(await fence.refuseWrites()).toEqual([]);
  expect(await outcomes).toEqual(['57P01', '57P01']);
  expect(await until(async () => (await write(idle, 'SELECT 1')) !== 'done')).toBe(true);
  expect(records).toEqual([{ database: 'shop', before: null }]);
  expect(logs.join('\n')).toContain('Ended 3 other sessions of shop');
  // A new session waits for the lock before it is told; it is ended as well.
  expect(await write(await connect('app'), 'UPDATE shop.orders SET n = n + 1 WHERE id = 7')).toBe('57P01');
  const overriding = await connect('app');
  await overriding.query('SET default_transaction_read_only = off');
  expect(await write(overriding, 'UPDATE shop.orders SET n = n + 1 WHERE id = 7')).toBe('57P01');
  expect(await write(await connect('reader'), 'SELECT count(*) FROM shop.orders')).toBe('done');
  await fence.assertStanding();
  await fence.lift();
  const late = await connect('app');
  expect(await write(late, 'UPDATE shop.orders SET n = n + 1 WHERE id = 7')).toBe('25006');
  const session = await openSession(settingsOf('postgres'), {
    signal: controller.signal,
    side: 'source',
    purpose: 'undo',
  });
  await undoReadOnly(session, { database: 'shop', before: null });
  await undoReadOnly(session, { database: 'shop', before: null });
  await session.close();
  expect(await write(await connect('app'), 'UPDATE shop.orders SET n = 0 WHERE id = 7')).toBe('done');
  expect(await server.query(`SELECT FROM pg_db_role_setting WHERE setrole = 0`)).toEqual([]);
});

test('what an ordinary role cannot refuse is told by name with the GRANT, and the lock keeps it out', async () => {
  const [app, own] = [await connect('app'), await connect('mover')];
  const plan = await planFor('mover');
  expect(plan).toMatchObject({ means: 'lock', mayAlterDatabase: false, ends: 'own' });
  const { fence, logs, records } = await raise('mover');
  const outcome = write(app, 'UPDATE shop.orders SET n = n + 1 WHERE id = 9');
  await until(async () => (await fence.waiting()).length === 1);
  const open = await fence.refuseWrites();
  const [pid] = await fence.waiting();
  expect(open.join('\n')).toMatch(new RegExp(`process ${pid?.pid} \\(role app`));
  expect(open.join('\n')).toContain('GRANT pg_signal_backend TO "mover";');
  expect(open.join('\n')).toContain('GRANT "postgres" TO "mover";');
  expect(records).toEqual([]);
  expect(await until(async () => (await write(own, 'SELECT 1')) !== 'done')).toBe(true);
  await until(() => logs.some((text) => text.includes('goes to the old database when the fence is lifted')));
  expect(await Promise.race([outcome, sleep(300, 'waits')])).toBe('waits');
  await fence.lift();
  expect(await outcome).toBe('done');
});

test('a role with pg_signal_backend that owns the database refuses everybody but superusers', async () => {
  await server.run('GRANT pg_signal_backend TO mover; ALTER DATABASE shop OWNER TO mover');
  try {
    const [app, root] = [await connect('app'), await connect('postgres')];
    const { fence } = await raise('mover');
    const outcomes = Promise.all([
      write(app, 'UPDATE shop.orders SET n = n + 1 WHERE id = 20'),
      write(root, 'UPDATE shop.orders SET n = n + 1 WHERE id = 21'),
    ]);
    await until(async () => (await fence.waiting()).length === 2);
    const open = await fence.refuseWrites();
    expect(open.join('\n')).toMatch(/could not be ended .*role postgres/);
    expect(open.join('\n')).not.toContain('role app');
    await fence.lift();
    expect(await outcomes).toEqual(['57P01', 'done']);
  } finally {
    await server.run('REVOKE pg_signal_backend FROM mover; ALTER DATABASE shop OWNER TO postgres');
  }
});

test('where the tables may not be locked the database is made read-only, or the GRANT is named', async () => {
  const refused = await failure(planFor('reader'));
  expect(refused.code).toBe('FENCE_IMPOSSIBLE');
  expect(refused.hint).toContain(
    `GRANT ${server.major >= 17 ? 'MAINTAIN' : 'UPDATE'} ON "shop"."days", "shop"."orders", "shop"."items" TO "reader";`,
  );
  await server.run('ALTER DATABASE shop OWNER TO reader; GRANT pg_signal_backend TO reader');
  try {
    const app = await connect('app');
    await app.query('BEGIN; UPDATE shop.orders SET n = 77 WHERE id = 30');
    const { fence, records } = await raise('reader');
    expect(fence.means).toBe('read-only');
    expect(records).toEqual([{ database: 'shop', before: null }]);
    expect(await write(app, 'COMMIT')).not.toBe('done');
    expect(await write(await connect('app'), 'UPDATE shop.orders SET n = 1 WHERE id = 30')).toBe('25006');
    await fence.lsn();
    await fence.assertStanding();
    const overriding = await connect('app');
    await overriding.query('BEGIN READ WRITE; UPDATE shop.orders SET n = 1 WHERE id = 31');
    const fell = await failure(fence.assertStanding());
    expect(fell.code).toBe('FENCE_LOST');
    expect(fell.message).toContain('role app');
    await fence.lift();
  } finally {
    await server.run('ALTER DATABASE shop OWNER TO postgres; REVOKE pg_signal_backend FROM reader');
  }
});

test('the read-only means undoes itself when a session cannot be ended', async () => {
  await server.run('ALTER DATABASE shop OWNER TO reader; GRANT pg_signal_backend TO reader');
  await server.run('ALTER DATABASE shop SET default_transaction_read_only = off');
  try {
    const plan = await planFor('reader');
    await connect('postgres');
    const records: (ReadOnlyState | null)[] = [];
    const error = await failure(
      raise('reader', { plan, record: (state) => Promise.resolve(void records.push(state)) }),
    );
    expect(error.code).toBe('FENCE_INCOMPLETE');
    expect(error.message).toContain('role postgres');
    expect(records).toEqual([{ database: 'shop', before: 'off' }, null]);
    const [row] = await server.query(`SELECT setconfig FROM pg_db_role_setting WHERE setrole = 0`);
    expect(row).toEqual({ setconfig: ['default_transaction_read_only=off'] });
  } finally {
    await server.run('ALTER DATABASE shop OWNER TO postgres; REVOKE pg_signal_backend FROM reader');
  }
});

test('what an earlier run recorded is the truth about before, and neither undone nor cleared by a fence that fails', async () => {
  await server.run('ALTER DATABASE shop OWNER TO reader; GRANT pg_signal_backend TO reader');
  const earlier = { database: 'shop', before: null };
  try {
    await server.run('ALTER DATABASE shop SET default_transaction_read_only = on');
    const plan = await planFor('reader');
    expect(plan.means).toBe('read-only');
    const stubborn = await connect('postgres');
    const records: (ReadOnlyState | null)[] = [];
    const record = (state: ReadOnlyState | null): Promise<void> => Promise.resolve(void records.push(state));
    const error = await failure(raise('reader', { plan, recorded: earlier, record }));
    expect(error.code).toBe('FENCE_INCOMPLETE');
    expect(records).toEqual([earlier]);
    const [row] = await server.query(`SELECT setconfig FROM pg_db_role_setting WHERE setrole = 0`);
    expect(row).toEqual({ setconfig: ['default_transaction_read_only=on'] });
    await stubborn.end();
    const { fence } = await raise('reader', { plan, recorded: earlier, record });
    await fence.lift();
    expect(records).toEqual([earlier, earlier]);
  } finally {
    await server.run(
      'ALTER DATABASE shop OWNER TO postgres; REVOKE pg_signal_backend FROM reader; ALTER DATABASE shop RESET default_transaction_read_only',
    );
  }
});
