import { expect, test } from 'vitest';
import { shownQuery } from './activity.ts';

test('a statement is shown on one line, cut, and without what may be a secret', () => {
  expect(shownQuery(' COPY "a"."b"\n  TO STDOUT ')).toBe('COPY "a"."b" TO STDOUT');
  expect(shownQuery('x'.repeat(1000))).toHaveLength(402);
  for (const secret of [
    `CREATE USER MAPPING FOR u SERVER s OPTIONS (user 'u', password 'canary')`,
    `CREATE SUBSCRIPTION s CONNECTION 'host=h canary' PUBLICATION p`,
    `SELECT 1; ALTER ROLE a PASSWORD 'canary'`,
  ]) {
    expect(shownQuery(secret)).not.toContain('canary');
  }
});
