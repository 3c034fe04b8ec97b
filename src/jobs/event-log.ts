import { setTimeout as sleep } from 'node:timers/promises';
import type { CheckResult } from '../contract/check.ts';
import { type JobEvent, type JobEventBody, type Phase, type TableProgress } from '../contract/event.ts';
import { PgsluiceError } from '../errors.ts';
import type { EventBatch } from '../store/event-queries.ts';
import { toStoredBody } from './event-json.ts';
import type { JobFeed } from './job-feed.ts';
import { PendingEvents, type PendingEvent } from './pending-events.ts';
import { TotalsTracker, type Totals } from './totals.ts';

export interface EventLogOptions {
  readonly jobId: string;
  readonly ownerId: string;
  /** The job's stored last seq. */
  readonly lastSeq: number;
  readonly totals: Totals;
  readonly feed: JobFeed;
  /** Stores a batch whole; false when this agent no longer owns the job. */
  write(batch: EventBatch): Promise<boolean>;
  /** The job's stored last seq, for a write whose answer was lost. */
  storedSeq(): Promise<number | null>;
  /** Called once when nothing can be stored any more; what waited is dropped. */
  onBroken(error: PgsluiceError): void;
  /** Called for everything that was stored. */
  onStored(stored: { events: number; rows: number; bytes: number }): void;
  readonly flushMs?: number;
  readonly batchSize?: number;
  /** How long a store that does not answer is tried again, in ms. */
  readonly patienceMs?: number;
}

/** More waiting than this means that the store has stopped taking anything. */
const mostPending = 300_000;
/** A batch ends there, so that one statement stays small whatever the size of the events. */
const batchCharacters = 1_000_000;
const mostPendingCharacters = 128_000_000;

/**
 * Writes one job's events. `emit` never waits; seq is given when a batch is written, so what is coalesced leaves no gap, and an
 * event is announced only after it is stored. Lifecycle: open → closed, or open → broken → closed.
 */
export class EventLog {
  readonly totals: TotalsTracker;
  readonly #options: EventLogOptions;
  readonly #batchSize: number;
  readonly #pending: PendingEvents;
  #lastSeq: number;
  #checkPosition = 0;
  #timer: NodeJS.Timeout | null = null;
  #writing = false;
  #broken = false;
  #drainers: (() => void)[] = [];

  constructor(options: EventLogOptions) {
    this.#options = options;
    this.#lastSeq = options.lastSeq;
    this.#batchSize = options.batchSize ?? 500;
    this.#pending = new PendingEvents(this.#batchSize);
    this.totals = new TotalsTracker(options.totals);
    options.feed.open(options.lastSeq);
  }

  /** The newest stored seq. */
  get lastSeq(): number {
    return this.#lastSeq;
  }

  get pending(): number {
    return this.#pending.size;
  }

  emit(body: JobEventBody): void {
    if (this.#broken) return;
    this.#pending.push({ at: new Date().toISOString(), ...toStoredBody(body) });
    if (this.#pending.size > mostPending || this.#pending.characters > mostPendingCharacters) {
      this.#break(
        new PgsluiceError({
          code: 'STATE_TOO_SLOW',
          message: `The state did not take the job's events: ${this.#pending.size} wait.`,
          hint: 'Give the state a faster disk or database, then resume the job.',
          retryable: true,
        }),
      );
      return;
    }
    this.#schedule();
  }

