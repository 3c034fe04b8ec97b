import { PgsluiceError, throwIfAborted } from '../errors.ts';
import type { Lsn } from '../postgres/lsn.ts';
import { FollowLine } from './follow-line.ts';
import type { LiveDrift } from './live-drift-types.ts';
import { afterRollback, asError, fateOf, waitAfter } from './live-fate.ts';
import type { LiveWatch } from './live-watch.ts';
import { type LiveWork, type OpenCopy, PhaseSpan } from './live-work.ts';
import { untilAnswered } from './patience.ts';
import { type CutoverEnd, cutOver, type HandedOver } from './run-live-cutover.ts';
import { Wake } from './wake.ts';

const tickMs = 1_000;

export type FollowEnd =
  | { readonly kind: 'handed-over'; readonly hand: HandedOver }
  /** The target has taken over, and the connection to it ended with the answer. */
  | { readonly kind: 'committed' };

export interface FollowParts {
  readonly copy: OpenCopy;
  readonly watch: LiveWatch;
  /** From where it follows. */
  readonly applied: Lsn;
}

/**
 * Follows the source until the target has taken over. What a person can mend pauses the job; the slot is watched all the while.
 * @throws PgsluiceError what is beyond repair (live-fate.ts); the signal's reason.
 */
export async function followToTheEnd(work: LiveWork, parts: FollowParts): Promise<FollowEnd> {
  const wake = new Wake();
  const line = new FollowLine(work, () => wake.ring());
  try {
    parts.copy.epoch = () => line.follower.epoch;
    parts.watch.follow(line.follower, parts.applied);
    const what = "Reading the source's schema";
    const drift = await untilAnswered(work.context, { ...work.place, what }, () =>
      work.rooms.openDrift(work, parts.copy, line),
    );
    parts.watch.drift = drift;
    try {
      return await new Following(work, { ...parts, line, drift, wake }).run();
    } finally {
      await drift.close();
    }
  } finally {
    await line.close();
  }
}

interface FollowingParts extends FollowParts {
  readonly line: FollowLine;
  readonly drift: LiveDrift;
  readonly wake: Wake;
}

class Following {
  readonly #work: LiveWork;
  readonly #parts: FollowingParts;
  readonly #line: FollowLine;
  readonly #wake: Wake;
  #span: PhaseSpan;
  /** The job was paused with an error, and nobody has looked since whether its cause is gone. */
  #unanswered = false;
  #failures = 0;
  #notBefore = 0;

  constructor(work: LiveWork, parts: FollowingParts) {
    this.#work = work;
    this.#parts = parts;
    this.#line = parts.line;
    this.#wake = parts.wake;
    this.#span = this.#follows();
  }

  #follows(): PhaseSpan {
    return new PhaseSpan(this.#work, 'follow', 'What is written on the source arrives on the target.');
  }

