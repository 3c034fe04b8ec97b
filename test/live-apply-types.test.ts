import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { BatchWriter } from '../src/live/apply-batch.ts';
import { openApplySession } from '../src/live/apply-session.ts';
import { Shapes } from '../src/live/apply-shapes.ts';
import { PreparedNames, TargetTransaction } from '../src/live/apply-transaction.ts';
import type { Transaction } from '../src/live/types.ts';
import { parseSnapshot } from '../src/live/visibility.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { ApplyRig, owner } from './support/apply-rig.ts';
import { type TestServer, startServer } from './support/servers.ts';
import { seeded } from './support/torture-workload.ts';

let server: TestServer;
let rig: ApplyRig | null = null;

beforeAll(async () => {
  server = await startServer({ name: 'apply-types', settings: { wal_level: 'logical', max_replication_slots: '20' } });
});
afterEach(async () => {
  await rig?.close();
  rig = null;
});
afterAll(() => server.stop());

const typed = `
CREATE TYPE public.mood AS ENUM ('sad', 'o''k', 'a,b', 'null');
CREATE TYPE public.pair AS (a int, b text);
CREATE TYPE public.deep AS (p public.pair, l text[]);
CREATE DOMAIN public.positive AS int CHECK (VALUE > 0);
CREATE DOMAIN public.words AS text[] CHECK (cardinality(VALUE) < 10);
CREATE DOMAIN public.couple AS public.pair;
CREATE DOMAIN public.code AS char(4);
CREATE TYPE public.span AS RANGE (subtype = float8);
CREATE EXTENSION citext SCHEMA public;
CREATE EXTENSION hstore SCHEMA public;
CREATE TABLE public.t (
  id int PRIMARY KEY, b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, n2 numeric(12,4), m money, tx text, vc varchar(20),
  ch char(5), qc "char", nm name, by bytea, d date, ti time, tip time(2), tz timetz, ts timestamp, tsp timestamp(3), tstz timestamptz, iv interval,
  ivd interval day to second(1), u uuid, j json, jb jsonb, jp jsonpath, x xml, ip inet, ci cidr, mac macaddr, mac8 macaddr8, bits bit(7), vbits varbit(12),
  tsv tsvector, tsq tsquery, pt point, ln line, ls lseg, bo box, pa path, po polygon, cc circle, o oid, rc regclass, lsn pg_lsn, xi xid8, snap pg_snapshot,
  ia int[], ta text[], ba box[], na numeric(6,2)[], ca char(3)[], bya bytea[], ja jsonb[], mo public.mood, moa public.mood[], pr public.pair, pra public.pair[],
  dp public.deep, dpa public.deep[], dom public.positive, doma public.positive[], wo public.words, woa public.words[], cou public.couple, coua public.couple[],
  cod public.code, r int4range, rt tstzrange, sp public.span, ra int4range[], mr nummultirange, ci_ public.citext, cia public.citext[], h public.hstore, ha public.hstore[],
  iv2 int2vector, ov oidvector);`;

