import PQueue from 'p-queue';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { quoteLiteral } from './quote.ts';
import { LOOK_ANEW, openSession } from './session.ts';
import type { Session } from './session.ts';
import type { ConnectionSettings, Side } from './settings.ts';
import { SQLSTATE, sqlStateOf } from './sqlstate.ts';

export interface SnapshotOptions {
  /** Whose moment it is; errors and log lines say so. The source's when left out. */
  readonly side?: Side;
  /** Connections to the server in all, the snapshot's own included; at least 1. */
  readonly connections: number;
  readonly signal: AbortSignal;
  readonly log: (level: 'debug' | 'info' | 'warn', message: string) => void;
  /** ms between two signs of life on the holder; platforms end idle connections after a few minutes. */
  readonly pingEveryMs?: number;
}

const BEGIN = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY';

/**
 * How long a worker waits for a lock, ms. Behind a TRUNCATE or ALTER TABLE that waits for what the holder has locked it would wait
 * for ever, and the server sees no circle, since it does not know that both are ours.
 */
const WORKER_LOCK_MS = 1000;

/** Who waits for a lock of this session. What other roles run is only shown to those with pg_read_all_stats. */
const WAITS_FOR_US = `
SELECT a.pid, a.usename::text AS role, a.query, to_char(a.query_start AT TIME ZONE 'UTC', 'HH24:MI:SS') AS since
FROM pg_stat_activity a
WHERE a.wait_event_type = 'Lock' AND a.pid <> pg_backend_pid() AND pg_backend_pid() = ANY (pg_blocking_pids(a.pid))
ORDER BY a.query_start LIMIT 3`;

interface WaitsForUs {
  pid: number;
  role: string | null;
  query: string | null;
  since: string | null;
}

const WORKER_SAVEPOINT = 'SAVEPOINT worker';
const TABLES_OF_A_SAVEPOINT = 8;

/**
 * One moment of a server, seen by many sessions: the holder exports its snapshot and stays inside its transaction, and
 * workers import it (PostgreSQL documentation, 9.28.5 "Snapshot Synchronization Functions").
 * Lifecycle: open → (alive) → closed. `alive` becomes false for good when the holder's connection ends.
 * With a single connection there are no workers: the holder itself does the work, one task at a time.
 * TRUNCATE and commands that rewrite a table take rows away from under a snapshot (documentation, 13.6 "Caveats").
 */
export class SourceSnapshot {
  readonly id: string;
  /** How many tasks can run at once. */
  readonly workers: number;
  readonly side: Side;
  /** When the snapshot was taken (the server's clock, ISO). */
  readonly takenAt: string;
  readonly #settings: ConnectionSettings;
  readonly #options: SnapshotOptions;
  readonly #holder: Session;
  readonly #queue: PQueue;
  /** Tasks of workers that the holder has taken over: one at a time. */
  readonly #onHolderQueue = new PQueue({ concurrency: 1 });
  /** Processes of which the log has said that they wait for the snapshot. */
  readonly #told = new Set<number>();
  readonly #idle: Session[] = [];
  /** Tables that each worker has read since it last gave its locks back. */
  readonly #tables = new WeakMap<Session, number>();
  /** Sessions outside of the snapshot; they count against the same limit. */
  readonly #plain: Session[] = [];
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  private constructor(
    settings: ConnectionSettings,
    options: SnapshotOptions,
    holder: Session,
    id: string,
    takenAt: string,
  ) {
    this.id = id;
    this.takenAt = takenAt;
    this.workers = Math.max(1, options.connections - 1);
    this.side = options.side ?? 'source';
    this.#settings = settings;
    this.#options = options;
    this.#holder = holder;
    this.#queue = new PQueue({ concurrency: this.workers });
    this.#ping();
  }

  /**
   * @throws PgsluiceError when the server cannot be reached or does not export snapshots.
   */
  static async open(settings: ConnectionSettings, options: SnapshotOptions): Promise<SourceSnapshot> {
    const holder = await openSession(settings, {
      signal: options.signal,
      side: options.side ?? 'source',
      purpose: 'snapshot',
      retryForMs: 30_000,
    });
    try {
      await holder.run(BEGIN);
      const [row] = await holder.query<{ id: string; at: string }>(
        `SELECT pg_export_snapshot() AS id, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS at`,
      );
      if (row === undefined) throw new Error('pg_export_snapshot returned no row');
      return new SourceSnapshot(settings, options, holder, row.id, row.at);
    } catch (error) {
      await holder.close();
      throw error;
    }
  }

