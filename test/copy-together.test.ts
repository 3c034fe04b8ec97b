import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contentsOf } from './support/contents.ts';
import { type Engine, type EngineInput, openEngine } from './support/engine.ts';
import { startProxy } from './support/proxy.ts';
import { startServer } from './support/servers.ts';
import type { TestServer } from './support/servers.ts';

let source: TestServer;
let target: TestServer;
let count = 0;

beforeAll(async () => {
  [source, target] = await Promise.all([
    startServer({ name: 'together-source' }),
    startServer({ name: 'together-target' }),
  ]);
});

afterAll(async () => {
  await Promise.all([source?.stop(), target?.stop()]);
});

/** Small tables of every sort that goes together, and one that does not. */
const many = `
  CREATE FUNCTION held(int) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
      IF current_setting('test.slow', true) = 'yes' THEN PERFORM pg_sleep(0.02); END IF;
      RETURN current_setting('test.refuse', true) IS DISTINCT FROM 'yes';
    END $$;
  CREATE TYPE mood AS ENUM ('sad', 'happy');
  DO $do$ BEGIN FOR i IN 1..90 LOOP
    EXECUTE format('CREATE TABLE %I (id int PRIMARY KEY, "a b" text, m mood, twice int GENERATED ALWAYS AS (id * 2) STORED)', 'Small ' || i);
    EXECUTE format('CREATE INDEX ON %I ("a b")', 'Small ' || i);
    -- Every fifth stays empty, one of them with pages.
    IF i % 5 <> 0 OR i = 5 THEN
      EXECUTE format('INSERT INTO %I SELECT n, md5(n::text || %L), ''happy'' FROM generate_series(1, %s) n', 'Small ' || i, i, i);
    END IF;
  END LOOP; END $do$;
  DELETE FROM "Small 5";
  CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
  CREATE TABLE as_text (id int, doc xml); INSERT INTO as_text VALUES (1, '<a/>'), (2, NULL);
  CREATE TABLE checked (id int CHECK (held(id))); INSERT INTO checked SELECT generate_series(1, 50);
  CREATE TABLE parts (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
  CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM (0) TO (100);
  CREATE TABLE parts_b PARTITION OF parts FOR VALUES FROM (100) TO (200);
  INSERT INTO parts SELECT i, 'x' FROM generate_series(1, 199) i;
  CREATE TABLE large (id int PRIMARY KEY, filler text);
  INSERT INTO large SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 2000) i`;
const tables = 90 + 3 + 2 + 1;

interface Pair {
  readonly name: string;
  readonly sourceUrl: string;
  readonly targetUrl: string;
}

async function pair(sql: string): Promise<Pair> {
  count += 1;
  const name = `together_${count}`;
  const sourceUrl = await source.createDatabase(name);
  await source.run(sql, name);
  return { name, sourceUrl, targetUrl: await target.createDatabase(name) };
}

async function withEngine(input: EngineInput, use: (engine: Engine) => Promise<void>): Promise<void> {
  const engine = await openEngine(input);
  try {
    await use(engine);
  } finally {
    await engine.close();
  }
}

async function expectEqual(name: string): Promise<void> {
  expect(await contentsOf(target, name)).toEqual(await contentsOf(source, name));
}

/** Events of each table as `name → its states in order`, without those of progress. */
function statesOf(engine: Engine): Map<string, string[]> {
  const states = new Map<string, string[]>();
  for (const event of engine.events) {
    if (event.type !== 'table') continue;
    const list = states.get(event.table.name) ?? [];
    if (list.at(-1) !== event.table.state) list.push(event.table.state);
    states.set(event.table.name, list);
  }
  return states;
}

const copies = (name: string): string =>
  `SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY%FROM STDIN%' AND state = 'active' AND datname = '${name}' AND application_name LIKE 'pgsluice%'`;

