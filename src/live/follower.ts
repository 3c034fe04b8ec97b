import { setTimeout as sleep } from 'node:timers/promises';
import type { AppliedCounts } from '../contract/live.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import type { PauseGate } from '../gate.ts';
import { explainError, isTransient } from '../postgres/explain.ts';
import { type Lsn, formatLsn } from '../postgres/lsn.ts';
import { type Session, backoffMs, openSession } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { Applier } from './applier.ts';
import { takeOver, targetWentBack } from './progress.ts';
import { openChangeStream } from './stream.ts';
import type { ChangeStream, StreamItem, TableGate, Transaction } from './types.ts';

export interface FollowerInput {
  readonly job: string;
  readonly source: ConnectionSettings;
  readonly target: ConnectionSettings;
  readonly slot: string;
  readonly publication: string;
  readonly sourceMajor: number;
  /** Directory of the agent for large transactions. */
  readonly workDir: string;
  /** Closed while a person has paused the job: nothing is applied, the slot is told every second what is durable. */
  readonly gate: PauseGate;
  readonly signal: AbortSignal;
  log(level: 'debug' | 'info' | 'warn', message: string): void;
}

/** Bytes of changes that go into one transaction of the target; a larger one of the source goes alone. */
const BATCH_BYTES = 8 * 1024 * 1024;
/** Changes that go into one transaction of the target. */
const BATCH_CHANGES = 20_000;
const ASK_EVERY_MS = 20;
/** Between two attempts to connect anew, at most. */
const LONGEST_PAUSE_MS = 15_000;

/** Errors of a connection or a server that come and go; the stream is then connected anew, for as long as the job lives. */
export function comesAndGoes(error: unknown): boolean {
  return error instanceof PgsluiceError ? error.retryable || isTransient(error) : isTransient(error);
}

