import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { eq, or, isNotNull, sql } from 'drizzle-orm';
import { PgsluiceError } from '../errors.ts';
import { metaValue, readMeta } from './agent-queries.ts';
import { type StateDatabase, rowsOf } from './database.ts';
import { jobs, meta } from './schema.ts';
import { SecretBox, deriveKey, keyFromFile, wrongKey } from './secrets.ts';

const canaryText = 'pgsluice';
const canaryPlace = 'meta:canary';
const CANARY = 'secret.canary';
const SALT = 'secret.salt';
const ROTATED = 'secret.rotated_at';

/** The key of a state, proven by the canary that is sealed with it. */
export interface StateKey {
  readonly box: SecretBox;
  /** Changes with the key, so that an agent can tell that it has an old one. */
  readonly canary: string;
  /** Where the key stands; null: it was given. */
  readonly file: string | null;
}

const nextTo = (file: string): string => `${file}.next`;

const opens = (box: SecretBox, canary: string): boolean => {
  try {
    return box.open(canary, canaryPlace) === canaryText;
  } catch (error) {
    if (error instanceof PgsluiceError) return false;
    throw error;
  }
};

/** A key file under its name for good, also after a loss of power. */
function settle(from: string, to: string): void {
  renameSync(from, to);
  const directory = openSync(dirname(to), 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

/** The key of the file. A rotation that was interrupted is brought to its end here, or forgotten: the canary says which key counts. */
function fileKey(file: string, canary: string | null): Buffer {
  const next = nextTo(file);
  if (!existsSync(next)) return keyFromFile(file, canary === null);
  const key = keyFromFile(next, false);
  if (canary === null || !opens(new SecretBox(key), canary)) {
    rmSync(next, { force: true });
    return keyFromFile(file, canary === null);
  }
  settle(next, file);
  return key;
}

/**
 * The key that opens what is sealed in this state, so that a wrong one is told at the start and not at a job's. `given`: a person's
 * secret; null takes the file's.
 * @throws PgsluiceError SECRET_KEY_WRONG, SECRET_KEY_TOO_SHORT.
 */
export async function provenKey(db: StateDatabase, given: string | null, keyFile: string): Promise<StateKey> {
  const sealed = await readMeta(db, CANARY);
  const fromFile = given === null || given === '';
  const box = new SecretBox(fromFile ? fileKey(keyFile, sealed) : await keyOf(db, given));
  const canary = await metaValue(db, CANARY, box.seal(canaryText, canaryPlace));
  if (opens(box, canary)) return { box, canary, file: fromFile ? keyFile : null };
  const rotated = await readMeta(db, ROTATED);
  throw rotated === null ? wrongKey() : rotatedAway(rotated);
}

async function keyOf(db: StateDatabase, secret: string): Promise<Buffer> {
  return await deriveKey(secret, await metaValue(db, SALT, randomBytes(16).toString('hex')));
}

function rotatedAway(at: string): PgsluiceError {
  return new PgsluiceError({
    code: 'SECRET_KEY_WRONG',
    message: `The secret key does not open the passwords stored in this state: they were sealed with a new key at ${at} (pgsluice rotate-key).`,
    hint: 'Give the new key in PGSLUICE_SECRET_KEY, the one that stood in PGSLUICE_SECRET_KEY_NEW then; without that variable it stands in the secret.key file of the state.',
  });
}

export function keyRotated(): PgsluiceError {
  return new PgsluiceError({
    code: 'SECRET_KEY_ROTATED',
    message:
      'The secret key of this state was changed while this agent ran; it cannot read or store passwords any more.',
    hint: 'Start it again with the new key in PGSLUICE_SECRET_KEY. Jobs that it works on have their passwords in memory and go on until then.',
  });
}

/** Whether the state is still sealed with this key. */
export async function isCurrent(db: StateDatabase, { canary }: StateKey): Promise<boolean> {
  return (await readMeta(db, CANARY)) === canary;
}

/**
 * Runs `work` in a transaction in which the key cannot change: what it stores is sealed with the key that counts.
 * @throws PgsluiceError SECRET_KEY_ROTATED.
 */
export async function underKey<T>(
  db: StateDatabase,
  key: StateKey,
  work: (db: StateDatabase) => Promise<T>,
): Promise<T> {
  return await db.transaction(async (tx) => {
    const [row] = rowsOf<{ value: string }>(
      await tx.execute(sql`select value from ${meta} where ${meta.key} = ${CANARY} for share`),
    );
    if (row?.value !== key.canary) throw keyRotated();
    return await work(tx);
  });
}

const sides = ['source', 'target', 'calls'] as const;

/** Seals everything anew, in one transaction: all of it opens with the old key, or all of it with the new one. */
async function reseal(db: StateDatabase, old: StateKey, box: SecretBox): Promise<number> {
  return await db.transaction(async (tx) => {
    const [row] = rowsOf<{ value: string }>(
      await tx.execute(sql`select value from ${meta} where ${meta.key} = ${CANARY} for update`),
    );
    if (row?.value !== old.canary) throw keyRotated();
    const sealed = await tx
      .select({ id: jobs.id, source: jobs.source, target: jobs.target, calls: jobs.calls })
      .from(jobs)
      .where(or(isNotNull(jobs.source), isNotNull(jobs.target), isNotNull(jobs.calls)))
      .for('update');
    for (const job of sealed) {
      const anew: Partial<Record<(typeof sides)[number], string>> = {};
      for (const side of sides) {
        const text = job[side];
        if (text !== null) anew[side] = box.seal(old.box.open(text, `${job.id}:${side}`), `${job.id}:${side}`);
      }
      await tx.update(jobs).set(anew).where(eq(jobs.id, job.id));
    }
    await tx
      .update(meta)
      .set({ value: box.seal(canaryText, canaryPlace) })
      .where(eq(meta.key, CANARY));
    const at = new Date().toISOString();
    await tx
      .insert(meta)
      .values({ key: ROTATED, value: at })
      .onConflictDoUpdate({ target: meta.key, set: { value: at } });
    return sealed.length;
  });
}

/**
 * Gives the state a new key: `secret`, or where that is null a random one in the key file's place. Until the transaction has
 * ended the old key counts, from then on the new one; after an interruption the next start finds out which.
 * `keepOld`: the old key file stays as `secret.key.old`.
 * @returns how many jobs were sealed anew. @throws PgsluiceError SECRET_KEY_ROTATED, SECRET_KEY_TOO_SHORT.
 */
export async function changeKey(
  db: StateDatabase,
  old: StateKey,
  change: { readonly secret: string } | { readonly secret: null; readonly file: string; readonly keepOld: boolean },
): Promise<number> {
  if (change.secret !== null) return await reseal(db, old, new SecretBox(await keyOf(db, change.secret)));
  const { file, keepOld } = change;
  const next = nextTo(file);
  const key = randomBytes(32);
  writeFileSync(next, `${key.toString('hex')}\n`, { flag: 'w', mode: 0o600, flush: true });
  const count = await reseal(db, old, new SecretBox(key));
  if (keepOld) renameSync(file, `${file}.old`);
  settle(next, file);
  return count;
}
