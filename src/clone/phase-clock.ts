import type { Phase } from '../contract/event.ts';
import type { PhaseTiming } from '../contract/report.ts';
import { throwIfAborted } from '../errors.ts';
import type { TargetContext } from './context.ts';

/** Tells the start and end of phases, and keeps how long each took. Phases may overlap. */
export class PhaseClock {
  readonly timings: PhaseTiming[] = [];
  readonly #context: TargetContext;

  constructor(context: TargetContext) {
    this.#context = context;
  }

  /** Tells a phase's start; the answer tells its end. */
  start(phase: Phase): (detail: string) => void {
    const startedAt = new Date();
    this.#context.emit({ type: 'phase', phase, status: 'started', seconds: null, detail: '' });
    return (detail) => {
      const finishedAt = new Date();
      const seconds = (finishedAt.getTime() - startedAt.getTime()) / 1000;
      this.timings.push({ phase, seconds, startedAt: startedAt.toISOString(), finishedAt: finishedAt.toISOString() });
      this.#context.emit({ type: 'phase', phase, status: 'finished', seconds, detail });
    };
  }

  /** Runs one phase; waits first while the job is paused. @throws what `work` throws, or the cancellation. */
  async run<T>(phase: Phase, work: () => Promise<T>): Promise<T> {
    throwIfAborted(this.#context.signal);
    await this.#context.gate.wait(this.#context.signal);
    const finish = this.start(phase);
    const result = await work();
    finish('');
    return result;
  }
}
