import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { GroupView } from '../src/contract/group.ts';
import type { JobView } from '../src/contract/job.ts';
import { runCli } from './support/cli.ts';
import { contentsOf } from './support/contents.ts';
import { type Daemon, startDaemon } from './support/daemon.ts';
import { startServer, type TestServer } from './support/servers.ts';

// Several databases at once as people run them: followed together by a daemon that other commands steer, and ended by Ctrl-C.

let source: TestServer;
let target: TestServer;
let state: string;
let daemon: Daemon | null = null;
const names = ['one', 'two'];

beforeAll(async () => {
  [source, target] = await Promise.all([
    startServer({ name: 'groups-live-source', settings: { wal_level: 'logical' } }),
    startServer({ name: 'groups-live-target' }),
  ]);
  state = await mkdtemp(join(tmpdir(), 'pgsluice-groups-live-'));
});
afterAll(async () => {
  await daemon?.stop();
  await Promise.all([source?.stop(), target?.stop()]);
  await rm(state, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
});

const servers = (): Record<string, string> => ({
  PGSLUICE_SOURCE_URL: source.url('postgres'),
  PGSLUICE_TARGET_URL: target.url('postgres'),
});

async function make(databases: readonly string[], rows: number): Promise<void> {
  for (const name of databases) {
    await Promise.all([source.createDatabase(name), target.createDatabase(name)]);
    await source.run(
      `CREATE TABLE orders (id bigserial PRIMARY KEY, note text NOT NULL);
       INSERT INTO orders (note) SELECT repeat('${name}', 20) || g FROM generate_series(1, ${rows}) g`,
      name,
    );
  }
}

async function until<T>(what: string, look: () => Promise<T>, enough: (value: T) => boolean): Promise<T> {
  for (let tries = 0; tries < 300; tries += 1) {
    const value = await look();
    if (enough(value)) return value;
    await sleep(100);
  }
  throw new Error(`waited for ${what}: ${JSON.stringify(await look()).slice(0, 3000)}`);
}

test('a daemon follows the databases of a group together; commands pause, resume, cut over and cancel them', async () => {
  await make(names, 2000);
  const agent = await startDaemon(state);
  daemon = agent;
  const body = {
    source: { url: source.url('postgres') },
    target: { url: target.url('postgres') },
    databases: names,
    options: { method: 'live', tableJobs: 1, indexJobs: 1 },
    start: true,
  };
  const { id } = (await agent.api('/api/groups', { method: 'POST', body })) as GroupView;
  const group = async (): Promise<GroupView> => (await agent.api(`/api/groups/${id}`)) as GroupView;
  const all = async (wanted: JobView['state']): Promise<GroupView> =>
    await until(`both to be ${wanted}`, group, ({ jobs }) => jobs.every((job) => job.state === wanted));
  await all('following');
  expect(await source.query('SELECT FROM pg_replication_slots')).toHaveLength(2);

  const cli = (...args: string[]): ReturnType<typeof runCli> => runCli(args, { state });
  const paused = await cli('pause', id);
  expect(paused.code, paused.stderr).toBe(0);
  await all('paused');
  for (const name of names) await source.run(`INSERT INTO orders (note) VALUES ('while it was paused')`, name);
  const resumed = await cli('resume', id);
  expect(resumed.code, resumed.stderr).toBe(0);
  for (const name of names) expect(resumed.stdout).toContain(`${name} (job `);
  await all('following');

  const refused = await cli('cutover', id);
  expect(refused.code).toBe(2);
  const [one, two] = (await group()).jobs.toSorted((a, b) =>
    (a.target?.database ?? '') < (b.target?.database ?? '') ? -1 : 1,
  );
  if (one === undefined || two === undefined) throw new Error('the group has no two jobs');
  expect(refused.stderr).toContain(`pgsluice cutover ${one.id} (one)`);
  const cut = await cli('cutover', one.id, '--follow');
  expect(cut.code, cut.stdout + cut.stderr).toBe(0);
  const cancelled = await cli('cancel', id);
  expect(cancelled.code, cancelled.stderr).toBe(0);
  const ended = await until('the other to be cancelled', group, ({ jobs }) =>
    jobs.some((job) => job.state === 'cancelled'),
  );
  expect(ended.jobs.find((job) => job.id === one.id)).toMatchObject({ state: 'completed', verified: true });
  expect(ended.jobs.find((job) => job.id === two.id)).toMatchObject({ state: 'cancelled' });
  expect(await contentsOf(target, 'one')).toEqual(await contentsOf(source, 'one'));
  await until(
    'the slots to go',
    () => source.query('SELECT FROM pg_replication_slots'),
    (slots) => slots.length === 0,
  );
  await agent.stop();
  daemon = null;
}, 120_000);

test('Ctrl-C ends all copies of a group, and leaves no session behind', async () => {
  const databases = ['long one', 'long two'];
  await make(databases, 40_000);
  const home = await mkdtemp(join(tmpdir(), 'pgsluice-groups-ended-'));
  try {
    let told = false;
    // Slow enough that nothing is over before.
    const listed = databases.map((name) => `"${name}"`).join(',');
    const run = await runCli(['clone', '--databases', listed, '--max-rate', '64KiB', '--json'], {
      env: servers(),
      state: home,
      onEvent: (event, kill) => {
        if (told || event.type !== 'table' || event.table.state !== 'copying') return;
        told = true;
        kill('SIGINT');
      },
    });
    expect(run.code, run.stdout.slice(-2000) + run.stderr).toBe(130);
    expect(JSON.parse(run.stdout.split('\n').at(-1) ?? '')).toMatchObject({ status: 'cancelled', verified: false });
    expect(await source.sessions()).toEqual([]);
    expect(await target.sessions()).toEqual([]);
    const jobs = (await runCli(['jobs'], { state: home })).stdout.trim().split('\n').slice(1);
    expect(jobs).toHaveLength(2);
    for (const line of jobs) expect(line).toContain('cancelled');
  } finally {
    await rm(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
});
