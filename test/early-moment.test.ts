import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { searchTools } from '../src/checks/version.ts';
import { takeMoment } from '../src/clone/source-moment.ts';
import { JobOptions } from '../src/contract/options.ts';
import { EarlySource } from '../src/jobs/early-moment.ts';
import type { SourceKnown } from '../src/jobs/rooms.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { readServerVersion } from '../src/postgres/version.ts';
import { openSession } from '../src/postgres/session.ts';
import { type TestServer, startServer } from './support/servers.ts';

let source: TestServer;
let workDir: string;
let url: string;
let known: SourceKnown;

beforeAll(async () => {
  source = await startServer({ name: 'early-source' });
  workDir = await mkdtemp(join(tmpdir(), 'pgsluice-early-'));
  url = await source.createDatabase('early');
  await source.run(
    `CREATE TABLE kept (id int PRIMARY KEY, note text); INSERT INTO kept SELECT g, 'x' FROM generate_series(1, 100) g;`,
    'early',
  );
  const found = await searchTools(source.binDir, [source.major]);
  if (!('tools' in found)) throw new Error('the server has no pg_dump');
  const settings = parseEndpoint({ url }, 'source');
  const session = await openSession(settings, { signal: AbortSignal.timeout(10_000), side: 'source', purpose: 'test' });
  known = { version: await readServerVersion(session), connectionsAvailable: 50, tools: found.tools };
  await session.close();
});

afterAll(async () => {
  await source?.stop();
  await rm(workDir, { recursive: true, force: true });
});

function early(signal = new AbortController().signal): EarlySource {
  return new EarlySource({
    id: 'a-job',
    source: parseEndpoint({ url }, 'source'),
    options: JobOptions.parse({}),
    goal: 'migrate',
    targetTouched: false,
    workDir,
    signal,
    emit: () => undefined,
    rooms: { takeMoment },
  });
}

/** Sessions on the source that are the job's, by application_name. */
async function sessions(): Promise<string[]> {
  const rows = await source.query(
    `SELECT application_name AS name FROM pg_stat_activity WHERE application_name LIKE 'pgsluice%' ORDER BY 1`,
  );
  return rows.map((row) => String(row['name']));
}

async function untilGone(): Promise<string[]> {
  for (let look = 0; look < 50 && (await sessions()).length > 0; look += 1) await sleep(100);
  return await sessions();
}

test('the clone is given snapshot, dump and tables of one moment, and what is written later is not in it', async () => {
  const one = early();
  one.begin(known);
  const moment = await one.take();
  await source.run('DELETE FROM kept WHERE id > 50; CREATE TABLE later ()', 'early');
  try {
    expect(moment?.tables.map(({ name }) => name)).toEqual(['kept']);
    expect(moment?.archive?.entries.some(({ type, name }) => type === 'TABLE' && name === 'kept')).toBe(true);
    const [row] =
      (await moment?.snapshot.holder.query<{ n: string }>('SELECT count(*)::text AS n FROM public.kept')) ?? [];
    expect(row?.n).toBe('100');
    // It was given away: there is nothing left to end, and nothing to give twice.
    await one.drop();
    expect(moment?.snapshot.alive).toBe(true);
    expect(await one.take()).toBeNull();
  } finally {
    await moment?.snapshot.close();
    await source.run('DROP TABLE later', 'early');
  }
  expect(await untilGone()).toEqual([]);
});

test('of a job that is refused nothing stays on the source', async () => {
  const refused = early();
  refused.begin(known);
  await sleep(50);
  await refused.drop();
  expect(await untilGone()).toEqual([]);
  const whole = early();
  whole.begin(known);
  for (let look = 0; look < 100 && !(await sessions()).some((name) => name.includes('snapshot')); look += 1)
    await sleep(20);
  await sleep(1000);
  expect(await sessions()).not.toEqual([]);
  await whole.drop();
  expect(await untilGone()).toEqual([]);
});

test('a moment whose session has died is not given: the clone takes its own', async () => {
  const one = early();
  one.begin(known);
  for (let look = 0; look < 100 && !(await sessions()).some((name) => name.includes('snapshot')); look += 1)
    await sleep(20);
  await sleep(1000);
  await source.run(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pgsluice%snapshot%'`,
  );
  await sleep(200);
  expect(await one.take()).toBeNull();
  expect(await untilGone()).toEqual([]);
});

test('a cancelled job is told so, and leaves nothing', async () => {
  const controller = new AbortController();
  const one = early(controller.signal);
  one.begin(known);
  controller.abort(new Error('cancelled by a person'));
  await expect(one.take()).rejects.toThrow('cancelled');
  await one.drop();
  expect(await untilGone()).toEqual([]);
});

test('where the lock table is small it is not begun', async () => {
  await source.run(
    `DO $$ BEGIN FOR i IN 1..40 LOOP EXECUTE format('CREATE TABLE lock_%s ()', i); END LOOP; END $$`,
    'early',
  );
  await source.restart('fast', { max_locks_per_transaction: '10', max_connections: '10', max_wal_senders: '2' });
  const one = early();
  one.begin(known);
  expect(await one.take()).toBeNull();
}, 60_000);
