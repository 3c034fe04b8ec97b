/** Keeps a stream gapless: every seq once, in order. Pure bookkeeping, no socket. */

export type Verdict = 'new' | 'duplicate' | 'gap';

/** Bound of the remembered numbers; the handle is for tests, the page itself needs only the last one. */
const remembered = 300_000;

export class SequenceTracker {
  /** Highest seq taken; the stream is asked for what follows it. */
  last: number;
  duplicates = 0;
  #seen: number[] = [];
  #gapAt = -1;
  #gapTries = 0;

  constructor(after = 0) {
    this.last = after;
  }

  /**
   * Judges the next seq. `gap` means that something before it is missing: reconnect with `after=last`.
   * A gap that is still there after two reconnects is the agent's own (lines it no longer keeps) and is passed over.
   */
  accept(seq: number): Verdict {
    if (seq <= this.last) {
      this.duplicates += 1;
      return 'duplicate';
    }
    if (seq > this.last + 1 && !this.#mayPass(seq)) return 'gap';
    this.last = seq;
    this.#seen.push(seq);
    if (this.#seen.length > remembered * 1.1) this.#seen = this.#seen.slice(-remembered);
    return 'new';
  }

  #mayPass(seq: number): boolean {
    if (this.#gapAt === seq) this.#gapTries += 1;
    else {
      this.#gapAt = seq;
      this.#gapTries = 1;
    }
    return this.#gapTries > 2;
  }

  /** The agent no longer holds what was asked for: go on from `firstSeq`. */
  restart(firstSeq: number): void {
    this.last = firstSeq - 1;
  }

  /** Every seq taken, in order. */
  seen(): number[] {
    return this.#seen.slice();
  }
}

/** Wait before reconnect number `attempt` (from 0) in ms: doubling to 15 s, spread so that many pages do not return at once. */
export function reconnectDelay(attempt: number, random: number): number {
  const ceiling = Math.min(15_000, 400 * 2 ** Math.min(attempt, 10));
  return Math.round(ceiling * (0.5 + random / 2));
}
