import { describe, expect, test } from 'vitest';
import { PgsluiceError } from '../errors.ts';
import { judgeReached, judgeSameDatabase, judgeStandbySource, judgeTargetWritable, judgeUnreached } from './connect.ts';
import type { ServerFingerprint } from './connect.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';

const settings: ConnectionSettings = {
  host: 'db.example.com',
  port: 5432,
  user: 'app',
  password: 'secret',
  database: 'shop',
  sslmode: 'require',
  sslrootcert: null,
  applicationName: 'pgsluice',
  connectTimeoutMs: 1000,
};
const print: ServerFingerprint = {
  systemIdentifier: '1',
  startedAt: '100',
  port: '5432',
  databaseOid: 5,
  database: 'shop',
  inRecovery: false,
};

describe('judgeReached', () => {
  test('names cipher and whether the certificate was verified, and no password', () => {
    const verdict = judgeReached(settings, '15.1', { tls: true, tlsVersion: 'TLSv1.3', cipher: 'AES' }, 1.26);
    expect(verdict.outcome).toBe('passed');
    expect(verdict.found).toContain('TLSv1.3, AES, certificate not verified (sslmode=require), 1.3 ms');
    expect(verdict.found).not.toContain('secret');
  });
  test('tells of an unencrypted way to another machine only', () => {
    const plain = { tls: false, tlsVersion: null, cipher: null };
    expect(judgeReached(settings, '15.1', plain, 1).outcome).toBe('info');
    expect(judgeReached({ ...settings, host: '127.0.0.1' }, '15.1', plain, 1).outcome).toBe('passed');
    expect(judgeReached({ ...settings, host: '/run/postgresql' }, '15.1', plain, 1).outcome).toBe('passed');
  });
});

test('an unreachable side carries the explained error', () => {
  const error = new PgsluiceError({ code: 'UNKNOWN_HOST', message: 'm', hint: 'h', retryable: true });
  expect(judgeUnreached(error)).toEqual({
    outcome: 'failed',
    code: 'UNKNOWN_HOST',
    found: 'm',
    remedy: 'h',
    retryable: true,
  });
});

const verdict = (target: Partial<ServerFingerprint>, source: Partial<ServerFingerprint> = {}) =>
  judgeSameDatabase({ ...print, ...source }, { ...print, ...target });

describe('judgeSameDatabase', () => {
  test('one server, one database', () => expect(verdict({}).code).toBe('SAME_DATABASE'));
  test('one server, two databases', () => expect(verdict({ database: 'copy', databaseOid: 6 }).outcome).toBe('passed'));
  test('without system identifiers the start time decides', () => {
    expect(verdict({ systemIdentifier: null }).code).toBe('SAME_DATABASE');
    expect(verdict({ systemIdentifier: null, startedAt: '101' }).outcome).toBe('passed');
  });
  test('a standby and its primary', () => {
    expect(verdict({ startedAt: '200', inRecovery: true }).code).toBe('SAME_DATABASE');
    expect(verdict({ startedAt: '200' }, { inRecovery: true }).code).toBe('SAME_DATABASE');
  });
  test('a promoted copy of the data directory is another server', () =>
    expect(verdict({ startedAt: '200' }).outcome).toBe('info'));
});

test('a standby may be a source, with a warning', () => {
  const standby = { inRecovery: true, feedback: false, delayMs: 30_000 };
  expect(judgeStandbySource(standby).outcome).toBe('warned');
  expect(judgeStandbySource({ ...standby, feedback: true }).outcome).toBe('warned');
  expect(judgeStandbySource({ ...standby, feedback: true, delayMs: -1 }).outcome).toBe('info');
  expect(judgeStandbySource({ ...standby, inRecovery: false }).outcome).toBe('passed');
});

describe('judgeTargetWritable', () => {
  test('standby', () => {
    expect(judgeTargetWritable({ inRecovery: true, readOnlyDefault: false, resets: [] }).code).toBe('TARGET_READ_ONLY');
  });
  test('read only by setting: the remedy undoes that very setting', () => {
    const resets = ['ALTER DATABASE d RESET default_transaction_read_only;'];
    expect(judgeTargetWritable({ inRecovery: false, readOnlyDefault: true, resets })).toMatchObject({
      code: 'TARGET_READ_ONLY',
      remedy: `SET default_transaction_read_only TO off;\n${resets[0] ?? ''}`,
    });
    expect(judgeTargetWritable({ inRecovery: false, readOnlyDefault: true, resets: [] }).remedy).toContain(
      'ALTER SYSTEM',
    );
  });
  test('writable', () => {
    expect(judgeTargetWritable({ inRecovery: false, readOnlyDefault: false, resets: [] }).outcome).toBe('passed');
  });
});
