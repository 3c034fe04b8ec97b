import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Relation } from '../src/live/types.ts';
import { parseLsn } from '../src/postgres/lsn.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import {
  type Scene,
  linesOf,
  startScene,
  takeTransactions,
  takeUntil,
  transactionsOf,
  until,
} from './support/change-scene.ts';
import { startProxy } from './support/proxy.ts';
import { type TestServer, startServer } from './support/servers.ts';

// What the change stream hands out, against a server that streams every transaction of more than 64 kB before it commits.

let server: TestServer;
let scene: Scene | null = null;

beforeAll(async () => {
  server = await startServer({
    name: 'stream',
    settings: { wal_level: 'logical', logical_decoding_work_mem: '64kB', log_replication_commands: 'on' },
  });
});
afterEach(async () => {
  await scene?.close();
  scene = null;
});
afterAll(async () => {
  await server?.stop();
});

async function begin(ddl: string, extra?: string): Promise<Scene> {
  scene = await startScene(server, ddl, extra);
  return scene;
}

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

test('of two adjacent commits only the one that was not acknowledged comes again', async () => {
  const { open, connect, slotRow } = await begin('CREATE TABLE t (id int PRIMARY KEY)');
  const [a, b] = [await connect(), await connect()];
  let adjacent = 0;
  let stream = await open();
  for (let round = 1; round <= 8; round++) {
    for (const client of [a, b]) await client.query('BEGIN');
    await a.query('INSERT INTO t VALUES ($1)', [round * 2]);
    await b.query('INSERT INTO t VALUES ($1)', [round * 2 + 1]);
    await a.query('COMMIT');
    await b.query('COMMIT');
    const [first, second] = await takeTransactions(stream, 2);
    if (first === undefined || second === undefined) throw new Error('two were taken');
    expect(await linesOf(first)).toEqual([`+t ${round * 2}`]);
    if (second.commitLsn === first.endLsn) adjacent += 1;
    stream.acknowledge(first.endLsn);
    await stream.close();
    // Exactly: one byte more would pass over a transaction that begins there.
    expect((await slotRow()).confirmed).toBe(first.endLsn);
    stream = await open();
    const [again] = await takeTransactions(stream, 1);
    expect(again?.endLsn).toBe(second.endLsn);
    expect(await linesOf(second)).toEqual([`+t ${round * 2 + 1}`]);
    stream.acknowledge(second.endLsn);
    await until(async () => (await slotRow()).confirmed === second.endLsn);
  }
  expect(adjacent).toBeGreaterThan(0);
});

test('transactions come whole and in the order of their commits, however they were interleaved', async () => {
  const { open, connect } = await begin('CREATE TABLE t (id int PRIMARY KEY, who text)');
  const stream = await open();
  const [a, b, c] = [await connect(), await connect(), await connect()];
  for (const client of [a, b, c]) await client.query('BEGIN');
  await a.query(`INSERT INTO t VALUES (1, 'a')`);
  await b.query(`INSERT INTO t VALUES (2, 'b')`);
  await c.query(`INSERT INTO t VALUES (3, 'c')`);
  await a.query(`INSERT INTO t VALUES (4, 'a')`);
  await b.query('COMMIT');
  await a.query(`UPDATE t SET who = 'A' WHERE id = 2`);
  await c.query('ROLLBACK');
  await a.query('COMMIT');
  const taken = await takeTransactions(stream, 2);
  expect(await Promise.all(taken.map(linesOf))).toEqual([['+t 2,b'], ['+t 1,a', '+t 4,a', '~t 2,A']]);
  expect(taken[0]?.commitLsn).toBeLessThan(taken[1]?.commitLsn ?? 0n);
  expect(Math.abs((taken[0]?.committedAtMs ?? 0) - Date.now())).toBeLessThan(60_000);
});

