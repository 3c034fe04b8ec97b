import PQueue from 'p-queue';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { quoteLiteral } from './quote.ts';
import { openSession } from './session.ts';
import type { Session } from './session.ts';
import type { ConnectionSettings } from './settings.ts';

export interface SnapshotOptions {
  /** Connections to the source in all, the snapshot's own included; at least 1. */
  readonly connections: number;
  readonly signal: AbortSignal;
  readonly log: (level: 'debug' | 'info' | 'warn', message: string) => void;
  /** ms between two signs of life on the holder; platforms end idle connections after a few minutes. */
  readonly pingEveryMs?: number;
}

const BEGIN = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY';

/**
 * One moment of the source, seen by many sessions: the holder exports its snapshot and stays inside its transaction, and
 * workers import it (PostgreSQL documentation, 9.28.5 "Snapshot Synchronization Functions").
 * Lifecycle: open → (alive) → closed. `alive` becomes false for good when the holder's connection ends.
 * With a single connection there are no workers: the holder itself does the work, one task at a time.
 */
export class SourceSnapshot {
  readonly id: string;
  /** How many tasks can run at once. */
  readonly workers: number;
  /** When the snapshot was taken (the source's clock, ISO). */
  readonly takenAt: string;
  readonly #settings: ConnectionSettings;
  readonly #options: SnapshotOptions;
  readonly #holder: Session;
  readonly #queue: PQueue;
  readonly #idle: Session[] = [];
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
    this.#settings = settings;
    this.#options = options;
    this.#holder = holder;
    this.#queue = new PQueue({ concurrency: this.workers });
    this.#ping();
  }

  /**
   * @throws PgsluiceError when the source cannot be reached or does not export snapshots.
   */
  static async open(settings: ConnectionSettings, options: SnapshotOptions): Promise<SourceSnapshot> {
    const holder = await openSession(settings, {
      signal: options.signal,
      side: 'source',
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
   * failed is not used again, since its transaction is aborted.
   * @throws PgsluiceError SNAPSHOT_GONE when the holder's connection has ended.
   */
  async withSession<T>(task: (session: Session) => Promise<T>): Promise<T> {
    return this.#enqueue(async () => {
      if (this.#options.connections <= 1) return this.#onHolder(task);
      const session = this.#takeIdle() ?? (await this.#openWorker());
      try {
        const result = await task(session);
        if (session.lost || this.#closed) await session.close();
        else this.#idle.push(session);
        return result;
      } catch (error) {
        await session.close();
        throw error;
      }
    });
  }

  /**
   * Runs `task` while one of the workers' connections is kept free on the source, for a program with a connection of its own.
   * @throws PgsluiceError when the snapshot has only its own connection.
   */
  async withFreeConnection<T>(task: () => Promise<T>): Promise<T> {
    if (this.#options.connections <= 1) {
      throw new PgsluiceError({
        code: 'TOO_FEW_CONNECTIONS',
        message: 'The source allows a single connection, and the snapshot needs it.',
        hint: 'Raise the CONNECTION LIMIT of the source role to 2 or more.',
      });
    }
    return this.#enqueue(async () => {
      // Idle workers count against the limit as well; only as many are ended as may stand in the way.
      while (this.#idle.length > 0 && this.#idle.length + this.#queue.pending > this.workers) {
        await this.#idle.pop()?.close();
      }
      return task();
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#queue.clear();
    await Promise.all([this.#holder.close(), ...this.#idle.splice(0).map((session) => session.close())]);
  }

  #enqueue<T>(task: () => Promise<T>): Promise<T> {
    throwIfAborted(this.#options.signal);
    return this.#queue.add(async () => {
      throwIfAborted(this.#options.signal);
      return task();
    });
  }

  #takeIdle(): Session | null {
    for (let session = this.#idle.pop(); session !== undefined; session = this.#idle.pop()) {
      if (!session.lost) return session;
    }
    return null;
  }

  /** A failed statement would abort the transaction and with it the snapshot, hence the savepoint. */
  async #onHolder<T>(task: (session: Session) => Promise<T>): Promise<T> {
    this.#assertAlive();
    await this.#holder.run('SAVEPOINT task');
    try {
      const result = await task(this.#holder);
      await this.#holder.run('RELEASE SAVEPOINT task');
      return result;
    } catch (error) {
      if (!this.#holder.lost && !this.#closed) await this.#holder.run('ROLLBACK TO SAVEPOINT task');
      throw error;
    }
  }

  async #openWorker(): Promise<Session> {
    this.#assertAlive();
    const session = await openSession(this.#settings, {
      signal: this.#options.signal,
      side: 'source',
      purpose: 'copy',
      retryForMs: 30_000,
      onRetry: (why, attempt) =>
        this.#options.log('warn', `Connection ${attempt} to the source failed, trying again: ${why}`),
    });
    try {
      await session.run(`${BEGIN}; SET TRANSACTION SNAPSHOT ${quoteLiteral(this.id)}`);
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  #assertAlive(): void {
    if (this.alive) return;
    throw new PgsluiceError({
      code: 'SNAPSHOT_GONE',
      message:
        'The session that held the snapshot on the source has ended, so no further table can be read at the same moment.',
      hint: 'Retry the job: it takes a fresh snapshot and copies every table anew.',
    });
  }

  #ping(): void {
    this.#timer = setTimeout(() => {
      this.#holder
        .query('SELECT 1')
        .catch((error: unknown) => {
          if (this.#closed || this.#options.signal.aborted || !this.#holder.lost) return;
          const why = error instanceof Error ? error.message : String(error);
          this.#options.log('warn', `The snapshot's session on the source was lost: ${why}`);
        })
        .finally(() => {
          if (this.alive) this.#ping();
        });
    }, this.#options.pingEveryMs ?? 2000);
    this.#timer.unref();
  }
}
