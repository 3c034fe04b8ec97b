import { expect, test } from 'vitest';
import type { JobEventBody } from '../contract/event.ts';
import type { LiveProgress } from '../contract/live.ts';
import { LiveMetrics } from './live-metrics.ts';

const none = { inserts: 0, updates: 0, deletes: 0, truncates: 0, transactions: 0 };
const idle: LiveProgress = {
  lagBytes: 0,
  lagSeconds: 0,
  sourceLsn: '0/10',
  appliedLsn: '0/10',
  applied: none,
  perSecond: none,
  spooledBytes: 0,
  slot: null,
  guardrails: [],
  cutover: [],
  connected: true,
};

function metrics() {
  const events: JobEventBody[] = [];
  const totals = { tables: 3, tablesDone: 3, tablesFailed: 0, rows: 7, bytes: 9, fraction: 1 };
  const teller = new LiveMetrics(
    (event) => events.push(event),
    () => totals,
  );
  /** Seconds at which something was told, of one reading a second. */
  const told = (read: (second: number) => LiveProgress, seconds: number): number[] => {
    const at: number[] = [];
    for (let second = 0; second < seconds; second += 1) {
      const before = events.length;
      teller.tell(read(second), null, 1_000_000 + second * 1_000);
      if (events.length > before) at.push(second);
    }
    return at;
  };
  return { events, told };
}

test('the totals stay those of the copy', () => {
  const { events, told } = metrics();
  told(() => idle, 1);
  expect(events).toMatchObject([{ type: 'metric', tables: 3, rows: 7, bytes: 9, fraction: 1, live: idle }]);
});

test('what moves is told every second, what only breathes every five, what stands still every ten', () => {
  const applied = (second: number): LiveProgress => ({ ...idle, applied: { ...none, transactions: second } });
  expect(metrics().told(applied, 4)).toEqual([0, 1, 2, 3]);
  const breathing = (second: number): LiveProgress => ({ ...idle, sourceLsn: `0/${second}` });
  expect(metrics().told(breathing, 12)).toEqual([0, 5, 10]);
  expect(metrics().told(() => idle, 25)).toEqual([0, 10, 20]);
  expect(metrics().told(() => ({ ...idle, lagBytes: 5 }), 3)).toEqual([0, 1, 2]);
});

test('a step of the cutover is told at once', () => {
  const step = { step: 'fence', startedAt: '2026-11-21T09:00:00Z', ms: null, detail: '' } as const;
  const { events, told } = metrics();
  told(() => idle, 1);
  told(() => ({ ...idle, cutover: [step] }), 1);
  expect(events).toHaveLength(2);
});
