import { expect, test } from 'vitest';
import { parseEndpoint } from '../postgres/settings.ts';
import { maskPassword, targetUrl, webhookBody } from './hand-over.ts';

const password = 'p/ss:w@rd %';
const url = `postgres://app:${encodeURIComponent(password)}@db.example:6543/shop%20x?sslmode=require`;

test('the URL means the same to whoever reads it', () => {
  for (const input of [
    url,
    `postgres://app:x@[::1]:5433/shop`,
    `postgres://app:x@/shop?host=/run/pg&port=5433`,
    `postgres://app@h/shop?sslmode=verify-full&sslrootcert=/etc/a%20b.pem`,
  ]) {
    const settings = parseEndpoint({ url: input }, 'target');
    expect(parseEndpoint({ url: targetUrl(settings, true) }, 'target')).toEqual(settings);
  }
});

test('the webhook learns everything but the password', () => {
  const settings = parseEndpoint({ url }, 'target');
  const body = webhookBody('j1', settings, new Date('2026-11-21T10:00:00Z'));
  expect(body).toEqual({
    job: 'j1',
    event: 'cutover',
    target: {
      host: 'db.example',
      port: 6543,
      database: 'shop x',
      user: 'app',
      sslmode: 'require',
      url: 'postgres://app@db.example:6543/shop%20x?sslmode=require',
    },
    at: '2026-11-21T10:00:00.000Z',
  });
});

test('every spelling of the password is masked', () => {
  const printed = `a ${password} b ${encodeURIComponent(password)} c ${Buffer.from(password).toString('base64')}`;
  expect(maskPassword(printed, password)).toBe('a *** b *** c ***');
  expect(maskPassword('nothing', null)).toBe('nothing');
  expect(maskPassword('nothing', '')).toBe('nothing');
});
