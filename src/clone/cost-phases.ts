import type { Phase } from '../contract/event.ts';
import { COSTS, buildPath, estimateTables, waits } from './cost-model.ts';
import type { CostInput, TableCost } from './cost-model.ts';
import { folded, schedule } from './cost-schedule.ts';
import type { Scheduled, TableSpent } from './cost-schedule.ts';
import { qualified } from '../postgres/quote.ts';

/** Everything an estimate is made of: no more than what a clone has read of the catalogue before it touches the target. */
export interface EstimateInput extends CostInput {
  /** Definitions that stand before the rows, and those after them that are neither builds nor foreign keys. */
  readonly entries: { readonly before: number; readonly after: number; readonly sequences: number };
  /** Tables that each foreign key reads, as oids. */
  readonly foreignKeys: readonly (readonly number[])[];
  readonly largeObjects: { readonly count: number; readonly bytes: number };
  /** Tables whose statistics come with those of their partition tree, by oid. */
  readonly leaves: ReadonlySet<number>;
  readonly schemaOnly: boolean;
}

export interface PhaseCost {
  /** `indexes`: what is left to build when the last row is in; the rest is done beside the copy. */
  readonly phase: Phase;
  readonly seconds: number;
  /** What makes it that long, in words. */
  readonly bound: string;
}

export interface CostEstimate {
  /** The longest path first. */
  readonly tables: readonly TableCost[];
  readonly phases: readonly PhaseCost[];
  readonly seconds: number;
  /** Of all tables on the source. */
  readonly bytes: number;
  /** What a watch is expected to show of each table, by oid: beside what else runs, unlike its costs. */
  readonly expected: ReadonlyMap<number, TableExpected>;
}

