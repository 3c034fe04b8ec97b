import type { JobOptions } from '../contract/options.ts';

/**
 * What a live run opens beside the copy: on the source the watch over the slot has a connection of its own, and on either side
 * there is a short question now and then. What its cutover takes more is there by then, because the copy is over (LIVE_CONNECTIONS).
 */
const BESIDE = { copy: { source: 0, target: 0 }, live: { source: 2, target: 1 } } as const;

/** A gentle job has one reader of the source, beside the session that keeps the snapshot. */
const GENTLE_SOURCE = 2;

/**
 * How many connections copying and comparing take on each side, in all. One is left to others where there is plenty; a side that
 * has two works with two (snapshot holder included). More than the plan can keep busy are not taken: one for the coordinator, one
 * for the snapshot. Pure.
 */
export function planConnections(
  available: { readonly source: number; readonly target: number },
  options: Pick<JobOptions, 'tableJobs' | 'indexJobs' | 'gentle'>,
  method: 'copy' | 'live' = 'copy',
): { source: number; target: number } {
  const useful = options.tableJobs + options.indexJobs + 2;
  const take = (count: number, beside: number, most: number) =>
    Math.max(1, Math.min(most, (count > 8 ? count - 1 : count) - beside));
  const { source, target } = BESIDE[method];
  return {
    source: take(available.source, source, options.gentle === true ? GENTLE_SOURCE : useful),
    target: take(available.target, target, useful),
  };
}
