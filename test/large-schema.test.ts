import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { JobOptions } from '../src/contract/options.ts';
import { planStretches, restoreSideBySide } from '../src/clone/restore-lanes.ts';
import type { ArchiveEntry } from '../src/postgres/archive.ts';
import { openSession } from '../src/postgres/session.ts';
import type { Session } from '../src/postgres/session.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { SourceSnapshot } from '../src/postgres/snapshot.ts';
import { findPgTools } from '../src/postgres/tools.ts';
import { verifyDatabases } from '../src/verify/verify.ts';
import { type Engine, openEngine } from './support/engine.ts';
import { countLargeSchema, fullSize, makeLargeSchema, scaled } from './support/large-schema.ts';
import { findMajor, pgDumpFor, startServer, type TestServer } from './support/servers.ts';

const searches = await Promise.all([findMajor(15), findMajor(17)]);
const lacking = searches.find(({ binDir }) => binDir === null);
const why = lacking === undefined ? '' : ` (skipped: ${lacking.reason})`;
const workDir = join(tmpdir(), `pgsluice-large-${process.pid}`);
const size = scaled(fullSize, 0.04);
/** Room for one lock a relation, which pg_dump takes, but for no more: not for every index, nor for every worker. */
const tight = {
  max_locks_per_transaction: '24',
  max_connections: '20',
  max_worker_processes: '2',
  max_wal_senders: '2',
};

