import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { StateDatabase } from '../store/database.ts';
import {
  compactEvents,
  jobsBeyond,
  jobsWithOld,
  pruneEvents,
  roomOfEvents,
  scatteredJobs,
  sizeOfEvents,
} from '../store/event-retention.ts';

/** How much of the jobs' events is kept. Pruning takes from the front, so what remains of a job is a gapless suffix. */
export interface Retention {
  /** Of every job, while it runs as well. */
  readonly maxEventsPerJob: number;
  /** Of jobs that are over. */
  readonly maxAgeDays: number;
  /** That all events may take; of those beyond, jobs that are over lose theirs, the one that ended first before the others. */
  readonly maxBytes: number;
  /** How often it is looked after, in ms. */
  readonly everyMs: number;
  /** Of the log of who did what. */
  readonly maxAuditEntries: number;
  readonly auditDays: number;
}

export const defaultRetention: Retention = {
  maxEventsPerJob: 400_000,
  maxAgeDays: 30,
  maxBytes: 5e9,
  everyMs: 300_000,
  maxAuditEntries: 200_000,
  auditDays: 365,
};

const eventsPerPiece = 10_000;
const leastPauseMs = 20;
/** Removed events after which their room is given back, so that no single giving back takes long: an embedded store stands still for it. */
const eventsPerSweep = 500_000;

export interface Retained {
  readonly removed: number;
  /** Jobs whose small batches were put together. */
  readonly compacted: number;
}

/**
 * Prunes what is too many, too old or too large, in pieces with a pause as long as each took, so that writers and readers always
 * come in between. Reports stay, and every job keeps its newest events. Ends early with the signal.
 */
export async function retain(
  db: StateDatabase,
  bounds: Pick<Retention, 'maxEventsPerJob' | 'maxAgeDays' | 'maxBytes'>,
  {
    signal,
    logger,
    vacuum,
    sweepEvery = eventsPerSweep,
  }: {
    signal: AbortSignal;
    logger: Pick<Logger, 'info' | 'warn'>;
    vacuum: () => Promise<void>;
    /** Removed events after which `vacuum` is called. */
    sweepEvery?: number;
  },
): Promise<Retained> {
  const piecewise = async <T>(work: () => Promise<T>): Promise<T> => {
    const begun = performance.now();
    const result = await work();
    await sleep(Math.max(leastPauseMs, performance.now() - begun));
    return result;
  };
  let unswept = 0;
  const prune = async (id: string, keep: number, days: number | null, enough = Infinity) => {
    let events = 0;
    let bytes = 0;
    while (!signal.aborted && bytes < enough) {
      const gone = await piecewise(() => pruneEvents(db, id, { keep, days, limit: eventsPerPiece }));
      if (gone.events === 0) break;
      events += gone.events;
      bytes += gone.bytes;
      unswept += gone.events;
      if (unswept < sweepEvery) continue;
      unswept = 0;
      await piecewise(vacuum);
    }
    return { events, bytes };
  };
  let removed = 0;
  const { maxEventsPerJob: keep, maxAgeDays: days } = bounds;
  for (const id of await jobsBeyond(db, keep)) removed += (await prune(id, keep, null)).events;
  for (const id of await jobsWithOld(db, days)) removed += (await prune(id, Number.MAX_SAFE_INTEGER, days)).events;
  const compacted = await compact(db, signal, piecewise);
  // What was removed still takes room on disk, which new events fill: only what is there counts.
  if ((await roomOfEvents(db)) > bounds.maxBytes) {
    const { bytes, ended } = await sizeOfEvents(db);
    let excess = bytes - bounds.maxBytes;
    let jobs = 0;
    for (const { id } of ended) {
      if (excess <= 0 || signal.aborted) break;
      const gone = await prune(id, 1, null, excess);
      removed += gone.events;
      excess -= gone.bytes;
      jobs += 1;
    }
    if (jobs > 0) logger.info({ jobs }, 'pruned the events of old jobs, which took more room than they may');
    if (excess > 0 && !signal.aborted)
      logger.warn({ bytes: Math.round(excess) }, 'events of jobs that are not over take more room than they may');
  }
  return { removed, compacted };
}

async function compact(
  db: StateDatabase,
  signal: AbortSignal,
  piecewise: <T>(work: () => Promise<T>) => Promise<T>,
): Promise<number> {
  let compacted = 0;
  for (const id of await scatteredJobs(db)) {
    let after: number | null = 0;
    while (after !== null && !signal.aborted) {
      const from: number = after;
      after = await piecewise(() => compactEvents(db, id, from));
    }
    compacted += 1;
  }
  return compacted;
}
