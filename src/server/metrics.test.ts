import { expect, test } from 'vitest';
import { jobStates, type JobState } from '../contract/event.ts';
import type { LiveProgress } from '../contract/live.ts';
import { renderMetrics } from './metrics.ts';

const counts = { inserts: 1, updates: 0, deletes: 0, truncates: 0, transactions: 1 };
const live: LiveProgress = {
  lagBytes: 1024,
  lagSeconds: 0.5,
  sourceLsn: '0/2',
  appliedLsn: '0/1',
  applied: counts,
  perSecond: counts,
  spooledBytes: 0,
  slot: {
    walStatus: 'reserved',
    safeWalBytes: null,
    retainedBytes: 4096,
    walBytesPerSecond: 0,
    lastsSeconds: null,
    active: true,
  },
  guardrails: [],
  cutover: [],
  connected: true,
};

test('every line is a comment or a sample that Prometheus can read', () => {
  const jobs = Object.fromEntries(jobStates.map((state, index) => [state, index])) as Record<JobState, number>;
  const text = renderMetrics(
    {
      store: 'embedded',
      jobs,
      running: 1,
      queued: 2,
      eventsWritten: 3,
      eventsPending: 0,
      rowsCopied: 5,
      bytesCopied: 6e12,
    },
    [
      { id: 'abc', state: 'following', live },
      { id: 'gone', state: 'completed', live },
      { id: 'copy', state: 'running', live: null },
    ],
    { version: '1"\\2', websocketClients: 7, residentBytes: 8, uptimeSeconds: 9 },
  );
  for (const line of text.trimEnd().split('\n')) {
    expect(line).toMatch(/^(# (HELP|TYPE) \w+ .+|\w+(\{\w+="([^"\\]|\\.)*"(,\w+="([^"\\]|\\.)*")*\})? \d+(\.\d+)?)$/);
  }
  expect(text).toContain('pgsluice_jobs{state="running"} 4\n');
  expect(text).toContain('pgsluice_copied_bytes_total 6000000000000\n');
  expect(text.split('\n').filter((line) => line.includes('job='))).toEqual([
    'pgsluice_live_lag_bytes{job="abc"} 1024',
    'pgsluice_live_lag_seconds{job="abc"} 0.5',
    'pgsluice_slot_retained_bytes{job="abc"} 4096',
  ]);
  expect(text.endsWith('\n')).toBe(true);
});
