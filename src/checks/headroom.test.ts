import { describe, expect, test } from 'vitest';
import {
  connectionsAvailable,
  headroomNeed,
  judgeHeadroom,
  judgeLiveConnections,
  LIVE_CONNECTIONS,
  shareConnections,
} from './headroom.ts';
import type { ConnectionUse } from './headroom.ts';

const roomy: ConnectionUse = {
  maxConnections: 100,
  reserved: 3,
  inUse: 7,
  roleLimit: -1,
  roleInUse: 1,
  databaseLimit: -1,
  databaseInUse: 1,
  superuser: false,
};
const at = { role: 'a"b', database: 'shop' };
const jobs = { tableJobs: 4, indexJobs: 4 };

describe('connectionsAvailable', () => {
  test('counts the own session as free again', () => expect(connectionsAvailable(roomy)).toBe(91));
  test('the tightest limit binds', () => {
    expect(connectionsAvailable({ ...roomy, roleLimit: 2 })).toBe(2);
    expect(connectionsAvailable({ ...roomy, roleLimit: 9, databaseLimit: 5, databaseInUse: 4 })).toBe(2);
  });
  test('role and database limits do not bind a superuser', () => {
    expect(connectionsAvailable({ ...roomy, roleLimit: 1, databaseLimit: 1, superuser: true })).toBe(91);
  });
  test('over the limit is still the one we hold', () => {
    expect(connectionsAvailable({ ...roomy, roleLimit: 1, roleInUse: 3 })).toBe(1);
  });
});

describe('judgeHeadroom', () => {
  const source = headroomNeed('source', jobs);
  const target = headroomNeed('target', jobs);
  test('one connection works, slowly, and the remedy is named', () => {
    expect(judgeHeadroom({ ...roomy, roleLimit: 1 }, source, at)).toMatchObject({
      outcome: 'warned',
      code: null,
      remedy: 'ALTER ROLE "a""b" CONNECTION LIMIT 5;',
    });
  });
  test('two are enough, and fewer jobs run', () => {
    expect(judgeHeadroom({ ...roomy, roleLimit: 2 }, source, at).outcome).toBe('info');
  });
  test('the target works with one', () => {
    const verdict = judgeHeadroom({ ...roomy, databaseLimit: 1 }, target, at);
    expect(verdict.outcome).toBe('warned');
    expect(verdict.remedy).toContain('ALTER DATABASE "shop"');
  });
  test('plenty', () => expect(judgeHeadroom(roomy, source, at).outcome).toBe('passed'));
});

describe('judgeLiveConnections', () => {
  const { source } = LIVE_CONNECTIONS;
  test('one less than the cutover takes fails, with the statement that gives them', () => {
    expect(judgeLiveConnections({ ...roomy, roleLimit: source - 1 }, source, at)).toMatchObject({
      outcome: 'failed',
      code: 'CONNECTIONS_TOO_FEW',
      remedy: `ALTER ROLE "a""b" CONNECTION LIMIT ${source};`,
    });
    expect(judgeLiveConnections({ ...roomy, maxConnections: 12 }, source, at).outcome).toBe('failed');
  });
  test('the remedy counts who is connected already', () => {
    const use = { ...roomy, databaseLimit: 9, databaseInUse: 4 };
    expect(judgeLiveConnections(use, source, at).remedy).toBe(`ALTER DATABASE "shop" CONNECTION LIMIT ${source + 3};`);
  });
  test('as many as it takes pass', () => {
    expect(judgeLiveConnections({ ...roomy, roleLimit: source }, source, at).outcome).toBe('passed');
  });
});

test('two databases of one server share what is free, the source first', () => {
  expect(shareConnections(2, 2)).toEqual({ source: 2, target: 1 });
  expect(shareConnections(1, 1)).toEqual({ source: 1, target: 1 });
  expect(shareConnections(9, 9)).toEqual({ source: 5, target: 5 });
  expect(shareConnections(2, 50)).toEqual({ source: 2, target: 1 });
});
