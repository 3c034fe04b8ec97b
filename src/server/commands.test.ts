import { pino } from 'pino';
import { expect, test } from 'vitest';
import type { JobRequest } from '../contract/options.ts';
import type { ApiManager } from './api-manager.ts';
import { createApp } from './app.ts';
import { Guard } from './guard.ts';

async function post(
  allowCommands: boolean,
  handOver: object,
): Promise<{ status: number; body: unknown; created: JobRequest[] }> {
  const created: JobRequest[] = [];
  const manager = {
    create: (request: JobRequest) => {
      created.push(request);
      return Promise.resolve({ id: 'abc' });
    },
    access: { record: () => Promise.resolve() },
  } as unknown as ApiManager;
  const logger = pino({ level: 'silent' });
  const app = await createApp({
    manager,
    guard: new Guard({ token: 'token-of-this-test', access: manager.access, logger }),
    webDir: '/nowhere',
    version: '0',
    logger,
    allowCommands,
  });
  const response = await app.request('/api/jobs', {
    method: 'POST',
    headers: { authorization: 'Bearer token-of-this-test', 'content-type': 'application/json' },
    body: JSON.stringify({
      source: { url: 'postgres://a@s/d' },
      target: { url: 'postgres://a@t/d' },
      options: { method: 'live', handOver },
    }),
  });
  return { status: response.status, body: await response.json(), created };
}

const command = { command: ['/bin/switch', '--to', 'new'] };

test('a command for the hand-over is refused unless the agent was started to run them', async () => {
  const refused = await post(false, command);
  expect(refused).toMatchObject({
    status: 403,
    body: { code: 'COMMANDS_NOT_ALLOWED', hint: expect.stringContaining('--allow-commands') },
    created: [],
  });
  expect(await post(true, command)).toMatchObject({ status: 201, created: [{ options: { handOver: command } }] });
});

test('a webhook needs no permission', async () => {
  const webhook = { webhook: 'https://deploy.example.com/moved' };
  expect(await post(false, webhook)).toMatchObject({ status: 201, created: [{ options: { handOver: webhook } }] });
});
