import { mkdtempSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { type OpenChangeStream, openChangeStream } from '../../src/live/stream.ts';
import { type Change, type ChangeStream, type StreamItem, type Transaction, UNCHANGED } from '../../src/live/types.ts';
import { type Lsn, parseLsn } from '../../src/postgres/lsn.ts';
import { type ConnectionSettings, parseEndpoint } from '../../src/postgres/settings.ts';
import type { Row, TestServer } from './servers.ts';

const PATIENCE_MS = 30_000;

/** A database of its own with a publication of all its tables, a slot, and a folder for large transactions. */
export interface Scene {
  readonly database: string;
  readonly slot: string;
  readonly workDir: string;
  readonly settings: ConnectionSettings;
  readonly logged: string[];
  /** From 0: from what the slot remembers. */
  readonly open: (options?: Partial<OpenChangeStream>) => Promise<ChangeStream>;
  readonly run: (sql: string) => Promise<void>;
  readonly query: (sql: string) => Promise<Row[]>;
  /** A connection that stays open. */
  readonly connect: () => Promise<Client>;
  /** Names of what lies in `workDir`. */
  readonly files: () => string[];
  readonly slotRow: () => Promise<{ active_pid: number | null; confirmed: Lsn; restart: Lsn; wal_status: string }>;
  readonly close: () => Promise<void>;
}

let scenes = 0;

export async function startScene(server: TestServer, ddl: string, extra = ''): Promise<Scene> {
  scenes += 1;
  const database = `scene_${scenes}`;
  const slot = `pgsluice_${database}`;
  await server.createDatabase(database, extra);
  await server.run(ddl, database);
  await server.run(`CREATE PUBLICATION ${slot} FOR ALL TABLES`, database);
  await server.query(`SELECT pg_create_logical_replication_slot('${slot}', 'pgoutput')`, database);
  const workDir = mkdtempSync(join(tmpdir(), 'pgsluice-scene-'));
  const settings = parseEndpoint({ url: server.url(database) }, 'source');
  const controller = new AbortController();
  const streams: ChangeStream[] = [];
  const clients: Client[] = [];
  const logged: string[] = [];
  const scene: Scene = {
    database,
    slot,
    workDir,
    settings,
    logged,
    open: async (options = {}) => {
      const stream = await openChangeStream({
        settings,
        slot,
        publication: slot,
        from: 0n,
        sourceMajor: server.major,
        workDir,
        signal: controller.signal,
        log: (_level, message) => logged.push(message),
        ...options,
      });
      streams.push(stream);
      return stream;
    },
    run: (sql) => server.run(sql, database),
    query: (sql) => server.query(sql, database),
    connect: async () => {
      const client = new Client({ connectionString: server.url(database) });
      client.on('error', () => undefined);
      await client.connect();
      clients.push(client);
      return client;
    },
    files: () => readdirSync(workDir),
    slotRow: async () => {
      const [row] = await server.query(
        `SELECT active_pid, confirmed_flush_lsn::text AS confirmed, COALESCE(restart_lsn, '0/0')::text AS restart, wal_status
         FROM pg_replication_slots WHERE slot_name = '${slot}'`,
      );
      if (row === undefined) throw new Error(`there is no slot ${slot}`);
      return {
        active_pid: row['active_pid'] as number | null,
        confirmed: parseLsn(String(row['confirmed'])),
        restart: parseLsn(String(row['restart'])),
        wal_status: String(row['wal_status']),
      };
    },
    close: async () => {
      controller.abort(new Error('the test is over'));
      for (const stream of streams) await stream.close();
      for (const client of clients) await client.end().catch(() => undefined);
      await server.query(
        `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '${slot}' AND active`,
      );
      await until(async () => {
        const rows = await server.query(`SELECT active FROM pg_replication_slots WHERE slot_name = '${slot}'`);
        return rows.every((row) => row['active'] === false);
      });
      await server.query(
        `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '${slot}'`,
      );
      await server.run(`DROP DATABASE ${database} WITH (FORCE)`);
      await rm(workDir, { recursive: true, force: true });
    },
  };
  return scene;
}

/** Waits until `holds` does. */
export async function until(holds: () => Promise<boolean> | boolean, ms = PATIENCE_MS): Promise<void> {
  const end = Date.now() + ms;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`it did not come true within ${ms} ms: ${holds.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Takes from the stream until `enough` says so of everything taken. */
export async function takeUntil(
  stream: ChangeStream,
  enough: (items: readonly StreamItem[]) => boolean,
  maxBytes = 1 << 20,
): Promise<StreamItem[]> {
  const items: StreamItem[] = [];
  const signal = AbortSignal.timeout(PATIENCE_MS);
  while (!enough(items)) items.push(...(await stream.take(maxBytes, signal)));
  return items;
}

export function transactionsOf(items: readonly StreamItem[]): Transaction[] {
  return items.flatMap((item) => (item.kind === 'transaction' ? [item.transaction] : []));
}

/** Takes until there are `count` transactions. */
export async function takeTransactions(stream: ChangeStream, count: number, maxBytes?: number): Promise<Transaction[]> {
  return transactionsOf(await takeUntil(stream, (items) => transactionsOf(items).length >= count, maxBytes));
}

/** A change as one line: `+t 1,a`, `~t key→ 1,b`, `-t 1`, `!t`. */
export function line(change: Change): string {
  const row = (values: readonly (string | null | typeof UNCHANGED)[]): string =>
    values.map((value) => (value === null ? 'NULL' : value === UNCHANGED ? 'UNCHANGED' : value)).join(',');
  switch (change.kind) {
    case 'insert':
      return `+${change.relation.name} ${row(change.row)}`;
    case 'update': {
      const before =
        change.key === null ? (change.old === null ? '' : `old ${row(change.old)} → `) : `key ${row(change.key)} → `;
      return `~${change.relation.name} ${before}${row(change.row)}`;
    }
    case 'delete':
      return `-${change.relation.name} ${change.key === null ? 'old' : 'key'} ${row(change.key ?? change.old ?? [])}`;
    case 'truncate': {
      const how = `${change.cascade ? ' cascade' : ''}${change.restartIdentity ? ' restart' : ''}`;
      return `!${change.relations.map((relation) => relation.name).join(',')}${how}`;
    }
  }
}

export async function linesOf(transaction: Transaction): Promise<string[]> {
  const lines: string[] = [];
  for await (const piece of transaction.pieces()) for (const change of piece) lines.push(line(change));
  return lines;
}
