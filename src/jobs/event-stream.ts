import type { JobEvent, StreamMessage } from '../contract/event.ts';
import { firstSeq, readEvents } from '../store/event-queries.ts';
import { findJob } from '../store/job-queries.ts';
import type { Store } from '../store/store.ts';
import type { JobFeed } from './job-feed.ts';

export interface EventSource {
  readonly feed: JobFeed;
  read(after: number, limit: number): Promise<JobEvent[]>;
  /** First and last stored seq, or null when the job is gone. */
  bounds(): Promise<{ first: number; last: number } | null>;
  /** True when another agent may write this job: then the store is asked every second. */
  readonly shared: boolean;
}

/** The events of one job, from its feed and from the store. */
export function storedEvents(store: Pick<Store, 'db' | 'kind'>, id: string, feed: JobFeed): EventSource {
  return {
    feed,
    shared: store.kind === 'postgresql',
    read: (from, limit) => readEvents(store.db, id, from, limit),
    bounds: async () => {
      const row = await findJob(store.db, id);
      return row === null ? null : { first: (await firstSeq(store.db, id)) ?? row.lastSeq + 1, last: row.lastSeq };
    },
  };
}

const batchSize = 1_000;
const pollMs = 1_000;

/**
 * All events after `after`, first those that are stored, then those that come, each exactly once and in order. The reader pulls:
 * nothing piles up for a slow one. Where the store no longer holds what follows, a reset message says from where it goes on.
 * Ends when the signal fires, when the job is removed, or when the agent stops and the last event was read.
 */
export async function* streamEvents(
  source: EventSource,
  after: number,
  signal: AbortSignal,
): AsyncGenerator<StreamMessage[]> {
  const { feed } = source;
  let cursor = Number.isFinite(after) ? Math.max(0, Math.floor(after)) : 0;
  // Counted before the first wait, so that the feed is not forgotten meanwhile.
  feed.readers += 1;
  try {
    const start = await source.bounds();
    if (start === null) return;
    if (cursor < start.first - 1 || cursor > start.last) {
      yield [{ type: 'reset', firstSeq: start.first, lastSeq: start.last }];
      cursor = start.first - 1;
    }
    while (!signal.aborted) {
      const version = feed.version;
      const batch = feed.after(cursor, batchSize) ?? (feed.closed ? [] : await source.read(cursor, batchSize));
      const [first] = batch;
      if (first === undefined) {
        if (feed.closed) return;
        if (source.shared && !feed.live && (await source.bounds()) === null) return;
        await feed.waitBeyond(version, signal, source.shared && !feed.live ? pollMs : null);
        continue;
      }
      if (first.seq !== cursor + 1) {
        const bounds = await source.bounds();
        if (bounds === null) return;
        yield [{ type: 'reset', firstSeq: first.seq, lastSeq: bounds.last }];
      }
      yield batch;
      cursor = batch.at(-1)?.seq ?? cursor;
    }
  } finally {
    feed.readers -= 1;
  }
}
