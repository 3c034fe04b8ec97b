import { type JobState, jobStates } from '../contract/event.ts';
import type { ManagerMetrics } from './manager-types.ts';

/** Figures for Prometheus; counters count from the start of this process. */
export class JobCounters {
  readonly #jobs = new Map<JobState, number>();
  #events = 0;
  #rows = 0;
  #bytes = 0;

  /** The stored truth, which also knows the jobs of other agents. */
  setJobs(counts: ReadonlyMap<JobState, number>): void {
    this.#jobs.clear();
    for (const [state, count] of counts) this.#jobs.set(state, count);
  }

  created(state: JobState): void {
    this.#add(state, 1);
  }

  removed(state: JobState): void {
    this.#add(state, -1);
  }

  moved(from: JobState, to: JobState): void {
    this.#add(from, -1);
    this.#add(to, 1);
  }

  stored(counts: { events: number; rows: number; bytes: number }): void {
    this.#events += counts.events;
    this.#rows += counts.rows;
    this.#bytes += counts.bytes;
  }

  snapshot(): Pick<ManagerMetrics, 'jobs' | 'eventsWritten' | 'rowsCopied' | 'bytesCopied'> {
    const jobs = Object.fromEntries(jobStates.map((state) => [state, this.#jobs.get(state) ?? 0]));
    return {
      jobs: jobs as Record<JobState, number>,
      eventsWritten: this.#events,
      rowsCopied: this.#rows,
      bytesCopied: this.#bytes,
    };
  }

  #add(state: JobState, change: number): void {
    this.#jobs.set(state, Math.max(0, (this.#jobs.get(state) ?? 0) + change));
  }
}
