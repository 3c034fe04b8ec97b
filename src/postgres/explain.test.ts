import { describe, expect, test } from 'vitest';
import { PgsluiceError, cancelledError } from '../errors.ts';
import { explainError, isTransient } from './explain.ts';
import { parseEndpoint } from './settings.ts';
import { sqlStateOf } from './sqlstate.ts';

const settings = parseEndpoint({ url: 'postgres://app:secret@db:5433/shop' }, 'target');

/** An error as node-postgres hands it over. */
function serverError(code: string, message: string, more: Record<string, string> = {}): Error {
  return Object.assign(new Error(message), { severity: 'ERROR', code, ...more });
}

function systemError(code: string): Error {
  return Object.assign(new Error(`connect ${code}`), { code, errno: -1, syscall: 'connect' });
}

const explain = (error: unknown, side: 'source' | 'target' = 'target'): PgsluiceError =>
  explainError(error, { side, settings, doing: 'copying "a"."b"' });

describe('what a server says', () => {
  test.each<[string, string, string, Record<string, string>?]>([
    ['AUTHENTICATION_FAILED', '28P01', 'password authentication failed for user "app"'],
    ['AUTHENTICATION_FAILED', '28000', 'Peer authentication failed for user "app"', { routine: 'auth_failed' }],
    ['UNKNOWN_ROLE', '28000', 'role "app" does not exist'],
    ['UNKNOWN_ROLE', '28000', 'Rolle »app« existiert nicht', { routine: 'InitializeSessionUserId' }],
    ['AUTHENTICATION_FAILED', '28000', 'role "app" is not permitted to log in', { routine: 'InitializeSessionUserId' }],
    ['NO_PG_HBA_ENTRY', '28000', 'no pg_hba.conf entry for host "1.2.3.4", user "app", database "shop", SSL off'],
    ['NO_PG_HBA_ENTRY', '28000', 'kein Eintrag', { routine: 'ClientAuthentication' }],
    ['TLS_REQUIRED', '28000', 'connection is insecure (try using `sslmode=require`)'],
    ['UNKNOWN_DATABASE', '3D000', 'database "shop" does not exist'],
    ['TOO_MANY_CONNECTIONS', '53300', 'sorry, too many clients already'],
    ['SERVER_STARTING', '57P03', 'the database system is starting up'],
    ['READ_ONLY_TARGET', '25006', 'cannot execute CREATE TABLE in a read-only transaction'],
    ['PERMISSION_DENIED', '42501', 'permission denied for schema public'],
    ['OUT_OF_DISK', '53100', 'could not extend file "base/1/2": No space left on device'],
    [
      'OUT_OF_LOCKS',
      '53200',
      'out of shared memory',
      { hint: 'You might need to increase max_locks_per_transaction.' },
    ],
    ['OUT_OF_MEMORY', '53200', 'out of memory'],
    ['EXTENSION_UNAVAILABLE', '0A000', 'extension "postgis" is not available'],
    ['EXTENSION_UNAVAILABLE', '58P01', 'could not open extension control file "/usr/share/postgis.control"'],
    ['ROLE_MISSING', '42704', 'role "reporting" does not exist'],
    ['SERVER_ERROR', '42704', 'type "public.mood" does not exist'],
    ['SNAPSHOT_GONE', '22023', 'invalid snapshot identifier: "00000003-0000001B-1"'],
    ['SNAPSHOT_GONE', '42704', 'snapshot "00000003-0000001B-1" does not exist'],
    ['SERVER_ERROR', '22023', 'invalid value for parameter "TimeZone"'],
    ['TRANSACTION_POOLER', '26000', 'prepared statement "s1" does not exist'],
    ['TRANSACTION_POOLER', '42P05', 'prepared statement "s1" already exists'],
    ['DEADLOCK', '40P01', 'deadlock detected'],
    ['QUERY_CANCELLED', '57014', 'canceling statement due to user request'],
    ['LOCK_TIMEOUT', '55P03', 'canceling statement due to lock timeout'],
    ['CONNECTION_LOST', '57P01', 'terminating connection due to administrator command'],
    ['CONNECTION_LOST', '25P03', 'terminating connection due to idle-in-transaction timeout'],
    ['CONNECTION_LOST', '08006', 'connection failure'],
    ['SERVER_ERROR', '23505', 'duplicate key value violates unique constraint "t_pkey"'],
  ])('%s: %s %s', (code, state, message, more = {}) => {
    const cause = serverError(state, message, more);
    const error = explain(cause);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(/^The target app@db:5433\/shop .*[.)]$/);
    expect(error.hint).not.toBe('');
    expect(error.message + error.hint).not.toContain('secret');
    expect(error.cause).toBe(cause);
    expect(sqlStateOf(error)).toBe(state);
  });

  test('anything else keeps its words, its SQLSTATE and what was being done', () => {
    const error = explain(serverError('23505', 'duplicate key value', { detail: 'Key (id)=(1) already exists.' }));
    expect(error.message).toContain('duplicate key value. Detail: Key (id)=(1) already exists. (SQLSTATE 23505)');
    expect(error.hint).toContain('copying "a"."b"');
  });

  test('a missing privilege has another remedy on each side', () => {
    const cause = serverError('42501', 'permission denied for table t');
    expect(explain(cause, 'source').hint).toContain('GRANT SELECT');
    expect(explain(cause, 'target').hint).toContain('--no-owner');
  });
});

