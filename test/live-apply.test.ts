import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { ApplyRig, type RigOptions } from './support/apply-rig.ts';
import { type TestServer, startServer } from './support/servers.ts';

let server: TestServer;
let made = 0;
const rigs: ApplyRig[] = [];

beforeAll(async () => {
  server = await startServer({ name: 'apply', settings: { wal_level: 'logical', max_replication_slots: '20' } });
});
afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close();
});
afterAll(() => server.stop());

async function rigOf(options: RigOptions): Promise<ApplyRig> {
  made += 1;
  const rig = await ApplyRig.open(server, `apply_${made}`, options);
  rigs.push(rig);
  return rig;
}

test('every kind of change arrives, also many to one row and rows that came and went inside a batch', async () => {
  const rig = await rigOf({
    schema: 'CREATE TABLE public.t (id int PRIMARY KEY, v text, n int)',
  });
  await rig.write(
    `INSERT INTO t SELECT g, 'v' || g, g FROM generate_series(1, 1000) g`,
    `UPDATE t SET v = 'new ' || v WHERE id % 3 = 0`,
    `UPDATE t SET n = n + 1 WHERE id % 2 = 0`,
    `DELETE FROM t WHERE id % 5 = 0`,
    `INSERT INTO t VALUES (5, NULL, NULL), (10, '', 0)`,
    `DELETE FROM t WHERE id = 7; INSERT INTO t VALUES (7, 'null', 7)`,
  );
  expect(await rig.follow()).toEqual({
    inserts: 1003,
    updates: 333 + 500,
    deletes: 201,
    truncates: 0,
    transactions: 6,
    ordered: false,
  });
  await rig.expectSame('t', 802);
  await rig.write(`UPDATE t SET id = id + 10000`, `DELETE FROM t WHERE id = 10005`, `INSERT INTO t VALUES (1, 'x', 1)`);
  expect(await rig.follow()).toMatchObject({ updates: 802, ordered: false });
  await rig.expectSame('t', 802);
});

test('many insertions, and many updates, keep every byte of odd values and the columns of a target in another order', async () => {
  const columns = ['a int', 'k text', 'x text[]', 'j jsonb', 'b bytea', 'r int4range', 'd numeric', 'f float8'];
  const make = (list: readonly string[]): string =>
    `CREATE TABLE public.t (${list.join(', ')}, PRIMARY KEY (a, k)); CREATE TABLE public.log (v text, a int, g int GENERATED ALWAYS AS (a * 2) STORED)`;
  const rig = await rigOf({ schema: make(columns), target: make(columns.toReversed()) });
  const odd = String.raw`(ARRAY['', 'null', '\N', '\.', E'a\tb\nc\rd', '"q"', '{x,y}', ' ', 'ü€😀', 'back\slash', NULL])[1 + g % 11]`;
  await rig.write(
    `INSERT INTO t SELECT g, 'k' || g % 7 || coalesce(${odd}, ''), CASE WHEN g % 5 > 0 THEN ARRAY[${odd}, 'z'] END, jsonb_build_object('v', ${odd}),
       convert_to(coalesce(${odd}, ''), 'UTF8'), int4range(g, g + g % 3), g / 7.0, g / 3.0::float8 FROM generate_series(1, 3000) g`,
    `INSERT INTO log SELECT repeat(coalesce(${odd}, 'n'), 1 + g % 50), g FROM generate_series(1, 3000) g`,
  );
  expect(await rig.follow()).toMatchObject({ inserts: 6000, ordered: false });
  const same = async (): Promise<void> => {
    const rows = `SELECT a, k, x, j, b, r, d, f FROM t ORDER BY a, k`;
    expect(await server.query(rows, rig.targetName)).toEqual(await server.query(rows, rig.name));
    expect(await server.query(rows, rig.name)).toHaveLength(3000);
    await rig.expectSame('log', 3000);
  };
  await same();
  await rig.write(
    `UPDATE t SET x = x || k, j = jsonb_build_object('k', k), d = d * 3`,
    `UPDATE t SET b = b || '\\x5c22', f = -f WHERE a % 2 = 0`,
    `UPDATE t SET j = NULL WHERE a % 3 = 0`,
  );
  expect(await rig.follow()).toMatchObject({ updates: 3000 + 1500 + 1000, ordered: false });
  await same();
  // A row that the target should not have: nothing of the batch is stored, and it is told which.
  await server.run(`INSERT INTO t (a, k) VALUES (9000, 'x')`, rig.targetName);
  await rig.write(`INSERT INTO t (a, k) SELECT g, 'x' FROM generate_series(8500, 9500) g`);
  await expect(rig.follow()).rejects.toMatchObject({ code: 'TARGET_DIVERGED' });
  expect(await server.query(`SELECT a FROM t WHERE a > 8000`, rig.targetName)).toEqual([{ a: 9000 }]);
});

