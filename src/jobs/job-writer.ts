import type { JobEventBody, JobState, LogLevel } from '../contract/event.ts';
import { PgsluiceError } from '../errors.ts';
import { writeEvents } from '../store/event-queries.ts';
import { findJob, type JobPatch, type JobRow, moveJob, patchJob } from '../store/job-queries.ts';
import type { Store } from '../store/store.ts';
import { EventLog } from './event-log.ts';
import type { JobFeed } from './job-feed.ts';
import { canMove } from './transitions.ts';

/** What writers tell the manager. */
export interface WriterObserver {
  moved(from: JobState, to: JobState): void;
  stored(counts: { events: number; rows: number; bytes: number }): void;
}

export interface WriterInput {
  readonly store: Store;
  /** The job as this agent has claimed it. */
  readonly row: JobRow;
  readonly feed: JobFeed;
  readonly observer: WriterObserver;
  onBroken(error: PgsluiceError): void;
}

/** The one writer of a job that this agent owns: its state and its events. Moves happen one after the other. */
export class JobWriter {
  readonly id: string;
  readonly log: EventLog;
  readonly #store: Store;
  readonly #observer: WriterObserver;
  #state: JobState;
  #moves: Promise<unknown> = Promise.resolve();

  constructor(input: WriterInput) {
    const { store, row } = input;
    this.id = row.id;
    this.#store = store;
    this.#observer = input.observer;
    this.#state = row.state;
    this.log = new EventLog({
      jobId: row.id,
      ownerId: store.agentId,
      lastSeq: row.lastSeq,
      totals: row.totals,
      feed: input.feed,
      write: (batch) => store.inTurn(() => writeEvents(store.db, batch)),
      storedSeq: async () => (await findJob(store.db, row.id))?.lastSeq ?? null,
      onBroken: (error) => input.onBroken(error),
      onStored: (counts) => input.observer.stored(counts),
    });
  }

  get state(): JobState {
    return this.#state;
  }

  emit(body: JobEventBody): void {
    this.log.emit(body);
  }

  say(level: LogLevel, message: string): void {
    this.log.emit({ type: 'log', level, message });
  }

  /**
   * Stores the new state, then announces it.
   * @param expected refuse the move when the job is in another state by the time its turn comes.
   * @throws PgsluiceError INVALID_TRANSITION; JOB_TAKEN_OVER when another agent owns the job now.
   */
  move(to: JobState, reason: string, patch: JobPatch = {}, expected?: JobState): Promise<void> {
    const before = this.#moves;
    const turn = (async () => {
      await before;
      const from = this.#state;
      if (!canMove(from, to) || (expected !== undefined && from !== expected)) {
        throw new PgsluiceError({
          code: 'INVALID_TRANSITION',
          message: `The job is ${from} and cannot become ${to} now.`,
          hint: 'Look at the job again.',
        });
      }
      const moved = await moveJob(this.#store.db, { id: this.id, ownerId: this.#store.agentId, from, to, patch });
      if (!moved) throw takenOver();
      this.#state = to;
      this.#observer.moved(from, to);
      this.emit({ type: 'state', state: to, previous: from, reason, error: patch.error ?? null });
    })();
    this.#moves = turn.catch(() => undefined);
    return turn;
  }

  async patch(patch: JobPatch): Promise<void> {
    if (!(await patchJob(this.#store.db, this.id, this.#store.agentId, patch))) throw takenOver();
  }

  async close(): Promise<void> {
    await this.#moves;
    await this.log.close();
  }
}

function takenOver(): PgsluiceError {
  return new PgsluiceError({
    code: 'JOB_TAKEN_OVER',
    message: 'Another agent has taken this job, or it was removed.',
    hint: 'Look at the job again.',
  });
}
