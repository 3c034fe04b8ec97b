import { expect, test } from 'vitest';
import { copiedSentence } from './progress.ts';

test('the log names each copied table with what was moved, how long it took and in which format', () => {
  const table = { schema: 'shop', name: 'Order', state: 'copied', sizeBytes: 0, estimatedRows: null, rate: 0 } as const;
  const copied = { ...table, rows: 60_000, bytes: 17_694_720, seconds: 16.08, format: 'binary', attempts: 1 } as const;
  expect(copiedSentence({ ...copied, error: null })).toBe(
    'Copied "shop"."Order": 60,000 rows, 17,694,720 bytes in 16.1 s, binary.',
  );
  expect(copiedSentence({ ...copied, rows: 1, error: null })).toContain(': 1 row, ');
});
