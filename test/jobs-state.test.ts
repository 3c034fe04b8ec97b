import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { JobEvent, StreamMessage } from '../src/contract/event.ts';
import { JobRequest } from '../src/contract/options.ts';
import { JobManager, type ManagerConfig } from '../src/jobs/manager.ts';
import { jobs } from '../src/store/schema.ts';
import { Store } from '../src/store/store.ts';
import { type ChildProgram, compileChild } from './support/child.ts';
import { type FakeRooms, fakeRooms, type Script } from './support/fake-rooms.ts';
import { startServer, type TestServer } from './support/servers.ts';

const code = (value: string) => expect.objectContaining({ code: value });
const secretKey = 'a secret key for these tests';
let root: string;
let server: TestServer;
let child: ChildProgram;
let count = 0;
const open: JobManager[] = [];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'pgsluice-jobs-'));
  // The first start of an embedded store takes seconds; each test gets a copy of one that is made already.
  const store = await Store.open({ state: join(root, 'template'), secretKey, role: 'daemon' });
  await store.close();
  server = await startServer({ name: 'jobs', settings: { synchronous_commit: 'on' } });
  child = await compileChild('agent-child.ts');
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((manager) => manager.stop('end of the test')));
});
afterAll(async () => {
  await child.remove();
  await server.stop();
  rmSync(root, { recursive: true, force: true });
});

function freshDirectory(): string {
  const directory = join(root, `state-${(count += 1)}`);
  cpSync(join(root, 'template'), directory, { recursive: true });
  return directory;
}

async function freshState(kind: string): Promise<string> {
  return kind === 'embedded' ? freshDirectory() : await server.createDatabase(`state_${(count += 1)}`);
}

async function start(state: string, rooms: FakeRooms, changes: Partial<ManagerConfig> = {}): Promise<JobManager> {
  const logger = pino({ level: 'silent' });
  const config = { state, secretKey, concurrency: 2, pgBinDir: null, logger, role: 'daemon' as const, ...changes };
  const manager = await JobManager.open(config, rooms);
  open.push(manager);
  return manager;
}

async function agent(changes: Partial<Script> = {}, config: Partial<ManagerConfig> = {}) {
  const state = freshDirectory();
  const rooms = fakeRooms(changes);
  return { state, rooms, manager: await start(state, rooms, config) };
}

const request = (options: object = {}, begin = false): JobRequest =>
  JobRequest.parse({
    source: { url: 'postgres://app:s3cret-of-source@source.example/shop' },
    target: { url: 'postgres://app:s3cret-of-target@target.example/shop' },
    options,
    start: begin,
  });

async function allEvents(manager: JobManager, id: string): Promise<JobEvent[]> {
  const { lastSeq } = await manager.get(id);
  const events: JobEvent[] = [];
  const reading = new AbortController();
  for await (const batch of manager.stream(id, 0, reading.signal)) {
    for (const message of batch) if (message.type !== 'reset') events.push(message);
    if ((events.at(-1)?.seq ?? 0) >= lastSeq) break;
  }
  return events;
}

const states = (events: readonly JobEvent[]) => events.flatMap((e) => (e.type === 'state' ? [e.state] : []));
const lines = (events: readonly JobEvent[]) => events.flatMap((e) => (e.type === 'log' ? [e.message] : []));

