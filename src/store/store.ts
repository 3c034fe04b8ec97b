import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { sql } from 'drizzle-orm';
import PQueue from 'p-queue';
import { PgsluiceError } from '../errors.ts';
import { deadAgents, forgetAgents, registerAgent } from './agent-queries.ts';
import { openEmbedded, type OpenDatabase, prepareDirectory, rowsOf, type StateDatabase } from './database.ts';
import { diskFull, isFull } from './embedded-room.ts';
import { DirectoryLock } from './directory-lock.ts';
import { migrateState } from './migrate.ts';
import { openPostgres } from './postgres-database.ts';
import { ownIdentity } from './process-identity.ts';
import type { SecretBox } from './secrets.ts';
import { changeKey, isCurrent, provenKey, type StateKey, underKey } from './state-key.ts';

export interface StoreOptions {
  /** A directory, or a URL that begins with postgres:// or postgresql://. */
  readonly state: string;
  readonly secretKey: string | null;
  readonly role: string;
}

/** Default state directory of a person. */
export function defaultStateDirectory(): string {
  return join(homedir(), '.pgsluice');
}

export function isStateUrl(state: string): boolean {
  return /^(postgres|postgresql|ecto):\/\//i.test(state);
}

/**
 * The agent's own state, open. Lifecycle: open → closed.
 * Embedded: this process alone has the directory. PostgreSQL: several agents may share it, each registered under `agentId`.
 */
export class Store {
  readonly kind: 'embedded' | 'postgresql';
  readonly db: StateDatabase;
  readonly agentId: string;
  /** Folder for the temporary files of jobs. */
  readonly workRoot: string;
  /** Ids of agents that were found dead when this store was opened. */
  readonly deadAgents: readonly string[];
  readonly #open: OpenDatabase;
  readonly #lock: DirectoryLock | null;
  readonly #key: StateKey;
  readonly #turns: PQueue;

  private constructor(
    kind: Store['kind'],
    open: OpenDatabase,
    lock: DirectoryLock | null,
    rest: { agentId: string; key: StateKey; workRoot: string; deadAgents: readonly string[] },
  ) {
    this.kind = kind;
    this.db = open.db;
    this.#open = open;
    this.#lock = lock;
    this.agentId = rest.agentId;
    this.#key = rest.key;
    this.#turns = new PQueue({ concurrency: kind === 'embedded' ? 1 : 2 });
    this.workRoot = rest.workRoot;
    this.deadAgents = rest.deadAgents;
  }

