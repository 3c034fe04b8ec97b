import { setTimeout as sleep } from 'node:timers/promises';
import PQueue from 'p-queue';
import type { JobEvent, StreamMessage } from '../contract/event.ts';
import { eventBounds, readBatches, readEvents } from '../store/event-queries.ts';
import type { Store } from '../store/store.ts';
import { EventReads } from './event-reads.ts';
import { storedEvents, streamEvents } from './event-stream.ts';
import { JobFeed } from './job-feed.ts';
import { type LogPage, searchLog } from './log-search.ts';
import { jobNotFound } from './manager-errors.ts';
import type { LogQuery } from './manager-types.ts';

/** How long one question to a log may take, in ms: then the answer says how far it came. */
const searchBudgetMs = 1_500;
const closeGraceMs = 500;

/** The events of all jobs of an agent, for those who read them. Whoever writes a job's events tells its feed. */
export class JobEvents {
  readonly #store: Pick<Store, 'db' | 'kind'>;
  readonly #feeds = new Map<string, JobFeed>();
  readonly #reads: EventReads;
  readonly #searches: PQueue;

  constructor(store: Pick<Store, 'db' | 'kind'>) {
    this.#store = store;
    const { db, kind } = store;
    // The embedded server does one thing at a time; of the other's connections most are for what people wait for.
    const atOnce = kind === 'embedded' ? 1 : 2;
    this.#searches = new PQueue({ concurrency: 1 });
    this.#reads = new EventReads(
      { read: (id, after, limit) => readEvents(db, id, after, limit), bounds: (id) => eventBounds(db, id) },
      { atOnce },
    );
  }

  feed(id: string): JobFeed {
    let feed = this.#feeds.get(id);
    if (feed === undefined) {
      feed = new JobFeed();
      this.#feeds.set(id, feed);
    }
    return feed;
  }

  /** A feed without readers and writer holds nothing; the next one makes it anew. */
  release(id: string): void {
    const feed = this.#feeds.get(id);
    if (feed !== undefined && feed.readers === 0 && !feed.live) this.#feeds.delete(id);
  }

  /** The job is gone. */
  remove(id: string): void {
    this.#feeds.get(id)?.close();
    this.#feeds.delete(id);
    this.#reads.forget(id);
  }

  /** The agent stops: whoever follows has a moment to read what is there, and ends. */
  async close(): Promise<void> {
    const feeds = [...this.#feeds.values()];
    for (const feed of feeds) feed.close();
    const until = Date.now() + closeGraceMs;
    while (Date.now() < until && feeds.some(({ readers }) => readers > 0)) await sleep(5);
    await Promise.all([this.#reads.close(), this.#searches.onIdle()]);
  }

  /**
   * All events after `after`, in batches of about 1,000: what is stored, then what comes. Nothing twice, nothing left out; a
   * reset message where the store no longer holds what follows. Ends with the signal, the job's removal, or the agent's stop.
   * @throws PgsluiceError JOB_NOT_FOUND.
   */
  async *stream(id: string, after: number, signal: AbortSignal): AsyncGenerator<readonly StreamMessage[]> {
    const feed = this.feed(id);
    feed.readers += 1;
    try {
      const source = storedEvents(this.#reads, { id, feed, shared: this.#store.kind === 'postgresql', signal });
      const bounds = await source.bounds(0);
      if (bounds === null && !signal.aborted && !feed.closed) throw jobNotFound(id);
      yield* streamEvents(source, after, signal);
    } finally {
      feed.readers -= 1;
      this.release(id);
    }
  }

  /**
   * Log events, the oldest first, as many as were found in a moment; where that was not the end of the log, `next` says from where
   * to go on.
   * @throws PgsluiceError JOB_NOT_FOUND.
   */
  async logPage(id: string, query: LogQuery, budgetMs = searchBudgetMs): Promise<LogPage> {
    const { db } = this.#store;
    const bounds = id.includes('\0') ? null : await eventBounds(db, id);
    if (bounds === null) throw jobNotFound(id);
    const filter = {
      after: query.after ?? 0,
      limit: Math.min(Math.max(1, query.limit ?? 1_000), 10_000),
      level: query.level ?? 'debug',
      search: query.search ?? null,
    };
    const read = async (after: number, events: number) =>
      await this.#searches.add(async () => await readBatches(db, id, after, events));
    return await searchLog({ last: bounds.last, read }, filter, budgetMs);
  }

  /** Log events to the end of the log, or as many as are asked for, however long that takes. */
  async logs(id: string, query: LogQuery): Promise<JobEvent[]> {
    return (await this.logPage(id, query, Number.POSITIVE_INFINITY)).events;
  }
}
