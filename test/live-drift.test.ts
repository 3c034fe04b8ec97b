import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { JobOptions } from '../src/contract/options.ts';
import { DriftWatch, carryColumns, examineDrift, findGaps, fittedShape } from '../src/live/drift.ts';
import type { DriftFinding } from '../src/live/drift.ts';
import { alignByName, diffShapes } from '../src/live/drift-diff.ts';
import { readShape } from '../src/live/drift-shape.ts';
import type { SourceShape } from '../src/live/drift-shape.ts';
import type { Relation } from '../src/live/types.ts';
import { parseLsn } from '../src/postgres/lsn.ts';
import { openSession } from '../src/postgres/session.ts';
import type { Session } from '../src/postgres/session.ts';
import { parseEndpoint } from '../src/postgres/settings.ts';
import { type TestServer, startServer } from './support/servers.ts';

const never = new AbortController().signal;
const filter = JobOptions.parse({});

/** What the source is before each change; the target has the same, rows included. */
const SCHEMA = `
CREATE SCHEMA s;
CREATE TYPE s.mood AS ENUM ('sad', 'ok');
CREATE TABLE s.t (id integer PRIMARY KEY, a integer DEFAULT 1, b text NOT NULL, "Odd ""name" varchar(10), m s.mood,
  CONSTRAINT positive CHECK (a > 0), CONSTRAINT one UNIQUE (b));
CREATE UNIQUE INDEX "by Odd" ON s.t (lower("Odd ""name"));
INSERT INTO s.t SELECT i, i, 'b' || i, 'o' || i, 'ok' FROM generate_series(1, 5) i;
CREATE TABLE s.keyless (x integer);
INSERT INTO s.keyless VALUES (1), (1);
CREATE TABLE s.parts (id integer, at date NOT NULL, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE s.parts_1 PARTITION OF s.parts FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE s.parts_2 PARTITION OF s.parts FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
INSERT INTO s.parts VALUES (1, '2026-01-05', 'x'), (2, '2026-02-05', 'y');
CREATE TABLE s.base (k integer PRIMARY KEY);
CREATE TABLE s.child (extra text) INHERITS (s.base);
INSERT INTO s.child VALUES (7, 'seven');`;

const PROGRESS = `CREATE SCHEMA pgsluice_live;
CREATE TABLE pgsluice_live.tables (job text, relation oid, schema_name text, table_name text, via_schema text, via_name text);`;

/** What two servers can have alike: everything but oids, numbers of columns and traces of how it came about. */
function comparable(shape: SourceShape): unknown {
  return {
    enums: shape.enums.map(({ schema, name, labels }) => ({ schema, name, labels })),
    tables: shape.tables.map((table) => {
      const names = new Map(table.columns.map((column) => [column.attnum, column.name]));
      return {
        ...table,
        oid: 0,
        fileNode: '',
        parents: table.parents.map(({ schema, name }) => ({ schema, name })),
        identityColumns: table.identityColumns.map((attnum) => names.get(attnum)),
        constraints: table.constraints.map((one) => ({
          ...one,
          columns: one.columns.map((attnum) => names.get(attnum)),
        })),
        columns: table.columns
          .map((column) => ({ ...column, attnum: 0, typeOid: 0, missing: null, version: '' }))
          .toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      };
    }),
  };
}

let server: TestServer;
let opened: Session[] = [];

beforeAll(async () => {
  server = await startServer({ name: 'live-drift' });
  await server.createDatabase('pristine');
  await server.run(SCHEMA, 'pristine');
});
afterAll(() => server.stop());

interface Pair {
  readonly source: Session;
  readonly target: Session;
  readonly before: SourceShape;
  watch(carry: boolean): DriftWatch;
  close(): Promise<void>;
}

let pairs = 0;

async function pair(): Promise<Pair> {
  pairs += 1;
  const names = { source: `source_${pairs}`, target: `target_${pairs}` };
  for (const name of Object.values(names)) await server.createDatabase(name, 'TEMPLATE pristine');
  await server.run(PROGRESS, names.target);
  const open = (side: 'source' | 'target'): Promise<Session> =>
    openSession(parseEndpoint({ url: server.url(names[side]) }, side), { signal: never, side, purpose: 'test' });
  const [source, target] = [await open('source'), await open('target')];
  const before = await readShape(source, filter);
  const watches: DriftWatch[] = [];
  opened.push(source, target);
  return {
    source,
    target,
    before,
    watch: (carry) => {
      const watch = new DriftWatch({
        source: source.settings,
        filter,
        job: 'j1',
        carry,
        before,
        signal: never,
        log: () => undefined,
      });
      watches.push(watch);
      return watch;
    },
    close: async () => {
      await Promise.all([...watches, ...opened].map((one) => one.close()));
      opened = [];
    },
  };
}