test('what a rolled back savepoint did is dropped from a streamed transaction, and a rolled back one is never told', async () => {
  const { open, run, connect, query, files, slot } = await begin('CREATE TABLE t (id int, v text)');
  const stream = await open({ spoolAboveBytes: 30_000 });
  const fill = (from: number, to: number): string =>
    `INSERT INTO t SELECT g, repeat('x', 50) FROM generate_series(${from}, ${to}) g;`;
  const other = await connect();
  await other.query(`BEGIN; ${fill(1, 3000)}`);
  await run('CHECKPOINT');
  await until(() => files().length === 1);
  await other.query('ROLLBACK');
  await run(
    `BEGIN; ${fill(1, 2000)} SAVEPOINT a; ${fill(2001, 4000)} SAVEPOINT b; ${fill(4001, 6000)} ROLLBACK TO a;
     ${fill(6001, 7000)} SAVEPOINT c; ${fill(7001, 9000)} RELEASE c; ${fill(9001, 9100)} SAVEPOINT d; TRUNCATE t; ROLLBACK TO d; COMMIT`,
  );
  const [transaction] = await takeTransactions(stream, 1);
  const ids = [...numbers(1, 2000), ...numbers(6001, 9100)];
  expect(transaction?.inMemory).toBe(false);
  expect(transaction?.changeCount).toBe(ids.length);
  expect(transaction === undefined ? [] : await linesOf(transaction)).toEqual(
    ids.map((id) => `+t ${id},${'x'.repeat(50)}`),
  );
  await until(async () => {
    const [row] = await query(`SELECT stream_txns FROM pg_stat_replication_slots WHERE slot_name = '${slot}'`);
    return Number(row?.['stream_txns']) >= 2;
  });
  expect(files()).toHaveLength(1);
  await transaction?.release();
  expect(files()).toEqual([]);
  expect(stream.spooledBytes).toBe(0);
});

test('a transaction of 200,000 rows goes through the disk, in pieces, exactly, and as often as is wanted', async () => {
  const { open, run, files, workDir } = await begin('CREATE TABLE t (id int PRIMARY KEY, v text)');
  const stream = await open({ spoolAboveBytes: 1 << 20, queueBytes: 8 << 20 });
  const memory = (): number => process.memoryUsage().arrayBuffers;
  const before = memory();
  let most = 0;
  const watch = setInterval(() => (most = Math.max(most, memory() - before)), 20);
  await run(`INSERT INTO t SELECT g, repeat(md5(g::text), 14) FROM generate_series(1, 200000) g`);
  const [transaction] = await takeTransactions(stream, 1);
  clearInterval(watch);
  if (transaction === undefined) throw new Error('one was taken');
  expect(transaction.inMemory).toBe(false);
  expect(transaction.bytes).toBe(0);
  expect(transaction.changeCount).toBe(200_000);
  expect(stream.spooledBytes).toBeGreaterThan(200_000 * 460);
  expect(most).toBeLessThan(48 << 20);
  expect(files()).toHaveLength(1);
  expect(statSync(join(workDir, files()[0] ?? '')).mode & 0o777).toBe(0o600);
  for (let reading = 0; reading < 2; reading++) {
    let next = 1;
    for await (const piece of transaction.pieces()) {
      expect(piece.length).toBeLessThanOrEqual(2000);
      for (const change of piece) {
        if (change.kind !== 'insert' || change.row[0] !== String(next) || change.row[1]?.toString().length !== 448) {
          throw new Error(`row ${next} came as ${JSON.stringify(change)}`);
        }
        next += 1;
      }
    }
    expect(next).toBe(200_001);
  }
  await stream.close();
  expect(files()).toEqual([]);
});

test('large transactions that run at the same time do not mix', async () => {
  const { open, connect } = await begin('CREATE TABLE t (id int, who text); CREATE TABLE u (id int, who text)');
  const stream = await open({ spoolAboveBytes: 40_000 });
  const [a, b] = [await connect(), await connect()];
  for (const client of [a, b]) await client.query('BEGIN');
  for (let part = 0; part < 4; part++) {
    const range = `generate_series(${part * 500 + 1}, ${part * 500 + 500}) g`;
    await a.query(`INSERT INTO t SELECT g, 'a' FROM ${range}`);
    await b.query(`INSERT INTO u SELECT g, 'b' FROM ${range}; INSERT INTO t SELECT g, 'b' FROM ${range}`);
  }
  await b.query('COMMIT');
  await a.query('COMMIT');
  const [first, second] = await takeTransactions(stream, 2);
  if (first === undefined || second === undefined) throw new Error('two were taken');
  const parts = numbers(0, 3).flatMap((part) => {
    const ids = numbers(part * 500 + 1, part * 500 + 500);
    return [...ids.map((id) => `+u ${id},b`), ...ids.map((id) => `+t ${id},b`)];
  });
  expect(await linesOf(first)).toEqual(parts);
  expect(await linesOf(second)).toEqual(numbers(1, 2000).map((id) => `+t ${id},a`));
});

