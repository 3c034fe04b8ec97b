import { describe, expect, test } from 'vitest';
import { cloneEvidence, liveEvidence, pathEvidence, readFigures, verificationShare } from './figures.ts';

const same = { at: '2026-01-01T00:00:00.000Z', scale: 1 };
const timed = (...list: number[]): { seconds: number }[] => list.map((seconds) => ({ seconds }));
const machine = {
  cpu: 'one',
  cores: 2,
  memoryBytes: 8e9,
  system: 'linux',
  node: 'v20.0.0',
  servers: 'PostgreSQL 15',
  settings: {},
};
const phases = (copy: number, verify: number): { phase: string; seconds: number }[] => [
  { phase: 'copy', seconds: copy },
  { phase: 'indexes', seconds: 1 },
  { phase: 'verify', seconds: verify },
];

describe('verification', () => {
  test('is told by all else of its run, and by the phase that moves rows', () => {
    const share = verificationShare({ seconds: 10, log: { phases: phases(4, 2) } });
    expect(share).toEqual({ seconds: 2, byCopy: 0.25, byRows: 0.5 });
  });
  test('is unknown where the run did not say', () => {
    expect(verificationShare({ seconds: 10, log: null })).toBeNull();
    expect(verificationShare({ seconds: 10, log: { phases: [] } })).toBeNull();
  });
});

test('a workload speaks of its best peer, of the limit and of verification', () => {
  const evidence = cloneEvidence(
    {
      workload: 'mixed',
      runs: { pgsluice: timed(6, 8), slow: timed(30, 30), quick: timed(12, 10), idle: [] },
      verified: [{ seconds: 10, log: { phases: phases(4, 2) } }],
      limit: { seconds: 4 },
    },
    same,
  );
  expect(evidence).toEqual([
    { ...same, key: 'clone:mixed', against: 'quick, best of 2', peers: 2, ratios: [0.5, 0.8] },
    { ...same, key: 'limit:mixed', against: 'the limit', peers: 1, ratios: [1.5, 2] },
    { ...same, key: 'verify:mixed', against: 'the copy itself', peers: 1, ratios: [0.25] },
  ]);
});

test('a live workload without the subscription speaks of nothing', () => {
  const rounds = [
    { ours: 1, native: 2 },
    { ours: 1, native: null },
  ];
  expect(liveEvidence({ workload: 'tiny', rounds }, same)).toMatchObject([{ key: 'live:tiny', ratios: [0.5] }]);
  expect(liveEvidence({ workload: 'tiny', rounds: rounds.slice(1) }, same)).toEqual([]);
});

test('the copy path is told by CPU time a GB', () => {
  const rounds = [{ wire: { cpuPerGb: 1 }, streams: { cpuPerGb: 4 } }];
  expect(pathEvidence({ name: 'tls', rounds }, same)).toMatchObject({ key: 'path:tls', ratios: [0.25] });
});

describe('a file', () => {
  const live = {
    at: same.at,
    machine,
    options: { scale: 2 },
    results: [{ workload: 'huge', rounds: [{ ours: 1, native: 4 }] }],
  };
  test('is read with what it was measured on', () => {
    expect(readFigures('live', live)).toMatchObject({
      machine: { cpu: 'one' },
      evidence: [{ key: 'live:huge', scale: 2, ratios: [0.25] }],
    });
  });
  test('of another command, another time or cut short is nothing', () => {
    expect(readFigures('compare', live)).toBeNull();
    expect(readFigures('live', { ...live, at: undefined })).toBeNull();
    expect(readFigures('live', null)).toBeNull();
  });
});