async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('it did not happen in 30 s');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe('one job', () => {
  test('goes from draft to completed; the result is its last event, the report says the same', async () => {
    const { manager } = await agent();
    const draft = await manager.create(request());
    expect(draft).toMatchObject({ state: 'draft', lastSeq: 1, name: 'shop from source.example to target.example' });
    await expect(manager.report(draft.id)).rejects.toThrow(code('REPORT_NOT_READY'));
    expect((await manager.act(draft.id, 'validate')).state).not.toBe('draft');
    expect(await manager.waitUntilSettled(draft.id)).toMatchObject({
      state: 'ready',
      startedAt: null,
      finishedAt: null,
    });
    await manager.act(draft.id, 'start');
    const done = await manager.waitUntilSettled(draft.id);
    expect(done).toMatchObject({
      state: 'completed',
      verified: true,
      error: null,
      totals: { tables: 3, tablesDone: 3 },
    });
    expect(done.summary).toContain('Done and verified');

    const events = await allEvents(manager, draft.id);
    expect(events.map((e) => e.seq)).toEqual(events.map((_, i) => i + 1));
    expect(states(events)).toEqual([
      'draft',
      'validating',
      'ready',
      'validating',
      'ready',
      'running',
      'verifying',
      'completed',
    ]);
    expect(events.at(-1)).toMatchObject({ type: 'result', status: 'completed', verified: true, rows: 30, error: null });
    expect(lines(events)).toContain('Method auto takes copy: nobody asked for little downtime.');
    expect(await manager.report(draft.id)).toMatchObject({
      state: 'completed',
      moved: { rows: 30 },
      verification: { verified: true },
    });
    expect(await manager.reportHtml(draft.id)).toContain('<h1>');
    expect((await manager.tables(draft.id)).map((t) => [t.name, t.state])).toEqual([
      ['t0', 'copied'],
      ['t1', 'copied'],
      ['t2', 'copied'],
    ]);
    expect(await manager.checks(draft.id)).toHaveLength(1);
    expect(await manager.logs(draft.id, { search: 'T1 LINE' })).toMatchObject([{ message: 'table t1 line 0' }]);
    expect(await manager.logs(draft.id, { level: 'error' })).toEqual([]);
    expect(manager.metrics()).toMatchObject({
      store: 'embedded',
      running: 0,
      rowsCopied: 30,
      jobs: { completed: 1, draft: 0 },
    });
    expect(JSON.stringify([done, events, await manager.list()])).not.toContain('s3cret');
    await expect(manager.act(draft.id, 'start')).rejects.toThrow(code('INVALID_TRANSITION'));
    await expect(manager.act(draft.id, 'cutover')).rejects.toThrow(code('NOT_A_LIVE_JOB'));
    await manager.remove(draft.id);
    await expect(manager.get(draft.id)).rejects.toThrow(code('JOB_NOT_FOUND'));
    expect(await manager.list()).toEqual([]);
  });

  test('differences complete it unverified; without verification nothing is claimed', async () => {
    const { manager } = await agent({ differences: 2 });
    const one = await manager.create(request({}, true));
    expect(await manager.waitUntilSettled(one.id)).toMatchObject({ state: 'completed', verified: false });
    expect((await manager.get(one.id)).summary).toContain('2 differences');
    const two = await manager.create(request({ verify: 'none' }, true));
    expect(await manager.waitUntilSettled(two.id)).toMatchObject({ state: 'completed', verified: false });
    expect((await allEvents(manager, one.id)).at(-1)).toMatchObject({ type: 'result', differences: [{}, {}] });
  });

  test('blocked says why and can be tried again', async () => {
    const { manager, rooms } = await agent({ blocked: true });
    const { id } = await manager.create(request({}, true));
    const blocked = await manager.waitUntilSettled(id);
    expect(blocked).toMatchObject({ state: 'blocked', error: { code: 'TARGET_NOT_EMPTY' } });
    expect((await allEvents(manager, id)).at(-1)).toMatchObject({ type: 'result', status: 'blocked' });
    rooms.script.blocked = false;
    await manager.act(id, 'retry');
    expect(await manager.waitUntilSettled(id)).toMatchObject({ state: 'completed', error: null });
    expect(await manager.checks(id)).toMatchObject([{ outcome: 'passed' }]);
    expect(rooms.calls.filter((call) => call.startsWith('clone'))).toEqual(['clone replaceTarget=false']);
  });
});

