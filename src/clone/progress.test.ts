import { afterEach, expect, test, vi } from 'vitest';
import type { JobEventBody } from '../contract/event.ts';
import type { SourceTable } from './catalogue.ts';
import { copiedSentence, CopyProgress } from './progress.ts';

afterEach(() => {
  vi.useRealTimers();
});

function sourceTable(oid: number): SourceTable {
  return { oid, schema: 'public', name: `t${oid}`, sizeBytes: 10_000, estimatedRows: 10 } as unknown as SourceTable;
}

test('what ends a burst is told although nothing follows, and only once', () => {
  vi.useFakeTimers();
  const events: JobEventBody[] = [];
  const progress = new CopyProgress((event) => events.push(event));
  for (const oid of [1, 2]) progress.add(sourceTable(oid), 'binary', 1);
  const [first, second] = [progress.begin(1), progress.begin(2)];
  first.advance(100, 1);
  first.commit(10_000, 10);
  second.advance(4000, 4);
  vi.advanceTimersByTime(300);
  expect(events.findLast((event) => event.type === 'metric')).toMatchObject({ tablesDone: 1, rows: 14 });
  expect(events.findLast((event) => event.type === 'table')).toMatchObject({ table: { name: 't2', rows: 4 } });
  const told = events.length;
  vi.advanceTimersByTime(10_000);
  expect(events).toHaveLength(told);
});

test('the log names each copied table with what was moved, how long it took and in which format', () => {
  const table = { schema: 'shop', name: 'Order', state: 'copied', sizeBytes: 0, estimatedRows: null, rate: 0 } as const;
  const copied = { ...table, rows: 60_000, bytes: 17_694_720, seconds: 16.08, format: 'binary', attempts: 1 } as const;
  expect(copiedSentence({ ...copied, error: null })).toBe(
    'Copied "shop"."Order": 60,000 rows, 17,694,720 bytes in 16.1 s, binary.',
  );
  expect(copiedSentence({ ...copied, rows: 1, error: null })).toContain(': 1 row, ');
});
