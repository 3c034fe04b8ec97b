import { Pace } from './pace.ts';

/** Where a job's work stops while it is paused, and how fast it may pass otherwise. Open at first; one gate a job. */
export class PauseGate {
  readonly pace: Pace;
  #paused = false;
  readonly #listeners = new Set<(paused: boolean) => void>();

  constructor(pace: Pace = new Pace()) {
    this.pace = pace;
  }

  get paused(): boolean {
    return this.#paused;
  }

  pause(): void {
    this.#set(true);
  }

  resume(): void {
    this.#set(false);
  }

  /** Calls `listener` at every change; the answer takes it off again. */
  onChange(listener: (paused: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Resolves when the gate is open, at once when it is; rejects with the signal's reason when that fires first. */
  async wait(signal?: AbortSignal): Promise<void> {
    if (!this.#paused) return;
    await new Promise<void>((resolve, reject) => {
      const settle = (): void => {
        release();
        signal?.removeEventListener('abort', onAbort);
      };
      const onAbort = (): void => {
        settle();
        reject(signal?.reason instanceof Error ? signal.reason : new Error('cancelled'));
      };
      const release = this.onChange((paused) => {
        if (paused) return;
        settle();
        resolve();
      });
      if (signal?.aborted === true) onAbort();
      else signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  #set(paused: boolean): void {
    if (this.#paused === paused) return;
    this.#paused = paused;
    this.#listeners.forEach((listener) => listener(paused));
  }
}
