import { currentSession } from './job-session.ts';

/** What browser tests read to prove that nothing of the stream is lost or doubled. Changes nothing. */
export interface DebugHandle {
  /** Every seq taken of the job that is open, in the order of arrival. */
  readonly seqs: () => number[];
  /** How many events came a second time and were left out. */
  readonly duplicates: number;
}

declare global {
  interface Window {
    readonly __pgsluice: DebugHandle;
  }
}

export function exposeDebugHandle(): void {
  const handle: DebugHandle = {
    seqs: () => currentSession.peek()?.tracker.seen() ?? [],
    get duplicates() {
      return currentSession.peek()?.tracker.duplicates ?? 0;
    },
  };
  Object.defineProperty(window, '__pgsluice', { value: Object.freeze(handle) });
}