describe('small tables that are copied together', () => {
  test('arrive whole, in few transactions, each with its events, indexes and statistics', async () => {
    const { name, sourceUrl, targetUrl } = await pair(many);
    await withEngine({ sourceUrl, targetUrl }, async (engine) => {
      const outcome = await engine.run.run();
      expect(outcome.error?.report() ?? null).toBeNull();
      await expectEqual(name);
      const rows = await source.query(
        `SELECT sum((xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM ONLY %s', oid::regclass), false, true, '')))[1]::text::int)::int AS n
         FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`,
        name,
      );
      expect(outcome.moved).toMatchObject({ tables, rows: rows[0]?.['n'], indexes: 90 * 2 + 4 });
      const states = statesOf(engine);
      expect(states.size).toBe(tables);
      for (const list of states.values()) expect(list).toEqual(['pending', 'copying', 'copied']);
      const said = engine.events.filter((event) => event.type === 'log' && event.message.startsWith('Copied '));
      expect(said).toHaveLength(tables);
      expect(engine.logText()).toContain('Copied "public"."Small 10": 0 rows, 0 bytes');
      expect(engine.logText()).not.toContain('could not be copied together');
      for (const state of ['building', 'built']) {
        const told = engine.events.filter((event) => event.type === 'index' && event.state === state);
        expect(told).toHaveLength(90 * 2 + 2 + 1);
      }
    });
    const transactions = await target.query(
      `SELECT DISTINCT (xpath('/row/x/text()', query_to_xml(format('SELECT min(xmin::text) AS x FROM ONLY %s', oid::regclass), false, true, '')))[1]::text AS x
       FROM pg_class WHERE relkind = 'r' AND relname LIKE 'Small %'`,
      name,
    );
    expect(transactions.length).toBeLessThanOrEqual(4);
    const analysed = await target.query(
      `SELECT count(DISTINCT tablename)::int AS n FROM pg_stats WHERE tablename LIKE 'Small %'`,
      name,
    );
    expect(analysed).toEqual([{ n: 72 }]);
  });

  test('a refused row fails its own table, and no other; a retry brings it', async () => {
    const { name, sourceUrl, targetUrl } = await pair(many);
    await target.run(`ALTER DATABASE ${name} SET test.refuse = 'yes'`);
    await withEngine({ sourceUrl, targetUrl }, async (engine) => {
      const first = await engine.run.run();
      expect(first.failedTables.map((table) => table.name)).toEqual(['checked']);
      expect(first.error?.message).toContain('checked_id_check');
      const states = statesOf(engine);
      expect(states.get('checked')?.at(-1)).toBe('failed');
      expect([...states.values()].filter((list) => list.at(-1) === 'copied')).toHaveLength(tables - 1);
      await target.run(`ALTER DATABASE ${name} RESET test.refuse`);
      const second = await engine.run.run();
      expect(second.error?.report() ?? null).toBeNull();
      expect(second.moved.tables).toBe(tables);
    });
    await expectEqual(name);
  });

  test.each(['source', 'target'] as const)('a line to the %s that is cut in the middle', async (side) => {
    const { name, sourceUrl, targetUrl } = await pair(many);
    await target.run(`ALTER DATABASE ${name} SET test.slow = 'yes'`);
    await withEngine({ sourceUrl, targetUrl }, async (engine) => {
      const running = engine.run.run();
      let cut = 0;
      const server = side === 'source' ? source : target;
      const which =
        side === 'target'
          ? copies(name)
          : `SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'pgsluice copy%' AND datname = '${name}'`;
      for (const until = Date.now() + 10_000; cut === 0 && Date.now() < until;) {
        const rows = await server.query(`SELECT count(pg_terminate_backend(pid))::int AS n FROM (${which}) x`);
        cut = Number(rows[0]?.['n']);
      }
      expect(cut).toBeGreaterThan(0);
      const outcome = await running;
      expect(outcome.error?.report() ?? null).toBeNull();
      expect(outcome.moved.tables).toBe(tables);
    });
    await expectEqual(name);
  });

  test('an answer that is lost stores nothing twice', async () => {
    const { name, sourceUrl } = await pair(many);
    let lost = 0;
    const line = await startProxy(target.port, (chunk) => {
      if (lost > 0 || chunk.toString('latin1').split('FROM STDIN').length < 10) return false;
      lost += 1;
      return true;
    });
    const targetUrl = target.url(name).replace(`:${target.port}/`, `:${line.port}/`);
    try {
      await withEngine({ sourceUrl, targetUrl }, async (engine) => {
        const outcome = await engine.run.run();
        expect(outcome.error?.report() ?? null).toBeNull();
        expect(engine.logText()).toContain('small tables could not be copied together');
        expect(outcome.moved.tables).toBe(tables);
      });
    } finally {
      await line.close();
    }
    expect(lost).toBe(1);
    await expectEqual(name);
  });

  test('values that are stored in a small part of their size do not fill the memory', async () => {
    const { name, sourceUrl, targetUrl } = await pair(
      `DO $do$ BEGIN FOR i IN 1..10 LOOP
         EXECUTE format('CREATE TABLE packed_%s (id int, doc text)', i);
         EXECUTE format('INSERT INTO packed_%s VALUES (1, repeat(%L, 3000000))', i, i % 10);
       END LOOP; END $do$`,
    );
    await withEngine({ sourceUrl, targetUrl }, async (engine) => {
      const outcome = await engine.run.run();
      expect(outcome.error?.report() ?? null).toBeNull();
      expect(engine.logText()).toMatch(/They came to \d+ bytes, more than is kept in memory/);
    });
    await expectEqual(name);
  });

  test('a cancelled job ends at once, and leaves no session', async () => {
    const { name, sourceUrl, targetUrl } = await pair(many);
    await target.run(`ALTER DATABASE ${name} SET test.slow = 'yes'`);
    await withEngine({ sourceUrl, targetUrl }, async (engine) => {
      const ended = engine.run.run().then(
        () => 'completed',
        (error: unknown) => (error instanceof Error ? error.message : 'error'),
      );
      for (const until = Date.now() + 10_000; Date.now() < until;) {
        const rows = await target.query(copies(name));
        if (rows.length > 0) break;
      }
      const at = Date.now();
      engine.abort.abort('The job was cancelled by a person.');
      expect(await ended).toBe('The job was cancelled by a person.');
      expect(Date.now() - at).toBeLessThan(5000);
    });
    expect(await source.sessions()).toEqual([]);
    expect(await target.sessions()).toEqual([]);
  });
});
