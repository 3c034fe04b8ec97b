import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TestServer } from '../test/support/servers.ts';

const exec = promisify(execFile);

export const liveWorkloadNames = ['tpcb', 'insert', 'update'] as const;
export type LiveWorkloadName = (typeof liveWorkloadNames)[number];

/** Changes on the source that are recorded in its WAL before anybody applies them. */
export interface LiveWorkload {
  readonly name: LiveWorkloadName;
  readonly what: string;
  /** Makes the tables and their first rows. */
  fill(server: TestServer, database: string, scale: number): Promise<void>;
  /** Writes the backlog. */
  write(server: TestServer, database: string, scale: number): Promise<void>;
}

const wide = `CREATE TABLE wide (id bigint PRIMARY KEY, a int NOT NULL, b bigint, c numeric(12,2), d text, e timestamptz, f uuid, g jsonb)`;
const wideRows = (from: number, count: number): string =>
  `INSERT INTO wide SELECT g, g % 1000, g * 7, g / 100.0, 'text of row ' || g, timestamptz '2026-01-01' + g * interval '1 second',
     md5(g::text)::uuid, jsonb_build_object('n', g, 'tags', ARRAY['a', 'b']) FROM generate_series(${from}, ${from + count - 1}) g`;

function pgbench(server: TestServer, database: string, args: readonly string[]): Promise<unknown> {
  const env = { PATH: process.env['PATH'] ?? '', PGPASSWORD: server.password };
  const at = ['-h', server.host, '-p', String(server.port), '-U', server.user];
  return exec(join(server.binDir, 'pgbench'), [...at, ...args, database], { env, maxBuffer: 1 << 24 });
}

export const liveWorkloads: Readonly<Record<LiveWorkloadName, LiveWorkload>> = {
  tpcb: {
    name: 'tpcb',
    what: 'pgbench TPC-B, 4 clients, 100,000 transactions of 3 updates and 1 insert',
    fill: async (server, database) => {
      await pgbench(server, database, ['-i', '-q', '-s', '10']);
      // Without a key nothing could be told of its rows; it only ever grows.
      await server.run('ALTER TABLE pgbench_history REPLICA IDENTITY FULL', database);
    },
    write: async (server, database, scale) => {
      await pgbench(server, database, ['-n', '-c', '4', '-j', '2', '-t', String(Math.round(25_000 * scale))]);
    },
  },
  insert: {
    name: 'insert',
    what: '1,000,000 rows of 8 columns in 20 transactions',
    fill: (server, database) => server.run(wide, database),
    write: async (server, database, scale) => {
      const rows = Math.round(50_000 * scale);
      for (let at = 0; at < 20; at += 1) await server.run(wideRows(1 + at * rows, rows), database);
    },
  },
  update: {
    name: 'update',
    what: '500,000 updates of an 8-column table in 10 transactions',
    fill: async (server, database, scale) => {
      await server.run(wide, database);
      await server.run(wideRows(1, Math.round(500_000 * scale)), database);
      await server.run('VACUUM ANALYZE wide', database);
    },
    write: async (server, database, scale) => {
      const rows = Math.round(50_000 * scale);
      for (let at = 0; at < 10; at += 1) {
        await server.run(
          `UPDATE wide SET a = a + 1, c = c * 2, d = d || '!', e = e + interval '1 day' WHERE id BETWEEN ${1 + at * rows} AND ${(at + 1) * rows}`,
          database,
        );
      }
    },
  },
};
