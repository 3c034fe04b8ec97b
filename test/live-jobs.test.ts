import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import pino from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { JobState } from '../src/contract/event.ts';
import type { JobView } from '../src/contract/job.ts';
import { JobRequest } from '../src/contract/options.ts';
import { JobManager } from '../src/jobs/manager.ts';
import { freshState } from './support/fresh-state.ts';
import { contentsOf } from './support/contents.ts';
import { lastingTraces } from './support/live-job.ts';
import { longTest } from './support/long.ts';
import { startServer, type TestServer } from './support/servers.ts';

const code = (value: string) => expect.objectContaining({ code: value });

let source: TestServer;
let target: TestServer;
let state: string;
let manager: JobManager;
let database: string;
let count = 0;

const schema = `
CREATE TABLE accounts (aid int PRIMARY KEY, bid int NOT NULL, balance bigint NOT NULL, filler text);
CREATE TABLE branches (bid int PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE history (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, aid int NOT NULL REFERENCES accounts, delta int NOT NULL, at timestamptz DEFAULT now());
ALTER TABLE accounts ADD CONSTRAINT accounts_bid_fkey FOREIGN KEY (bid) REFERENCES branches;
CREATE INDEX ON accounts (bid);
CREATE SEQUENCE tickets; SELECT nextval('tickets') FROM generate_series(1, 41);
CREATE TABLE seen (what text PRIMARY KEY, n int NOT NULL);
CREATE FUNCTION count_history() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO seen VALUES ('history', 1) ON CONFLICT (what) DO UPDATE SET n = seen.n + 1; RETURN NEW; END $$;
CREATE TRIGGER counts AFTER INSERT ON history FOR EACH ROW EXECUTE FUNCTION count_history();
CREATE VIEW rich AS SELECT aid FROM accounts WHERE balance > 50;
CREATE MATERIALIZED VIEW totals AS SELECT bid, count(*) AS n FROM accounts GROUP BY bid;
INSERT INTO branches SELECT g, 0 FROM generate_series(1, 5) g;
INSERT INTO accounts SELECT g, 1 + g % 5, 0, repeat('x', 80) FROM generate_series(1, 5000) g;
ANALYZE`;

beforeAll(async () => {
  [source, target] = await Promise.all([
    startServer({ name: 'jobs-source', settings: { wal_level: 'logical' } }),
    startServer({ name: 'jobs-target' }),
  ]);
  state = await freshState('live-jobs');
  manager = await start();
});
afterAll(async () => {
  await manager?.stop('end of the tests');
  await Promise.all([source?.stop(), target?.stop()]);
  rmSync(state, { recursive: true, force: true });
});

beforeEach(async () => {
  count += 1;
  database = `bank_${count}`;
  await source.createDatabase(database);
  await target.createDatabase(database);
  await source.run(schema, database);
});

let writing: Writing | null = null;
afterEach(async () => {
  await writing?.stop();
  writing = null;
});

async function start(): Promise<JobManager> {
  const logger = pino({ level: 'silent' });
  return await JobManager.open({ state, secretKey: null, concurrency: 2, pgBinDir: null, logger, role: 'daemon' });
}

interface Writing {
  /** Transactions that the source has acknowledged. */
  committed(): number;
  stop(): Promise<void>;
}

/** Transfers like those of pgbench, until the source refuses them or `stop` is called. */
async function startWriter(): Promise<Writing> {
  const client = new Client({ connectionString: source.url(database), application_name: 'bank' });
  client.on('error', () => undefined);
  await client.connect();
  const asked = { stop: false };
  let committed = 0;
  const running = (async () => {
    for (let n = 1; !asked.stop; n += 1) {
      const aid = 1 + ((n * 7919) % 5000);
      await client.query(
        `BEGIN; UPDATE accounts SET balance = balance + ${n % 100} WHERE aid = ${aid};
         UPDATE branches SET balance = balance + ${n % 100} WHERE bid = 1 + ${aid} % 5;
         INSERT INTO history (aid, delta) VALUES (${aid}, ${n % 100}); SELECT nextval('tickets'); COMMIT`,
      );
      committed += 1;
      await sleep(2);
    }
  })().catch(() => undefined);
  return {
    committed: () => committed,
    stop: async () => {
      asked.stop = true;
      await running;
      await client.end().catch(() => undefined);
    },
  };
}

const request = (options: object = {}): JobRequest =>
  JobRequest.parse({
    source: { url: source.url(database) },
    target: { url: target.url(database) },
    options: { method: 'live', tableJobs: 2, indexJobs: 2, ...options },
    start: true,
  });

