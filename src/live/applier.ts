import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { type Lsn, formatLsn, parseLsn } from '../postgres/lsn.ts';
import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { SQLSTATE, serverField, sqlStateOf } from '../postgres/sqlstate.ts';
import { BatchWriter, DriftInside, type GateState, type Mode, sendProgress } from './apply-batch.ts';
import { openApplySession } from './apply-session.ts';
import { Shapes } from './apply-shapes.ts';
import { PreparedNames, TargetTransaction } from './apply-transaction.ts';
import { AnswerWatch } from './apply-watch.ts';
import { OrderMatters } from './apply-write.ts';
import { PROGRESS_SCHEMA, progressTaken } from './progress.ts';
import type { AppliedBatch, TableGate, Transaction } from './types.ts';
import { parseSnapshot } from './visibility.ts';

export interface ApplierInput {
  readonly settings: ConnectionSettings;
  readonly job: string;
  /** As {@link takeOver} answered. */
  readonly epoch: bigint;
  /** As stored on the target. */
  readonly applied: Lsn;
  readonly gates: readonly TableGate[];
  /** Relations of the source, as schema.name, whose changes are left out knowingly. */
  readonly ignored?: ReadonlySet<string>;
  readonly signal: AbortSignal;
  log(level: 'debug' | 'info' | 'warn', message: string): void;
}

/** Batches for which a table is written change by change once its net effect did not fit; doubles with each time, up to the second. */
const ORDERED_BATCHES = 16;
const MOST_ORDERED_BATCHES = 1024;

interface Remembered {
  readonly mode: Mode;
  /** Batches that are still written this way. */
  left: number;
  /** Batches that it is for the next time. */
  readonly next: number;
}

const nothing: AppliedBatch = { inserts: 0, updates: 0, deletes: 0, truncates: 0, transactions: 0, ordered: false };

/**
 * Brings transactions of the source into the target, exactly once: rows and progress are one transaction there. Lifecycle: open →
 * closed, or broken by the first error, after which only the target knows how far it is.
 */
export class Applier {
  readonly #session: Session;
  readonly #input: ApplierInput;
  readonly #shapes: Shapes;
  readonly #gates = new Map<number, GateState>();
  readonly #remembered = new Map<string, Remembered>();
  readonly #watch: AnswerWatch;
  #names = new PreparedNames(0);
  #generation = 0;
  #applied: Lsn;
  #newest: bigint;
  #transaction: TargetTransaction | null = null;
  #dead: PgsluiceError | null = null;
  #broken = false;