async function changed(watch: DriftWatch): Promise<Extract<DriftFinding, { kind: 'changed' }>> {
  const finding = await watch.check('now');
  if (finding.kind !== 'changed') throw new Error('no change was found');
  return finding;
}

interface Case {
  readonly sql: string;
  /** Kinds of the changes that are found, each once, sorted. */
  readonly kinds: readonly string[];
  /** A part of the statements for the target that a person gets even where changes may be carried; null: carried. */
  readonly pause: string | null;
}

const cases: readonly Case[] = [
  { sql: 'ALTER TABLE s.t ADD c integer', kinds: ['column-added'], pause: null },
  { sql: `ALTER TABLE s.t ADD c text DEFAULT 'it''s'`, kinds: ['column-added'], pause: null },
  {
    sql: `ALTER TABLE s.t ADD c integer DEFAULT 5; ALTER TABLE s.t ALTER c SET DEFAULT 6`,
    kinds: ['column-added'],
    pause: null,
  },
  {
    sql: `ALTER TABLE s.t ADD c integer[] DEFAULT '{1,2}'; ALTER TABLE s.t ALTER c DROP DEFAULT`,
    kinds: ['column-added'],
    pause: null,
  },
  { sql: `ALTER TABLE s.t ADD c timestamptz DEFAULT now()`, kinds: ['column-added'], pause: null },
  { sql: `ALTER TABLE s.parts ADD c integer DEFAULT 9`, kinds: ['column-added'], pause: null },
  { sql: `ALTER TABLE s.base ADD c integer DEFAULT 9`, kinds: ['column-added'], pause: null },
  { sql: `ALTER TABLE s.t DROP b`, kinds: ['column-dropped'], pause: null },
  { sql: `ALTER TABLE s.parts DROP note`, kinds: ['column-dropped'], pause: null },
  {
    sql: `ALTER TABLE s.t ADD c integer NOT NULL DEFAULT 5`,
    kinds: ['column-added'],
    pause: `ADD COLUMN IF NOT EXISTS "c" integer DEFAULT '5'::integer;`,
  },
  {
    sql: `ALTER TABLE s.t ADD c float8 DEFAULT random()`,
    kinds: ['column-added'],
    pause: `TRUNCATE ONLY "s"."t"; DELETE FROM pgsluice_live.tables WHERE job = 'j1' AND relation = `,
  },
  {
    sql: `ALTER TABLE s.parts ADD c float8 DEFAULT random()`,
    kinds: ['column-added'],
    pause: `TRUNCATE ONLY "s"."parts_2";`,
  },
  {
    sql: `ALTER TABLE s.keyless ADD n integer GENERATED ALWAYS AS IDENTITY`,
    kinds: ['column-added'],
    pause: 'GENERATED ALWAYS AS IDENTITY',
  },
  {
    sql: `ALTER TABLE s.keyless ADD g integer GENERATED ALWAYS AS (x * 2) STORED`,
    kinds: ['column-added'],
    pause: 'GENERATED ALWAYS AS ((x * 2)) STORED;',
  },
  { sql: `ALTER TABLE s.t RENAME b TO c`, kinds: ['column-renamed'], pause: `RENAME COLUMN "b" TO "c";` },
  { sql: `ALTER TABLE s.t ALTER a TYPE bigint`, kinds: ['column-type'], pause: `ALTER COLUMN "a" TYPE bigint USING` },
  {
    sql: `ALTER TABLE s.t ALTER "Odd ""name" TYPE varchar(20)`,
    kinds: ['column-type'],
    pause: `ALTER COLUMN "Odd ""name" TYPE character varying(20)`,
  },
  { sql: `ALTER TABLE s.t ALTER b DROP NOT NULL`, kinds: ['not-null'], pause: `ALTER COLUMN "b" DROP NOT NULL;` },
  { sql: `ALTER TABLE s.t ALTER a SET NOT NULL`, kinds: ['not-null'], pause: `ALTER COLUMN "a" SET NOT NULL;` },
  { sql: `ALTER TABLE s.t ALTER a SET DEFAULT 2`, kinds: ['default'], pause: `ALTER COLUMN "a" SET DEFAULT 2;` },
  { sql: `ALTER TABLE s.t ALTER a DROP DEFAULT`, kinds: ['default'], pause: `ALTER COLUMN "a" DROP DEFAULT;` },
  {
    sql: `ALTER TABLE s.t ALTER id ADD GENERATED BY DEFAULT AS IDENTITY`,
    kinds: ['identity'],
    pause: `ALTER COLUMN "id" ADD GENERATED BY DEFAULT AS IDENTITY;`,
  },
  {
    sql: `ALTER TABLE s.t DROP CONSTRAINT one`,
    kinds: ['constraint-dropped'],
    pause: `ALTER TABLE "s"."t" DROP CONSTRAINT IF EXISTS "one";`,
  },
  {
    sql: `ALTER TABLE s.t DROP CONSTRAINT positive, ADD CONSTRAINT positive CHECK (a > -5)`,
    kinds: ['constraint-added', 'constraint-dropped'],
    pause: `ADD CONSTRAINT "positive" CHECK`,
  },
  { sql: `DROP INDEX s."by Odd"`, kinds: ['constraint-dropped'], pause: `DROP INDEX IF EXISTS "s"."by Odd";` },
  {
    sql: `CREATE UNIQUE INDEX "new One" ON s.t (a) WHERE a > 3`,
    kinds: ['constraint-added'],
    pause: `CREATE UNIQUE INDEX IF NOT EXISTS "new One" ON "s"."t" USING btree (a) WHERE (a > 3);`,
  },
  {
    sql: `ALTER TABLE s.t DROP CONSTRAINT t_pkey`,
    kinds: ['constraint-dropped', 'replica-identity'],
    pause: `REPLICA IDENTITY FULL;`,
  },
  {
    sql: `ALTER TABLE s.keyless REPLICA IDENTITY FULL`,
    kinds: ['replica-identity'],
    pause: `ALTER TABLE ONLY "s"."keyless" REPLICA IDENTITY FULL;`,
  },
  { sql: `ALTER TABLE s.t RENAME TO u`, kinds: ['table-renamed'], pause: `RENAME TO "u";` },
  {
    sql: `CREATE SCHEMA z; ALTER TABLE s.keyless SET SCHEMA z`,
    kinds: ['table-renamed'],
    pause: `ALTER TABLE "s"."keyless" SET SCHEMA "z"; UPDATE pgsluice_live.tables SET schema_name = 'z'`,
  },
  {
    sql: `ALTER TABLE s.t RENAME b TO x; ALTER TABLE s.t RENAME "Odd ""name" TO b; ALTER TABLE s.t RENAME x TO "Odd ""name"`,
    kinds: ['column-renamed', 'contents'],
    pause: `TRUNCATE ONLY "s"."t";`,
  },
  {
    sql: `ALTER TABLE s.t RENAME TO old; ALTER TABLE s.keyless RENAME TO t`,
    kinds: ['table-renamed'],
    pause: `ALTER TABLE "s"."pgsluice_aside_`,
  },
  { sql: `DROP TABLE s.keyless`, kinds: ['table-dropped'], pause: `DROP TABLE IF EXISTS "s"."keyless";` },
  {
    sql: `DROP TABLE s.keyless; CREATE TABLE s.keyless (y text)`,
    kinds: ['table-added', 'table-dropped'],
    pause: `DROP TABLE IF EXISTS "s"."keyless"; CREATE TABLE "s"."keyless"`,
  },
  {
    sql: `ALTER TABLE s.parts DETACH PARTITION s.parts_2`,
    kinds: ['parents'],
    pause: `ALTER TABLE "s"."parts" DETACH PARTITION "s"."parts_2";`,
  },
  {
    sql: `ALTER TYPE s.mood ADD VALUE 'great'; ALTER TYPE s.mood ADD VALUE 'dull' BEFORE 'ok'`,
    kinds: ['enum'],
    pause: `ALTER TYPE "s"."mood" ADD VALUE IF NOT EXISTS 'dull' AFTER 'sad';`,
  },
  {
    sql: `ALTER TABLE s.t DROP m; ALTER TABLE s.t ADD m s.mood`,
    kinds: ['column-added', 'column-dropped', 'contents'],
    pause: `TRUNCATE ONLY "s"."t";`,
  },
  {
    sql: `ALTER TABLE s.keyless ALTER x TYPE integer USING x + 1`,
    kinds: ['contents'],
    pause: `TRUNCATE ONLY "s"."keyless";`,
  },
];

