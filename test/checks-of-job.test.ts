import { rm } from 'node:fs/promises';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { buildProgram } from '../src/cli/program.ts';
import { RemoteClient } from '../src/cli/remote-client.ts';
import { readEnvironment } from '../src/cli/settings.ts';
import { chooseStyle } from '../src/cli/style.ts';
import type { CheckResult } from '../src/contract/check.ts';
import type { JobEvent } from '../src/contract/event.ts';
import { JobRequest } from '../src/contract/options.ts';
import type { JobRooms } from '../src/jobs/rooms.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { type RunningServer, startServer } from '../src/server/server.ts';
import { freshState } from './support/fresh-state.ts';
import { fakeRooms } from './support/fake-rooms.ts';

// Single checks over a real job manager, its store and its API; only the two databases are played.

const token = 'a-token-for-the-check-test';
const logger = pino({ level: 'silent' });

const result = (id: string, outcome: CheckResult['outcome'], found: string): CheckResult => ({
  id,
  family: 'server',
  side: 'both',
  outcome,
  code: outcome === 'failed' ? 'ENCODING_MISMATCH' : null,
  title: 'A title.',
  found,
  remedy: outcome === 'passed' ? '' : 'SELECT 1;',
  elapsedMs: 1,
});

/** What the servers would answer at the moment. */
let answers: CheckResult[];
const fake = fakeRooms({ tables: 2, tableMs: 50 });
const rooms: JobRooms = {
  ...fake,
  validate: async (input) => {
    const outcome = await fake.validate({ ...input, onCheck: () => undefined });
    const checks = answers.filter((check) => input.only === undefined || input.only.includes(check.id));
    for (const check of checks) input.onCheck(check);
    const blocked = checks.some((check) => check.outcome === 'failed');
    return {
      ...outcome,
      checks,
      blocked,
      error: blocked ? { code: 'X', message: 'x', hint: '', retryable: false } : null,
    };
  },
};

let directory: string;
let manager: JobManager;
let server: RunningServer;
let client: RemoteClient;

beforeAll(async () => {
  directory = await freshState('checks-of-job', 'k'.repeat(32));
  const config = { state: directory, secretKey: 'k'.repeat(32), concurrency: 1, pgBinDir: null, logger };
  manager = await JobManager.open({ ...config, role: 'daemon' }, rooms);
  server = await startServer({ manager, token, webDir: directory, version: '1', logger, host: '127.0.0.1', port: 0 });
  client = new RemoteClient(server.url, token);
});

afterAll(async () => {
  await server.close();
  await manager.stop('The test ended.');
  await rm(directory, { recursive: true, force: true });
});

beforeEach(() => {
  answers = [
    result('server.encoding', 'passed', 'UTF8 both.'),
    result('server.locale', 'warned', 'C here, en there.'),
    result('server.settings', 'info', 'TimeZone differs.'),
  ];
});

async function validated(): Promise<string> {
  const request = { source: { url: 'postgres://a@s.example/shop' }, target: { url: 'postgres://b@t.example/shop' } };
  const { id } = await manager.create(JobRequest.parse(request));
  await manager.act(id, 'validate');
  await manager.waitUntilSettled(id);
  return id;
}

