import type { EstimateReport, PhaseTiming, Report, Verification } from '../contract/report.ts';
import { SMALL_BYTES } from '../clone/cost-model.ts';
import type { Expected } from '../clone/expectation.ts';

const MOST_MISSES = 10;

function spanOf(phases: readonly PhaseTiming[], name: string): PhaseTiming | null {
  return phases.find(({ phase }) => phase === name) ?? null;
}

/** Seconds that a phase added to the whole: builds run beside the copy, so only what was left of them when the last row was in. */
function measuredSeconds(phases: readonly PhaseTiming[], name: string): number {
  const span = spanOf(phases, name);
  if (span === null) return 0;
  const copy = spanOf(phases, 'copy');
  if (name !== 'indexes' || copy === null) return span.seconds;
  return Math.max(0, Math.min(span.seconds, (Date.parse(span.finishedAt) - Date.parse(copy.finishedAt)) / 1000));
}

type Seconds = EstimateReport['misses'][number]['estimated'];

function total({ copy, build, verify }: Seconds): number {
  return (copy ?? 0) + (build ?? 0) + (verify ?? 0);
}

const rounded = (seconds: number): number => Math.round(seconds * 1000) / 1000;

function misses(
  { estimate, spent }: Pick<Expected, 'estimate' | 'spent'>,
  verification: Verification | null,
): EstimateReport['misses'] {
  const compared = new Map(
    (verification?.tables ?? []).map((table) => [JSON.stringify([table.schema, table.name]), table.seconds]),
  );
  return estimate.tables
    .flatMap(({ table: { oid, schema, name, sizeBytes } }) => {
      if (sizeBytes <= SMALL_BYTES) return [];
      const expected = estimate.expected.get(oid);
      const took = spent.get(oid);
      if (expected === undefined || took === undefined) return [];
      const verify = compared.get(JSON.stringify([schema, name])) ?? null;
      const estimated: Seconds = {
        copy: rounded(expected.copySeconds),
        build: rounded(expected.buildSeconds),
        verify: verify === null ? null : rounded(expected.verifySeconds),
      };
      const measured: Seconds = {
        copy: rounded(took.copySeconds),
        build: rounded(took.buildSeconds),
        verify: verify === null ? null : rounded(verify),
      };
      return [{ schema, name, estimated, measured }];
    })
    .toSorted((a, b) => missOf(b) - missOf(a))
    .slice(0, MOST_MISSES);
}

function missOf({ estimated, measured }: EstimateReport['misses'][number]): number {
  return Math.abs(total(estimated) - total(measured));
}

/** What was expected of a copy beside what happened. Pure. */
export function compareEstimate(
  expected: Pick<Expected, 'estimate' | 'spent'>,
  phases: readonly PhaseTiming[],
  verification: Verification | null,
): EstimateReport {
  const beside = expected.estimate.phases.map(({ phase, seconds, bound }) => ({
    phase,
    estimatedSeconds: rounded(seconds),
    measuredSeconds: rounded(measuredSeconds(phases, phase)),
    bound,
  }));
  return {
    estimatedSeconds: rounded(expected.estimate.seconds),
    measuredSeconds: rounded(beside.reduce((sum, phase) => sum + phase.measuredSeconds, 0)),
    phases: beside,
    misses: misses(expected, verification),
  };
}

/** The same for a report, where the copy was estimated and never paused. */
export function estimateOfRun(
  expected: Expected | undefined,
  phases: readonly PhaseTiming[],
  verification: Verification | null,
): Pick<Report, 'estimate'> {
  return expected === undefined || expected.wasPaused()
    ? {}
    : { estimate: compareEstimate(expected, phases, verification) };
}