test('many updates of every type whose values travel as one text, and values that hold what separates them', async () => {
  const columns =
    'i2 int2, i4 int4, i8 int8, n numeric(20,4), f4 float4, f8 float8, bo bool, o oid, d date, t time, tz timetz, ts timestamp, tsz timestamptz, iv interval, u uuid, j json, jb jsonb, ba bytea, tx text, vc varchar(90), ip inet, ci cidr, ma macaddr, ls pg_lsn';
  const rig = await rigOf({
    schema: `CREATE TABLE public.t (id int PRIMARY KEY, ${columns}); CREATE TABLE public.own (id int PRIMARY KEY, v text)`,
  });
  // Somebody's own cast from text, which an input function has nothing to do with.
  await server.run(
    `CREATE FUNCTION public.seven(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 7'; CREATE CAST (text AS int) WITH FUNCTION public.seven(text)`,
    rig.targetName,
  );
  const odd = String.raw`(ARRAY['', 'null', 'NULL', '\N', E'a\tb\nc\rd', '"q"', '{x,y}', ' ', 'ü€😀', 'back\slash', NULL, ',', E'\u0003'])[1 + g % 13]`;
  const values = (odd_: string): string =>
    `g % 30000, -g, g * 10000000000::int8, CASE WHEN g % 4 = 0 THEN 'NaN' ELSE g / 7.0 END, CASE WHEN g % 5 = 0 THEN '-Infinity' ELSE g / 3.0 END, g * 1e-300, g % 2 = 0, g,
     CASE WHEN g % 6 = 0 THEN 'infinity' ELSE date '4713-01-01 BC' + g END, time '23:59:59.999999', timetz '04:05:06+13', timestamp '294276-12-31 23:59:59' - g * interval '1 s',
     timestamptz '2026-01-01' + g * interval '1 us', make_interval(months => g, secs => -g), md5(g::text)::uuid, json_build_object('v', ${odd_}), jsonb_build_object('v', ${odd_}),
     convert_to(coalesce(${odd_}, ''), 'UTF8'), ${odd_}, ${odd_}, '10.0.0.1'::inet + g, cidr '10.1.2.0/24', macaddr '08:00:2b:01:02:03', pg_lsn '0/16B3748'`;
  await rig.write(
    `INSERT INTO t SELECT g, ${values('NULL::text')} FROM generate_series(1, 600) g; INSERT INTO own SELECT g, 'x' FROM generate_series(1, 600) g`,
  );
  await rig.follow();
  await rig.write(
    `UPDATE t SET (${columns
      .split(', ')
      .map((one) => one.split(' ')[0])
      .join(', ')}) = (SELECT ${values(odd)} FROM generate_series(t.id, t.id) g)`,
    `UPDATE t SET tx = NULL, vc = '' WHERE id % 3 = 0`,
    `UPDATE own SET v = CASE WHEN id % 2 = 0 THEN E'\\u0001' ELSE E'a\\u0002' END`,
    `UPDATE own SET v = '' WHERE id % 5 = 0`,
  );
  expect(await rig.follow()).toMatchObject({ updates: 600 + 200 + 600 + 120, ordered: false });
  await rig.expectSame('t', 600);
  await rig.expectSame('own', 600);
});

