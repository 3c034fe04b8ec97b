import { expect, test } from 'vitest';
import { qualified, quoteIdent, quoteLiteral } from './quote.ts';

test('identifiers are always quoted, quotes doubled', () => {
  expect(quoteIdent('plain')).toBe('"plain"');
  expect(quoteIdent('a "b" \\ $$ \n 🙂')).toBe('"a ""b"" \\ $$ \n 🙂"');
  expect(qualified('Sche.ma', 't"')).toBe('"Sche.ma"."t"""');
});

test('literals read the same whatever standard_conforming_strings is', () => {
  expect(quoteLiteral("it's")).toBe("'it''s'");
  expect(quoteLiteral('')).toBe("''");
  expect(quoteLiteral("a\\'b")).toBe(" E'a\\\\''b'");
});

test('a zero byte is refused', () => {
  expect(() => quoteIdent('a\0b')).toThrow('zero byte');
  expect(() => quoteLiteral('a\0b')).toThrow('zero byte');
});