const values: Readonly<Record<string, readonly string[]>> = {
  b: ['true', 'false'],
  i2: ['-32768', '32767'],
  i4: ['-2147483648', '2147483647'],
  i8: ['-9223372036854775808', '9223372036854775807'],
  f4: ['NaN', 'Infinity', '-Infinity', '-0', '3.4028235e38', '1e-45'],
  f8: ['NaN', 'Infinity', '-Infinity', '-0', '1.7976931348623157e308', '5e-324', '0.1'],
  n: ['NaN', 'Infinity', '-Infinity', '1.000', '-0.0', `1${'2'.repeat(999)}`, `0.${'0'.repeat(400)}1`],
  n2: ['NaN', '12345678.9012', '-0.0001'],
  m: ['-92233720368547758.08', '92233720368547758.07'],
  tx: ['', 'null', 'NULL', ' x ', 'a"b\\c\'d{,}', '\\N', '\n\t\r', 'é中😀', '{1,2}', '"', '\\'],
  vc: ['', 'null', 'x'.repeat(20), '  '],
  ch: ['', 'abcde', 'a', '   b', 'é'],
  qc: ['', 'x', '\\303'],
  nm: ['', 'Name With "Space"', 'null', 'é'.repeat(30)],
  by: ['', '\\x00ff00', '\\x5c22', '\\x6e756c6c'],
  d: ['-infinity', 'infinity', '4713-01-01 BC', '5874897-12-31'],
  ti: ['00:00', '24:00:00', '23:59:59.999999'],
  tip: ['12:00:00.12', '24:00:00'],
  tz: ['00:00:00+15:59:59', '24:00:00-15:59'],
  ts: ['infinity', '-infinity', '294276-12-31 23:59:59.999999', '4713-01-01 00:00:00 BC'],
  tsp: ['2026-01-01 00:00:00.123', 'infinity'],
  tstz: [
    'infinity',
    '-infinity',
    '294276-12-31 23:59:59.999999+00',
    '4713-01-01 00:00:00+00 BC',
    '0001-01-01 00:00:00+00',
  ],
  iv: ['178000000 years 11 mons 29 days -23:59:59.999999', '-178000000 years', '1 mon -1 day', '30 days', '0'],
  ivd: ['1 day 00:00:00.5', '-5 days'],
  u: ['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'],
  j: ['null', '{"b": 1, "b" :2, "n": 12345678901234567890.10}', '"\\u0041"', '[]', ' 1'],
  jb: ['null', '{"n": 12345678901234567890.1234567890, "u": "é中\\"\\\\"}', '"null"', '[1.0, 1.00]'],
  jp: ['$.a[*] ? (@ > 1)', 'strict $."x y"'],
  x: ['', '<a>&amp;é</a>', 'text <b/> text', '<!-- c -->'],
  ip: ['::1', '255.255.255.255/3', '10.0.0.1'],
  ci: ['10.0.0.0/8', '2001:db8::/32', '0.0.0.0/0'],
  mac: ['08:00:2b:01:02:03'],
  mac8: ['08:00:2b:01:02:03:04:05'],
  bits: ['1010101', '0000000'],
  vbits: ['', '1', '101010101010'],
  tsv: ['', `'a':1A b:2B,3`, `'it''s' '\\\\'`],
  tsq: ['', `'a' & !'b c' | 'd':*A`],
  pt: ['(NaN,Infinity)', '(0,-0)', '(1e308,-1e-307)'],
  ln: ['{1,2,3}'],
  ls: ['[(0,0),(1,1)]'],
  bo: ['(1,1),(0,0)', '(-1,-1),(-2,-2)'],
  pa: ['[(0,0),(1,1)]', '((0,0),(1,1),(2,0))'],
  po: ['((0,0),(1,1),(2,0))'],
  cc: ['<(0,0),1>'],
  o: ['0', '4294967295'],
  rc: ['pg_catalog.pg_class', '-'],
  lsn: ['0/0', 'FFFFFFFF/FFFFFFFF'],
  xi: ['18446744073709551615'],
  snap: ['10:20:10,14,15'],
  ia: ['{}', '{NULL}', '[0:2][1:2]={{1,2},{3,NULL},{5,6}}', '{{{1},{2}}}'],
  ta: ['{}', '{NULL,"NULL",""," x ","a,b","c\\"d","{}","\\\\"}', '{{a,NULL},{"null",""}}'],
  ba: ['{}', '{(1,1),(0,0);(3,3),(2,2)}'],
  na: ['{NaN,1.00,-9999.99}'],
  ca: ['{a,"",abc}'],
  bya: ['{"\\\\x00ff","\\\\x",NULL}'],
  ja: ['{"{\\"a\\": \\"x,y\\"}","null",NULL}'],
  mo: ['sad', `o'k`, 'a,b', 'null'],
  moa: ['{}', `{sad,o'k,"a,b","null",NULL}`],
  pr: ['(,)', '(1,"x,y")', '(-1,"")', '(0,"a ""q"" \\\\ b")', '(1,null)'],
  pra: ['{}', '{"(1,a)",NULL,"(,\\"\\")"}'],
  dp: ['(,)', '("(1,""x,""""y"")","{a,NULL,""b c""}")'],
  dpa: ['{"(\\"(1,a)\\",\\"{x}\\")",NULL}'],
  dom: ['1', '2147483647'],
  doma: ['{}', '{1,NULL,2147483647}'],
  wo: ['{}', '{a,NULL,"b c"}', '{{a},{b}}'],
  woa: ['{}', '{"{a,NULL}","{}",NULL}'],
  cou: ['(1,a)', '(,)'],
  coua: ['{"(1,a)",NULL}'],
  cod: ['', 'ab', 'abcd'],
  r: ['empty', '(,)', '[1,5)'],
  rt: ['empty', '["2026-01-01 00:00:00+00",infinity]', '(,"2026-01-01 00:00:00.000001+00")'],
  sp: ['empty', '[-Infinity,NaN]', '[0.1,0.2)'],
  ra: ['{empty,"[1,5)","(,)",NULL}'],
  mr: ['{}', '{(,1),[3,7.5)}'],
  ci_: ['', 'MiXed', 'null'],
  cia: ['{A,a,NULL,"null"}'],
  h: ['', '"a"=>"1", "b"=>NULL, "null"=>"NULL"', '"q\\"q"=>"\\\\"'],
  ha: ['{"\\"a\\"=>\\"1\\"",""}'],
  iv2: ['', '1 2 3'],
  ov: ['', '1 2 4294967295'],
};

