import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import pino from 'pino';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { longTest } from './support/long.ts';
import { GroupRequest, type GroupRequestInput, type GroupView } from '../src/contract/group.ts';
import type { JobView } from '../src/contract/job.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { freshState } from './support/fresh-state.ts';
import { runCli } from './support/cli.ts';
import { contentsOf } from './support/contents.ts';
import { startServer, type TestServer } from './support/servers.ts';

const quoted = `Shop "One"'s été`;
/** As many as two jobs of four connections take, and fewer than one would take alone. */
const roleLimit = 8;
const secret = 'mover';

let source: TestServer;
let target: TestServer;
let state: string;
let manager: JobManager;
let names: { large: string; empty: string; odd: string };
let count = 0;

const ordinary = `
CREATE TABLE orders (id int PRIMARY KEY, note text NOT NULL);
CREATE INDEX ON orders (note);
CREATE SEQUENCE tickets; SELECT nextval('tickets') FROM generate_series(1, 41);`;

beforeAll(async () => {
  [source, target] = await Promise.all([
    startServer({ name: 'groups-source', settings: { wal_level: 'logical', max_replication_slots: '1' } }),
    startServer({ name: 'groups-target' }),
  ]);
  for (const server of [source, target]) {
    await server.run(`CREATE ROLE mover LOGIN PASSWORD '${secret}' CONNECTION LIMIT ${roleLimit}`);
  }
  state = await freshState('groups');
  manager = await start();
}, 60_000);
afterAll(async () => {
  await manager?.stop('end of the tests');
  await Promise.all([source?.stop(), target?.stop()]);
  rmSync(state, { recursive: true, force: true });
});

beforeEach(() => {
  count += 1;
  names = { large: `large_${count}`, empty: `empty ${count}`, odd: `${quoted} ${count}` };
});

function start(): Promise<JobManager> {
  const logger = pino({ level: 'silent' });
  return JobManager.open({ state, secretKey: null, concurrency: 2, pgBinDir: null, logger, role: 'daemon' });
}

/** The three of a test, on both sides, all of the role that moves them. */
async function threeDatabases(rows = 20_000): Promise<string[]> {
  for (const name of Object.values(names)) {
    await source.createDatabase(name, 'OWNER mover');
    await target.createDatabase(name, 'OWNER mover');
  }
  await asMover(
    source,
    names.large,
    `${ordinary} INSERT INTO orders SELECT g, repeat('x', 200) || g FROM generate_series(1, ${rows}) g; ANALYZE`,
  );
  await asMover(
    source,
    names.odd,
    `${ordinary} INSERT INTO orders SELECT g, 'odd ' || g FROM generate_series(1, 300) g; ANALYZE`,
  );
  return Object.values(names);
}

/** As the role that owns it: a superuser's tables could not be handed over. */
async function asMover(server: TestServer, database: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: server.url(database, 'mover', secret) });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

function request(changes: Partial<GroupRequestInput> & Pick<GroupRequestInput, 'databases'>): GroupRequest {
  return GroupRequest.parse({
    source: { url: source.url('postgres', 'mover', secret) },
    target: { url: target.url('postgres', 'mover', secret) },
    ...changes,
  });
}

const member = (group: GroupView, database: string): JobView => {
  const found = group.jobs.find((job) => job.source?.database === database);
  if (found === undefined) throw new Error(`no job for ${database}`);
  return found;
};

async function settled(id: string, on: JobManager = manager): Promise<GroupView> {
  for (const job of (await on.groups.get(id)).jobs) await over(job.id, on);
  return await on.groups.get(id);
}

async function over(id: string, on: JobManager): Promise<void> {
  const ends: readonly JobView['state'][] = ['completed', 'failed', 'blocked', 'cancelled', 'paused'];
  for (let look = 0; look < 600; look += 1) {
    if (ends.includes((await on.get(id)).state)) return;
    await sleep(50);
  }
  throw new Error(`job ${id} did not end: ${(await on.get(id)).summary}`);
}

async function expectEqual(...databases: string[]): Promise<void> {
  for (const database of databases) {
    const there = await contentsOf(source, database);
    expect(await contentsOf(target, database), database).toEqual(there);
  }
}