describe('a failed copy', () => {
  test('keeps its snapshot for a retry of what is missing', async () => {
    const { manager, rooms } = await agent({ failFirst: 1 });
    const { id } = await manager.create(request({}, true));
    const failed = await manager.waitUntilSettled(id);
    expect(failed).toMatchObject({ state: 'failed', snapshotAlive: true, error: { code: 'TABLES_FAILED' } });
    expect(failed.totals.tablesFailed).toBe(1);
    await manager.act(id, 'retry');
    expect(await manager.waitUntilSettled(id)).toMatchObject({ state: 'completed', snapshotAlive: false });
    expect(rooms.calls).toEqual([
      'validate ownTarget=false',
      'clone replaceTarget=false',
      'run',
      'run',
      'verify snapshot=kept',
      'close',
    ]);
    expect((await allEvents(manager, id)).filter((e) => e.type === 'result')).toHaveLength(2);
  });

  test('whose snapshot was given up is copied anew over what it left', async () => {
    const { manager, rooms } = await agent({ failFirst: 1 }, { holdSnapshotMs: 50 });
    const { id } = await manager.create(request({}, true));
    await manager.waitUntilSettled(id);
    await until(async () => !(await manager.get(id)).snapshotAlive);
    expect(rooms.calls.at(-1)).toBe('close');
    await manager.act(id, 'retry');
    expect(await manager.waitUntilSettled(id)).toMatchObject({ state: 'completed' });
    expect(rooms.calls).toContain('validate ownTarget=true');
    expect(rooms.calls).toContain('clone replaceTarget=true');
    expect(lines(await allEvents(manager, id)).join('\n')).toMatch(/snapshot was kept for.*[\s\S]*fresh snapshot/);
  });

  test('a verification that failed is repeated without copying again', async () => {
    const { manager, rooms } = await agent({ verifyFails: true });
    const { id } = await manager.create(request({}, true));
    expect(await manager.waitUntilSettled(id)).toMatchObject({ state: 'failed', snapshotAlive: true });
    rooms.script.verifyFails = false;
    await manager.act(id, 'retry');
    expect(await manager.waitUntilSettled(id)).toMatchObject({ state: 'completed', verified: true });
    expect(rooms.calls.filter((call) => call === 'run')).toHaveLength(1);
  });
});

describe('a running job', () => {
  const long = { tables: 100_000, tableMs: 2 };

  test('pauses and resumes under its snapshot', async () => {
    const { manager, rooms } = await agent({ tables: 40, tableMs: 5 });
    const { id } = await manager.create(request({}, true));
    await until(async () => (await manager.get(id)).totals.tablesDone > 2);
    expect(await manager.act(id, 'pause')).toMatchObject({ state: 'paused', snapshotAlive: true });
    expect(await manager.waitUntilSettled(id)).toMatchObject({ state: 'paused' });
    await new Promise((resolve) => setTimeout(resolve, 100));
    const still = (await manager.get(id)).totals.tablesDone;
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect((await manager.get(id)).totals.tablesDone).toBe(still);
    await manager.act(id, 'resume');
    expect(await manager.waitUntilSettled(id)).toMatchObject({ state: 'completed' });
    expect(rooms.calls.filter((call) => call === 'run')).toHaveLength(1);
  });

  test('is cancelled, and the log says what the target is worth', async () => {
    const { manager, rooms } = await agent(long);
    const { id } = await manager.create(request({}, true));
    await until(async () => (await manager.get(id)).totals.tablesDone > 2);
    await expect(manager.remove(id)).rejects.toThrow(code('JOB_RUNNING'));
    expect(await manager.act(id, 'cancel')).toMatchObject({ state: 'cancelled' });
    const events = await allEvents(manager, id);
    expect(events.at(-1)).toMatchObject({ type: 'result', status: 'cancelled' });
    expect(lines(events).at(-1)).toMatch(
      /^Cancelled by a person\. The target holds \d+ complete tables of .*not a usable copy/,
    );
    expect(rooms.calls.at(-1)).toBe('close');
    expect(await manager.waitUntilSettled(id)).toMatchObject({ state: 'cancelled' });
  });

  test('waits for a free place, and can be cancelled while it waits', async () => {
    const { manager } = await agent(long, { concurrency: 1 });
    const first = await manager.create(request({}, true));
    const second = await manager.create(request({}, true));
    expect(second).toMatchObject({ state: 'draft' });
    expect(second.summary).toContain('Waiting for a free place');
    expect(manager.metrics()).toMatchObject({ running: 1, queued: 1 });
    expect(await manager.act(second.id, 'cancel')).toMatchObject({ state: 'cancelled' });
    await manager.act(first.id, 'cancel');
    const third = await manager.create(request({}, true));
    await until(async () => (await manager.get(third.id)).state === 'running');
  });

  test('a stop leaves it resumable within 5 s, and readers see the last event', async () => {
    const { manager, state, rooms } = await agent(long);
    const { id } = await manager.create(request({}, true));
    await until(async () => (await manager.get(id)).totals.tablesDone > 2);
    const seen: StreamMessage[] = [];
    const reader = (async () => {
      for await (const batch of manager.stream(id, 0, new AbortController().signal)) seen.push(...batch);
    })();
    const begun = Date.now();
    await manager.stop('SIGTERM');
    expect(Date.now() - begun).toBeLessThan(5_000);
    await reader;
    expect(seen.at(-1)).toMatchObject({ type: 'log', message: expect.stringContaining('SIGTERM') as string });

    rooms.script.tables = 3;
    const again = await start(state, rooms);
    const paused = await again.get(id);
    expect(paused).toMatchObject({ state: 'paused', snapshotAlive: false, lastSeq: seen.length });
    await again.act(id, 'resume');
    expect(await again.waitUntilSettled(id)).toMatchObject({ state: 'completed', verified: true });
    expect(rooms.calls).toContain('clone replaceTarget=true');
  });

  test('that hears no signal does not hold up the stop', async () => {
    const { manager, state, rooms } = await agent({ deaf: true, tables: 1, tableMs: 20_000 });
    const { id } = await manager.create(request({}, true));
    await until(async () => (await manager.get(id)).phase === 'copy');
    const begun = Date.now();
    await manager.stop('SIGTERM');
    expect(Date.now() - begun).toBeLessThan(5_000);
    expect(await (await start(state, rooms)).get(id)).toMatchObject({ state: 'paused' });
  });
});

