import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TestServer } from '../test/support/servers.ts';
import type { WorkloadName } from './options.ts';
import { chunked, together } from './workload-tools.ts';
import { blobs, empty, indexes, keys, skew, toast } from './workloads-shapes.ts';

const exec = promisify(execFile);
const chunkRows = 250_000;

export interface Workload {
  readonly name: WorkloadName;
  readonly what: string;
  /** Between every tool and both servers, ms; 0 where the tools are as near as they can be. */
  readonly roundTripMs?: number;
  /** So many files that the targets of earlier runs are kept until the end (`setAside`). */
  readonly manyFiles?: true;
  /** Fills an empty database and leaves it vacuumed and analysed. */
  fill(server: TestServer, database: string, scale: number): Promise<void>;
}

/** Bytes of the mixed database at scale 1, indexes included. */
export const mixedBytes = 1.24e9;

const wideRows = (from: number, to: number): string =>
  `INSERT INTO wide
       SELECT i, (hashint8(i) & 1048575), (ARRAY['new','paid','packed','sent','returned'])[1 + i % 5],
              (i % 1000000)::numeric / 100, CASE WHEN i % 7 <> 0 THEN sqrt(i) END, md5(i::text)::uuid,
              CASE WHEN i % 11 <> 0 THEN repeat(md5((i * 3)::text) || ' ', 1 + (i % 3)::int) END,
              jsonb_build_object('sku', md5((i * 7)::text), 'tags', jsonb_build_array('a', i % 10, NULL), 'weight', i % 97 / 10.0),
              i % 3 = 0, date '2020-01-01' + (i % 2000)::int,
              timestamptz '2020-01-01 00:00:00.123456+00' + i * interval '37 seconds',
              CASE WHEN i % 5 <> 0 THEN timestamp '2021-01-01' + i * interval '1.000001 seconds' END
       FROM generate_series(${from}::bigint, ${to}::bigint) AS i`;

const mixed: Workload = {
  name: 'mixed',
  what: '3 M wide rows (jsonb, text, numeric, timestamps, uuid) with 4 indexes, 0.5 M narrow ones with a foreign key',
  async fill(server, database, scale) {
    const wide = Math.max(1000, Math.round(3_000_000 * scale));
    const narrow = Math.max(1000, Math.round(500_000 * scale));
    await server.run(
      `CREATE TABLE wide (
         id bigint NOT NULL, customer_id int NOT NULL, status text NOT NULL, amount numeric(12,2) NOT NULL,
         ratio double precision, ref uuid NOT NULL, note text, data jsonb, active boolean NOT NULL,
         day date NOT NULL, created_at timestamptz NOT NULL, updated_at timestamp);
       CREATE TABLE narrow (id int NOT NULL, wide_id bigint NOT NULL, quantity int NOT NULL)`,
      database,
    );
    await together(server, database, chunked(wide, chunkRows, wideRows));
    await server.run(
      `INSERT INTO narrow SELECT i, 1 + (hashint8(i) & 1073741823) % ${wide}, i % 100 FROM generate_series(1, ${narrow}) AS i`,
      database,
    );
    await together(server, database, [
      `ALTER TABLE wide ADD PRIMARY KEY (id)`,
      `CREATE INDEX ON wide (customer_id, created_at)`,
      `CREATE UNIQUE INDEX ON wide (ref)`,
      `CREATE INDEX ON wide (status, amount)`,
      `ALTER TABLE narrow ADD PRIMARY KEY (id)`,
    ]);
    await server.run(`ALTER TABLE narrow ADD FOREIGN KEY (wide_id) REFERENCES wide`, database);
    await server.run('VACUUM ANALYZE', database);
  },
};

const accountRows = (from: number, to: number): string =>
  `INSERT INTO pgbench_accounts SELECT i, (i - 1) / 100000 + 1, 0, '' FROM generate_series(${from}, ${to}) AS i`;

const pgbench: Workload = {
  name: 'pgbench',
  what: 'pgbench -i -s 100: 10 M narrow rows in one table, one primary key each',
  async fill(server, database, scale) {
    const size = Math.max(1, Math.round(100 * scale));
    const program = [join(server.binDir, 'pgbench'), '/usr/bin/pgbench'].find(existsSync);
    if (program !== undefined) {
      const { host, port, user, password } = server;
      const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C', PGPASSWORD: password };
      const args = ['-i', '-q', '-s', String(size), '-h', host, '-p', String(port), '-U', user, database];
      await exec(program, args, { env, maxBuffer: 1 << 26 });
      return;
    }
    await server.run(
      `CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
       CREATE TABLE pgbench_tellers (tid int NOT NULL, bid int, tbalance int, filler char(84)) WITH (fillfactor = 100);
       CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84)) WITH (fillfactor = 100);
       CREATE TABLE pgbench_branches (bid int NOT NULL, bbalance int, filler char(88)) WITH (fillfactor = 100);
       INSERT INTO pgbench_branches SELECT i, 0, NULL FROM generate_series(1, ${size}) AS i;
       INSERT INTO pgbench_tellers SELECT i, (i - 1) / 10 + 1, 0, NULL FROM generate_series(1, ${size * 10}) AS i`,
      database,
    );
    await together(server, database, chunked(size * 100_000, chunkRows, accountRows));
    await together(server, database, [
      'ALTER TABLE pgbench_branches ADD PRIMARY KEY (bid)',
      'ALTER TABLE pgbench_tellers ADD PRIMARY KEY (tid)',
      'ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid)',
    ]);
    await server.run('VACUUM ANALYZE', database);
  },
};

const many: Workload = {
  name: 'many',
  what: '2,000 tables of 200 rows, each with a primary key, an index and a sequence',
  manyFiles: true,
  async fill(server, database, scale) {
    const count = Math.max(1, Math.round(2000 * scale));
    // In parts: every table, index and sequence is a lock until the transaction ends.
    for (let from = 1; from <= count; from += 100) {
      await server.run(
        `DO $do$ BEGIN FOR t IN ${from}..${Math.min(count, from + 99)} LOOP
           EXECUTE format('CREATE TABLE %I (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text NOT NULL, at timestamptz, data jsonb)', 'small_' || t);
           EXECUTE format($sql$INSERT INTO %I (name, at, data) SELECT md5(i::text), timestamptz '2024-01-01' + i * interval '1 hour', jsonb_build_object('n', i) FROM generate_series(1, 200) AS i$sql$, 'small_' || t);
           EXECUTE format('CREATE INDEX ON %I (name)', 'small_' || t);
         END LOOP; END $do$`,
        database,
      );
    }
    await server.run('VACUUM ANALYZE', database);
  },
};

const far: Workload = {
  ...many,
  name: 'far',
  what: `${many.what}; 80 ms a round trip to either server`,
  roundTripMs: 80,
};

export const workloads: Readonly<Record<WorkloadName, Workload>> = {
  mixed,
  pgbench,
  many,
  empty,
  indexes,
  keys,
  toast,
  blobs,
  skew,
  far,
};