/** Runs what the plan says, in the runner's order. */
async function follow(finding: Extract<DriftFinding, { kind: 'changed' }>, both: Pair): Promise<void> {
  await carryColumns(both.target, finding.plan.carry, 'now');
  await carryColumns(both.target, finding.plan.carry, 'all');
  for (const statement of finding.plan.pause?.statements ?? []) await both.target.run(statement);
  for (const statement of finding.plan.pause?.sourceStatements ?? []) await both.source.run(statement);
}

async function expectEqual(both: Pair, known = both.before): Promise<void> {
  const [source, target] = [await readShape(both.source, filter), await readShape(both.target, filter)];
  expect(comparable(target)).toEqual(comparable(source));
  expect(diffShapes(alignByName(target, source), source)).toEqual([]);
  expect(await findGaps(both.target, source, filter, { sameMajor: true, known })).toEqual([]);
}

describe('schema drift', () => {
  it.each(cases)('$sql', async ({ sql, kinds, pause }) => {
    const both = await pair();
    try {
      if (sql.includes('SET SCHEMA z')) await both.target.run('CREATE SCHEMA z');
      const watch = both.watch(true);
      expect(await watch.check('now')).toEqual({ kind: 'none', archiveStale: false });
      for (const statement of sql.split(/; (?=[A-Z])/)) await both.source.run(statement);
      const now = await readShape(both.source, filter);
      const gaps = await findGaps(both.target, now, filter, { sameMajor: true, known: both.before });
      // Where names and types are as before, only the rows tell that something has changed.
      expect(gaps.length > 0).toBe(!kinds.includes('contents') || kinds.includes('column-renamed'));
      const finding = await changed(watch);
      expect([...new Set(finding.changes.map((change) => change.kind))].toSorted()).toEqual([...kinds]);
      expect(finding.archiveStale).toBe(true);
      const [lsn] = await both.source.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn()::text AS lsn');
      expect(finding.seenAt <= parseLsn(lsn?.lsn ?? '')).toBe(true);
      expect(finding.plan.pause === null).toBe(pause === null);
      expect(finding.plan.pause?.statements.join(' ') ?? '').toContain(pause ?? '');
      expect(finding.plan.carry.length > 0).toBe(pause === null);
      const strict = await changed(both.watch(false));
      expect(strict.plan.carry).toEqual([]);
      expect(strict.plan.pause).not.toBeNull();
      await follow(finding, both);
      await expectEqual(both);
      // Rows that are to be copied anew were taken away; all others are as on the source.
      const rows = (session: Session, table: string): Promise<unknown[]> =>
        session.query(`SELECT to_jsonb(t) AS row FROM ONLY ${table} t ORDER BY 1`);
      for (const { schema, name } of now.tables.filter((table) => table.kind === 'r')) {
        const table = `"${schema}"."${name}"`;
        const statements = finding.plan.pause?.statements.join() ?? '';
        const empty = statements.includes(`TRUNCATE ONLY ${table};`) || statements.includes(`CREATE TABLE ${table}`);
        expect(await rows(both.target, table)).toEqual(empty ? [] : await rows(both.source, table));
      }
      watch.accept(await readShape(both.source, filter));
      expect((await watch.check('now')).kind).toBe('none');
    } finally {
      await both.close();
    }
  });

  it('gives a person statements that do what would have been carried', async () => {
    const both = await pair();
    try {
      await both.source.run(`ALTER TABLE s.t ADD c integer DEFAULT 5; ALTER TABLE s.t ALTER c SET DEFAULT 6;
        ALTER TABLE s.t DROP b; ALTER TABLE s.parts ADD c integer DEFAULT 9;
        CREATE TABLE s.parts_3 PARTITION OF s.parts FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
        CREATE TABLE s.fresh (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text COLLATE "C" DEFAULT 'x' NOT NULL,
          g text GENERATED ALWAYS AS (v || '!') STORED, UNIQUE (v), CHECK (v <> ''));
        INSERT INTO s.fresh (v) VALUES ('one')`);
      const { plan } = await changed(both.watch(false));
      expect(plan.carry).toEqual([]);
      expect(plan.pause?.onResume).toMatchObject([
        { kind: 'add-table', relation: { name: 'fresh' }, create: false, followed: true },
        { kind: 'add-table', relation: { name: 'parts_3' }, create: false, followed: true },
      ]);
      for (const statement of plan.pause?.statements ?? []) await both.target.run(statement);
      await expectEqual(both);
      const rows = 'SELECT to_jsonb(t) AS row FROM s.t ORDER BY id';
      expect(await both.target.query(rows)).toEqual(await both.source.query(rows));
    } finally {
      await both.close();
    }
  });

  it('carries new tables, and creates the partitioned one first', async () => {
    const both = await pair();
    try {
      await both.source.run(`CREATE TABLE s.a_part_of (id integer) PARTITION BY LIST (id);
        CREATE TABLE s.a_leaf PARTITION OF s.a_part_of FOR VALUES IN (1)`);
      const { plan } = await changed(both.watch(true));
      expect(plan.pause).toBeNull();
      expect(plan.carry).toMatchObject([
        { kind: 'add-table', relation: { name: 'a_part_of' }, create: true, followed: false },
        { kind: 'add-table', relation: { name: 'a_leaf' }, create: true, followed: true },
      ]);
    } finally {
      await both.close();
    }
  });

  it('does not stop for what the cutover brings, and says that the archive is old', async () => {
    const both = await pair();
    try {
      const watch = both.watch(false);
      await both.source.run(`CREATE FUNCTION s.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER tr BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.f();
        ALTER TABLE s.child ADD FOREIGN KEY (k) REFERENCES s.t NOT VALID; COMMENT ON TABLE s.t IS 'x'; GRANT SELECT ON s.t TO PUBLIC;
        CREATE POLICY p ON s.t USING (true); CREATE INDEX plain ON s.t (a); TRUNCATE s.keyless`);
      await both.source.run('VACUUM FULL s.t');
      await both.source.run('ANALYZE');
      expect(await watch.check('now')).toEqual({ kind: 'none', archiveStale: true });
      watch.archiveTaken(await readShape(both.source, filter));
      expect(await watch.check('now')).toEqual({ kind: 'none', archiveStale: false });
      await both.source.run(
        `CREATE TEMP TABLE passing (a integer DEFAULT 1); INSERT INTO s.keyless VALUES (3); ANALYZE s.keyless`,
      );
      expect(await watch.check('now')).toEqual({ kind: 'none', archiveStale: false });
      await both.source.run(`COMMENT ON TABLE s.t IS 'y'`);
      expect(await watch.check('due')).toEqual({ kind: 'none', archiveStale: false });
      expect(await watch.check('now')).toEqual({ kind: 'none', archiveStale: true });
    } finally {
      await both.close();
    }
  });

  it('keeps the position of a change until another one comes', async () => {
    const both = await pair();
    try {
      const watch = both.watch(true);
      await both.source.run('ALTER TABLE s.t ADD c integer');
      const first = await changed(watch);
      await both.source.run('INSERT INTO s.keyless SELECT generate_series(1, 1000)');
      expect((await changed(watch)).seenAt).toBe(first.seenAt);
      await both.source.run('ALTER TABLE s.t ADD d integer');
      const second = await changed(watch);
      expect(second.seenAt > first.seenAt).toBe(true);
      expect(second.plan.carry).toMatchObject([{ text: expect.stringContaining('column d') }]);
    } finally {
      await both.close();
    }
  });

  it('lets no change of other schemas or tables outside of the job matter', async () => {
    const both = await pair();
    try {
      const narrow = { ...filter, excludeTable: ['keyless'], excludeTableData: ['s.child'] };
      const before = await readShape(both.source, narrow);
      expect(before.tables.map((table) => [table.name, table.followed])).toEqual([
        ['base', true],
        ['child', false],
        ['parts', false],
        ['parts_1', true],
        ['parts_2', true],
        ['t', true],
      ]);
      await both.source.run('ALTER TABLE s.keyless ADD c integer');
      expect(diffShapes(before, await readShape(both.source, narrow))).toEqual([]);
    } finally {
      await both.close();
    }
  });
});

