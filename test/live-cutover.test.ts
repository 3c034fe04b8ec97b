import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, type QueryResultRow } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { CutoverStep } from '../src/contract/live.ts';
import { PgsluiceError, cancelledError } from '../src/errors.ts';
import { type CutoverInput, type CutoverOutcome, type SequenceLike, runCutover } from '../src/live/cutover.ts';
import { type Fence, type ReadOnlyState, chooseFence, undoReadOnly } from '../src/live/fence.ts';
import { WriteClock, judgeGuardrails, readSourceFacts, readTargetFacts } from '../src/live/guardrails.ts';
import { runHandOver } from '../src/live/hand-over.ts';
import { dropProgress, ensureProgress, finishSql, takeOver } from '../src/live/progress.ts';
import { qualified, quoteLiteral } from '../src/postgres/quote.ts';
import { type Session, openSession } from '../src/postgres/session.ts';
import { type ConnectionSettings, parseEndpoint } from '../src/postgres/settings.ts';
import { type CuttableProxy, startProxy } from './support/proxy.ts';
import { startRoughLine } from './support/rough-line.ts';
import { type TestServer, startServer } from './support/servers.ts';

const JOB = 'job-7';
const TABLES = ['orders', 'items'].map((name) => ({ schema: 'shop', name }));
const SCHEMA = `
  CREATE SCHEMA shop;
  CREATE TABLE shop.orders (id bigserial PRIMARY KEY, n int NOT NULL DEFAULT 0);
  CREATE TABLE shop.items (id bigint PRIMARY KEY, order_id bigint NOT NULL);
  CREATE SEQUENCE shop.untouched`;

let server: TestServer;
let controller: AbortController;
const clients: Client[] = [];
const fences: Fence[] = [];
const proxies: CuttableProxy[] = [];

beforeAll(async () => {
  server = await startServer({ name: 'cutover', settings: { wal_level: 'logical' } });
});

afterAll(async () => {
  await server?.stop();
});

beforeEach(async () => {
  controller = new AbortController();
  for (const database of ['src', 'dst']) {
    await server.createDatabase(database);
    await server.run(SCHEMA, database);
  }
  await server.run(
    'INSERT INTO shop.orders (n) SELECT 1 FROM generate_series(1, 50); INSERT INTO shop.items SELECT i, i FROM generate_series(1, 50) i',
    'src',
  );
  await withSession('dst', async (session) => {
    await ensureProgress(session, JOB);
    await takeOver(session, JOB);
  });
});

afterEach(async () => {
  controller.abort();
  await Promise.all(fences.splice(0).map((fence) => fence.lift()));
  await Promise.all(clients.splice(0).map((client) => client.end().catch(() => undefined)));
  await Promise.all(proxies.splice(0).map((proxy) => proxy.close()));
  const left = await server.sessions();
  for (const database of ['src', 'dst']) await server.run(`DROP DATABASE ${database} WITH (FORCE)`);
  if (left.length > 0) throw new Error(`sessions of ours are left: ${JSON.stringify(left)}`);
});

const settingsOf = (database: string, port = server.port): ConnectionSettings => ({
  ...parseEndpoint({ url: server.url(database) }, 'source'),
  port,
});

async function withSession<T>(database: string, use: (session: Session) => Promise<T>): Promise<T> {
  const signal = new AbortController().signal;
  const session = await openSession(settingsOf(database), { signal, side: 'target', purpose: 'test' });
  try {
    return await use(session);
  } finally {
    await session.close();
  }
}

async function connect(database: string): Promise<Client> {
  const client = new Client({ connectionString: server.url(database), application_name: 'web' });
  client.on('error', () => undefined);
  await client.connect();
  clients.push(client);
  return client;
}

async function write(client: Client, sql: string): Promise<string> {
  try {
    await client.query(sql);
    return 'done';
  } catch (error) {
    const code: unknown = Reflect.get(Object(error), 'code');
    return typeof code === 'string' ? code : 'lost';
  }
}

