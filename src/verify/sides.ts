import PQueue from 'p-queue';
import type { PauseGate } from '../gate.ts';
import type { Pace } from '../pace.ts';
import { throwIfAborted } from '../errors.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';

/** Runs work with a session of one server; waits while all of them are busy. */
export type WithSession = <T>(work: (session: Session) => Promise<T>) => Promise<T>;

/** The two databases that are compared. */
export interface Sides {
  /** Inside the snapshot. */
  readonly source: WithSession;
  /** Read-only sessions; inside the snapshot where the target's moment was given. */
  readonly target: WithSession;
  /** Sessions of the target outside of any transaction, for temporary twins; not to be asked for by work of `target`. */
  readonly twins: WithSession;
  /** The target may have moved on since its moment: what its catalogue says now need not be what was then. */
  readonly targetMovesOn: boolean;
  /** The source is read in pieces, each paid for; null: as fast as it answers. */
  readonly pace: Pace | null;
  /** Closed while the job is paused; sessions of both sides wait for it. */
  readonly gate: PauseGate;
  readonly signal: AbortSignal;
}

/** Read-only sessions of the target, opened when first needed and used again; at most `limit` at once. */
export class TargetSessions {
  readonly #settings: ConnectionSettings;
  readonly #signal: AbortSignal;
  readonly #queue: PQueue;
  readonly #idle: Session[] = [];

  constructor(settings: ConnectionSettings, limit: number, signal: AbortSignal) {
    this.#settings = settings;
    this.#signal = signal;
    this.#queue = new PQueue({ concurrency: Math.max(1, limit) });
  }

  readonly withSession: WithSession = async (work) => {
    throwIfAborted(this.#signal);
    return this.#queue.add(async () => {
      throwIfAborted(this.#signal);
      let session = this.#idle.pop();
      while (session?.lost === true) {
        await session.close();
        session = this.#idle.pop();
      }
      session ??= await openSession(this.#settings, {
        signal: this.#signal,
        side: 'target',
        purpose: 'verify',
        readOnly: true,
        retryForMs: 30_000,
      });
      try {
        return await work(session);
      } finally {
        if (session.lost || this.#signal.aborted) await session.close();
        else this.#idle.push(session);
      }
    });
  };

  async close(): Promise<void> {
    this.#queue.clear();
    await Promise.all(this.#idle.splice(0).map((session) => session.close()));
  }
}

/** Waits for both, so that none goes on in the background, and throws what failed first in this order. */
export async function both<A, B>(first: Promise<A>, second: Promise<B>): Promise<[A, B]> {
  const [one, two] = await Promise.allSettled([first, second]);
  if (one.status === 'rejected') throw one.reason;
  if (two.status === 'rejected') throw two.reason;
  return [one.value, two.value];
}

/** Asks both servers the same at once. */
export async function askBoth<T>(sides: Sides, ask: (session: Session) => Promise<T>): Promise<[T, T]> {
  return both(sides.source(ask), sides.target(ask));
}
