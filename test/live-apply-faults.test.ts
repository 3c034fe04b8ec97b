import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { Applier } from '../src/live/applier.ts';
import { SchemaDriftError } from '../src/live/apply-plan.ts';
import { openApplySession } from '../src/live/apply-session.ts';
import { PreparedNames, TargetTransaction } from '../src/live/apply-transaction.ts';
import { AnswerWatch } from '../src/live/apply-watch.ts';
import {
  dropProgress,
  ensureProgress,
  finishSql,
  setTableCountsSql,
  startFollowing,
  storeArchive,
  takeOver,
} from '../src/live/progress.ts';
import type { PgsluiceError } from '../src/errors.ts';
import { type Session, openSession } from '../src/postgres/session.ts';
import type { ConnectionSettings } from '../src/postgres/settings.ts';
import { ApplyRig, type RigOptions, job, owner } from './support/apply-rig.ts';
import { startProxy } from './support/proxy.ts';
import { startRoughLine } from './support/rough-line.ts';
import { longTest } from './support/long.ts';
import { type TestServer, startServer } from './support/servers.ts';

let server: TestServer;
let made = 0;
const undo: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  server = await startServer({ name: 'apply-faults', settings: { wal_level: 'logical', max_replication_slots: '20' } });
});
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});
afterAll(() => server.stop());

async function rigOf(schema: string, options: Partial<RigOptions> = {}): Promise<ApplyRig> {
  made += 1;
  const rig = await ApplyRig.open(server, `faults_${made}`, { schema, ...options });
  undo.push(() => rig.close());
  return rig;
}

const through = (settings: ConnectionSettings, port: number): ConnectionSettings => ({ ...settings, port });
const keyed = 'CREATE TABLE public.t (id int PRIMARY KEY, v text)';

async function failure(work: Promise<unknown>): Promise<PgsluiceError> {
  return work.then(
    () => Promise.reject(new Error('it went well')),
    (error: PgsluiceError) => error,
  );
}

test('a COMMIT whose answer is lost has happened once', async () => {
  const rig = await rigOf('CREATE TABLE public.t (v int)');
  let lose = true;
  const proxy = await startProxy(server.port, (chunk) => lose && chunk.includes('COMMIT'));
  undo.push(() => proxy.close());
  await rig.write(`INSERT INTO t SELECT generate_series(1, 10)`, `INSERT INTO t VALUES (11)`);
  const transactions = await rig.fetch();
  const applier = await rig.applier(through(rig.settings, proxy.port));
  const before = applier.applied;
  expect(await failure(applier.apply(transactions))).toMatchObject({ code: 'CONNECTION_LOST', retryable: true });
  expect(applier.applied).toBe(before);
  lose = false;
  await rig.reopen();
  const again = await rig.applier(through(rig.settings, proxy.port));
  expect(again.applied).toBe(transactions.at(-1)?.endLsn);
  await expect(again.apply(transactions)).rejects.toThrow(RangeError);
  await rig.expectSame('t', 11);
});

test('a connection that is cut before COMMIT has done nothing', async () => {
  const rig = await rigOf('CREATE TABLE public.t (v int)');
  let lose = true;
  const proxy = await startProxy(
    server.port,
    (chunk) => lose && chunk.includes('UPDATE pgsluice_live.progress SET applied'),
  );
  undo.push(() => proxy.close());
  await rig.write(`INSERT INTO t SELECT generate_series(1, 10)`);
  const transactions = await rig.fetch();
  const applier = await rig.applier(through(rig.settings, proxy.port));
  expect(await failure(applier.apply(transactions))).toMatchObject({ retryable: true });
  expect(await rig.rows('target', 't')).toEqual([]);
  lose = false;
  await rig.reopen();
  await (await rig.applier()).apply(transactions);
  await rig.expectSame('t', 10);
});

