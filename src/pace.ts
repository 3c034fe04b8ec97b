import { setTimeout as sleep } from 'node:timers/promises';

/** What may pass at once after a time in which less than the rate was used, ms of the rate. */
const BURST_MS = 100;

/** How soon whoever has to rest looks again, ms. */
const REST_LOOK_MS = 250;

/**
 * How many bytes a second a job takes from its source, all of its copies together: what has passed is counted, and whoever counted it
 * waits until it was due (a token bucket that may be overdrawn by one reading). One a job.
 */
export class Pace {
  #limit: number | null;
  /** Bytes that may pass now; below zero what has passed too early. */
  #left = 0;
  #at: number;
  #spent = 0;
  #resting = false;
  readonly #now: () => number;

  /** `limit`: bytes/s, null: none. `now`: ms of a clock that never goes back. */
  constructor(limit: number | null = null, now: () => number = () => performance.now()) {
    this.#limit = limit;
    this.#now = now;
    this.#at = now();
  }

  /** Bytes/s; null: none. */
  get limit(): number | null {
    return this.#limit;
  }

  set limit(limit: number | null) {
    this.#refill();
    // What was spent too early at the old rate is not paid off at the new one, which may be a hundredth of it.
    if (this.#left < 0 && limit !== null && this.#limit !== null) this.#left = (this.#left / this.#limit) * limit;
    if (this.#limit === null || limit === null) this.#left = 0;
    this.#limit = limit;
  }

  /** Nothing more is to be taken for a while; what is on its way is counted at the rate as always, so the rest leaves no debt. */
  get resting(): boolean {
    return this.#resting;
  }

  set resting(resting: boolean) {
    this.#resting = resting;
  }

  /** Bytes that were ever spent. */
  get spent(): number {
    return this.#spent;
  }

  /** Counts `bytes` that have passed; answers for how many ms nothing more should be taken, 0 when there is no need to wait. */
  spend(bytes: number): number {
    this.#spent += bytes;
    const least = this.#resting ? REST_LOOK_MS : 0;
    if (this.#limit === null) return least;
    this.#refill();
    this.#left -= bytes;
    return Math.max(least, this.#left >= 0 ? 0 : Math.ceil((-this.#left / this.#limit) * 1000));
  }

  /** As `spend`, and waits that long, in steps of a second at most, since the rate may be raised meanwhile. @throws the signal's reason. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    for (let wait = this.spend(bytes); wait > 0; wait = this.spend(0)) {
      await sleep(Math.min(wait, 1000), undefined, { signal }).catch(() => {
        throw signal.reason instanceof Error ? signal.reason : new Error('cancelled');
      });
    }
  }

  #refill(): void {
    const now = this.#now();
    if (this.#limit !== null) {
      const most = (this.#limit * BURST_MS) / 1000;
      this.#left = Math.min(most, this.#left + (this.#limit * (now - this.#at)) / 1000);
    }
    this.#at = now;
  }
}
