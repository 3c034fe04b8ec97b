import { Command } from 'commander';
import { expect, test } from 'vitest';
import { addKeepOptions, type KeepFlags, retentionOf } from './keep-options.ts';

const parse = (...args: string[]): KeepFlags => {
  const command = addKeepOptions(new Command().exitOverride().configureOutput({ writeErr: () => undefined }));
  return command.parse(args, { from: 'user' }).opts();
};

test('what is kept is told in days and bytes', () => {
  expect(retentionOf(parse())).toEqual({});
  expect(retentionOf(parse('--keep-days', '7', '--keep-size', '1.5GB'))).toEqual({ maxAgeDays: 7, maxBytes: 1.5e9 });
});

test.each([
  ['--keep-days', '0'],
  ['--keep-days', '1.5'],
  ['--keep-days', '-3'],
  ['--keep-size', '12'],
  ['--keep-size', 'much'],
])('%s %s is refused', (flag, value) => {
  expect(() => parse(flag, value)).toThrow(/must be|Write a size|argument/);
});