test('a server that crashes in between is gone on with where it stood', async () => {
  const rig = await rigOf(keyed);
  await rig.write(`INSERT INTO t SELECT g, 'v' FROM generate_series(1, 10) g`);
  await rig.follow();
  const applier = await rig.applier();
  await server.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgsluice apply ${job}'`,
  );
  await sleep(100);
  // Nothing to do: the target is not even asked.
  expect(await applier.apply([])).toMatchObject({ transactions: 0 });
  await rig.write(`UPDATE t SET v = 'w'`);
  const transactions = await rig.fetch();
  expect(await failure(applier.apply(transactions))).toMatchObject({ retryable: true });
  await expect(applier.apply(transactions)).rejects.toThrow('of no use');
  await rig.reopen();
  await (await rig.applier()).apply(transactions);
  await rig.expectSame('t', 10);
});

test('an agent that was taken over from applies nothing more, whatever it believes', async () => {
  const rig = await rigOf(keyed);
  await rig.write(`INSERT INTO t VALUES (1, 'one')`);
  const transactions = await rig.fetch();
  const applier = await rig.applier();
  await server.query(`UPDATE pgsluice_live.progress SET epoch = epoch + 1`, rig.targetName);
  expect(await failure(applier.apply(transactions))).toMatchObject({
    code: 'PROGRESS_TAKEN',
    message: expect.stringContaining(job),
  });
  expect(await rig.rows('target', 't')).toEqual([]);
  const state = await takeOver(rig.target, job);
  const input = {
    settings: rig.settings,
    job,
    gates: state.tables,
    signal: new AbortController().signal,
    log: () => undefined,
  };
  expect(await failure(Applier.open({ ...input, epoch: state.epoch - 1n, applied: 1n }))).toMatchObject({
    code: 'PROGRESS_TAKEN',
  });
  expect(await failure(Applier.open({ ...input, epoch: state.epoch, applied: 2n }))).toMatchObject({
    code: 'PROGRESS_TAKEN',
  });
  await rig.target.run(finishSql(job, state.epoch));
  expect(await failure(Applier.open({ ...input, epoch: state.epoch, applied: 1n }))).toMatchObject({
    code: 'PROGRESS_TAKEN',
  });
});

test('taking over ends the session of the agent before, whose locks would stand in the way', async () => {
  const rig = await rigOf(keyed);
  await rig.applier();
  const [former] = await server.query(`SELECT backend FROM pgsluice_live.progress`, rig.targetName);
  const session = `SELECT 1 FROM pg_stat_activity WHERE pid = $1`;
  expect(await server.query(session, 'postgres', [former?.['backend']])).toHaveLength(1);
  await takeOver(rig.target, job);
  await sleep(200);
  expect(await server.query(session, 'postgres', [former?.['backend']])).toEqual([]);
});

test('a COMMIT behind a failed statement resolves, and is a failure all the same', async () => {
  const rig = await rigOf(keyed);
  const session = await openApplySession(rig.settings, job, new AbortController().signal);
  undo.push(() => session.close());
  const expected = { check: () => undefined };
  const first = TargetTransaction.begin(session, new PreparedNames(0));
  await first.settled();
  first.send(`INSERT INTO public.t VALUES ($1, 'a')`, ['1'], 0, expected);
  first.send(`INSERT INTO public.t VALUES ($1, 'b')`, ['1'], 0, expected);
  first.send(`INSERT INTO public.t VALUES ($1, 'c')`, ['2'], 0, expected);
  await expect(first.commit()).rejects.toMatchObject({ code: '23505' });
  // A failure that nobody here has heard of.
  const second = TargetTransaction.begin(session, new PreparedNames(1));
  await second.settled();
  second.send(`INSERT INTO public.t VALUES ($1, 'd')`, ['3'], 0, expected);
  const unheard = session.client.query('SELECT 1 / 0').catch(() => 'failed');
  await expect(second.commit()).rejects.toMatchObject({ code: 'TARGET_ROLLED_BACK', retryable: true });
  expect(await unheard).toBe('failed');
  expect(await rig.rows('target', 't')).toEqual([]);
});