async function logsOf(job: JobView, on: JobManager = manager): Promise<string> {
  const events = await on.logs(job.id, {});
  return events.map((event) => (event.type === 'log' ? event.message : '')).join('\n');
}

test('all databases that can be moved are planned, the largest first; each other one is named with its reason', async () => {
  await threeDatabases();
  await source.run(`CREATE DATABASE closed_${count} ALLOW_CONNECTIONS false`);
  await source.run(`CREATE DATABASE private_${count}`);
  await source.run(`REVOKE CONNECT ON DATABASE private_${count} FROM PUBLIC`);
  await source.createDatabase(`new_${count}`, 'OWNER mover');
  const group = await manager.groups.create(request({ databases: 'all', options: { createDatabase: true } }));
  const plan = new Map(group.plan.map((entry) => [entry.database, entry]));
  expect(group.plan[0]).toMatchObject({ database: names.large, skipped: null, target: 'exists' });
  expect(plan.get(names.odd)).toMatchObject({ skipped: null, job: member(group, names.odd).id });
  expect(plan.get(`new_${count}`)).toMatchObject({ target: 'will be made', skipped: null });
  expect(plan.get('template1')?.skipped).toContain('template');
  expect(plan.get(`closed_${count}`)?.skipped).toContain('no connections');
  expect(plan.get(`private_${count}`)).toMatchObject({ skipped: expect.stringContaining('CONNECT'), bytes: null });
  expect(plan.get('postgres')?.skipped).toContain('nothing was ever made');
  expect(group.jobs.map((job) => job.state)).toEqual(group.jobs.map(() => 'draft'));
  expect(group.jobs.every((job) => job.group?.id === group.id)).toBe(true);
  expect((await manager.groups.list()).map(({ id }) => id)).toContain(group.id);
  await manager.groups.remove(group.id);
  await expect(manager.groups.get(group.id)).rejects.toMatchObject({ code: 'GROUP_NOT_FOUND' });

  // Something in the maintenance database is somebody's.
  await source.run('CREATE TABLE kept (i int)');
  const second = await manager.groups.create(request({ databases: 'all' }));
  expect(second.plan.find(({ database }) => database === 'postgres')?.skipped).toBeNull();
  expect(second.plan.find(({ database }) => database === `new_${count}`)?.target).toBe('missing');
  await source.run('DROP TABLE kept');
  await manager.groups.remove(second.id);

  for (const name of ['nowhere', `closed_${count}`, `private_${count}`]) {
    const asked = manager.groups.create(request({ databases: [names.odd, name] }));
    await expect(asked).rejects.toMatchObject({ code: 'DATABASES_MISSING', message: expect.stringContaining(name) });
  }
});

test('one that is blocked stops no other; connections are divided; a retry runs that one only', async () => {
  const databases = await threeDatabases();
  await target.run('CREATE TABLE in_the_way (i int)', names.empty);
  let most = 0;
  const watching = new AbortController();
  const watch = (async () => {
    while (!watching.signal.aborted) {
      for (const server of [source, target]) {
        const rows = await server.query(`SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = 'mover'`);
        most = Math.max(most, Number(rows[0]?.['n']));
      }
      await sleep(10);
    }
  })();
  const { id } = await manager.groups.create(
    request({ databases, start: true, options: { tableJobs: 6, indexJobs: 6 } }),
  );
  const group = await settled(id);
  watching.abort();
  await watch;
  expect(group.totals).toMatchObject({ databases: 3, done: 2, failed: 1, verified: false, rows: 20_300 });
  expect(member(group, names.empty)).toMatchObject({ state: 'blocked', error: { code: 'TARGET_NOT_EMPTY' } });
  for (const name of [names.large, names.odd]) expect(member(group, name)).toMatchObject({ verified: true });
  await expectEqual(names.large, names.odd);
  // Together they never asked for more than there is, and none was turned away.
  expect(most).toBeGreaterThan(2);
  expect(most).toBeLessThanOrEqual(roleLimit);
  for (const job of group.jobs) expect(await logsOf(job)).not.toMatch(/too many connections/i);
  const share = /up to (\d+) connections/;
  for (const name of [names.large, names.odd]) {
    const words = (await reasonsOf(member(group, name).id)).find((reason) => share.test(reason)) ?? '';
    expect(Number(share.exec(words)?.[1])).toBe(roleLimit / 2);
  }

  await target.run('DROP TABLE in_the_way', names.empty);
  const asked = await manager.groups.act(id, 'retry');
  expect(asked.members.map(({ database, outcome }) => [database, outcome])).toEqual(
    group.jobs.map((job) => [job.source?.database, job.state === 'blocked' ? 'done' : 'left']),
  );
  const after = await settled(id);
  expect(after.totals).toMatchObject({ done: 3, failed: 0, verified: true, fraction: 1 });
  expect(member(after, names.large).lastSeq).toBe(member(group, names.large).lastSeq);
  await expectEqual(...databases);
});

