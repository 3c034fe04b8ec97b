import { existsSync } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { JobView } from '../contract/job.ts';
import type { ApiManager } from '../server/api-manager.ts';
import { readDaemonFile } from '../server/token.ts';
import { findDaemon } from './connect.ts';
import { serveForeground } from './foreground-server.ts';
import { createOutput } from './output.ts';
import { readEnvironment } from './settings.ts';

const url = 'postgres://a@127.0.0.1/d';

/** Remembers what reaches the job manager. */
function managerOf(asked: string[]): ApiManager {
  const job = (id: string): JobView => ({ id, state: 'following' }) as unknown as JobView;
  return {
    create: () => {
      asked.push('create');
      return Promise.resolve(job('new'));
    },
    act: (id: string, action: string) => {
      asked.push(`${action} ${id}`);
      return Promise.resolve(job(id));
    },
    get: (id: string) => Promise.resolve(job(id)),
    list: () => Promise.resolve([job('mine'), job('other')]),
    groups: {
      act: (id: string, action: string) => {
        asked.push(`${action} group ${id}`);
        return Promise.resolve({});
      },
    },
    ready: () => Promise.resolve(true),
  } as unknown as ApiManager;
}

test('a foreground job is reachable through its state directory, alone, and only while it runs', async () => {
  const state = await mkdtemp(join(tmpdir(), 'pgsluice-foreground-'));
  const context = { env: readEnvironment({ PGSLUICE_STATE: state }), output: createOutput(process, {}), version: '1' };
  const asked: string[] = [];
  const server = await serveForeground(context, state, managerOf(asked), { jobs: ['mine'], group: null });
  try {
    expect(await readDaemonFile(state)).toMatchObject({ url: server.url, pid: process.pid, job: 'mine' });
    expect((await stat(join(state, 'daemon.json'))).mode & 0o777).toBe(0o600);
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect((await fetch(`${server.url}/api/jobs`)).status).toBe(401);

    const client = await findDaemon(state);
    if (client === null) throw new Error('it was not found');
    expect((await client.list()).map((job) => job.id)).toEqual(['mine', 'other']);
    await client.act('mine', 'cutover');
    await client.act('mine', 'resume');
    await client.act('other', 'cancel');
    await client.actOnGroup('some', 'cancel');
    for (const refused of [
      () => client.create({ source: { url }, target: { url } }),
      () => client.act('other', 'start'),
      () => client.act('other', 'resume'),
      () => client.actOnGroup('some', 'resume'),
    ]) {
      await expect(refused()).rejects.toMatchObject({
        code: 'FOREGROUND_AGENT',
        hint: expect.stringContaining('--state'),
      });
    }
    expect(asked).toEqual(['cutover mine', 'resume mine', 'cancel other', 'cancel group some']);
    // A directory has one holder; of a shared state anybody may take more.
    expect(await findDaemon(state, 'new work')).not.toBeNull();
  } finally {
    await server.close();
  }
  expect(existsSync(join(state, 'daemon.json'))).toBe(false);
  expect(await findDaemon(state)).toBeNull();
  await rm(state, { recursive: true, force: true });
});
