import { expect, test } from 'vitest';
import { checkToken, isPostgresUrl, localDirectory, weaknessOf } from './token.ts';

test('a state directory is its own place; a state in PostgreSQL gets one that does not depend on the password', () => {
  expect(localDirectory('/var/lib/pgsluice')).toBe('/var/lib/pgsluice');
  const first = localDirectory('postgres://agent:old@db/state');
  expect(first).toBe(localDirectory('postgres://agent:new@db/state'));
  expect(first).not.toBe(localDirectory('postgres://agent:old@db/other'));
  expect(first).not.toContain('old');
});

test('only URLs of PostgreSQL are taken for such', () => {
  expect(isPostgresUrl('postgresql://h/d')).toBe(true);
  expect(isPostgresUrl('./postgres')).toBe(false);
});

test('a token must fit into a header', () => {
  expect(checkToken('abc-._~+/12==')).toBe('abc-._~+/12==');
  for (const token of ['', 'a b', 'ä', 'a\nb']) {
    expect(() => checkToken(token)).toThrow(expect.objectContaining({ code: 'INVALID_TOKEN' }));
  }
});

test('a short token is named as one that can be guessed', () => {
  expect(weaknessOf('a')).toContain('1 character ');
  expect(weaknessOf('k'.repeat(16))).toBeNull();
});
