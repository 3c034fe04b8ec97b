import { expect, test } from 'vitest';
import { checksumSql, columnValue, rowNumber } from './checksum.ts';

test('types whose hash functions lose something go as text', () => {
  const column = (type: string, kind = 'b', builtIn = true): string => columnValue({ name: 'c', type, kind, builtIn });
  expect(column('int4')).toBe('"c"');
  expect(column('text')).toBe('"c" COLLATE "C"');
  for (const type of ['int8', 'numeric', 'float8', 'timestamptz', 'interval', 'jsonb', 'bytea']) {
    expect(column(type)).toBe('"c"::text COLLATE "C"');
  }
  const output = 'CASE num_nulls("c") WHEN 0 THEN concat("c") END COLLATE "C"';
  for (const type of ['bpchar', 'xml']) expect(column(type)).toBe(output);
  expect(column('mood', 'e', false)).toBe(output);
  expect(column('text', 'b', false)).toBe(output);
  expect(column('int4range', 'r')).toBe(output);
});

test('a table without columns is counted', () => {
  expect(rowNumber('hash', [])).toBe('0::int8');
  expect(checksumSql(null, 'ONLY "s"."t"', [], '')).toBe(
    'SELECT count(*)::text AS rows, NULL AS checksum FROM ONLY "s"."t"',
  );
  expect(checksumSql('hash', 'ONLY "s"."t"', [], 'WHERE id > 5')).toMatch(/FROM ONLY "s"\."t" WHERE id > 5$/);
});

test('between encodings the bytes of UTF-8 are compared, not those that are stored', () => {
  const columns = [{ name: 'c', type: 'text', kind: 'b', builtIn: true }];
  expect(rowNumber('md5', columns)).toContain('md5(ROW("c")::text)');
  expect(rowNumber('md5 utf8', columns)).toContain(`md5(convert_to(ROW("c")::text, 'UTF8'))`);
});
