import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';

/** mulberry32: the same seed gives the same numbers on every machine. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Everything that has lost data in a replication tool, as tables. */
export const tortureSchema = `
CREATE SCHEMA t;
CREATE TYPE t.mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE t.pair AS (a int, b text);
CREATE DOMAIN t.positive AS int CHECK (VALUE > 0);
CREATE TABLE t.account (id bigint PRIMARY KEY, balance numeric NOT NULL DEFAULT 0, note text, changed timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE t.entry (id bigserial PRIMARY KEY, account bigint NOT NULL REFERENCES t.account ON DELETE CASCADE ON UPDATE CASCADE, amount numeric NOT NULL, tag text);
CREATE INDEX ON t.entry (account);
CREATE TABLE t.swap (id int PRIMARY KEY, code int NOT NULL UNIQUE, rank int NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE t.moved (id int PRIMARY KEY, v text);
CREATE TABLE t.types (
  id int PRIMARY KEY, b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, m money, tx text, vc varchar(20), ch char(5), by bytea,
  d date, ti time, tz timetz, ts timestamp, tstz timestamptz, iv interval, u uuid, j json, jb jsonb, ia int[], taa text[][], mo t.mood, ma t.mood[],
  pa t.pair, paa t.pair[], po t.positive, r int4range, mr nummultirange, ip inet, ci cidr, mac macaddr, pt point, bo box, bits bit(7), vbits varbit,
  tsv tsvector, x xml, o oid, nm name);
CREATE TABLE t.toast (id int PRIMARY KEY, big text, small int NOT NULL, blob bytea);
ALTER TABLE t.toast ALTER big SET STORAGE EXTERNAL;
CREATE TABLE t.ident (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int NOT NULL, twice int GENERATED ALWAYS AS (v * 2) STORED);
CREATE TABLE t.nokey (a int, b text, c jsonb, d json, e float8);
ALTER TABLE t.nokey REPLICA IDENTITY FULL;
CREATE TABLE t.fullkey (id int PRIMARY KEY, b text, big text);
ALTER TABLE t.fullkey REPLICA IDENTITY FULL;
CREATE TABLE t.part (id int, at date NOT NULL, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE t.part_1 PARTITION OF t.part FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE t.part_2 PARTITION OF t.part FOR VALUES FROM ('2026-07-01') TO ('2027-01-01') PARTITION BY HASH (id);
CREATE TABLE t.part_2a PARTITION OF t.part_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE t.part_2b PARTITION OF t.part_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE t.mood_part (id int, mood t.mood NOT NULL, v text, PRIMARY KEY (id, mood)) PARTITION BY HASH (mood);
CREATE TABLE t.mood_part_0 PARTITION OF t.mood_part FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE t.mood_part_1 PARTITION OF t.mood_part FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE t.emptied (id bigserial PRIMARY KEY, v text);
CREATE TABLE t.emptied_too (id bigserial PRIMARY KEY, emptied bigint NOT NULL REFERENCES t.emptied ON DELETE CASCADE, v text);
CREATE TABLE t.left_ (id int PRIMARY KEY, v int NOT NULL);
CREATE TABLE t.right_ (id int PRIMARY KEY, v int NOT NULL);
CREATE TABLE t.bulk (id bigserial PRIMARY KEY, batch int NOT NULL, v text, n int NOT NULL DEFAULT 0);
CREATE TABLE t.audit (id bigserial PRIMARY KEY, what text NOT NULL, key text);
CREATE FUNCTION t.note() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO t.audit (what, key) VALUES (TG_OP, coalesce(NEW.id, OLD.id)::text); RETURN NULL; END $f$;
CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON t.account FOR EACH ROW EXECUTE FUNCTION t.note();
CREATE SEQUENCE t.free START 7 INCREMENT 3;
INSERT INTO t.account SELECT g, g * 10, 'start ' || g FROM generate_series(1, 2000) g;
INSERT INTO t.entry (account, amount, tag) SELECT 1 + g % 2000, g, 'e' || g FROM generate_series(1, 20000) g;
INSERT INTO t.swap SELECT g, g, g FROM generate_series(1, 200) g;
INSERT INTO t.moved SELECT g, 'm' || g FROM generate_series(1, 500) g;
INSERT INTO t.toast SELECT g, repeat(md5(g::text), 400), 0, decode(repeat(md5(g::text), 200), 'hex') FROM generate_series(1, 300) g;
INSERT INTO t.ident (v) SELECT g FROM generate_series(1, 500) g;
INSERT INTO t.nokey SELECT g % 20, 'b' || g % 7, jsonb_build_object('g', g % 5), '{"a": 1,  "a": 2}', CASE g % 3 WHEN 0 THEN float8 'NaN' WHEN 1 THEN float8 '-0' ELSE 0 END FROM generate_series(1, 200) g;
INSERT INTO t.fullkey SELECT g, 'f' || g, repeat(md5(g::text), 300) FROM generate_series(1, 200) g;
INSERT INTO t.part SELECT g, date '2026-01-01' + g % 365, 'p' || g FROM generate_series(1, 1000) g;
INSERT INTO t.mood_part SELECT g, (ARRAY['sad', 'ok', 'happy'])[1 + g % 3]::t.mood, 'h' || g FROM generate_series(1, 300) g;
INSERT INTO t.left_ SELECT g, 0 FROM generate_series(1, 50) g;
INSERT INTO t.right_ SELECT g, 0 FROM generate_series(1, 50) g;
INSERT INTO t.types (id) VALUES (0);
`;

