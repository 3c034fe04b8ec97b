import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createEverythingRoles, loadEverything } from './fixtures/everything.ts';
import { findMajor } from './support/binaries.ts';
import { contentsOf } from './support/contents.ts';
import { loadPagila, pagilaDir } from './support/pagila.ts';
import { startServer } from './support/servers.ts';
import type { TestServer } from './support/servers.ts';
import { toTheCutover, use, wide } from './support/staged.ts';
import type { StagedRun } from './support/staged.ts';

let source: TestServer;
let target: TestServer;
let newer: TestServer | null = null;
let count = 0;
const seventeen = await findMajor(17);

beforeAll(async () => {
  [source, target, newer] = await Promise.all([
    startServer({ name: 'staged-source' }),
    startServer({ name: 'staged-target' }),
    seventeen.binDir === null ? null : startServer({ name: 'staged-newer', binDir: seventeen.binDir }),
  ]);
});

afterAll(async () => {
  await Promise.all([source?.stop(), target?.stop(), newer?.stop()]);
});

/** A pair of databases of the same name, the source's filled by `sql`. */
async function pair(sql: string): Promise<{ name: string; sourceUrl: string; targetUrl: string }> {
  count += 1;
  const name = `staged_${count}`;
  const sourceUrl = await source.createDatabase(name);
  await source.run(sql, name);
  return { name, sourceUrl, targetUrl: await target.createDatabase(name) };
}

async function expectIdle(server: TestServer): Promise<void> {
  expect(await server.sessions()).toEqual([]);
}

/** Indexes as the target's catalogue has them, by oid: one that was built again has another. */
const INDEXES = `SELECT indexrelid::int AS oid, indexrelid::regclass::text AS name FROM pg_index
                 WHERE indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace) ORDER BY 2`;

