import type { EstimateReport } from './report.ts';

const seconds = (value: number): string => (value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString('en-US'));

/** `Estimated 12 s, took 14 s: most of the difference in copy (9.0 s instead of 7.1 s).` Pure. */
export function estimateSentence(estimate: EstimateReport): string {
  const { estimatedSeconds, measuredSeconds, phases } = estimate;
  const [worst] = phases.toSorted(
    (a, b) => Math.abs(b.measuredSeconds - b.estimatedSeconds) - Math.abs(a.measuredSeconds - a.estimatedSeconds),
  );
  const whole = `Estimated ${seconds(estimatedSeconds)} s, took ${seconds(measuredSeconds)} s`;
  if (worst === undefined || Math.abs(worst.measuredSeconds - worst.estimatedSeconds) < 0.05) return `${whole}.`;
  return `${whole}: most of the difference in ${worst.phase} (${seconds(worst.measuredSeconds)} s instead of ${seconds(worst.estimatedSeconds)} s).`;
}