  async run(): Promise<FollowEnd> {
    const { context, place } = this.#work;
    const { watch } = this.#parts;
    context.live.requests.onAsk(() => this.#wake.ring());
    try {
      this.#line.start();
      for (;;) {
        throwIfAborted(place.signal);
        watch.tell();
        if (!context.gate.paused) {
          await this.#settleTrouble();
          const end = context.gate.paused ? null : await this.#cutOverWhenWanted();
          if (end !== null) return end;
        }
        await this.#wake.wait(tickMs, place.signal);
      }
    } finally {
      this.#span.end();
    }
  }

  /** Starts again what may go on, and pauses the job for what a person has to answer. */
  async #settleTrouble(): Promise<void> {
    const { context } = this.#work;
    const looks = "The job was still waiting for an answer about the source's schema";
    const trouble = await context.live.requests.during(looks, () => this.#trouble());
    if (trouble === null) {
      this.#unanswered = false;
      if (this.#line.failure !== null) this.#line.start();
      return;
    }
    if (fateOf(trouble) === 'fail') throw trouble;
    this.#unanswered = true;
    await context.pauseWith(trouble);
  }

  async #trouble(): Promise<PgsluiceError | null> {
    const { drift } = this.#parts;
    const { failure } = this.#line;
    try {
      if (this.#unanswered) return await drift.resumed();
      if (failure === null) return await drift.look();
      const error = asError(failure.error);
      if (fateOf(error) === 'fail') return error;
      const answer = await drift.explain(error);
      return answer === 'again' ? null : answer;
    } catch (error) {
      const { place } = this.#work;
      throwIfAborted(place.signal);
      const met = asError(error);
      if (!met.retryable) return met;
      // The source or the target is away for a moment; the next look comes with the next tick.
      place.log('debug', `The schema could not be looked at: ${met.message}`);
      return failure === null || this.#unanswered ? null : asError(failure.error);
    }
  }

  async #cutOverWhenWanted(): Promise<FollowEnd | null> {
    const { context } = this.#work;
    const { requests } = context.live;
    const asked = requests.pending;
    if (!asked && !this.#calm()) return null;
    const reads = 'The job was still waiting for the answers of both servers to what a cutover depends on';
    const obstacle = asked ? await requests.during(reads, () => this.#obstacle()) : null;
    // They are asked anew over connections of their own; whoever waits is told when that takes too long as well.
    if (obstacle?.code === 'GUARDRAILS_UNANSWERED') return null;
    if (obstacle !== null) {
      requests.refuse(obstacle);
      return null;
    }
    // Whoever was told meanwhile that it did not begin counts on that.
    if (asked && !requests.take()) return null;
    this.#span.end();
    // Those of an attempt before tell nothing of this one.
    this.#parts.watch.steps = [];
    await context.move(
      'cutting_over',
      asked ? 'Cutting over because a person asked for it.' : 'Cutting over: the source is calm.',
    );
    requests.begun();
    const end = await this.#tick(cutOver(this.#work, { ...this.#parts, staged: this.#parts.copy.staged }));
    if (end.kind !== 'rolled-back') return end;
    await this.#rolledBack(end);
    return null;
  }

  async #rolledBack({ error }: CutoverEnd & { kind: 'rolled-back' }): Promise<void> {
    const { context, place } = this.#work;
    const next = afterRollback(error, context.options.cutover);
    this.#failures += 1;
    const pause = waitAfter(this.#failures);
    this.#notBefore = Date.now() + pause;
    const again =
      next === 'again' && context.options.cutover === 'auto'
        ? ` The next attempt is made in ${Math.round(pause / 1000)} s at the earliest.`
        : '';
    place.log('warn', `The cutover was rolled back: ${error.message} ${error.hint}${again}`.trim());
    await context.move('following', `The cutover was rolled back and the source takes writes: ${error.message}`);
    this.#span = this.#follows();
    if (next === 'again') return;
    if (next === 'fail') throw error;
    this.#unanswered = error.code === 'SCHEMA_DRIFT';
    // Whoever resumes the job has answered: the next attempt is the first one again.
    this.#failures = 0;
    this.#notBefore = 0;
    await context.pauseWith(error);
  }

  /** The figures go on while `work` is done. */
  async #tick<T>(work: Promise<T>): Promise<T> {
    const timer = setInterval(() => this.#parts.watch.tell(), tickMs);
    try {
      return await work;
    } finally {
      clearInterval(timer);
    }
  }

  #calm(): boolean {
    if (this.#work.context.options.cutover !== 'auto' || Date.now() < this.#notBefore) return false;
    return this.#line.failure === null && this.#parts.watch.calm;
  }

  /** What keeps a cutover from being begun; what may pass by itself does not. */
  async #obstacle(): Promise<PgsluiceError | null> {
    const { place } = this.#work;
    try {
      const guardrails = await this.#parts.watch.guardrails();
      const blocking = guardrails.filter(({ state }) => state === 'blocks');
      if (blocking.length === 0) return null;
      return new PgsluiceError({
        code: 'CUTOVER_BLOCKED',
        message: `The cutover cannot begin: ${blocking.map(({ found }) => found).join(' ')}`,
        hint: blocking
          .map(({ remedy }) => remedy)
          .filter((remedy) => remedy !== '')
          .join(' '),
      });
    } catch (error) {
      throwIfAborted(place.signal);
      return asError(error);
    }
  }
}
