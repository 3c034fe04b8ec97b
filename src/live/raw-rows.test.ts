import { expect, test } from 'vitest';
import { tuple } from '../../test/support/pgoutput-messages.ts';
import { copyText } from './apply-copy.ts';
import type { TablePlan } from './apply-plan.ts';
import { columnLiteral } from './array-literal.ts';
import { ColumnLiterals, RawRows, lastOfEachKey, rawCopyText } from './raw-rows.ts';
import type { RawRow } from './types.ts';

const plan = {
  id: 'a.b',
  columns: [
    { name: 'n', plain: true, delimiter: ',' },
    { name: 't', plain: false, delimiter: ',' },
    { name: 'b', plain: false, delimiter: ';' },
  ],
} as unknown as TablePlan;

const raw = (values: readonly (string | Buffer | null)[]): RawRow => {
  const bytes = tuple(values);
  return { segment: Buffer.concat([Buffer.from('before'), bytes, Buffer.from('after')]), at: 6, bytes: bytes.length };
};

const together = (given: readonly (readonly (string | Buffer | null)[])[]): RawRows => {
  const all = new RawRows();
  for (const values of given) all.add(raw(values));
  return all;
};

const odd = ['', 'null', 'NULL', '\\N', '\\.', 'a\tb\nc\rd\\e"f', '{1,2}', ' x ', 'ü€😀\\"', 'x'.repeat(300_000), null];
const rows = odd.map((value, at) => [String(at), value, odd.at(-1 - at) ?? null]);

test('bytes become the same COPY data as values do', () => {
  const pieces = [...rawCopyText(plan, null, together(rows))];
  expect(pieces.length).toBeGreaterThan(2);
  expect(Buffer.concat(pieces).toString()).toBe([...copyText(plan, rows)].join(''));
});

test('bytes become the same array literals as values do', () => {
  const literals = new ColumnLiterals(plan, null, [2, 0, 1]);
  const made = literals.make(together(rows), 0, 5, 1 << 30);
  expect(made?.end).toBe(5);
  const rest = literals.make(together(rows), 5, 1000, 1 << 30);
  expect(rest?.end).toBe(rows.length);
  for (const [values, start, end] of [
    [made?.values, 0, 5],
    [rest?.values, 5, rows.length],
  ] as const) {
    expect(values).toEqual([
      columnLiteral(rows, 2, start, end, false, ';'),
      columnLiteral(rows, 0, start, end, true, ','),
      columnLiteral(rows, 1, start, end, false, ','),
    ]);
  }
});

test('columns come from where the source has them, and large rows end a statement early', () => {
  const swapped = together(rows.map(([n, t, b]) => [b ?? null, n ?? null, t ?? null]));
  expect(Buffer.concat([...rawCopyText(plan, [1, 2, 0], swapped)]).toString()).toBe([...copyText(plan, rows)].join(''));
  const literals = new ColumnLiterals(plan, null, [1]);
  expect(literals.make(together(rows), 9, 1000, 1000)).toMatchObject({ end: 10 });
});

test('the last row of a key stays, whatever its values look like', () => {
  const last = (key: readonly number[], given: readonly (readonly (string | null)[])[]): string[] =>
    Buffer.concat([...rawCopyText(plan, null, lastOfEachKey(plan, null, key, together(given)))])
      .toString()
      .split(/(?<=\n)/);
  expect(
    last(
      [0],
      [
        ['1', 'a', 'x'],
        ['2', 'b', 'x'],
        ['1', 'c', 'x'],
      ],
    ),
  ).toEqual(['1\tc\tx\n', '2\tb\tx\n']);
  // Pairs whose joined texts are the same.
  expect(
    last(
      [0, 1],
      [
        ['1', '2:3', 'a'],
        ['1:2', '3', 'b'],
        ['1', '2:3', 'c'],
        ['ü', 'x', 'd'],
        ['ü', 'x', 'e'],
      ],
    ),
  ).toEqual(['1\t2:3\tc\n', '1:2\t3\tb\n', 'ü\tx\te\n']);
});

test('keys that are numbers are told apart by their text, however they are written', () => {
  const keys = ['1', '01', '1.0', '-1', '+1', '0', '00', '', '9007199254740993', '9007199254740992', '123456789012345'];
  const twice = [...keys.map((key) => [key, 'first', null]), ...keys.map((key) => [key, 'last', null])];
  const last = lastOfEachKey(plan, null, [0], together(twice));
  expect(Buffer.concat([...rawCopyText(plan, null, last)]).toString()).toBe(
    keys.map((key) => `${key}\tlast\t\\N\n`).join(''),
  );
  const different = together(keys.map((key) => [key, 'x', null]));
  expect(lastOfEachKey(plan, null, [0], different)).toBe(different);
});

test('values in one text have a byte between them that none of them holds, or are not put there', () => {
  const parted = new ColumnLiterals(plan, null, [0, 1, 2], new Set([0, 1]));
  const make = (...given: (string | null)[][]): readonly string[] | null =>
    parted.make(together(given), 0, 1000, 1 << 20)?.values ?? null;
  expect(make(['1', '', 'a'], ['2', null, 'b'], ['3', 'ü€😀\\"{,}\t', null], ['4', 'NULL', ''])).toEqual([
    '1\x012\x013\x014',
    '\x01\x02\x01ü€😀\\"{,}\t\x01NULL',
    '{"a";"b";NULL;""}',
  ]);
  // One value alone: nothing would tell an empty one from none.
  expect(make(['1', 'x', 'y'])).toBeNull();
  for (const value of ['\x01', 'a\x02b', '\x01\x01']) expect(make(['1', value, null], ['2', 'x', null])).toBeNull();
  // What was refused leaves nothing behind, and an array takes every value.
  expect(make(['5', 'x', '\x01'], ['6', 'y', '\x02'])).toEqual(['5\x016', 'x\x01y', '{"\x01";"\x02"}']);
});

test('rows are decoded as they came, whichever segment they lie in', () => {
  const relation = {
    oid: 1,
    schema: 'a',
    name: 'b',
    identity: 'd' as const,
    columns: plan.columns.map(({ name }) => ({ name, typeOid: 25, typeModifier: -1, key: false })),
  };
  expect([...together(rows).decoded(relation)]).toEqual(rows);
});

test('what is not UTF-8 goes into no statement', () => {
  const wrong = together([['1', Buffer.from([0x61, 0xe9, 0x62]), null]]);
  expect(() => new ColumnLiterals(plan, null, [1]).make(wrong, 0, 10, 10)).toThrow(
    expect.objectContaining({ code: 'STREAM_UNREADABLE' }),
  );
});
