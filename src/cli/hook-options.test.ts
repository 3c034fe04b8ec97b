import { InvalidArgumentError } from 'commander';
import { expect, test } from 'vitest';
import { parseHook, parseHookCommand, toHooks } from './hook-options.ts';

test('a hook is a moment and an address', () => {
  expect(parseHook('completed=https://a.example/x?y=z')).toEqual({
    on: 'completed',
    webhook: 'https://a.example/x?y=z',
  });
  for (const wrong of ['https://a.example/', 'done=https://a.example/', 'completed=', 'completed=file:///x', '=x'])
    expect(() => parseHook(wrong), wrong).toThrow(InvalidArgumentError);
});

test('a command is words, or a JSON array where a shell would have to read it', () => {
  expect(parseHookCommand('before-cutover=bin/stop  now')).toEqual({
    on: 'before-cutover',
    command: ['bin/stop', 'now'],
  });
  expect(parseHookCommand('failed=["a b","c=d"]')).toEqual({ on: 'failed', command: ['a b', 'c=d'] });
  for (const wrong of ['failed=', 'failed=echo "x y"', 'failed=a; b', 'failed=a $HOME', 'failed=[]', 'failed=[1]'])
    expect(() => parseHookCommand(wrong), wrong).toThrow(InvalidArgumentError);
});

test('both kinds make one list', () => {
  expect(toHooks({})).toEqual([]);
  expect(toHooks({ hook: [parseHook('failed=http://a/')], hookCommand: [parseHookCommand('failed=x')] })).toHaveLength(
    2,
  );
});
