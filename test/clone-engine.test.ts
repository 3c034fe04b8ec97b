import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contentsOf } from './support/contents.ts';
import { openEngine } from './support/engine.ts';
import { startProxy } from './support/proxy.ts';
import { startServer } from './support/servers.ts';
import type { TestServer } from './support/servers.ts';

let source: TestServer;
let target: TestServer;
let count = 0;

beforeAll(async () => {
  [source, target] = await Promise.all([
    startServer({ name: 'engine-source' }),
    startServer({ name: 'engine-target' }),
  ]);
});

afterAll(async () => {
  await Promise.all([source?.stop(), target?.stop()]);
});

/** A pair of databases of the same name, the source's filled by `sql`. */
async function pair(sql: string): Promise<{ name: string; sourceUrl: string; targetUrl: string }> {
  count += 1;
  const name = `engine_${count}`;
  const sourceUrl = await source.createDatabase(name);
  await source.run(sql, name);
  return { name, sourceUrl, targetUrl: await target.createDatabase(name) };
}

const wide = (table: string, rows: number): string =>
  `CREATE TABLE ${table} (id bigint PRIMARY KEY, filler text);
   INSERT INTO ${table} SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, ${rows}) i;`;

async function expectEqual(name: string): Promise<void> {
  expect(await contentsOf(target, name)).toEqual(await contentsOf(source, name));
}

/** A table whose first rows cost 1 ms each where the database says `test.slow`, so that a test can act while it is copied. */
const slowly = (table: string, rows: number): string =>
  `CREATE FUNCTION slow(bigint) RETURNS boolean LANGUAGE plpgsql AS $$
     BEGIN IF $1 < 1500 AND current_setting('test.slow', true) = 'yes' THEN PERFORM pg_sleep(0.001); END IF; RETURN true; END $$;
   CREATE TABLE ${table} (id bigint PRIMARY KEY, filler text, CHECK (slow(id)));
   INSERT INTO ${table} SELECT i, repeat(md5(i::text), 60) FROM generate_series(1, ${rows}) i;`;

/** Resolves when the engine has emitted a table event that `matches`. */
function when<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