const extremes: readonly string[] = [
  `(%, true, -32768, -2147483648, -9223372036854775808, 'NaN', '-Infinity', 'NaN', '-92233720368547758.08', 'null', '', '', '', '-infinity', '00:00', '24:00:00-15:59', 'infinity', '-infinity', '-178000000 years', '00000000-0000-0000-0000-000000000000', 'null', 'null', '{}', '{{a,NULL},{"NULL",""}}', 'sad', '{}', '(,)', '{}', 1, 'empty', '{}', '::1', '10.0.0.0/8', '08:00:2b:01:02:03', '(NaN,Infinity)', '(1,1),(0,0)', '1010101', '', '', '<a/>', 0, '')`,
  `(%, false, 32767, 2147483647, 9223372036854775807, 3.4028235e38, 1.7976931348623157e308, ('1' || repeat('2', 999))::numeric, '92233720368547758.07', E'line\\nbreak\\ttab\\\\backslash "quoted" ''single''', 'NULL', ' x ', '\\x00ff00', 'infinity', '23:59:59.999999', '00:00:00+15:59', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00', '178000000 years 11 mons 29 days -23:59:59.999999', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '{"b": 1, "b" :2, "n": 12345678901234567890.123456789012345678901234567890}', '{"n": 12345678901234567890.1234567890, "u": "\\u00e9\\u4e2d"}', '[0:2][1:2]={{1,2},{3,NULL},{5,6}}', '{{"a,b","c\\"d"},{"{}","\\\\"}}', 'happy', '{sad,NULL,happy}', '(1,"x,y")', '{"(1,a)",NULL,"(,\\"\\")"}', 2147483647, '[1,5)', '{(,1),[3,7.5)}', '255.255.255.255/3', '2001:db8::/32', 'ff:ff:ff:ff:ff:ff', '(1e308,-1e-307)', '(-1,-1),(-2,-2)', '0000000', '1', '''a'':1A b:2B,3', '<b>&amp; \u00e9</b>', 4294967295, 'Name With Space')`,
  `(%, NULL, 0, 0, 0, '-0', '-0', 0.000000000000000000001, 0, repeat('\u00e9\u4e2d\u{1F600}', 3000), '\u{1F600}', 'abcde', decode(repeat('00ff27', 20000), 'hex'), '4713-01-01 BC', '12:00', '12:00:00.000001+05:30', '4713-01-01 00:00:00 BC', '4713-01-01 00:00:00+00 BC', '1 mon -1 day', gen_random_uuid(), '[]', '[1.0, 1.00, -0.0]', '{NULL}', NULL, 'ok', '{ok}', '(-1,NULL)', '{"(2,\\"\\\\\\"\\")"}', 7, '(,)', '{(,)}', 'fe80::1', '0.0.0.0/0', '00:00:00:00:00:00', '(0,-0)', '(0,0),(0,0)', '1111111', '10101010101', 'fat cat', '', 1, 'n')`,
];

interface Writer {
  readonly client: Client;
  readonly random: () => number;
  readonly id: number;
}
type Act = (writer: Writer) => Promise<void>;

