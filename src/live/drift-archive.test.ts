import { expect, test } from 'vitest';
import type { ArchiveEntry } from '../postgres/archive.ts';
import { diffArchives, planArchive } from './drift-archive.ts';

function entry(type: string, name: string, statements: string[], part: Partial<ArchiveEntry> = {}): ArchiveEntry {
  return {
    dumpId: 1,
    classOid: 0,
    oid: 1,
    dependencies: [],
    type,
    schema: 's',
    name,
    owner: 'app',
    section: 'pre-data',
    settings: [],
    statements,
    ...part,
  };
}

const table = entry('TABLE', 't', ['CREATE TABLE s.t (a integer);']);
const comment = (text: string): ArchiveEntry => entry('COMMENT', 'TABLE t', [`COMMENT ON TABLE s.t IS '${text}';`]);
const f = (body: string): ArchiveEntry =>
  entry('FUNCTION', 'f(a integer)', [
    `CREATE FUNCTION s.f(a integer) RETURNS integer LANGUAGE sql AS '${body}';`,
    'ALTER FUNCTION s.f(a integer) OWNER TO app;',
  ]);
const view = entry('VIEW', 'v', ['CREATE VIEW s.v AS SELECT 1 AS a;', 'ALTER TABLE s.v OWNER TO app;']);
const trigger = entry('TRIGGER', 't tr', ['CREATE TRIGGER tr …;'], { section: 'post-data' });
const index = entry('INDEX', 'i', ['CREATE INDEX i ON s.t USING btree (a);'], { section: 'post-data' });
const unique = entry('INDEX', 'u', ['CREATE UNIQUE INDEX u ON s.t USING btree (a);'], { section: 'post-data' });
const own = entry('TABLE', 'progress', ['CREATE TABLE pgsluice_live.progress ();'], { schema: 'pgsluice_live' });

test('entries are known by type, schema and name, in whatever order; what a job made for itself is none', () => {
  const diff = diffArchives(
    { entries: [table, view, f('1'), comment('a'), own] },
    { entries: [f('2'), table, trigger, comment('a')] },
  );
  expect(diff.added).toEqual([trigger]);
  expect(diff.removed).toEqual([view]);
  expect(diff.changed).toEqual([{ old: f('1'), fresh: f('2') }]);
});

test('entries of one name are matched by what they say before one is called changed', () => {
  const grant = (to: string): ArchiveEntry => entry('DEFAULT ACL', 'DEFAULT PRIVILEGES FOR TABLES', [`GRANT ${to};`]);
  const diff = diffArchives({ entries: [grant('a'), grant('b')] }, { entries: [grant('b'), grant('c'), grant('a')] });
  expect(diff).toMatchObject({ added: [grant('c')], removed: [], changed: [] });
});

test('what the cutover makes, and what the catalogue tells exactly, needs nothing', () => {
  const diff = diffArchives({ entries: [] }, { entries: [table, trigger, unique] });
  expect(planArchive(diff, { carry: false })).toEqual({ statements: [], restore: [], pause: null });
  const back = diffArchives({ entries: [table, trigger, unique] }, { entries: [] });
  expect(planArchive(back, { carry: false })).toEqual({ statements: [], restore: [], pause: null });
});

test('a comment on what waits for the cutover waits with it', () => {
  const made = { ...trigger, dumpId: 7 };
  const about = entry('COMMENT', 'TRIGGER tr ON t', [`COMMENT ON TRIGGER tr ON s.t IS 'x';`], {
    dumpId: 8,
    dependencies: [7],
    section: 'post-data',
  });
  const onIndex = entry('COMMENT', 'INDEX i', [`COMMENT ON INDEX s.i IS 'x';`], { dumpId: 9, section: 'post-data' });
  const diff = diffArchives({ entries: [] }, { entries: [made, about, onIndex] });
  expect(planArchive(diff, { carry: false })).toEqual({ statements: [], restore: [onIndex], pause: null });
});

test('comments, owners, bodies and plain indexes are brought along without asking', () => {
  const owned = entry('VIEW', 'v', ['CREATE VIEW s.v AS SELECT 1 AS a;', 'ALTER TABLE s.v OWNER TO other;']);
  const diff = diffArchives(
    { entries: [table, comment('a'), f('1'), view, entry('COMMENT', 'VIEW v', [`COMMENT ON VIEW s.v IS 'x IS y';`])] },
    { entries: [table, comment('b'), f('2'), owned, index] },
  );
  expect(planArchive(diff, { carry: false })).toEqual({
    statements: [
      'COMMENT ON VIEW s.v IS NULL;',
      `COMMENT ON TABLE s.t IS 'b';`,
      `CREATE OR REPLACE FUNCTION s.f(a integer) RETURNS integer LANGUAGE sql AS '2';`,
      'ALTER FUNCTION s.f(a integer) OWNER TO app;',
      'ALTER TABLE s.v OWNER TO other;',
    ],
    restore: [index],
    pause: null,
  });
  expect(planArchive(diffArchives({ entries: [index] }, { entries: [] }), { carry: false }).statements).toEqual([
    'DROP INDEX IF EXISTS "s"."i";',
  ]);
});

test('new and dropped objects stop the job with their statements unless they may be carried', () => {
  const type = entry('TYPE', 'pair', ['CREATE TYPE s.pair AS (a integer);']);
  const diff = diffArchives({ entries: [f('1'), view] }, { entries: [type] });
  const drops = ['DROP VIEW IF EXISTS s.v;', 'DROP FUNCTION IF EXISTS s.f(a integer);'];
  const asked = planArchive(diff, { carry: false });
  expect(asked.pause?.statements).toEqual([...drops, ...type.statements]);
  expect(asked.pause?.message).toContain('TYPE s.pair is new');
  expect(asked).toMatchObject({ statements: [], restore: [] });
  expect(planArchive(diff, { carry: true })).toEqual({ statements: drops, restore: [type], pause: null });
});

test('a change that no statement is certain for always stops, with what is wanted', () => {
  const domain = (check: string): ArchiveEntry =>
    entry('DOMAIN', 'd', [`CREATE DOMAIN s.d AS integer CHECK (${check});`]);
  const diff = diffArchives({ entries: [domain('VALUE > 0')] }, { entries: [domain('VALUE > 1')] });
  const plan = planArchive(diff, { carry: true });
  expect(plan.statements).toEqual([]);
  expect(plan.pause?.message).toContain('CHECK (VALUE > 1)');
});
