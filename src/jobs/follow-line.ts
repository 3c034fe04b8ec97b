import type { LiveRooms } from './live-rooms-types.ts';
import { linked, type LiveWork, stateOf } from './live-work.ts';

/** The follower of a run, which may end and be started again. Lifecycle: made → (started → ended)* → closed. */
export class FollowLine {
  readonly follower: ReturnType<LiveRooms['follow']>;
  readonly #link: ReturnType<typeof linked>;
  readonly #onEnd: () => void;
  #running: Promise<void> | null = null;
  #failure: { readonly error: unknown } | null = null;

  constructor(work: LiveWork, onEnd: () => void) {
    const { context, rooms, place, facts } = work;
    const { slot, publication } = stateOf(context);
    this.#onEnd = onEnd;
    this.#link = linked(place.signal);
    this.follower = rooms.follow({
      job: place.job,
      source: place.source,
      target: place.target,
      slot,
      publication,
      sourceMajor: facts.source.version.major,
      workDir: context.workDir,
      gate: context.gate,
      signal: this.#link.controller.signal,
      log: place.log,
    });
  }

  /** Why it has ended; null while it runs. */
  get failure(): { readonly error: unknown } | null {
    return this.#failure;
  }

  start(): void {
    this.#failure = null;
    this.#running = this.follower.run().catch((error: unknown) => {
      this.#failure = { error };
      this.#onEnd();
    });
  }

  async close(): Promise<void> {
    this.#link.controller.abort(new Error('following has come to its end'));
    this.#link.release();
    await this.#running;
  }
}