const pick = <T>(random: () => number, items: readonly T[]): T => {
  const item = items[Math.floor(random() * items.length)];
  if (item === undefined) throw new Error('nothing to pick from');
  return item;
};
const below = (random: () => number, n: number): number => Math.floor(random() * n);

/** One transaction; any of its statements may fail, as an application's do. */
async function transaction({ client, random }: Writer, statements: readonly string[]): Promise<void> {
  await client.query('BEGIN');
  try {
    for (const sql of statements) {
      await client.query(sql);
      if (random() < 0.02) await sleep(below(random, 30));
    }
    await client.query(random() < 0.1 ? 'ROLLBACK' : 'COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}

const acts: readonly [number, Act][] = [
  [
    20,
    async (w) => {
      const [from, to, amount] = [1 + below(w.random, 2000), 1 + below(w.random, 2000), below(w.random, 500)];
      await transaction(w, [
        `UPDATE t.account SET balance = balance - ${amount}, changed = clock_timestamp() WHERE id = ${from}`,
        `UPDATE t.account SET balance = balance + ${amount} WHERE id = ${to}`,
        `INSERT INTO t.entry (account, amount, tag) SELECT id, ${amount}, ${pick(w.random, [`'null'`, `''`, 'NULL', `'é' || chr(10)`])} FROM t.account WHERE id = ${to}`,
      ]);
    },
  ],
  [
    6,
    async (w) => {
      const id = 1 + below(w.random, 2200);
      await transaction(
        w,
        w.random() < 0.5
          ? [`DELETE FROM t.account WHERE id = ${id}`]
          : [
              `INSERT INTO t.account VALUES (${id}, 1, 'again') ON CONFLICT (id) DO UPDATE SET note = 'back', balance = t.account.balance + 1`,
            ],
      );
    },
  ],
  [
    6,
    async (w) => {
      const [a, b] = [1 + below(w.random, 200), 1 + below(w.random, 200)];
      if (a === b) return;
      // Values that must be free for a moment, in one transaction or across two.
      await transaction(w, [
        `UPDATE t.swap SET rank = (SELECT sum(rank) FROM t.swap WHERE id IN (${a}, ${b})) - rank WHERE id IN (${a}, ${b})`,
        `CREATE TEMP TABLE IF NOT EXISTS held (id int, code int); TRUNCATE held; INSERT INTO held SELECT id, code FROM t.swap WHERE id IN (${a}, ${b})`,
        `UPDATE t.swap SET code = -code WHERE id IN (${a}, ${b})`,
        `UPDATE t.swap SET code = (SELECT h.code FROM held h WHERE h.id <> t.swap.id) WHERE id IN (${a}, ${b})`,
      ]);
    },
  ],
  [
    5,
    async (w) => {
      const [a, c] = [1 + below(w.random, 200), 1000 + below(w.random, 100_000)];
      await transaction(w, [`UPDATE t.swap SET code = ${c} WHERE id = ${a}`]);
      await transaction(w, [
        `UPDATE t.swap SET code = ${a} WHERE id = ${1 + below(w.random, 200)} AND NOT EXISTS (SELECT FROM t.swap WHERE code = ${a})`,
      ]);
    },
  ],
  [
    6,
    async (w) => {
      const [a, b] = [1 + below(w.random, 500), 1 + below(w.random, 500)];
      await transaction(w, [
        `UPDATE t.moved SET id = id + 100000 WHERE id IN (${a}, ${b})`,
        ...(w.random() < 0.5 ? [`UPDATE t.moved SET v = v || 'x' WHERE id > 100000 AND length(v) < 60`] : []),
        `UPDATE t.moved SET id = CASE WHEN id = ${a + 100_000} AND EXISTS (SELECT FROM t.moved WHERE id = ${b + 100_000}) AND ${a} <> ${b} THEN ${b} + 200000 ELSE id - 100000 END WHERE id BETWEEN 100000 AND 200000`,
        `UPDATE t.moved SET id = id - 200000 WHERE id > 200000`,
      ]);
    },
  ],
  [
    6,
    async (w) => {
      const id = 1 + below(w.random, 400);
      await transaction(w, [
        `DELETE FROM t.types WHERE id = ${id}`,
        `INSERT INTO t.types VALUES ${pick(w.random, extremes).replace('%', String(id))}`,
        ...(w.random() < 0.5
          ? [
              `UPDATE t.types SET f8 = '-0', tx = NULLIF(tx, ''), ia = CASE WHEN array_ndims(ia) > 1 THEN NULL ELSE ia || ${below(w.random, 9)} END, mo = 'ok' WHERE id = ${id}`,
            ]
          : []),
      ]);
    },
  ],
  [
    8,
    async (w) => {
      const id = 1 + below(w.random, 300);
      await transaction(w, [
        `UPDATE t.toast SET small = small + 1 WHERE id = ${id}`,
        ...(w.random() < 0.2 ? [`UPDATE t.toast SET big = repeat(md5(random()::text), 300) WHERE id = ${id}`] : []),
        ...(w.random() < 0.2
          ? [
              `UPDATE t.toast SET id = id + 1000, small = -1 WHERE id = ${id}`,
              `UPDATE t.toast SET id = id - 1000 WHERE id = ${id + 1000}`,
            ]
          : []),
        `UPDATE t.fullkey SET b = 'u' || ${below(w.random, 1000)} WHERE id = ${1 + below(w.random, 200)}`,
      ]);
    },
  ],
  [
    0.15,
    (w) =>
      transaction(w, [
        `UPDATE t.toast SET blob = (SELECT decode(string_agg(md5((g * ${below(w.random, 1e6)})::text), ''), 'hex') FROM generate_series(1, 330000) g) WHERE id = ${1 + below(w.random, 300)}`,
      ]),
  ],
  [
    6,
    (w) =>
      transaction(w, [
        `INSERT INTO t.ident (v) SELECT g FROM generate_series(1, ${1 + below(w.random, 5)}) g`,
        `UPDATE t.ident SET v = v + 1 WHERE id = ${1 + below(w.random, 800)}`,
        `DELETE FROM t.ident WHERE id = ${1 + below(w.random, 800)}`,
        ...(w.random() < 0.1 ? [`UPDATE t.ident SET id = DEFAULT WHERE id = ${1 + below(w.random, 800)}`] : []),
      ]),
  ],
  [
    4,
    (w) =>
      transaction(w, [
        `INSERT INTO t.nokey VALUES (${below(w.random, 20)}, ${pick(w.random, [`'b1'`, 'NULL', `'null'`])}, '{"g": 1.0}', '{"a": 1}', ${pick(w.random, [`'NaN'`, `'-0'`, '0', 'NULL'])})`,
        `UPDATE t.nokey SET b = 'c' WHERE ctid = (SELECT ctid FROM t.nokey WHERE a = ${below(w.random, 20)} LIMIT 1)`,
        `DELETE FROM t.nokey WHERE ctid = (SELECT ctid FROM t.nokey WHERE a = ${below(w.random, 20)} OFFSET 1 LIMIT 1)`,
      ]),
  ],
  [
    6,
    (w) =>
      transaction(w, [
        `INSERT INTO t.part VALUES (${1000 + below(w.random, 100_000)}, date '2026-01-01' + ${below(w.random, 365)}, 'n') ON CONFLICT DO NOTHING`,
        `UPDATE t.part SET at = date '2026-01-01' + ${below(w.random, 365)} WHERE id = ${1 + below(w.random, 1000)}`,
        `UPDATE t.mood_part SET mood = '${pick(w.random, ['sad', 'ok', 'happy'])}', v = 'w' WHERE id = ${1 + below(w.random, 300)}`,
        `DELETE FROM t.part WHERE id = ${1 + below(w.random, 100_000)}`,
      ]),
  ],
  [
    0.5,
    (w) =>
      transaction(w, [
        `INSERT INTO t.emptied (v) SELECT 'v' FROM generate_series(1, 50)`,
        `INSERT INTO t.emptied_too (emptied, v) SELECT id, 'of ' || id FROM t.emptied`,
        w.random() < 0.5 ? `TRUNCATE t.emptied RESTART IDENTITY CASCADE` : `TRUNCATE t.emptied, t.emptied_too`,
        `INSERT INTO t.emptied (v) SELECT 'w' || g FROM generate_series(1, 20) g`,
        `INSERT INTO t.emptied_too (emptied, v) SELECT id, 'again ' || id FROM t.emptied WHERE id % 2 = 0`,
      ]),
  ],
  [
    4,
    (w) =>
      transaction(w, [
        `INSERT INTO t.emptied (v) VALUES ('x'), ('')`,
        `DELETE FROM t.emptied WHERE id % 7 = ${below(w.random, 7)}`,
      ]),
  ],
  [
    5,
    (w) => {
      const id = 1 + below(w.random, 50);
      const both = [`UPDATE t.left_ SET v = v + 1 WHERE id = ${id}`, `UPDATE t.right_ SET v = v + 1 WHERE id = ${id}`];
      return transaction(w, w.random() < 0.5 ? both : both.toReversed());
    },
  ],
  [
    4,
    async (w) => {
      const id = 3000 + below(w.random, 500);
      await transaction(w, [
        `SAVEPOINT a`,
        `INSERT INTO t.moved VALUES (${id}, 'sub') ON CONFLICT (id) DO UPDATE SET v = 'sub'`,
        `SAVEPOINT b`,
        `DELETE FROM t.moved WHERE id = ${id}`,
        `ROLLBACK TO b`,
        `UPDATE t.moved SET v = 'kept' WHERE id = ${id}`,
        ...(w.random() < 0.3 ? [`ROLLBACK TO a`] : [`RELEASE a`]),
        `SELECT nextval('t.free')`,
      ]);
    },
  ],
];

/** A transaction of `rows` rows with a subtransaction that is undone, so that it is streamed while it runs. */
export async function hugeTransaction(url: string, rows: number): Promise<void> {
  const client = new Client({ connectionString: url, application_name: 'huge writer' });
  client.on('error', () => undefined);
  await client.connect();
  try {
    await client.query('BEGIN');
    await client.query(`INSERT INTO t.bulk (batch, v) SELECT 1, 'row ' || g FROM generate_series(1, ${rows}) g`);
    await client.query(`SAVEPOINT undone`);
    await client.query(`UPDATE t.bulk SET n = n + 1 WHERE id % 10 = 0`);
    await client.query(`ROLLBACK TO undone`);
    await client.query(`UPDATE t.bulk SET n = n + 5 WHERE id % 20 = 0`);
    await client.query(`DELETE FROM t.bulk WHERE id % 4 = 0 AND batch = 1`);
    await client.query('COMMIT');
  } finally {
    await client.end();
  }
}

/** What an application shrugs off: its own conflicts, and servers that go away. */
const shrugged: ReadonlySet<string> = new Set([
  '40P01',
  '23505',
  '23503',
  '40001',
  '57P01',
  '57P02',
  '57P03',
  '25006',
  '22003',
  '2200H',
  '42P07',
]);

export interface Writers {
  readonly committed: () => number;
  /** Errors that no application would expect. */
  readonly surprises: readonly string[];
  stop(): Promise<void>;
}

/** Starts `count` writers that go on until they are stopped; they connect anew when their server goes away. */
export function startWriters(url: string, count: number, seed: number): Writers {
  const total = acts.reduce((sum, [weight]) => sum + weight, 0);
  const surprises: string[] = [];
  const asked = { stop: false };
  let committed = 0;
  const run = async (id: number): Promise<void> => {
    const random = seeded(seed * 1000 + id);
    while (!asked.stop) {
      const client = new Client({ connectionString: url, application_name: `writer ${id}` });
      client.on('error', () => undefined);
      try {
        await client.connect();
        await client.query(`SET client_min_messages = error`);
        while (!asked.stop) {
          let at = random() * total;
          const act = acts.find(([weight]) => (at -= weight) < 0) ?? acts[0];
          try {
            await act?.[1]({ client, random, id });
            committed += 1;
          } catch (error) {
            const code = error instanceof Error && 'code' in error ? String(error.code) : '';
            if (!shrugged.has(code)) {
              if (code === '' || code === 'ECONNRESET' || code === 'EPIPE') throw error;
              if (surprises.length < 20) surprises.push(`${code} ${String(error)}`);
            }
            if (code.startsWith('57P')) throw error;
          }
          await sleep(below(random, 16));
        }
      } catch {
        // The server is away, or has ended the session: an application waits and connects anew.
        await sleep(200);
      } finally {
        await client.end().catch(() => undefined);
      }
    }
  };
  const running = Array.from({ length: count }, (_, id) => run(id));
  return {
    committed: () => committed,
    surprises,
    stop: async () => {
      asked.stop = true;
      await Promise.all(running);
    },
  };
}
