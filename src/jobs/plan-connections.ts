import type { JobOptions } from '../contract/options.ts';

/**
 * How many connections a run opens on each side, in all. One is left to others where there is plenty; a side that has two works
 * with two (snapshot holder included). More than the plan can keep busy are not taken: one for the coordinator, one for the snapshot.
 * Pure.
 */
export function planConnections(
  available: { readonly source: number; readonly target: number },
  options: Pick<JobOptions, 'tableJobs' | 'indexJobs'>,
): { source: number; target: number } {
  const useful = options.tableJobs + options.indexJobs + 2;
  const take = (count: number) => Math.max(1, Math.min(useful, count > 8 ? count - 1 : count));
  return { source: take(available.source), target: take(available.target) };
}