async function rows<R extends QueryResultRow>(database: string, sql: string): Promise<R[]> {
  const client = await connect(database);
  return (await client.query<R>(sql)).rows;
}

/** Brings the target to what the source holds; stands in for the follower. */
async function copyOver(): Promise<void> {
  for (const { name } of TABLES) {
    const source = await rows<{ rows: string }>(
      'src',
      `SELECT coalesce(json_agg(t), '[]')::text AS rows FROM shop.${name} t`,
    );
    await server.run(
      `BEGIN; DELETE FROM shop.${name};
       INSERT INTO shop.${name} SELECT * FROM json_populate_recordset(NULL::shop.${name}, ${quoteLiteral(source[0]?.rows ?? '[]')}); COMMIT`,
      'dst',
    );
  }
}

const SEQUENCES = ['orders_id_seq', 'untouched'];

async function readSequences(session: Session): Promise<SequenceLike[]> {
  const values: SequenceLike[] = [];
  for (const name of SEQUENCES) {
    const [row] = await session.query<{ last_value: string; is_called: boolean }>(
      `SELECT last_value, is_called FROM shop.${name}`,
    );
    if (row !== undefined) values.push({ schema: 'shop', name, lastValue: row.last_value, isCalled: row.is_called });
  }
  return values;
}

async function writeSequences(session: Session, values: readonly SequenceLike[]): Promise<void> {
  for (const { schema, name, lastValue, isCalled } of values) {
    await session.query('SELECT setval($1::regclass, $2::bigint, $3)', [qualified(schema, name), lastValue, isCalled]);
  }
}

interface Seen {
  outcome: CutoverOutcome;
  steps: readonly CutoverStep[];
  logs: string[];
  calls: string[];
  records: (ReadOnlyState | null)[];
}

async function cutOver(more: Partial<CutoverInput> = {}): Promise<Seen> {
  const seen: Omit<Seen, 'outcome'> = { steps: [], logs: [], calls: [], records: [] };
  const call = (what: string): void => void seen.calls.push(what);
  const outcome = await runCutover({
    job: JOB,
    source: settingsOf('src'),
    target: settingsOf('dst'),
    prepare: () => Promise.resolve({ detail: 'prepared', tables: TABLES }),
    options: { cutoverTimeout: 10 },
    signal: controller.signal,
    readGuardrails: () => Promise.resolve([{ id: 'lag', state: 'ok', found: 'None.', remedy: '' }]),
    drainTo: async () => {
      call('drain');
      await copyOver();
    },
    pauseApply: () => {
      call('hold');
      return Promise.resolve(() => call('release'));
    },
    readSequences,
    writeSequences,
    finish: async (target, sequences) => {
      await target.run('ALTER TABLE shop.items ADD FOREIGN KEY (order_id) REFERENCES shop.orders NOT VALID');
      await writeSequences(target, sequences);
      return { detail: '1 foreign key' };
    },
    finishProgressSql: finishSql(JOB, 1n),
    openSourceSnapshot: () => Promise.resolve({ detail: 'source' }),
    openTargetSnapshot: () => {
      call('target snapshot');
      return Promise.resolve({ detail: 'target' });
    },
    recordReadOnly: (state) => Promise.resolve(void seen.records.push(state)),
    recordHandedOver: () => Promise.resolve(call('handed over')),
    handOver: () => {
      call('told');
      return Promise.resolve({ detail: 'Told.' });
    },
    dropSlot: () => Promise.resolve(call('slot dropped')),
    onStep: (steps) => {
      seen.steps = steps;
    },
    log: (_level, message) => void seen.logs.push(message),
    ...more,
  });
  if (outcome.kind === 'handed-over') fences.push(outcome.fence);
  return { ...seen, outcome };
}

