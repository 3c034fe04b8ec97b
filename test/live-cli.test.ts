import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { root } from './support/binaries.ts';
import { runCli, type CliOutcome } from './support/cli.ts';
import { contentsOf } from './support/contents.ts';
import { startServer, type TestServer } from './support/servers.ts';

// A live job as a person runs it: `pgsluice clone --method live` in one terminal, `pgsluice cutover` in another.

let source: TestServer;
let target: TestServer;
let state: string;
let count = 0;
const running: ChildProcess[] = [];

beforeAll(async () => {
  const settings = { wal_level: 'logical' };
  [source, target] = await Promise.all([
    startServer({ name: 'live-cli-source', settings }),
    startServer({ name: 'live-cli-target', settings }),
  ]);
});
afterEach(async () => {
  for (const child of running.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  }
  await rm(state, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
});
afterAll(async () => {
  await Promise.all([source?.stop(), target?.stop()]);
});

/** A small shop on the source and an empty database on the target, both of one name. */
async function databases(): Promise<{ name: string; urls: string[] }> {
  count += 1;
  const name = `shop${count}`;
  state = await mkdtemp(join(tmpdir(), 'pgsluice-test-live-cli-'));
  await Promise.all([source.createDatabase(name), target.createDatabase(name)]);
  await source.run(
    `CREATE TABLE customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text UNIQUE NOT NULL);
     CREATE TABLE orders (id bigserial PRIMARY KEY, customer bigint NOT NULL REFERENCES customer, total numeric);
     INSERT INTO customer (email) SELECT 'c' || i || '@example.com' FROM generate_series(1, 500) i;
     INSERT INTO orders (customer, total) SELECT 1 + i % 500, i FROM generate_series(1, 3000) i;`,
    name,
  );
  return { name, urls: ['--source', source.url(name), '--target', target.url(name)] };
}

/** Starts a command and leaves it running; `until` answers when what it has printed matches. */
function start(args: readonly string[]): {
  child: ChildProcess;
  printed: () => string;
  until(pattern: RegExp): Promise<void>;
  ended: Promise<number>;
} {
  const child = spawn(process.execPath, [join(root, 'bin/pgsluice.js'), ...args], {
    cwd: tmpdir(),
    env: { PATH: process.env['PATH'] ?? '', HOME: state, TMPDIR: tmpdir(), PGSLUICE_STATE: state },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.push(child);
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const ended = new Promise<number>((resolve) => child.on('close', (code) => resolve(code ?? -1)));
  return {
    child,
    printed: () => text,
    ended,
    until: async (pattern) => {
      const deadline = Date.now() + 90_000;
      while (!pattern.test(text)) {
        if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${text}`);
        if (Date.now() > deadline) throw new Error(`${String(pattern)} did not come: ${text}`);
        await delay(50);
      }
    },
  };
}

const cli = (...args: string[]): Promise<CliOutcome> => runCli(args, { state });

async function leftOnSource(name: string): Promise<unknown[]> {
  const slots = await source.query(`SELECT slot_name FROM pg_replication_slots WHERE database = '${name}'`);
  const publications = await source.query(`SELECT pubname FROM pg_publication`, name);
  return [...slots, ...publications];
}

test('clone --method live --cutover auto --json ends with 0, and the last line says that all is proven equal', async () => {
  const { name, urls } = await databases();
  const { code, result, events, stderr } = await runCli(
    ['clone', '--method', 'live', '--cutover', 'auto', '--json', ...urls],
    { state },
  );
  expect({ code, result, stderr }).toMatchObject({
    code: 0,
    result: { status: 'completed', verified: true, tables: 2, differences: [], error: null },
  });
  const states = events.flatMap((event) => (event.type === 'state' ? [event.state] : []));
  expect(states).toEqual(expect.arrayContaining(['following', 'cutting_over', 'completed']));
  const steps = events.findLast((event) => event.type === 'metric' && (event.live?.cutover.length ?? 0) > 0);
  expect(steps).toMatchObject({
    live: { cutover: expect.arrayContaining([expect.objectContaining({ step: 'fence' })]) },
  });
  expect(await contentsOf(target, name)).toEqual(await contentsOf(source, name));
  expect(await leftOnSource(name)).toEqual([]);
  expect(existsSync(join(state, 'daemon.json'))).toBe(false);
});

test('a clone that follows is found by commands of another terminal, takes no other work, and cuts over when told', async () => {
  const { name, urls } = await databases();
  const clone = start(['clone', '--method', 'live', '--cutover', 'manual', ...urls]);
  await clone.until(/To hand over to the target: pgsluice cutover (\w+)/);
  const id = /pgsluice cutover (\w+)/.exec(clone.printed())?.[1] ?? '';
  await source.run(
    `INSERT INTO orders (customer, total) SELECT 7, 70 FROM generate_series(1, 50); DELETE FROM orders WHERE id <= 10;
     UPDATE customer SET email = 'new@example.com' WHERE id = 3`,
    name,
  );
  await expect
    .poll(async () => (await target.query('SELECT count(*)::int AS n FROM orders', name))[0]?.['n'], {
      timeout: 30_000,
    })
    .toBe(3040);

  let shown = await cli('show', id.slice(0, 5));
  await expect
    .poll(async () => (shown = await cli('show', id.slice(0, 5))).stdout, { timeout: 30_000 })
    .toMatch(/Applied {2}50 inserts, 1 update, 10 deletes/);
  expect(shown.code).toBe(0);
  expect(shown.stdout).toMatch(/State {4}following/);
  expect(shown.stdout).toMatch(/Lag .*source at \w+\/\w+/);
  expect(shown.stdout).toMatch(/Slot .*source keeps/);
  const second = await runCli(['clone', '--method', 'copy', ...urls], { state });
  expect(second).toMatchObject({ code: 2, stderr: expect.stringContaining('[FOREGROUND_AGENT]') });

  const cutover = await cli('cutover', id.slice(0, 5), '--follow', '--json');
  expect(cutover).toMatchObject({ code: 0, result: { status: 'completed', verified: true } });
  expect(await clone.ended).toBe(0);
  expect(clone.printed()).toMatch(/Cutover ✓ fence +[\d,]+ ms/);
  expect(clone.printed()).toMatch(/Cut over: writers waited [\d,]+ ms/);
  expect(clone.printed()).toContain('✓ Completed and verified');
  expect(await contentsOf(target, name)).toEqual(await contentsOf(source, name));
  expect(existsSync(join(state, 'daemon.json'))).toBe(false);
});

test('Ctrl-C leaves a job that follows resumable and says what the source keeps; cancel then drops it', async () => {
  const { name, urls } = await databases();
  const clone = start(['clone', '--method', 'live', '--cutover', 'manual', ...urls]);
  await clone.until(/pgsluice cutover (\w+)/);
  const id = /pgsluice cutover (\w+)/.exec(clone.printed())?.[1] ?? '';
  clone.child.kill('SIGINT');
  expect(await clone.ended).toBe(130);
  expect(clone.printed()).toMatch(new RegExp(`pgsluice resume ${id}`));
  expect(clone.printed()).toMatch(new RegExp(`keeps all of its WAL[^]*pgsluice cancel ${id}`));
  expect(await leftOnSource(name)).toHaveLength(2);
  expect((await cli('show', id)).stdout).toMatch(/State {4}paused/);

  const early = await cli('cutover', id);
  expect(early).toMatchObject({ code: 2, stderr: expect.stringContaining(`pgsluice resume ${id}`) });

  await source.run('INSERT INTO orders (customer, total) VALUES (1, 12345)', name);
  const resumed = start(['resume', id]);
  await resumed.until(/pgsluice cutover/);
  await expect
    .poll(
      async () => (await target.query('SELECT count(*)::int AS n FROM orders WHERE total = 12345', name))[0]?.['n'],
      {
        timeout: 30_000,
      },
    )
    .toBe(1);
  expect((await cli('cancel', id)).code).toBe(0);
  expect(await resumed.ended).toBe(130);
  expect(await leftOnSource(name)).toEqual([]);
});
