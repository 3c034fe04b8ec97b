import { expect, test } from 'vitest';
import { copyStatement, copyText } from './apply-copy.ts';
import type { TablePlan } from './apply-plan.ts';
import { UNCHANGED } from './types.ts';

const plan = {
  id: 'a.b',
  table: { schema: 'a', name: 'B' },
  columns: [
    { name: 'n', plain: true },
    { name: 'T x', plain: false },
  ],
  key: [0],
  fixed: [],
} as unknown as TablePlan;

test('values keep every byte, NULL stays apart from its look-alikes', () => {
  const rows = [
    ['1', null],
    ['2', '\\N'],
    ['3', ''],
    ['4', 'a\tb\nc\rd\\e'],
    ['5', 'null \u{1F600} "quoted"'],
    [null, '\\.'],
  ];
  expect([...copyText(plan, rows)].join('')).toBe(
    '1\t\\N\n2\t\\\\N\n3\t\n4\ta\\tb\\nc\\rd\\\\e\n5\tnull \u{1F600} "quoted"\n\\N\t\\\\.\n',
  );
  expect(copyStatement(plan)).toBe('COPY "a"."B" ("n", "T x") FROM STDIN');
});

test('many rows come in pieces, and a value that is not known never goes in', () => {
  const rows = Array.from({ length: 2000 }, (_, at) => [String(at), 'x'.repeat(200)]);
  const pieces = [...copyText(plan, rows)];
  expect(pieces.length).toBeGreaterThan(2);
  expect(pieces.join('').split('\n').length).toBe(2001);
  expect(() => [...copyText(plan, [['1', UNCHANGED]])]).toThrow(RangeError);
});
