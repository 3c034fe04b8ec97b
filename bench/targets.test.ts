import { describe, expect, test } from 'vitest';
import { type Evidence, againstBest, judge, strongest } from './targets.ts';

const seen = (key: Evidence['key'], ratios: readonly number[], more: Partial<Evidence> = {}): Evidence => ({
  key,
  at: '2026-01-01T00:00:00.000Z',
  scale: 1,
  against: 'somebody',
  peers: 4,
  ratios,
  ...more,
});
const five = (ratio: number): number[] => Array.from({ length: 5 }, (_, at) => ratio + (at - 2) / 100);
const of = (evidence: readonly Evidence[], workload: string): ReturnType<typeof judge>[number] | undefined =>
  judge(evidence).find((verdict) => verdict.workload.startsWith(workload));

describe('the best peer', () => {
  test('is the one with the smallest median, and the ratios are those of its rounds', () => {
    const times = { pgsluice: [1, 2, 3], slow: [9, 9, 9], quick: [2, 4, 30], lucky: [0.1, 9, 9] };
    expect(againstBest(times)).toEqual({ name: 'quick', peers: 3, median: 4, ratios: [0.5, 0.5, 0.1] });
  });
  test('is nobody where nobody else ran, or we did not', () => {
    expect(againstBest({ pgsluice: [1], other: [] })).toBeNull();
    expect(againstBest({ other: [1] })).toBeNull();
  });
});

describe('the strongest evidence', () => {
  test('is the newest of those with the most peers at the largest scale', () => {
    const small = seen('clone:pgbench', [0.1], { scale: 0.02, at: '2026-05-01T00:00:00.000Z' });
    const lonely = seen('clone:pgbench', [0.2], { peers: 1, at: '2026-04-01T00:00:00.000Z' });
    const newer = seen('clone:pgbench', [0.4], { at: '2026-03-01T00:00:00.000Z' });
    const older = seen('clone:pgbench', [0.5]);
    expect(strongest([newer, small, older, lonely]).get('clone:pgbench')).toBe(newer);
    expect(strongest([seen('live:tpcb', [])]).size).toBe(0);
  });
});

describe('verdicts', () => {
  test('without figures nothing is reached, and nothing is missed', () => {
    const verdicts = judge([]);
    expect(new Set(verdicts.map(({ reached }) => reached))).toEqual(new Set(['not measured', 'no target']));
    expect(verdicts.filter(({ group }) => group === 'live')).toHaveLength(6);
  });
  test('the median decides, the target itself still being reached', () => {
    expect(of([seen('clone:pgbench', [0.6, 0.6, 0.6, 9, 0.1])], 'one big table')).toMatchObject({
      reached: 'yes',
      measured: { min: 0.1, median: 0.6, max: 9 },
      rounds: 5,
      provisional: false,
    });
    expect(of([seen('clone:pgbench', five(0.601))], 'one big table')?.reached).toBe('no');
    expect(of([seen('path:tls', five(0.56))], 'agent CPU per GB copied, TLS')?.reached).toBe('no');
    expect(of([seen('verify:mixed', five(0.3))], 'verification, mixed')?.reached).toBe('yes');
  });
  test('few rounds and little data prove nothing for good', () => {
    expect(of([seen('live:huge', [0.5, 0.5])], 'live, one huge')).toMatchObject({ reached: 'yes', provisional: true });
    expect(of([seen('live:huge', five(0.5), { scale: 0.1 })], 'live, one huge')?.provisional).toBe(true);
  });
  test('what no target was set for is told without one', () => {
    expect(of([seen('clone:skew', five(0.5))], 'skewed')).toMatchObject({ reached: 'no target', wanted: null });
  });
  test('the limit is kept by all or not at all', () => {
    const names = ['pgbench', 'mixed', 'many', 'empty', 'indexes', 'keys', 'blobs', 'toast'] as const;
    const all = names.map((name) => seen(`limit:${name}`, five(1.2)));
    expect(of(all, 'all of the above')).toMatchObject({ reached: 'yes', provisional: false });
    expect(of(all.slice(1), 'all of the above')).toMatchObject({ reached: 'not measured' });
    const missed = [...all.slice(2), seen('limit:mixed', five(1.3))];
    expect(of(missed, 'all of the above')).toMatchObject({
      workload: 'all of the above, near (farthest: mixed)',
      reached: 'no',
      byLimit: 1.3,
    });
    // Skewed partitions are not among those above, and a line is no work of the servers.
    const others = [seen('limit:skew', five(9)), seen('limit:far', five(90), { against: 'the limit' })];
    expect(of([...all, ...others], 'all of the above')?.reached).toBe('yes');
    expect(judge(others).filter(({ group, measured }) => group === 'limit' && measured !== null)).toMatchObject([
      { workload: '2,000 tables, 80 ms round trip', reached: 'no' },
    ]);
  });
  test('a clone says by its side how far it is from the limit', () => {
    expect(of([seen('clone:many', five(0.4)), seen('limit:many', five(1.5))], '2,000 small')?.byLimit).toBe(1.5);
  });
});
