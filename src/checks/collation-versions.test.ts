import { expect, test } from 'vitest';
import { judgeCollationVersions } from './collation-versions.ts';

const database = 'shop';
const german = { collation: { schema: 'pg_catalog', name: 'de-x-icu' }, recorded: '1', actual: '2' };

test('nothing changed', () => {
  expect(judgeCollationVersions({ database, outdated: [], indexes: [] }).outcome).toBe('passed');
});

test('indexes that sort by another library are named, unique ones above all', () => {
  const indexes = [
    { schema: 's', name: 'u', relation: 't', unique: true },
    { schema: 's', name: 'i', relation: 't', unique: false },
  ];
  const verdict = judgeCollationVersions({
    database,
    outdated: [german, { collation: null, recorded: '2.31', actual: '2.36' }],
    indexes,
  });
  expect(verdict.outcome).toBe('warned');
  expect(verdict.found).toContain('2 indexes on text were built');
  expect(verdict.found).toContain(
    '1 unique one may have let duplicates in, which the target would refuse: "u" on "s"."t".',
  );
  expect(verdict.found).toContain('the default of the database shop (from 2.31 to 2.36)');
  expect(verdict.remedy.split('\n')).toEqual([
    '-- on the source:',
    'REINDEX INDEX CONCURRENTLY "s"."u";',
    'REINDEX INDEX CONCURRENTLY "s"."i";',
    'ALTER COLLATION "pg_catalog"."de-x-icu" REFRESH VERSION;',
    'ALTER DATABASE "shop" REFRESH COLLATION VERSION;',
  ]);
});

test('a change that no index feels is told', () => {
  expect(judgeCollationVersions({ database, outdated: [german], indexes: [] }).outcome).toBe('info');
});
