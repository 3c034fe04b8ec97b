import { PgsluiceError } from '../errors.ts';

/** How long a person's request may wait to be taken up, in ms; guardrails are read meanwhile. */
const mostWaitMs = 20_000;

interface Asked {
  readonly resolve: () => void;
  readonly reject: (error: PgsluiceError) => void;
}

/** What carries a person's wish for a cutover to the run that follows, and the answer back. */
export class CutoverRequests {
  readonly #asked = new Set<Asked>();
  #wake: (() => void) | null = null;

  /** True while somebody waits for an answer. */
  get pending(): boolean {
    return this.#asked.size > 0;
  }

  /** Resolves when the cutover has begun. @throws why it did not. */
  async ask(): Promise<void> {
    let timer: NodeJS.Timeout | null = null;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#asked.add({ resolve, reject });
        timer = setTimeout(() => this.refuse(notTakenUp()), mostWaitMs);
        this.#wake?.();
      });
    } finally {
      if (timer !== null) clearTimeout(timer);
    }
  }

  /** Calls `wake` at once when somebody asks; the last caller's counts. */
  onAsk(wake: () => void): void {
    this.#wake = wake;
  }

  begun(): void {
    for (const asked of this.#take()) asked.resolve();
  }

  refuse(error: PgsluiceError): void {
    for (const asked of this.#take()) asked.reject(error);
  }

  #take(): Asked[] {
    const all = [...this.#asked];
    this.#asked.clear();
    return all;
  }
}

function notTakenUp(): PgsluiceError {
  return new PgsluiceError({
    code: 'CUTOVER_NOT_BEGUN',
    message: `The cutover could not begin within ${mostWaitMs / 1000} s.`,
    hint: 'Look at the guardrails and at the log, then ask again.',
    retryable: true,
  });
}