describe.skipIf(lacking !== undefined)(`a slice of a large schema, PostgreSQL 15 to 17${why}`, () => {
  let source: TestServer;
  let target: TestServer;
  const engines: Engine[] = [];

  beforeAll(async () => {
    const start = (name: string, binDir: string | null | undefined): Promise<TestServer> =>
      startServer({ name, settings: tight, ...(typeof binDir === 'string' ? { binDir } : {}) });
    [source, target] = await Promise.all([
      start('large-source', searches[0]?.binDir),
      start('large-target', searches[1]?.binDir),
    ]);
    await source.createDatabase('large');
    await makeLargeSchema(source, 'large', size);
    await target.createDatabase('large');
  });
  afterEach(async () => {
    for (const engine of engines.splice(0)) await engine.close();
  });
  afterAll(async () => {
    await Promise.all([source?.stop(), target?.stop(), rm(workDir, { recursive: true, force: true })]);
  });

  test('arrives whole, with 0 differences', async () => {
    const counted = await countLargeSchema(source, 'large');
    expect(counted).toEqual({ tables: 200, indexes: 800, partitions: 120, routines: 80 });
    const urls = { sourceUrl: source.url('large'), targetUrl: target.url('large') };
    const engine = await openEngine({ ...urls, connections: { source: 3, target: 3 } });
    engines.push(engine);
    const outcome = await engine.run.run();
    expect(outcome.error).toBeNull();
    expect(outcome.moved.tables).toBe(320);
    expect(await countLargeSchema(target, 'large')).toEqual(counted);
    const verification = await verifyDatabases({
      source: parseEndpoint({ url: urls.sourceUrl }, 'source'),
      target: parseEndpoint({ url: urls.targetUrl }, 'target'),
      snapshot: engine.run.snapshot,
      connections: { source: 3, target: 3 },
      options: JobOptions.parse({}),
      mode: 'full',
      tools: await findPgTools({ binDir: dirname(await pgDumpFor(17, target.binDir)), minMajor: 17 }),
      sourceArchive: engine.run.sourceArchive,
      workDir,
      signal: new AbortController().signal,
      emit: () => undefined,
    });
    expect(verification.differences).toEqual([]);
    expect(verification.verified).toBe(true);
    expect(verification.tables).toHaveLength(320);
    expect(verification.objectsCompared).toBeGreaterThan(1500);
  });

  test('what is refused side by side is made in order, or named', async () => {
    await target.createDatabase('lanes');
    const at = parseEndpoint({ url: target.url('lanes') }, 'target');
    const { signal } = new AbortController();
    const open = (): Promise<Session> => openSession(at, { signal, side: 'target', purpose: 'test' });
    const sessions = await Promise.all([open(), open()]);
    try {
      const made = (dumpId: number): string =>
        dumpId === 1
          ? // No dependency tells of this one, which stands in the other lane.
            'CREATE TABLE public.t1 (late public.t600);'
          : `CREATE TABLE public.t${dumpId} (id ${dumpId === 301 ? 'public.no_such_type' : 'int'});`;
      const entries = Array.from({ length: 600 }, (_, i): ArchiveEntry => ({
        dumpId: i + 1,
        classOid: 0,
        oid: 0,
        dependencies: [],
        type: 'TABLE',
        schema: 'public',
        name: `t${i + 1}`,
        owner: null,
        section: 'pre-data',
        settings: [],
        statements: [made(i + 1)],
      }));
      const stretches = planStretches(
        entries.toSorted((a, b) => ((a.dumpId * 7) % 600) - ((b.dumpId * 7) % 600)),
        2,
      );
      expect(stretches).toHaveLength(1);
      const problems = await restoreSideBySide(sessions, stretches, signal);
      expect(problems.map(({ name }) => name)).toEqual(['public.t301']);
    } finally {
      await Promise.all(sessions.map((session) => session.close()));
    }
    const [stands] = await target.query(`SELECT count(*)::int AS n FROM pg_class WHERE relname ~ '^t\\d+$'`, 'lanes');
    expect(stands).toEqual({ n: 599 });
  });

  test.each([1, 2])(
    'a reader of the snapshot with %i connection(s) holds few locks, and its moment',
    async (connections) => {
      const snapshot = await SourceSnapshot.open(parseEndpoint({ url: source.url('large') }, 'source'), {
        connections,
        signal: new AbortController().signal,
        log: () => undefined,
      });
      try {
        const rows = (table: number): Promise<{ n: string }[]> =>
          snapshot.withSession((session) =>
            session.query<{ n: string }>(`SELECT count(*) AS n FROM area_0.item_${table}`),
          );
        const before = await rows(0);
        await source.run(`INSERT INTO area_0.item_0 (id, name) VALUES (1000 + ${connections}, 'late')`, 'large');
        for (let table = 0; table < 60; table += 1) await rows(table);
        const [held] = await source.query(
          `SELECT count(DISTINCT relation)::int AS n FROM pg_locks JOIN pg_stat_activity USING (pid)
         WHERE application_name LIKE 'pgsluice%' AND locktype = 'relation' AND relation >= 16384`,
          'large',
        );
        expect(held?.['n']).toBeLessThan(60);
        expect(await rows(0)).toEqual(before);
      } finally {
        await snapshot.close();
        await source.run(`DELETE FROM area_0.item_0 WHERE name = 'late'`, 'large');
      }
    },
  );

  test('a server without room for the locks of pg_dump is told so', async () => {
    await source.restart('fast', { max_locks_per_transaction: '10', max_connections: '10' });
    await target.createDatabase('other');
    const engine = await openEngine({ sourceUrl: source.url('large'), targetUrl: target.url('other') });
    engines.push(engine);
    await expect(engine.run.run()).rejects.toMatchObject({
      code: 'OUT_OF_LOCKS',
      hint: expect.stringContaining('max_locks_per_transaction') as string,
    });
    await source.restart('fast', tight);
  });

  test('a change deep in it is found, among many that are only printed differently', async () => {
    await target.run(
      `CREATE OR REPLACE VIEW logic.link_2_0 AS SELECT b.id, b.name, b.size + 1 AS size FROM area_0.item_1 b WHERE false;
       UPDATE parts.event_1 SET note = 'changed' WHERE id = 7; DROP INDEX area_0.item_7_0`,
      'large',
    );
    const verification = await verifyDatabases({
      source: parseEndpoint({ url: source.url('large') }, 'source'),
      target: parseEndpoint({ url: target.url('large') }, 'target'),
      snapshot: null,
      connections: { source: 3, target: 3 },
      options: JobOptions.parse({}),
      mode: 'full',
      tools: await findPgTools({ binDir: dirname(await pgDumpFor(17, target.binDir)), minMajor: 17 }),
      sourceArchive: null,
      workDir,
      signal: new AbortController().signal,
      emit: () => undefined,
    });
    const found = verification.differences.map(({ kind, name, change }) => [
      kind,
      name.replace(/_p\d+$/, '_p'),
      change,
    ]);
    expect(found).toEqual(
      expect.arrayContaining([
        ['CONTENT', 'parts.event_1_p', 'different'],
        ['INDEX', 'area_0.item_7_0', 'missing'],
        ['VIEW', 'logic.link_2_0', 'different'],
      ]),
    );
    expect(found).toHaveLength(3);
  });
});
