import { describe, expect, test } from 'vitest';
import { parseEndpoint } from './settings.ts';
import { type PgTools, chooseTools, libpqEnvironment, parseToolVersion, mayPass } from './tools.ts';

describe('the version a tool prints', () => {
  test.each([
    ['pg_dump (PostgreSQL) 17.6 (Debian 17.6-1.pgdg12+1)\n', 17, '17.6'],
    ['pg_dump (PostgreSQL) 15.18\n', 15, '15.18'],
    ['pg_restore (PostgreSQL) 18beta2\n', 18, '18beta2'],
    ['pg_dump (PostgreSQL) 9.6.24\n', 9, '9.6.24'],
    ['pg_dump (EnterpriseDB) 16.4.1\n', 16, '16.4.1'],
  ])('%s', (output, major, version) => {
    expect(parseToolVersion(output)).toEqual({ major, version });
  });

  test('is not guessed', () => {
    expect(parseToolVersion('usage: pg_dump')).toBeNull();
    expect(parseToolVersion('')).toBeNull();
  });
});

function tools(dir: string, version: string): PgTools {
  return {
    dir,
    pgDump: `${dir}/pg_dump`,
    pgRestore: `${dir}/pg_restore`,
    major: Number.parseInt(version, 10),
    version,
  };
}

describe('the tools chosen', () => {
  const found = [tools('a', '15.18'), tools('b', '18.6'), tools('c', '17.9'), tools('d', '17.11'), tools('e', '17.11')];

  test('are the smallest major that is new enough, its newest minor, the first folder', () => {
    expect(chooseTools(found, 15)?.dir).toBe('a');
    expect(chooseTools(found, 16)?.dir).toBe('d');
    expect(chooseTools(found, 18)?.dir).toBe('b');
  });

  test('are none when all are too old', () => {
    expect(chooseTools(found, 19)).toBeNull();
    expect(chooseTools([], 15)).toBeNull();
  });
});

describe('the environment for libpq', () => {
  test('says everything the settings say', () => {
    const settings = parseEndpoint(
      { url: 'postgres://u:p@h:6000/d?sslmode=verify-ca&sslrootcert=/ca.crt&connect_timeout=7' },
      'source',
    );
    expect(libpqEnvironment(settings)).toMatchObject({
      PGHOST: 'h',
      PGPORT: '6000',
      PGUSER: 'u',
      PGPASSWORD: 'p',
      PGDATABASE: 'd',
      PGSSLMODE: 'verify-ca',
      PGSSLROOTCERT: '/ca.crt',
      PGAPPNAME: 'pgsluice',
      PGCONNECT_TIMEOUT: '7',
      PGCLIENTENCODING: 'UTF8',
    });
  });

  test('holds nothing else of ours', () => {
    process.env['PGSLUICE_TOKEN'] = 'token';
    process.env['PGOPTIONS'] = '-c work_mem=1';
    const env = libpqEnvironment(parseEndpoint({ host: 'h', user: 'u' }, 'source'));
    delete process.env['PGSLUICE_TOKEN'];
    delete process.env['PGOPTIONS'];
    expect(env).not.toHaveProperty('PGSLUICE_TOKEN');
    expect(env).not.toHaveProperty('PGOPTIONS');
    expect(env).not.toHaveProperty('PGPASSWORD');
  });
});

test('a program that lost its server may be run again, one that was refused may not', () => {
  expect(mayPass('pg_dump: error: query failed: server closed the connection unexpectedly')).toBe(true);
  expect(mayPass('pg_dump: error: connection to server at "db" (10.0.0.1), port 5432 failed: Connection refused')).toBe(
    true,
  );
  expect(mayPass('FATAL:  the database system is starting up')).toBe(true);
  expect(mayPass('pg_dump: error: permission denied for table secrets')).toBe(false);
});
