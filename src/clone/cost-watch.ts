import { corrected } from './cost-phases.ts';
import type { CostEstimate } from './cost-phases.ts';

/** When the copy has run for so long it is looked at: once it has shown its rate, and once more where it changed, seconds. */
const LOOKS = [3, 30] as const;
/** A whole that differs by less is not told. */
const WORTH_TELLING = 1.3;

/** A correction that is due. */
export interface Correction {
  readonly before: CostEstimate;
  readonly after: CostEstimate;
}

/** Holds an estimate against the copy as it runs, and corrects it at most twice. The clock comes from outside. */
export class CostWatch {
  readonly #first: CostEstimate;
  readonly #startedAt: number;
  #told: CostEstimate;
  #looks = 0;

  constructor(estimate: CostEstimate, now: number) {
    this.#first = estimate;
    this.#told = estimate;
    this.#startedAt = now;
  }

  /** `fraction` of the copy is done. @returns a correction worth telling, or null. */
  look(fraction: number, now: number): Correction | null {
    const seconds = (now - this.#startedAt) / 1000;
    const due = LOOKS[this.#looks];
    if (due === undefined || seconds < due || fraction <= 0 || fraction >= 1) return null;
    this.#looks += 1;
    const after = corrected(this.#first, { seconds, fraction });
    const before = this.#told;
    const ratio = after.seconds / before.seconds;
    if (ratio < WORTH_TELLING && ratio > 1 / WORTH_TELLING) return null;
    this.#told = after;
    return { before, after };
  }
}
