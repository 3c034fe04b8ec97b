import type { CostEstimate } from './cost-phases.ts';

/** Seconds as precise as an estimate is: `0.4 s`, `12 s`, `3 min`, `2.5 h`. Pure. */
export function aboutSeconds(seconds: number): string {
  if (seconds < 0.95) return `${Math.max(0.1, Math.round(seconds * 10) / 10).toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  if (seconds < 99.5 * 60) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 1800) / 2} h`;
}

const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

function aboutBytes(bytes: number): string {
  const power = bytes < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power] ?? ''}`;
}

const shares = [
  ['schema', 'schema'],
  ['copy', 'copy'],
  ['indexes', 'indexes'],
  ['constraints', 'foreign keys and the rest'],
  ['analyze', 'statistics'],
  ['verify', 'comparison'],
] as const;
/** A share below this of the whole is not worth a word. */
const SMALLEST_SHARE = 0.05;

/** `About 14 s for 1.2 GiB: 9 s copy, 3 s indexes, 2 s comparison; this is an estimate.` Pure. */
export function estimateSentence(estimate: CostEstimate): string {
  const parts = shares.flatMap(([phase, word]) => {
    const seconds = estimate.phases.find((one) => one.phase === phase)?.seconds ?? 0;
    return seconds < estimate.seconds * SMALLEST_SHARE || seconds < 0.05 ? [] : [`${aboutSeconds(seconds)} ${word}`];
  });
  const list = parts.length === 0 ? '' : `: ${parts.join(', ')}`;
  return `About ${aboutSeconds(estimate.seconds)} for ${aboutBytes(estimate.bytes)}${list}; this is an estimate.`;
}

/** What is said when the first seconds of the copy have shown another rate. Pure. */
export function correctionSentence(before: CostEstimate, after: CostEstimate): string {
  const copy = (estimate: CostEstimate): number => estimate.phases.find(({ phase }) => phase === 'copy')?.seconds ?? 0;
  const rate = copy(after) > 0 ? `${aboutBytes(after.bytes / copy(after))} a second` : 'as measured';
  return `Estimate corrected to about ${aboutSeconds(after.seconds)} instead of ${aboutSeconds(before.seconds)}: the copy takes ${aboutSeconds(copy(after))} at ${rate}.`;
}