describe('a copy in stages', () => {
  describe.each([
    { to: '15', on: () => target },
    { to: '17', on: () => newer },
  ])('15 → $to', ({ on }) => {
    test('of Pagila equals the source after the cutover', async (context) => {
      const server = on();
      if (pagilaDir() === null || server === null) return context.skip(seventeen.reason);
      count += 1;
      const database = `pagila_${count}`;
      await loadPagila(source, database);
      await source.run(
        `CREATE PUBLICATION pgsluice_job FOR TABLE film; COMMENT ON PUBLICATION pgsluice_job IS 'ours'`,
        database,
      );
      const input = { sourceUrl: source.url(database), targetUrl: await server.createDatabase(database) };
      await use(input, async (run) => {
        await toTheCutover(run);
        // Nothing that fires stands before the cutover.
        const waiting = `SELECT (SELECT count(*)::int FROM pg_trigger WHERE NOT tgisinternal) AS triggers,
          (SELECT count(*)::int FROM pg_constraint WHERE contype = 'f') AS keys, (SELECT count(*)::int FROM pg_publication) AS publications`;
        expect(await server.query(waiting, database)).toEqual([{ triggers: 0, keys: 0, publications: 0 }]);
        await run.clone.refreshViews();
        const finished = await run.finish();
        expect(finished.problems).toEqual([]);
        expect(finished.counts.roundTrips).toBeLessThan(4);
        expect(finished.counts.refreshed).toBe(0);
        expect(finished.unvalidated.length).toBeGreaterThan(15);
        expect(await run.clone.listUnvalidated()).toHaveLength(finished.unvalidated.length);
        await run.clone.validateConstraints(finished.unvalidated);
        expect(await run.clone.listUnvalidated()).toEqual([]);
        expect(run.logText()).toContain('Checked the foreign key "film_language_id_fkey" of "public"."film"');
        expect(await server.query('SELECT pubname FROM pg_publication', database)).toEqual([]);
        await source.run('DROP PUBLICATION pgsluice_job', database);
        const verification = await run.verify();
        expect(verification.differences).toEqual([]);
        expect(verification.verified).toBe(true);
      });
      expect(await contentsOf(server, database)).toEqual(await contentsOf(source, database));
      await expectIdle(source);
      await expectIdle(server);
    });

    test('of every kind of object equals the source after the cutover', async (context) => {
      const server = on();
      if (server === null) return context.skip(seventeen.reason);
      count += 1;
      const database = `every thing "${count}"`;
      await loadEverything(source, database);
      await createEverythingRoles(server);
      const targetUrl = await server.createDatabase(database, `TEMPLATE template0 ENCODING 'UTF8'`);
      await use({ sourceUrl: source.url(database), targetUrl }, async (run) => {
        await toTheCutover(run);
        await run.clone.refreshViews();
        const finished = await run.finish();
        // A key that does not hold on the source is not checked on the target either.
        expect(finished.unvalidated.map((key) => key.name)).not.toContain('orphan_book_fkey');
        await run.clone.validateConstraints(finished.unvalidated);
        expect(run.logText()).toContain('Changes of large objects are not followed');
        const verification = await run.verify();
        expect(verification.differences).toEqual([]);
        expect(verification.verified).toBe(true);
        expect(run.clone.outcome().moved.largeObjects).toBe(verification.largeObjectsCompared);
      });
      // A database with a subscription cannot be dropped.
      await source.run('DROP SUBSCRIPTION ev_sub', database);
      await server.run('DROP SUBSCRIPTION ev_sub', database);
    });
  });

  test('each recorded snapshot is exactly what was copied, under eight writers', async () => {
    const tables = ['a', 'b', 'c', 'd'];
    const { name, sourceUrl, targetUrl } = await pair(
      tables
        .map(
          (table) => `CREATE TABLE ${table} (id bigserial PRIMARY KEY, xid bigint NOT NULL, filler text);
             INSERT INTO ${table} (xid, filler) SELECT txid_current(), repeat('x', 300) FROM generate_series(1, 5000);`,
        )
        .join('\n'),
    );
    const stopping = new AbortController();
    const writers = Array.from({ length: 8 }, async (_, at) => {
      const client = new Client({ connectionString: sourceUrl });
      await client.connect();
      const table = tables[at % tables.length] ?? 'a';
      // Each row says which transaction wrote it; some take long, some are rolled back.
      for (let round = 0; !stopping.signal.aborted; round += 1) {
        await client.query(
          `BEGIN; INSERT INTO ${table} (xid) SELECT txid_current() FROM generate_series(1, 3);
           ${round % 5 === 0 ? 'SELECT pg_sleep(0.02);' : ''} ${round % 7 === 0 ? 'ROLLBACK' : 'COMMIT'}`,
        );
      }
      await client.end();
    });
    try {
      await use({ sourceUrl, targetUrl, options: { tableJobs: 2 } }, async (run) => {
        await run.clone.schema();
        const { tables: copied } = await run.clone.copy();
        expect(copied.map((table) => table.name).toSorted()).toEqual(tables);
        // They are of different moments.
        expect(new Set(copied.map((table) => table.snapshot)).size).toBeGreaterThan(1);
        stopping.abort();
        await Promise.all(writers);
        for (const { name: table, snapshot, rows } of copied) {
          const seen = await source.query(
            `SELECT count(*)::int AS rows, md5(string_agg(id::text, ',' ORDER BY id)) AS ids FROM ${table}
             WHERE pg_visible_in_snapshot(xid::text::xid8, $1::pg_snapshot)`,
            name,
            [snapshot],
          );
          const arrived = await target.query(
            `SELECT count(*)::int AS rows, md5(string_agg(id::text, ',' ORDER BY id)) AS ids FROM ${table}`,
            name,
          );
          expect(arrived).toEqual(seen);
          expect(arrived[0]?.['rows']).toBe(rows);
          const recorded = await target.query(
            'SELECT snapshot, rows::int AS rows FROM pgsluice_live.tables WHERE table_name = $1',
            name,
            [table],
          );
          expect(recorded).toEqual([{ snapshot, rows }]);
        }
      });
    } finally {
      stopping.abort();
      await Promise.all(writers);
    }
  });

  test('a second run copies only what the first has not, and builds no index twice', async () => {
    const names = ['t1', 't2', 't3', 't4', 't5', 't6'];
    const { name, sourceUrl, targetUrl } = await pair(
      `${names.map((table) => `${wide(table, 3000)} CREATE INDEX ON ${table} (md5(filler));`).join('\n')}
       CREATE TABLE root (id int, part int) PARTITION BY LIST (part);
       CREATE TABLE leaf PARTITION OF root FOR VALUES IN (1); INSERT INTO root SELECT i, 1 FROM generate_series(1, 100) i;
       ALTER TABLE root ADD PRIMARY KEY (id, part); CREATE STATISTICS st ON id, part FROM root;`,
    );
    let done = 0;
    let first: StagedRun | undefined;
    await use(
      {
        sourceUrl,
        targetUrl,
        options: { tableJobs: 1, indexJobs: 1 },
        onEvent: (event) => {
          if (event.type === 'table' && event.table.state === 'copied') done += 1;
          if (done === 3) first?.abort.abort('The agent stops.');
        },
      },
      async (run) => {
        first = run;
        await run.clone.schema();
        await expect(run.clone.copy()).rejects.toThrow('The agent stops.');
      },
    );
    const records = await target.query('SELECT table_name AS name FROM pgsluice_live.tables ORDER BY 1', name);
    const recorded = records.map((row) => row['name']);
    expect(recorded.length).toBeGreaterThanOrEqual(2);
    expect(recorded.length).toBeLessThan(7);
    const before = await target.query(INDEXES, name);
    // Later rows of a copied table come with the changes, never with the copy.
    for (const table of recorded) await source.run(`INSERT INTO ${String(table)} VALUES (99999)`, name);

    await use({ sourceUrl, targetUrl }, async (run) => {
      await run.clone.schema();
      const { tables, moved } = await run.clone.copy();
      expect(run.logText()).toContain(`${recorded.length} tables are copied already`);
      const attempted = run.events.flatMap((event) =>
        event.type === 'table' && event.table.attempts > 0 ? [event.table.name] : [],
      );
      expect([...new Set(attempted)].toSorted()).toEqual(
        [...names, 'leaf'].filter((table) => !recorded.includes(table)).toSorted(),
      );
      expect(run.published.toSorted()).toEqual([...new Set(attempted)].map((table) => `public.${table}`).toSorted());
      expect(tables).toHaveLength(7);
      expect(moved).toMatchObject({ tables: 7, rows: 18_100, indexes: 13 });
      const after = await target.query(INDEXES, name);
      expect(after.length).toBeGreaterThan(before.length);
      for (const index of before) expect(after).toContainEqual(index);
      await run.clone.buildRest();
    });
    const built = await target.query(INDEXES, name);
    // Once more after everything: nothing is done, nothing is refused.
    await use({ sourceUrl, targetUrl }, async (run) => {
      await toTheCutover(run);
      expect(run.events.filter((event) => event.type === 'index')).toEqual([]);
      expect(run.clone.outcome().restoreProblems).toEqual([]);
      expect(await target.query(INDEXES, name)).toEqual(built);
      for (const table of recorded) await source.run(`DELETE FROM ${String(table)} WHERE id = 99999`, name);
      await run.finish();
      expect((await run.verify()).differences).toEqual([]);
    });
  });

  test('a table that somebody keeps locked is told and waited for, and the others go on', async () => {
    const { name, sourceUrl, targetUrl } = await pair(`${wide('held', 100)} ${wide('free', 100)} ${wide('open', 100)}`);
    const client = new Client({ connectionString: sourceUrl, application_name: 'nightly job' });
    await client.connect();
    const copied: { name: string; at: number }[] = [];
    try {
      await use(
        {
          sourceUrl,
          targetUrl,
          options: { tableJobs: 1 },
          onEvent: (event) => {
            if (event.type === 'table' && event.table.state === 'copied')
              copied.push({ name: event.table.name, at: Date.now() });
          },
        },
        async (run) => {
          await run.clone.schema();
          await client.query('BEGIN; LOCK TABLE held; INSERT INTO held VALUES (4711)');
          const lifted = sleep(3000)
            .then(() => client.query('COMMIT'))
            .then(() => Date.now());
          await run.clone.copy();
          const at = await lifted;
          expect(copied.map((table) => table.name).at(-1)).toBe('held');
          expect(
            copied
              .filter((table) => table.at < at)
              .map((table) => table.name)
              .toSorted(),
          ).toEqual(['free', 'open']);
          expect(run.logText()).toMatch(
            /Waiting for an exclusive lock on "public"\."held".*process \d+ \(postgres, nightly job\)/,
          );
        },
      );
    } finally {
      await client.end();
    }
    // What the holder of the lock wrote committed before the snapshot.
    expect(await target.query('SELECT id::int FROM held WHERE id = 4711', name)).toEqual([{ id: 4711 }]);
    await expectIdle(source);
  });

  test('an owner that is no superuser on either side comes to the end as well', async () => {
    const { name } = await pair('SELECT 1');
    const role = `owner_${name}`;
    for (const server of [source, target]) {
      await server.run(
        `CREATE ROLE ${role} LOGIN PASSWORD 'x'; ALTER DATABASE ${name} OWNER TO ${role}; GRANT ALL ON SCHEMA public TO ${role}`,
        name,
      );
    }
    const sourceUrl = source.url(name, role, 'x');
    const owner = new Client({ connectionString: sourceUrl });
    await owner.connect();
    await owner.query(
      `CREATE TABLE parent (id serial PRIMARY KEY, note text);
       CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE, CHECK (id > 0));
       CREATE TABLE parted (id int, at date, parent int REFERENCES parent) PARTITION BY RANGE (at);
       CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
       CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'fired'; END $$;
       INSERT INTO parent (note) SELECT 'n' || i FROM generate_series(1, 500) i;
       INSERT INTO child SELECT i, i FROM generate_series(1, 400) i; INSERT INTO parted SELECT i, '2026-05-01', i FROM generate_series(1, 300) i;
       CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON child FOR EACH ROW EXECUTE FUNCTION refuse();
       ALTER TABLE child ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON child USING (id < 10);
       CREATE RULE r AS ON DELETE TO parent DO INSTEAD NOTHING;
       CREATE MATERIALIZED VIEW sums AS SELECT count(*) AS n FROM child; CREATE UNIQUE INDEX ON sums (n);
       REVOKE UPDATE ON SEQUENCE parent_id_seq FROM ${role}`,
    );
    await owner.end();
    const targetUrl = target.url(name, role, 'x');
    await use({ sourceUrl, targetUrl, connections: { source: 2, target: 2 } }, async (run) => {
      await toTheCutover(run);
      // Nothing fires, nothing is hidden: changes arrive as they are.
      await target.run(
        `SET ROLE ${role}; INSERT INTO child VALUES (777, 777); DELETE FROM child WHERE id = 777; DELETE FROM parent WHERE id = 500`,
        name,
      );
      await source.run(
        `ALTER TABLE parent DISABLE RULE r; DELETE FROM parent WHERE id = 500; ALTER TABLE parent ENABLE RULE r`,
        name,
      );
      await run.clone.refreshViews();
      const finished = await run.finish();
      expect(finished.counts).toMatchObject({
        foreignKeys: 2,
        triggers: 1,
        rules: 1,
        policies: 2,
        refreshed: 0,
        sequences: 1,
      });
      expect(finished.unvalidated.map((key) => key.name)).toEqual(['child_parent_fkey']);
      expect(run.logText()).toContain('their rows are checked during the cutover: public.parted parted_parent_fkey');
      await run.clone.validateConstraints(finished.unvalidated);
      expect((await run.verify()).differences).toEqual([]);
    });
    await expect(target.run('INSERT INTO child VALUES (1000, 1)', name)).rejects.toThrow('fired');
    expect(await target.query('SELECT n::int AS n FROM sums', name)).toEqual([{ n: 400 }]);
  });

  test('a new table, and a new partition, are brought along with their records', async () => {
    const { name, sourceUrl, targetUrl } = await pair(
      `CREATE TABLE root (id int, part int, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
       CREATE TABLE leaf_1 PARTITION OF root FOR VALUES IN (1); INSERT INTO root VALUES (1, 1); CREATE INDEX ON root (part);`,
    );
    await use({ sourceUrl, targetUrl }, async (run) => {
      await toTheCutover(run);
      await source.run(
        `CREATE TABLE leaf_2 PARTITION OF root FOR VALUES IN (2); INSERT INTO root SELECT i, 2 FROM generate_series(1, 50) i;
         CREATE TABLE fresh (id serial PRIMARY KEY, note text UNIQUE, root int, part int, FOREIGN KEY (root, part) REFERENCES root);
         INSERT INTO fresh (note, root, part) SELECT 'n' || i, i, 2 FROM generate_series(1, 20) i; COMMENT ON TABLE fresh IS 'new';
         CREATE STATISTICS fresh_st ON root, part FROM fresh;`,
        name,
      );
      const archive = await run.dumpSource();
      const old = new Set(run.clone.archive.entries.map((entry) => `${entry.type} ${entry.name}`));
      const added = archive.entries.filter((entry) => !old.has(`${entry.type} ${entry.name}`));
      for (const table of ['leaf_2', 'fresh']) {
        const entries = added.filter((entry) => entry.name.includes(table));
        const first = await run.clone.addTable(entries, { schema: 'public', name: table });
        // A run that died right after it does it once more.
        expect(await run.clone.addTable(entries, { schema: 'public', name: table })).toEqual(first);
        expect(first.rows).toBe(table === 'fresh' ? 20 : 50);
        expect(
          await target.query('SELECT snapshot FROM pgsluice_live.tables WHERE table_name = $1', name, [table]),
        ).toEqual([{ snapshot: first.snapshot }]);
      }
      await run.clone.replaceArchive(archive);
      const finished = await run.finish();
      expect(finished.unvalidated.map((key) => key.name)).toEqual(['fresh_root_part_fkey']);
      await run.clone.validateConstraints(finished.unvalidated);
      expect((await run.verify()).differences).toEqual([]);
    });
    expect(await contentsOf(target, name)).toEqual(await contentsOf(source, name));
  });

  test('a target that is to be replaced is emptied, but for the progress', async () => {
    const { name, sourceUrl, targetUrl } = await pair(wide('mine', 10));
    await target.run('CREATE TABLE old (id int); CREATE SCHEMA older; CREATE TABLE older.t (id int)', name);
    await use({ sourceUrl, targetUrl, replaceTarget: true }, async (run) => {
      await toTheCutover(run);
      expect(await target.query('SELECT count(*)::int AS n FROM pgsluice_live.tables', name)).toEqual([{ n: 1 }]);
      await run.finish();
      expect((await run.verify()).differences).toEqual([]);
    });
  });
});
