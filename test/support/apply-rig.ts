import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { Applier } from '../../src/live/applier.ts';
import { ensureProgress, recordTableSql, recordedTables, startFollowing, takeOver } from '../../src/live/progress.ts';
import { openChangeStream } from '../../src/live/stream.ts';
import type { AppliedBatch, ChangeStream, Transaction } from '../../src/live/types.ts';
import { parseLsn } from '../../src/postgres/lsn.ts';
import { type Session, openSession } from '../../src/postgres/session.ts';
import { type ConnectionSettings, parseEndpoint } from '../../src/postgres/settings.ts';
import type { TestServer } from './servers.ts';

export interface RigOptions {
  /** Runs on both sides. */
  readonly schema: string;
  /** Runs instead of `schema` on the target. */
  readonly target?: string;
  /** Partitions, as schema.name, whose changes go to another table. */
  readonly via?: Readonly<Record<string, { readonly schema: string; readonly name: string }>>;
  readonly spoolAboveBytes?: number;
}

/** A role that owns the target's database and may do nothing else. */
export const owner = 'mover';
export const job = 'job-1';

/** Real changes: written on a database of the server, decoded from its WAL, applied to another one by an ordinary role. */
export class ApplyRig {
  readonly server: TestServer;
  readonly name: string;
  readonly targetUrl: string;
  readonly settings: ConnectionSettings;
  readonly logged: string[] = [];
  readonly #stop = new AbortController();
  readonly #source: Client;
  readonly #target: Session;
  readonly #stream: ChangeStream;
  readonly #dir: string;
  readonly #others: Client[] = [];
  #applier: Applier | null = null;

  private constructor(
    server: TestServer,
    name: string,
    parts: { url: string; source: Client; target: Session; stream: ChangeStream; dir: string },
  ) {
    this.server = server;
    this.name = name;
    this.targetUrl = parts.url;
    this.settings = parseEndpoint({ url: parts.url }, 'target');
    this.#source = parts.source;
    this.#target = parts.target;
    this.#stream = parts.stream;
    this.#dir = parts.dir;
  }

  get targetName(): string {
    return `${this.name}_target`;
  }

