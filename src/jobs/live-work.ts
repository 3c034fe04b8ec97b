import type { Phase } from '../contract/event.ts';
import type { LiveState } from '../contract/live.ts';
import type { PhaseTiming } from '../contract/report.ts';
import { PgsluiceError } from '../errors.ts';
import type { CloneContext } from '../clone/context.ts';
import type { StagedClone } from '../clone/staged-types.ts';
import type { LiveMetrics } from './live-metrics.ts';
import type { LivePlace, LiveRooms } from './live-rooms-types.ts';
import type { Facts } from './rooms.ts';
import type { RunContext } from './run-job.ts';

/** What every part of a live run works with. */
export interface LiveWork {
  readonly context: RunContext;
  readonly rooms: LiveRooms;
  /** Its signal is the run's: it fires when the job's does, and when the slot is lost. */
  readonly place: LivePlace;
  readonly facts: Facts;
  /** Connections that copying and comparing may take on each side. */
  readonly connections: { readonly source: number; readonly target: number };
  readonly phases: PhaseTiming[];
  readonly metrics: LiveMetrics;
  /** What is left for a person, one sentence each. */
  readonly todo: string[];
}

/** The copying part, and under which epoch it writes its records: following takes the lead anew with every connection. */
export interface OpenCopy {
  readonly context: CloneContext;
  readonly staged: StagedClone;
  epoch: () => bigint;
}

/** A controller that fires with `signal`; `release` lets go of it. */
export function linked(signal: AbortSignal): { controller: AbortController; release(): void } {
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(signal.reason);
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  return { controller, release: () => signal.removeEventListener('abort', onAbort) };
}

/** What the job has stored of what it made. @throws when nothing is stored: a fault of the program. */
export function stateOf(context: Pick<RunContext, 'live'>): LiveState {
  const { state } = context.live;
  if (state === null) throw new Error('a live run has not stored what it makes');
  return state;
}

/** Tells and times a phase that may begin and end in different places. */
export class PhaseSpan {
  readonly #work: Pick<LiveWork, 'context' | 'phases'>;
  readonly #phase: Phase;
  readonly #startedAt = new Date();
  #over = false;

  constructor(work: Pick<LiveWork, 'context' | 'phases'>, phase: Phase, detail: string) {
    this.#work = work;
    this.#phase = phase;
    work.context.emit({ type: 'phase', phase, status: 'started', seconds: null, detail });
  }

  end(detail = ''): void {
    if (this.#over) return;
    this.#over = true;
    const finishedAt = new Date();
    const seconds = (finishedAt.getTime() - this.#startedAt.getTime()) / 1000;
    this.#work.context.emit({ type: 'phase', phase: this.#phase, status: 'finished', seconds, detail });
    this.#work.phases.push({
      phase: this.#phase,
      seconds,
      startedAt: this.#startedAt.toISOString(),
      finishedAt: finishedAt.toISOString(),
    });
  }
}

export function slotError(verdict: 'give-up' | 'lost', message: string, hint: string): PgsluiceError {
  return new PgsluiceError({ code: verdict === 'lost' ? 'SLOT_LOST' : 'SLOT_GIVEN_UP', message, hint });
}