describe('what the system says', () => {
  test.each([
    ['UNKNOWN_HOST', 'ENOTFOUND'],
    ['UNKNOWN_HOST', 'EAI_AGAIN'],
    ['CONNECTION_REFUSED', 'ECONNREFUSED'],
    ['HOST_UNREACHABLE', 'EHOSTUNREACH'],
    ['CONNECTION_LOST', 'ECONNRESET'],
    ['CONNECTION_LOST', 'EPIPE'],
    ['CONNECTION_LOST', 'ETIMEDOUT'],
    ['UNEXPECTED_ERROR', 'ESOMETHING'],
  ])('%s: %s', (code, system) => {
    expect(explain(systemError(system)).code).toBe(code);
    expect(sqlStateOf(systemError(system))).toBeNull();
  });

  test('while connecting, a timeout is one of connecting', () => {
    expect(explainError(systemError('ETIMEDOUT'), { side: 'source', doing: 'connecting' }).code).toBe(
      'CONNECT_TIMEOUT',
    );
  });

  test('of several addresses the one that refuses speaks', () => {
    const all = new AggregateError([systemError('ENETUNREACH'), systemError('ECONNREFUSED')]);
    expect(explain(all).code).toBe('CONNECTION_REFUSED');
  });

  test('node-postgres words for a dead connection are understood', () => {
    expect(explain(new Error('Connection terminated unexpectedly')).code).toBe('CONNECTION_LOST');
  });
});

test('an error of our own passes unchanged', () => {
  const own = cancelledError('Stopped.');
  expect(explain(own)).toBe(own);
});

describe('transient', () => {
  test.each(['08006', '57P01', '57P03', '40001', '40P01', '53300', '55P03', '57014', '25P03'])('%s is', (state) => {
    expect(isTransient(serverError(state, 'x'))).toBe(true);
    expect(isTransient(explain(serverError(state, 'x')))).toBe(true);
  });

  test.each(['23505', '42501', '53100', '25006', '42P01', '28P01', '0A000'])('%s is not', (state) => {
    expect(isTransient(serverError(state, 'x'))).toBe(false);
    expect(isTransient(explain(serverError(state, 'x')))).toBe(false);
  });

  test('a dead socket is, a cancellation and a fault of the program are not', () => {
    expect(isTransient(systemError('ECONNRESET'))).toBe(true);
    expect(isTransient(new Error('Connection terminated'))).toBe(true);
    expect(isTransient(cancelledError('Stopped.'))).toBe(false);
    expect(isTransient(new TypeError('x is undefined'))).toBe(false);
    expect(isTransient(serverError('53200', 'out of shared memory'))).toBe(false);
    expect(isTransient(serverError('53200', 'out of memory'))).toBe(true);
  });
});