/** Row `at` takes the at-th value of each column, NULL where there is none; row 0 is all NULL. */
const rowOf = (at: number): (string | null)[] => Object.values(values).map((list) => list[at - 1] ?? null);
const rows = Math.max(...Object.values(values).map((list) => list.length)) + 1;

test('values of every type arrive to the bit, one by one and in bulk, inserted and updated', async () => {
  rig = await ApplyRig.open(server, 'all_types', {
    schema: `${typed} CREATE TABLE public.keyless (LIKE public.t); ALTER TABLE public.keyless REPLICA IDENTITY FULL`,
  });
  const columns = Object.keys(values);
  const insert = `INSERT INTO t (id, ${columns.join(', ')}) VALUES ($1, ${columns.map((_, at) => `$${at + 2}`).join(', ')})`;
  for (let at = 0; at < rows; at += 1) {
    await rig.source.query(insert, [at, ...rowOf(at)]);
    if (at % 4 === 0) await rig.follow();
  }
  await rig.write(`INSERT INTO keyless SELECT * FROM t`);
  await rig.follow();
  await rig.expectSame('t', rows);
  await rig.expectSame('keyless', rows);
  await rig.write(`CREATE TEMP TABLE next AS SELECT id + 1 AS to_id, ${columns.join(', ')} FROM t`);
  const set = columns.map((name) => `${name} = next.${name}`).join(', ');
  await rig.write(
    `UPDATE t SET ${set} FROM next WHERE t.id = to_id % ${rows}`,
    `UPDATE keyless SET ${set} FROM next WHERE keyless.id = to_id % ${rows}`,
    `DELETE FROM keyless WHERE id % 3 = 0`,
  );
  expect(await rig.follow()).toMatchObject({ updates: rows * 2 });
  await rig.expectSame('t', rows);
  await rig.expectSame('keyless', rows - Math.ceil(rows / 3));
  expect(rig.logged.filter((line) => line.includes('stored as'))).toEqual([]);
  await rig.write(`UPDATE t SET tx = 'one' WHERE id = 3`);
  await rig.follow();
  await rig.expectSame('t', rows);
  // Nothing above proves something if the columns were NULL.
  const [filled] = await server.query(
    `SELECT sum(num_nonnulls(${columns.join(', ')}))::int AS n FROM public.t`,
    rig.targetName,
  );
  expect(filled?.['n']).toBe(Object.values(values).reduce((sum, list) => sum + list.length, 0));
});

