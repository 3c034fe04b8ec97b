import { exitCodes } from './exit.ts';

export type Interrupt = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

/**
 * Signals of one command. The first is handed to whoever handles it, at once or as soon as a handler is set; the second
 * ends the process where it stands.
 */
export class Interrupts {
  #first: Interrupt | null = null;
  #handler: ((signal: Interrupt) => void) | null = null;
  readonly #listener = (signal: Interrupt): void => {
    if (this.#first !== null) process.exit(exitCodes.cancelled);
    this.#first = signal;
    this.#handler?.(signal);
  };

  constructor() {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, this.#listener);
  }

  get first(): Interrupt | null {
    return this.#first;
  }

  handle(handler: (signal: Interrupt) => void): void {
    this.#handler = handler;
    if (this.#first !== null) handler(this.#first);
  }

  /** Until a job has begun there is nothing to end in order: the first signal then ends the process, too. */
  async before<T>(work: Promise<T>, lastWords: () => void): Promise<T> {
    this.handle(() => {
      lastWords();
      process.exit(exitCodes.cancelled);
    });
    try {
      return await work;
    } finally {
      this.#handler = null;
    }
  }

  dispose(): void {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, this.#listener);
  }
}
