import { expect, test } from 'vitest';
import type { JobEventBody } from '../contract/event.ts';
import { besideCopy } from './run-job.ts';
import { noTotals, TotalsTracker } from './totals.ts';

const comparing = {
  tables: 5,
  tablesDone: 1,
  rows: 7,
  bytes: 8192,
  fraction: 0.1,
  bytesPerSecond: 1,
  rowsPerSecond: 1,
};
const compared: JobEventBody = {
  type: 'metric',
  tables: 0,
  tablesDone: 0,
  rows: 0,
  bytes: 0,
  fraction: 0,
  bytesPerSecond: 0,
  rowsPerSecond: 0,
  remaining: null,
  waiting: null,
  comparing,
};

test('while both sides are compared, no figure of the copy falls back', () => {
  const told = besideCopy(compared, { tables: 3, rows: 100, bytes: 5000 });
  expect(told).toMatchObject({ tables: 3, tablesDone: 3, rows: 100, bytes: 5000, fraction: 1, comparing });
});

test('what is compared counts as copied in no total', () => {
  const totals = { ...noTotals, tables: 3, tablesDone: 3, rows: 100, bytes: 5000, fraction: 1 };
  const tracker = new TotalsTracker(totals);
  expect(tracker.apply(compared)).toEqual({ rows: 0, bytes: 0 });
  expect(tracker.totals).toEqual(totals);
});
