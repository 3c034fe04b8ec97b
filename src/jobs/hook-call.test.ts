import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import { parseEndpoint } from '../postgres/settings.ts';
import { type HookNews, hookBody, hookName, hookVariables, signature } from './hook-call.ts';
import { uncalledHooks } from './hooks.ts';

const secret = 'pa/ss wörd';
const settings = parseEndpoint({ url: `postgres://app:${encodeURIComponent(secret)}@db.example/shop` }, 'source');
const news: HookNews = {
  job: 'j1',
  name: 'shop',
  kind: 'move',
  moment: 'completed',
  state: 'completed',
  at: new Date('2026-11-21T10:00:00Z'),
  sides: { source: settings, target: null },
  archive: '/var/a',
  call: { delivery: 'd1', repeated: true },
  report: null,
};

test('a webhook learns no password, a command only by its environment', () => {
  const body = JSON.stringify(hookBody(news));
  expect(body).not.toContain(secret);
  expect(body).not.toContain(encodeURIComponent(secret));
  expect(JSON.parse(body)).toMatchObject({
    job: 'j1',
    moment: 'completed',
    at: '2026-11-21T10:00:00.000Z',
    delivery: 'd1',
    mayBeRepeated: true,
    source: 'app@db.example:5432/shop',
    target: null,
    archive: '/var/a',
  });
  const variables = hookVariables(news);
  expect(new URL(variables['PGSLUICE_SOURCE_URL'] ?? '').password).toBe(encodeURIComponent(secret));
  expect(variables).toMatchObject({ PGSLUICE_MOMENT: 'completed', PGSLUICE_MAY_BE_REPEATED: 'yes' });
  expect(variables).not.toHaveProperty('PGSLUICE_TARGET_URL');
});

test('the signature is one that a receiver can make', () => {
  const at = new Date('2026-11-21T10:00:00.900Z');
  const [t, v1] = signature('key', '{"a":1}', at).split(',');
  expect(t).toBe('t=1795255200');
  expect(v1).toBe(`v1=${createHmac('sha256', 'key').update('1795255200.{"a":1}').digest('hex')}`);
});

test('a webhook is named without its path, which is often its secret', () => {
  expect(hookName({ on: 'completed', webhook: 'https://deploy.example/hooks/token' })).toBe(
    'webhook at https://deploy.example',
  );
  expect(hookName({ on: 'completed', command: ['mix', 'ecto.migrate'] })).toBe('command "mix"');
});

test('hooks of a cutover are said to be left out where there is none', () => {
  const webhook = 'https://a.example/';
  expect(uncalledHooks({ hooks: [{ on: 'completed', webhook }] })).toEqual([]);
  expect(
    uncalledHooks({
      hooks: [
        { on: 'after-cutover', webhook },
        { on: 'before-cutover', webhook },
      ],
    })[0],
  ).toContain('after-cutover and before-cutover');
});