  static async open(server: TestServer, name: string, options: RigOptions): Promise<ApplyRig> {
    const sourceUrl = await server.createDatabase(name);
    await server.run(options.schema, name);
    await server.run(`CREATE PUBLICATION all_of_it FOR ALL TABLES`, name);
    await server.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, name, [`slot_${name}`]);
    await server.run(
      `DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '${owner}') THEN CREATE ROLE ${owner} LOGIN PASSWORD '${owner}'; END IF; END $$`,
    );
    await server.createDatabase(`${name}_target`, `OWNER ${owner}`);
    await server.run(`ALTER SCHEMA public OWNER TO ${owner}`, `${name}_target`);
    const url = server.url(`${name}_target`, owner, owner);
    const signal = new AbortController().signal;
    const target = await openSession(parseEndpoint({ url }, 'target'), { signal, side: 'target', purpose: 'test' });
    await target.run(`SET search_path = public; ${options.target ?? options.schema}; SET search_path = pg_catalog`);
    await ensureProgress(target, job);
    const tables = await server.query(
      `SELECT c.oid::int8::int AS oid, n.nspname AS schema, c.relname AS name, pg_current_snapshot()::text AS snapshot
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind = 'r' AND n.nspname !~ '^(pg_|information_schema)' ORDER BY 2, 3`,
      name,
    );
    for (const table of tables) {
      const [schema, relation] = [String(table['schema']), String(table['name'])];
      const via = options.via?.[`${schema}.${relation}`] ?? null;
      const record = { oid: Number(table['oid']), schema, name: relation, via };
      await target.run(recordTableSql(job, record, String(table['snapshot'])));
    }
    const { epoch } = await takeOver(target, job);
    await startFollowing(target, job, epoch, 1n);
    const source = new Client({ connectionString: sourceUrl });
    await source.connect();
    const dir = await mkdtemp(join(tmpdir(), 'pgsluice-apply-'));
    const stream = await openChangeStream({
      settings: parseEndpoint({ url: sourceUrl }, 'source'),
      slot: `slot_${name}`,
      publication: 'all_of_it',
      from: 0n,
      sourceMajor: server.major,
      workDir: dir,
      signal,
      ...(options.spoolAboveBytes === undefined ? {} : { spoolAboveBytes: options.spoolAboveBytes }),
      log: () => undefined,
    });
    return new ApplyRig(server, name, { url, source, target, stream, dir });
  }

  /** The source's session, which writes what is followed. */
  get source(): Client {
    return this.#source;
  }

  get target(): Session {
    return this.#target;
  }

  /** Each text is a transaction of its own on the source. */
  async write(...transactions: readonly string[]): Promise<void> {
    for (const sql of transactions) await this.#source.query(sql);
  }

  /** A second session on the source, closed with the rig. */
  async another(): Promise<Client> {
    const client = new Client({ connectionString: this.server.url(this.name) });
    await client.connect();
    this.#others.push(client);
    return client;
  }

  /** What has committed on the source since the last time. */
  async fetch(): Promise<Transaction[]> {
    const { rows } = await this.#source.query<{ lsn: string }>(
      `SELECT pg_logical_emit_message(false, 'test', 'flush')::text, pg_current_wal_insert_lsn()::text AS lsn`,
    );
    const until = parseLsn(rows[0]?.lsn ?? '0/0');
    const found: Transaction[] = [];
    for (;;) {
      this.#stream.askPosition();
      const items = await this.#stream.take(64 << 20, AbortSignal.timeout(20_000));
      for (const item of items) {
        if (item.kind === 'transaction') found.push(item.transaction);
        else if (item.lsn >= until) return found;
      }
    }
  }

  /** The one that applies; opened anew after {@link reopen}. */
  async applier(settings: ConnectionSettings = this.settings): Promise<Applier> {
    if (this.#applier !== null) return this.#applier;
    const state = await takeOver(this.#target, job);
    this.#applier = await Applier.open({
      settings,
      job,
      epoch: state.epoch,
      applied: state.applied ?? 0n,
      gates: state.tables,
      signal: this.#stop.signal,
      log: (level, message) => this.logged.push(`${level}: ${message}`),
    });
    return this.#applier;
  }

  async reopen(): Promise<void> {
    await this.#applier?.close();
    this.#applier = null;
  }

  /** Applies in one batch what has committed on the source since the last time. */
  async follow(): Promise<AppliedBatch> {
    const transactions = await this.fetch();
    return (await this.applier()).apply(transactions);
  }

  gates(): ReturnType<typeof recordedTables> {
    return recordedTables(this.#target, job);
  }

  /** Every row of a table as text, in an order of their own. */
  async rows(side: 'source' | 'target', table: string): Promise<string[]> {
    const rows = await this.server.query(
      `SELECT x::text AS row FROM ${table} x, set_config('extra_float_digits', '3', false) ORDER BY 1`,
      side === 'source' ? this.name : this.targetName,
    );
    return rows.map((row) => String(row['row']));
  }

  /** Both sides hold the same rows, to the last bit that prints, and so many of them. */
  async expectSame(table: string, count: number): Promise<void> {
    const source = await this.rows('source', table);
    if (source.length !== count) throw new Error(`${table} has ${source.length} rows on the source, not ${count}`);
    const target = await this.rows('target', table);
    // A difference in rows of megabytes is not printed by the assertion, but named here.
    const differ = source.findIndex((row, at) => row !== target[at]);
    if (differ >= 0 || target.length !== source.length)
      throw new Error(
        `${table}: ${source.length} rows against ${target.length}; row ${differ}: ${source[differ]?.slice(0, 2000)} against ${target[differ]?.slice(0, 2000)}`,
      );
  }

  async close(): Promise<void> {
    await this.#applier?.close();
    await this.#stream.close();
    for (const client of [this.#source, ...this.#others]) await client.end();
    await this.#target.close();
    await rm(this.#dir, { recursive: true, force: true });
    await this.server.query(
      `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL`,
      this.name,
      [`slot_${this.name}`],
    );
    for (let attempt = 0; ; attempt += 1) {
      try {
        await this.server.query(`SELECT pg_drop_replication_slot($1)`, this.name, [`slot_${this.name}`]);
        break;
      } catch (error) {
        if (attempt > 50) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }
}