/** What a rollback has to leave: nothing of ours, and a source that takes writes from everybody. */
async function expectUntouched(seen: Seen): Promise<void> {
  expect(await server.sessions()).toEqual([]);
  expect(await rows('src', `SELECT FROM pg_db_role_setting WHERE setrole = 0`)).toEqual([]);
  expect(await rows('src', `SELECT FROM pg_locks WHERE mode = 'ShareLock' AND locktype = 'relation'`)).toEqual([]);
  expect(await write(await connect('src'), 'INSERT INTO shop.orders (n) VALUES (99)')).toBe('done');
  expect(await rows('dst', `SELECT FROM pg_constraint WHERE contype = 'f'`)).toEqual([]);
  expect(await rows('dst', 'SELECT finished FROM pgsluice_live.progress')).toEqual([{ finished: false }]);
  const times = (what: string): number => seen.calls.filter((call) => call === what).length;
  expect(times('release')).toBe(times('hold'));
  expect(seen.calls).not.toContain('handed over');
}

const rolledBack = (seen: Seen): Extract<CutoverOutcome, { kind: 'rolled-back' }> => {
  if (seen.outcome.kind !== 'rolled-back') throw new Error('it was not rolled back');
  return seen.outcome;
};
const handedOver = (seen: Seen): Extract<CutoverOutcome, { kind: 'handed-over' }> => {
  if (seen.outcome.kind !== 'handed-over') throw new Error(`rolled back: ${seen.outcome.error.message}`);
  return seen.outcome;
};

test('under writers the target takes over: no acknowledged row is lost, none is there twice, and the source refuses writes', async () => {
  const acknowledged: number[] = [];
  const database = { now: 'src' };
  const over = new AbortController();
  const writer = async (at: number): Promise<void> => {
    let client = await connect(database.now);
    for (let turn = 0; !over.signal.aborted; turn++) {
      const n = at * 100_000 + turn;
      // As an application does it: a write without an answer is looked for before it is repeated.
      while ((await write(client, `INSERT INTO shop.orders (n) VALUES (${n})`)) !== 'done') {
        await sleep(5);
        client = await connect(database.now);
        if ((await client.query(`SELECT FROM shop.orders WHERE n = ${n}`)).rowCount !== 0) break;
      }
      acknowledged.push(n);
      await sleep(5);
    }
  };
  const writers = [1, 2, 3, 4].map(writer);
  await sleep(300);
  const seen = await cutOver({
    handOver: () => {
      database.now = 'dst';
      return Promise.resolve({ detail: 'Told.' });
    },
  });
  await sleep(300);
  over.abort();
  await Promise.all(writers);
  const { report, fence, todo } = handedOver(seen);
  const taken = await rows<{ n: number }>('dst', 'SELECT n FROM shop.orders WHERE n >= 100000 ORDER BY n');
  expect(taken.map((row) => row.n)).toEqual(acknowledged.toSorted((a, b) => a - b));
  expect(acknowledged.length).toBeGreaterThan(100);
  expect(report.steps.map((step) => step.step)).toEqual([
    'prepare',
    'guardrails',
    'fence',
    'drain',
    'sequences',
    'snapshots',
    'constraints',
    'counts',
    'refuse-writes',
    'hand-over',
    'drop-slot',
  ]);
  expect(report.steps.every((step) => step.ms !== null)).toBe(true);
  expect(report).toMatchObject({ fencedBy: 'lock', lsn: expect.stringMatching(/^[0-9A-F]+\/[0-9A-F]+$/) });
  expect(report.downtimeMs).toBeGreaterThan(0);
  expect(report.downtimeMs).toBeLessThan(3000);
  expect(report.steps.find((step) => step.step === 'counts')?.detail).toMatch(
    /^\d+ rows in 2 of 2 tables are the same/,
  );
  expect(todo).toEqual([]);
  expect(seen.records).toEqual([{ database: 'src', before: null }]);
  await fence.assertStanding();
  await fence.lift();
  expect(await write(await connect('src'), 'INSERT INTO shop.orders (n) VALUES (1)')).toBe('25006');
  expect(await rows('dst', `SELECT convalidated FROM pg_constraint WHERE contype = 'f'`)).toEqual([
    { convalidated: false },
  ]);
});

