/** Smallest, middle and largest of some measures; the middle of an even number of them is the mean of the two middle ones. */
export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

/** @throws RangeError for no values at all. */
export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (index: number): number => {
    const value = sorted[index];
    if (value === undefined) throw new RangeError('A spread needs at least one value.');
    return value;
  };
  const half = sorted.length / 2;
  const median = Number.isInteger(half) ? (at(half - 1) + at(half)) / 2 : at(Math.floor(half));
  return { min: at(0), median, max: at(sorted.length - 1) };
}

/**
 * Ours divided by the peer's, round by round: both of a round met the same state of the machine, so that a slow minute
 * does not decide. Below 1 means that ours was faster.
 */
export function pairedRatios(ours: readonly number[], peers: readonly number[]): number[] {
  return ours.flatMap((seconds, round) => {
    const peer = peers[round];
    return peer === undefined ? [] : [seconds / peer];
  });
}
