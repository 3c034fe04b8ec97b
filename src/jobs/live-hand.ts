import type { LiveProgress, LiveState } from '../contract/live.ts';
import { PgsluiceError } from '../errors.ts';
import type { JobPatch } from '../store/job-queries.ts';
import { CutoverRequests } from './cutover-requests.ts';

/** How long the target may take to answer, in ms. */
const askMs = 10_000;

export interface LiveHandInput {
  readonly state: LiveState | null;
  readonly patch: (patch: JobPatch) => Promise<void>;
}

/**
 * The live side of a run in hand: what it has made on the servers, what it last measured, and whether the target has taken over.
 * The state is stored before anything is made, so that whoever comes after a crash knows what to look for.
 */
export class LiveHand {
  readonly requests = new CutoverRequests();
  readonly #patch: LiveHandInput['patch'];
  #state: LiveState | null;
  #progress: LiveProgress | null = null;
  #committing = false;

  constructor(input: LiveHandInput) {
    this.#state = input.state;
    this.#patch = input.patch;
  }

  get state(): LiveState | null {
    return this.#state;
  }

  get progress(): LiveProgress | null {
    return this.#progress;
  }

  set progress(progress: LiveProgress | null) {
    this.#progress = progress;
  }

  /** Something of this job stands on a server, or may. */
  get stands(): boolean {
    return isStanding(this.#state);
  }

  /** The target has taken over, or is about to: there is no way back. */
  get handedOver(): boolean {
    return this.#committing || isHandedOver(this.#state);
  }

  async save(state: LiveState, patch: JobPatch = {}): Promise<void> {
    await this.#patch({ ...patch, live: state });
    this.#state = state;
  }

  /** Called right before the target's commit; `failed` right after it when the commit did not happen. */
  commit(what: 'begins' | 'failed'): void {
    this.#committing = what === 'begins';
  }

  /** @throws PgsluiceError ALREADY_HANDED_OVER. */
  assertCancellable(): void {
    if (this.handedOver) throw alreadyHandedOver();
  }

  /**
   * The same for a run that was interrupted: then only the target knows whether it has taken over.
   * @throws PgsluiceError ALREADY_HANDED_OVER; the target's error where it may have taken over and cannot be asked.
   */
  async askCancellable(hasFinished: (signal: AbortSignal) => Promise<boolean>): Promise<void> {
    this.assertCancellable();
    if (this.#state?.stage !== 'following') return;
    const { readOnly } = this.#state;
    const finished = await hasFinished(AbortSignal.timeout(askMs)).catch((error: unknown) => {
      // The read-only default is set right before the target takes over: without it nothing has happened.
      if (readOnly !== null) throw error;
      return false;
    });
    if (finished) throw alreadyHandedOver();
  }
}

/** Something of the job stands on a server, or may. Pure. */
export function isStanding(live: LiveState | null): boolean {
  return live !== null && live.stage !== 'cleaned';
}

/** Pure. */
export function isHandedOver(live: LiveState | null): boolean {
  return live !== null && (live.stage === 'handed-over' || live.keepReadOnly);
}

export function alreadyHandedOver(): PgsluiceError {
  return new PgsluiceError({
    code: 'ALREADY_HANDED_OVER',
    message: 'The target has taken over; this migration can no longer be cancelled.',
    hint: 'Let it come to its end, or resume it when it is paused. The report says how the source is made writable again.',
  });
}
