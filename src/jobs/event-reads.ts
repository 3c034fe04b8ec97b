import { setImmediate as nextTurn } from 'node:timers/promises';
import PQueue from 'p-queue';
import type { JobEvent } from '../contract/event.ts';

export interface EventBounds {
  readonly first: number;
  readonly last: number;
}

export interface StoredEvents {
  /** Events after `after`, gapless from where they begin; about `limit`, and at least one where there is any. */
  read(jobId: string, after: number, limit: number): Promise<JobEvent[]>;
  /** Null when the job is gone. */
  bounds(jobId: string): Promise<EventBounds | null>;
}

export interface EventReadsOptions {
  /** Reads at the store at once; what people wait for has the rest of it. */
  readonly atOnce: number;
  /** Characters of JSON, about, of what was read and is kept for others who follow. */
  readonly keepCharacters?: number;
}

/** A read and those who wait for it; one that nobody waits for any more is not made. */
class SharedRead<T> {
  waiting = 0;
  readonly answer: Promise<T | null>;

  constructor(work: (own: SharedRead<T>) => Promise<T | null>) {
    this.answer = work(this);
  }
}

const mostTold = 5_000;

interface Kept {
  readonly events: readonly JobEvent[];
  readonly characters: number;
}

/**
 * Reads stored events for all who follow jobs: few reads at once, whatever their number, and one for all who are at the same
 * place. Stored events never change, so what was read is kept for those who come behind.
 */
export class EventReads {
  readonly #store: StoredEvents;
  readonly #queue: PQueue;
  readonly #most: number;
  readonly #reads = new Map<string, SharedRead<readonly JobEvent[]>>();
  readonly #bounds = new Map<string, SharedRead<EventBounds | null>>();
  /** What was last told of a job, with the moment in ms. */
  readonly #told = new Map<
    string,
    { readonly at: number; readonly version: number; readonly bounds: EventBounds | null }
  >();
  /** The least recently used first. */
  readonly #kept = new Map<string, Kept>();
  #characters = 0;
  #closed = false;

  constructor(store: StoredEvents, { atOnce, keepCharacters = 8_000_000 }: EventReadsOptions) {
    this.#store = store;
    this.#queue = new PQueue({ concurrency: atOnce });
    this.#most = keepCharacters;
  }

  /**
   * As StoredEvents.read; answers nothing once the signal has fired. `version` of the job's feed: whoever has seen a later one
   * must not be given an answer that was begun before.
   */
  async read(
    jobId: string,
    { after, limit, version }: { after: number; limit: number; version: number },
    signal: AbortSignal,
  ): Promise<readonly JobEvent[]> {
    const place = JSON.stringify([jobId, after]);
    const kept = this.#kept.get(place);
    if (kept !== undefined) {
      this.#kept.delete(place);
      this.#kept.set(place, kept);
      return kept.events;
    }
    const read = async (): Promise<readonly JobEvent[]> => {
      const events = await this.#store.read(jobId, after, limit);
      // Events that follow a gap are no answer for those who come later: what lies between may have been read by then.
      if (events[0]?.seq === after + 1) this.#keep(place, events);
      return events;
    };
    return (await this.#share(this.#reads, `${version} ${place}`, read, signal)) ?? [];
  }

  /** First and last stored seq, at most `maxAgeMs` old; null when the job is gone, the signal has fired, or this is closed. */
  async bounds(
    jobId: string,
    { version, maxAgeMs }: { version: number; maxAgeMs: number },
    signal: AbortSignal,
  ): Promise<EventBounds | null> {
    const told = this.#told.get(jobId);
    if (told !== undefined && told.version === version && Date.now() - told.at < maxAgeMs) return told.bounds;
    const ask = async (): Promise<EventBounds | null> => {
      const at = Date.now();
      const bounds = await this.#store.bounds(jobId);
      if (this.#told.size >= mostTold) this.#told.clear();
      this.#told.set(jobId, { at, version, bounds });
      return bounds;
    };
    return await this.#share(this.#bounds, `${version} ${jobId}`, ask, signal);
  }

  /** Nothing of a job that was removed is kept. */
  forget(jobId: string): void {
    this.#told.delete(jobId);
    for (const [place, { characters }] of this.#kept) {
      if ((JSON.parse(place) as [string, number])[0] !== jobId) continue;
      this.#kept.delete(place);
      this.#characters -= characters;
    }
  }

  /** From now on nothing is answered; resolves when the store is left alone. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#queue.onIdle();
  }

  async #share<T>(
    all: Map<string, SharedRead<T>>,
    key: string,
    work: () => Promise<T>,
    signal: AbortSignal,
  ): Promise<T | null> {
    if (signal.aborted || this.#closed) return null;
    let shared = all.get(key);
    if (shared === undefined) {
      shared = new SharedRead((own) => this.#enter(own, () => drop(all, key, own), work));
      all.set(key, shared);
    }
    const own = shared;
    own.waiting += 1;
    return await new Promise<T | null>((resolve, reject) => {
      const leave = (): void => {
        own.waiting -= 1;
        if (own.waiting === 0) drop(all, key, own);
        resolve(null);
      };
      signal.addEventListener('abort', leave, { once: true });
      const stay = (): void => signal.removeEventListener('abort', leave);
      own.answer.then(resolve, reject).finally(stay);
    });
  }

  async #enter<T>(own: SharedRead<T>, done: () => void, work: () => Promise<T>): Promise<T | null> {
    return await this.#queue.add(async () => {
      // The embedded server answers without a turn of the event loop: sockets and requests come in between.
      await nextTurn();
      try {
        // Those who waited went, or the agent stops: it is told to nobody.
        if (own.waiting === 0 || this.#closed) return null;
        return await work();
      } finally {
        done();
      }
    });
  }

  #keep(place: string, events: readonly JobEvent[]): void {
    const characters = events.reduce(
      (sum, event) => sum + (event.type === 'log' ? event.message.length : 400) + 100,
      0,
    );
    const before = this.#kept.get(place);
    if (before !== undefined) this.#characters -= before.characters;
    this.#kept.delete(place);
    this.#kept.set(place, { events, characters });
    this.#characters += characters;
    for (const [oldest, kept] of this.#kept) {
      if (this.#characters <= this.#most) break;
      this.#kept.delete(oldest);
      this.#characters -= kept.characters;
    }
  }
}

function drop<T>(all: Map<string, T>, key: string, own: T): void {
  if (all.get(key) === own) all.delete(key);
}