test('a value that an update left alone is kept, whether the row was there, came in the same batch, or changes its key', async () => {
  const rig = await rigOf({
    schema: `CREATE TABLE public.t (id int PRIMARY KEY, big text, n int); ALTER TABLE public.t ALTER big SET STORAGE EXTERNAL`,
  });
  await rig.write(`INSERT INTO t SELECT g, repeat(md5(g::text), 300), 0 FROM generate_series(1, 20) g`);
  await rig.follow();
  await rig.write(
    `UPDATE t SET n = 1 WHERE id <= 10`,
    `INSERT INTO t SELECT g, repeat(md5(g::text), 300), 0 FROM generate_series(21, 30) g`,
    `UPDATE t SET n = n + 2 WHERE id BETWEEN 5 AND 25`,
    `UPDATE t SET big = 'short', n = 7 WHERE id = 6`,
    `UPDATE t SET n = 8 WHERE id IN (6, 7)`,
    // All values of row 22 are known here; its new key needs no look at the target.
    `UPDATE t SET id = 122 WHERE id = 22`,
  );
  expect(await rig.follow()).toMatchObject({ ordered: false });
  await rig.expectSame('t', 30);
  await rig.write(`UPDATE t SET id = id + 1000 WHERE id < 15`, `UPDATE t SET n = 99 WHERE id = 1003`);
  expect(await rig.follow()).toMatchObject({ ordered: true });
  await rig.expectSame('t', 30);
});

test('a toasted value of the key itself finds its row', async () => {
  const rig = await rigOf({
    schema: `CREATE TABLE public.t (id text PRIMARY KEY, n int); ALTER TABLE public.t ALTER id SET STORAGE EXTERNAL`,
  });
  await rig.write(
    `INSERT INTO t SELECT g || string_agg(md5(g || ' ' || h), ''), 0 FROM generate_series(1, 5) g, generate_series(1, 80) h GROUP BY g`,
  );
  await rig.follow();
  await rig.write(`UPDATE t SET n = n + 1`, `DELETE FROM t WHERE id LIKE '3%'`);
  expect(await rig.follow()).toMatchObject({ updates: 5, deletes: 1, ordered: false });
  await rig.expectSame('t', 4);
});

test('keys that pass from row to row end at the right one', async () => {
  const rig = await rigOf({ schema: `CREATE TABLE public.t (a int, b text, v text, PRIMARY KEY (a, b))` });
  await rig.write(`INSERT INTO t SELECT g, 'b' || g, 'row ' || g FROM generate_series(1, 10) g`);
  await rig.follow();
  await rig.write(
    // 1 → 2 → 3, each time onto a key that has just become free.
    `DELETE FROM t WHERE a IN (2, 3)`,
    `UPDATE t SET a = 2, b = 'b2' WHERE a = 1`,
    `UPDATE t SET a = 3, b = 'b3' WHERE a = 2`,
    // 4 and 5 change places.
    `BEGIN; UPDATE t SET a = -4 WHERE a = 4; UPDATE t SET a = 4, b = 'b4' WHERE a = 5; UPDATE t SET a = 5, b = 'b5' WHERE a = -4; COMMIT`,
    `UPDATE t SET a = 60 WHERE a = 6`,
    `INSERT INTO t VALUES (6, 'b6', 'another row 6')`,
    // Lengths must not run into each other: ('1', '1:1') is not ('11', …).
    `INSERT INTO t VALUES (70, '1,1', 'x'), (701, ',1', 'y')`,
    `DELETE FROM t WHERE a = 70`,
  );
  expect(await rig.follow()).toMatchObject({ ordered: false });
  await rig.expectSame('t', 10);
  expect(await rig.rows('target', 't')).toContain('(3,b3,"row 1")');
});