describe('clone engine', () => {
  test.each([
    { source: 1, target: 1 },
    { source: 2, target: 1 },
    { source: 2, target: 2 },
    { source: 5, target: 8 },
  ])('$source connection(s) to the source and $target to the target are never exceeded', async (connections) => {
    const { name } = await pair(`${wide('a', 3000)} ${wide('b', 2000)} CREATE TABLE c (id bigint REFERENCES a(id));`);
    const role = `limited_${count}`;
    for (const [server, limit] of [
      [source, connections.source],
      [target, connections.target],
    ] as const) {
      await server.run(`CREATE ROLE ${role} LOGIN PASSWORD 'x' CONNECTION LIMIT ${limit}`);
      await server.run(`ALTER DATABASE ${name} OWNER TO ${role}; GRANT ALL ON SCHEMA public TO ${role}`, name);
    }
    await source.run(
      `ALTER TABLE a OWNER TO ${role}; ALTER TABLE b OWNER TO ${role}; ALTER TABLE c OWNER TO ${role}`,
      name,
    );
    const engine = await openEngine({
      sourceUrl: source.url(name, role, 'x'),
      targetUrl: target.url(name, role, 'x'),
      connections,
      options: { noOwner: true, noAcl: true },
    });
    try {
      const outcome = await engine.run.run();
      expect(outcome.error?.report() ?? null).toBeNull();
      expect(engine.logText()).not.toContain('failed, trying again');
    } finally {
      await engine.close();
    }
    await expectEqual(name);
  });

  test("the server's own column bookkeeping (pg_attver) is no reason to lose a table", async () => {
    const { name, sourceUrl, targetUrl } = await pair(
      'CREATE TABLE a (id int PRIMARY KEY, b text); INSERT INTO a VALUES (1, 2);',
    );
    // What minor releases of November 2026 store; no older server prints or accepts it.
    await source.run(
      `UPDATE pg_attribute SET attoptions = ARRAY['pg_attver=7', 'n_distinct=5'] WHERE attrelid = 'a'::regclass AND attname = 'b';
       UPDATE pg_attribute SET attoptions = ARRAY['pg_attver=7'] WHERE attrelid = 'a'::regclass AND attname = 'id'`,
      name,
    );
    const engine = await openEngine({ sourceUrl, targetUrl });
    const outcome = await engine.run.run();
    await engine.close();
    expect(outcome.error?.report() ?? null).toBeNull();
    await expectEqual(name);
    const kept = await target.query(
      `SELECT attname, attoptions FROM pg_attribute WHERE attrelid = 'a'::regclass AND attoptions IS NOT NULL`,
      name,
    );
    expect(kept).toEqual([{ attname: 'b', attoptions: ['n_distinct=5'] }]);
  });

  test('a table that fails is named, the others arrive, and a retry copies it alone under the same snapshot', async () => {
    const { name, sourceUrl, targetUrl } = await pair(
      `${wide('good', 500)}
       CREATE FUNCTION allowed(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN current_setting('test.allow', true) IS DISTINCT FROM 'no'; END $$;
       CREATE TABLE bad (id int, CHECK (allowed(id)));
       INSERT INTO bad SELECT generate_series(1, 100);`,
    );
    await target.run(`ALTER DATABASE ${name} SET test.allow = 'no'`);
    const engine = await openEngine({ sourceUrl, targetUrl });
    try {
      const first = await engine.run.run();
      expect(first.ok).toBe(false);
      expect(first.failedTables.map((table) => table.name)).toEqual(['bad']);
      expect(first.error?.code).toBe('TABLES_FAILED');
      expect(first.error?.message).toContain('bad_id_check');
      expect(await target.query('SELECT count(*)::int AS n FROM good', name)).toEqual([{ n: 500 }]);
      expect(await target.query('SELECT count(*)::int AS n FROM bad', name)).toEqual([{ n: 0 }]);
      expect(engine.run.canRetry).toBe(true);

      // Written after the snapshot: a retry under it must not see these.
      await source.run('INSERT INTO bad VALUES (101); DELETE FROM good WHERE id = 1', name);
      await target.run(`ALTER DATABASE ${name} RESET test.allow`);
      const copies = engine.events.filter((event) => event.type === 'table').length;
      const second = await engine.run.run();
      expect(second.error?.report() ?? null).toBeNull();
      const retried = engine.events.filter((event) => event.type === 'table').slice(copies);
      expect(new Set(retried.map((event) => event.type === 'table' && event.table.name))).toEqual(new Set(['bad']));
      expect(await target.query('SELECT count(*)::int AS n FROM bad', name)).toEqual([{ n: 100 }]);
      expect(await target.query('SELECT count(*)::int AS n FROM good', name)).toEqual([{ n: 500 }]);
      expect(second.moved).toMatchObject({ tables: 2, rows: 600 });
    } finally {
      await engine.close();
    }
  });

  test.each(['source', 'target'] as const)(
    'a copy whose connection to the %s is cut is done again under the same snapshot',
    async (side) => {
      const { name, sourceUrl, targetUrl } = await pair(slowly('big', 30_000));
      await target.run(`ALTER DATABASE ${name} SET test.slow = 'yes'`);
      const server = side === 'source' ? source : target;
      let cut = false;
      const started = when<void>();
      const engine = await openEngine({
        sourceUrl,
        targetUrl,
        onEvent: (event) => {
          if (event.type === 'table' && event.table.state === 'copying' && event.table.bytes > 0 && !cut) {
            cut = true;
            engine.gate.pause();
            started.resolve();
          }
        },
      });
      try {
        const running = engine.run.run();
        await Promise.race([started.promise, running]);
        await server.run(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND datname = '${name}' AND application_name LIKE 'pgsluice%'`,
        );
        engine.gate.resume();
        const outcome = await running;
        expect(outcome.error?.report() ?? null).toBeNull();
        expect(engine.logText()).toContain('trying this table again');
        expect(outcome.moved.rows).toBe(30_000);
      } finally {
        await engine.close();
      }
      await expectEqual(name);
    },
  );

  test('rows written, and tables truncated or altered, after the snapshot change nothing', async () => {
    const { name, sourceUrl, targetUrl } = await pair(`${wide('first', 40_000)} ${wide('second', 1000)}`);
    const before = await contentsOf(source, name);
    const taken = when<void>();
    const started = when<void>();
    const engine = await openEngine({
      sourceUrl,
      targetUrl,
      options: { tableJobs: 1 },
      onEvent: (event) => {
        if (event.type === 'log' && /^Snapshot \S+ taken/.test(event.message)) taken.resolve();
        if (event.type === 'table' && event.table.bytes > 0) started.resolve();
      },
    });
    try {
      const running = engine.run.run();
      // The sessions that read the rows are yet to be opened, and see this moment all the same.
      await taken.promise;
      await source.run(`INSERT INTO first VALUES (-1, 'too late'); DELETE FROM second WHERE id > 500`, name);
      await started.promise;
      await source.run(
        `INSERT INTO second SELECT i, 'new' FROM generate_series(5000, 5100) i; UPDATE first SET filler = 'x' WHERE id < 10`,
        name,
      );
      await expect(source.run(`SET lock_timeout = '200ms'; TRUNCATE second`, name)).rejects.toThrow('lock timeout');
      const outcome = await running;
      expect(outcome.error?.report() ?? null).toBeNull();
    } finally {
      await engine.close();
    }
    expect(await contentsOf(target, name)).toEqual(before);
  });

  test('a table split into ctid ranges arrives whole, and once', async () => {
    const { name, sourceUrl, targetUrl } = await pair(wide('big', 20_000));
    const engine = await openEngine({ sourceUrl, targetUrl, options: { splitAbove: 1024 * 1024, tableJobs: 3 } });
    const outcome = await engine.run.run();
    await engine.close();
    expect(outcome.error?.report() ?? null).toBeNull();
    expect(engine.logText()).toContain('split by ctid');
    await expectEqual(name);
  });

  test.each([
    { what: 'a table that is emptied before it is copied', options: { tableJobs: 1 } },
    { what: 'a table split into ranges', options: { splitAbove: 512 * 1024, tableJobs: 3 } },
  ])('a COMMIT whose answer is lost stores no row twice and loses none: $what', async ({ options }) => {
    const { name, sourceUrl } = await pair(`${wide('big', 20_000)} ALTER TABLE big DROP CONSTRAINT big_pkey`);
    let lost = 0;
    const line = await startProxy(target.port, (chunk) => {
      if (lost > 0 || !chunk.includes('COMMIT\0')) return false;
      lost += 1;
      return true;
    });
    const targetUrl = target.url(name).replace(`:${target.port}/`, `:${line.port}/`);
    const engine = await openEngine({ sourceUrl, targetUrl, options });
    try {
      const outcome = await engine.run.run();
      expect(outcome.error?.report() ?? null).toBeNull();
      expect(lost).toBe(1);
      expect(outcome.moved.rows).toBe(20_000);
    } finally {
      await engine.close();
      await line.close();
    }
    await expectEqual(name);
  });

  test('pieces and routed partitions of a failed run are not stored twice by its retry', async () => {
    const { name, sourceUrl, targetUrl } = await pair(
      `CREATE FUNCTION allowed(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN $1 < 19000 OR current_setting('test.allow', true) IS DISTINCT FROM 'no'; END $$;
       CREATE TABLE big (id int, filler text, CHECK (allowed(id)));
       INSERT INTO big SELECT i, repeat('x', 300) FROM generate_series(1, 20000) i;
       CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
       CREATE TABLE routed (id int, m mood, CHECK (allowed(id))) PARTITION BY HASH (m);
       CREATE TABLE routed_0 PARTITION OF routed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
       CREATE TABLE routed_1 PARTITION OF routed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
       INSERT INTO routed SELECT i, (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::mood FROM generate_series(1, 18999) i;
       INSERT INTO routed VALUES (19001, 'ok');`,
    );
    // Other labels' oids on the target: its rows belong into other partitions than the source's.
    await target.run(
      `CREATE TYPE placeholder AS ENUM ('a', 'b'); DROP TYPE placeholder; ALTER DATABASE ${name} SET test.allow = 'no'`,
      name,
    );
    const engine = await openEngine({ sourceUrl, targetUrl, options: { splitAbove: 1024 * 1024, tableJobs: 3 } });
    try {
      const first = await engine.run.run();
      expect(first.failedTables.map((table) => table.name.replace(/_\d$/, '')).toSorted()).toEqual(['big', 'routed']);
      await target.run(`ALTER DATABASE ${name} RESET test.allow`);
      const second = await engine.run.run();
      expect(second.error?.report() ?? null).toBeNull();
      expect(second.moved.rows).toBe(39_000);
    } finally {
      await engine.close();
    }
    for (const server of [source, target]) {
      expect(
        await server.query(
          'SELECT (SELECT count(*)::int FROM big) AS big, (SELECT count(DISTINCT id)::int FROM big) AS ids, (SELECT count(*)::int FROM routed) AS routed',
          name,
        ),
      ).toEqual([{ big: 20_000, ids: 20_000, routed: 19_000 }]);
    }
  });

  test('a cancelled clone leaves no session on either server within 5 s', async () => {
    const { sourceUrl, targetUrl } = await pair(wide('big', 100_000));
    const started = when<void>();
    const engine = await openEngine({
      sourceUrl,
      targetUrl,
      onEvent: (event) => {
        if (event.type === 'table' && event.table.bytes > 0) started.resolve();
      },
    });
    const running = engine.run.run();
    const ended = running.then(
      () => 'completed',
      (error: unknown) => (error instanceof Error ? error.message : 'error'),
    );
    await started.promise;
    const at = Date.now();
    engine.abort.abort('The job was cancelled by a person.');
    expect(await ended).toBe('The job was cancelled by a person.');
    await engine.close();
    expect(Date.now() - at).toBeLessThan(5000);
    expect(await source.sessions()).toEqual([]);
    expect(await target.sessions()).toEqual([]);
  });

  test('an owner without a right to its own sequence or table gets it all the same', async () => {
    const { name } = await pair(
      `CREATE TABLE mine (id serial PRIMARY KEY, note text); INSERT INTO mine (note) SELECT 'x' FROM generate_series(1, 7)`,
    );
    const role = `owner_${name}`;
    for (const server of [source, target]) {
      await server.run(
        `CREATE ROLE ${role} LOGIN PASSWORD 'x'; ALTER DATABASE ${name} OWNER TO ${role}; GRANT ALL ON SCHEMA public TO ${role}`,
        name,
      );
    }
    await source.run(
      `ALTER TABLE mine OWNER TO ${role}; REVOKE INSERT, UPDATE, TRUNCATE ON mine FROM ${role}; REVOKE UPDATE ON SEQUENCE mine_id_seq FROM ${role}`,
      name,
    );
    const engine = await openEngine({ sourceUrl: source.url(name, role, 'x'), targetUrl: target.url(name, role, 'x') });
    const outcome = await engine.run.run();
    await engine.close();
    expect(outcome.error?.report() ?? null).toBeNull();
    expect(await target.query('SELECT last_value::int AS at FROM mine_id_seq', name)).toEqual([{ at: 7 }]);
    expect(await target.dumpSchema(name)).toEqual(await source.dumpSchema(name));
  });

  test('--replace empties the target in one transaction: everything, or nothing when any of it is refused', async () => {
    const { name, sourceUrl, targetUrl } = await pair(wide('fresh', 10));
    await target.run(
      `CREATE SCHEMA old; CREATE TABLE old.a (id int); CREATE TABLE public.b (id serial); CREATE VIEW v AS SELECT * FROM old.a;
       CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE mood AS ENUM ('x'); CREATE EXTENSION citext;
       SELECT lo_create(4711); ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC`,
      name,
    );
    const engine = await openEngine({ sourceUrl, targetUrl, replaceTarget: true, options: { replace: true } });
    const outcome = await engine.run.run();
    await engine.close();
    expect(outcome.error?.report() ?? null).toBeNull();
    await expectEqual(name);
    expect(await target.dumpSchema(name)).toEqual(await source.dumpSchema(name));
    expect(await target.query('SELECT oid FROM pg_largeobject_metadata', name)).toEqual([]);
  });
});
