import { expect, test } from 'vitest';
import { judgeDowngrade, newerObjectsSql } from './downgrade.ts';

test('only what lies between the majors is asked for', () => {
  expect(newerObjectsSql(17, 17, false)).toBeNull();
  expect(newerObjectsSql(16, 15, false)).toMatch(/^SELECT 16 AS since/);
  const sql = newerObjectsSql(18, 17, false) ?? '';
  expect(sql).toContain('is generated and virtual');
  expect(sql).not.toContain('MAINTAIN');
  expect(newerObjectsSql(17, 16, true)).not.toContain('MAINTAIN');
});

test('what the older target does not know is named', () => {
  expect(judgeDowngrade(17, 15, []).outcome).toBe('info');
  const object = { since: 18, what: 'is generated and virtual', schema: 's', name: 't', part: 'c', relation: true };
  expect(judgeDowngrade(18, 15, [object])).toMatchObject({
    code: 'DOWNGRADE_REFUSED',
    found:
      'PostgreSQL 15 does not know 1 thing that the source uses: "s"."t": "c" is generated and virtual (PostgreSQL 18).',
  });
});
