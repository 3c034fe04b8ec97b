import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { LiveState } from '../src/contract/live.ts';
import { cancelledError } from '../src/errors.ts';
import { cleanUp } from '../src/live/cleanup.ts';
import { advisoryKey, holdingPurpose, slotName } from '../src/live/names.ts';
import { addToPublication, createPublication, dropPublication } from '../src/live/publication.ts';
import { readSlotHealth } from '../src/live/slot-health.ts';
import { type CreatedSlot, createSlot, dropLeftovers, dropSlot, findLeftovers } from '../src/live/slot.ts';
import { parseLsn } from '../src/postgres/lsn.ts';
import { type Session, openSession } from '../src/postgres/session.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { type TestServer, startServer } from './support/servers.ts';

let source: TestServer;
const never = new AbortController().signal;

beforeAll(async () => {
  source = await startServer({
    name: 'slot',
    settings: {
      wal_level: 'logical',
      max_replication_slots: '3',
      max_prepared_transactions: '5',
      log_min_messages: 'fatal',
    },
  });
  await source.createDatabase('shop');
  await source.run(
    `CREATE TABLE plain (id int PRIMARY KEY, v text); CREATE TABLE later (id int PRIMARY KEY);
     CREATE ROLE app LOGIN PASSWORD 'app'; GRANT ALL ON plain TO app; CREATE ROLE other LOGIN PASSWORD 'other'`,
    'shop',
  );
});
afterAll(() => source?.stop());

const url = (user?: string): string => (user === undefined ? source.url('shop') : source.url('shop', user, user));
const settings = (user?: string): ReturnType<typeof parseEndpoint> => parseEndpoint({ url: url(user) }, 'source');

const open: (Client | Session)[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await (one instanceof Client ? one.end() : one.close());
  await source.run(`SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active`);
  for (const { gid } of await source.query('SELECT gid FROM pg_prepared_xacts'))
    await source.run(`ROLLBACK PREPARED '${String(gid)}'`, 'shop');
  while ((await slots()).length > 0)
    await source.query('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active');
  for (const { name } of await source.query('SELECT pubname AS name FROM pg_publication', 'shop'))
    await source.run(`DROP PUBLICATION "${String(name)}"`, 'shop');
});

async function client(user?: string, extra: object = {}): Promise<Client> {
  const made = new Client({ connectionString: url(user), ...extra });
  made.on('error', () => undefined);
  await made.connect();
  open.push(made);
  return made;
}

async function session(purpose = 'test'): Promise<Session> {
  const made = await openSession(settings(), { signal: never, side: 'source', purpose });
  open.push(made);
  return made;
}

const slots = async (): Promise<string[]> =>
  (await source.query('SELECT slot_name AS name FROM pg_replication_slots ORDER BY 1')).map((row) =>
    String(row['name']),
  );
const publications = async (): Promise<string[]> =>
  (await source.query('SELECT pubname AS name FROM pg_publication ORDER BY 1', 'shop')).map((row) =>
    String(row['name']),
  );
const published = async (name: string): Promise<string[]> =>
  (
    await source.query(
      'SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = $1 ORDER BY 1, 2',
      'shop',
      [name],
    )
  ).map((row) => `${String(row['schemaname'])}.${String(row['tablename'])}`);

function create(
  name: string,
  given: { readonly signal?: AbortSignal; readonly user?: string; readonly said?: string[] } = {},
): Promise<CreatedSlot> {
  return createSlot({
    settings: settings(given.user),
    name,
    signal: given.signal ?? never,
    onWait: (text) => given.said?.push(text),
    log: () => undefined,
  });
}

/** A walsender on the slot, as an agent that follows has one. */
async function stream(slot: string): Promise<Client> {
  const receiver = await client(undefined, { replication: 'database' });
  receiver
    .query(`START_REPLICATION SLOT "${slot}" LOGICAL 0/0 (proto_version '1', publication_names 'none')`)
    .catch(() => undefined);
  await expect
    .poll(() => source.query('SELECT active FROM pg_replication_slots WHERE slot_name = $1', 'shop', [slot]))
    .toEqual([{ active: true }]);
  return receiver;
}