function call(path: string, method = 'GET', body?: unknown): Promise<Response> {
  return fetch(new URL(path, server.url), {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

async function events(id: string): Promise<JobEvent[]> {
  const stop = new AbortController();
  const all: JobEvent[] = [];
  const { lastSeq } = await manager.get(id);
  for await (const batch of manager.stream(id, 0, stop.signal)) {
    all.push(...batch.filter((event) => event.type !== 'reset'));
    if ((all.at(-1)?.seq ?? 0) >= lastSeq) break;
  }
  return all;
}

describe('accepting a warning', () => {
  test('stays visible with who and when, reaches everybody, and is in list, export and report', async () => {
    const id = await validated();
    const before = await client.checks(id);
    const answer = await call(`/api/jobs/${id}/checks/server.locale/accept`, 'POST', {
      side: 'both',
      by: ' Ada ',
      note: 'we sort ourselves',
    });
    expect(answer.status).toBe(200);
    const accepted = { by: 'Ada', at: expect.stringMatching(/^20.*Z$/), note: 'we sort ourselves' };
    expect(await answer.json()).toMatchObject({ id: 'server.locale', outcome: 'warned', accepted });
    const after = await client.checks(id);
    expect(after.map((check) => check.id)).toEqual(before.map((check) => check.id));
    expect(after[1]).toMatchObject({ outcome: 'warned', accepted });
    const seen = (await events(id)).filter((event) => event.type === 'check').at(-1);
    expect(seen).toMatchObject({ check: { id: 'server.locale', accepted } });
    expect(JSON.stringify(await manager.logs(id, {}))).toContain('Ada accepted the warning of server.locale');
    expect(await (await call(`/api/jobs/${id}/checks?format=csv`)).text()).toMatch(
      /server\.locale.*,Ada,20.*,we sort ourselves\r\n/,
    );
    expect(await (await call(`/api/jobs/${id}/checks?format=md`)).text()).toContain('Accepted by Ada at');
    await manager.act(id, 'start');
    await manager.waitUntilSettled(id);
    expect((await client.report(id)).accepted).toMatchObject([{ id: 'server.locale', accepted }]);
  });

  test('holds over a new validation while the same is found, and not beyond', async () => {
    const id = await validated();
    await client.acceptCheck(id, 'server.locale', { by: 'Ada', note: '' });
    const again = async (): Promise<CheckResult | undefined> => {
      await manager.act(id, 'validate');
      await manager.waitUntilSettled(id);
      return (await client.checks(id)).find((check) => check.id === 'server.locale');
    };
    expect((await again())?.accepted?.by).toBe('Ada');
    answers[1] = result('server.locale', 'warned', 'C here, de there.');
    expect((await again())?.accepted).toBeNull();
    answers[1] = result('server.locale', 'warned', 'C here, en there.');
    expect((await again())?.accepted?.by).toBe('Ada');
    expect(await client.unacceptCheck(id, 'server.locale')).toMatchObject({ accepted: null });
    expect((await again())?.accepted).toBeNull();
    expect((await client.unacceptCheck(id, 'server.locale')).outcome).toBe('warned');
  });

  test('only warnings, only known ones, and only with a name', async () => {
    answers[0] = result('server.encoding', 'failed', 'no.');
    const id = await validated();
    const refused = async (check: string, body: unknown): Promise<unknown> => {
      const answer = await call(`/api/jobs/${id}/checks/${check}/accept`, 'POST', body);
      return { status: answer.status, code: ((await answer.json()) as { code: string }).code };
    };
    expect(await refused('server.encoding', { by: 'Ada' })).toEqual({ status: 409, code: 'CHECK_NOT_A_WARNING' });
    expect(await refused('server.settings', { by: 'Ada' })).toEqual({ status: 409, code: 'CHECK_NOT_A_WARNING' });
    expect(await refused('server.nothing', { by: 'Ada' })).toEqual({ status: 404, code: 'CHECK_NOT_FOUND' });
    expect(await refused('server.locale', { by: 'Ada', side: 'source' })).toEqual({
      status: 404,
      code: 'CHECK_NOT_FOUND',
    });
    expect(await refused('server.locale', { by: '  ' })).toEqual({ status: 400, code: 'INVALID_REQUEST' });
    expect(await refused('server.locale', { by: 'a\0' })).toEqual({ status: 400, code: 'INVALID_REQUEST' });
    expect((await call('/api/jobs/nothing/checks/server.locale/accept', 'POST', { by: 'Ada' })).status).toBe(404);
  });
});

describe('a check made again', () => {
  test('takes the place of what it found before, and nothing else is asked', async () => {
    answers[0] = result('server.encoding', 'failed', 'no.');
    const id = await validated();
    expect((await manager.get(id)).state).toBe('blocked');
    answers[0] = result('server.encoding', 'passed', 'now.');
    const asked = fake.validated.length;
    expect(await client.runCheck(id, 'server.encoding')).toMatchObject({ outcome: 'passed', found: 'now.' });
    expect(fake.validated.slice(asked).map((input) => input.only)).toEqual([['server.encoding']]);
    const checks = await client.checks(id);
    expect(checks.map((check) => `${check.id} ${check.outcome}`)).toEqual([
      'server.encoding passed',
      'server.locale warned',
      'server.settings info',
    ]);
    // What blocked is decided by a whole validation alone.
    expect((await manager.get(id)).state).toBe('blocked');
    await manager.act(id, 'validate');
    await manager.waitUntilSettled(id);
    expect((await manager.get(id)).state).toBe('ready');
  });

  test('keeps its acceptance, is refused when unknown or while the job runs, and can be accepted while it runs', async () => {
    const id = await validated();
    await client.acceptCheck(id, 'server.locale', { by: 'Ada', note: '' });
    expect((await client.runCheck(id, 'server.locale')).accepted?.by).toBe('Ada');
    await expect(client.runCheck(id, 'server.nothing')).rejects.toMatchObject({ code: 'CHECK_NOT_FOUND' });
    await manager.act(id, 'start');
    await expect(client.runCheck(id, 'server.locale')).rejects.toMatchObject({ code: 'JOB_RUNNING' });
    await expect.poll(async () => (await manager.get(id)).state).toBe('running');
    await client.acceptCheck(id, 'server.locale', { by: 'Bob', note: '' });
    expect(await manager.waitUntilSettled(id)).toMatchObject({ state: 'completed' });
    const seqs = (await events(id)).map((event) => event.seq);
    expect(seqs).toEqual(seqs.map((_, index) => index + 1));
    expect((await client.report(id)).accepted?.[0]?.accepted?.by).toBe('Bob');
  });
});

describe('pgsluice checks', () => {
  /** Runs the command line in this process against the daemon. */
  async function cli(...args: readonly string[]): Promise<{ code: number; out: string }> {
    let out = '';
    let code = -1;
    const style = chooseStyle(false, {});
    const output = {
      out: (text: string) => (out += text),
      err: () => undefined,
      tty: false,
      input: null,
      style,
      errStyle: style,
      columns: 80,
      rows: 24,
      onResize: () => () => undefined,
      closed: false,
      flush: () => Promise.resolve(),
    };
    const program = buildProgram({ env: readEnvironment({}), output, version: '1' }, (done) => (code = done));
    await program.parseAsync(['checks', ...args, '--server', server.url, '--token', token], { from: 'user' });
    return { code, out };
  }

  test('shows, accepts, takes back, makes again and exports', async () => {
    answers[0] = result('server.encoding', 'failed', 'no.');
    const id = await validated();
    const shown = await cli(id);
    expect(shown.code).toBe(3);
    expect(shown.out).toContain('server.encoding');
    const accepted = await cli(id, '--accept', 'server.locale', '--by', 'Ada', '--note', 'we know');
    expect(accepted).toMatchObject({ code: 0, out: expect.stringContaining('accepted by Ada at 20') });
    expect((await cli(id)).out).toContain(': we know');
    expect((await cli(id, '--format', 'csv')).out).toContain(',Ada,20');
    expect((await cli(id, '--unaccept', 'server.locale')).out).not.toContain('accepted by');
    answers[0] = result('server.encoding', 'passed', 'now.');
    expect(await cli(id, '--run', 'server.encoding')).toMatchObject({ code: 0, out: expect.stringContaining('now.') });
    await expect(cli(id, '--accept', 'server.locale')).rejects.toMatchObject({ code: 'INVALID_OPTION' });
    await expect(cli(id, '--by', 'Ada')).rejects.toMatchObject({ code: 'INVALID_OPTION' });
    await expect(cli(id, '--run', 'a', '--accept', 'b', '--by', 'c')).rejects.toMatchObject({ code: 'INVALID_OPTION' });
  });
});
