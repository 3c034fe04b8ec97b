import { expect, test } from 'vitest';
import { tuple } from '../../test/support/pgoutput-messages.ts';
import { copyText } from './apply-copy.ts';
import type { TablePlan } from './apply-plan.ts';
import { columnLiteral } from './array-literal.ts';
import { ColumnLiterals, lastOfEachKey, rawCopyText } from './raw-rows.ts';
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

const odd = ['', 'null', 'NULL', '\\N', '\\.', 'a\tb\nc\rd\\e"f', '{1,2}', ' x ', 'ü€😀\\"', 'x'.repeat(300_000), null];
const rows = odd.map((value, at) => [String(at), value, odd.at(-1 - at) ?? null]);

test('bytes become the same COPY data as values do', () => {
  const pieces = [...rawCopyText(plan, null, rows.map(raw))];
  expect(pieces.length).toBeGreaterThan(2);
  expect(Buffer.concat(pieces).toString()).toBe([...copyText(plan, rows)].join(''));
});

test('bytes become the same array literals as values do', () => {
  const literals = new ColumnLiterals(plan, null, [2, 0, 1]);
  const made = literals.make(rows.map(raw), 0, 5, 1 << 30);
  expect(made.end).toBe(5);
  const rest = literals.make(rows.map(raw), 5, 1000, 1 << 30);
  expect(rest.end).toBe(rows.length);
  for (const [values, start, end] of [
    [made.values, 0, 5],
    [rest.values, 5, rows.length],
  ] as const) {
    expect(values).toEqual([
      columnLiteral(rows, 2, start, end, false, ';'),
      columnLiteral(rows, 0, start, end, true, ','),
      columnLiteral(rows, 1, start, end, false, ','),
    ]);
  }
});

test('columns come from where the source has them, and large rows end a statement early', () => {
  const swapped = rows.map(([n, t, b]) => raw([b ?? null, n ?? null, t ?? null]));
  expect(Buffer.concat([...rawCopyText(plan, [1, 2, 0], swapped)]).toString()).toBe([...copyText(plan, rows)].join(''));
  const literals = new ColumnLiterals(plan, null, [1]);
  expect(literals.make(rows.map(raw), 9, 1000, 1000)).toMatchObject({ end: 10 });
});

test('the last row of a key stays, whatever its values look like', () => {
  const last = (key: readonly number[], given: readonly (readonly (string | null)[])[]): string[] =>
    lastOfEachKey(plan, null, key, given.map(raw)).map((row) =>
      Buffer.concat([...rawCopyText(plan, null, [row])]).toString(),
    );
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

test('what is not UTF-8 goes into no statement', () => {
  const wrong = raw(['1', Buffer.from([0x61, 0xe9, 0x62]), null]);
  expect(() => new ColumnLiterals(plan, null, [1]).make([wrong], 0, 10, 10)).toThrow(
    expect.objectContaining({ code: 'STREAM_UNREADABLE' }),
  );
});