  private constructor(input: ApplierInput, session: Session, newest: bigint) {
    this.#input = input;
    this.#session = session;
    this.#shapes = new Shapes(session);
    this.#applied = input.applied;
    this.#newest = newest;
    for (const gate of input.gates) this.addGate(gate);
    this.#watch = new AnswerWatch({
      session,
      settings: input.settings,
      signal: input.signal,
      waitsSince: () => this.#transaction?.waitsSince ?? null,
      onDead: (error) => {
        this.#dead = error;
        void session.close();
      },
      log: (level, message) => input.log(level, message),
    });
  }

  /**
   * Opens the one session that applies and enters it in the progress row.
   * @throws PgsluiceError SETTINGS_REFUSED; PROGRESS_TAKEN when the row is not as given; as openSession does.
   */
  static async open(input: ApplierInput): Promise<Applier> {
    const session = await openApplySession(input.settings, input.job, input.signal);
    try {
      const [row] = await session.query<{ applied: string; newest: string; finished: boolean }>(
        `UPDATE ${PROGRESS_SCHEMA}.progress SET backend = pg_backend_pid(),
           backend_start = (SELECT a.backend_start FROM pg_stat_activity a WHERE a.pid = pg_backend_pid())
         WHERE job = $1 AND epoch = $2 RETURNING applied::text, newest_xid::text AS newest, finished`,
        [input.job, input.epoch.toString()],
      );
      if (row === undefined) throw progressTaken(input.job, `epoch ${input.epoch.toString()} is over`);
      if (row.finished) throw progressTaken(input.job, 'following has ended with its cutover');
      if (parseLsn(row.applied) !== input.applied)
        throw progressTaken(input.job, `it is at ${row.applied}, not at ${formatLsn(input.applied)}`);
      return new Applier(input, session, BigInt(row.newest));
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /** End of the last transaction of the source that is durable on the target. */
  get applied(): Lsn {
    return this.#applied;
  }

  /** What is known of a table's copy; replaces what was known of it before. */
  addGate(gate: TableGate): void {
    const snapshot = parseSnapshot(gate.snapshot);
    this.#gates.set(gate.oid, { gate, snapshot });
    // Before anything is applied, transactions are near the snapshots of the copies.
    if (this.#newest === 0n) this.#newest = snapshot.xmax;
    this.forgetShapes();
  }

  /** The target's tables were altered: they are looked at anew. */
  forgetShapes(): void {
    this.#shapes.forget();
    this.#generation += 1;
    this.#names = new PreparedNames(this.#generation);
  }

  /**
   * Writes the batch and how far it goes in one transaction of the target; resolves when that is durable. A batch without changes
   * does not touch the target. When a transaction does not fit the target's tables, those before it are durable first.
   * @throws PgsluiceError: SchemaDriftError (SCHEMA_DRIFT), TARGET_DIVERGED, PROGRESS_TAKEN, TRUNCATE_OF_ROUTED_PARTITION,
   * CHANGE_WITHOUT_KEY, the cancellation, or the server's error explained.
   */
  async apply(batch: readonly Transaction[]): Promise<AppliedBatch> {
    if (this.#broken) throw new Error('an applier is of no use after an error');
    const last = batch.at(-1);
    if (last === undefined || batch.every((transaction) => transaction.changeCount === 0)) return nothing;
    this.#refuseDisorder(batch);
    try {
      const applied = await this.#tryAll(batch);
      this.#recall();
      return applied;
    } catch (error) {
      this.#broken = true;
      throw this.#explain(error);
    }
  }

  #refuseDisorder(batch: readonly Transaction[]): void {
    let before = this.#applied;
    for (const { endLsn } of batch) {
      if (endLsn <= before)
        throw new RangeError(`transaction ending at ${formatLsn(endLsn)} was given after ${formatLsn(before)}`);
      before = endLsn;
    }
  }

  /** Until it is written: each failure of a net effect makes one more table be written change by change. */
  async #tryAll(batch: readonly Transaction[]): Promise<AppliedBatch> {
    for (;;) {
      try {
        return await this.#try(batch);
      } catch (error) {
        await this.#rollBack(error);
        if (error instanceof OrderMatters) {
          this.#remember(error);
          continue;
        }
        if (!(error instanceof DriftInside)) throw error;
        const before = batch.slice(0, error.index);
        if (before.some((transaction) => transaction.changeCount > 0)) await this.#tryAll(before);
        throw error.drift;
      }
    }
  }

  async #try(batch: readonly Transaction[]): Promise<AppliedBatch> {
    const { job, epoch, ignored } = this.#input;
    throwIfAborted(this.#input.signal);
    const transaction = TargetTransaction.begin(this.#session, this.#names);
    this.#transaction = transaction;
    const modes = new Map([...this.#remembered].flatMap(([id, { mode, left }]) => (left > 0 ? [[id, mode]] : [])));
    const writer = new BatchWriter({
      transaction,
      shapes: this.#shapes,
      gates: this.#gates,
      ignored: ignored ?? new Set(),
      modes,
      newest: this.#newest,
    });
    const applied = await writer.write(batch);
    const to = batch.at(-1)?.endLsn ?? this.#applied;
    sendProgress(transaction, job, epoch, this.#applied, to, writer.newest);
    // Numbers of rows are looked at before COMMIT is sent: the server would see nothing wrong with them.
    await transaction.settled();
    await transaction.commit();
    this.#transaction = null;
    this.#applied = to;
    this.#newest = writer.newest;
    return applied;
  }

  async #rollBack(cause: unknown): Promise<void> {
    const transaction = this.#transaction;
    if (transaction === null || this.#session.lost || this.#dead !== null) return;
    try {
      await transaction.rollback();
      // Until here its answer is waited for, and the wait is watched.
      this.#transaction = null;
    } catch (error) {
      // The connection is gone and the transaction with it. What went wrong first is what there is to say, unless it only asked for more.
      this.#input.log('debug', `Rolling back on the target: ${error instanceof Error ? error.message : String(error)}`);
      throw cause instanceof OrderMatters || cause instanceof DriftInside ? error : cause;
    }
  }

  #remember({ plan, message }: OrderMatters): void {
    const known = this.#remembered.get(plan.id);
    const mode: Mode = plan.key === null ? 'text' : 'ordered';
    const batches = known?.next ?? ORDERED_BATCHES;
    this.#remembered.set(plan.id, { mode, left: batches, next: Math.min(batches * 2, MOST_ORDERED_BATCHES) });
    this.#input.log('debug', `Table ${plan.id} is written change by change for ${batches} batches: ${message}.`);
  }

  #recall(): void {
    for (const remembered of this.#remembered.values()) if (remembered.left > 0) remembered.left -= 1;
  }

  #explain(error: unknown): PgsluiceError {
    if (this.#input.signal.aborted) return this.#session.explain(error);
    if (this.#dead !== null) return this.#dead;
    if (error instanceof PgsluiceError) return error;
    const state = sqlStateOf(error);
    if (state === SQLSTATE.uniqueViolation || state === SQLSTATE.exclusionViolation) {
      // A deferred one, found at COMMIT: the source committed the very same rows.
      const table = `${serverField(error, 'schema') ?? ''}.${serverField(error, 'table') ?? ''}`;
      return new PgsluiceError({
        code: 'TARGET_DIVERGED',
        message: `Table ${table} on the target is not what the source had: ${serverField(error, 'detail') ?? 'it holds a unique value already'}`,
        hint: 'Something else has written to the target. Find out what, keep it away, and start a new job into an empty database.',
        cause: error,
      });
    }
    return this.#session.explain(error);
  }

  async close(): Promise<void> {
    this.#watch.stop();
    await this.#session.close();
  }
}