  /**
   * Opens, migrates, proves the secret key and registers this agent.
   * @throws PgsluiceError STATE_DIRECTORY_HELD, STATE_DIRECTORY_UNUSABLE, STATE_DISK_FULL, STATE_DAMAGED, STATE_UNREACHABLE,
   * STATE_TOO_NEW, SECRET_KEY_WRONG, SECRET_KEY_TOO_SHORT.
   */
  static async open(options: StoreOptions): Promise<Store> {
    if (isStateUrl(options.state)) {
      const keyFile = join(defaultStateDirectory(), 'secret.key');
      return await Store.#finish('postgresql', options, await openPostgres(options.state), null, keyFile, tmpdir());
    }
    const directory = resolve(options.state);
    prepareDirectory(directory);
    // Without room not even the lock is written.
    if (isFull(directory)) throw diskFull(directory);
    const lock = await DirectoryLock.acquire(directory);
    try {
      const workRoot = join(directory, 'work');
      rmSync(workRoot, { recursive: true, force: true });
      mkdirSync(workRoot, { mode: 0o700 });
      const open = await openEmbedded(directory);
      return await Store.#finish('embedded', options, open, lock, join(directory, 'secret.key'), workRoot);
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  static async #finish(
    kind: Store['kind'],
    options: StoreOptions,
    open: OpenDatabase,
    lock: DirectoryLock | null,
    keyFile: string,
    workRoot: string,
  ): Promise<Store> {
    try {
      await open.onOneConnection((db) => migrateState(db, kind === 'embedded' ? 'exclusive' : 'advisory'));
      const key = await provenKey(open.db, options.secretKey, keyFile);
      const agentId = randomBytes(9).toString('base64url');
      // With the directory's lock in hand, whoever else is registered is gone.
      await registerAgent(open.db, { id: agentId, role: options.role, identity: ownIdentity() });
      const dead = kind === 'embedded' ? await othersThan(open.db, agentId) : await deadAgents(open.db, agentId);
      return new Store(kind, open, lock, { agentId, key, workRoot, deadAgents: dead });
    } catch (error) {
      await open.close();
      throw error;
    }
  }

  get secrets(): SecretBox {
    return this.#key.box;
  }

  /** What is stored by `work` is sealed with the key that counts. @throws PgsluiceError SECRET_KEY_ROTATED; what `work` throws. */
  async underKey<T>(work: (db: StateDatabase) => Promise<T>): Promise<T> {
    return await underKey(this.db, this.#key, work);
  }

  /** False when somebody has changed the key of this state since it was opened. */
  async keyIsCurrent(): Promise<boolean> {
    return await isCurrent(this.db, this.#key);
  }

  /**
   * Seals all stored passwords with another key, after which this store must be closed: it has the old one. `secret` null: a new
   * key in the place of the key file, which only a state in a directory has for itself.
   * @returns how many jobs were sealed anew, and where the key stands now (null: it was given).
   * @throws PgsluiceError SECRET_KEY_NEW_MISSING, SECRET_KEY_ROTATED, SECRET_KEY_TOO_SHORT.
   */
  async changeKey(secret: string | null): Promise<{ readonly jobs: number; readonly file: string | null }> {
    if (secret !== null) return { jobs: await changeKey(this.db, this.#key, { secret }), file: null };
    const { file } = this.#key;
    if (file === null || this.kind === 'postgresql') throw newKeyMissing(file !== null);
    // The account's own file may open states in PostgreSQL as well.
    const keepOld = dirname(file) === defaultStateDirectory();
    return { jobs: await changeKey(this.db, this.#key, { secret, file, keepOld }), file };
  }

  /**
   * For what many jobs store again and again: few of these at once, so that whoever asks for something does not wait behind them.
   * @returns what `work` does.
   */
  async inTurn<T>(work: () => Promise<T>): Promise<T> {
    return await this.#turns.add(work);
  }

  /** True when the store answers. */
  async ready(): Promise<boolean> {
    try {
      await this.db.execute(sql`select 1`);
      return true;
    } catch {
      return false;
    }
  }

  /** Gives back the space of removed rows: the embedded server has no autovacuum. */
  async vacuum(): Promise<void> {
    if (this.kind !== 'embedded') return;
    await this.db.execute(sql`vacuum pgsluice.job_event_batches`);
    await this.db.execute(sql`vacuum pgsluice.jobs`);
  }

  async close(): Promise<void> {
    try {
      await forgetAgents(this.db, [this.agentId]);
    } finally {
      try {
        await this.#open.close();
      } finally {
        this.#lock?.release();
      }
    }
  }
}

function newKeyMissing(shared: boolean): PgsluiceError {
  return new PgsluiceError({
    code: 'SECRET_KEY_NEW_MISSING',
    message: shared
      ? 'The new key is not given; the key file of this account may open other states as well, so it is not changed for this one.'
      : 'This state is opened with PGSLUICE_SECRET_KEY, and the new key is not given.',
    hint: 'Put the new key in PGSLUICE_SECRET_KEY_NEW, made with: openssl rand -hex 32',
  });
}

async function othersThan(db: StateDatabase, ownId: string): Promise<string[]> {
  const rows = rowsOf<{ id: string }>(await db.execute(sql`select id from pgsluice.agents where id <> ${ownId}`));
  return rows.map((row) => row.id);
}
