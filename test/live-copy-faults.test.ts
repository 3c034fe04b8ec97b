import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contentsOf } from './support/contents.ts';
import { startProxy } from './support/proxy.ts';
import { startServer } from './support/servers.ts';
import type { TestServer } from './support/servers.ts';
import { slowly, toTheCutover, use, wide } from './support/staged.ts';
import type { StagedInput } from './support/staged.ts';

let source: TestServer;
let target: TestServer;
let count = 0;

beforeAll(async () => {
  [source, target] = await Promise.all([
    startServer({ name: 'staged-faults-source' }),
    startServer({ name: 'staged-faults-target' }),
  ]);
});

afterAll(async () => {
  await Promise.all([source?.stop(), target?.stop()]);
});

/** A pair of databases of the same name, the source's filled by `sql`. */
async function pair(sql: string): Promise<{ name: string; sourceUrl: string; targetUrl: string }> {
  count += 1;
  const name = `staged_${count}`;
  const sourceUrl = await source.createDatabase(name);
  await source.run(sql, name);
  return { name, sourceUrl, targetUrl: await target.createDatabase(name) };
}

function signalled(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

describe('a copy in stages', () => {
  test.each(['source', 'target'] as const)(
    'a connection to the %s that is cut costs one attempt, under a new snapshot',
    async (side) => {
      const { name, sourceUrl, targetUrl } = await pair(slowly('big', 30_000));
      await target.run(`ALTER DATABASE ${name} SET test.slow = 'yes'`);
      const moving = signalled();
      let cut = false;
      const input: StagedInput = {
        sourceUrl,
        targetUrl,
        onEvent: (event) => {
          if (event.type === 'table' && event.table.state === 'copying' && event.table.bytes > 0 && !cut) {
            cut = true;
            moving.resolve();
          }
        },
      };
      await use(input, async (run) => {
        await run.clone.schema();
        const copying = run.clone.copy();
        await Promise.race([moving.promise, copying]);
        run.context.gate.pause();
        await source.run(`INSERT INTO big VALUES (0, 'later')`, name);
        await (side === 'source' ? source : target).run(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND datname = '${name}'`,
        );
        run.context.gate.resume();
        const { tables } = await copying;
        expect(run.logText()).toContain('trying this table again');
        expect(tables.map((table) => table.rows)).toEqual([30_001]);
      });
      const table = '"public"."big"';
      expect((await contentsOf(target, name)).get(table)).toEqual((await contentsOf(source, name)).get(table));
    },
  );

  test('a COMMIT whose answer is lost stores no row twice, not even through a root that routes them', async () => {
    const { name, sourceUrl } = await pair(
      `CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
       CREATE TABLE routed (id int, m mood) PARTITION BY HASH (m);
       CREATE TABLE routed_0 PARTITION OF routed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
       CREATE TABLE routed_1 PARTITION OF routed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
       INSERT INTO routed SELECT i, (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::mood FROM generate_series(1, 3000) i;
       ${wide('plain', 3000)} ${wide('tiny', 20)}`,
    );
    // Other labels' oids: rows of one partition belong into the other there.
    await target.run(`CREATE TYPE placeholder AS ENUM ('a', 'b'); DROP TYPE placeholder`, name);
    // The first COMMIT of each table is stored, and nobody is told.
    const lost = new Set<string>();
    const line = await startProxy(target.port, (chunk) => {
      const [, table] = /'(routed_0|routed_1|plain|tiny)'/.exec(chunk.toString('latin1')) ?? [];
      if (table === undefined || lost.has(table) || !chunk.includes('COMMIT\0')) return false;
      lost.add(table);
      return true;
    });
    try {
      await use(
        {
          sourceUrl,
          targetUrl: target.url(name).replace(`:${target.port}/`, `:${line.port}/`),
          options: { tableJobs: 1 },
        },
        async (run) => {
          await run.clone.schema();
          const { tables } = await run.clone.copy();
          expect(lost.size).toBe(4);
          expect(tables.reduce((sum, table) => sum + table.rows, 0)).toBe(6020);
          for (const { oid, snapshot } of tables)
            expect(
              await target.query('SELECT snapshot FROM pgsluice_live.tables WHERE relation = $1', name, [oid]),
            ).toEqual([{ snapshot }]);
          await run.clone.buildRest();
          await run.finish();
          expect((await run.verify()).differences).toEqual([]);
        },
      );
    } finally {
      await line.close();
    }
  });

  test('what an earlier run left at work on the target is ended before its records are read', async () => {
    const { name, sourceUrl, targetUrl } = await pair(wide('big', 200));
    await use({ sourceUrl, targetUrl }, (run) => run.clone.schema());
    // A backend whose client is gone without a word: its transaction would be open for hours, and might still commit.
    const left = new Client({ connectionString: targetUrl, application_name: 'pgsluice copy staged' });
    left.on('error', () => undefined);
    await left.connect();
    await left.query(`BEGIN; INSERT INTO big VALUES (-1, 'half')`);
    await use({ sourceUrl, targetUrl }, async (run) => {
      await run.clone.schema();
      await run.clone.copy();
      expect(run.logText()).toContain('Ending what an earlier run left at work');
      expect(run.clone.outcome().moved.rows).toBe(200);
    });
    expect(await target.query('SELECT count(*)::int AS n FROM big', name)).toEqual([{ n: 200 }]);
  });

  test('what an earlier run left open on the source is ended, and what is another job has open stays', async () => {
    const { name, sourceUrl, targetUrl } = await pair(wide('big', 200));
    const open = async (application_name: string): Promise<Client> => {
      const client = new Client({ connectionString: sourceUrl, application_name });
      client.on('error', () => undefined);
      await client.connect();
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE big IN ACCESS SHARE MODE');
      return client;
    };
    const left = await Promise.all(['pgsluice snapshot staged', 'pgsluice copy staged'].map(open));
    const others = await Promise.all(['pgsluice copy another', 'pgsluice copy', 'copy staged'].map(open));
    const ours = new Set<string>();
    await use(
      {
        sourceUrl,
        targetUrl,
      },
      async (run) => {
        await run.clone.schema();
        expect(run.logText()).toContain('Ended what an earlier run left open on the source');
        const copying = run.clone.copy();
        const watch = async (): Promise<void> => {
          const rows = await source.query(
            `SELECT application_name AS name FROM pg_stat_activity WHERE datname = '${name}' AND application_name LIKE 'pgsluice%'`,
          );
          for (const row of rows) ours.add(String(row['name']));
        };
        for (let look = 0; look < 5; look += 1) await watch();
        await copying;
        await watch();
      },
    );
    const locks = await source.query(
      `SELECT a.application_name AS name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
       WHERE l.relation = 'big'::regclass AND a.pid <> pg_backend_pid() ORDER BY 1`,
      name,
    );
    expect(locks.map((row) => row['name'])).toEqual(['copy staged', 'pgsluice copy', 'pgsluice copy another']);
    // Every session of the run bears the job's name.
    expect([...ours].filter((each) => !each.endsWith(' staged') && !each.endsWith('another'))).toEqual([
      'pgsluice copy',
    ]);
    await Promise.all([...left, ...others].map((client) => client.end().catch(() => undefined)));
  });

  test('columns that changed after the schema was read are named, and no half of the table arrives', async () => {
    const { name, sourceUrl, targetUrl } = await pair(`${wide('changed', 50)} ${wide('same', 50)} ${wide('gone', 50)}`);
    await use({ sourceUrl, targetUrl }, async (run) => {
      await run.clone.schema();
      await source.run(
        `ALTER TABLE changed ADD COLUMN note text; ALTER TABLE changed DROP COLUMN filler; CREATE TABLE fresh (id int)`,
        name,
      );
      const failure = await run.clone.copy().catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: 'SCHEMA_DRIFT' });
      expect(String(failure)).toContain('"public"."changed"');
      expect(String(failure)).toContain('Only on the source: note text. Only on the target: filler text.');
      expect(run.logText()).toContain('and not copied: "public"."fresh"');
      expect(run.published).not.toContain('public.fresh');
      expect(await target.query('SELECT count(*)::int AS n FROM changed', name)).toEqual([{ n: 0 }]);
      expect(await target.query('SELECT count(*)::int AS n FROM same', name)).toEqual([{ n: 50 }]);
      await target.run('ALTER TABLE changed ADD COLUMN note text; ALTER TABLE changed DROP COLUMN filler', name);
    });
    await use({ sourceUrl, targetUrl }, async (run) => {
      await run.clone.schema();
      await run.clone.copy();
      expect(await target.query('SELECT count(*)::int AS n FROM changed', name)).toEqual([{ n: 50 }]);
    });
  });

  test('a refusal that the cutover would meet is met before, and takes nothing with it', async () => {
    const { name, sourceUrl, targetUrl } = await pair(
      `${wide('a', 10)} CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
       CREATE TRIGGER first BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f();
       CREATE TRIGGER second BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f();`,
    );
    await use({ sourceUrl, targetUrl }, async (run) => {
      await run.clone.schema();
      await run.clone.copy();
      // Somebody else was here.
      await target.run('CREATE TRIGGER first BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f()', name);
      const failure = await run.clone.buildRest().catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: 'RESTORE_REFUSED' });
      expect(String(failure)).toContain('TRIGGER public.a first');
      expect(String(failure)).not.toContain('TRIGGER public.a second');
      const triggers = 'SELECT tgname::text AS name FROM pg_trigger WHERE NOT tgisinternal';
      expect(await target.query(triggers, name)).toEqual([{ name: 'first' }]);
      await target.run('DROP TRIGGER first ON a', name);
      await run.clone.buildRest();
      expect(await target.query(triggers, name)).toEqual([]);
      await run.finish();
      expect((await run.verify()).differences).toEqual([]);
    });
  });

  test('a foreign key that does not hold after the hand-over is named, and the others are checked', async () => {
    const { name, sourceUrl, targetUrl } = await pair(
      `${wide('p', 10)} CREATE TABLE "c ""1" (id bigint, CONSTRAINT "k; 1" FOREIGN KEY (id) REFERENCES p (id)); INSERT INTO "c ""1" VALUES (1);
       CREATE TABLE c2 (id bigint REFERENCES p (id));`,
    );
    await use({ sourceUrl, targetUrl }, async (run) => {
      await toTheCutover(run);
      await target.run('INSERT INTO "c ""1" VALUES (4711)', name);
      const { unvalidated } = await run.finish();
      const failure = await run.clone.validateConstraints(unvalidated).catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: 'FOREIGN_KEY_VIOLATED' });
      expect(String(failure)).toContain('"k; 1" of "public"."c ""1"');
      expect(await run.clone.listUnvalidated()).toEqual([{ schema: 'public', table: 'c "1', name: 'k; 1' }]);
    });
  });
});