async function until(id: string, what: string, ask: (view: JobView) => boolean, ms = 60_000): Promise<JobView> {
  const end = Date.now() + ms;
  for (;;) {
    const view = await manager.get(id);
    if (ask(view)) return view;
    if (Date.now() > end || (['failed', 'blocked', 'cancelled'].includes(view.state) && ms > 1))
      throw new Error(
        `waited for ${what}: ${view.state} ${view.summary} ${JSON.stringify(view.error)} ${JSON.stringify(view.live)}\n${(await lines(id)).slice(-40).join('\n')}`,
      );
    await sleep(50);
  }
}

const reach = (id: string, states: readonly JobState[], ms?: number) =>
  until(id, states.join(' or '), (view) => states.includes(view.state), ms);

const caughtUp = (id: string) =>
  until(
    id,
    'the target to follow',
    (view) => view.state === 'following' && view.live?.connected === true && view.live.lagBytes < 2_000_000,
  );

async function lines(id: string): Promise<string[]> {
  return (await manager.logs(id, { limit: 10_000 })).flatMap((event) =>
    event.type === 'log' ? [`${event.level} ${event.message}`] : [],
  );
}

async function nothingIsLeft(): Promise<void> {
  expect(await lastingTraces(target, database)).toEqual([]);
  expect(await lastingTraces(source, database)).toEqual([]);
}

/** Cuts over and waits for the end. */
async function cutOver(id: string): Promise<JobView> {
  await manager.act(id, 'cutover');
  return await reach(id, ['completed', 'following', 'paused']);
}

test('follows a writer, cuts over, and is verified; nothing is left but the read-only source', async () => {
  writing = await startWriter();
  const { id } = await manager.create(request());
  await caughtUp(id);
  await sleep(1_500);
  const before = await manager.get(id);
  expect(before).toMatchObject({ method: 'live', error: null, totals: { tables: 4, tablesDone: 4, fraction: 1 } });
  expect(before.live?.applied.transactions).toBeGreaterThan(0);
  expect(before.live?.guardrails.map(({ id: guardrail }) => guardrail)).toContain('lag');
  expect(before.summary).toMatch(/^Following the source, .* The source stays fully usable\.$/);
  await expect(manager.act(id, 'start')).rejects.toThrow(code('INVALID_TRANSITION'));

  const done = await cutOver(id);
  expect(done).toMatchObject({ state: 'completed', verified: true, error: null });
  expect(done.summary).toContain('equals the source as of the cutover');
  expect(await contentsOf(target, database)).toEqual(await contentsOf(source, database));
  const [triggers] = await target.query(`SELECT n FROM seen`, database);
  const [counted] = await target.query(`SELECT count(*)::int AS n FROM history`, database);
  // Fired on the source alone, once a row.
  expect(triggers).toEqual(counted);
  expect(Number(counted?.['n'])).toBeGreaterThanOrEqual(writing.committed());
  expect(await target.query('SELECT count(*)::int AS n FROM pg_constraint WHERE NOT convalidated', database)).toEqual([
    { n: 0 },
  ]);
  // The clean-up ends what an agent that died has left, never this agent's own watch.
  expect((await lines(id)).filter((line) => /Ended process|cannot be measured/.test(line))).toEqual([]);
  const report = await manager.report(id);
  expect(report).toMatchObject({
    method: 'live',
    verification: { verified: true, differences: [] },
    cutover: { fencedBy: 'lock' },
  });
  expect(report.cutover?.downtimeMs).toBeGreaterThan(0);
  expect(report.cutover?.steps.map(({ step }) => step)).toContain('hand-over');
  expect(report.phases.map(({ phase }) => phase)).toEqual(
    expect.arrayContaining(['validate', 'slot', 'schema', 'copy', 'follow', 'cutover', 'verify']),
  );
  expect(await lastingTraces(target, database)).toEqual([]);
  const left = await lastingTraces(source, database, 2_000);
  expect(left).toEqual(['setting default_transaction_read_only=on']);
  await expect(source.run(`INSERT INTO seen VALUES ('late', 1)`, database)).rejects.toThrow(/read-only/);
  const undo = report.todo.find((line) => line.includes('ALTER DATABASE'));
  expect(undo).toContain(`ALTER DATABASE "${database}" RESET default_transaction_read_only;`);
  // What was told is what works; and a target in use is not emptied by anybody.
  await source.run(/ALTER DATABASE .*;/.exec(undo ?? '')?.[0] ?? '', 'postgres');
  await source.run(`INSERT INTO seen VALUES ('late', 1)`, database);
  await expect(manager.act(id, 'cancel')).rejects.toThrow(code('INVALID_TRANSITION'));
  await expect(manager.act(id, 'retry')).rejects.toThrow(code('INVALID_TRANSITION'));
});

