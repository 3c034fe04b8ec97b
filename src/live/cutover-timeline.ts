import { type CutoverStep, cutoverSteps } from '../contract/live.ts';

type StepName = CutoverStep['step'];

/** The steps of one cutover as they run; tells of every change. */
export class Timeline {
  readonly #steps = new Map<StepName, CutoverStep>();
  readonly #onStep: (steps: readonly CutoverStep[]) => void;
  readonly #now: () => number;

  constructor(onStep: (steps: readonly CutoverStep[]) => void, now: () => number) {
    this.#onStep = onStep;
    this.#now = now;
  }

  /** In the contract's order; steps that run beside each other overlap. */
  get steps(): CutoverStep[] {
    return cutoverSteps.flatMap((name) => this.#steps.get(name) ?? []);
  }

  /** Runs one step; its answer's `detail` becomes the step's. `say` tells meanwhile what it waits for. A failure is its last detail. */
  async run<T extends { readonly detail: string }>(
    step: StepName,
    work: (say: (detail: string) => void) => Promise<T>,
  ): Promise<T> {
    const startedAt = this.#now();
    const set = (ms: number | null, detail: string): void => {
      this.#steps.set(step, { step, startedAt: new Date(startedAt).toISOString(), ms, detail });
      this.#onStep(this.steps);
    };
    set(null, '');
    try {
      const result = await work((detail) => set(null, detail));
      set(this.#now() - startedAt, result.detail);
      return result;
    } catch (error) {
      set(this.#now() - startedAt, error instanceof Error ? error.message : String(error));
      throw error;
    }
  }
}
