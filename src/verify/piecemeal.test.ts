import { expect, test } from 'vitest';
import { addContents, pagesInPieces } from './piecemeal.ts';

test('pieces cover every page once, and the last one whatever was added', () => {
  for (const [pages, bytes] of [
    [1, 100],
    [512, 4 * 1024 * 1024],
    [513, 4 * 1024 * 1024 + 1],
    [100_000, 900_000_000],
    [3, 1e9],
    [0, 1e9],
  ] as const) {
    const pieces = pagesInPieces(pages, bytes);
    expect(pieces[0]?.from).toBe(0);
    expect(pieces.at(-1)?.to).toBeNull();
    expect(pieces.slice(0, -1).map(({ to }) => to)).toEqual(pieces.slice(1).map(({ from }) => from));
    expect(bytes / pieces.length).toBeLessThanOrEqual(pages > 1000 ? 4 * 1024 * 1024 : Infinity);
  }
});

test('sums of pieces are those of the whole, beyond what a number holds', () => {
  const big = '9223372036854775807';
  expect(
    addContents([
      { rows: 2, checksum: big },
      { rows: 3, checksum: big },
      { rows: 0, checksum: '0' },
      { rows: 1, checksum: '-1' },
    ]),
  ).toEqual({ rows: 6, checksum: '18446744073709551613' });
  expect(
    addContents([
      { rows: 2, checksum: null },
      { rows: 3, checksum: null },
    ]),
  ).toEqual({ rows: 5, checksum: null });
});
