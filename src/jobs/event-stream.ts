import type { JobEvent, StreamMessage } from '../contract/event.ts';
import type { EventBounds, EventReads } from './event-reads.ts';
import type { JobFeed } from './job-feed.ts';

export interface EventSource {
  readonly feed: JobFeed;
  /** About `limit` events after `after`; `version` of the feed when they were asked for. */
  read(after: number, limit: number, version: number): Promise<readonly JobEvent[]>;
  /** First and last stored seq, at most `maxAgeMs` old, or null when the job is gone. */
  bounds(maxAgeMs: number): Promise<EventBounds | null>;
  /** True when another agent may write this job: then the store is asked every second. */
  readonly shared: boolean;
}

/** The events of one job for one follower, from its feed and from the store. */
export function storedEvents(
  reads: EventReads,
  { id, feed, shared, signal }: { id: string; feed: JobFeed; shared: boolean; signal: AbortSignal },
): EventSource {
  return {
    feed,
    shared,
    read: (after, limit, version) => reads.read(id, { after, limit, version }, signal),
    bounds: (maxAgeMs) => reads.bounds(id, { version: feed.version, maxAgeMs }, signal),
  };
}

const batchSize = 1_000;
const pollMs = 1_000;
/** What was asked for right before is not asked again. */
const freshMs = 50;

/**
 * All events after `after`, first those that are stored, then those that come, each exactly once and in order. The reader pulls:
 * nothing piles up for a slow one. Where the store no longer holds what follows, a reset message says from where it goes on.
 * Ends when the signal fires, when the job is removed, or when the agent stops and the last event was read.
 */
export async function* streamEvents(
  source: EventSource,
  after: number,
  signal: AbortSignal,
): AsyncGenerator<readonly StreamMessage[]> {
  const { feed } = source;
  let cursor = Number.isFinite(after) ? Math.max(0, Math.floor(after)) : 0;
  // Counted before the first wait, so that the feed is not forgotten meanwhile.
  feed.readers += 1;
  try {
    const start = await source.bounds(freshMs);
    // Where the agent stops, the store may not be asked any more: the feed has the last word.
    if (start === null && !feed.closed) return;
    if (start !== null && (cursor < start.first - 1 || cursor > start.last)) {
      yield [{ type: 'reset', firstSeq: start.first, lastSeq: start.last }];
      cursor = start.first - 1;
    }
    while (!signal.aborted) {
      const { version } = feed;
      const elsewhere = source.shared && !feed.live && !feed.closed;
      if (elsewhere) {
        // Of all who wait for another agent's events one asks.
        const bounds = await source.bounds(pollMs / 2);
        if (feed.closed && feed.version !== version) continue;
        if (bounds === null) return;
        if (bounds.last <= cursor) {
          await feed.waitBeyond(version, signal, pollMs);
          continue;
        }
      }
      const batch = feed.after(cursor, batchSize) ?? (await source.read(cursor, batchSize, version));
      const [first] = batch;
      if (first === undefined) {
        if (feed.closed && feed.version === version) return;
        await feed.waitBeyond(version, signal, elsewhere ? pollMs : null);
        continue;
      }
      if (first.seq !== cursor + 1) {
        const bounds = await source.bounds(0);
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