test('the calls come in the order that a crash at any of them can be told from', async () => {
  const seen = await cutOver();
  handedOver(seen);
  expect(seen.calls).toEqual(['drain', 'hold', 'handed over', 'target snapshot', 'told', 'slot dropped', 'release']);
});

test('sequences that move under the fence are set again, with their is_called', async () => {
  const client = await connect('src');
  const seen = await cutOver({
    openSourceSnapshot: async () => {
      await sleep(300);
      await client.query(`SELECT nextval('shop.orders_id_seq')`);
      return { detail: 'source' };
    },
  });
  handedOver(seen);
  expect(seen.steps.find((step) => step.step === 'refuse-writes')?.detail).toContain('Set 1 sequences again');
  expect(await rows('dst', 'SELECT last_value, is_called FROM shop.orders_id_seq')).toEqual([
    { last_value: '51', is_called: true },
  ]);
  expect(await rows('dst', 'SELECT last_value, is_called FROM shop.untouched')).toEqual([
    { last_value: '1', is_called: false },
  ]);
});

test('at the deadline everything is rolled back, waiting writers go on, and the reason names the step', async () => {
  const app = await connect('src');
  let outcome: Promise<string> = Promise.resolve('');
  const seen = await cutOver({
    options: { cutoverTimeout: 1 },
    finish: async (target) => {
      await target.run('ALTER TABLE shop.items ADD FOREIGN KEY (order_id) REFERENCES shop.orders NOT VALID');
      outcome = write(app, 'INSERT INTO shop.orders (n) VALUES (5)');
      await target.run('SELECT pg_sleep(30)');
      return { detail: '' };
    },
  });
  const { error, report } = rolledBack(seen);
  expect(error).toMatchObject({ code: 'CUTOVER_TIMEOUT', retryable: true });
  expect(error.message).toContain('constraints');
  expect(report.downtimeMs).toBeNull();
  expect(await outcome).toBe('done');
  await expectUntouched(seen);
});

test('a preparation that does not end is given up in a time of its own, and no write has waited', async () => {
  let given: AbortSignal | null = null;
  const begun = Date.now();
  const seen = await cutOver({
    options: { cutoverTimeout: 1 },
    prepare: async (signal) => {
      given = signal;
      await sleep(60_000, undefined, { ref: false });
      return { detail: '', tables: TABLES };
    },
  });
  expect(Date.now() - begun).toBeLessThan(8_000);
  const { error, report } = rolledBack(seen);
  expect(error).toMatchObject({ code: 'CUTOVER_TIMEOUT', retryable: true });
  expect(error.message).toContain('not prepared within 1 s, so no write was stopped; it was at: prepare');
  expect(report).toMatchObject({ fencedBy: null, attempts: 0 });
  expect(report.steps.map((step) => step.step)).toEqual(['prepare']);
  expect(given).toMatchObject({ aborted: true });
  await expectUntouched(seen);
  // The time of the preparation does not count against the rest.
  const slow = await cutOver({
    options: { cutoverTimeout: 2 },
    prepare: async () => {
      await sleep(1_200);
      return { detail: '', tables: TABLES };
    },
    drainTo: async () => {
      await sleep(1_200);
      await copyOver();
    },
  });
  handedOver(slow);
});

test('a transaction that keeps the fence out until the deadline is named', async () => {
  const app = await connect('src');
  await app.query('BEGIN; INSERT INTO shop.orders (n) VALUES (5)');
  const seen = await cutOver({ options: { cutoverTimeout: 1 } });
  const { error } = rolledBack(seen);
  expect(error.code).toBe('CUTOVER_TIMEOUT');
  expect(error.message).toContain('role postgres, on shop.orders');
  expect(await write(app, 'COMMIT')).toBe('done');
  await expectUntouched(seen);
});

test('a failure after writes were refused makes the source writable again', async () => {
  let reads = 0;
  const idle = await connect('src');
  const seen = await cutOver({
    readSequences: async (session) => {
      reads += 1;
      if (reads === 2) throw new PgsluiceError({ code: 'TEST', message: 'No.', hint: 'x' });
      return await readSequences(session);
    },
  });
  expect(rolledBack(seen).error.code).toBe('TEST');
  expect(seen.records).toEqual([{ database: 'src', before: null }, null]);
  expect(await write(idle, 'SELECT 1')).not.toBe('done');
  await expectUntouched(seen);
});