  /** True while new workers can still join the snapshot. */
  get alive(): boolean {
    return !this.#closed && !this.#holder.lost;
  }

  /** The session that keeps the snapshot: for locks that must last as long as it does, and for short questions. */
  get holder(): Session {
    return this.#holder;
  }

  /**
   * Runs `task` with a session inside the snapshot's transaction; waits while all workers are busy. A session whose task
   * failed is not used again, since its transaction is aborted. A task that does not get a lock is run again, from its beginning, on
   * the holder's session: that has the lock already, or waits for it alone. `tables`: how many it reads.
   * @throws PgsluiceError SNAPSHOT_GONE when the holder's connection has ended.
   */
  async withSession<T>(task: (session: Session) => Promise<T>, tables = 1): Promise<T> {
    return this.#enqueue(async () => {
      if (this.#options.connections <= 1) return this.#onHolder(task);
      try {
        return await this.#useFrom(this.#idle, () => this.#openWorker(), task, tables);
      } catch (error) {
        if (sqlStateOf(error) !== SQLSTATE.lockNotAvailable || !this.alive) throw error;
        return await this.#onHolderQueue.add(async () => {
          await this.#tellWaiting();
          return this.#onHolder(task);
        });
      }
    });
  }

  /**
   * Runs `task` with a session outside of the snapshot, which is left without a transaction; it takes the place of a worker.
   * Not to be called by a task of `withSession`, which may hold the last place.
   * @throws PgsluiceError when the snapshot has only its own connection.
   */
  async withPlainSession<T>(task: (session: Session) => Promise<T>): Promise<T> {
    this.#refuseSingle();
    return this.#enqueue(() => this.#useFrom(this.#plain, () => this.#openPlain(), task));
  }

  /**
   * Runs `task` while one of the workers' connections is kept free on the source, for a program with a connection of its own.
   * @throws PgsluiceError when the snapshot has only its own connection.
   */
  async withFreeConnection<T>(task: () => Promise<T>): Promise<T> {
    this.#refuseSingle();
    return this.#enqueue(async () => {
      await this.#makeRoom();
      return task();
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#queue.clear();
    this.#onHolderQueue.clear();
    await Promise.all(
      [this.#holder, ...this.#idle.splice(0), ...this.#plain.splice(0)].map((session) => session.close()),
    );
  }

  #enqueue<T>(task: () => Promise<T>): Promise<T> {
    throwIfAborted(this.#options.signal);
    return this.#queue.add(async () => {
      throwIfAborted(this.#options.signal);
      return task();
    });
  }

  /** Idle sessions count against the limit as well; only as many are ended as may stand in the way of one more. */
  async #makeRoom(): Promise<void> {
    while (this.#idle.length + this.#plain.length + this.#queue.pending > this.workers) {
      const session = this.#plain.pop() ?? this.#idle.pop();
      if (session === undefined) return;
      await session.close();
    }
  }

  async #useFrom<T>(
    pool: Session[],
    open: () => Promise<Session>,
    task: (session: Session) => Promise<T>,
    tables = 1,
  ): Promise<T> {
    let session = pool.pop();
    while (session?.lost === true) session = pool.pop();
    if (session === undefined) {
      await this.#makeRoom();
      session = await open();
    }
    try {
      const result = await task(session);
      if (session.lost || this.#closed || !(await this.#giveLocksBack(session, tables))) await session.close();
      else pool.push(session);
      return result;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /**
   * A transaction keeps every lock to its end, and a worker's reads thousands of tables with all their indexes: the server would
   * run out of room. Going back to a savepoint gives them up, and keeps the snapshot. False when the session is of no use now.
   */
  async #giveLocksBack(session: Session, tables: number): Promise<boolean> {
    const read = this.#tables.get(session);
    if (read === undefined) return true;
    const more = read + tables < TABLES_OF_A_SAVEPOINT;
    this.#tables.set(session, more ? read + tables : 0);
    if (more) return true;
    try {
      await session.run(`ROLLBACK TO ${WORKER_SAVEPOINT}`);
      return true;
    } catch {
      // What was read stays read; the next task gets a session of its own.
      return false;
    }
  }

  /** Whoever waits for the snapshot's locks keeps writers waiting behind itself, until the snapshot is over: that must be told. */
  async #tellWaiting(): Promise<void> {
    await this.#holder.run(LOOK_ANEW);
    const rows = await this.#holder.query<WaitsForUs & Record<string, unknown>>(WAITS_FOR_US);
    for (const { pid, role, query, since } of rows.filter((row) => !this.#told.has(row.pid))) {
      this.#told.add(pid);
      const what = (query ?? '').replace(/\s+/g, ' ').trim().slice(0, 120);
      this.#options.log(
        'warn',
        `Process ${pid}${role === null ? '' : ` (role ${role})`} waits on the ${this.side} since ${since ?? '?'} UTC for a lock that the snapshot of this job keeps until its end${what === '' ? '' : `: ${what}`}. Its table is read on the snapshot's own session; writers of that table wait behind that process. To let them go on: SELECT pg_cancel_backend(${pid});`,
      );
    }
  }

  /** A failed statement would abort the transaction and with it the snapshot, hence the savepoint. */
  async #onHolder<T>(task: (session: Session) => Promise<T>): Promise<T> {
    this.#assertAlive();
    await this.#holder.run('SAVEPOINT task');
    try {
      const result = await task(this.#holder);
      // Not merely released: what the task has locked would stay locked.
      await this.#holder.run('ROLLBACK TO SAVEPOINT task; RELEASE SAVEPOINT task');
      return result;
    } catch (error) {
      if (!this.#holder.lost && !this.#closed) await this.#holder.run('ROLLBACK TO SAVEPOINT task');
      throw error;
    }
  }

  #open(purpose: string, readOnly: boolean): Promise<Session> {
    return openSession(this.#settings, {
      signal: this.#options.signal,
      side: this.side,
      purpose,
      readOnly,
      retryForMs: 30_000,
      onRetry: (why, attempt) =>
        this.#options.log('warn', `Connection ${attempt} to the ${this.side} failed, trying again: ${why}`),
    });
  }

  #openPlain(): Promise<Session> {
    return this.#open('verify', true);
  }

  async #openWorker(): Promise<Session> {
    this.#assertAlive();
    const session = await this.#open(this.side === 'source' ? 'copy' : 'verify', false);
    try {
      await session.run(
        `${BEGIN}; SET TRANSACTION SNAPSHOT ${quoteLiteral(this.id)}; SET LOCAL lock_timeout = ${WORKER_LOCK_MS}; ${WORKER_SAVEPOINT}`,
      );
      this.#tables.set(session, 0);
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  #refuseSingle(): void {
    if (this.#options.connections > 1) return;
    throw new PgsluiceError({
      code: 'TOO_FEW_CONNECTIONS',
      message: `The ${this.side} allows a single connection, and the snapshot needs it.`,
      hint: `Raise the CONNECTION LIMIT of the ${this.side} role to 2 or more.`,
    });
  }

  #assertAlive(): void {
    if (this.alive) return;
    throw new PgsluiceError({
      code: 'SNAPSHOT_GONE',
      message: `The session that held the snapshot on the ${this.side} has ended, so nothing more can be read there as of the same moment.`,
      hint:
        this.side === 'source'
          ? 'Retry the job: it takes a fresh snapshot and copies every table anew.'
          : 'Compare the two databases with pgsluice verify while nobody writes to either.',
    });
  }

  #ping(): void {
    this.#timer = setTimeout(() => {
      this.#holder
        .query('SELECT 1')
        .catch((error: unknown) => {
          if (this.#closed || this.#options.signal.aborted || !this.#holder.lost) return;
          const why = error instanceof Error ? error.message : String(error);
          this.#options.log('warn', `The snapshot's session on the ${this.side} was lost: ${why}`);
        })
        .finally(() => {
          if (this.alive) this.#ping();
        });
    }, this.#options.pingEveryMs ?? 2000);
    this.#timer.unref();
  }
}
