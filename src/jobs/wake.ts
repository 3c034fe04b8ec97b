import { throwIfAborted } from '../errors.ts';

/** A pause that anybody can end early. */
export class Wake {
  #now: (() => void) | null = null;
  #rung = false;

  ring(): void {
    this.#rung = true;
    this.#now?.();
  }

  /** Resolves after `ms`, or at once when it was rung since the last wait. @throws the signal's reason. */
  async wait(ms: number, signal: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, ms);
        function done(): void {
          clearTimeout(timer);
          signal.removeEventListener('abort', done);
          resolve();
        }
        this.#now = done;
        signal.addEventListener('abort', done, { once: true });
      });
      this.#now = null;
    }
    this.#rung = false;
    throwIfAborted(signal);
  }
}