/** As a relation message of the stream describes the table now. */
async function relationOf(session: Session, name: string): Promise<Relation> {
  const [table] = await session.query<{ oid: string; identity: Relation['identity'] }>(
    `SELECT c.oid::text AS oid, c.relreplident AS identity FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 's' AND c.relname = $1`,
    [name],
  );
  const columns = await session.query<{ name: string; type: string; modifier: number }>(
    `SELECT attname AS name, atttypid::text AS type, atttypmod AS modifier FROM pg_attribute
     WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum`,
    [table?.oid],
  );
  return {
    oid: Number(table?.oid),
    schema: 's',
    name,
    identity: table?.identity ?? 'd',
    columns: columns.map((column) => ({
      name: column.name,
      typeOid: Number(column.type),
      typeModifier: column.modifier,
      key: table?.identity === 'f',
    })),
  };
}

describe('a relation that the stream shows in another shape', () => {
  const examine = (both: Pair, relation: Relation, carry = true): ReturnType<typeof examineDrift> =>
    examineDrift({
      source: both.source,
      target: both.target,
      filter,
      relation,
      gate: { schema: 's', name: relation.name },
      before: both.before,
      job: 'j1',
      carry,
    });

  it('is added to at its place, with the value of older rows, on the parent of a partition', async () => {
    const both = await pair();
    try {
      await both.source.run('ALTER TABLE s.parts ADD c integer DEFAULT 5; ALTER TABLE s.parts ALTER c SET DEFAULT 6');
      const drift = await examine(both, await relationOf(both.source, 'parts_1'));
      expect(drift).toMatchObject({ kind: 'changed', plan: { pause: null } });
      await carryColumns(both.target, drift.plan.carry, 'now');
      // Changes of the older shape, applied again, get what older rows have.
      await both.target.run(`INSERT INTO s.parts_2 (id, at, note) VALUES (9, '2026-02-09', 'late')`);
      const values = await both.target.query('SELECT id, c FROM s.parts ORDER BY id');
      expect(values).toEqual([
        { id: 1, c: 5 },
        { id: 2, c: 5 },
        { id: 9, c: 5 },
      ]);
      await carryColumns(both.target, (await changed(both.watch(true))).plan.carry, 'all');
      await expectEqual(both);
    } finally {
      await both.close();
    }
  });

  it('that it had between two looks, and that the next look finds gone', async () => {
    const both = await pair();
    try {
      const watch = both.watch(true);
      await both.source.run('ALTER TABLE s.parts ADD passing uuid');
      const between = await relationOf(both.source, 'parts_2');
      await both.source.run('ALTER TABLE s.parts DROP passing');
      const gate = { schema: 's', name: 'parts_2' };
      const drift = await watch.examine(both, { relation: between, gate });
      expect(drift).toMatchObject({ kind: 'changed', plan: { pause: null, carry: [{ relation: { name: 'parts' } }] } });
      await carryColumns(both.target, drift.plan.carry, 'now');
      const [column] = await both.target.query(
        `SELECT format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = 's.parts_1'::regclass AND attname = 'passing'`,
      );
      expect(column).toEqual({ type: 'uuid' });
      const finding = await changed(watch);
      expect(finding.plan.pause).toBeNull();
      await carryColumns(both.target, finding.plan.carry, 'all');
      await expectEqual(both);
    } finally {
      await both.close();
    }
  });

  it('that it had for a while under FULL: with the value of older rows where a look saw it, else copied anew', async () => {
    for (const seen of [true, false]) {
      const both = await pair();
      try {
        const watch = both.watch(true);
        await both.source.run(`ALTER TABLE s.keyless REPLICA IDENTITY FULL`);
        await both.target.run(`ALTER TABLE s.keyless REPLICA IDENTITY FULL`);
        watch.accept(await readShape(both.source, filter));
        expect((await watch.check('now')).kind).toBe('none');
        await both.source.run('ALTER TABLE s.keyless ADD passing integer DEFAULT 5');
        expect((await watch.check(seen ? 'now' : 'due')).kind).toBe(seen ? 'changed' : 'none');
        const between = await relationOf(both.source, 'keyless');
        await both.source.run('ALTER TABLE s.keyless DROP passing');
        const drift = await watch.examine(both, { relation: between, gate: { schema: 's', name: 'keyless' } });
        expect(drift.plan.pause === null).toBe(seen);
        expect(drift.plan.pause?.statements.includes('TRUNCATE ONLY "s"."keyless";')).toBe(seen ? undefined : true);
        await carryColumns(both.target, drift.plan.carry, 'now');
        const expected = seen ? [{ passing: 5 }, { passing: 5 }] : [{ passing: undefined }, { passing: undefined }];
        const rows = await both.target.query('SELECT * FROM s.keyless');
        expect(rows.map((row) => ({ passing: row['passing'] }))).toEqual(expected);
      } finally {
        await both.close();
      }
    }
  });

  it('is judged by the target alone where nobody kept the shape it was fitted to', async () => {
    const both = await pair();
    try {
      const { oid } = await relationOf(both.source, 't');
      await both.source.run('ALTER TABLE s.t RENAME TO u; ALTER TABLE s.u ADD c integer DEFAULT 4');
      const now = await readShape(both.source, filter);
      const fitted = await fittedShape(both.target, now, filter, [{ oid, schema: 's', name: 't' }]);
      expect(diffShapes(fitted, now).map((change) => change.kind)).toEqual(['table-renamed', 'column-added']);
    } finally {
      await both.close();
    }
  });

  it('is renamed, not dropped and added, even by a name that has passed', async () => {
    const both = await pair();
    try {
      await both.source.run('ALTER TABLE s.t RENAME b TO c');
      const between = await relationOf(both.source, 't');
      const first = await examine(both, between);
      expect(first.plan.carry).toEqual([]);
      expect(first.plan.pause?.statements).toEqual(['ALTER TABLE "s"."t" RENAME COLUMN "b" TO "c";']);
      await both.source.run('ALTER TABLE s.t RENAME c TO d');
      const second = await examine(both, between);
      expect(second.plan.carry).toEqual([]);
      expect(second.plan.pause?.statements).toEqual(['ALTER TABLE "s"."t" RENAME COLUMN "b" TO "c";']);
      await both.target.run(second.plan.pause?.statements.join(' ') ?? '');
      const third = await examine(both, await relationOf(both.source, 't'));
      expect(third.plan.pause?.statements).toEqual(['ALTER TABLE "s"."t" RENAME COLUMN "c" TO "d";']);
    } finally {
      await both.close();
    }
  });

  it('leaves what it does not send, and pauses with the type it had there', async () => {
    const both = await pair();
    try {
      const old = await relationOf(both.source, 't');
      await both.source.run('ALTER TABLE s.t ALTER a TYPE bigint');
      const between = await relationOf(both.source, 't');
      await both.source.run('ALTER TABLE s.t ALTER a TYPE numeric; ALTER TABLE s.t ADD late integer');
      const drift = await examine(both, between);
      expect(drift.plan.pause?.statements.join(' ')).toContain('ALTER COLUMN "a" TYPE bigint');
      expect(drift.plan.pause?.statements.join(' ')).not.toContain('late');
      await both.target.run('ALTER TABLE s.t ADD late integer');
      expect(await examine(both, old)).toEqual({ kind: 'unexplained', plan: { carry: [], pause: null }, changes: [] });
    } finally {
      await both.close();
    }
  });

  it('of a table whose copy was given up: it is copied again, once it is empty', async () => {
    const both = await pair();
    try {
      const input = { source: both.source, target: both.target, filter, job: 'j1', carry: false, before: both.before };
      const relation = await relationOf(both.source, 'keyless');
      const refused = await examineDrift({ ...input, relation, gate: null });
      expect(refused.plan.pause?.statements).toEqual([
        'TRUNCATE ONLY "s"."keyless";',
        `DELETE FROM pgsluice_live.tables WHERE job = 'j1' AND relation = ${relation.oid};`,
      ]);
      for (const statement of refused.plan.pause?.statements ?? []) await both.target.run(statement);
      const copied = { kind: 'add-table', relation: { oid: relation.oid }, create: false, followed: true };
      expect(refused.plan.pause?.onResume).toMatchObject([copied]);
      const again = await examineDrift({ ...input, relation, gate: null });
      expect(again).toMatchObject({ kind: 'changed', plan: { pause: null, carry: [copied] } });
    } finally {
      await both.close();
    }
  });

  it('of a table that is on neither side any more', async () => {
    const both = await pair();
    try {
      await both.source.run('CREATE TABLE s.short (a integer)');
      const relation = await relationOf(both.source, 'short');
      expect(await examine(both, relation)).toMatchObject({
        kind: 'changed',
        plan: { carry: [{ kind: 'add-table' }] },
      });
      await both.source.run('DROP TABLE s.short');
      expect(await examine(both, relation)).toEqual({ kind: 'gone', plan: { carry: [], pause: null }, changes: [] });
    } finally {
      await both.close();
    }
  });
});
