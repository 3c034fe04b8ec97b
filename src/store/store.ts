import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { sql } from 'drizzle-orm';
import { deadAgents, forgetAgents, metaValue, readMeta, registerAgent } from './agent-queries.ts';
import { openEmbedded, type OpenDatabase, prepareDirectory, rowsOf, type StateDatabase } from './database.ts';
import { DirectoryLock } from './directory-lock.ts';
import { migrateState } from './migrate.ts';
import { openPostgres } from './postgres-database.ts';
import { ownIdentity } from './process-identity.ts';
import { deriveKey, keyFromFile, SecretBox, wrongKey } from './secrets.ts';

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
  readonly secrets: SecretBox;
  /** Folder for the temporary files of jobs. */
  readonly workRoot: string;
  /** Ids of agents that were found dead when this store was opened. */
  readonly deadAgents: readonly string[];
  readonly #open: OpenDatabase;
  readonly #lock: DirectoryLock | null;

  private constructor(
    kind: Store['kind'],
    open: OpenDatabase,
    lock: DirectoryLock | null,
    rest: { agentId: string; secrets: SecretBox; workRoot: string; deadAgents: readonly string[] },
  ) {
    this.kind = kind;
    this.db = open.db;
    this.#open = open;
    this.#lock = lock;
    this.agentId = rest.agentId;
    this.secrets = rest.secrets;
    this.workRoot = rest.workRoot;
    this.deadAgents = rest.deadAgents;
  }

  /**
   * Opens, migrates, proves the secret key and registers this agent.
   * @throws PgsluiceError STATE_DIRECTORY_HELD, STATE_DIRECTORY_UNUSABLE, STATE_UNREACHABLE, STATE_TOO_NEW, SECRET_KEY_WRONG,
   * SECRET_KEY_TOO_SHORT.
   */
  static async open(options: StoreOptions): Promise<Store> {
    if (isStateUrl(options.state)) {
      const keyFile = join(defaultStateDirectory(), 'secret.key');
      return await Store.#finish('postgresql', options, await openPostgres(options.state), null, keyFile, tmpdir());
    }
    const directory = resolve(options.state);
    prepareDirectory(directory);
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
      const secrets = await provenSecrets(open.db, options.secretKey, keyFile);
      const agentId = randomBytes(9).toString('base64url');
      // With the directory's lock in hand, whoever else is registered is gone.
      await registerAgent(open.db, { id: agentId, role: options.role, identity: ownIdentity() });
      const dead = kind === 'embedded' ? await othersThan(open.db, agentId) : await deadAgents(open.db, agentId);
      return new Store(kind, open, lock, { agentId, secrets, workRoot, deadAgents: dead });
    } catch (error) {
      await open.close();
      throw error;
    }
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
    if (this.kind === 'embedded') await this.db.execute(sql`vacuum pgsluice.job_events`);
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

async function othersThan(db: StateDatabase, ownId: string): Promise<string[]> {
  const rows = rowsOf<{ id: string }>(await db.execute(sql`select id from pgsluice.agents where id <> ${ownId}`));
  return rows.map((row) => row.id);
}

const canaryText = 'pgsluice';
const canaryPlace = 'meta:canary';

/** Opens the canary that the state's first agent sealed, so that a wrong key is told at the start and not at a job's. */
async function provenSecrets(db: StateDatabase, secretKey: string | null, keyFile: string): Promise<SecretBox> {
  const sealed = await readMeta(db, 'secret.canary');
  let key: Buffer;
  if (secretKey === null || secretKey === '') {
    key = keyFromFile(keyFile, sealed === null);
  } else {
    key = await deriveKey(secretKey, await metaValue(db, 'secret.salt', randomBytes(16).toString('hex')));
  }
  const box = new SecretBox(key);
  const canary = await metaValue(db, 'secret.canary', box.seal(canaryText, canaryPlace));
  if (box.open(canary, canaryPlace) !== canaryText) throw wrongKey();
  return box;
}