test('a value of megabytes arrives, as do keys of types that need their own operator', async () => {
  rig = await ApplyRig.open(server, 'own_types', {
    schema: `CREATE EXTENSION citext SCHEMA public; CREATE EXTENSION hstore SCHEMA public; CREATE TYPE public.mood AS ENUM ('sad', 'ok');
      CREATE TABLE public.big (id int PRIMARY KEY, by bytea, tx text);
      CREATE TABLE public.ci (k public.citext, m public.mood, a int[], h public.hstore DEFAULT '', v int, PRIMARY KEY (k, m, a, h));
      CREATE TABLE public.dec (k numeric PRIMARY KEY, v int); CREATE TABLE public.ri (id int, c char(4) NOT NULL, v int);
      CREATE UNIQUE INDEX ri_c ON public.ri (c); ALTER TABLE public.ri REPLICA IDENTITY USING INDEX ri_c`,
  });
  await rig.write(
    `INSERT INTO big SELECT g, decode(repeat(md5(g::text), 5 * 1024 * 1024 / 16), 'hex'), repeat('\\"é', 700000) FROM generate_series(1, 3) g`,
    `INSERT INTO ci (k, m, a, v) VALUES ('Abc', 'sad', '{1}', 1), ('xyz', 'ok', '{}', 2), ('del', 'ok', '{1,2}', 3)`,
    `INSERT INTO dec VALUES (1.0, 1), (2.00, 2), (3, 3)`,
    `INSERT INTO ri VALUES (1, 'a', 1), (2, 'ab', 2), (3, 'abcd', 3)`,
  );
  await rig.follow();
  await rig.write(
    `UPDATE big SET tx = 'short' WHERE id = 1`,
    `UPDATE big SET by = '\\x00' WHERE id = 2`,
    `UPDATE ci SET v = 10 WHERE k = 'ABC'`,
    `UPDATE ci SET k = 'aBC' WHERE k = 'abc'`,
    `UPDATE ci SET k = 'abc', v = 11 WHERE k = 'aBC'`,
    `DELETE FROM ci WHERE k = 'DEL'`,
    `UPDATE dec SET k = 1.000 WHERE k = 1`,
    `UPDATE dec SET v = 20 WHERE k = 2`,
    `DELETE FROM dec WHERE k = 3.0`,
    `INSERT INTO dec VALUES (3.000, 30)`,
    `UPDATE ri SET v = 10 WHERE id = 1`,
    `UPDATE ri SET c = 'b' WHERE id = 2`,
    `DELETE FROM ri WHERE id = 3`,
  );
  expect(await rig.follow()).toMatchObject({ ordered: false });
  await rig.expectSame('big', 3);
  await rig.expectSame('ci', 2);
  await rig.expectSame('dec', 3);
  await rig.expectSame('ri', 2);
  expect(await rig.rows('target', 'dec')).toEqual(['(1.000,1)', '(2.00,20)', '(3.000,30)']);
});

const gamble = `
CREATE TABLE public.t (id int PRIMARY KEY, u int UNIQUE, d int UNIQUE DEFERRABLE, big text, v text);
ALTER TABLE public.t ALTER big SET STORAGE EXTERNAL;
CREATE TABLE public.f (id int PRIMARY KEY, big text, v text); ALTER TABLE public.f ALTER big SET STORAGE EXTERNAL; ALTER TABLE public.f REPLICA IDENTITY FULL;
CREATE TABLE public.k (a int, v text); ALTER TABLE public.k REPLICA IDENTITY FULL`;

function randomStatement(random: () => number): string {
  const n = (below: number): number => Math.floor(random() * below);
  const id = n(30);
  const other = n(30);
  const big = `repeat(md5('${n(1000)}'), 100)`;
  const all: (() => string)[] = [
    () =>
      `INSERT INTO t VALUES (${id}, ${n(60)}, ${n(60)}, ${random() < 0.5 ? big : 'NULL'}, 'i${n(99)}') ON CONFLICT DO NOTHING`,
    () =>
      `INSERT INTO t SELECT g, g + 100, g + 100, ${big}, 'bulk' FROM generate_series(${30 + id}, ${40 + id}) g ON CONFLICT (id) DO NOTHING`,
    () => `UPDATE t SET v = v || '${n(10)}' WHERE id = ${id}`,
    () => `UPDATE t SET v = left(v || 'm', 8) WHERE id % 5 = ${n(5)}`,
    () => `UPDATE t SET big = ${big} WHERE id = ${id}`,
    () => `UPDATE t SET u = ${n(60)} WHERE id = ${id}`,
    () => `UPDATE t SET d = d + 1`,
    () => `UPDATE t SET id = ${other} WHERE id = ${id}`,
    () =>
      `UPDATE t SET id = -1 WHERE id = ${id}; UPDATE t SET id = ${id} WHERE id = ${other}; UPDATE t SET id = ${other} WHERE id = -1`,
    () => `UPDATE t SET u = NULL WHERE id = ${id}; UPDATE t SET u = ${n(60)} WHERE id = ${other}`,
    () => `DELETE FROM t WHERE id = ${id}`,
    () => `DELETE FROM t WHERE id % 7 = ${n(7)}`,
    () => `INSERT INTO f VALUES (${id}, ${big}, 'f${n(99)}') ON CONFLICT (id) DO UPDATE SET v = excluded.v`,
    () => `UPDATE f SET id = ${other} WHERE id = ${id}`,
    () => `DELETE FROM f WHERE id = ${id}; INSERT INTO f VALUES (${id}, NULL, 'again')`,
    () => `INSERT INTO k SELECT ${n(5)}, 'k' FROM generate_series(1, ${n(4)})`,
    () => `UPDATE k SET v = v || '.' WHERE ctid = (SELECT ctid FROM k WHERE a = ${n(5)} LIMIT 1)`,
    () => `DELETE FROM k WHERE ctid = (SELECT ctid FROM k WHERE a = ${n(5)} LIMIT 1)`,
    () => (random() < 0.1 ? `TRUNCATE ${random() < 0.5 ? 't' : 't, f, k'}` : `DELETE FROM f WHERE id = ${other}`),
  ];
  return (all[n(all.length)] ?? (() => 'SELECT 1'))();
}

