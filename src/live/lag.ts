import type { Lsn } from '../postgres/lsn.ts';

/** Where the source's WAL ended at a moment of the agent's clock. */
export interface WalSample {
  readonly lsn: Lsn;
  /** ms */
  readonly at: number;
}

/** Samples that are kept: an hour at one a second. */
const MOST_SAMPLES = 3600;

/**
 * How far the target is behind the newest WAL of the source. Reckoned from what the source has written, not from what it has
 * sent: WAL that a slow connection keeps back counts. Pure but for its own memory.
 */
export class LagMeter {
  readonly #samples: WalSample[] = [];

  /** `lsn`: pg_current_wal_insert_lsn() of the source at `at` (ms). */
  add(sample: WalSample): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && last.lsn === sample.lsn) return;
    this.#samples.push(sample);
    if (this.#samples.length > MOST_SAMPLES) this.#samples.splice(0, MOST_SAMPLES / 10);
  }

  /** `done`: everything that committed before it is on the target. Seconds: since when the target lacks something. */
  read(done: Lsn, now: number): { readonly bytes: number; readonly seconds: number; readonly newest: Lsn } {
    while (this.#samples.length > 1 && (this.#samples[0]?.lsn ?? 0n) <= done) this.#samples.shift();
    const newest = this.#samples.at(-1)?.lsn ?? done;
    const oldest = this.#samples[0];
    const behind = oldest !== undefined && oldest.lsn > done;
    return {
      bytes: newest > done ? Number(newest - done) : 0,
      seconds: behind ? Math.max(0, (now - oldest.at) / 1000) : 0,
      newest,
    };
  }
}