test('an agent that stopped goes on where the target stands, and copies nothing twice', async () => {
  writing = await startWriter();
  const { id } = await manager.create(request());
  await caughtUp(id);
  await manager.stop('SIGTERM');
  expect(await target.query('SELECT count(*)::int AS n FROM pgsluice_live.tables', database)).toEqual([{ n: 4 }]);
  const [before] = await target.query('SELECT snapshot FROM pgsluice_live.tables ORDER BY relation', database);
  await source.run(`INSERT INTO seen VALUES ('while nobody looked', 1)`, database);
  manager = await start();
  await caughtUp(id);
  const [after] = await target.query('SELECT snapshot FROM pgsluice_live.tables ORDER BY relation', database);
  expect(after).toEqual(before);
  const done = await cutOver(id);
  expect(done).toMatchObject({ state: 'completed', verified: true });
  expect(await contentsOf(target, database)).toEqual(await contentsOf(source, database));
});

longTest('cancel while following takes everything away, and writers notice nothing', async () => {
  writing = await startWriter();
  const { id } = await manager.create(request());
  await caughtUp(id);
  await manager.act(id, 'pause');
  expect(await reach(id, ['paused'])).toMatchObject({ error: null });
  // By these sessions another agent that drops leftovers sees that the job is alive.
  const names = (await source.sessions()).map((session) => session['application_name']);
  expect(names).toEqual(expect.arrayContaining([`pgsluice monitor ${id}`, `pgsluice schema watch ${id}`]));
  await manager.act(id, 'resume');
  await caughtUp(id);
  expect(await manager.act(id, 'cancel')).toMatchObject({ state: 'cancelled' });
  const committed = writing.committed();
  await nothingIsLeft();
  await sleep(200);
  expect(writing.committed()).toBeGreaterThan(committed);
});

longTest(
  'columns and tables that are new on the source are carried over where that is allowed',
  async () => {
    writing = await startWriter();
    const { id } = await manager.create(request({ carrySchemaChanges: true }));
    await caughtUp(id);
    await source.run(
      `ALTER TABLE accounts ADD COLUMN note text DEFAULT 'none'; UPDATE accounts SET note = 'x' WHERE aid < 50;
     CREATE TABLE fresh (id bigserial PRIMARY KEY, v text); INSERT INTO fresh (v) SELECT 'v' || g FROM generate_series(1, 200) g;
     CREATE INDEX fresh_v ON fresh (v); ALTER TABLE seen DROP COLUMN IF EXISTS nothing;
     CREATE VIEW noted AS SELECT aid FROM accounts WHERE note = 'x'`,
      database,
    );
    await source.run(`INSERT INTO fresh (v) VALUES ('later')`, database);
    await sleep(7_000);
    await caughtUp(id);
    const done = await cutOver(id);
    expect(done).toMatchObject({ state: 'completed', error: null, verified: true });
    expect(await contentsOf(target, database)).toEqual(await contentsOf(source, database));
    expect(await target.query('SELECT count(*)::int AS n FROM noted', database)).toEqual([{ n: 49 }]);
  },
  120_000,
);

test('where it is not allowed the job pauses with the statements, and goes on once they were run', async () => {
  writing = await startWriter();
  const { id } = await manager.create(request());
  await caughtUp(id);
  await source.run(
    `ALTER TABLE accounts ADD COLUMN note text; UPDATE accounts SET note = 'x' WHERE aid < 50`,
    database,
  );
  const paused = await reach(id, ['paused']);
  expect(paused.error?.code).toBe('SCHEMA_DRIFT');
  await manager.act(id, 'resume');
  expect(await reach(id, ['paused'])).toMatchObject({ error: { code: 'SCHEMA_DRIFT' } });
  const statement = /ALTER TABLE [^;]*;/.exec(paused.error?.hint ?? '')?.[0] ?? '';
  await target.run(statement, database);
  await manager.act(id, 'resume');
  await caughtUp(id);
  const done = await cutOver(id);
  expect(done).toMatchObject({ state: 'completed', error: null, verified: true });
  expect(await contentsOf(target, database)).toEqual(await contentsOf(source, database));
}, 120_000);

longTest(
  'a target that took over while the source was written is told apart by the stream, and nobody is sent to it',
  async () => {
    const { id } = await manager.create(request());
    await caughtUp(id);
    await manager.stop('SIGTERM');
    // As an agent leaves it that dies between the target's commit and the hand-over.
    await target.run(`UPDATE pgsluice_live.progress SET finished = true`, database);
    await source.run(`INSERT INTO seen VALUES ('late', 1), ('later', 2); DELETE FROM accounts WHERE aid = 1`, database);
    manager = await start();
    const failed = await reach(id, ['failed']).catch(() => manager.get(id));
    expect(failed.error).toMatchObject({ code: 'CUTOVER_SPLIT' });
    expect(failed.error?.message).toContain('public.accounts (1)');
    expect(failed.error?.message).toContain('public.seen (2)');
    await expect(manager.act(id, 'retry')).rejects.toThrow(code('ALREADY_HANDED_OVER'));
    expect(await lastingTraces(target, database)).toEqual([]);
  },
);
