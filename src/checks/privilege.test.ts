import { describe, expect, test } from 'vitest';
import { JobOptions } from '../contract/options.ts';
import type { Relation } from './catalog.ts';
import { judgeLargeObjects, judgeRowSecurity, judgeSchemaUsage, judgeSelect, relationsToRead } from './privilege.ts';

const relation = (more: Partial<Relation> = {}): Relation => ({
  oid: 1,
  schema: 'public',
  name: 't',
  kind: 'r',
  persistence: 'p',
  owner: 'app',
  partition: false,
  populated: true,
  canSelect: true,
  schemaUsage: true,
  rowSecurity: false,
  rowSecurityForced: false,
  ...more,
});

describe('relationsToRead', () => {
  const all = [
    relation(),
    relation({ name: 'parent', kind: 'p' }),
    relation({ name: 'view', kind: 'v' }),
    relation({ name: 'seq', kind: 'S' }),
    relation({ name: 'other', schema: 'audit' }),
  ];
  const names = (options: object): string[] => relationsToRead(JobOptions.parse(options), all).map((r) => r.name);
  test('tables, partitioned tables and sequences', () => expect(names({})).toEqual(['t', 'parent', 'seq', 'other']));
  test('filters', () => expect(names({ excludeSchema: ['audit'], excludeTable: ['t'] })).toEqual(['parent', 'seq']));
  test('tables without their data are locked all the same', () => {
    expect(names({ excludeTableData: ['*'] })).toEqual(['t', 'parent', 'other']);
    expect(names({ schemaOnly: true })).toEqual(['t', 'parent', 'other']);
  });
});

test('USAGE on schemas', () => {
  expect(judgeSchemaUsage('r', [relation()]).outcome).toBe('passed');
  expect(
    judgeSchemaUsage('r"', [relation({ schemaUsage: false }), relation({ schema: 'a', schemaUsage: false })]),
  ).toMatchObject({
    code: 'MISSING_USAGE',
    remedy: 'GRANT USAGE ON SCHEMA "public", "a" TO "r""";',
  });
});

describe('judgeSelect', () => {
  test('prints one GRANT a relation', () => {
    const verdict = judgeSelect('r', [
      relation({ canSelect: false }),
      relation({ name: 's', kind: 'S', canSelect: false }),
      relation(),
    ]);
    expect(verdict).toMatchObject({
      code: 'MISSING_SELECT',
      remedy: 'GRANT SELECT ON "public"."t" TO "r";\nGRANT SELECT ON SEQUENCE "public"."s" TO "r";',
    });
    expect(verdict.found).toContain('2 relations');
  });
  test('many are granted by schema', () => {
    const many = Array.from({ length: 21 }, (_, i) => relation({ name: `t${i}`, canSelect: false }));
    const verdict = judgeSelect('r', many);
    expect(verdict.found).toContain('and 1 more');
    expect(verdict.remedy).toContain('GRANT SELECT ON ALL TABLES IN SCHEMA "public" TO "r";');
  });
});

test('large objects', () => {
  expect(judgeLargeObjects('r', 0, [], 0).outcome).toBe('passed');
  expect(judgeLargeObjects('r', 3, [], 0).outcome).toBe('passed');
  expect(judgeLargeObjects('r', 3, [16400], 1)).toMatchObject({
    code: 'MISSING_LARGE_OBJECT_SELECT',
    remedy: 'GRANT SELECT ON LARGE OBJECT 16400 TO "r";',
  });
  expect(judgeLargeObjects(`o'r`, 50, [1], 30).remedy).toContain(`'o''r'`);
});

test('row-level security', () => {
  expect(judgeRowSecurity('r', [relation()]).outcome).toBe('passed');
  expect(judgeRowSecurity('r', [relation({ rowSecurity: true })])).toMatchObject({ code: 'ROW_SECURITY_HIDES_ROWS' });
});