async function reasonsOf(id: string): Promise<string[]> {
  const stop = AbortSignal.timeout(2_000);
  const reasons: string[] = [];
  const last = (await manager.get(id)).lastSeq;
  for await (const batch of manager.stream(id, 0, stop)) {
    for (const event of batch) if (event.type === 'state') reasons.push(event.reason);
    if (batch.some((event) => event.type !== 'reset' && event.seq >= last)) break;
  }
  return reasons;
}

test('an agent that was stopped in the middle goes on with all of them', async () => {
  const databases = await threeDatabases(60_000);
  // Held up, so that the stop comes while one is being copied and another waits for its turn.
  const holder = new Client({ connectionString: source.url(names.large) });
  await holder.connect();
  await holder.query('BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE');
  const { id } = await manager.groups.create(request({ databases, start: true }));
  await over(member(await manager.groups.get(id), names.odd).id, manager);
  await manager.stop('restart');
  await holder.end();
  manager = await start();
  const before = await manager.groups.get(id);
  expect(member(before, names.large).state).toBe('paused');
  expect(member(before, names.odd).state).toBe('completed');
  const { members } = await manager.groups.act(id, 'resume');
  expect(members.find(({ database }) => database === names.large)?.outcome).toBe('done');
  expect(members.find(({ database }) => database === names.odd)?.outcome).toBe('left');
  expect((await settled(id)).totals).toMatchObject({ done: 3, failed: 0, verified: true });
  await expectEqual(...databases);
});

longTest('a role that several databases need is made once, and none fails for it', async () => {
  const all = [1, 2, 3, 4].map((n) => `roles_${n}`);
  await source.run(`CREATE ROLE shared NOLOGIN; CREATE ROLE shared_group; GRANT shared_group TO shared`);
  for (const name of all) {
    await source.createDatabase(name);
    // The last one is made by its job.
    if (name !== 'roles_4') await target.createDatabase(name);
    await source.run(
      `CREATE TABLE t AS SELECT g FROM generate_series(1, 50) g; ALTER TABLE t OWNER TO shared; GRANT SELECT ON t TO shared_group`,
      name,
    );
  }
  // Somebody makes it in the very moment in which they do.
  const other = new Client({ connectionString: target.url() });
  await other.connect();
  await other.query('BEGIN; CREATE ROLE shared NOLOGIN; CREATE ROLE shared_group; GRANT shared_group TO shared');
  const { id } = await manager.groups.create({
    ...request({ databases: all, start: true, options: { roles: 'create', createDatabase: true } }),
    source: { url: source.url('postgres') },
    target: { url: target.url('postgres') },
  });
  const waiting = `SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE ROLE %shared%' AND wait_event_type = 'Lock'`;
  for (let look = 0; look < 200 && (await target.query(waiting)).length < 2; look += 1) await sleep(50);
  expect(await target.query(waiting)).toHaveLength(2);
  await other.query('COMMIT');
  await other.end();
  const group = await settled(id);
  expect(group.jobs.map((job) => ({ error: job.error, state: job.state }))).toEqual(
    all.map(() => ({ error: null, state: 'completed' })),
  );
  expect(group.totals).toMatchObject({ verified: true });
  await expectEqual(...all);
  expect(await target.query(`SELECT 1 FROM pg_auth_members WHERE member = 'shared'::regrole`)).toHaveLength(1);
});

