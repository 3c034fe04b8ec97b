import { expect, test } from 'vitest';
import { PgsluiceError } from '../errors.ts';
import { passes } from './run-live-copy.ts';

const error = (code: string, message = 'x', retryable = false): PgsluiceError =>
  new PgsluiceError({ code, message, hint: '', retryable });
const table = (retryable: boolean) => ({
  schema: 'public',
  name: 't',
  error: { code: 'X', message: '', hint: '', retryable },
});

test('only what passes by itself is tried again', () => {
  expect(passes(error('CONNECTION_LOST', 'gone', true), { failedTables: [] })).toBe(true);
  expect(passes(error('RESTORE_REFUSED'), { failedTables: [] })).toBe(false);
  expect(passes(new TypeError('a fault'), { failedTables: [] })).toBe(false);
});

test('failed tables pass when each of them does', () => {
  const failed = error('TABLES_FAILED', '2 tables', true);
  expect(passes(failed, { failedTables: [table(true), table(true)] })).toBe(true);
  expect(passes(failed, { failedTables: [table(true), table(false)] })).toBe(false);
  expect(passes(failed, { failedTables: [] })).toBe(false);
});

test('pg_dump has no code for a line that broke', () => {
  const ended =
    'pg_dump ended with exit code 1: pg_dump: error: query failed: server closed the connection unexpectedly';
  expect(passes(error('PG_TOOL_FAILED', ended), { failedTables: [] })).toBe(true);
  const denied = 'pg_dump ended with exit code 1: pg_dump: error: permission denied for table t';
  expect(passes(error('PG_TOOL_FAILED', denied), { failedTables: [] })).toBe(false);
});
