import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AuditEntry, NewToken, TokenView } from '../src/contract/access.ts';
import { root } from './support/binaries.ts';
import { startDaemon } from './support/daemon.ts';

// token, share and audit as they are typed, on the state itself and on a daemon.

let state: string;
const run = promisify(execFile);

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'pgsluice-access-cli-'));
});
afterAll(() => rm(state, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }));

/** The answer of the built command line, whatever its exit code. */
async function cli(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<{ code: number; out: string; err: string }> {
  const given = { PATH: process.env['PATH'] ?? '', HOME: state, PGSLUICE_STATE: state, ...env };
  try {
    const { stdout, stderr } = await run(process.execPath, [join(root, 'bin/pgsluice.js'), ...args], {
      env: given,
      timeout: 60_000,
    });
    return { code: 0, out: stdout, err: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, out: stdout, err: stderr };
  }
}

const lines = <T>(text: string): T[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T);

test('tokens are made on the state itself, hold for the daemon on it, and end there', async () => {
  const made = await cli(['token', 'create', '--role', 'operate', '--name', 'deploy', '--expires', '30d']);
  expect(made).toMatchObject({ code: 0, out: expect.stringMatching(/^pgsluice_[\w-]{43}\n$/) });
  const token = made.out.trim();
  const daemon = await startDaemon(state);
  try {
    const job = (await daemon.api('/api/jobs', {
      method: 'POST',
      body: { source: { host: 's.example', user: 'u' }, target: { host: 't.example', user: 'u' } },
    })) as { id: string };
    const asDeploy = ['--server', daemon.url, '--token', token];
    expect((await cli(['jobs', ...asDeploy])).out).toContain(job.id);
    expect(await cli(['token', 'list', ...asDeploy])).toMatchObject({
      code: 2,
      err: expect.stringContaining('role admin'),
    });
    const link = await cli(['share', job.id.slice(0, 5), '--expires', '2h', ...asDeploy]);
    expect(link.out).toMatch(new RegExp(`^${daemon.url}/#share=pgsluice-share_[\\w-]{43}&/jobs/${job.id}\n$`));
    expect((await cli(['share', job.id, '--list'])).out).toContain('by deploy');
    const viewer = lines<NewToken>(
      (await cli(['token', 'create', '--role', 'view', '--name', 'wall', '--json'])).out,
    )[0];
    const list = lines<TokenView>((await cli(['token', 'list', '--json'])).out);
    expect(list.map(({ name, role }) => `${name} ${role}`).toSorted()).toEqual(['deploy operate', 'wall view']);
    expect((await cli(['token', 'revoke', viewer?.id ?? ''])).out).toContain('is revoked');
    expect((await cli(['jobs', '--server', daemon.url, '--token', viewer?.token ?? ''])).code).toBe(2);
    const entries = lines<AuditEntry>((await cli(['audit', '--json'])).out);
    expect(
      entries.map(
        ({ actor, action }) =>
          `${actor === 'cli' || actor === 'agent' || actor === 'nobody' ? actor : 'token'} ${action}`,
      ),
    ).toEqual([
      'cli token.create',
      'agent job.create',
      'token share.create',
      'agent token.create',
      'agent token.revoke',
      'nobody sign-in',
    ]);
  } finally {
    await daemon.stop();
  }
});

test('no door is opened to a network without TLS or with a short token', async () => {
  const plain = await cli(['serve', '--host', '0.0.0.0', '--port', '0']);
  expect(plain).toMatchObject({ code: 2, err: expect.stringContaining('INSECURE_DOOR') });
  const short = await cli(['serve', '--host', '0.0.0.0', '--port', '0', '--insecure'], { PGSLUICE_TOKEN: 'short' });
  expect(short).toMatchObject({ code: 2, err: expect.stringContaining('TOKEN_TOO_SHORT') });
  const half = await cli(['serve', '--port', '0', '--tls-cert', '/nowhere/cert.pem']);
  expect(half).toMatchObject({ code: 2, err: expect.stringContaining('INVALID_TLS') });
  const both = await cli(['serve', '--port', '0', '--tls-cert', '/nowhere/cert.pem', '--tls-key', '/nowhere/key.pem']);
  expect(both).toMatchObject({ code: 2, err: expect.stringContaining('TLS_FILES_UNUSABLE') });
  const ranges = await cli(['serve', '--port', '0', '--allow-clients', '10.0.0.0/99']);
  expect(ranges).toMatchObject({ code: 2, err: expect.stringContaining('INVALID_RANGE') });
  expect((await cli(['token', 'create', '--role', 'root', '--name', 'x'])).code).toBe(2);
});
