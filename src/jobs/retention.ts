/** How much of a job's events is kept. Pruning takes from the front, so what remains is a gapless suffix. */
export interface Retention {
  readonly maxEventsPerJob: number;
  readonly maxAgeDays: number;
}

export const defaultRetention: Retention = { maxEventsPerJob: 400_000, maxAgeDays: 30 };
