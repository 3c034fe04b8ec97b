import type { JobEvent } from '../contract/event.ts';

const keep = 2_000;
/** Characters of JSON that the ring holds at most, whatever the size of its events. */
const keepCharacters = 4_000_000;

/**
 * Where readers of one job's events learn that there is something new, and get the newest events without asking the store.
 * Only stored events enter. `live` is true while this process writes the job's log: only then is the ring up to date.
 */
export class JobFeed {
  #ring: JobEvent[] = [];
  /** Length of each event of the ring as JSON. */
  #lengths: number[] = [];
  #characters = 0;
  /** What was answered since the last push, by cursor: readers at the same place share one array. */
  readonly #answers = new Map<number, JobEvent[]>();
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
    if (this.#ring.at(-1)?.seq !== lastSeq) this.#cut(this.#ring.length);
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

  /** `lengths`: of each event as JSON. */
  push(events: readonly JobEvent[], lengths: readonly number[]): void {
    this.#answers.clear();
    for (const [index, event] of events.entries()) {
      const length = lengths[index] ?? 0;
      this.#ring.push(event);
      this.#lengths.push(length);
      this.#characters += length;
    }
    if (this.#ring.length > 2 * keep) this.#cut(this.#ring.length - keep);
    if (this.#characters > 2 * keepCharacters) this.#cut(this.#beyond(keepCharacters));
    this.#wake();
  }

  /** How many events of the front are too many for `characters`; the newest one always stays. */
  #beyond(characters: number): number {
    let left = this.#characters;
    let count = 0;
    while (left > characters && count < this.#ring.length - 1) {
      left -= this.#lengths[count] ?? 0;
      count += 1;
    }
    return count;
  }

  #cut(count: number): void {
    for (const length of this.#lengths.slice(0, count)) this.#characters -= length;
    this.#ring = this.#ring.slice(count);
    this.#lengths = this.#lengths.slice(count);
    this.#answers.clear();
  }

  /** Events after `cursor`, at most `limit`; null when the ring cannot tell and the store has to be asked. */
  after(cursor: number, limit: number): JobEvent[] | null {
    const first = this.#ring[0];
    // After the end nobody writes any more, and the store may be closed: the ring is the last word.
    const current = this.#live || this.#closed;
    if (!current || first === undefined || cursor + 1 < first.seq) return null;
    const from = cursor + 1 - first.seq;
    const known = this.#answers.get(cursor);
    if (known !== undefined && known.length <= limit) return known;
    const answer = this.#ring.slice(from, from + limit);
    this.#answers.set(cursor, answer);
    return answer;
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