test('a read-only default that is still on its way when the cutover is given up does not arrive afterwards', async () => {
  const line = await startRoughLine(server.port);
  const stalledMs = 4000;
  try {
    const records: (ReadOnlyState | null)[] = [];
    const seen = await cutOver({
      source: settingsOf('src', line.port),
      recordReadOnly: (state) => {
        records.push(state);
        if (state === null) return Promise.resolve();
        // What is sent in this moment, the statement itself, arrives later; other connections are fine.
        line.delay(stalledMs);
        setTimeout(() => {
          line.delay(0);
          controller.abort(cancelledError('A person cancelled it.'));
        }, 300);
        return Promise.resolve();
      },
    });
    expect(rolledBack(seen).error.code).toBe('CANCELLED');
    expect(records).toEqual([{ database: 'src', before: null }, null]);
    await sleep(stalledMs + 500);
    await expectUntouched(seen);
  } finally {
    await line.close();
  }
}, 30_000);

test('rows that differ are found before anything is handed over', async () => {
  const seen = await cutOver({
    drainTo: async () => {
      await copyOver();
      await server.run('DELETE FROM shop.items WHERE id = 7', 'dst');
    },
  });
  const { error } = rolledBack(seen);
  expect(error.code).toBe('CUTOVER_COUNTS_DIFFER');
  expect(error.message).toContain('shop.items (50 on the source, 49 on the target)');
  await expectUntouched(seen);
});

test('a fence that falls in the middle rolls back', async () => {
  const seen = await cutOver({
    finish: async (target) => {
      await server.run(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgsluice fence ${JOB}'`,
      );
      await target.run('SELECT pg_sleep(20)');
      return { detail: '' };
    },
  });
  expect(rolledBack(seen).error.code).toBe('FENCE_LOST');
  await expectUntouched(seen);
});

test('another agent that has taken the lead wins', async () => {
  await withSession('dst', (session) => takeOver(session, JOB));
  const seen = await cutOver();
  expect(rolledBack(seen).error.message).toContain('another agent has taken over this job');
  await expectUntouched(seen);
});

test('a commit that the target refuses is rolled back', async () => {
  const seen = await cutOver({
    finish: async (target) => {
      await target.run(`CREATE FUNCTION shop.no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'not today'; END$$;
        CREATE CONSTRAINT TRIGGER no AFTER UPDATE ON pgsluice_live.progress DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION shop.no()`);
      return { detail: '' };
    },
  });
  expect(rolledBack(seen).error.message).toContain('not today');
  expect(seen.records).toEqual([{ database: 'src', before: null }, null]);
  await expectUntouched(seen);
});

test('when the answer to COMMIT is lost the target is asked, and has taken over', async () => {
  const proxy = await startProxy(server.port, (chunk) => chunk.includes('COMMIT\0'));
  proxies.push(proxy);
  const seen = await cutOver({ target: settingsOf('dst', proxy.port) });
  handedOver(seen);
  expect(seen.logs).toContain('The target has committed; its answer was lost.');
  expect(seen.calls).toContain('told');
  expect(await rows('dst', 'SELECT finished FROM pgsluice_live.progress')).toEqual([{ finished: true }]);
});

test('when the target cannot be asked either, nothing is claimed and writes stay refused', async () => {
  const gone = { now: false };
  const proxy = await startProxy(server.port, (chunk) => {
    if (!chunk.includes('COMMIT\0')) return false;
    gone.now = true;
    return true;
  });
  const stopping = (async () => {
    while (!gone.now) await sleep(5);
    await proxy.close();
    await sleep(600);
    controller.abort(cancelledError('The agent stops.'));
  })();
  const error: unknown = await cutOver({ target: settingsOf('dst', proxy.port) }).catch((thrown: unknown) => thrown);
  await stopping;
  expect(error).toMatchObject({ code: 'CUTOVER_UNDECIDED' });
  expect(await server.sessions()).toEqual([]);
  expect(await write(await connect('src'), 'INSERT INTO shop.orders (n) VALUES (1)')).toBe('25006');
});