/** Passes bytes on; what the client sends is changed on its way. */
async function startForger(
  targetPort: number,
  forge: (text: string) => string,
): Promise<{ port: number; close(): Promise<void> }> {
  const proxy = createServer((inner) => {
    const outer = connect(targetPort, '127.0.0.1');
    inner.on('data', (chunk: Buffer) => outer.write(Buffer.from(forge(chunk.toString('latin1')), 'latin1')));
    outer.on('data', (chunk: Buffer) => inner.write(chunk));
    for (const [one, other] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const address = proxy.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  return { port: address.port, close: () => new Promise((resolve) => proxy.close(() => resolve())) };
}

test('a SET that fails, or that something on the way leaves out, opens nothing', async () => {
  const rig = await rigOf(keyed);
  const open = async (from: string, to: string): Promise<PgsluiceError> => {
    expect(to).toHaveLength(from.length);
    const forger = await startForger(server.port, (text) => text.replaceAll(from, to));
    undo.push(() => forger.close());
    return failure(openApplySession(through(rig.settings, forger.port), job, new AbortController().signal));
  };
  expect((await open(`'extra_float_digits', '3'`, `'extra_float_digits', '9'`)).message).toContain(
    'extra_float_digits',
  );
  await server.run(`ALTER ROLE ${owner} SET intervalstyle = 'iso_8601'`);
  undo.push(() => server.run(`ALTER ROLE ${owner} RESET intervalstyle`));
  expect(await open(`('intervalstyle', 'postgres')`, `('intervalstyl_', 'postgres')`)).toMatchObject({
    code: 'SETTINGS_REFUSED',
    message: expect.stringContaining('intervalstyle is iso_8601 instead of postgres'),
  });
});

test('what is applied is durable, also where the role or database says otherwise', async () => {
  const rig = await rigOf(keyed);
  await server.run(`ALTER ROLE ${owner} SET synchronous_commit = off`);
  undo.push(() => server.run(`ALTER ROLE ${owner} RESET synchronous_commit`));
  const session = await openApplySession(rig.settings, job, new AbortController().signal);
  undo.push(() => session.close());
  expect(await session.query('SHOW synchronous_commit')).toEqual([{ synchronous_commit: 'on' }]);
});

async function diverged(schema: string, prepare: string[], onTarget: string, change: string[]): Promise<string> {
  const rig = await rigOf(schema);
  await rig.write(...prepare);
  await rig.follow();
  await rig.target.run(onTarget);
  const rows = await rig.rows('target', 't');
  await rig.write(...change);
  const error = await failure(rig.follow());
  expect(error).toMatchObject({ code: 'TARGET_DIVERGED', retryable: false });
  // Nothing of the batch is there.
  expect(await rig.rows('target', 't')).toEqual(rows);
  return error.message;
}

const filled = `INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 20) g`;

test('a target that something else has written to is found out, with table and key', async () => {
  const gone = `DELETE FROM public.t WHERE id = 13`;
  expect(await diverged(keyed, [filled], gone, [`UPDATE t SET v = 'x'`])).toContain(
    'public.t on the target is not what the source had: no row with (id) = (13)',
  );
  expect(await diverged(keyed, [filled], gone, [`DELETE FROM t WHERE id > 10`])).toContain('no row with (id) = (13)');
  expect(await diverged(keyed, [filled], gone, [`UPDATE t SET id = 113 WHERE id = 13`])).toContain(
    'no row with (id) = (13)',
  );
  const extra = `INSERT INTO public.t VALUES (31, 'foreign')`;
  expect(
    await diverged(keyed, [filled], extra, [`INSERT INTO t SELECT g, 'n' FROM generate_series(30, 40) g`]),
  ).toContain('Key (id)=(31) already exists');
});

test('so it is without a key, for constraints looked at with COMMIT, and without printing long values', async () => {
  const keyless = `CREATE TABLE public.t (id int, v text); ALTER TABLE public.t REPLICA IDENTITY FULL`;
  expect(
    await diverged(keyless, [filled], `DELETE FROM public.t WHERE id = 13`, [`UPDATE t SET v = 'x' WHERE id > 10`]),
  ).toContain('no row with (id, v) = (13, v13)');
  const deferred = `CREATE TABLE public.t (id int PRIMARY KEY, v text UNIQUE DEFERRABLE INITIALLY DEFERRED)`;
  expect(
    await diverged(deferred, [filled], `INSERT INTO public.t VALUES (99, 'taken')`, [
      `UPDATE t SET v = 'taken' WHERE id = 1`,
    ]),
  ).toContain('Key (v)=(taken) already exists');
  const long = await diverged(
    `CREATE TABLE public.t (id text PRIMARY KEY, v text)`,
    [`INSERT INTO t VALUES (repeat('k', 2000), 'v')`],
    `DELETE FROM public.t`,
    [`UPDATE t SET v = 'w'`],
  );
  expect(long).toContain('no row with (id) = (kkkk');
  expect(long.length).toBeLessThan(300);
});

test('a table that does not fit stops the batch at its transaction; what came before is stored, and it goes on from there', async () => {
  const rig = await rigOf(`${keyed}; CREATE TABLE public.other (id int PRIMARY KEY)`);
  await rig.write(
    `INSERT INTO t VALUES (1, 'one')`,
    `INSERT INTO other VALUES (1)`,
    `ALTER TABLE t ADD COLUMN more varchar(10), ADD COLUMN mood jsonb`,
    `INSERT INTO t VALUES (2, 'two', 'more', '{}')`,
    `INSERT INTO other VALUES (2)`,
  );
  const transactions = await rig.fetch();
  const error = await failure((await rig.applier()).apply(transactions));
  expect(error).toBeInstanceOf(SchemaDriftError);
  expect(error).toMatchObject({ code: 'SCHEMA_DRIFT', relation: { schema: 'public', name: 't' }, gate: { name: 't' } });
  expect(error.message).toContain('the target has no column more; the target has no column mood');
  expect(error.message).toContain(
    'The source sends (id integer, v text, more character varying(10), mood jsonb); the target has (id integer, v text)',
  );
  expect(await rig.rows('target', 't')).toEqual(['(1,one)']);
  expect(await rig.rows('target', 'other')).toEqual(['(1)']);
  await rig.target.run(`ALTER TABLE public.t ADD COLUMN more varchar(10), ADD COLUMN mood jsonb`);
  await rig.reopen();
  const applier = await rig.applier();
  await applier.apply(transactions.filter((transaction) => transaction.endLsn > applier.applied));
  await rig.expectSame('t', 2);
  await rig.expectSame('other', 2);

  // Altered while the applier lives on; a column that only the target has may stay NULL, one that may not be stops.
  await rig.write(`ALTER TABLE t DROP COLUMN mood`, `INSERT INTO t VALUES (3, 'three', 'm')`);
  await rig.follow();
  await rig.target.run(`ALTER TABLE public.t DROP COLUMN mood`);
  applier.forgetShapes();
  await rig.write(`UPDATE t SET v = 'drei' WHERE id = 3`);
  await rig.follow();
  await rig.expectSame('t', 3);
  await rig.target.run(
    `ALTER TABLE public.t ADD COLUMN must int NOT NULL DEFAULT 1; ALTER TABLE public.t ALTER must DROP DEFAULT`,
  );
  applier.forgetShapes();
  await rig.write(`INSERT INTO t VALUES (4, 'four', 'm')`);
  expect((await failure(rig.follow())).message).toContain(
    'the source does not send column must, which the target needs',
  );
  await rig.reopen();
  await rig.target.run(`ALTER TABLE public.t DROP COLUMN must; ALTER TABLE public.t ALTER v TYPE varchar(50)`);
  await rig.write(`INSERT INTO t VALUES (5, 'five', 'm')`);
  expect((await failure(rig.follow())).message).toContain('column v has another type on the target');
});

test('a table that is not part of the job stops it, unless it is left out knowingly', async () => {
  const rig = await rigOf(keyed);
  await rig.write(
    `CREATE TABLE public.late (id int PRIMARY KEY)`,
    `INSERT INTO late VALUES (1)`,
    `INSERT INTO t VALUES (1, 'one')`,
  );
  const transactions = await rig.fetch();
  expect(await failure((await rig.applier()).apply(transactions))).toMatchObject({
    code: 'SCHEMA_DRIFT',
    gate: null,
    relation: { name: 'late' },
  });
  await rig.reopen();
  const state = await takeOver(rig.target, job);
  const applier = await Applier.open({
    settings: rig.settings,
    job,
    epoch: state.epoch,
    applied: state.applied ?? 0n,
    gates: state.tables,
    ignored: new Set(['public.late']),
    signal: new AbortController().signal,
    log: () => undefined,
  });
  undo.push(() => applier.close());
  expect(await applier.apply(transactions)).toMatchObject({ inserts: 1 });
  await rig.expectSame('t', 1);
});

test('progress is made once, kept with what is stored beside it, and goes with its last job', async () => {
  const rig = await rigOf(keyed);
  const { target } = rig;
  await target.run(setTableCountsSql(job, (await rig.gates())[0]?.oid ?? 0, 5, 50));
  await ensureProgress(target, job);
  await ensureProgress(target, `other 'job'`);
  await storeArchive(target, job, '{"a": "é\\""}');
  const first = await takeOver(target, job);
  expect(first).toMatchObject({
    applied: 1n,
    finished: false,
    archive: '{"a": "é\\""}',
    tables: [{ schema: 'public', name: 't', via: null }],
  });
  await startFollowing(target, job, first.epoch, 99n);
  const second = await takeOver(target, job);
  expect(second.applied).toBe(1n);
  expect(second.epoch).toBe(first.epoch + 1n);
  await expect(startFollowing(target, job, first.epoch, 99n)).rejects.toMatchObject({ code: 'PROGRESS_TAKEN' });
  await expect(target.run(finishSql(job, first.epoch))).rejects.toThrow('another agent has taken over');
  await target.run(finishSql(job, second.epoch));
  expect((await takeOver(target, job)).finished).toBe(true);
  await dropProgress(target, job);
  await dropProgress(target, job);
  await expect(takeOver(target, job)).rejects.toMatchObject({ code: 'PROGRESS_MISSING' });
  expect((await takeOver(target, `other 'job'`)).applied).toBeNull();
  await dropProgress(target, `other 'job'`);
  expect(await server.query(`SELECT 1 FROM pg_namespace WHERE nspname = 'pgsluice_live'`, rig.targetName)).toEqual([]);
  await dropProgress(target, job);
});

function watchOver(
  session: Session,
  settings: ConnectionSettings,
  since: () => number | null,
): { dead: PgsluiceError[]; said: string[] } {
  const dead: PgsluiceError[] = [];
  const said: string[] = [];
  const watch = new AnswerWatch({
    session,
    settings,
    signal: new AbortController().signal,
    waitsSince: since,
    onDead: (error) => dead.push(error),
    log: (_, message) => said.push(message),
    quietMs: 100,
    lookEveryMs: 100,
    giveUpMs: 5000,
  });
  undo.push(async () => watch.stop());
  return { dead, said };
}

async function until(done: () => boolean): Promise<void> {
  for (let waited = 0; !done(); waited += 50) {
    if (waited > 10_000) throw new Error('waited 10 s');
    await sleep(50);
  }
}

test('a line that has gone silent is given up, and its session with its locks is ended on the server', async () => {
  const rig = await rigOf(keyed);
  const line = await startRoughLine(server.port);
  undo.push(() => line.close());
  const session = await openSession(through(rig.settings, line.port), {
    signal: new AbortController().signal,
    side: 'target',
    purpose: 'apply test',
    pipeline: true,
  });
  undo.push(() => session.close());
  await session.run(`BEGIN; LOCK TABLE public.t`);
  line.freeze();
  const since = Date.now();
  const unanswered = session.client.query('SELECT 1').catch(() => undefined);
  const { dead } = watchOver(session, rig.settings, () => since);
  await until(() => dead.length > 0);
  expect(dead[0]).toMatchObject({ code: 'CONNECTION_LOST', retryable: true });
  await server.query(`SELECT count(*) FROM public.t`, rig.targetName);
  await session.close();
  await unanswered;
});

longTest(
  'a slow line that moves is left alone however long a COPY or a large statement takes',
  async () => {
    const rig = await rigOf('CREATE TABLE public.t (v text); ALTER TABLE public.t ALTER v SET STORAGE EXTERNAL');
    const line = await startRoughLine(server.port);
    undo.push(() => line.close());
    const signal = new AbortController().signal;
    const session = await openApplySession(through(rig.settings, line.port), 'job-slow', signal);
    undo.push(() => session.close());
    const whatever = { check: () => undefined };
    const transaction = TargetTransaction.begin(session, new PreparedNames(0));
    await transaction.settled();
    const { dead } = watchOver(session, rig.settings, () => transaction.waitsSince);
    line.throttle(2_000_000);
    const rows = Array.from({ length: 16 }, (_, at) => String(at % 10).repeat(1_000_000));
    await transaction.copy(
      'COPY public.t FROM STDIN',
      rows.map((row) => `${row}\n`),
      whatever,
    );
    const large = 'x'.repeat(10_000_000);
    transaction.send('INSERT INTO public.t VALUES ($1)', [large], large.length, whatever);
    await transaction.settled();
    expect(dead).toEqual([]);
    await transaction.commit();
    expect(
      await server.query('SELECT count(*)::int AS n, sum(length(v))::int AS bytes FROM public.t', rig.targetName),
    ).toEqual([{ n: 17, bytes: 26_000_000 }]);
  },
  40_000,
);

test('a rollback and a look at the catalogue are waits like others', async () => {
  const rig = await rigOf(keyed);
  const line = await startRoughLine(server.port);
  undo.push(() => line.close());
  const signal = new AbortController().signal;
  const session = await openApplySession(through(rig.settings, line.port), 'job-half', signal);
  undo.push(() => session.close());
  const transaction = TargetTransaction.begin(session, new PreparedNames(0));
  await transaction.settled();
  expect(transaction.waitsSince).toBe(null);
  await transaction.watched(async () => {
    expect(transaction.waitsSince).not.toBe(null);
    await session.run('SELECT 1');
  });
  expect(transaction.waitsSince).toBe(null);
  line.freeze();
  const rolledBack = transaction.rollback().then(
    () => 'done',
    () => 'failed',
  );
  const { dead } = watchOver(session, rig.settings, () => transaction.waitsSince);
  await until(() => dead.length > 0);
  expect(dead[0]).toMatchObject({ code: 'CONNECTION_LOST' });
  await session.close();
  expect(await rolledBack).toBe('failed');
});

test('a statement that waits for a lock is waited for, and who holds it is said', async () => {
  const rig = await rigOf(keyed);
  const signal = new AbortController().signal;
  const [holder, session] = await Promise.all(
    ['test holder', 'apply test'].map((purpose) => openSession(rig.settings, { signal, side: 'target', purpose })),
  );
  if (holder === undefined || session === undefined) throw new Error('no sessions');
  undo.push(
    () => holder.close(),
    () => session.close(),
  );
  await holder.run(`BEGIN; LOCK TABLE public.t`);
  const since = Date.now();
  let answered = false;
  const waiting = session.run(`INSERT INTO public.t VALUES (1, 'v')`).finally(() => {
    answered = true;
  });
  const { dead, said } = watchOver(session, rig.settings, () => (answered ? null : since));
  await until(() => said.length > 0);
  await sleep(500);
  expect(said).toHaveLength(1);
  expect(said[0]).toContain(`process ${holder.processId} (${owner}, pgsluice test holder)`);
  expect(dead).toEqual([]);
  await holder.run('COMMIT');
  await waiting;
  expect(await rig.rows('target', 't')).toEqual(['(1,v)']);
});
