/** How much of a job's events is kept. Pruning takes from the front, so what remains is a gapless suffix. */
export interface Retention {
  readonly maxEventsPerJob: number;
  readonly maxAgeDays: number;
  /** Of the log of who did what. */
  readonly maxAuditEntries: number;
  readonly auditDays: number;
}

export const defaultRetention: Retention = {
  maxEventsPerJob: 400_000,
  maxAgeDays: 30,
  maxAuditEntries: 200_000,
  auditDays: 365,
};

/** Whether a job can hold events beyond the bounds at all; spares the store the question. Pure. */
export function needsPruning(
  job: { lastSeq: number; createdAt: Date },
  bounds: Pick<Retention, 'maxEventsPerJob' | 'maxAgeDays'>,
  now: Date,
): boolean {
  const days = (now.getTime() - job.createdAt.getTime()) / 86_400_000;
  return job.lastSeq > bounds.maxEventsPerJob || days > bounds.maxAgeDays;
}
