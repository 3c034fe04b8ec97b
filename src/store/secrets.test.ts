import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { deriveKey, keyFromFile, rawKey, SecretBox } from './secrets.ts';

const box = new SecretBox(Buffer.alloc(32, 7));
const code = (value: string) => expect.objectContaining({ code: value });

test('what is sealed opens again, and never looks the same twice', () => {
  const text = '{"password":"wørd \u0000 🐘"}';
  const one = box.seal(text, 'job:source');
  expect(box.open(one, 'job:source')).toBe(text);
  expect(box.seal(text, 'job:source')).not.toBe(one);
});

test('another key, another place and an altered byte are refused', () => {
  const sealed = box.seal('secret', 'a:source');
  // In the middle: the last character of base64 may hold bits that mean nothing.
  const middle = Math.floor(sealed.length / 2);
  const flipped = `${sealed.slice(0, middle)}${sealed[middle] === 'A' ? 'B' : 'A'}${sealed.slice(middle + 1)}`;
  expect(() => new SecretBox(Buffer.alloc(32, 8)).open(sealed, 'a:source')).toThrow(code('SECRET_KEY_WRONG'));
  expect(() => box.open(sealed, 'b:source')).toThrow(code('SECRET_KEY_WRONG'));
  expect(() => box.open(flipped, 'a:source')).toThrow(code('SECRET_KEY_WRONG'));
  expect(() => box.open('', 'a:source')).toThrow(code('SECRET_KEY_WRONG'));
});

test('hex and base64 of 32 bytes are taken as the key itself, other text is stretched', async () => {
  const key = Buffer.alloc(32, 0xfb);
  expect(rawKey(key.toString('hex'))).toEqual(key);
  expect(rawKey(key.toString('base64'))).toEqual(key);
  expect(rawKey(key.toString('base64url'))).toEqual(key);
  expect(rawKey('correct horse battery staple')).toBeNull();
  const stretched = await deriveKey('correct horse battery staple', 'salt');
  expect(stretched).toHaveLength(32);
  expect(await deriveKey('correct horse battery staple', 'salt')).toEqual(stretched);
  expect(await deriveKey('correct horse battery staple', 'other')).not.toEqual(stretched);
  await expect(deriveKey('too short', 'salt')).rejects.toThrow(code('SECRET_KEY_TOO_SHORT'));
});

test('a key file is made once, for its owner only, and never made anew over sealed data', () => {
  const dir = mkdtempSync(join(tmpdir(), 'pgsluice-key-'));
  try {
    const path = join(dir, 'deep', 'secret.key');
    expect(() => keyFromFile(path, false)).toThrow(code('SECRET_KEY_WRONG'));
    const key = keyFromFile(path, true);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(keyFromFile(path, true)).toEqual(key);
    expect(keyFromFile(path, false)).toEqual(key);
    // Somebody copied it here with the rights of any other file.
    chmodSync(path, 0o644);
    expect(keyFromFile(path, false)).toEqual(key);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
