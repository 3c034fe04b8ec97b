import { expect, test } from 'vitest';
import { estimateSentence } from '../contract/estimate-words.ts';
import { EstimateReport, type PhaseTiming, type TableVerification, type Verification } from '../contract/report.ts';
import type { CostEstimate } from '../clone/cost-phases.ts';
import { compareEstimate, estimateOfRun } from './estimate-report.ts';

const at = (seconds: number): string => new Date(1_700_000_000_000 + seconds * 1000).toISOString();
const phase = (name: string, from: number, to: number): PhaseTiming => ({
  phase: name,
  seconds: to - from,
  startedAt: at(from),
  finishedAt: at(to),
});

const SIZE = 1_000_000;

function estimateOf(count: number): CostEstimate {
  const tables = Array.from({ length: count }, (_, n) => ({
    table: {
      oid: n + 1,
      schema: 'shop',
      name: `t${n + 1}`,
      columns: [],
      sizeBytes: SIZE * (n + 1),
      pages: 1,
      estimatedRows: 1,
      extensionCondition: null,
      via: null,
    },
    format: 'binary' as const,
    pieces: 1,
    rows: 1,
    copySeconds: 1,
    builds: [],
    buildSeconds: 2,
    analyzeSeconds: 0,
    verifySeconds: 1,
    pathSeconds: 3,
  }));
  return {
    tables,
    phases: [
      { phase: 'schema', seconds: 1, bound: 'pg_dump' },
      { phase: 'copy', seconds: 8, bound: 'table shop.t1' },
      { phase: 'indexes', seconds: 2, bound: 'indexes' },
      { phase: 'verify', seconds: 1, bound: 'reading' },
    ],
    seconds: 12,
    bytes: count,
    expected: new Map(tables.map(({ table }) => [table.oid, { copySeconds: 1, buildSeconds: 2, verifySeconds: 1 }])),
  };
}

const verified = (name: string, seconds: number): TableVerification => ({
  schema: 'shop',
  name,
  sourceRows: 1,
  targetRows: 1,
  sourceChecksum: null,
  targetChecksum: null,
  equal: true,
  seconds,
});
const verification: Verification = {
  mode: 'full',
  verified: true,
  tables: [verified('t1', 1.5)],
  sequencesCompared: 0,
  largeObjectsCompared: 0,
  objectsCompared: 0,
  differences: [],
  notChecked: [],
  seconds: 2,
};
const phases = [phase('schema', 0, 1), phase('copy', 1, 11), phase('indexes', 1, 12.5), phase('verify', 13, 15)];

test('stands beside what was measured, and counts of the builds only what was left after the copy', () => {
  const spent = new Map([[1, { copySeconds: 5, buildSeconds: 0.5 }]]);
  const compared = EstimateReport.parse(compareEstimate({ estimate: estimateOf(1), spent }, phases, verification));
  expect(compared.phases.map((one) => [one.phase, one.estimatedSeconds, one.measuredSeconds])).toEqual([
    ['schema', 1, 1],
    ['copy', 8, 10],
    ['indexes', 2, 1.5],
    ['verify', 1, 2],
  ]);
  expect([compared.estimatedSeconds, compared.measuredSeconds]).toEqual([12, 14.5]);
  expect(compared.misses).toEqual([
    {
      schema: 'shop',
      name: 't1',
      estimated: { copy: 1, build: 2, verify: 1 },
      measured: { copy: 5, build: 0.5, verify: 1.5 },
    },
  ]);
  expect(estimateSentence(compared)).toBe(
    'Estimated 12 s, took 15 s: most of the difference in copy (10 s instead of 8.0 s).',
  );
});

test('names the ten largest misses, the largest first; what was not compared has no figure', () => {
  const spent = new Map(
    Array.from({ length: 12 }, (_, n) => [n + 1, { copySeconds: 1 + n, buildSeconds: 2 }] as const),
  );
  const { misses } = compareEstimate({ estimate: estimateOf(12), spent }, phases, null);
  expect(misses.map((miss) => miss.name)).toEqual([12, 11, 10, 9, 8, 7, 6, 5, 4, 3].map((n) => `t${n}`));
  expect(misses[0]?.measured.verify).toBeNull();
});

test('tables that are copied many at a time are no misses: nobody knows what one of them took', () => {
  const estimate = estimateOf(2);
  const tables = estimate.tables.map((cost, n) => ({
    ...cost,
    table: { ...cost.table, sizeBytes: n === 0 ? 8192 : SIZE },
  }));
  const spent = new Map([1, 2].map((oid) => [oid, { copySeconds: 9, buildSeconds: 9 }] as const));
  const { misses } = compareEstimate({ estimate: { ...estimate, tables }, spent }, phases, null);
  expect(misses.map((miss) => miss.name)).toEqual(['t2']);
});

test('a copy without an estimate has none in its report, and one that was paused claims none', () => {
  expect(estimateOfRun(undefined, phases, verification)).toEqual({});
  const expected = { estimate: estimateOf(1), spent: new Map() };
  expect(estimateOfRun({ ...expected, wasPaused: () => false }, phases, verification).estimate).toBeDefined();
  expect(estimateOfRun({ ...expected, wasPaused: () => true }, phases, verification)).toEqual({});
});
