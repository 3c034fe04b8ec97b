import { expect, test } from 'vitest';
import { PgsluiceError } from '../errors.ts';
import { afterRollback, fateOf, waitAfter } from './live-fate.ts';

const error = (code: string): PgsluiceError => new PgsluiceError({ code, message: 'x', hint: '' });

test('what a person can mend keeps the slot; what nobody can does not', () => {
  for (const code of ['SCHEMA_DRIFT', 'DISK_FULL', 'PERMISSION_DENIED', 'AUTHENTICATION_FAILED', 'PROGRESS_TAKEN'])
    expect(fateOf(error(code))).toBe('pause');
  for (const code of [
    'SLOT_LOST',
    'SLOT_GIVEN_UP',
    'TARGET_DIVERGED',
    'TARGET_WENT_BACK',
    'CUTOVER_SPLIT',
    'PROGRESS_MISSING',
  ])
    expect(fateOf(error(code))).toBe('fail');
  expect(fateOf(new TypeError('a fault of the program'))).toBe('fail');
});

test('an automatic cutover waits longer from failure to failure, and never for ever', () => {
  expect([1, 2, 3, 4, 5, 6, 20].map(waitAfter)).toEqual([30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000]);
});

test('a cutover that nobody asked for is not repeated for ever: what does not pass by itself stops it', () => {
  const passes = new PgsluiceError({ code: 'CUTOVER_TIMEOUT', message: 'x', hint: '', retryable: true });
  expect(afterRollback(passes, 'auto')).toBe('again');
  expect(afterRollback(error('CUTOVER_BLOCKED'), 'auto')).toBe('again');
  for (const code of ['CUTOVER_COUNTS_DIFFER', 'PERMISSION_DENIED', 'SERVER_ERROR', 'UNEXPECTED_ERROR', 'SCHEMA_DRIFT'])
    expect(afterRollback(error(code), 'auto')).toBe('pause');
  expect(afterRollback(error('TARGET_DIVERGED'), 'auto')).toBe('fail');
  // A person who asked once may ask again.
  expect(afterRollback(error('CUTOVER_COUNTS_DIFFER'), 'manual')).toBe('again');
  expect(afterRollback(error('SCHEMA_DRIFT'), 'manual')).toBe('pause');
});
