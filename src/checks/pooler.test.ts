import { describe, expect, test } from 'vitest';
import { judgePooler } from './pooler.ts';
import type { PoolerSigns } from './pooler.ts';

const direct: PoolerSigns = {
  side: 'source',
  host: 'db.example.com',
  port: 5432,
  announcedPid: 10,
  backendPids: [10, 10, 10],
  otherPid: 11,
  snapshotRefusal: '',
};

describe('judgePooler', () => {
  test('a direct connection', () => expect(judgePooler(direct).outcome).toBe('passed'));
  test('a direct connection on a pooler-like port', () =>
    expect(judgePooler({ ...direct, port: 6543 }).outcome).toBe('passed'));
  test('the server process changes between transactions', () => {
    expect(judgePooler({ ...direct, backendPids: [10, 12] }).code).toBe('TRANSACTION_POOLER');
  });
  test('two sessions share one server process', () => {
    expect(judgePooler({ ...direct, announcedPid: 99, otherPid: 10 }).code).toBe('TRANSACTION_POOLER');
  });
  test('an exported snapshot is unknown to the next connection', () => {
    const verdict = judgePooler({ ...direct, snapshotRefusal: 'invalid snapshot identifier' });
    expect(verdict.code).toBe('TRANSACTION_POOLER');
    expect(verdict.found).toContain('invalid snapshot identifier');
  });
  test('a made-up process id behind a pooler address', () => {
    const verdict = judgePooler({ ...direct, host: 'ep-x-pooler.eu.example.com', announcedPid: 99, otherPid: null });
    expect(verdict.code).toBe('TRANSACTION_POOLER');
    expect(verdict.remedy).toContain('without "-pooler"');
  });
  test('a pooler that keeps its server process is let through with a warning', () => {
    expect(judgePooler({ ...direct, announcedPid: 99 }).outcome).toBe('warned');
  });
});