test('unique values that pass from row to row, deferrable or not, inside and across transactions', async () => {
  const rig = await rigOf({
    schema: `CREATE TABLE public.t (id int PRIMARY KEY, u int UNIQUE, d int UNIQUE DEFERRABLE, r int4range, EXCLUDE USING gist (r WITH &&));
      CREATE TABLE public.calm (id int PRIMARY KEY, v int)`,
  });
  await rig.write(
    `INSERT INTO t SELECT g, g, g, int4range(g * 10, g * 10 + 10) FROM generate_series(1, 50) g`,
    `INSERT INTO calm SELECT g, 0 FROM generate_series(1, 50) g`,
  );
  await rig.follow();
  await rig.write(`UPDATE t SET d = 51 - d`);
  expect(await rig.follow()).toMatchObject({ ordered: false });
  await rig.expectSame('t', 50);
  await rig.write(
    `UPDATE calm SET v = 1`,
    `BEGIN; UPDATE t SET u = -1 WHERE id = 1; UPDATE t SET u = 1 WHERE id = 2; UPDATE t SET u = 2 WHERE id = 1; COMMIT`,
    `UPDATE t SET u = -3 WHERE id = 3`,
    `UPDATE t SET u = 3 WHERE id = 4`,
    `UPDATE t SET u = 4 WHERE id = 3`,
    `UPDATE t SET r = 'empty' WHERE id = 9`,
    `UPDATE t SET r = '[90,100)' WHERE id = 10`,
    `DELETE FROM t WHERE id = 20; INSERT INTO t VALUES (120, 20, 31, '[2000,2001)')`,
    `UPDATE calm SET v = 2`,
  );
  expect(await rig.follow()).toMatchObject({ ordered: true });
  await rig.expectSame('t', 50);
  await rig.expectSame('calm', 50);
  expect(rig.logged.filter((line) => line.includes('change by change'))).toHaveLength(1);
  // The table is remembered: the next swap costs no second attempt.
  await rig.write(
    `UPDATE t SET d = 51 - d`,
    `BEGIN; UPDATE t SET u = -1 WHERE id = 1; UPDATE t SET u = 2 WHERE id = 2; UPDATE t SET u = 1 WHERE id = 1; COMMIT`,
  );
  expect(await rig.follow()).toMatchObject({ ordered: true });
  await rig.expectSame('t', 50);
  expect(rig.logged.filter((line) => line.includes('change by change'))).toHaveLength(1);
});

test('a deferrable primary key is no key to find rows by', async () => {
  const rig = await rigOf({
    schema: `CREATE TABLE public.t (id int PRIMARY KEY DEFERRABLE, v text); ALTER TABLE public.t REPLICA IDENTITY FULL`,
  });
  await rig.write(`INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 20) g`, `UPDATE t SET id = 21 - id`);
  await rig.write(`UPDATE t SET v = v || '!' WHERE id = 3`, `DELETE FROM t WHERE id = 4`);
  expect(await rig.follow()).toMatchObject({ updates: 21, deletes: 1, ordered: true });
  await rig.expectSame('t', 19);
});

test('rows without a key: one of several equal ones changes, and only what is equal to the bit', async () => {
  const rig = await rigOf({
    schema: `CREATE TABLE public.t (a int, b text, f float8, n numeric, j json, p point, arr int[]); CREATE INDEX ON public.t (a);
      CREATE TABLE public.bare (j json); CREATE TABLE public.none ();
      ALTER TABLE public.t REPLICA IDENTITY FULL; ALTER TABLE public.bare REPLICA IDENTITY FULL; ALTER TABLE public.none REPLICA IDENTITY FULL`,
  });
  await rig.write(
    `INSERT INTO t SELECT g % 3, NULL, 0, 1.0, '{"a":1}', '(1,1)', '{1,NULL}' FROM generate_series(1, 9) g`,
    `INSERT INTO t SELECT 1, 'null', '-0', 1.00, '{"a": 1}', NULL, '[0:1]={1,NULL}' FROM generate_series(1, 3) g`,
    `INSERT INTO t SELECT NULL, '', 'NaN', 'NaN', NULL, NULL, NULL FROM generate_series(1, 3) g`,
    `INSERT INTO bare VALUES (NULL), ('null'), ('{}'), ('{}'), (' {}')`,
    `INSERT INTO none DEFAULT VALUES`,
    `INSERT INTO none DEFAULT VALUES`,
  );
  await rig.follow();
  const one = (where: string, table = 't'): string => `ctid = (SELECT ctid FROM ${table} WHERE ${where} LIMIT 1)`;
  await rig.write(
    `DELETE FROM t WHERE ${one('a = 1 AND b IS NULL')}`,
    `UPDATE t SET b = 'changed' WHERE ${one(`a = 1 AND b = 'null'`)}`,
    `DELETE FROM t WHERE ${one(`a = 1 AND b = 'null'`)}`,
    `UPDATE t SET n = 2 WHERE ${one(`a IS NULL`)}`,
    `DELETE FROM t WHERE ${one(`a IS NULL AND n = 'NaN'`)}`,
    `UPDATE t SET n = n WHERE a = 0`,
    `DELETE FROM bare WHERE ${one(`j::text = '{}'`, 'bare')}`,
    `UPDATE bare SET j = '1' WHERE j::text = ' {}'`,
    `DELETE FROM bare WHERE j IS NULL`,
    `DELETE FROM none WHERE ${one('true', 'none')}`,
  );
  expect(await rig.follow()).toMatchObject({ ordered: true, deletes: 6, updates: 6 });
  await rig.expectSame('t', 12);
  await rig.expectSame('bare', 3);
  await rig.expectSame('none', 1);
  expect(rig.logged.filter((line) => line.startsWith('warn') || line.includes('stored as'))).toEqual([]);
});

