import { z } from 'zod';
import { liveWorkloadNames } from './live-workloads.ts';
import { workloadNames } from './options.ts';
import { pairedRatios } from './stats.ts';
import { type Evidence, type PathName, againstBest, pathNames } from './targets.ts';

const MachineFigures = z.object({
  cpu: z.string(),
  cores: z.number(),
  memoryBytes: z.number(),
  system: z.string(),
  node: z.string(),
  servers: z.string(),
  settings: z.record(z.string(), z.string()),
});
const Common = z.object({ at: z.iso.datetime(), machine: MachineFigures, options: z.object({ scale: z.number() }) });

const Timed = z.object({ seconds: z.number() });
const Verified = Timed.extend({
  log: z.object({ phases: z.array(z.object({ phase: z.string(), seconds: z.number() })).readonly() }).nullable(),
});
const CompareFigures = Common.extend({
  tools: z.array(z.object({ name: z.string(), version: z.string() })),
  results: z.array(
    z.object({
      workload: z.enum(workloadNames),
      runs: z.record(z.string(), z.array(Timed).readonly()).readonly(),
      verified: z.array(Verified).readonly(),
      limit: Timed.nullable(),
    }),
  ),
});
const LiveFigures = Common.extend({
  results: z.array(
    z.object({
      workload: z.enum(liveWorkloadNames),
      rounds: z.array(z.object({ ours: z.number(), native: z.number().nullable() })).readonly(),
    }),
  ),
});
const CopiedFigures = z.object({ cpuPerGb: z.number() });
const PathFigures = Common.extend({
  results: z.array(
    z.object({ name: z.enum(pathNames), rounds: z.array(z.object({ wire: CopiedFigures, streams: CopiedFigures })) }),
  ),
});
const schemas = { compare: CompareFigures, live: LiveFigures, path: PathFigures };

/** Commands whose figures say something of the targets. */
export const judged = ['compare', 'live', 'path'] as const;
export type Judged = (typeof judged)[number];

/** What a file of figures says. */
export interface Figures {
  readonly at: string;
  readonly machine: z.infer<typeof MachineFigures>;
  readonly tools: readonly { readonly name: string; readonly version: string }[];
  readonly evidence: readonly Evidence[];
}

/** Reads what one of the commands has written; null for what is no such thing, as of a bench that wrote something else. Pure. */
export function readFigures(command: Judged, json: unknown): Figures | null {
  const parsed = schemas[command].safeParse(json);
  if (!parsed.success) return null;
  const { at, machine, options } = parsed.data;
  const same = { at, scale: options.scale };
  const evidence = {
    compare: () => CompareFigures.parse(json).results.flatMap((result) => cloneEvidence(result, same)),
    live: () => LiveFigures.parse(json).results.flatMap((result) => liveEvidence(result, same)),
    path: () => PathFigures.parse(json).results.map((result) => pathEvidence(result, same)),
  }[command]();
  const tools = command === 'compare' ? CompareFigures.parse(json).tools : [];
  return { at, machine, tools, evidence };
}

type Same = Pick<Evidence, 'at' | 'scale'>;

/** Of one workload of `compare`: against the best peer, against the limit, and verification by the copy. Pure. */
export function cloneEvidence(
  { workload, runs, verified, limit }: z.input<typeof CompareFigures>['results'][number],
  same: Same,
): Evidence[] {
  const times = Object.fromEntries(Object.entries(runs).map(([name, list]) => [name, list.map((run) => run.seconds)]));
  const best = againstBest(times);
  const ours = times['pgsluice'] ?? [];
  const found: Evidence[] = [];
  if (best !== null) {
    const against = `${best.name}, best of ${best.peers}`;
    found.push({ ...same, key: `clone:${workload}`, against, peers: best.peers, ratios: best.ratios });
  }
  if (limit !== null && ours.length > 0) {
    const ratios = ours.map((seconds) => seconds / limit.seconds);
    found.push({ ...same, key: `limit:${workload}`, against: 'the limit', peers: 1, ratios });
  }
  const shares = verified.map(verificationShare).filter((share) => share !== null);
  if (shares.length > 0) {
    const ratios = shares.map(({ byCopy }) => byCopy);
    found.push({ ...same, key: `verify:${workload}`, against: 'the copy itself', peers: 1, ratios });
  }
  return found;
}

/**
 * How long a verified clone verified, and that by all else it did (the copy as a job) and by the phase that moves rows; null when it
 * did not say. Pure.
 */
export function verificationShare({
  seconds,
  log,
}: z.input<typeof Verified>): { seconds: number; byCopy: number; byRows: number | null } | null {
  const spent = (name: string): number =>
    (log?.phases ?? []).filter(({ phase }) => phase === name).reduce((sum, phase) => sum + phase.seconds, 0);
  const verifying = spent('verify');
  if (verifying <= 0 || verifying >= seconds) return null;
  const rows = spent('copy');
  return { seconds: verifying, byCopy: verifying / (seconds - verifying), byRows: rows > 0 ? verifying / rows : null };
}

/** Of one live workload; nothing where the subscription was left out. Pure. */
export function liveEvidence(
  { workload, rounds }: z.input<typeof LiveFigures>['results'][number],
  same: Same,
): Evidence[] {
  const pairs = rounds.flatMap(({ ours, native }) => (native === null ? [] : [{ ours, native }]));
  if (pairs.length === 0) return [];
  const ratios = pairedRatios(
    pairs.map(({ ours }) => ours),
    pairs.map(({ native }) => native),
  );
  return [{ ...same, key: `live:${workload}`, against: 'native subscription', peers: 1, ratios }];
}

/** Of the copy path, without TLS or with it. Pure. */
export function pathEvidence(
  {
    name,
    rounds,
  }: { name: PathName; rounds: readonly { wire: { cpuPerGb: number }; streams: { cpuPerGb: number } }[] },
  same: Same,
): Evidence {
  const ratios = rounds.map(({ wire, streams }) => wire.cpuPerGb / streams.cpuPerGb);
  return { ...same, key: `path:${name}`, against: 'pg-copy-streams path', peers: 1, ratios };
}
