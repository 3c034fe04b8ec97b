import { describe, expect, test } from 'vitest';
import { hasIdentity, judgeNotFollowed, judgeReplicaIdentity } from './live-tables.ts';
import type { LiveTable, NotFollowed } from './live-tables.ts';

const table = (given: Partial<LiveTable> = {}): LiveTable => ({
  schema: 'public',
  name: 't',
  persistence: 'p',
  owner: 'app',
  owned: true,
  identity: 'd',
  primaryKey: true,
  deferrableKey: false,
  identityIndex: false,
  candidate: null,
  generatedIdentity: false,
  tuples: 10,
  extension: null,
  publications: [],
  subscribed: false,
  ...given,
});

describe('replica identity', () => {
  test.each([
    [{}, true],
    [{ primaryKey: false }, false],
    [{ primaryKey: false, candidate: 'u' }, false],
    [{ identity: 'f', primaryKey: false }, true],
    [{ identity: 'n' }, false],
    [{ identity: 'i', identityIndex: true }, true],
    [{ identity: 'i', identityIndex: false }, false],
    [{ generatedIdentity: true }, false],
    [{ identity: 'f', generatedIdentity: true }, false],
  ])('%j: %s', (given, usable) => expect(hasIdentity(table(given))).toBe(usable));

  test('a table without one blocks: the source itself would refuse its updates', () => {
    const verdict = judgeReplicaIdentity([
      table(),
      table({ name: 'Log "x"', primaryKey: false }),
      table({ name: 'u', primaryKey: false, candidate: 'u_key' }),
      table({ name: 'off', identity: 'n' }),
      table({ name: 'late', primaryKey: false, deferrableKey: true }),
      table({ name: 'gen', generatedIdentity: true }),
    ]);
    expect(verdict).toMatchObject({ outcome: 'failed', code: 'NO_REPLICA_IDENTITY' });
    expect(verdict.found).toContain('5 tables');
    expect(verdict.found).toContain('A DEFERRABLE primary key does not serve.');
    expect(verdict.remedy.split('\n')).toEqual([
      'ALTER TABLE "public"."Log ""x""" REPLICA IDENTITY FULL; -- or give it a primary key, which is faster',
      'ALTER TABLE "public"."u" REPLICA IDENTITY USING INDEX "u_key";',
      'ALTER TABLE "public"."off" REPLICA IDENTITY DEFAULT;',
      'ALTER TABLE "public"."late" REPLICA IDENTITY FULL; -- or give it a primary key, which is faster',
      expect.stringContaining('-- "public"."gen": give it a unique index') as unknown,
    ]);
  });

  test('FULL without a key warns with the rows that a change searches', () => {
    expect(judgeReplicaIdentity([table({ identity: 'f' })]).outcome).toBe('passed');
    const verdict = judgeReplicaIdentity([
      table({ name: 'small', identity: 'f', primaryKey: false, tuples: -1 }),
      table({ name: 'big', identity: 'f', primaryKey: false, tuples: 1_234_567, candidate: 'k' }),
    ]);
    expect(verdict.outcome).toBe('warned');
    expect(verdict.found).toContain('"public"."big" (about 1,234,567 rows), "public"."small" (not analysed)');
    expect(verdict.remedy).toContain('"public"."big" REPLICA IDENTITY USING INDEX "k";');
  });

  test('tables that are not followed need none', () => {
    expect(judgeReplicaIdentity([table({ persistence: 'u', primaryKey: false })]).outcome).toBe('passed');
    expect(judgeReplicaIdentity([table({ extension: 'postgis', primaryKey: false })]).outcome).toBe('passed');
  });
});

describe('what is not followed', () => {
  const facts: NotFollowed = {
    tables: [table()],
    largeObjects: 0,
    materializedViews: 0,
    sequences: 0,
    eventTriggers: [],
    carrySchemaChanges: false,
    major: 15,
  };
  test('schema changes always are told, as information', () => {
    expect(judgeNotFollowed(facts)).toMatchObject({ outcome: 'info' });
    expect(judgeNotFollowed({ ...facts, sequences: 2, materializedViews: 3 })).toMatchObject({ outcome: 'info' });
    expect(judgeNotFollowed({ ...facts, carrySchemaChanges: true }).found).toContain('are carried over');
    expect(judgeNotFollowed({ ...facts, tables: [table({ publications: ['cdc'] })] })).toMatchObject({
      outcome: 'info',
      found: expect.stringContaining('1 table is in publications already: "cdc".') as unknown,
    });
  });
  test.each([
    [{ tables: [table({ persistence: 'u' })] }, 'SET LOGGED'],
    [{ largeObjects: 7 }, 'large objects'],
    [{ major: 10 }, 'TRUNCATE'],
    [{ tables: [table({ subscribed: true })] }, 'ALTER SUBSCRIPTION'],
  ])('what may be lost warns: %j', (change, remedy) => {
    const verdict = judgeNotFollowed({ ...facts, ...change });
    expect(verdict.outcome).toBe('warned');
    expect(verdict.remedy).toContain(remedy);
  });
  test('event triggers that fire always, and tables of extensions, warn', () => {
    expect(judgeNotFollowed({ ...facts, eventTriggers: ['audit'] })).toMatchObject({ outcome: 'warned' });
    expect(judgeNotFollowed({ ...facts, tables: [table({ extension: 'postgis' })] })).toMatchObject({
      outcome: 'warned',
    });
  });
});
