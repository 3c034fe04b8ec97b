import type { Readable } from 'node:stream';

/** Why a stream is not read: its other end is full, the job is paused, or more would be above its rate. */
export type Reason = 'full' | 'paused' | 'rate';

/** A rest for the rate is looked at again after this, ms: meanwhile the rate may have been raised. */
export const LONGEST_REST_MS = 250;

/** Reads a stream only while nothing speaks against it; several reasons may, and each is taken back by itself. */
export class Valve {
  readonly #stream: Pick<Readable, 'pause' | 'resume'>;
  readonly #shut = new Set<Reason>();

  constructor(stream: Pick<Readable, 'pause' | 'resume'>) {
    this.#stream = stream;
  }

  shutBy(reason: Reason): boolean {
    return this.#shut.has(reason);
  }

  set(reason: Reason, shut: boolean): void {
    if (shut === this.#shut.has(reason)) return;
    if (shut) {
      this.#shut.add(reason);
      this.#stream.pause();
      return;
    }
    this.#shut.delete(reason);
    if (this.#shut.size === 0) this.#stream.resume();
  }
}