  /** Resolves when everything emitted so far is stored (or the log is broken). */
  drain(): Promise<void> {
    if (this.#broken || (this.#pending.size === 0 && !this.#writing)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#drainers.push(resolve);
      this.#schedule();
    });
  }

  /** Drains and lets the feed's readers go to the store. */
  async close(): Promise<void> {
    await this.drain();
    this.#break(null);
    this.#options.feed.release();
  }

  #schedule(): void {
    if (this.#writing || this.#broken) return;
    if (this.#pending.size >= this.#batchSize || this.#drainers.length > 0) {
      if (this.#timer !== null) clearTimeout(this.#timer);
      this.#timer = null;
      this.#writing = true;
      void this.#writeWaiting();
      return;
    }
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      if (this.#writing || this.#broken) return;
      this.#writing = true;
      void this.#writeWaiting();
    }, this.#options.flushMs ?? 50);
  }

  /** Never rejects: a failure breaks the log. */
  async #writeWaiting(): Promise<void> {
    try {
      do {
        const batch = this.#pending.take(this.#batchSize, batchCharacters);
        if (batch.length > 0) await this.#writeBatch(batch);
      } while (
        !this.#broken &&
        (this.#pending.size >= this.#batchSize || (this.#drainers.length > 0 && this.#pending.size > 0))
      );
    } catch (error) {
      this.#break(asStateError(error));
    } finally {
      this.#writing = false;
    }
    if (this.#pending.size > 0) this.#schedule();
    else this.#release();
  }

  async #writeBatch(events: readonly PendingEvent[]): Promise<void> {
    const { jobId, ownerId, feed } = this.#options;
    const first = this.#lastSeq + 1;
    const effects = this.#effects(events);
    const lastSeq = this.#lastSeq + events.length;
    const json = events.map((event, i) => `{"seq":${first + i},"at":"${event.at}",${event.json.slice(1)}`);
    const owned = await this.#persist({
      jobId,
      ownerId,
      firstSeq: first,
      lastSeq,
      at: events.at(-1)?.at ?? new Date().toISOString(),
      events: `[${json.join(',')}]`,
      ...effects.batch,
    });
    if (!owned) {
      throw new PgsluiceError({
        code: 'JOB_TAKEN_OVER',
        message: 'Another agent has taken this job, it was removed, or the state has lost what it had stored.',
        hint: 'Look at the job again; check that the state database is steady and does not run with synchronous_commit off.',
      });
    }
    this.#lastSeq = lastSeq;
    feed.push(
      events.map((event, i): JobEvent => ({ seq: first + i, at: event.at, ...event.body })),
      events.map((event) => event.json.length),
    );
    this.#options.onStored({ events: events.length, rows: effects.rows, bytes: effects.bytes });
  }

  /** Tries until the patience ends. A batch whose answer was lost may be stored: its last seq tells. */
  async #persist(batch: EventBatch): Promise<boolean> {
    const deadline = Date.now() + (this.#options.patienceMs ?? 20_000);
    for (let pause = 100; ; pause = Math.min(pause * 2, 2_000)) {
      try {
        return await this.#options.write(batch);
      } catch (error) {
        if (Date.now() + pause > deadline) throw error;
        await sleep(pause);
        if (await this.#wasStored(batch.lastSeq)) return true;
      }
    }
  }

  async #wasStored(lastSeq: number): Promise<boolean> {
    try {
      return (await this.#options.storedSeq()) === lastSeq;
    } catch {
      // The store still does not answer; the caller's loop is bounded by its deadline.
      return false;
    }
  }

  #effects(events: readonly PendingEvent[]): {
    batch: Omit<EventBatch, 'jobId' | 'ownerId' | 'firstSeq' | 'lastSeq' | 'at' | 'events'>;
    rows: number;
    bytes: number;
  } {
    const tables = new Map<string, TableProgress>();
    const checks: { position: number; check: CheckResult }[] = [];
    const before = this.totals.totals;
    let phase: Phase | null = null;
    let rows = 0;
    let bytes = 0;
    for (const { body } of events) {
      const added = this.totals.apply(body);
      rows += added.rows;
      bytes += added.bytes;
      if (body.type === 'table') tables.set(JSON.stringify([body.table.schema, body.table.name]), body.table);
      if (body.type === 'check') checks.push({ position: (this.#checkPosition += 1), check: body.check });
      if (body.type === 'phase' && body.status === 'started') {
        phase = body.phase;
      }
    }
    const totals = this.totals.totals === before ? null : this.totals.totals;
    return { batch: { totals, phase, tables: [...tables.values()], checks }, rows, bytes };
  }

  #break(error: PgsluiceError | null): void {
    if (this.#broken) return;
    this.#broken = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#pending.clear();
    this.#release();
    if (error !== null) this.#options.onBroken(error);
  }

  #release(): void {
    const drainers = this.#drainers;
    this.#drainers = [];
    for (const resolve of drainers) resolve();
  }
}

function asStateError(error: unknown): PgsluiceError {
  if (error instanceof PgsluiceError) return error;
  // drizzle wraps what the driver throws.
  if (error instanceof Error && error.cause instanceof PgsluiceError) return error.cause;
  return new PgsluiceError({
    code: 'STATE_UNREACHABLE',
    message: `The job's events cannot be stored: ${rootMessage(error)}`,
    hint: 'Check the disk of the state directory, or the state database, then resume the job.',
    retryable: true,
    cause: error,
  });
}

/** drizzle wraps errors in one that quotes the whole statement with its parameters; the cause is what a person can use. */
function rootMessage(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? rootMessage(error.cause) : error.message;
}
