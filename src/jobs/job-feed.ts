import type { JobEvent } from '../contract/event.ts';

const keep = 2_000;

/**
 * Where readers of one job's events learn that there is something new, and get the newest events without asking the store.
 * Only stored events enter. `live` is true while this process writes the job's log: only then is the ring up to date.
 */
export class JobFeed {
  #ring: JobEvent[] = [];
  #version = 0;
  #live = false;
  #closed = false;
  readonly #waiters = new Set<() => void>();
  readers = 0;

  get version(): number {
    return this.#version;
  }

  get live(): boolean {
    return this.#live;
  }

  /** A writer begins; its first event will follow `lastSeq`. */
  open(lastSeq: number): void {
    if (this.#ring.at(-1)?.seq !== lastSeq) this.#ring = [];
    this.#live = true;
    this.#wake();
  }

  /** The writer has stored its last event. */
  release(): void {
    this.#live = false;
    this.#wake();
  }

  /** True when there will be nothing more: the job was removed or the agent stops. */
  get closed(): boolean {
    return this.#closed;
  }

  push(events: readonly JobEvent[]): void {
    for (const event of events) this.#ring.push(event);
    if (this.#ring.length > 2 * keep) this.#ring = this.#ring.slice(-keep);
    this.#wake();
  }

  /** Events after `cursor`, at most `limit`; null when the ring cannot tell and the store has to be asked. */
  after(cursor: number, limit: number): JobEvent[] | null {
    const first = this.#ring[0];
    // After the end nobody writes any more, and the store may be closed: the ring is the last word.
    const current = this.#live || this.#closed;
    if (!current || first === undefined || cursor + 1 < first.seq) return null;
    const from = cursor + 1 - first.seq;
    return this.#ring.slice(from, from + limit);
  }

  /** Wakes when the version is no longer `version`, when the signal fires, or after `timeoutMs` (null: never). */
  async waitBeyond(version: number, signal: AbortSignal, timeoutMs: number | null): Promise<void> {
    if (this.#version !== version || this.#closed || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = timeoutMs === null ? null : setTimeout(done, timeoutMs);
      const waiters = this.#waiters;
      function done(): void {
        if (timer !== null) clearTimeout(timer);
        waiters.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      }
      waiters.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  close(): void {
    this.#closed = true;
    this.#wake();
  }

  #wake(): void {
    this.#version += 1;
    for (const wake of this.#waiters) wake();
  }
}
