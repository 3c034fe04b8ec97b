import type { Workload } from './workloads.ts';
import { chunked, times, together } from './workload-tools.ts';

/** 1 MB values that no compression makes smaller, and large bytea. */
export const toast: Workload = {
  name: 'toast',
  what: '400 rows with 1 MB of text each, and 40,000 rows with 10 KB of bytea each',
  async fill(server, database, scale) {
    await server.run(
      `CREATE TABLE documents (id int PRIMARY KEY, title text NOT NULL, body text NOT NULL);
       ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
       CREATE TABLE pictures (id int PRIMARY KEY, bytes bytea NOT NULL);
       ALTER TABLE pictures ALTER bytes SET STORAGE EXTERNAL`,
      database,
    );
    const body = `(SELECT string_agg(md5((g * 32768 + n)::text), '') FROM generate_series(1, 32768) n)`;
    const bytes = `(SELECT string_agg(decode(md5((g * 640 + n)::text), 'hex'), '') FROM generate_series(1, 640) n)`;
    await together(server, database, [
      ...chunked(
        times(400, scale),
        25,
        (from, to) => `INSERT INTO documents SELECT g, 'title ' || g, ${body} FROM generate_series(${from}, ${to}) g`,
      ),
      ...chunked(
        times(40_000, scale),
        2500,
        (from, to) => `INSERT INTO pictures SELECT g, ${bytes} FROM generate_series(${from}, ${to}) g`,
      ),
    ]);
    await server.run('VACUUM ANALYZE', database);
  },
};

export const blobs: Workload = {
  name: 'blobs',
  what: '200,000 large objects of 1 KB',
  async fill(server, database, scale) {
    await server.run('CREATE TABLE files (id int PRIMARY KEY, content oid NOT NULL)', database);
    // In parts: every large object that is made is a lock until the transaction ends.
    await together(
      server,
      database,
      chunked(
        times(200_000, scale),
        2000,
        (from, to) =>
          `INSERT INTO files SELECT g, lo_from_bytea(0, convert_to(repeat(md5(g::text), 32), 'UTF8')) FROM generate_series(${from}, ${to}) g`,
      ),
    );
    await server.run('VACUUM ANALYZE', database);
  },
};

export const indexes: Workload = {
  name: 'indexes',
  what: '3 M rows with a primary key and 11 further indexes',
  async fill(server, database, scale) {
    await server.run(
      `CREATE TABLE events (id bigint NOT NULL, a int, b int, c int, d int, e int, kind text, name text, ref uuid, at timestamptz, day date, amount numeric(12,2))`,
      database,
    );
    await together(
      server,
      database,
      chunked(
        times(3_000_000, scale),
        100_000,
        (from, to) =>
          `INSERT INTO events SELECT g, hashint8(g), hashint8(g * 3) % 1000, hashint8(g * 5), g % 77, g / 10, 'kind ' || g % 20, md5(g::text), md5((g * 7)::text)::uuid,
             timestamptz '2025-01-01' + g * interval '1 s', date '2025-01-01' + (g % 700)::int, g / 100.0 FROM generate_series(${from}::bigint, ${to}::bigint) g`,
      ),
    );
    await server.run('ALTER TABLE events ADD PRIMARY KEY (id)', database);
    await together(
      server,
      database,
      ['a', 'b', 'c', 'd, at', 'e', 'kind, day', 'name', 'ref', 'at', 'day', 'amount'].map(
        (columns) => `CREATE INDEX ON events (${columns})`,
      ),
    );
    await server.run('VACUUM ANALYZE', database);
  },
};

const referring = 20;
const referred = ['customers', 'products', 'places'] as const;

export const keys: Workload = {
  name: 'keys',
  what: '60 foreign keys on 5 M rows: 20 tables of 250,000 rows, each referring to three others',
  async fill(server, database, scale) {
    const few = times(50_000, scale);
    for (const name of referred) {
      await server.run(
        `CREATE TABLE ${name} (id int PRIMARY KEY, name text NOT NULL); INSERT INTO ${name} SELECT g, md5(g::text) FROM generate_series(1, ${few}) g`,
        database,
      );
    }
    const rows = times(250_000, scale);
    const list = Array.from({ length: referring }, (_, at) => `orders_${at + 1}`);
    await together(
      server,
      database,
      list.map(
        (name) =>
          `CREATE TABLE ${name} (id int PRIMARY KEY, customer int NOT NULL, product int NOT NULL, place int, quantity int);
           INSERT INTO ${name} SELECT g, 1 + abs(hashint4(g)) % ${few}, 1 + abs(hashint4(g * 3)) % ${few}, CASE WHEN g % 9 > 0 THEN 1 + g % ${few} END, g % 50 FROM generate_series(1, ${rows}) g`,
      ),
    );
    for (const name of list) {
      await server.run(
        `ALTER TABLE ${name} ADD FOREIGN KEY (customer) REFERENCES customers, ADD FOREIGN KEY (product) REFERENCES products, ADD FOREIGN KEY (place) REFERENCES places`,
        database,
      );
    }
    await server.run('VACUUM ANALYZE', database);
  },
};

export const empty: Workload = {
  name: 'empty',
  what: '10,000 empty tables, each with a primary key',
  manyFiles: true,
  async fill(server, database, scale) {
    const make = (from: number, to: number): string =>
      `DO $do$ BEGIN FOR t IN ${from}..${to} LOOP
         EXECUTE format('CREATE TABLE %I (id int PRIMARY KEY, name text NOT NULL DEFAULT %L, at timestamptz)', 'empty_' || t, 'x');
       END LOOP; END $do$`;
    await together(server, database, chunked(times(10_000, scale), 100, make));
    await server.run('VACUUM ANALYZE', database);
  },
};

export const skew: Workload = {
  name: 'skew',
  what: '64 partitions of which one has 2 M of 2.6 M rows, each with a primary key and an index',
  async fill(server, database, scale) {
    await server.run(
      `CREATE TABLE measured (tenant int NOT NULL, id bigint NOT NULL, at timestamptz NOT NULL, value float8, note text, PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant)`,
      database,
    );
    await server.run(
      `DO $do$ BEGIN FOR t IN 1..64 LOOP EXECUTE format('CREATE TABLE measured_%s PARTITION OF measured FOR VALUES IN (%s)', t, t); END LOOP; END $do$`,
      database,
    );
    const rows = (tenant: number, from: number, to: number): string =>
      `INSERT INTO measured SELECT ${tenant}, g, timestamptz '2026-01-01' + g * interval '1 s', sqrt(g), md5(g::text) FROM generate_series(${from}::bigint, ${to}::bigint) g`;
    const small = Array.from({ length: 63 }, (_, at) => rows(at + 2, 1, times(10_000, scale)));
    await together(server, database, [
      ...chunked(times(2_000_000, scale), 250_000, (from, to) => rows(1, from, to)),
      ...small,
    ]);
    await server.run('CREATE INDEX ON measured (at)', database);
    await server.run('VACUUM ANALYZE', database);
  },
};
