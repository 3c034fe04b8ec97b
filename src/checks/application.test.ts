import { expect, test } from 'vitest';
import { judgeApplications } from './application.ts';

const ecto = {
  framework: 'Phoenix/Ecto',
  table: '"public"."schema_migrations"',
  version: '20240101120000',
  migrations: 12,
  unfinished: [],
};

test('the application and its version are told', () => {
  expect(judgeApplications({ found: [ecto], more: 0, unread: null })).toMatchObject({
    outcome: 'info',
    found: 'Phoenix/Ecto at 20240101120000 (12 migrations, "public"."schema_migrations").',
  });
  expect(judgeApplications({ found: [ecto], more: 3, unread: null }).found).toContain('and 3 more migration tables');
  expect(judgeApplications({ found: [], more: 0, unread: null }).outcome).toBe('passed');
});

test('migrations that did not end are warned of, by name', () => {
  const verdict = judgeApplications({ found: [{ ...ecto, unfinished: ['20240102_x'] }], more: 0, unread: null });
  expect(verdict.outcome).toBe('warned');
  expect(verdict.found).toContain('1 migration failed or did not end: 20240102_x (Phoenix/Ecto).');
});

test('a table that could not be read in time stops nothing', () => {
  expect(judgeApplications({ found: [], more: 0, unread: 'it took too long.' }).outcome).toBe('skipped');
});