test('a row without a key that is stored otherwise is found by what is printed of it', async () => {
  const rig = await rigOf({
    schema: `CREATE TABLE public.t (a int[], v text); ALTER TABLE public.t REPLICA IDENTITY FULL`,
  });
  await rig.write(`INSERT INTO t VALUES ('{1,2}', 'one'), (NULL, 'NULL')`);
  await rig.follow();
  // An array that once had a NULL keeps the room for it: the same value, stored otherwise.
  await rig.target.run(`UPDATE public.t SET a = array_replace('{1,NULL}'::int[], NULL, 2) WHERE v = 'one'`);
  await rig.write(`UPDATE t SET v = 'two' WHERE v = 'one'`, `DELETE FROM t WHERE a IS NULL`);
  expect(await rig.follow()).toMatchObject({ updates: 1, deletes: 1, ordered: true });
  await rig.expectSame('t', 1);
});

test('identity columns keep the values of the source, also where they change; generated ones are left to the target', async () => {
  const rig = await rigOf({
    schema: `CREATE TABLE public.pk (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int, twice int GENERATED ALWAYS AS (v * 2) STORED, big text);
      ALTER TABLE public.pk ALTER big SET STORAGE EXTERNAL;
      CREATE TABLE public.plain (id int PRIMARY KEY, no int GENERATED ALWAYS AS IDENTITY, v int, big text);
      ALTER TABLE public.plain ALTER big SET STORAGE EXTERNAL;
      CREATE TABLE public.sole (id int PRIMARY KEY, no int GENERATED ALWAYS AS IDENTITY);
      CREATE TABLE public.keyless (no int GENERATED ALWAYS AS IDENTITY, v int); ALTER TABLE public.keyless REPLICA IDENTITY FULL`,
  });
  await rig.write(
    `INSERT INTO pk (v, big) SELECT g, CASE WHEN g > 5 THEN repeat(md5(g::text), 300) END FROM generate_series(1, 10) g`,
    `INSERT INTO plain (id, v, big) SELECT g, g, repeat(md5(g::text), 300) FROM generate_series(1, 10) g`,
    `INSERT INTO sole (id) SELECT g FROM generate_series(1, 10) g`,
    `INSERT INTO keyless (v) SELECT g FROM generate_series(1, 5) g`,
  );
  await rig.follow();
  await rig.write(
    `UPDATE pk SET v = v + 1`,
    `UPDATE plain SET v = v + 1`,
    `DELETE FROM plain WHERE id = 9`,
    `INSERT INTO plain (id, v) VALUES (9, 9)`,
  );
  expect(await rig.follow()).toMatchObject({ ordered: false });
  await rig.write(
    `UPDATE pk SET id = DEFAULT WHERE id IN (4, 8)`,
    `UPDATE plain SET no = DEFAULT WHERE id = 5`,
    `UPDATE plain SET v = 0, no = DEFAULT WHERE id = 6`,
    `UPDATE sole SET no = DEFAULT WHERE id = 3`,
    `UPDATE keyless SET no = DEFAULT WHERE v = 3`,
    `UPDATE keyless SET v = 40 WHERE v = 4`,
  );
  await rig.follow();
  await rig.expectSame('pk', 10);
  await rig.expectSame('plain', 10);
  await rig.expectSame('sole', 10);
  await rig.expectSame('keyless', 5);
});