test.each([
  { when: 'as it goes on', first: { maxEventsPerJob: 500, everyMs: 200 }, later: null },
  { when: 'when it starts', first: {}, later: { maxEventsPerJob: 500, everyMs: 3_600_000 } },
])('an agent keeps what it keeps of events within bounds, $when', async ({ first, later }) => {
  const { manager, state, rooms } = await agent({ tables: 4, linesPerTable: 1_000 }, { retention: first });
  const { id } = await manager.create(request({}, true));
  const { lastSeq } = await manager.waitUntilSettled(id);
  expect(lastSeq).toBeGreaterThan(4_000);
  if (later !== null) await manager.stop('SIGTERM');
  const looked = later === null ? manager : await start(state, rooms, { retention: later });
  const kept = async (): Promise<number> => {
    for await (const [message] of looked.stream(id, 0, new AbortController().signal)) {
      if (message !== undefined) return lastSeq - (message.type === 'reset' ? message.firstSeq : message.seq) + 1;
    }
    return 0;
  };
  // Whole batches of at most 500.
  await until(async () => (await kept()) <= 1_000);
  expect(await kept()).toBeGreaterThanOrEqual(500);
});

describe.each(['embedded', 'postgresql'])('with the state %s', (kind) => {
  test('20,000 events reach concurrent readers gapless', async () => {
    const rooms = fakeRooms({ tables: 10, linesPerTable: 2_000, tableMs: 5 });
    const manager = await start(await freshState(kind), rooms);
    const { id } = await manager.create(request());
    const read = async (delayMs: number) => {
      const seen: number[] = [];
      for await (const batch of manager.stream(id, 0, new AbortController().signal)) {
        for (const message of batch) {
          expect(message.type).not.toBe('reset');
          if (message.type !== 'reset') seen.push(message.seq);
        }
        if (batch.at(-1)?.type === 'result') return seen;
        await new Promise((resolve) => setTimeout(resolve, delayMs));
      }
      return seen;
    };
    const readers = [read(0), read(1), read(50)];
    const begun = Date.now();
    await manager.act(id, 'start');
    await until(async () => (await manager.get(id)).totals.tablesDone > 2);
    readers.push(read(0));
    const done = await manager.waitUntilSettled(id);
    const seconds = (Date.now() - begun) / 1000;
    expect(done.lastSeq).toBeGreaterThan(20_000);
    const wanted = Array.from({ length: done.lastSeq }, (_, i) => i + 1);
    for (const seen of await Promise.all(readers)) expect(seen).toEqual(wanted);
    const logged = (await allEvents(manager, id)).filter((e) => e.type === 'log' && e.seq > 15_000);
    expect(await manager.logs(id, { limit: 10_000, after: 15_000 })).toEqual(logged);
    expect(seconds).toBeLessThan(60);
  });

  test('a job whose agent was killed is found paused, and goes on', async () => {
    const state = await freshState(kind);
    const victim = child.start([state, secretKey]);
    const id = await victim.line();
    await victim.kill9();
    const rooms = fakeRooms();
    const manager = await start(state, rooms);
    const paused = await manager.get(id);
    expect(paused).toMatchObject({ state: 'paused', snapshotAlive: false });
    const events = await allEvents(manager, id);
    expect(events.map((e) => e.seq)).toEqual(events.map((_, i) => i + 1));
    expect(lines(events).at(-1)).toContain('ended without stopping it');
    await manager.act(id, 'resume');
    expect(await manager.waitUntilSettled(id)).toMatchObject({ state: 'completed' });
    expect(rooms.calls.slice(0, 2)).toEqual(['validate ownTarget=true', 'clone replaceTarget=true']);
  });
});

