import { expect, test } from 'vitest';
import { columnLiteral } from './array-literal.ts';
import { UNCHANGED, type Value } from './types.ts';

const literal = (values: readonly Value[], plain = false, delimiter = ','): string =>
  columnLiteral(
    values.map((value) => [value]),
    0,
    0,
    values.length,
    plain,
    delimiter,
  );

test('NULL is a word without quotes, the text null one with', () => {
  expect(literal([null, 'null', 'NULL', ''])).toBe('{NULL,"null","NULL",""}');
});

test('quotes and backslashes are escaped, everything else stands as it is', () => {
  expect(literal(['a"b', 'a\\b', '\\"', '{1,2}', ' x ', 'ü\n'])).toBe(
    '{"a\\"b","a\\\\b","\\\\\\"","{1,2}"," x ","ü\n"}',
  );
});

test('plain values need no quotes, and a delimiter of their own is kept', () => {
  expect(literal(['1', null, '-infinity'], true)).toBe('{1,NULL,-infinity}');
  expect(literal(['(1,1),(0,0)', null], false, ';')).toBe('{"(1,1),(0,0)";NULL}');
  expect(literal([])).toBe('{}');
});

test('a part of the rows and one of the columns', () => {
  const rows = [
    ['a', '1'],
    ['b', '2'],
    ['c', '3'],
  ];
  expect(columnLiteral(rows, 1, 1, 3, true, ',')).toBe('{2,3}');
});

test('a value that is not known is never written', () => {
  expect(() => literal([UNCHANGED])).toThrow(RangeError);
});