test('each kind of change comes with what its replica identity shows, and untouched TOAST as such', async () => {
  const { open, run } = await begin(`
    CREATE TABLE k (id int PRIMARY KEY, small text, big text); ALTER TABLE k ALTER big SET STORAGE EXTERNAL;
    CREATE TABLE f (a int, b text, big text); ALTER TABLE f REPLICA IDENTITY FULL; ALTER TABLE f ALTER big SET STORAGE EXTERNAL;
    CREATE TABLE c (id int PRIMARY KEY REFERENCES k)`);
  const stream = await open();
  await run(`INSERT INTO k VALUES (1, 'a', repeat('B', 9000)); INSERT INTO f VALUES (1, NULL, repeat('F', 9000))`);
  await run(
    `UPDATE k SET small = '' WHERE id = 1; UPDATE k SET id = 2; UPDATE k SET small = 'null', big = 'b'; DELETE FROM k`,
  );
  await run(`UPDATE f SET b = 'ü€😀'; DELETE FROM f; TRUNCATE k, c RESTART IDENTITY CASCADE`);
  const taken = await takeTransactions(stream, 3);
  const F = 'F'.repeat(9000);
  expect(await Promise.all(taken.map(linesOf))).toEqual([
    [`+k 1,a,${'B'.repeat(9000)}`, `+f 1,NULL,${F}`],
    ['~k 1,,UNCHANGED', '~k key 1,NULL,NULL → 2,,UNCHANGED', '~k 2,null,b', '-k key 2,NULL,NULL'],
    [`~f old 1,NULL,${F} → 1,ü€😀,UNCHANGED`, `-f old 1,ü€😀,${F}`, '!k,c cascade restart'],
  ]);
});

test('the idle stream moves on with what other databases write, so that the source keeps no WAL for it', async () => {
  const { open, slotRow, slot } = await begin('CREATE TABLE t (id int)');
  const stream = await open();
  const over = new AbortController();
  const changed: unknown[] = [];
  const following = (async () => {
    for (;;) {
      for (const item of await stream.take(1 << 20, over.signal)) {
        if (item.kind === 'position') stream.acknowledge(item.lsn);
        else changed.push(item);
      }
    }
  })();
  await server.run('CREATE TABLE other AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 300000) g');
  const [now] = await server.query('SELECT pg_current_wal_lsn()::text AS lsn');
  const end = parseLsn(String(now?.['lsn']));
  await until(async () => (await slotRow()).confirmed >= end);
  // A checkpoint writes what the slot needs to let go of old WAL.
  await server.run('CHECKPOINT');
  await until(async () => (await slotRow()).restart >= end);
  over.abort();
  await expect(following).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(changed).toEqual([]);
  const [kept] = await server.query(
    `SELECT pg_current_wal_lsn() - restart_lsn AS bytes FROM pg_replication_slots WHERE slot_name = '${slot}'`,
  );
  expect(Number(kept?.['bytes'])).toBeLessThan(1 << 20);
  await server.run('DROP TABLE other');
});

test('defaults of the database do not show in the values', async () => {
  const { open, run, database } = await begin(
    `CREATE TABLE t (d date, t timestamptz, i interval, b bytea, f float8, r regclass, m money)`,
  );
  for (const setting of [
    `datestyle = 'German, DMY'`,
    `timezone = 'Asia/Tokyo'`,
    `intervalstyle = 'sql_standard'`,
    `bytea_output = 'escape'`,
    `extra_float_digits = -10`,
    `search_path = 'public'`,
    `quote_all_identifiers = on`,
    `statement_timeout = '1min'`,
  ]) {
    await run(`ALTER DATABASE ${database} SET ${setting}`);
  }
  const stream = await open();
  await run(`INSERT INTO t VALUES (date '2026-02-03', timestamptz '2026-02-03 04:05:06.789012+00',
    interval '1 year 2 mons -3 days 04:05:06', '\\x00ff41', 0.1::float8 + 0.2, 'public.t', 1234.5)`);
  const [transaction] = await takeTransactions(stream, 1);
  expect([...(transaction?.held() ?? [])].flat()[0]).toMatchObject({
    row: [
      '2026-02-03',
      '2026-02-03 04:05:06.789012+00',
      '1 year 2 mons -3 days +04:05:06',
      String.raw`\x00ff41`,
      '0.30000000000000004',
      'public.t',
      '$1,234.50',
    ],
  });
});

