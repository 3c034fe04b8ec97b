import { expect, test } from 'vitest';
import { parseEndpoint } from '../postgres/settings.ts';
import { webhookBody } from './hand-over.ts';

const password = 'p/ss:w@rd %';
const url = `postgres://app:${encodeURIComponent(password)}@db.example:6543/shop%20x?sslmode=require`;

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
