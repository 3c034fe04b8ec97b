import { expect, test } from 'vitest';
import { parseDatabases } from './group-options.ts';

test.each([
  ['shop', ['shop']],
  ['shop,billing', ['shop', 'billing']],
  [' shop , Billing Archive ,x', ['shop', 'Billing Archive', 'x']],
  ['"a,b",c', ['a,b', 'c']],
  ['" spaced ","say ""hi"""', [' spaced ', 'say "hi"']],
  ["it's,UPPER", ["it's", 'UPPER']],
])('%s names databases', (text, names) => {
  expect(parseDatabases(text)).toEqual(names);
  expect(parseDatabases(text, ['first'])).toEqual(['first', ...names]);
});

test.each(['', ',', 'a,', ',a', 'a,,b', '"a', '"a"b', '""'])('%j is refused', (text) => {
  expect(() => parseDatabases(text)).toThrow('Write names like');
});