const parts = `CREATE TABLE public.p (id int, at int, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
  CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (0) TO (100);
  CREATE TABLE public.p2 (v text, at int NOT NULL, id int NOT NULL);
  ALTER TABLE public.p ATTACH PARTITION public.p2 FOR VALUES FROM (100) TO (200)`;

test('partitions of their own, and partitions that the target routes anew', async () => {
  const via = { schema: 'public', name: 'p' };
  const same = await rigOf({ schema: parts });
  const routed = await rigOf({
    schema: parts,
    target: `CREATE TABLE public.p (id int, at int, v text, PRIMARY KEY (id, at)) PARTITION BY HASH (id);
      CREATE TABLE public.h0 PARTITION OF public.p FOR VALUES WITH (MODULUS 2, REMAINDER 0);
      CREATE TABLE public.h1 PARTITION OF public.p FOR VALUES WITH (MODULUS 2, REMAINDER 1)`,
    via: { 'public.p1': via, 'public.p2': via },
  });
  for (const rig of [same, routed]) {
    await rig.write(
      `INSERT INTO p SELECT g, g, 'v' || g FROM generate_series(0, 199) g`,
      `UPDATE p SET v = v || '!' WHERE id % 3 = 0`,
      `UPDATE p SET at = 199 - at WHERE id % 5 = 0`,
      `DELETE FROM p WHERE id % 7 = 0`,
    );
    expect(await rig.follow()).toMatchObject({ ordered: false });
    await rig.expectSame('p', 171);
    await rig.write(
      `UPDATE p SET at = 150 WHERE id = 1`,
      `UPDATE p SET v = 'moved' WHERE id = 1`,
      `UPDATE p SET id = 1001 WHERE id = 1`,
    );
    await rig.follow();
    await rig.expectSame('p', 171);
  }
  await same.expectSame('p1', (await same.rows('source', 'p1')).length);
  await routed.write(`TRUNCATE p`, `INSERT INTO p VALUES (1, 1, 'new')`);
  expect(await routed.follow()).toMatchObject({ truncates: 1 });
  await routed.expectSame('p', 1);
  await routed.write(`TRUNCATE p2`);
  await expect(routed.follow()).rejects.toMatchObject({
    code: 'TRUNCATE_OF_ROUTED_PARTITION',
    message: expect.stringContaining('public.p1'),
  });
  await routed.expectSame('p', 1);
  await same.write(`TRUNCATE p2`, `INSERT INTO p VALUES (9, 199, 'after')`);
  await same.follow();
  await same.expectSame('p2', 1);
  await same.expectSame('p', (await same.rows('source', 'p')).length);
});

test('a TRUNCATE takes what came before it and nothing that came after, in tables of its own', async () => {
  const rig = await rigOf({
    schema: `CREATE TABLE public.a (id serial PRIMARY KEY, v int); CREATE TABLE public.b (id serial PRIMARY KEY, v int); CREATE TABLE public.child () INHERITS (public.a)`,
  });
  await rig.write(
    `INSERT INTO a (v) SELECT g FROM generate_series(1, 50) g`,
    `INSERT INTO b (v) SELECT g FROM generate_series(1, 50) g`,
    `INSERT INTO child VALUES (1, 1)`,
  );
  await rig.follow();
  await rig.write(
    `INSERT INTO a (v) VALUES (100)`,
    `UPDATE ONLY a SET v = -1 WHERE id = 1; UPDATE b SET v = -1 WHERE id = 1`,
    `BEGIN; INSERT INTO a (v) VALUES (101); TRUNCATE ONLY a RESTART IDENTITY; INSERT INTO a (v) VALUES (102); COMMIT`,
    `TRUNCATE b CASCADE; INSERT INTO b (v) VALUES (5)`,
    `INSERT INTO a (v) VALUES (103)`,
  );
  expect(await rig.follow()).toMatchObject({ truncates: 2, inserts: 5, updates: 2 });
  await rig.expectSame('ONLY a', 2);
  await rig.expectSame('child', 1);
  await rig.expectSame('b', 1);
});

