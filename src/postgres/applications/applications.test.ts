import { expect, test } from 'vitest';
import { type MigrationTable, frameworkOf, frameworks, stateSql } from './frameworks.ts';
import { applicationWords, compareApplications } from './words.ts';

const table = (name: string, columns: Record<string, string>, schema = 'public'): MigrationTable => ({
  schema,
  name,
  columns: Object.keys(columns),
  types: Object.values(columns),
});
const nameOf = (name: string, columns: Record<string, string>): string | null =>
  frameworkOf(table(name, columns))?.name ?? null;

test('frameworks that share a table are told apart by its columns', () => {
  expect(nameOf('schema_migrations', { version: 'N', inserted_at: 'D' })).toBe('Phoenix/Ecto');
  expect(nameOf('schema_migrations', { version: 'S' })).toBe('Rails');
  expect(nameOf('schema_migrations', { version: 'N', dirty: 'B' })).toBe('golang-migrate');
  expect(nameOf('migrations', { id: 'N', migration: 'S', batch: 'N' })).toBe('Laravel');
  expect(nameOf('migrations', { id: 'N', timestamp: 'N', name: 'S' })).toBe('TypeORM');
});

test('a table that is only called like one is none', () => {
  expect(nameOf('schema_migrations', { id: 'N' })).toBeNull();
  expect(nameOf('migrations', { id: 'N', text: 'S' })).toBeNull();
  expect(nameOf('SequelizeMeta', { name: 'N' })).toBeNull();
  expect(nameOf('sequelizemeta', { name: 'S' })).toBeNull();
});

test('all tables are read by one statement, with their names quoted', () => {
  const [ecto] = frameworks;
  if (ecto === undefined) throw new Error('no framework');
  const sql = stateSql([
    { table: table('schema_migrations', {}, 'a"b'), framework: ecto },
    { table: table('schema_migrations', {}, 'c'), framework: ecto },
  ]);
  expect(sql).toContain(`FROM "a""b"."schema_migrations" t`);
  expect(sql.match(/UNION ALL/g)).toHaveLength(1);
});

test('the target is the same when it says what the source said, before or after', () => {
  const at = (version: string, migrations: number) => ({
    framework: 'Rails',
    table: '"public"."schema_migrations"',
    version,
    migrations,
    unfinished: [],
  });
  const one = (sources: (ReturnType<typeof at>[] | null)[], target: ReturnType<typeof at>[] | null) =>
    compareApplications(sources, target).map(({ sameOnTarget, version }) => [sameOnTarget, version]);
  expect(one([[at('2', 2)]], [at('2', 2)])).toEqual([[true, '2']]);
  // Moved on after the copy's moment.
  expect(one([[at('3', 3)], [at('2', 2)]], [at('2', 2)])).toEqual([[true, '2']]);
  expect(one([[at('2', 2)]], [at('1', 1)])).toEqual([[false, '2']]);
  expect(one([[at('2', 2)]], [])).toEqual([[false, '2']]);
  expect(one([[at('2', 2)]], null)).toEqual([[null, '2']]);
  // An import has no source.
  expect(one([null], [at('2', 2)])).toEqual([[null, '2']]);
  expect(applicationWords(at('2', 1))).toBe('Rails at 2 (1 migration, "public"."schema_migrations")');
});
