import type { LiveWorkloadName } from './live-workloads.ts';
import type { WorkloadName } from './options.ts';
import { type Spread, spread } from './stats.ts';

/** Parts of the agent's path that are compared. */
export const pathNames = ['plain', 'tls'] as const;
export type PathName = (typeof pathNames)[number];

export type TargetKey =
  | `clone:${WorkloadName}`
  | `limit:${WorkloadName}`
  | `verify:${WorkloadName}`
  | `live:${LiveWorkloadName}`
  | `path:${PathName}`;
export type Group = 'clone' | 'limit' | 'path' | 'live' | 'verify';

/** What one run of the bench says of one target: ours by the other's, round by round. */
export interface Evidence {
  readonly key: TargetKey;
  /** ISO; the moment the run began. */
  readonly at: string;
  readonly scale: number;
  /** Whom it was measured against. */
  readonly against: string;
  /** How many others took part: the best of few is not yet the best. */
  readonly peers: number;
  readonly ratios: readonly number[];
}

export interface Verdict {
  readonly group: Group;
  readonly workload: string;
  readonly against: string;
  /** Ratio at most; null for what no target was set for. */
  readonly wanted: number | null;
  readonly measured: Spread | null;
  /** Median of ours by what the servers alone need. */
  readonly byLimit: number | null;
  readonly scale: number | null;
  readonly rounds: number;
  readonly reached: 'yes' | 'no' | 'not measured' | 'no target';
  /** Fewer rounds or less data than the targets ask for. */
  readonly provisional: boolean;
}

const roundsWanted = 5;
const againstPeer: Readonly<Record<WorkloadName, number | null>> = {
  pgbench: 0.6,
  mixed: 0.75,
  many: 0.5,
  empty: 0.5,
  indexes: 0.8,
  keys: 0.8,
  far: 0.25,
  blobs: 0.7,
  toast: 0.7,
  skew: null,
};
const titles: Readonly<Record<WorkloadName, string>> = {
  pgbench: 'one big table',
  mixed: 'mixed',
  many: '2,000 small tables',
  empty: '10,000 empty tables',
  indexes: 'index-heavy',
  keys: 'foreign-key-heavy',
  far: '2,000 tables, 80 ms round trip',
  blobs: 'large objects',
  toast: 'TOAST and bytea',
  skew: 'skewed partitions',
};
const liveTitles: Readonly<Record<LiveWorkloadName, string>> = {
  tpcb: 'live, TPC-B',
  insert: 'live, bulk insert',
  update: 'live, bulk update',
  delete: 'live, bulk delete',
  tiny: 'live, tiny transactions',
  huge: 'live, one huge transaction',
};
const pathTitles: Readonly<Record<PathName, string>> = {
  plain: 'agent CPU per GB copied',
  tls: 'agent CPU per GB copied, TLS',
};
const limitWanted = 1.25;
const pathWanted = 0.55;
const liveWanted = 0.65;
const verifyWanted = 0.35;

const namesOf = <T extends string>(record: Readonly<Record<T, unknown>>): T[] => Object.keys(record) as T[];

/** The peer with the smallest median, and ours by it, round by round; null where nobody was measured against. */
export function againstBest(
  times: Readonly<Record<string, readonly number[]>>,
  ours = 'pgsluice',
): { name: string; peers: number; median: number; ratios: number[] } | null {
  const own = times[ours] ?? [];
  const peers = Object.entries(times).filter(([name, list]) => name !== ours && list.length > 0);
  const ranked = peers.map(([name, list]) => ({ name, list, median: spread(list).median }));
  const [best] = ranked.toSorted((a, b) => a.median - b.median);
  if (best === undefined || own.length === 0) return null;
  const ratios = own.flatMap((seconds, round) => {
    const peer = best.list[round];
    return peer === undefined ? [] : [seconds / peer];
  });
  return ratios.length === 0 ? null : { name: best.name, peers: peers.length, median: best.median, ratios };
}

/** Of every target the evidence at the largest scale; of these the one with the most peers, of these the newest. */
export function strongest(all: readonly Evidence[]): ReadonlyMap<TargetKey, Evidence> {
  const ranked = all
    .filter(({ ratios }) => ratios.length > 0)
    .toSorted((a, b) => a.scale - b.scale || a.peers - b.peers || a.at.localeCompare(b.at));
  return new Map(ranked.map((one) => [one.key, one]));
}

/** One verdict a target, all of them, whether measured or not. */
export function judge(all: readonly Evidence[]): Verdict[] {
  const known = strongest(all);
  const clones = namesOf(againstPeer).map((name) => {
    const limit = known.get(`limit:${name}`);
    const byLimit = limit === undefined ? null : spread(limit.ratios).median;
    return { ...verdict('clone', titles[name], 'best peer', againstPeer[name], known.get(`clone:${name}`)), byLimit };
  });
  return [
    ...clones,
    limitVerdict(known),
    // No CPU time of the servers says what a round trip of 80 ms costs at least: it would hide how far the others are.
    {
      ...verdict('limit', titles.far, '', limitWanted, known.get('limit:far')),
      against: 'the limit, without the line',
    },
    ...namesOf(pathTitles).map((name) =>
      verdict('path', pathTitles[name], 'pg-copy-streams path', pathWanted, known.get(`path:${name}`)),
    ),
    ...namesOf(liveTitles).map((name) =>
      verdict('live', liveTitles[name], 'native subscription', liveWanted, known.get(`live:${name}`)),
    ),
    ...namesOf(titles).map((name) =>
      verdict('verify', `verification, ${titles[name]}`, 'the copy itself', verifyWanted, known.get(`verify:${name}`)),
    ),
  ];
}

function verdict(
  group: Group,
  workload: string,
  against: string,
  wanted: number | null,
  evidence: Evidence | undefined,
): Verdict {
  const same = { group, workload, wanted, byLimit: null };
  if (evidence === undefined) {
    const reached = wanted === null ? 'no target' : 'not measured';
    return { ...same, against, measured: null, scale: null, rounds: 0, reached, provisional: false };
  }
  const measured = spread(evidence.ratios);
  const { scale, ratios } = evidence;
  return {
    ...same,
    against: evidence.against,
    measured,
    scale,
    rounds: ratios.length,
    reached: wanted === null ? 'no target' : measured.median <= wanted ? 'yes' : 'no',
    provisional: scale < 1 || ratios.length < roundsWanted,
  };
}

/** All workloads near the servers that have a target keep the distance to the limit, or none does: the farthest of them tells. */
function limitVerdict(known: ReadonlyMap<TargetKey, Evidence>): Verdict {
  const names = namesOf(againstPeer).filter((name) => name !== 'far' && againstPeer[name] !== null);
  const measured = names.flatMap((name) => {
    const evidence = known.get(`limit:${name}`);
    return evidence === undefined ? [] : [{ name, evidence, median: spread(evidence.ratios).median }];
  });
  const [worst] = measured.toSorted((a, b) => b.median - a.median);
  if (worst === undefined) return verdict('limit', 'all of the above, near', 'the limit', limitWanted, undefined);
  const found = verdict(
    'limit',
    `all of the above, near (farthest: ${titles[worst.name]})`,
    'the limit',
    limitWanted,
    worst.evidence,
  );
  const complete = measured.length === names.length;
  return {
    ...found,
    byLimit: worst.median,
    reached: found.reached === 'yes' && !complete ? 'not measured' : found.reached,
    provisional: found.provisional || !complete,
  };
}
