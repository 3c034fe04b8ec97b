import { expect, test } from 'vitest';
import { jobStates, type JobState } from '../contract/event.ts';
import { renderMetrics } from './metrics.ts';

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
    { version: '1"\\2', websocketClients: 7, residentBytes: 8, uptimeSeconds: 9 },
  );
  for (const line of text.trimEnd().split('\n')) {
    expect(line).toMatch(/^(# (HELP|TYPE) \w+ .+|\w+(\{\w+="([^"\\]|\\.)*"(,\w+="([^"\\]|\\.)*")*\})? \d+)$/);
  }
  expect(text).toContain('pgsluice_jobs{state="running"} 4\n');
  expect(text).toContain('pgsluice_copied_bytes_total 6000000000000\n');
  expect(text.endsWith('\n')).toBe(true);
});