/** Splits what the stream handed out into transactions of the target, in commit order. Pure. */
export function batchesOf(transactions: readonly Transaction[]): Transaction[][] {
  const batches: Transaction[][] = [];
  let batch: Transaction[] = [];
  let changes = 0;
  let bytes = 0;
  for (const transaction of transactions) {
    const full = changes + transaction.changeCount > BATCH_CHANGES || bytes + transaction.bytes > BATCH_BYTES;
    if (batch.length > 0 && full) {
      batches.push(batch);
      batch = [];
      changes = 0;
      bytes = 0;
    }
    batch.push(transaction);
    changes += transaction.changeCount;
    bytes += transaction.bytes;
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}

interface Connection {
  readonly stream: ChangeStream;
  readonly applier: Applier;
}

/**
 * Brings what commits on the source to the target, in commit order, exactly once. Lifecycle: made → run → over. A connection
 * that ends is replaced; what the target has stored (progress.ts) says from where, never what this process remembers.
 */
export class Follower {
  readonly #input: FollowerInput;
  readonly #log: FollowerInput['log'];
  #connection: Connection | null = null;
  #epoch = 0n;
  #applied: Lsn = 0n;
  /** Everything that committed before it is durable on the target; at least `#applied`. */
  #done: Lsn = 0n;
  #counts: AppliedCounts = { inserts: 0, updates: 0, deletes: 0, truncates: 0, transactions: 0 };
  #orderedBatches = 0;
  #holds = 0;
  #released: (() => void)[] = [];
  #applying: Promise<unknown> = Promise.resolve();
  #failure: unknown = null;
  #over = false;

  constructor(input: FollowerInput) {
    this.#input = input;
    this.#log = (level, message) => input.log(level, message);
  }

  get connected(): boolean {
    return this.#connection !== null;
  }
  /** Position in the source's WAL up to which everything is durable on the target. */
  get done(): Lsn {
    return this.#done;
  }
  /** As stored on the target. */
  get applied(): Lsn {
    return this.#applied;
  }
  /** Of this agent's hold on the progress row; changes with every connection. */
  get epoch(): bigint {
    return this.#epoch;
  }
  get counts(): AppliedCounts {
    return this.#counts;
  }
  /** Batches that had to be applied change by change. */
  get orderedBatches(): number {
    return this.#orderedBatches;
  }
  get spooledBytes(): number {
    return this.#connection?.stream.spooledBytes ?? 0;
  }

  /**
   * Follows until the signal fires; connects anew whenever a connection ends.
   * @throws the signal's reason; PgsluiceError for what does not pass by itself: SCHEMA_DRIFT, TARGET_DIVERGED, TARGET_WENT_BACK,
   * SLOT_LOST, PROGRESS_TAKEN, or what the target refuses. It may be run again after SCHEMA_DRIFT was answered.
   */
  async run(): Promise<void> {
    this.#over = false;
    this.#failure = null;
    try {
      await this.#follow();
    } catch (error) {
      this.#failure = error;
      throw error;
    } finally {
      this.#over = true;
    }
  }

  async #follow(): Promise<never> {
    const { signal } = this.#input;
    const log = this.#log;
    for (let attempt = 1; ; attempt += 1) {
      throwIfAborted(signal);
      const startedAt = Date.now();
      try {
        await this.#followOnce();
      } catch (error) {
        throwIfAborted(signal);
        if (!comesAndGoes(error))
          throw error instanceof PgsluiceError ? error : explainError(error, { side: 'target' });
        if (Date.now() - startedAt > LONGEST_PAUSE_MS) attempt = 1;
        const pause = Math.min(
          LONGEST_PAUSE_MS,
          backoffMs(Math.min(attempt, 10), Math.random()) * (attempt > 6 ? 4 : 1),
        );
        const why = error instanceof Error ? error.message : String(error);
        log(
          'warn',
          `Following was interrupted: ${why} Connecting anew in ${(pause / 1000).toFixed(1)} s; nothing is lost.`,
        );
        await this.#freeSlot(error);
        await sleep(pause, undefined, { signal }).catch(() => throwIfAborted(signal));
      }
    }
  }

  /** One connection to each side, from opening to its end. Never returns but by an error. */
  async #followOnce(): Promise<never> {
    const { job, source, target, slot, publication, sourceMajor, workDir, signal } = this.#input;
    const log = this.#log;
    const progress = await this.#takeOver();
    const from = progress.applied;
    const opening = Applier.open({
      settings: target,
      job,
      epoch: progress.epoch,
      applied: from,
      gates: progress.gates,
      signal,
      log,
    });
    const streaming = openChangeStream({
      settings: source,
      slot,
      publication,
      from,
      sourceMajor,
      workDir,
      signal,
      log,
    });
    const [applier, stream] = await bothOpen(opening, streaming);
    try {
      try {
        stream.acknowledge(from);
        this.#connection = { stream, applier };
        log('info', `Following slot ${slot} from ${formatLsn(from)}.`);
        for (;;) await this.#step(stream, applier);
      } finally {
        this.#connection = null;
        await stream.close();
      }
    } finally {
      await applier.close();
    }
  }

  async #takeOver(): Promise<{ applied: Lsn; epoch: bigint; gates: readonly TableGate[] }> {
    const { job, target, signal } = this.#input;
    const session = await openSession(target, { signal, side: 'target', purpose: 'progress' });
    try {
      const state = await takeOver(session, job);
      this.#epoch = state.epoch;
      const applied = state.applied ?? 0n;
      // The slot was told that it may forget what the target has committed: what is gone there now comes from nowhere again.
      if (applied < this.#applied) throw targetWentBack(this.#applied, applied);
      this.#applied = applied;
      if (this.#applied > this.#done) this.#done = this.#applied;
      return { applied: this.#applied, epoch: state.epoch, gates: state.tables };
    } finally {
      await session.close();
    }
  }

  async #step(stream: ChangeStream, applier: Applier): Promise<void> {
    const { signal, gate } = this.#input;
    const items = await stream.take(BATCH_BYTES, signal);
    const fresh: Transaction[] = [];
    for (const item of items) {
      if (item.kind !== 'transaction') continue;
      if (item.transaction.endLsn > applier.applied) fresh.push(item.transaction);
      else await item.transaction.release();
    }
    for (const batch of batchesOf(fresh)) {
      await gate.wait(signal);
      await this.#untilReleased();
      const work = this.#apply(stream, applier, batch);
      this.#applying = work.catch(() => undefined);
      await work;
    }
    const position = lastPosition(items);
    if (position !== null && position > this.#done) this.#done = position;
    stream.acknowledge(this.#done);
  }

  async #apply(stream: ChangeStream, applier: Applier, batch: readonly Transaction[]): Promise<void> {
    const result = await applier.apply(batch);
    this.#applied = applier.applied;
    if (this.#applied > this.#done) this.#done = this.#applied;
    stream.acknowledge(this.#applied);
    this.#counts = {
      inserts: this.#counts.inserts + result.inserts,
      updates: this.#counts.updates + result.updates,
      deletes: this.#counts.deletes + result.deletes,
      truncates: this.#counts.truncates + result.truncates,
      transactions: this.#counts.transactions + result.transactions,
    };
    if (result.ordered) this.#orderedBatches += 1;
    for (const transaction of batch) await transaction.release();
  }

  /** Resolves when everything that committed before `lsn` is durable on the target. @throws why following ended; the signal's reason. */
  async drainTo(lsn: Lsn, signal: AbortSignal): Promise<void> {
    while (this.#done < lsn) {
      throwIfAborted(signal);
      if (this.#over) throw this.#failure ?? new Error('following has ended');
      this.#connection?.stream.askPosition();
      await sleep(ASK_EVERY_MS, undefined, { signal }).catch(() => throwIfAborted(signal));
    }
  }

  /** Nothing more is applied from the moment this resolves until the answer is called. */
  async hold(): Promise<() => void> {
    this.#holds += 1;
    await this.#applying;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#holds -= 1;
      if (this.#holds === 0) for (const resolve of this.#released.splice(0)) resolve();
    };
  }

  /** A table that joins while following: `gate` says what its copy holds. Stored on the target already, so a new connection knows it too. */
  addGate(gate: TableGate): void {
    this.#connection?.applier.addGate(gate);
  }

  /** The target's tables were altered: their columns are read anew. */
  forgetShapes(): void {
    this.#connection?.applier.forgetShapes();
  }

  async #untilReleased(): Promise<void> {
    const { signal } = this.#input;
    while (this.#holds > 0) {
      throwIfAborted(signal);
      let resolveNow: () => void = () => undefined;
      const released = new Promise<void>((resolve) => {
        resolveNow = resolve;
        this.#released.push(resolve);
      });
      signal.addEventListener('abort', resolveNow, { once: true });
      await released;
      signal.removeEventListener('abort', resolveNow);
    }
    throwIfAborted(signal);
  }

  /**
   * A connection that was cut without a word lives on at the source until its timeout, and keeps the slot busy. It is ours, so it
   * is ended; a role may always end its own sessions.
   */
  async #freeSlot(error: unknown): Promise<void> {
    if (!(error instanceof PgsluiceError) || error.code !== 'SLOT_ACTIVE') return;
    const { source, slot, signal } = this.#input;
    const log = this.#log;
    let session: Session | null = null;
    try {
      session = await openSession(source, { signal, side: 'source', purpose: 'slot' });
      const [row] = await session.query<{ pid: number | null }>(
        `SELECT s.active_pid AS pid FROM pg_replication_slots s
         WHERE s.slot_name = $1 AND s.active_pid IS NOT NULL AND pg_terminate_backend(s.active_pid)`,
        [slot],
      );
      if (row !== undefined) log('info', `Ended the slot's earlier connection (process ${row.pid}) on the source.`);
    } catch (cause) {
      throwIfAborted(signal);
      log(
        'debug',
        `The slot's earlier connection could not be ended: ${cause instanceof Error ? cause.message : String(cause)}`,
      );
    } finally {
      await session?.close();
    }
  }
}

interface Closable {
  close(): Promise<void>;
}

/** Both, or neither: what one of them opened is closed when the other cannot be. @throws the first one's error before the other's. */
async function bothOpen<A extends Closable, B extends Closable>(one: Promise<A>, other: Promise<B>): Promise<[A, B]> {
  const [a, b] = await Promise.allSettled([one, other]);
  if (a.status === 'fulfilled' && b.status === 'fulfilled') return [a.value, b.value];
  for (const side of [a, b]) if (side.status === 'fulfilled') await side.value.close();
  throw a.status === 'rejected' ? a.reason : b.status === 'rejected' ? b.reason : new Error('neither failed');
}

function lastPosition(items: readonly StreamItem[]): Lsn | null {
  let position: Lsn | null = null;
  for (const item of items) if (item.kind === 'position') position = item.lsn;
  return position;
}
