/** What was seen of the source during one look: while the job read from it, or while it rested. */
export interface Look {
  /** Transactions of others a second, of all databases of the server. */
  readonly commits: number;
  /** How long the server took for a short question, ms; the median of the look. */
  readonly answerMs: number;
}

/** The rate that a gentle job begins with, bytes/s. */
export const FIRST_RATE = 8e6;
/** Reading that much takes about a hundredth of a processor, so that less would only make the job longer. */
const LOWEST_RATE = 1e6;
const HIGHEST_RATE = 512e6;

/** Looks of each kind that are remembered: one alone is mostly chance. */
const REMEMBERED = 3;
/** Below this many transactions a second their number says nothing. */
const BUSY = 20;
/** Share of the source's own throughput that may be missing in two looks together, in one alone, and below which there is room for more. */
const TOO_MUCH = 0.07;
const FAR_TOO_MUCH = 0.25;
const ROOM = 0.03;
/** An answer that takes longer than at rest by more than this factor, and by more than so many ms. */
const SLOWER = 1.6;
const SLOWER_MS = 2;
const DOWN = 0.6;
/** As long as the source has borne whatever it was given, and once it has not. */
const FIRST_UP = 2;
const UP = 1.3;

/**
 * How much a job may take from a source that others use: less when they get less done, or wait longer, than while the job rests; more
 * when there is no difference. Where they lose because a snapshot is held at all (what they write meanwhile cannot be cleaned up, so
 * the loss grows with its age and does not end while the job rests) a lower rate only keeps the snapshot for longer: then it does not
 * go below the first one. Lifecycle: looks are told in turn, `rate` says what follows from them. Pure but for its memory.
 */
export class GentleRate {
  readonly #most: number;
  readonly #alone: Look | null;
  #rate: number;
  #harmed = false;
  #working: Look[] = [];
  #resting: Look[] = [];

  /** `most`: what the job was told not to exceed, bytes/s; null: nothing. `alone`: before the job had its snapshot; null: not seen. */
  constructor(most: number | null, alone: Look | null = null) {
    this.#alone = alone;
    this.#most = Math.min(most ?? HIGHEST_RATE, HIGHEST_RATE);
    this.#rate = Math.min(FIRST_RATE, this.#most);
  }

  /** Bytes/s. */
  get rate(): number {
    return this.#rate;
  }

  rested(look: Look): void {
    this.#resting = [...this.#resting, look].slice(-REMEMBERED);
  }

  /** `full`: the job took what it was given; below that more would change nothing. Answers the new rate. */
  worked(look: Look, full: boolean): number {
    this.#working = [...this.#working, look].slice(-REMEMBERED);
    if (this.#resting.length === 0) return this.#rate;
    const harm = harmOf(this.#working, this.#resting);
    if (harm === 'too much') {
      this.#harmed = true;
      const aged = this.#alone !== null && harmOf(this.#resting, [this.#alone]) === 'too much';
      this.#set(Math.max(aged ? Math.min(FIRST_RATE, this.#rate) : 0, this.#rate * DOWN));
    } else if (harm === 'room' && full) this.#set(this.#rate * (this.#harmed ? UP : FIRST_UP));
    return this.#rate;
  }

  #set(rate: number): void {
    const next = Math.max(Math.min(LOWEST_RATE, this.#most), Math.min(this.#most, Math.round(rate)));
    // What was seen at another rate says nothing of this one.
    if (next !== this.#rate) this.#working = [];
    this.#rate = next;
  }
}

/** What the source's users lose while the job works, against while it rests. Pure. */
export function harmOf(working: readonly Look[], resting: readonly Look[]): 'too much' | 'room' | 'neither' {
  const answer = (looks: readonly Look[]): number => median(looks.map((look) => look.answerMs));
  const before = median(resting.map((look) => look.commits));
  const losses = working.map((look) => (before < BUSY ? 0 : 1 - look.commits / before));
  const lost = median(losses);
  // What others do varies by itself: one bad look is no proof, or chance alone would lower the rate to nothing.
  const tooMuch = lost > FAR_TOO_MUCH || (losses.length > 1 && Math.min(...losses) > TOO_MUCH);
  const wait = answer(working) - answer(resting);
  const slow = wait > SLOWER_MS && answer(working) > answer(resting) * SLOWER;
  if (tooMuch || slow) return 'too much';
  return lost < ROOM ? 'room' : 'neither';
}

/** NaN for none. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low, high] = [sorted[Math.max(0, sorted.length % 2 === 0 ? middle - 1 : middle)], sorted[middle]];
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2;
}
