import type { PauseGate } from '../gate.ts';
import type { Session } from '../postgres/session.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import type { WithSession } from './sides.ts';

/** What runs at a pause may come to its own end for so long, ms; with the cancellation it is over within the 2 s of a pause. */
const GRACE_MS = 1000;

export interface PausableInput {
  readonly gate: PauseGate;
  readonly signal: AbortSignal;
  /** A session whose statements must not be cancelled: that would end the snapshot it keeps. */
  readonly spare: (session: Session) => boolean;
}

/**
 * Sessions of `inner` whose work only reads: while the gate is closed none begins, and what runs when it closes is cancelled and done
 * from its beginning once it is open.
 */
export function pausable(inner: WithSession, { gate, signal, spare }: PausableInput): WithSession {
  return async (work) => {
    for (;;) {
      await gate.wait(signal);
      const cancelling: Promise<void>[] = [];
      try {
        return await inner(async (session) => {
          const ending = spare(session) ? () => undefined : cancelAtPause(gate, session, cancelling);
          try {
            return await work(session);
          } finally {
            ending();
            // Whoever has the session next is not to be met by it.
            await Promise.allSettled(cancelling);
          }
        });
      } catch (error) {
        if (cancelling.length === 0 || sqlStateOf(error) !== SQLSTATE.queryCanceled) throw error;
      }
    }
  };
}

/** The answer ends it. */
function cancelAtPause(gate: PauseGate, session: Session, cancelling: Promise<void>[]): () => void {
  let timer: NodeJS.Timeout | null = null;
  const stop = (): void => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
  };
  const begin = (): void => {
    stop();
    timer = setTimeout(() => cancelling.push(session.cancelRunning()), GRACE_MS);
  };
  const release = gate.onChange((paused) => (paused ? begin() : stop()));
  // It was closed while a session was opened or waited for.
  if (gate.paused) begin();
  return () => {
    stop();
    release();
  };
}
