import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { PgsluiceError } from '../errors.ts';
import { makeDirectory } from './make-directory.ts';

const prefix = 'v1.';
const nonceBytes = 12;
const tagBytes = 16;
const minSecretLength = 16;

/** Seals text at rest with AES-256-GCM: random nonce per text, and bound to its place so that it cannot be moved to another row. */
export class SecretBox {
  readonly #key: Buffer;

  constructor(key: Buffer) {
    this.#key = key;
  }

  seal(text: string, place: string): string {
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce);
    cipher.setAAD(Buffer.from(place));
    const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    return prefix + Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64url');
  }

  /** @throws PgsluiceError SECRET_KEY_WRONG when the text was sealed with another key, for another place, or was altered. */
  open(sealed: string, place: string): string {
    const raw = Buffer.from(sealed.startsWith(prefix) ? sealed.slice(prefix.length) : '', 'base64url');
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#key, raw.subarray(0, nonceBytes));
      decipher.setAAD(Buffer.from(place));
      decipher.setAuthTag(raw.subarray(nonceBytes, nonceBytes + tagBytes));
      const body = raw.subarray(nonceBytes + tagBytes);
      return Buffer.concat([decipher.update(body), decipher.final()]).toString('utf8');
    } catch (cause) {
      throw wrongKey(cause);
    }
  }
}

export function wrongKey(cause?: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'SECRET_KEY_WRONG',
    message: 'The secret key does not open the passwords stored in this state.',
    hint: 'Give the PGSLUICE_SECRET_KEY (or put back the secret.key file) that this state was made with, or use another --state.',
    cause,
  });
}

/** 32 bytes written as hex or base64 are the key itself; null when the text is neither. */
export function rawKey(secret: string): Buffer | null {
  if (/^[0-9a-f]{64}$/i.test(secret)) return Buffer.from(secret, 'hex');
  if (/^[A-Za-z0-9+/]{43}=?$/.test(secret)) return Buffer.from(secret, 'base64');
  if (/^[A-Za-z0-9_-]{43}=?$/.test(secret)) return Buffer.from(secret, 'base64url');
  return null;
}

/**
 * The key a person's secret stands for: 32 bytes as given, or any other text stretched with scrypt.
 * @throws PgsluiceError SECRET_KEY_TOO_SHORT below 16 characters.
 */
export async function deriveKey(secret: string, salt: string): Promise<Buffer> {
  const raw = rawKey(secret);
  if (raw !== null) return raw;
  if (secret.length < minSecretLength) {
    throw new PgsluiceError({
      code: 'SECRET_KEY_TOO_SHORT',
      message: `PGSLUICE_SECRET_KEY has ${secret.length} characters; at least ${minSecretLength} are needed.`,
      hint: 'Make one with: openssl rand -hex 32',
    });
  }
  return await new Promise((resolve, reject) => {
    const cost = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 2 ** 20 };
    scrypt(secret, salt, 32, cost, (error, key) => (error === null ? resolve(key) : reject(error)));
  });
}

/**
 * The key of a key file, which is made (0600) when it is missing and `mayCreate` says that nothing is sealed yet.
 * @throws PgsluiceError SECRET_KEY_WRONG when the file is missing or unreadable although something is sealed.
 */
export function keyFromFile(path: string, mayCreate: boolean): Buffer {
  if (mayCreate) {
    makeDirectory(dirname(path));
    try {
      writeFileSync(path, `${randomBytes(32).toString('hex')}\n`, { flag: 'wx', mode: 0o600 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
  let text: string;
  try {
    if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, 0o600);
    text = readFileSync(path, 'utf8').trim();
  } catch (cause) {
    throw wrongKey(cause);
  }
  const key = rawKey(text);
  if (key === null) throw wrongKey();
  return key;
}