test('large transactions on disk and small ones share a batch', async () => {
  const rig = await rigOf({
    schema: `CREATE TABLE public.t (id int PRIMARY KEY, u int UNIQUE, v text); CREATE TABLE public.k (a int); ALTER TABLE public.k REPLICA IDENTITY FULL`,
    spoolAboveBytes: 256 * 1024,
  });
  await rig.write(
    `INSERT INTO t VALUES (-1, -1, 'small')`,
    `BEGIN; INSERT INTO t SELECT g, g, repeat('x', 50) FROM generate_series(1, 60000) g; UPDATE t SET v = 'y' WHERE id % 2 = 0; DELETE FROM t WHERE id % 10 = 0; COMMIT`,
    `UPDATE t SET v = 'after' WHERE id < 100`,
    `INSERT INTO k SELECT g % 10 FROM generate_series(1, 20000) g`,
    `DELETE FROM t WHERE id = 1`,
  );
  const transactions = await rig.fetch();
  expect(transactions.map((transaction) => transaction.inMemory)).toEqual([true, false, true, false, true]);
  const applier = await rig.applier();
  expect(await applier.apply(transactions)).toMatchObject({ ordered: false, transactions: 5 });
  await rig.expectSame('t', 54000);
  await rig.expectSame('k', 20000);
  // Unique values are passed on inside of one that is read twice.
  await rig.write(`BEGIN; UPDATE t SET u = -1 - id WHERE id > 0; UPDATE t SET u = 60001 - id WHERE id > 0; COMMIT`);
  expect(await rig.follow()).toMatchObject({ transactions: 1 });
  await rig.expectSame('t', 54000);
  await Promise.all(transactions.map((transaction) => transaction.release()));
});

test('what the copy of a table has seen is not applied to it again', async () => {
  const rig = await rigOf({
    schema: `CREATE TABLE public.t (id int PRIMARY KEY, v text); CREATE TABLE public.u (id int PRIMARY KEY)`,
  });
  await rig.write(`INSERT INTO t VALUES (1, 'before')`, `INSERT INTO u VALUES (1)`);
  const open = await rig.another();
  await open.query(
    `BEGIN; INSERT INTO t VALUES (2, 'runs'); UPDATE t SET v = 'late' WHERE id = 1; INSERT INTO u VALUES (2)`,
  );
  await rig.write(`INSERT INTO t VALUES (3, 'done')`);
  const copy = await rig.another();
  await copy.query(`BEGIN ISOLATION LEVEL REPEATABLE READ`);
  const { rows } = await copy.query<{ snapshot: string }>(`SELECT pg_current_snapshot()::text AS snapshot`);
  await rig.write(`INSERT INTO t VALUES (4, 'after')`, `DELETE FROM t WHERE id = 3`);
  const copied = await copy.query<{ id: number; v: string }>(`SELECT id, v FROM t ORDER BY id`);
  expect(copied.rows).toEqual([
    { id: 1, v: 'before' },
    { id: 3, v: 'done' },
  ]);
  for (const { id, v } of copied.rows) await rig.target.query(`INSERT INTO public.t VALUES ($1, $2)`, [id, v]);
  const gate = (await rig.gates()).find((one) => one.name === 't');
  if (gate === undefined) throw new Error('table t has no gate');
  const applier = await rig.applier();
  applier.addGate({ ...gate, snapshot: rows[0]?.snapshot ?? '' });
  await open.query('COMMIT');
  await copy.query('COMMIT');
  expect(await rig.follow()).toMatchObject({ transactions: 6, inserts: 4, updates: 1, deletes: 1 });
  await rig.expectSame('t', 3);
  await rig.expectSame('u', 2);
});