test('a job that is cancelled in the middle leaves nothing behind', async () => {
  const seen = await cutOver({
    finish: async (target) => {
      setTimeout(() => controller.abort(cancelledError('A person cancelled it.')), 100);
      await target.run('SELECT pg_sleep(20)');
      return { detail: '' };
    },
  });
  expect(rolledBack(seen).error.code).toBe('CANCELLED');
  await expectUntouched(seen);
});

test('guardrails keep it from starting: what blocks at once, what waits until the time is up', async () => {
  const blocked = await cutOver({
    readGuardrails: () =>
      Promise.resolve([{ id: 'slot', state: 'blocks', found: 'The slot is lost.', remedy: 'Start anew.' }]),
  });
  expect(rolledBack(blocked).error).toMatchObject({ code: 'CUTOVER_BLOCKED', hint: 'Start anew.', retryable: false });
  expect(blocked.calls).toEqual([]);
  let readings = 0;
  const waited = await cutOver({
    options: { cutoverTimeout: 1 },
    readGuardrails: () => {
      readings += 1;
      return Promise.resolve([{ id: 'lag', state: 'waits', found: 'Far behind.', remedy: '' }]);
    },
  });
  expect(rolledBack(waited).error).toMatchObject({ code: 'CUTOVER_NOT_CALM', retryable: true });
  expect(readings).toBeGreaterThan(1);
  await expectUntouched(waited);
});

test('what fails after the commit is left for a person, and the job goes on', async () => {
  const fail = (message: string) => () => Promise.reject(new PgsluiceError({ code: 'TEST', message, hint: 'Do it.' }));
  const seen = await cutOver({ handOver: fail('The hook said no.'), dropSlot: fail('The slot is busy.') });
  const { todo, report } = handedOver(seen);
  expect(todo).toEqual([
    'The hook said no. Point your application to the target by hand.',
    'The slot is busy. It is dropped when the job ends.',
  ]);
  expect(report.downtimeMs).toBeGreaterThan(0);
  await withSession('src', (session) => undoReadOnly(session, { database: 'src', before: null }));
});

test('guardrails read what is going on on both sides', async () => {
  await server.query('SELECT 1');
  const clock = new WriteClock();
  const app = await connect('src');
  await app.query('BEGIN; UPDATE shop.orders SET n = n WHERE id = 1');
  const stranger = await connect('dst');
  await stranger.query(`BEGIN; INSERT INTO shop.items VALUES (1000, 1)`);
  const facts = await withSession('src', async (source) =>
    withSession('dst', async (target) => {
      const fence = await chooseFence(source, TABLES);
      const now = Date.now();
      return {
        lag: { bytes: 0, seconds: 0 },
        drift: null,
        slot: { verdict: 'ok', message: 'Fine.', hint: '' } as const,
        ...(await readSourceFacts(source, 'test', fence, clock, now)),
        ...(await readTargetFacts(target, 'test', TABLES)),
        fence,
        now: now + 10_000,
      };
    }),
  );
  const judged = new Map(judgeGuardrails(facts).map((one) => [one.id, one]));
  expect(judged.get('long-writes')).toMatchObject({ state: 'waits' });
  expect(judged.get('long-writes')?.found).toMatch(/process \d+ \(role postgres, "web", for 10 s\)/);
  expect(judged.get('target-written')?.state).toBe('waits');
  expect(judged.get('prepared-transactions')?.state).toBe('ok');
  expect(judged.get('fence')).toMatchObject({
    state: 'ok',
    found: 'Writes will be stopped by locking 2 tables; readers go on.',
  });
  await withSession('dst', (session) => dropProgress(session, JOB));
});

const secret = 'pa/ss wörd';
const target = (): ConnectionSettings => ({ ...settingsOf('dst'), password: secret });

