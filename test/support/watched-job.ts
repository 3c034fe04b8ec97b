import { setTimeout as sleep } from 'node:timers/promises';
import type { JobEvent, JobState } from '../../src/contract/event.ts';
import type { JobView } from '../../src/contract/job.ts';
import { JobRequest, type JobRequestInput } from '../../src/contract/options.ts';
import type { JobManager } from '../../src/jobs/manager.ts';

/** A job of a manager in this process, for tests that act in the middle of it. */
export class WatchedJob {
  readonly id: string;
  readonly events: JobEvent[] = [];
  readonly #manager: JobManager;
  readonly #stopped = new AbortController();

  private constructor(manager: JobManager, id: string) {
    this.id = id;
    this.#manager = manager;
  }

  /** `onEvent` is told every event once, in order. */
  static async start(
    manager: JobManager,
    request: JobRequestInput,
    onEvent: (event: JobEvent) => void = () => undefined,
  ): Promise<WatchedJob> {
    const { id } = await manager.create(JobRequest.parse(request));
    const job = new WatchedJob(manager, id);
    void job.#follow(onEvent);
    await manager.act(id, 'start');
    return job;
  }

  async #follow(onEvent: (event: JobEvent) => void): Promise<void> {
    for await (const batch of this.#manager.stream(this.id, 0, this.#stopped.signal)) {
      for (const event of batch) {
        if (event.type === 'reset') continue;
        this.events.push(event);
        onEvent(event);
      }
    }
  }

  view(): Promise<JobView> {
    return this.#manager.get(this.id);
  }

  log(): string {
    return this.events.flatMap((event) => (event.type === 'log' ? [`${event.level} ${event.message}`] : [])).join('\n');
  }

  /** Waits until `ask` is content. @throws with the log's end after `ms`. */
  async until(what: string, ask: (view: JobView) => boolean, ms = 120_000): Promise<JobView> {
    const end = Date.now() + ms;
    for (;;) {
      const view = await this.view();
      if (ask(view)) return view;
      if (Date.now() > end) {
        throw new Error(`waited for ${what}; ${view.state}: ${view.summary}\n${this.log().slice(-4000)}`);
      }
      await sleep(40);
    }
  }

  /**
   * Does what a patient person does until the job is over: retries what failed, resumes what waits for them, and asks for the
   * cutover once the target has caught up. Answers how often a person was needed.
   */
  async bringToEnd(most = 6, ms = 120_000): Promise<{ view: JobView; acts: string[] }> {
    const acts: string[] = [];
    // What blocks is a person's to change: a restart in the middle of the checks is waited out by the job itself.
    const over: readonly JobState[] = ['completed', 'cancelled', 'blocked'];
    for (;;) {
      const view = await this.until(
        'something to do',
        ({ state, live }) => {
          if (over.includes(state) || state === 'failed' || state === 'paused') return true;
          return state === 'following' && live !== null && live.connected && live.lagBytes < 1_000_000;
        },
        ms,
      );
      if (over.includes(view.state)) return { view, acts };
      const action = view.state === 'failed' ? 'retry' : view.state === 'paused' ? 'resume' : 'cutover';
      acts.push(action);
      if (acts.filter((act) => act !== 'cutover').length > most || acts.length > 40) {
        throw new Error(`it does not come to its end: ${acts.join(' ')}\n${this.log().slice(-6000)}`);
      }
      // Refused while the run before is still being put away, or while its server comes back.
      await this.#manager.act(this.id, action).catch(() => sleep(200));
      await sleep(100);
    }
  }

  /** Settled for good: nobody works on it any more. */
  async settled(): Promise<JobView> {
    const view = await this.#manager.waitUntilSettled(this.id);
    this.#stopped.abort();
    return view;
  }
}