/** A line that swallows every CancelRequest (protocol, 55.7) and every end of a connection from the client. */
async function startDeafLine(port: number): Promise<{ readonly port: number; cancels: number; close(): void }> {
  const server = createServer((inner) => {
    inner.on('error', () => undefined);
    inner.once('data', (first: Buffer) => {
      if (first.length >= 8 && first.readInt32BE(4) === 80_877_102) {
        line.cancels += 1;
        inner.destroy();
        return;
      }
      const outer = connect(port, '127.0.0.1');
      outer.on('error', () => undefined);
      outer.write(first);
      inner.pipe(outer, { end: false });
      outer.pipe(inner);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the line has no port');
  const line = { port: address.port, cancels: 0, close: () => void server.close() };
  return line;
}

const ordinary = { schema: 'public', name: 'plain' };

describe('making a slot', () => {
  test('tells which transaction it waits for, and is there once that is over', async () => {
    const writer = await client('app');
    await writer.query('BEGIN');
    await writer.query(`INSERT INTO plain VALUES (1, 'waited for')`);
    const [{ pid } = {}] = (await writer.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows;
    const said: string[] = [];
    const making = create(slotName('waits'), { said });
    await expect.poll(() => said, { timeout: 10_000 }).toHaveLength(1);
    expect(said[0]).toMatch(
      new RegExp(
        `^waiting for transaction \\d+ of process ${pid} \\(role app, database shop, since \\d\\d:\\d\\d:\\d\\d UTC, idle in transaction\\)$`,
      ),
    );
    await writer.query('ROLLBACK');
    const made = await making;
    const [row] = await source.query(
      `SELECT plugin, database, temporary, confirmed_flush_lsn::text AS lsn FROM pg_replication_slots`,
    );
    expect(row).toMatchObject({ plugin: 'pgoutput', database: 'shop', temporary: false });
    expect(made).toEqual({ consistentPoint: parseLsn(String(row?.['lsn'])), reused: false });
    expect(await source.sessions()).toEqual([]);
  });

  test('names a prepared transaction, and a cancellation leaves no slot and no session behind', async () => {
    await source.run(`BEGIN; INSERT INTO plain VALUES (2, 'x'); PREPARE TRANSACTION 'pay 7'`, 'shop');
    const said: string[] = [];
    const controller = new AbortController();
    const making = create(slotName('prepared'), { said, signal: controller.signal });
    making.catch(() => undefined);
    await expect.poll(() => said, { timeout: 10_000 }).toHaveLength(1);
    expect(said[0]).toMatch(/^waiting for transaction \d+, prepared as 'pay 7' \(role postgres, database shop, since/);
    expect(await slots()).toEqual([slotName('prepared')]);
    controller.abort(cancelledError('stop it'));
    await expect(making).rejects.toMatchObject({ code: 'CANCELLED', message: 'stop it' });
    expect(await slots()).toEqual([]);
    expect(await source.sessions()).toEqual([]);
  });

  test('a cancellation that the server never hears of leaves nothing behind either', async () => {
    const line = await startDeafLine(source.port);
    try {
      await source.run(`BEGIN; INSERT INTO plain VALUES (2, 'x'); PREPARE TRANSACTION 'deaf'`, 'shop');
      const controller = new AbortController();
      const said: string[] = [];
      const making = createSlot({
        settings: { ...settings(), port: line.port },
        name: slotName('deaf'),
        signal: controller.signal,
        onWait: (text) => said.push(text),
        log: () => undefined,
      });
      making.catch(() => undefined);
      await expect.poll(() => said, { timeout: 10_000 }).toHaveLength(1);
      controller.abort(cancelledError('stop it'));
      await expect(making).rejects.toMatchObject({ code: 'CANCELLED' });
      expect(line.cancels).toBeGreaterThan(0);
      expect(await slots()).toEqual([]);
      expect(await source.sessions()).toEqual([]);
    } finally {
      line.close();
    }
  });

  test('a job that goes on is given its own slot again, at what was confirmed', async () => {
    const name = slotName('again');
    const first = await create(name);
    await source.run(
      `SET synchronous_commit = on; INSERT INTO plain SELECT g, 'x' FROM generate_series(100, 200) g; DELETE FROM plain`,
      'shop',
    );
    await source.run(`SELECT pg_replication_slot_advance('${name}', pg_current_wal_lsn())`, 'shop');
    const again = await create(name);
    expect(again.reused).toBe(true);
    expect(again.consistentPoint).toBeGreaterThan(first.consistentPoint);
    const [row] = await source.query('SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots');
    expect(again.consistentPoint).toBe(parseLsn(String(row?.['lsn'])));
  });

  test('what a dead agent still makes is ended and made anew', async () => {
    const name = slotName('dead');
    const writer = await client('app');
    await writer.query(`BEGIN; INSERT INTO plain VALUES (3, 'x')`);
    const dead = await session(holdingPurpose('slot', 'dead'));
    await dead.query('SELECT pg_advisory_lock($1::int8)', [advisoryKey(name).toString()]);
    const theirs = dead.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [name]);
    theirs.catch(() => undefined);
    await expect.poll(slots).toEqual([name]);
    const said: string[] = [];
    const making = create(name, { said });
    await expect
      .poll(() => said.some((text) => text.includes('waiting for transaction')), { timeout: 15_000 })
      .toBe(true);
    expect(said[0]).toBe(
      `waiting for process ${dead.processId} (pgsluice slot dead), which makes or drops the slot ${name}`,
    );
    await expect(theirs).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    await writer.query('COMMIT');
    expect((await making).reused).toBe(false);
    await source.run('DELETE FROM plain', 'shop');
  });

  test("another's slot of that name, a role without REPLICATION and a server without a free slot are told apart", async () => {
    await source.run(`SELECT pg_create_physical_replication_slot('pgsluice_taken')`);
    await expect(create('pgsluice_taken')).rejects.toMatchObject({ code: 'SLOT_NAME_TAKEN' });
    await expect(create(slotName('denied'), { user: 'app' })).rejects.toMatchObject({
      code: 'REPLICATION_DENIED',
      hint: expect.stringContaining('ALTER ROLE "app" REPLICATION') as unknown,
    });
    await source.run(`SELECT pg_create_physical_replication_slot('a'), pg_create_physical_replication_slot('b')`);
    await expect(create(slotName('full'))).rejects.toMatchObject({ code: 'NO_SLOT_LEFT' });
    const dropper = await session();
    await dropSlot(dropper, 'pgsluice_taken', never);
    expect(await slots()).toEqual(['a', 'b', 'pgsluice_taken']);
  });
});

describe('a slot that stands', () => {
  test('is dropped although a walsender uses it; absent is done', async () => {
    const name = slotName('busy');
    await create(name);
    await stream(name);
    const dropper = await session();
    await dropSlot(dropper, name, never);
    expect(await slots()).toEqual([]);
    await dropSlot(dropper, name, never);
  });

  test('is told as lost when the server has given it up', async () => {
    const name = slotName('lost');
    await create(name);
    await source.run(`ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'`);
    await source.run('SELECT pg_reload_conf()');
    const reader = await session();
    const limits = { warnBytes: 2 ** 33, giveUpBytes: 2 ** 36 };
    try {
      const healthy = await readSlotHealth(reader, name, null, limits);
      expect(healthy).toMatchObject({
        verdict: 'ok',
        health: { walStatus: 'reserved', active: false, walBytesPerSecond: 0 },
      });
      expect(healthy.health.safeWalBytes).toBeGreaterThan(0);
      const seen = new Set<string>();
      let last = healthy;
      for (let segment = 0; segment < 8; segment += 1) {
        await source.run(`INSERT INTO plain VALUES (9, 'x'); DELETE FROM plain; SELECT pg_switch_wal()`, 'shop');
        last = await readSlotHealth(reader, name, last, limits);
        seen.add(last.verdict);
      }
      expect(last).toMatchObject({ verdict: 'warn', health: { walStatus: 'unreserved' } });
      expect(last.health.retainedBytes).toBeGreaterThan(64 * 2 ** 20);
      expect(last.health.walBytesPerSecond).toBeGreaterThan(0);
      expect([...seen]).toContain('warn');
      await source.run('CHECKPOINT');
      const lost = await readSlotHealth(reader, name, last, limits);
      expect(lost).toMatchObject({ verdict: 'lost', health: { walStatus: 'lost', lastsSeconds: null } });
      expect(lost.hint).toContain('max_slot_wal_keep_size');
      await expect(create(name)).rejects.toMatchObject({ code: 'SLOT_LOST' });
      await dropSlot(reader, name, never);
      expect(await slots()).toEqual([]);
      expect((await readSlotHealth(reader, name, lost, limits)).verdict).toBe('lost');
    } finally {
      await source.run('ALTER SYSTEM RESET max_slot_wal_keep_size');
      await source.run('SELECT pg_reload_conf()');
    }
  });
});

describe('the publication', () => {
  test('holds exactly the tables that were asked for and can be followed', async () => {
    await source.run(
      `CREATE SCHEMA "od d"; CREATE TABLE "od d"."ta""b'le\\" (id int PRIMARY KEY);
       CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent);
       CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (9);
       CREATE UNLOGGED TABLE quick (id int)`,
      'shop',
    );
    const maker = await session();
    const name = slotName('pub');
    const asked = [
      { schema: 'od d', name: `ta"b'le\\` },
      { schema: 'public', name: 'parent' },
      { schema: 'public', name: 'part1' },
      { schema: 'public', name: 'quick' },
    ];
    const { left } = await createPublication(maker, name, asked, never);
    expect(left).toEqual([
      { table: { schema: 'public', name: 'quick' }, why: 'it is UNLOGGED: its changes are in no WAL' },
    ]);
    expect(await published(name)).toEqual([`od d.ta"b'le\\`, 'public.parent', 'public.part1']);
    const [row] = await source.query('SELECT * FROM pg_publication', 'shop');
    expect(row).toMatchObject({
      puballtables: false,
      pubviaroot: false,
      pubinsert: true,
      pubupdate: true,
      pubdelete: true,
      pubtruncate: true,
    });
    // Again, with one more: what is there stays.
    await createPublication(maker, name, [...asked, ordinary], never);
    expect(await published(name)).toEqual([`od d.ta"b'le\\`, 'public.parent', 'public.part1', 'public.plain']);
    await dropPublication(maker, name, never);
    await dropPublication(maker, name, never);
    expect(await publications()).toEqual([]);
  });

  test('a migration of the application that locks in another order is not its victim: it gives way, and waits', async () => {
    await source.run('CREATE TABLE one (id int); CREATE TABLE two (id int)', 'shop');
    const name = slotName('order');
    const maker = await session();
    const app = await client();
    await app.query('BEGIN; ALTER TABLE two ADD COLUMN a int');
    const said = new Set<string>();
    const tables = ['one', 'two'].map((table) => ({ schema: 'public', name: table }));
    const making = createPublication(maker, name, tables, never, (text) => said.add(text));
    // Longer than deadlock_timeout: our own look for a deadlock would be over.
    await sleep(1500);
    await app.query('ALTER TABLE one ADD COLUMN a int');
    await sleep(300);
    await app.query('COMMIT');
    await making;
    expect(await published(name)).toEqual(['public.one', 'public.two']);
    expect([...said].join()).toMatch(/^waiting for process \d+, which keeps "public"\."(one|two)" locked/);
    await dropPublication(maker, name, never);
    await source.run('DROP TABLE one, two', 'shop');
  });

  test('takes thousands of tables in one transaction, or none', async () => {
    await source.run(
      `CREATE SCHEMA many; DO $$ BEGIN FOR i IN 1..1201 LOOP EXECUTE format('CREATE TABLE many.t%s (id int)', i); END LOOP; END $$`,
      'shop',
    );
    const tables = Array.from({ length: 1201 }, (_, i) => ({ schema: 'many', name: `t${i + 1}` }));
    const maker = await session();
    await expect(
      createPublication(maker, slotName('many'), [...tables, { schema: 'many', name: 'gone' }], never),
    ).rejects.toMatchObject({ code: 'TABLE_MISSING' });
    expect(await publications()).toEqual([]);
    await createPublication(maker, slotName('many'), tables, never);
    expect(await published(slotName('many'))).toHaveLength(1201);
    await source.run('DROP SCHEMA many CASCADE', 'shop');
  }, 60_000);

  test('a table that joins may be copied once nobody writes unseen: a writer from before is waited for', async () => {
    const maker = await session();
    const name = slotName('join');
    await createPublication(maker, name, [ordinary], never);
    await create(name);
    const writer = await client();
    await writer.query(`BEGIN; INSERT INTO later VALUES (1)`);
    const said: string[] = [];
    let over = false;
    const adding = addToPublication(maker, name, { schema: 'public', name: 'later' }, never, (text) =>
      said.push(text),
    ).finally(() => {
      over = true;
    });
    await expect.poll(() => published(name)).toEqual(['public.later', 'public.plain']);
    await sleep(500);
    expect(over).toBe(false);
    const [{ pid } = {}] = (await writer.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows;
    expect(said[0]).toBe(`waiting for transactions that wrote before the table was published: process ${pid}`);
    await writer.query('COMMIT');
    await adding;
    await source.run('TRUNCATE later', 'shop');
  });

  test('a table that joined when its agent died is waited for again, and what is written later is sent', async () => {
    const maker = await session();
    const name = slotName('rejoin');
    await createPublication(maker, name, [ordinary], never);
    await create(name);
    const writer = await client();
    await writer.query(`BEGIN; INSERT INTO later VALUES (1)`);
    const [{ xid } = {}] = (await writer.query<{ xid: string }>('SELECT txid_current()::text AS xid')).rows;
    await source.run(`ALTER PUBLICATION "${name}" ADD TABLE later`, 'shop');
    let over = false;
    const tables = [ordinary, { schema: 'public', name: 'later' }];
    const again = createPublication(maker, name, tables, never).finally(() => {
      over = true;
    });
    await sleep(1000);
    expect(over).toBe(false);
    await writer.query('COMMIT');
    await again;
    // The publication was changed behind the writer's end: what a sender believes of the table is looked up anew from there.
    const [row] = await source.query(
      'SELECT xmin::text AS by, pubtruncate FROM pg_publication WHERE pubname = $1',
      'shop',
      [name],
    );
    expect(Number(row?.['by'])).toBeGreaterThan(Number(xid));
    expect(row?.['pubtruncate']).toBe(true);
    await source.run('INSERT INTO later VALUES (2)', 'shop');
    // Only what is flushed is decoded.
    await source.run('CHECKPOINT');
    const changes = await source.query(
      `SELECT data FROM pg_logical_slot_get_binary_changes('${name}', NULL, NULL, 'proto_version', '1', 'publication_names', '${name}')
       WHERE get_byte(data, 0) = ascii('I')`,
      'shop',
    );
    expect(changes.map((change) => Buffer.from(change['data'] as Buffer).at(-1))).toContain('2'.charCodeAt(0));
    await source.run('TRUNCATE later', 'shop');
  });

  test('that was dropped while its slot stands is not made again in silence', async () => {
    const maker = await session();
    const name = slotName('gone');
    await createPublication(maker, name, [ordinary], never);
    await create(name);
    await dropPublication(maker, name, never);
    for (const attempt of [
      createPublication(maker, name, [ordinary], never),
      addToPublication(maker, name, ordinary, never),
    ])
      await expect(attempt).rejects.toMatchObject({ code: 'PUBLICATION_MISSING' });
  });

  test('a role that does not own the table is told which rights it lacks', async () => {
    const made = await openSession(settings('app'), { signal: never, side: 'source', purpose: 'test' });
    open.push(made);
    await expect(createPublication(made, slotName('rights'), [ordinary], never)).rejects.toMatchObject({
      code: 'PUBLICATION_DENIED',
    });
    expect(await publications()).toEqual([]);
  });
});

test('leftovers are found; those that somebody uses or that are to be kept stay', async () => {
  const maker = await session();
  for (const job of ['old', 'kept', 'used']) await createPublication(maker, slotName(job), [ordinary], never);
  await source.run(`CREATE PUBLICATION theirs FOR TABLE plain`, 'shop');
  for (const job of ['old', 'kept', 'used']) await create(slotName(job));
  const alive = await session(holdingPurpose('slot', 'alive'));
  await createPublication(alive, slotName('alive'), [ordinary], never);
  await stream(slotName('used'));
  const found = await findLeftovers(maker);
  expect(found.slots.map(({ name, active }) => ({ name, active }))).toEqual([
    { name: 'pgsluice_kept', active: false },
    { name: 'pgsluice_old', active: false },
    { name: 'pgsluice_used', active: true },
  ]);
  expect(found.slots.every((slot) => slot.retainedBytes > 0)).toBe(true);
  expect(found.publications).toEqual(['pgsluice_alive', 'pgsluice_kept', 'pgsluice_old', 'pgsluice_used']);
  expect(await dropLeftovers(maker, [slotName('kept')])).toEqual(['slot pgsluice_old', 'publication pgsluice_old']);
  expect(await slots()).toEqual(['pgsluice_kept', 'pgsluice_used']);
  expect(await publications()).toEqual(['pgsluice_alive', 'pgsluice_kept', 'pgsluice_used', 'theirs']);
});

describe('cleaning up', () => {
  const state = (job: string, given: Partial<LiveState> = {}): LiveState => ({
    slot: slotName(job),
    publication: slotName(job),
    stage: 'following',
    chosen: false,
    readOnly: null,
    keepReadOnly: false,
    ...given,
  });
  const run = (job: string, live: LiveState, sourceUrl = url()): ReturnType<typeof cleanUp> =>
    cleanUp({
      source: parseEndpoint({ url: sourceUrl }, 'source'),
      target: null,
      job,
      live,
      signal: never,
      log: () => undefined,
    });
  const readOnlyDefault = async (): Promise<unknown> =>
    (
      await source.query(
        `SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE datname = 'shop' AND setrole = 0`,
      )
    )[0]?.['setconfig'] ?? null;

  test('takes everything of the job off the source and nothing of another, also when called twice', async () => {
    const maker = await session();
    for (const job of ['mine', 'other']) {
      await createPublication(maker, slotName(job), [ordinary], never);
      await create(slotName(job));
    }
    const fence = await session(holdingPurpose('fence', 'mine'));
    await fence.run('BEGIN; LOCK TABLE public.plain IN SHARE MODE');
    const theirs = await session(holdingPurpose('fence', 'other'));
    await stream(slotName('mine'));
    await source.run('ALTER DATABASE shop SET default_transaction_read_only = on');
    const live = state('mine', { readOnly: { database: 'shop', before: null } });
    expect(await run('mine', live)).toEqual({ done: true, left: [] });
    expect(await slots()).toEqual([slotName('other')]);
    expect(await publications()).toEqual([slotName('other')]);
    expect(await readOnlyDefault()).toBeNull();
    await expect.poll(() => fence.lost).toBe(true);
    expect(await theirs.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await source.run(`INSERT INTO plain VALUES (77, 'free again'); DELETE FROM plain`, 'shop');
    expect(await run('mine', live)).toEqual({ done: true, left: [] });
  });

  test('leaves the source read-only once the target has taken over', async () => {
    await source.run('ALTER DATABASE shop SET default_transaction_read_only = on');
    const live = state('over', { readOnly: { database: 'shop', before: null }, keepReadOnly: true });
    expect(await run('over', live)).toEqual({ done: true, left: [] });
    expect(await readOnlyDefault()).toEqual(['default_transaction_read_only=on']);
    await source.run('ALTER DATABASE shop RESET default_transaction_read_only');
  });

  test('says what is left when the source is not reached', async () => {
    const { done, left } = await run('far', state('far'), 'postgres://nobody@127.0.0.1:1/shop');
    expect(done).toBe(false);
    expect(left).toHaveLength(3);
    expect(left.join('\n')).toMatch(
      /the slot pgsluice_far on the source could not be cleaned up: .*refuses connections/,
    );
  });
});