test('values stay as they were while 20,000 more messages come', async () => {
  const { open, run } = await begin('CREATE TABLE t (id int, v text)');
  const stream = await open();
  await run(`INSERT INTO t SELECT g, 'first ' || md5(g::text) || 'é' FROM generate_series(1, 300) g`);
  const [taken] = await takeTransactions(stream, 1);
  for (let part = 0; part < 100; part++) {
    await run(`INSERT INTO t SELECT g, md5((g + ${part})::text) FROM generate_series(1, 200) g`);
  }
  // Those are received by now, and wait.
  await until(async () => {
    const [row] = await server.query('SELECT sent_lsn >= pg_current_wal_lsn() AS sent FROM pg_stat_replication');
    return row?.['sent'] === true;
  });
  const later = await takeTransactions(stream, 100);
  const { createHash } = await import('node:crypto');
  const md5 = (text: string): string => createHash('md5').update(text).digest('hex');
  expect(taken === undefined ? [] : await linesOf(taken)).toEqual(
    numbers(1, 300).map((id) => `+t ${id},first ${md5(String(id))}é`),
  );
  for (const [part, transaction] of later.entries()) {
    expect(await linesOf(transaction)).toEqual(numbers(1, 200).map((id) => `+t ${id},${md5(String(id + part))}`));
  }
});

const shapes = (relations: Iterable<Relation>): string[] =>
  [...relations].map((relation) => relation.columns.map((column) => column.name).join(','));

test('each change keeps the shape its table had, through DDL inside of streamed transactions and its rollback', async () => {
  const { open, run, connect } = await begin('CREATE TABLE t (id int PRIMARY KEY, a text)');
  const stream = await open({ spoolAboveBytes: 20_000 });
  const fill = (values: string, from = 1): string =>
    `INSERT INTO t SELECT g, ${values} FROM generate_series(${from}, ${from + 999}) g`;
  const other = await connect();
  await run(`INSERT INTO t VALUES (0, 'before')`);
  await run(`BEGIN; ${fill(`'a'`)}; ALTER TABLE t ADD b text; ${fill(`'a', 'b'`, 1001)}; ROLLBACK`);
  await run(`INSERT INTO t VALUES (-1, 'after the rollback')`);
  await run(
    `BEGIN; ${fill(`'a'`)}; SAVEPOINT s; ALTER TABLE t ADD gone int; ${fill(`'a', 7`, 1001)}; ROLLBACK TO s;
     ${fill(`'a'`, 1001)}; COMMIT`,
  );
  await run(`BEGIN; ${fill(`'a'`, 2001)}; ALTER TABLE t ADD b text; ${fill(`'a', 'b'`, 3001)}; COMMIT`);
  await run(`INSERT INTO t VALUES (-2, 'after', 'the commit')`);
  await other.query(`INSERT INTO t VALUES (-3, 'and', 'again')`);
  const taken = await takeTransactions(stream, 6);
  const large = taken[3];
  if (large === undefined) throw new Error('six were taken');
  expect(await Promise.all(taken.map(linesOf))).toEqual([
    ['+t 0,before'],
    ['+t -1,after the rollback'],
    numbers(1, 2000).map((id) => `+t ${id},a`),
    [...numbers(2001, 3000).map((id) => `+t ${id},a`), ...numbers(3001, 4000).map((id) => `+t ${id},a,b`)],
    ['+t -2,after,the commit'],
    ['+t -3,and,again'],
  ]);
  const met = new Set<Relation>();
  for await (const piece of large.pieces()) {
    for (const change of piece) if (change.kind === 'insert') met.add(change.relation);
  }
  expect(new Set(shapes(met))).toEqual(new Set(['id,a', 'id,a,b']));
});