/** Applies each transaction by itself and change by change to a database of its own. */
async function applyInOrder(home: ApplyRig, name: string, transactions: readonly Transaction[]): Promise<void> {
  const settings = parseEndpoint({ url: server.url(name, owner, owner) }, 'target');
  const session = await openApplySession(settings, 'in order', new AbortController().signal);
  try {
    const gates = new Map(
      (await home.gates()).map((gate) => [gate.oid, { gate, snapshot: parseSnapshot(gate.snapshot) }]),
    );
    const newest = [...gates.values()][0]?.snapshot.xmax ?? 0n;
    const names = new PreparedNames(0);
    const shapes = new Shapes(session);
    const modes = new Map(['public.t', 'public.f', 'public.k'].map((id) => [id, 'ordered' as const]));
    for (const transaction of transactions) {
      const target = TargetTransaction.begin(session, names);
      const writer = new BatchWriter({ transaction: target, shapes, gates, ignored: new Set(), modes, newest });
      await writer.write([transaction]);
      await target.commit();
    }
  } finally {
    await session.close();
  }
}

test('random changes: their net effect, their order and the source itself come to the same rows', async () => {
  const seed = Number(process.env['PGSLUICE_APPLY_SEED'] ?? Math.floor(Math.random() * 1e9));
  process.stdout.write(`PGSLUICE_APPLY_SEED=${seed}\n`);
  const random = seeded(seed);
  rig = await ApplyRig.open(server, 'gamble', { schema: gamble });
  await server.createDatabase('gamble_ordered', `OWNER ${owner}`);
  await server.run(`SET ROLE ${owner}; ${gamble}`, 'gamble_ordered');
  let collapsed = 0;
  for (let round = 0; round < 25; round += 1) {
    for (let at = Math.floor(random() * 12); at >= 0; at -= 1) {
      const statements = Array.from({ length: 1 + Math.floor(random() * 4) }, () => randomStatement(random));
      // Some do not go through; the source then has nothing of them.
      await rig.write(`BEGIN; ${statements.join('; ')}; COMMIT`).catch(() => rig?.write('ROLLBACK'));
    }
    const transactions = await rig.fetch();
    if (transactions.length === 0) continue;
    // One that remembers nothing tries the net effect of every table anew.
    await rig.reopen();
    const applied = await (await rig.applier()).apply(transactions);
    if (!applied.ordered) collapsed += 1;
    await applyInOrder(rig, 'gamble_ordered', transactions);
    for (const table of ['t', 'f', 'k']) {
      const source = await rig.rows('source', table);
      const where = { table, round, seed };
      expect({ where, rows: await rig.rows('target', table) }).toEqual({ where, rows: source });
      const ordered = await server.query(`SELECT x::text AS row FROM public.${table} x ORDER BY 1`, 'gamble_ordered');
      expect({ where, rows: ordered.map((row) => row['row']) }).toEqual({ where, rows: source });
    }
  }
  process.stdout.write(`${collapsed} of 25 rounds by net effect alone\n`);
});
