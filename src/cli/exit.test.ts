import { expect, test } from 'vitest';
import type { Difference } from '../contract/report.ts';
import { PgsluiceError } from '../errors.ts';
import { exitCodeOf, exitCodeOfResult, toErrorView } from './exit.ts';

const difference: Difference = { kind: 'TABLE', name: 'a', change: 'missing', source: 'a', target: null };

test.each([
  ['completed', true, [], 'full', 0],
  ['completed', false, [], 'none', 0],
  ['completed', false, [], 'full', 4],
  ['completed', false, [difference], 'full', 4],
  ['completed', true, [difference], 'full', 4],
  ['failed', false, [], 'full', 1],
  ['blocked', false, [], 'full', 3],
  ['cancelled', false, [], 'full', 130],
] as const)('%s, verified %s, differences %j, --verify %s: exit %d', (status, verified, differences, verify, code) => {
  expect(exitCodeOfResult({ status, verified, differences: [...differences] }, verify)).toBe(code);
});

test.each([
  ['USAGE', 2],
  ['INVALID_URL', 2],
  ['JOB_NOT_FOUND', 2],
  ['FOREGROUND_AGENT', 2],
  ['COMMANDS_NOT_ALLOWED', 2],
  ['STATE_DIRECTORY_HELD', 2],
  ['CANCELLED', 130],
  ['CONNECTION_LOST', 1],
])('%s exits with %d', (code, exit) => {
  expect(exitCodeOf(new PgsluiceError({ code, message: 'm', hint: 'h' }))).toBe(exit);
});

test('an unknown error exits with 1 and shows its message without a stack', () => {
  const error = new Error('boom');
  expect(exitCodeOf(error)).toBe(1);
  expect(toErrorView(error).message).toContain('boom');
  expect(JSON.stringify(toErrorView(error))).not.toContain('exit.test');
});