test('live jobs are counted together against the slots of the source', async () => {
  await threeDatabases(100);
  const databases = [names.large, names.odd];
  const { id } = await manager.groups.create({
    ...request({ databases, options: { method: 'live' } }),
    source: { url: source.url('postgres') },
    target: { url: target.url('postgres') },
  });
  await manager.groups.act(id, 'validate');
  const ends: readonly string[] = ['ready', 'blocked'];
  const states = async (): Promise<string[]> => (await manager.groups.get(id)).jobs.map((job) => job.state);
  for (let look = 0; look < 200 && !(await states()).every((each) => ends.includes(each)); look += 1) await sleep(50);
  const [first] = (await manager.groups.get(id)).jobs;
  const found = (await manager.checks(first?.id ?? '')).find((check) => check.id === 'live.slots');
  expect(found).toMatchObject({ outcome: 'failed', code: 'NO_SLOT_LEFT', found: expect.stringContaining('2 jobs') });
});

test('one command moves them and says how each ended; its exit code is the worst one', async () => {
  const databases = await threeDatabases();
  await target.run('CREATE TABLE in_the_way (i int)', names.empty);
  const home = mkdtempSync(join(tmpdir(), 'pgsluice-groups-cli-'));
  const env = {
    PGSLUICE_SOURCE_URL: source.url('postgres', 'mover', secret),
    PGSLUICE_TARGET_URL: target.url('postgres', 'mover', secret),
  };
  const listed = databases.map((name) => `"${name.replaceAll('"', '""')}"`).join(',');
  try {
    const run = await runCli(['clone', '--databases', listed, '--json'], { env, state: home });
    const lines = run.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(run.code, run.stderr).toBe(3);
    expect(lines.at(-1)).toMatchObject({
      type: 'result',
      status: 'blocked',
      verified: false,
      rows: 20_300,
      databases: [
        { database: names.large, status: 'completed', verified: true, rows: 20_000 },
        { database: names.empty, status: 'blocked', error: { code: 'TARGET_NOT_EMPTY' } },
        { database: names.odd, status: 'completed', verified: true, rows: 300 },
      ].toSorted((a, b) => (orderOf(lines, a.database) < orderOf(lines, b.database) ? -1 : 1)),
    });
    expect(lines.slice(0, -1).every((line) => databases.includes(String(line['database'])))).toBe(true);
    await expectEqual(names.large, names.odd);

    await target.run('DROP TABLE in_the_way', names.empty);
    const [, id = ''] = /^Group (\w+): 3 databases/m.exec(run.stderr) ?? [];
    const again = await runCli(['retry', id], { env, state: home });
    expect(again.code, again.stderr + again.stdout).toBe(0);
    expect(again.stdout).toContain(`[${names.empty}] `);
    expect(again.stdout).toContain('3 databases: 3 completed');

    await target.run('UPDATE orders SET note = $$other$$ WHERE id = 7', names.odd);
    const compared = await runCli(['verify', '--databases', listed], { env, state: home });
    expect(compared.code, compared.stderr).toBe(4);
    expect(compared.stdout).toContain(`✗ Completed, but different ${names.odd}`);
    expect(compared.stdout).toContain(`✓ Completed and verified ${names.large}`);
    const checked = await runCli(['validate', '--databases', `"${names.odd.replaceAll('"', '""')}"`], {
      env,
      state: home,
    });
    expect(checked.code, checked.stderr).toBe(3);
    // What was only checked is forgotten again.
    const jobs = (await runCli(['jobs'], { env, state: home })).stdout.trim().split('\n');
    expect(jobs).toHaveLength(1 + 3);
    for (const line of jobs.slice(1)) expect(line).toContain(id);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}, 120_000);

/** The largest first, as far as their sizes say. */
function orderOf(lines: readonly Record<string, unknown>[], database: string): number {
  const found = lines.at(-1)?.['databases'] as { database: string }[] | undefined;
  return found?.findIndex((each) => each.database === database) ?? -1;
}