async function tell(handOver: Parameters<typeof runHandOver>[0]['handOver'], allowCommand = true) {
  const logs: string[] = [];
  const told = await runHandOver({
    handOver,
    target: target(),
    job: JOB,
    signal: controller.signal,
    allowCommand,
    log: (level, message) => void logs.push(`${level} ${message}`),
    firstPauseMs: 10,
  }).catch((error: unknown) => error);
  return { told, logs };
}

test('the hand-over command is given the URL and nothing of the agent, and its output never shows the password', async () => {
  process.env['AGENT_SECRET'] = 'x';
  const program = `console.log(process.env.PGSLUICE_TARGET_URL); console.error(process.argv[1], process.env.PGSLUICE_JOB);
    console.log(Object.keys(process.env).sort().join()); console.log(decodeURIComponent(new URL(process.env.PGSLUICE_TARGET_URL).password) === ${JSON.stringify(secret)})`;
  const { told, logs } = await tell({ command: [process.execPath, '-e', program, '$(id)'] });
  expect(told).toEqual({ detail: `Ran ${JSON.stringify(process.execPath)}.` });
  const text = logs.join('\n');
  expect(text).toContain(`info hand-over: postgres://postgres:***@127.0.0.1:${server.port}/dst?sslmode=prefer`);
  expect(text).toContain(`warn hand-over: $(id) ${JOB}`);
  expect(text).toContain('info hand-over: HOME,PATH,PGSLUICE_JOB,PGSLUICE_TARGET_URL');
  expect(text).toContain('info hand-over: true');
  expect(text).not.toContain(secret);
  expect(text).not.toContain(encodeURIComponent(secret));
  delete process.env['AGENT_SECRET'];
});

test('a command that fails is tried three times, and one that may not run is not', async () => {
  const failing = await tell({ command: [process.execPath, '-e', 'console.log("again"); process.exit(3)'] });
  expect(failing.told).toMatchObject({ code: 'HAND_OVER_FAILED' });
  expect(String(failing.told)).toContain('ended with exit code 3');
  expect(failing.logs.filter((line) => line.includes('hand-over: again'))).toHaveLength(3);
  const missing = await tell({ command: ['/does/not/exist'] });
  expect(String(missing.told)).toContain('could not be started');
  const forbidden = await tell({ command: [process.execPath, '-e', 'console.log("ran")'] }, false);
  expect(forbidden.told).toMatchObject({ code: 'HAND_OVER_COMMAND_FORBIDDEN' });
  expect(forbidden.logs).toEqual([]);
});

test('the webhook is called until it answers 2xx, at most three times, and never learns the password', async () => {
  const bodies: string[] = [];
  const answers = [500, 302, 204, 404, 404, 404];
  const http = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => (body += chunk));
    request.on('end', () => {
      bodies.push(`${request.method} ${request.headers['content-type']} ${body}`);
      response.writeHead(answers[bodies.length - 1] ?? 200, { location: '/elsewhere' }).end();
    });
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  try {
    const address = http.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    const webhook = `http://127.0.0.1:${address.port}/hook/token`;
    const { told, logs } = await tell({ webhook });
    expect(told).toEqual({ detail: `Called http://127.0.0.1:${address.port}.` });
    expect(bodies).toHaveLength(3);
    expect(bodies[0]).toMatch(
      /^POST application\/json \{"job":"job-7","event":"cutover","target":\{"host":"127.0.0.1"/,
    );
    expect(bodies.join('') + logs.join('')).not.toContain(encodeURIComponent(secret));
    expect(bodies.join('') + logs.join('')).not.toContain(secret);
    expect(logs.join('')).not.toContain('token');
    const refused = await tell({ webhook });
    expect(String(refused.told)).toContain('answered 404');
    expect(bodies).toHaveLength(6);
  } finally {
    http.close();
  }
  const nobody = await tell(null);
  expect(nobody.told).toEqual({
    detail: `Nobody is told; the new address is postgres://postgres@127.0.0.1:${server.port}/dst?sslmode=prefer`,
  });
});