/** Seconds of wall time. */
export interface TableExpected extends TableSpent {
  readonly verifySeconds: number;
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

function share(values: readonly number[], jobs: number): number {
  return Math.max(0, ...values.slice(0, 1), sum(values) / Math.max(1, Math.min(jobs, COSTS.fullSpeedLanes)));
}

/** Seconds that pg_dump waits for answers. */
function dumpWaits(sequences: number, roundTripMs: number): number {
  return ((COSTS.dumpRoundTrips + sequences * COSTS.dumpSequenceRoundTrips) * roundTripMs) / 1000;
}

function dump(entries: number, waiting: number): number {
  return COSTS.dumpSeconds + entries * COSTS.dumpEntrySeconds + waiting;
}

function definitions(entries: number, roundTripMs: number): number {
  return entries * COSTS.restoreEntrySeconds + (Math.ceil(entries / COSTS.restoreTogether) * roundTripMs) / 1000;
}

function counted(count: number, noun: string): string {
  return `${count.toLocaleString('en-US')} ${noun}${count === 1 ? '' : 's'}`;
}

function nameOf({ table }: TableCost): string {
  return qualified(table.schema, table.name);
}

function schemaPhase(input: EstimateInput): PhaseCost {
  if (input.dataOnly) return { phase: 'schema', seconds: (4 * input.roundTripMs.source) / 1000, bound: 'round trips' };
  const { before, after } = input.entries;
  const all = before + after + sum([...input.builds.values()].map((list) => list.length)) + input.foreignKeys.length;
  const waiting = dumpWaits(input.entries.sequences, input.roundTripMs.source);
  const dumping = dump(all, waiting);
  const restoring = definitions(before, input.roundTripMs.target);
  const far = waiting > dumping / 2;
  const bound = restoring > dumping ? `${counted(before, 'definition')} on the target` : 'pg_dump, which is serial';
  return {
    phase: 'schema',
    seconds: dumping + restoring,
    bound: far && restoring <= dumping ? 'round trips of pg_dump, which is serial' : bound,
  };
}

function filling(
  input: EstimateInput,
  tables: readonly TableCost[],
): { phases: PhaseCost[]; spent: Scheduled['spent'] } {
  const { count, bytes } = input.largeObjects;
  const objects = count * COSTS.largeObjectSeconds + bytes / COSTS.largeObjectBytesPerSecond;
  const { copyEnd, end, lastTable, spent } = schedule(folded(tables, input.leaves), {
    tableJobs: input.plan.tableJobs,
    indexJobs: input.indexJobs,
    lanes: COSTS.fullSpeedLanes,
    beside: objects,
    leaves: input.leaves,
  });
  const [longest] = tables.toSorted((a, b) => b.copySeconds / b.pieces - a.copySeconds / a.pieces);
  const longestSeconds = longest === undefined ? 0 : longest.copySeconds / longest.pieces;
  const copyBound =
    objects > copyEnd * 0.8
      ? counted(count, 'large object')
      : longest !== undefined && longestSeconds > copyEnd * 0.8
        ? `table ${nameOf(longest)}`
        : `${counted(tables.length, 'table')}, ${input.plan.tableJobs} at once`;
  const left = end - copyEnd;
  const last = tables.find(({ table }) => table.oid === lastTable);
  const all = sum(tables.map(({ builds }) => builds.length)).toLocaleString('en-US');
  const alone = last !== undefined && buildPath(last.builds, input.indexJobs) > left * 0.6;
  const many = `${all} indexes and constraints, ${input.indexJobs} at once`;
  const indexBound = left < 0.05 ? 'built beside the copy' : alone ? `indexes of ${nameOf(last)}` : many;
  const phases: PhaseCost[] = [
    { phase: 'copy', seconds: copyEnd, bound: copyEnd < 0.05 ? 'next to nothing to copy' : copyBound },
    { phase: 'indexes', seconds: left, bound: indexBound },
  ];
  return { phases, spent };
}

function constraintsPhase(input: EstimateInput, tables: readonly TableCost[]): PhaseCost {
  const byOid = new Map(tables.map((cost) => [cost.table.oid, cost]));
  const keys = input.foreignKeys.map((locks) => {
    const read = [...new Set(locks)].flatMap((oid) => byOid.get(oid) ?? []);
    const scans = sum(read.map(({ table }) => table.sizeBytes)) / COSTS.scanBytesPerSecond;
    const rows = Math.max(0, ...read.map((cost) => cost.rows)) * COSTS.keyRowSeconds;
    return COSTS.buildSeconds + scans + rows + waits(1, input.roundTripMs.target, input.indexJobs);
  });
  const checking = input.schemaOnly ? sum(keys.map(() => COSTS.buildSeconds)) : share(sorted(keys), input.indexJobs);
  const rest = definitions(input.entries.after, input.roundTripMs.target);
  return {
    phase: 'constraints',
    seconds: input.dataOnly ? 0 : checking + rest,
    bound: checking > rest ? counted(keys.length, 'foreign key') : counted(input.entries.after, 'definition'),
  };
}

function sorted(values: readonly number[]): number[] {
  return values.toSorted((a, b) => b - a);
}

function verifyPhase(input: EstimateInput, tables: readonly TableCost[]): PhaseCost[] {
  if (input.verify === 'none') return [];
  const comparing = input.schemaOnly
    ? 0
    : share(sorted(tables.map((cost) => cost.verifySeconds)), input.plan.tableJobs);
  const { before, after } = input.entries;
  const dumping = input.dataOnly
    ? 0
    : dump(before + after + input.foreignKeys.length, dumpWaits(input.entries.sequences, input.roundTripMs.target));
  const objects = input.schemaOnly || input.verify !== 'full' ? 0 : input.largeObjects.bytes;
  const seconds = dumping + comparing + objects / COSTS.checksumBytesPerSecond;
  return [
    {
      phase: 'verify',
      seconds,
      bound: dumping > comparing ? 'pg_dump of the target' : 'reading every row on both servers',
    },
  ];
}

/**
 * What a clone will take, phase by phase. Streams share `COSTS.fullSpeedLanes`: how many cores the servers have nobody tells, so this is an
 * estimate of a small one until the first seconds of the copy say more. Pure.
 */
export function estimateClone(input: EstimateInput): CostEstimate {
  const tables = input.schemaOnly ? [] : estimateTables(input);
  const builds = input.schemaOnly ? sum([...input.builds.values()].map((list) => list.length)) : 0;
  const beside = Math.max(1, Math.min(input.plan.tableJobs, tables.length) / COSTS.fullSpeedLanes);
  const trees = tables.filter(({ table }) => input.leaves.has(table.oid)).map((cost) => cost.analyzeSeconds);
  const filled = input.schemaOnly ? null : filling(input, tables);
  const phases: PhaseCost[] = [
    schemaPhase(input),
    ...(filled === null
      ? [
          {
            phase: 'indexes' as const,
            seconds: (builds * COSTS.buildSeconds) / Math.min(input.indexJobs, COSTS.fullSpeedLanes),
            bound: `${builds.toLocaleString('en-US')} indexes and constraints without rows`,
          },
        ]
      : filled.phases),
    constraintsPhase(input, tables),
    { phase: 'analyze', seconds: share(sorted(trees), input.indexJobs), bound: 'statistics of partition trees' },
    ...verifyPhase(input, tables),
  ];
  return {
    tables,
    phases,
    seconds: sum(phases.map((phase) => phase.seconds)),
    bytes: sum(tables.map(({ table }) => table.sizeBytes)),
    expected: new Map(
      tables.map(({ table, copySeconds, buildSeconds, verifySeconds }) => [
        table.oid,
        {
          ...(filled?.spent.get(table.oid) ?? { copySeconds, buildSeconds }),
          verifySeconds: verifySeconds * beside,
        },
      ]),
    ),
  };
}

/** A measured rate beyond this many times the estimated one, or below its inverse, says more of the measuring than of the servers. */
const MOST_CORRECTED = 20;

/**
 * The estimate with the copy's rate as it was measured: `fraction` of the copy (by the source's sizes) took `seconds`. What was not
 * measured yet (builds, comparison) stays. Pure.
 */
export function corrected(
  estimate: CostEstimate,
  measured: { readonly seconds: number; readonly fraction: number },
): CostEstimate {
  const copy = estimate.phases.find(({ phase }) => phase === 'copy')?.seconds ?? 0;
  if (measured.fraction <= 0 || measured.seconds <= 0 || copy <= 0) return estimate;
  const factor = Math.min(MOST_CORRECTED, Math.max(1 / MOST_CORRECTED, measured.seconds / (measured.fraction * copy)));
  const phases = estimate.phases.map((phase) =>
    phase.phase === 'copy' ? { ...phase, seconds: phase.seconds * factor } : phase,
  );
  return {
    ...estimate,
    tables: estimate.tables.map((cost) => {
      const copySeconds = cost.copySeconds * factor;
      const pathSeconds = cost.pathSeconds + (copySeconds - cost.copySeconds) / cost.pieces;
      return { ...cost, copySeconds, pathSeconds };
    }),
    phases,
    seconds: sum(phases.map((phase) => phase.seconds)),
  };
}
