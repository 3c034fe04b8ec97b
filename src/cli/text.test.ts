import { expect, test } from 'vitest';
import { clean, cleanLines, fit, padTo, textWidth } from './text.ts';

test.each([
  ['\u001b[31mred\u001b[0m', 'red'],
  ['a\u001b]0;title\u0007b', 'ab'],
  ['a\u001b]8;;http://x\u001b\\link', 'alink'],
  ['a\u001bPq payload\u001b\\b', 'ab'],
  ['a\u009b31mb', 'a31mb'],
  ['line\nnext\r\tend', 'line next end'],
  ['\u202eevil\u2066', 'evil'],
  ['back\bspace\u0000', 'backspace'],
  ['lone \u001b', 'lone '],
  ['naïve 表 🐘', 'naïve 表 🐘'],
])('%j becomes %j', (dirty, expected) => {
  expect(clean(dirty)).toBe(expected);
});

test('a remedy keeps its lines', () => {
  expect(cleanLines('GRANT a;\r\n\tGRANT\u001b[2J b;')).toBe('GRANT a;\n\tGRANT b;');
});

test('columns, not characters, are counted', () => {
  expect(textWidth('abc')).toBe(3);
  expect(textWidth('表表')).toBe(4);
  expect(textWidth('e\u0301')).toBe(1);
  expect(textWidth('🐘')).toBe(2);
});

test('a cut text says so and never passes its width', () => {
  expect(fit('abcdef', 6)).toBe('abcdef');
  expect(fit('abcdef', 4)).toBe('abc…');
  expect(fit('表表表', 4)).toBe('表…');
  expect(fit('abc', 0)).toBe('');
  expect(padTo('表', 4)).toBe('表  ');
});
