import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, statSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PgsluiceError } from '../errors.ts';
import { isAlive, ownIdentity, type ProcessIdentity } from './process-identity.ts';

const heartbeatMs = 3_000;
/** A holder whose process cannot be looked up from here is believed dead after that long without a heartbeat. */
const silenceMs = 30_000;
/** How long a silent, unknowable holder is watched before it is believed dead: more than two heartbeats. */
const watchMs = 8_000;
/** A file without readable content is a lock being written at this moment, or the rest of a crash in just that moment. */
const writingMs = 2_000;

interface Holder extends ProcessIdentity {
  /** Unique to one acquisition. */
  readonly token: string;
}

/**
 * The right to be the only process on a state directory (the embedded store takes no lock itself).
 * `<dir>/agent.lock` is made exclusively and names its holder. A dead holder's lock is taken over under a second lock whose name
 * holds the dead one's token, so of all who judged the same lock dead only one replaces it, and nobody can replace a newer one.
 */
export class DirectoryLock {
  readonly #path: string;
  readonly #token: string;
  readonly #timer: NodeJS.Timeout;

  private constructor(path: string, token: string) {
    this.#path = path;
    this.#token = token;
    this.#timer = setInterval(() => touch(path), heartbeatMs);
    this.#timer.unref();
  }

  /** @throws PgsluiceError STATE_DIRECTORY_HELD when a living process holds the directory. */
  static async acquire(directory: string): Promise<DirectoryLock> {
    const path = join(directory, 'agent.lock');
    const token = await take(path, directory);
    return new DirectoryLock(path, token);
  }

  /** Gives the directory back. Does nothing when the lock is no longer ours. */
  release(): void {
    clearInterval(this.#timer);
    if (readHolder(this.#path)?.token === this.#token) removeFile(this.#path);
  }
}

async function take(path: string, directory: string): Promise<string> {
  const mine: Holder = { ...ownIdentity(), token: randomBytes(9).toString('base64url') };
  const content = `${JSON.stringify(mine)}\n`;
  for (;;) {
    if (createExclusively(path, content) && readHolder(path)?.token === mine.token) return mine.token;

    const holder = readHolder(path);
    const age = fileAgeMs(path);
    if (age === null) continue;
    if (holder === null && age < writingMs) {
      await sleep(20);
      continue;
    }
    if (holder !== null && (await seemsAlive(path, holder, age))) throw heldError(directory, holder);

    const seen = holder?.token ?? 'unreadable';
    const guard = `${path}.${seen}`;
    let guardToken: string;
    try {
      guardToken = await take(guard, directory);
    } catch (error) {
      if (!(error instanceof PgsluiceError)) throw error;
      await sleep(20);
      continue;
    }
    try {
      if ((readHolder(path)?.token ?? 'unreadable') !== seen || fileAgeMs(path) === null) continue;
      const fresh = `${path}.${mine.token}.new`;
      writeFileSync(fresh, content, { mode: 0o600 });
      renameSync(fresh, path);
      return mine.token;
    } finally {
      if (readHolder(guard)?.token === guardToken) removeFile(guard);
    }
  }
}

async function seemsAlive(path: string, holder: Holder, age: number): Promise<boolean> {
  const known = isAlive(holder);
  if (known !== null) return known;
  if (age > silenceMs) return false;
  const before = modifiedAt(path);
  for (let waited = 0; waited < watchMs; waited += 250) {
    await sleep(250);
    if (modifiedAt(path) !== before) return true;
  }
  return false;
}

function heldError(directory: string, holder: Holder): PgsluiceError {
  return new PgsluiceError({
    code: 'STATE_DIRECTORY_HELD',
    message: `The state directory ${directory} is in use by another pgsluice process (pid ${holder.pid} on ${holder.host}).`,
    hint: `Stop that process (kill ${holder.pid}), talk to it with --server, or use another directory with --state.`,
    retryable: true,
  });
}

function createExclusively(path: string, content: string): boolean {
  try {
    writeFileSync(path, content, { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function readHolder(path: string): Holder | null {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return isHolder(value) ? value : null;
  } catch {
    return null;
  }
}

function isHolder(value: unknown): value is Holder {
  if (typeof value !== 'object' || value === null) return false;
  const v = value as Record<string, unknown>;
  return (
    typeof v['pid'] === 'number' &&
    typeof v['host'] === 'string' &&
    typeof v['scope'] === 'string' &&
    typeof v['token'] === 'string' &&
    /^[\w-]+$/.test(v['token']) &&
    (v['processStart'] === null || typeof v['processStart'] === 'string')
  );
}

function modifiedAt(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? null;
}

function fileAgeMs(path: string): number | null {
  const at = modifiedAt(path);
  return at === null ? null : Date.now() - at;
}

function touch(path: string): void {
  const now = new Date();
  try {
    utimesSync(path, now, now);
  } catch (error) {
    // The directory may be removed below us (a test, a person); the next store access tells.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