test('a source that fails to send a transaction before its commit is asked for it whole', async () => {
  const { open, run } = await begin('CREATE TABLE t (id int PRIMARY KEY, a text)');
  const stream = await open();
  const fill = (values: string, from = 1): string =>
    `INSERT INTO t SELECT g, ${values} FROM generate_series(${from}, ${from + 999}) g`;
  await run(
    `BEGIN; ${fill(`'a'`)}; SAVEPOINT s; ALTER TABLE t ADD gone int; ${fill(`'a', 7`, 1001)}; ROLLBACK TO s;
     ${fill(`'a'`, 1001)}; ALTER TABLE t ADD b text; ${fill(`'a', 'b'`, 2001)}; COMMIT`,
  );
  const failure = await takeTransactions(stream, 1).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: 'STREAMING_FAILED', retryable: true });
  await stream.close();
  const taken = await takeTransactions(await open({ spoolAboveBytes: 20_000 }), 1);
  expect(await Promise.all(taken.map(linesOf))).toEqual([
    [...numbers(1, 2000).map((id) => `+t ${id},a`), ...numbers(2001, 3000).map((id) => `+t ${id},a,b`)],
  ]);
});

test('what is not published makes positions and no transactions', async () => {
  const { open, run, slot } = await begin('CREATE TABLE t (id int); CREATE TABLE hidden (id int)');
  await run(`DROP PUBLICATION ${slot}; CREATE PUBLICATION "Odd ""name"", 'x'" FOR TABLE t`);
  const stream = await open({ publication: `Odd "name", 'x'` });
  await run('INSERT INTO hidden SELECT generate_series(1, 10)');
  const [now] = await server.query('SELECT pg_current_wal_lsn()::text AS lsn');
  const end = parseLsn(String(now?.['lsn']));
  const items = await takeUntil(stream, (all) => all.some((item) => item.kind === 'position' && item.lsn >= end));
  expect(transactionsOf(items)).toEqual([]);
}, 60_000);

const KEEPALIVE_WAL_END = 0x7f00_0000_0000n;

/** A server's keepalive (documentation, 55.4.10) that asks for nothing. */
function keepalive(walEnd: bigint): Buffer {
  const message = Buffer.alloc(23);
  message.write('d');
  message.writeUInt32BE(22, 1);
  message.write('k', 5);
  message.writeBigUInt64BE(walEnd, 6);
  return message;
}

/** Where the first insert begins: CopyData, WAL data with its three positions of 8 bytes, the message of pgoutput. */
function insertAt(chunk: Buffer): number {
  for (let at = chunk.indexOf('d'); at >= 0; at = chunk.indexOf('d', at + 1)) {
    if (chunk[at + 5] === 0x77 && chunk[at + 30] === 0x49 && chunk[at + 35] === 0x4e) return at;
  }
  return -1;
}

test('a keepalive inside of a transaction is no position', async () => {
  const { open, run, database } = await begin('CREATE TABLE t (id int PRIMARY KEY)');
  let injected = 0;
  const line = await startProxy(
    server.port,
    () => false,
    (chunk) => chunk,
    (chunk) => {
      const at = insertAt(chunk);
      if (at < 0) return chunk;
      injected += 1;
      return Buffer.concat([chunk.subarray(0, at), keepalive(KEEPALIVE_WAL_END), chunk.subarray(at)]);
    },
  );
  try {
    const url = new URL(server.url(database));
    url.port = String(line.port);
    const stream = await open({ settings: parseEndpoint({ url: url.href }, 'source') });
    await run('INSERT INTO t VALUES (1)');
    await run('INSERT INTO t VALUES (2)');
    const items = await takeUntil(stream, (all) => transactionsOf(all).length === 2);
    expect(injected).toBeGreaterThan(0);
    expect(await Promise.all(transactionsOf(items).map(linesOf))).toEqual([['+t 1'], ['+t 2']]);
    // Taken as one, it would say that the transaction around it is over, and be acknowledged before it was applied.
    expect(items.filter((item) => item.kind === 'position' && item.lsn >= KEEPALIVE_WAL_END)).toEqual([]);
  } finally {
    await line.close();
  }
});