test('a job whose agent was killed while it marked it as interrupted is found by the next one', async () => {
  const state = freshDirectory();
  const first = await start(state, fakeRooms());
  const { id } = await first.create(request());
  await first.stop('end of the test');
  const store = await Store.open({ state, secretKey, role: 'daemon' });
  // It was taken from a dead agent, and nothing was told of it yet.
  await store.db.update(jobs).set({ state: 'validating', held: false, ownerId: store.agentId });
  await store.close();
  const manager = await start(state, fakeRooms());
  expect((await manager.get(id)).state).toBe('paused');
  await manager.act(id, 'resume');
  expect(await manager.waitUntilSettled(id)).toMatchObject({ state: 'ready' });
});

describe('two agents on one PostgreSQL', () => {
  test('both see a job live, only its holder acts on it', async () => {
    const state = await freshState('postgresql');
    const a = await start(state, fakeRooms({ tables: 200, tableMs: 10 }));
    const b = await start(state, fakeRooms());
    const { id } = await a.create(request({}, true));
    await until(async () => (await b.get(id)).state === 'running');
    for (const action of ['pause', 'cancel'] as const) {
      await expect(b.act(id, action)).rejects.toThrow(code('JOB_HELD_ELSEWHERE'));
    }
    await expect(b.remove(id)).rejects.toThrow(code('JOB_HELD_ELSEWHERE'));
    const seen: number[] = [];
    for await (const batch of b.stream(id, 0, new AbortController().signal)) {
      for (const message of batch) if (message.type !== 'reset') seen.push(message.seq);
      if (batch.at(-1)?.type === 'result') break;
    }
    expect(seen).toEqual(seen.map((_, i) => i + 1));
    expect(await b.waitUntilSettled(id)).toMatchObject({ state: 'completed', verified: true });
    await b.remove(id);
    await expect(a.get(id)).rejects.toThrow(code('JOB_NOT_FOUND'));
  });

  test('a store that goes away and comes back loses no event', async () => {
    const state = await freshState('postgresql');
    const rooms = fakeRooms({ tables: 400, tableMs: 10 });
    const manager = await start(state, rooms);
    const { id } = await manager.create(request({}, true));
    await until(async () => (await manager.get(id)).totals.tablesDone > 5);
    await server.restart('immediate');
    const done = await manager.waitUntilSettled(id).catch(async () => {
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      return await manager.waitUntilSettled(id);
    });
    expect(done).toMatchObject({ state: 'completed', verified: true });
    const events = await allEvents(manager, id);
    expect(events.map((e) => e.seq)).toEqual(events.map((_, i) => i + 1));
    expect(lines(events).filter((line) => line.startsWith('table t'))).toHaveLength(400);
  });
});
