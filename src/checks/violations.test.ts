import { expect, test } from 'vitest';
import { chooseProbes, judgeViolations, probeSql } from './violations.ts';
import type { Probe } from './violations.ts';

const unique: Probe = {
  kind: 'unique',
  schema: 's',
  table: 't',
  name: 't_key',
  columns: ['a', 'b'],
  nullsEqual: false,
  parent: null,
  empty: false,
  bytes: 8192,
};
const foreign: Probe = {
  ...unique,
  kind: 'foreign',
  name: 't_fk',
  columns: ['p'],
  parent: { schema: 's', table: 'p', columns: ['id'], only: true },
};

test('what is asked of one table', () => {
  expect(probeSql(unique, 3)).toBe(
    'SELECT 3 AS n WHERE EXISTS (SELECT FROM ONLY "s"."t" WHERE "a" IS NOT NULL AND "b" IS NOT NULL GROUP BY "a", "b" HAVING count(*) > 1)',
  );
  expect(probeSql({ ...unique, nullsEqual: true }, 0)).not.toContain('WHERE "a"');
  expect(probeSql(foreign, 1)).toBe(
    'SELECT 1 AS n WHERE EXISTS (SELECT FROM ONLY "s"."t" c WHERE c."p" IS NOT NULL AND NOT EXISTS (SELECT FROM ONLY "s"."p" p WHERE p."id" = c."p"))',
  );
});

test('only small tables, the smallest first, and not too many of them', () => {
  const sized = (mib: number): Probe => ({ ...unique, bytes: mib * 2 ** 20 });
  expect(chooseProbes([sized(33), sized(2), sized(1)]).map((p) => p.bytes / 2 ** 20)).toEqual([1, 2]);
  expect(chooseProbes(Array.from({ length: 20 }, () => sized(20)))).toHaveLength(12);
});

test('violations are told with what shows the rows, and what was not looked at', () => {
  expect(judgeViolations({ violated: [], looked: 3, left: 0 })).toMatchObject({
    outcome: 'passed',
    found: '3 unique indexes and foreign keys hold.',
  });
  const verdict = judgeViolations({ violated: [unique, foreign], looked: 5, left: 2 });
  expect(verdict.outcome).toBe('warned');
  expect(verdict.found).toContain('1 unique index, which must be corrupt: "t_key" on "s"."t".');
  expect(verdict.found).toContain('by 1 foreign key: "t_fk" on "s"."t".');
  expect(verdict.found).toContain('2 others are too large');
  expect(verdict.remedy).toContain('REINDEX INDEX "s"."t_key";');
});
