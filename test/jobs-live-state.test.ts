import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { JobState } from '../src/contract/event.ts';
import type { JobView } from '../src/contract/job.ts';
import { JobRequest } from '../src/contract/options.ts';
import { PgsluiceError } from '../src/errors.ts';
import { JobManager, type ManagerConfig } from '../src/jobs/manager.ts';
import { Store } from '../src/store/store.ts';
import { type FakeWorld, fakeWorld } from './support/fake-live.ts';
import { type FakeRooms, fakeRooms, type Script } from './support/fake-rooms.ts';
import { longTest } from './support/long.ts';

// The states of a live job, with rooms that touch no server; test/live-jobs.test.ts has the servers.

const code = (value: string) => expect.objectContaining({ code: value });
const secretKey = 'a secret key for these tests';
let root: string;
let count = 0;
const open: JobManager[] = [];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'pgsluice-live-state-'));
  const store = await Store.open({ state: join(root, 'template'), secretKey, role: 'daemon' });
  await store.close();
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((manager) => manager.stop('end of the test')));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Agent {
  readonly state: string;
  readonly rooms: FakeRooms;
  readonly world: FakeWorld;
  manager: JobManager;
}

async function openManager(agent: Omit<Agent, 'manager'>, config: Partial<ManagerConfig> = {}): Promise<JobManager> {
  const logger = pino({ level: 'silent' });
  const base = { state: agent.state, secretKey, concurrency: 2, pgBinDir: null, logger, role: 'daemon' as const };
  const manager = await JobManager.open({ ...base, ...config }, agent.rooms);
  open.push(manager);
  return manager;
}

async function agentWith(
  changes: Partial<FakeWorld> = {},
  script: Partial<Script> = {},
  config: Partial<ManagerConfig> = {},
): Promise<Agent> {
  const state = join(root, `state-${(count += 1)}`);
  cpSync(join(root, 'template'), state, { recursive: true });
  const world = fakeWorld(changes);
  const agent = { state, world, rooms: fakeRooms(script, world) };
  return { ...agent, manager: await openManager(agent, config) };
}

/** The agent ends in order, and another one begins. */
async function again(agent: Agent, config: Partial<ManagerConfig> = {}): Promise<void> {
  const begun = Date.now();
  await agent.manager.stop('SIGTERM');
  expect(Date.now() - begun).toBeLessThan(5_000);
  agent.manager = await openManager(agent, config);
}

const request = (options: object = {}): JobRequest =>
  JobRequest.parse({
    source: { url: 'postgres://app:pw@source.example/shop' },
    target: { url: 'postgres://app:pw@target.example/shop' },
    options: { method: 'live', ...options },
    start: true,
  });

