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
  /** Those whose cutover is being begun: their time is over no more. */
  #taken: Asked[] = [];
  #wake: (() => void) | null = null;
  #doing: { readonly what: string; readonly since: number } | null = null;

  /** True while somebody waits for an answer. */
  get pending(): boolean {
    return this.#asked.size > 0;
  }

  /** Resolves when the cutover has begun. @throws why it did not. */
  async ask(): Promise<void> {
    let timer: NodeJS.Timeout | null = null;
    try {
      await new Promise<void>((resolve, reject) => {
        const asked = { resolve, reject };
        this.#asked.add(asked);
        timer = setTimeout(() => {
          if (this.#asked.delete(asked)) reject(this.#notTakenUp());
        }, mostWaitMs);
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

  /** Does `work`, which keeps a request waiting; `what` is a sentence without its end that says so to whoever waited in vain. */
  async during<T>(what: string, work: () => Promise<T>): Promise<T> {
    this.#doing = { what, since: Date.now() };
    try {
      return await work();
    } finally {
      this.#doing = null;
    }
  }

  /** True when somebody still waits; from then on nobody is told that it took too long. `begun` or `refuse` has to follow. */
  take(): boolean {
    this.#taken.push(...this.#asked);
    this.#asked.clear();
    return this.#taken.length > 0;
  }

  begun(): void {
    for (const asked of this.#all()) asked.resolve();
  }

  refuse(error: PgsluiceError): void {
    for (const asked of this.#all()) asked.reject(error);
  }

  #all(): Asked[] {
    const all = [...this.#taken, ...this.#asked];
    this.#asked.clear();
    this.#taken = [];
    return all;
  }

  #notTakenUp(): PgsluiceError {
    const doing = this.#doing;
    const seconds = doing === null ? 0 : Math.round((Date.now() - doing.since) / 1000);
    const why = doing === null ? '' : ` ${doing.what} (for ${seconds} s now).`;
    return new PgsluiceError({
      code: 'CUTOVER_NOT_BEGUN',
      message: `The cutover could not begin within ${mostWaitMs / 1000} s, and was given up.${why}`,
      hint: 'Look at the guardrails and at the log, then ask again.',
      retryable: true,
    });
  }
}