async function reach(agent: Agent, id: string, states: readonly JobState[]): Promise<JobView> {
  const end = Date.now() + 20_000;
  for (;;) {
    const view = await agent.manager.get(id);
    if (states.includes(view.state)) return view;
    if (Date.now() > end) throw new Error(`${view.state}: ${view.summary}\n${(await log(agent, id)).join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function log(agent: Agent, id: string): Promise<string[]> {
  return (await agent.manager.logs(id, { limit: 10_000 })).flatMap((e) => (e.type === 'log' ? [e.message] : []));
}

/** The states until these were the last ones. */
async function statesUntil(agent: Agent, id: string, last: readonly JobState[]): Promise<string[]> {
  const states: string[] = [];
  for await (const batch of agent.manager.stream(id, 0, new AbortController().signal)) {
    for (const message of batch) if (message.type === 'state') states.push(message.state);
    if (states.join().includes(last.join())) break;
  }
  return states;
}

async function following(agent: Agent, options: object = {}): Promise<string> {
  const { id } = await agent.manager.create(request(options));
  await reach(agent, id, ['following']);
  return id;
}

const empty = { slot: false, publication: false, progress: null, fenced: false };
const refused = new PgsluiceError({ code: 'PERMISSION_DENIED', message: 'May not.', hint: 'GRANT it.' });

describe('a live job', () => {
  test('goes through its states to the hand-over; the report has the cutover', async () => {
    const agent = await agentWith();
    const { manager, world } = agent;
    const id = await following(agent);
    while ((await manager.get(id)).live?.guardrails.length !== 1)
      await new Promise((resolve) => setTimeout(resolve, 10));
    expect(await manager.get(id)).toMatchObject({ method: 'live', live: { connected: true } });
    expect(world).toMatchObject({ slot: true, publication: true, readOnly: false, told: 0 });
    await manager.act(id, 'cutover');
    const done = await manager.waitUntilSettled(id);
    expect(done).toMatchObject({ state: 'completed', verified: true, error: null });
    expect(await statesUntil(agent, id, ['completed'])).toEqual([
      'draft',
      'validating',
      'ready',
      'running',
      'following',
      'cutting_over',
      'verifying',
      'completed',
    ]);
    expect(world).toMatchObject({ ...empty, readOnly: true });
    const report = await manager.report(id);
    expect(report).toMatchObject({ method: 'live', cutover: { downtimeMs: 5 }, verification: { verified: true } });
    expect(report.todo.join()).toContain('ALTER DATABASE shop RESET default_transaction_read_only;');
    for (const action of ['cancel', 'retry', 'start'] as const) {
      await expect(manager.act(id, action)).rejects.toThrow(code('INVALID_TRANSITION'));
    }
  });

  test('cuts over by itself when it is calm, and only then', async () => {
    const waits = { id: 'lag', state: 'waits', found: 'Behind.', remedy: '' } as const;
    const agent = await agentWith({ guardrails: [waits] });
    const id = await following(agent, { cutover: 'auto' });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect((await agent.manager.get(id)).state).toBe('following');
    agent.world.guardrails = [{ ...waits, state: 'ok' }];
    expect(await agent.manager.waitUntilSettled(id)).toMatchObject({ state: 'completed', verified: true });
  }, 30_000);

  test('a guardrail that blocks refuses a cutover with its remedy; one that was rolled back leaves it following', async () => {
    const blocks = { id: 'prepared-transactions', state: 'blocks', found: 'Two.', remedy: 'COMMIT PREPARED.' } as const;
    const agent = await agentWith({ guardrails: [blocks], cutover: 'rolls-back' });
    const id = await following(agent);
    await expect(agent.manager.act(id, 'cutover')).rejects.toThrow(
      expect.objectContaining({ code: 'CUTOVER_BLOCKED', hint: 'COMMIT PREPARED.' }),
    );
    agent.world.guardrails = [];
    await agent.manager.act(id, 'cutover');
    await reach(agent, id, ['following']);
    await statesUntil(agent, id, ['following', 'cutting_over', 'following']);
    expect((await log(agent, id)).join('\n')).toContain('The cutover was rolled back: It took too long.');
    expect(agent.world).toMatchObject({ readOnly: false, fenced: false, told: 0, slot: true });
    agent.world.cutover = 'hands-over';
    await agent.manager.act(id, 'cutover');
    expect(await agent.manager.waitUntilSettled(id)).toMatchObject({ state: 'completed', verified: true });
  });

  test('an automatic cutover that met what does not pass by itself pauses, and is made again after a resume', async () => {
    const differ = { code: 'CUTOVER_COUNTS_DIFFER', message: 'Rows are missing.', hint: 'Find out why.' };
    const agent = await agentWith({ cutover: 'rolls-back', cutoverError: new PgsluiceError(differ) });
    const id = await following(agent, { cutover: 'auto' });
    expect(await reach(agent, id, ['paused'])).toMatchObject({ error: differ });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(agent.world.calls.filter((call) => call === 'cutover')).toHaveLength(1);
    expect(agent.world).toMatchObject({ slot: true, readOnly: false, fenced: false, told: 0 });
    agent.world.cutover = 'hands-over';
    await agent.manager.act(id, 'resume');
    expect(await agent.manager.waitUntilSettled(id)).toMatchObject({ state: 'completed', verified: true });
    expect(agent.world.calls.filter((call) => call === 'cutover')).toHaveLength(2);
  }, 30_000);

  longTest(
    'an automatic cutover that met what is beyond repair fails the job and leaves nothing',
    async () => {
      const fault = new PgsluiceError({ code: 'TARGET_DIVERGED', message: 'A row is gone.', hint: 'Begin anew.' });
      const agent = await agentWith({ cutover: 'rolls-back', cutoverError: fault });
      const id = await following(agent, { cutover: 'auto' });
      expect(await reach(agent, id, ['failed'])).toMatchObject({ error: { code: 'TARGET_DIVERGED' } });
      expect(agent.world).toMatchObject({ ...empty, readOnly: false, told: 0 });
    },
    30_000,
  );

  test('a cutover that was asked for waits for guardrails that are not answered at first', async () => {
    const agent = await agentWith();
    const id = await following(agent);
    agent.world.silent = true;
    const asked = agent.manager.act(id, 'cutover').then(
      () => 'begun',
      (error: unknown) => String(error),
    );
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(agent.world.calls).not.toContain('cutover');
    agent.world.silent = false;
    expect(await asked).toBe('begun');
    expect(await agent.manager.waitUntilSettled(id)).toMatchObject({ state: 'completed', verified: true });
  });

  test('takes no place of others while it follows', async () => {
    const agent = await agentWith({}, {}, { concurrency: 1 });
    await following(agent);
    const handOver = { webhook: 'http://hook.example/' };
    const copy = await agent.manager.create(request({ method: 'copy', handOver }));
    expect(await agent.manager.waitUntilSettled(copy.id)).toMatchObject({ state: 'completed', method: 'copy' });
    // It has no hand-over, and says so.
    expect((await log(agent, copy.id)).join('\n')).toContain('the command or webhook is not called');
    expect((await agent.manager.report(copy.id)).todo.join()).toContain(
      'Point your application to the target by hand.',
    );
    expect(agent.world.told).toBe(0);
    await expect(agent.manager.act(copy.id, 'cutover')).rejects.toThrow(code('NOT_A_LIVE_JOB'));
  });

  longTest('tells the same figures only now and then', async () => {
    const agent = await agentWith();
    const id = await following(agent);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const { lastSeq } = await agent.manager.get(id);
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    expect((await agent.manager.get(id)).lastSeq - lastSeq).toBeLessThanOrEqual(1);
  });
});

describe('pause and stop', () => {
  test('what a person paused stays paused through a restart; what an agent left goes on by itself, without a second copy', async () => {
    const agent = await agentWith();
    const id = await following(agent);
    await agent.manager.act(id, 'pause');
    await again(agent);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await agent.manager.get(id)).toMatchObject({ state: 'paused', error: null });
    expect((await agent.manager.get(id)).summary).toContain('keeps its WAL');
    await agent.manager.act(id, 'resume');
    await reach(agent, id, ['following']);
    await again(agent);
    await reach(agent, id, ['following']);
    expect((await log(agent, id)).join('\n')).toMatch(/The agent was stopped \(SIGTERM\)\. Nothing is lost: .*cancel/);
    expect(agent.world.calls.filter((call) => call.startsWith('copy'))).toHaveLength(3);
    expect(agent.world.calls.filter((call) => call === 'slot')).toHaveLength(1);
    await agent.manager.act(id, 'pause');
    await agent.manager.act(id, 'resume');
    expect((await agent.manager.get(id)).state).toBe('following');
    await agent.manager.act(id, 'cutover');
    expect(await agent.manager.waitUntilSettled(id)).toMatchObject({ state: 'completed', verified: true });
  });

  test('a command line that only looks does not let jobs go on', async () => {
    const agent = await agentWith();
    const id = await following(agent);
    await again(agent, { role: 'foreground' });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect((await agent.manager.get(id)).state).toBe('paused');
  });

  test('a stop in the middle of the copy loses no table that is in', async () => {
    const agent = await agentWith({ tables: 40, tableMs: 20 });
    const { id } = await agent.manager.create(request());
    await reach(agent, id, ['running']);
    while (agent.world.calls.filter((call) => call.startsWith('copy')).length < 5)
      await new Promise((resolve) => setTimeout(resolve, 10));
    await again(agent);
    await reach(agent, id, ['following']);
    const copied = agent.world.calls.filter((call) => call.startsWith('copy'));
    expect(copied).toHaveLength(40);
    expect(new Set(copied).size).toBe(40);
    expect(agent.world.calls.filter((call) => call.startsWith('schema'))).toEqual(['schema replaceTarget=false']);
  });

  test('drift pauses with what to do, and resume goes on when it is done', async () => {
    const agent = await agentWith();
    const id = await following(agent);
    agent.world.drift = new PgsluiceError({ code: 'SCHEMA_DRIFT', message: 'Column c is new.', hint: 'ALTER it.' });
    const paused = await reach(agent, id, ['paused']);
    expect(paused).toMatchObject({ error: { code: 'SCHEMA_DRIFT', hint: 'ALTER it.' } });
    expect(paused.summary).toContain('Column c is new.');
    await agent.manager.act(id, 'resume');
    await reach(agent, id, ['paused']);
    agent.world.drift = null;
    await agent.manager.act(id, 'resume');
    expect(await reach(agent, id, ['following'])).toMatchObject({ error: null });
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect((await agent.manager.get(id)).state).toBe('following');
  });

  test('what the target refuses pauses, and following is taken up again', async () => {
    const agent = await agentWith();
    const id = await following(agent);
    agent.world.followError = refused;
    expect(await reach(agent, id, ['paused'])).toMatchObject({ error: { code: 'PERMISSION_DENIED' } });
    expect(agent.world.slot).toBe(true);
    await agent.manager.act(id, 'resume');
    await reach(agent, id, ['following']);
    while (agent.world.calls.filter((call) => call === 'follow').length < 2)
      await new Promise((resolve) => setTimeout(resolve, 10));
  });
});

describe('two live jobs of one agent', () => {
  test("one that drops leftovers leaves what the other, paused and in nobody's hands, needs to go on", async () => {
    const agent = await agentWith();
    const first = await following(agent);
    await agent.manager.act(first, 'pause');
    await again(agent);
    agent.world.slots.add('pgsluice_of_a_job_that_nobody_knows');
    const second = await following(agent, { dropLeftovers: true });
    expect([...agent.world.slots].toSorted()).toEqual([`pgsluice_${first}`, `pgsluice_${second}`].toSorted());
    const asked = agent.rooms.validated.at(-1);
    expect(asked?.job).toBe(second);
    expect([...(asked?.ownNames ?? [])].toSorted()).toEqual([`pgsluice_${first}`, `pgsluice_${second}`].toSorted());
    await agent.manager.act(first, 'cancel');
    const third = await following(agent);
    expect(agent.rooms.validated.at(-1)?.ownNames).not.toContain(`pgsluice_${first}`);
    expect(agent.world.slots).toEqual(new Set([`pgsluice_${second}`, `pgsluice_${third}`]));
  });
});

describe('a hand-over command', () => {
  const options = { handOver: { command: ['/bin/switch'] } };
  const refusal = expect.objectContaining({
    code: 'COMMANDS_NOT_ALLOWED',
    hint: expect.stringContaining('serve --allow-commands'),
  });

  test('is refused before anything is made by an agent that was not started to run it', async () => {
    const agent = await agentWith();
    await expect(agent.manager.create(request(options))).rejects.toThrow(refusal);
    expect(await agent.manager.list()).toEqual([]);
    await again(agent, { allowCommands: true });
    const { id } = await agent.manager.create({ ...request(options), start: false });
    await again(agent);
    for (const action of ['validate', 'start'] as const)
      await expect(agent.manager.act(id, action)).rejects.toThrow(refusal);
    expect(agent.world).toMatchObject({ ...empty, calls: [] });
  });

  test('of a job under way keeps it paused, with the reason, until an agent that may run it resumes it', async () => {
    const agent = await agentWith({}, {}, { allowCommands: true });
    const id = await following(agent, options);
    await again(agent);
    while ((await agent.manager.get(id)).error === null) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(await agent.manager.get(id)).toMatchObject({ state: 'paused', error: { code: 'COMMANDS_NOT_ALLOWED' } });
    await expect(agent.manager.act(id, 'resume')).rejects.toThrow(refusal);
    expect(agent.world.slot).toBe(true);
    await again(agent, { allowCommands: true });
    await agent.manager.act(id, 'resume');
    await reach(agent, id, ['following']);
    await agent.manager.act(id, 'cutover');
    expect(await agent.manager.waitUntilSettled(id)).toMatchObject({ state: 'completed', error: null });
    expect(agent.world.told).toBe(1);
  });
});

describe('the removal of a live job', () => {
  test('that this agent works on, or holds paused, is refused', async () => {
    const agent = await agentWith();
    const id = await following(agent);
    await expect(agent.manager.remove(id)).rejects.toThrow(code('JOB_RUNNING'));
    await agent.manager.act(id, 'pause');
    await expect(agent.manager.remove(id)).rejects.toThrow(code('JOB_RUNNING'));
    expect(agent.world.slot).toBe(true);
  });

  test.each(['paused', 'failed'] as const)('that is %s takes everything of it off both servers', async (state) => {
    const agent = await agentWith(state === 'failed' ? { failTables: 1 } : {});
    const { id } = await agent.manager.create(request());
    await reach(agent, id, [state === 'failed' ? 'failed' : 'following']);
    if (state === 'paused') {
      await agent.manager.act(id, 'pause');
      await again(agent);
    }
    expect(agent.world).toMatchObject({ slot: true, slots: new Set([`pgsluice_${id}`]) });
    await agent.manager.remove(id);
    expect(agent.world).toMatchObject({ ...empty, slots: new Set(), readOnly: false });
    await expect(agent.manager.get(id)).rejects.toThrow(code('JOB_NOT_FOUND'));
  });

  test.each(['paused', 'failed', 'cancelled'] as const)(
    'that is %s is refused while a server is away, and done when it is back',
    async (state) => {
      const agent = await agentWith(state === 'failed' ? { failTables: 1 } : {});
      const { id } = await agent.manager.create(request());
      await reach(agent, id, [state === 'failed' ? 'failed' : 'following']);
      if (state === 'paused') {
        await agent.manager.act(id, 'pause');
        await again(agent);
      }
      agent.world.reachable = false;
      if (state === 'cancelled') await agent.manager.act(id, 'cancel');
      await expect(agent.manager.remove(id)).rejects.toThrow(
        expect.objectContaining({
          code: 'JOB_LEFT_TRACES',
          message: expect.stringContaining(`slot pgsluice_${id}`),
          hint: expect.stringContaining('again'),
        }),
      );
      expect((await agent.manager.get(id)).state).toBe(state === 'failed' ? 'failed' : 'cancelled');
      expect(agent.world.slots).toEqual(new Set([`pgsluice_${id}`]));
      agent.world.reachable = true;
      await agent.manager.remove(id);
      expect(agent.world.slots).toEqual(new Set());
      await expect(agent.manager.get(id)).rejects.toThrow(code('JOB_NOT_FOUND'));
    },
  );

  test('that may have handed over asks the target first, and keeps the source as it is', async () => {
    const agent = await agentWith({ cutover: 'hangs-after-commit' });
    const id = await following(agent);
    await agent.manager.act(id, 'cutover');
    while (agent.world.progress?.finished !== true) await new Promise((resolve) => setTimeout(resolve, 10));
    await again(agent, { role: 'foreground' });
    await expect(agent.manager.remove(id)).rejects.toThrow(code('ALREADY_HANDED_OVER'));
    expect(agent.world).toMatchObject({ slot: true, readOnly: true });
    expect((await agent.manager.get(id)).state).toBe('paused');
  });
});

describe('the end of a job that did not come to its cutover', () => {
  test.each(['following', 'paused', 'cutting_over'] as const)('cancel while %s leaves nothing', async (where) => {
    const agent = await agentWith({ cutover: 'hangs-before' });
    const id = await following(agent);
    if (where === 'paused') await agent.manager.act(id, 'pause');
    if (where === 'cutting_over') await agent.manager.act(id, 'cutover');
    expect(await agent.manager.act(id, 'cancel')).toMatchObject({ state: 'cancelled', error: null });
    expect(agent.world).toMatchObject({ ...empty, readOnly: false });
    expect((await agent.manager.get(id)).summary).toContain('Nothing of the job is left on the source.');
  });

  test('a source that is away does not hold up a cancel; the next agent cleans up', async () => {
    const agent = await agentWith();
    const id = await following(agent);
    agent.world.reachable = false;
    expect(await agent.manager.act(id, 'cancel')).toMatchObject({ state: 'cancelled' });
    expect((await agent.manager.get(id)).summary).toContain('keeps its WAL for replication slot');
    expect((await log(agent, id)).join('\n')).toContain('The source does not answer. The agent tries again');
    expect(agent.world.slot).toBe(true);
    agent.world.reachable = true;
    await again(agent);
    while (agent.world.slot) await new Promise((resolve) => setTimeout(resolve, 10));
    while (!(await log(agent, id)).join().includes('Nothing of this job is left'))
      await new Promise((resolve) => setTimeout(resolve, 10));
    expect((await agent.manager.get(id)).summary).toContain('Nothing of the job is left on the source.');
  });

  test.each([
    ['give-up', 'SLOT_GIVEN_UP'],
    ['lost', 'SLOT_LOST'],
  ] as const)('a slot judged %s fails it, also while paused; a retry starts from zero', async (verdict, told) => {
    const agent = await agentWith();
    const id = await following(agent);
    await agent.manager.act(id, 'pause');
    agent.world.slotVerdict = verdict;
    expect(await reach(agent, id, ['failed'])).toMatchObject({ error: { code: told, hint: 'Begin anew.' } });
    expect(agent.world).toMatchObject(empty);
    agent.world.slotVerdict = 'ok';
    await agent.manager.act(id, 'retry');
    await reach(agent, id, ['following']);
    expect(agent.world.calls.filter((call) => call.startsWith('schema'))).toEqual([
      'schema replaceTarget=false',
      'schema replaceTarget=true',
    ]);
    expect(agent.world.calls.filter((call) => call === 'copy t0')).toHaveLength(2);
  });

  test('a failed table keeps the slot for a retry of what is missing', async () => {
    const agent = await agentWith({ failTables: 1 });
    const { id } = await agent.manager.create(request());
    const failed = await reach(agent, id, ['failed']);
    expect(failed).toMatchObject({ snapshotAlive: true, error: { code: 'TABLES_FAILED' } });
    expect(failed.summary).toContain('Retry copies only what is missing.');
    expect(agent.world.slot).toBe(true);
    agent.world.failTables = 0;
    await agent.manager.act(id, 'retry');
    await reach(agent, id, ['following']);
    expect(agent.world.calls.filter((call) => call.startsWith('copy'))).toEqual(['copy t1', 'copy t2', 'copy t0']);
  });

  test('which is given up when it makes the source keep too much', async () => {
    const agent = await agentWith({ failTables: 1 });
    const { id } = await agent.manager.create(request());
    await reach(agent, id, ['failed']);
    expect(agent.world.slot).toBe(true);
    agent.world.slotVerdict = 'give-up';
    while (agent.world.slot) await new Promise((resolve) => setTimeout(resolve, 10));
    while ((await agent.manager.get(id)).snapshotAlive) await new Promise((resolve) => setTimeout(resolve, 10));
  });

  test('which is given up after a while', async () => {
    const agent = await agentWith({ failTables: 1 }, {}, { holdSnapshotMs: 50 });
    const { id } = await agent.manager.create(request());
    await reach(agent, id, ['failed']);
    while (agent.world.slot) await new Promise((resolve) => setTimeout(resolve, 10));
    while ((await agent.manager.get(id)).snapshotAlive) await new Promise((resolve) => setTimeout(resolve, 10));
    agent.world.failTables = 0;
    await agent.manager.act(id, 'retry');
    await reach(agent, id, ['following']);
    expect(agent.world.calls).toContain('schema replaceTarget=true');
  });
});

describe('an agent that ends in the middle of a cutover', () => {
  test('before the commit: the source takes writes again, and the job follows on', async () => {
    const agent = await agentWith({ cutover: 'hangs-before' });
    const id = await following(agent);
    await agent.manager.act(id, 'cutover');
    await again(agent);
    await reach(agent, id, ['following']);
    expect(agent.world).toMatchObject({ readOnly: false, fenced: false, told: 0 });
  });

  test('right after the commit: the source is fenced and asked again, then the world is told', async () => {
    const agent = await agentWith({ cutover: 'hangs-after-commit' });
    const id = await following(agent, { handOver: { webhook: 'http://hook.example/' } });
    await agent.manager.act(id, 'cutover');
    while (agent.world.progress?.finished !== true) await new Promise((resolve) => setTimeout(resolve, 10));
    await again(agent);
    const done = await reach(agent, id, ['completed']);
    expect(done).toMatchObject({ verified: true, error: null });
    expect(agent.world.calls).toContain('fence again');
    expect(agent.world).toMatchObject({ ...empty, told: 1, readOnly: true });
    // As it was before the first fence, not as the second one found it.
    expect((await agent.manager.report(id)).todo.join()).toContain('ALTER DATABASE shop RESET');
  });

  test('right after the commit, and the source was written since: nobody is told', async () => {
    const late = [{ schema: 'public', name: 'orders', changes: 3 }];
    const agent = await agentWith({ cutover: 'hangs-after-commit', late });
    const id = await following(agent, { handOver: { webhook: 'http://hook.example/' } });
    await agent.manager.act(id, 'cutover');
    while (agent.world.progress?.finished !== true) await new Promise((resolve) => setTimeout(resolve, 10));
    await again(agent);
    const failed = await reach(agent, id, ['failed']);
    expect(failed.error?.code).toBe('CUTOVER_SPLIT');
    expect(failed.error?.message).toContain('public.orders (3)');
    const undo = /ALTER DATABASE "?shop"? RESET default_transaction_read_only;/;
    expect(failed.error?.hint).toMatch(undo);
    expect(failed.summary).toMatch(undo);
    expect((await agent.manager.report(id)).todo.at(-1)).toMatch(undo);
    expect(agent.world).toMatchObject({ told: 0, fenced: false, slot: false });
    await expect(agent.manager.act(id, 'retry')).rejects.toThrow(code('ALREADY_HANDED_OVER'));
  });

  test('in the hook: it is run again; what was the moment of the cutover is not claimed to be compared', async () => {
    const agent = await agentWith({ cutover: 'hangs-in-hook' });
    const id = await following(agent, { handOver: { webhook: 'http://hook.example/' } });
    await agent.manager.act(id, 'cutover');
    while ((await agent.manager.get(id)).state !== 'cutting_over' || agent.world.progress?.finished !== true)
      await new Promise((resolve) => setTimeout(resolve, 10));
    await new Promise((resolve) => setTimeout(resolve, 100));
    await expect(agent.manager.act(id, 'cancel')).rejects.toThrow(code('ALREADY_HANDED_OVER'));
    await agent.manager.stop('SIGTERM');
    agent.world.cutover = 'hands-over';
    agent.manager = await openManager(agent);
    const done = await reach(agent, id, ['completed']);
    expect(done).toMatchObject({ verified: false, error: null });
    expect(agent.world).toMatchObject({ ...empty, told: 1, readOnly: true });
    expect((await agent.manager.report(id)).todo.join()).toContain('pgsluice verify');
  });

  test.each(['what the job made is off the servers', 'that is stored, and the end is not'])(
    'when %s: the end is brought about, and the target that has taken over is not touched',
    async (when) => {
      const early = when.startsWith('what');
      let reached: () => void = () => undefined;
      const moment = new Promise<void>((resolve) => (reached = resolve));
      let go: () => void = () => undefined;
      const after = new Promise<void>((resolve) => (go = resolve));
      const stand = async (): Promise<void> => {
        reached();
        await after;
      };
      const agent = await agentWith(early ? { cleaned: stand } : {});
      if (!early) {
        agent.rooms.readApplications = async () => {
          await stand();
          return [];
        };
      }
      const id = await following(agent);
      await agent.manager.act(id, 'cutover');
      await moment;
      // The disk as a kill -9 leaves it at this moment.
      const state = join(root, `state-${(count += 1)}`);
      cpSync(agent.state, state, { recursive: true });
      rmSync(join(state, 'agent.lock'), { force: true });
      agent.world.calls.splice(0);
      agent.rooms.calls.splice(0);
      agent.rooms.validated.splice(0);
      const next = { ...agent, state, rooms: fakeRooms({}, fakeWorld({ readOnly: true })) };
      next.manager = await openManager(next);
      const done = await reach(next, id, ['completed']);
      expect(done).toMatchObject({ verified: false, error: null });
      expect((await next.manager.report(id)).todo.join()).toContain('pgsluice verify');
      expect((await next.manager.report(id)).todo.join()).toContain('read-only');
      expect(next.rooms.validated).toEqual([]);
      expect(next.rooms.calls).toEqual([]);
      expect((await log(next, id)).join('\n')).not.toMatch(/anew|not a usable copy/);
      go();
      await reach(agent, id, ['completed']);
    },
  );

  test('a cancel of an interrupted job asks the target whether it has taken over', async () => {
    const agent = await agentWith({ cutover: 'hangs-after-commit' });
    const id = await following(agent);
    await agent.manager.act(id, 'cutover');
    while (agent.world.progress?.finished !== true) await new Promise((resolve) => setTimeout(resolve, 10));
    await again(agent, { role: 'foreground' });
    await expect(agent.manager.act(id, 'cancel')).rejects.toThrow(code('ALREADY_HANDED_OVER'));
    expect((await agent.manager.get(id)).state).toBe('paused');
    agent.world.reachable = false;
    await expect(agent.manager.act(id, 'cancel')).rejects.toThrow(code('CONNECTION_REFUSED'));
    agent.world.reachable = true;
    await agent.manager.act(id, 'resume');
    await reach(agent, id, ['completed']);
  });
});
