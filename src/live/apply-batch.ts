import { PROGRESS_SCHEMA, progressTaken } from './progress.ts';
import { qualified } from '../postgres/quote.ts';
import { type Lsn, formatLsn } from '../postgres/lsn.ts';
import { PgsluiceError } from '../errors.ts';
import { SchemaDriftError } from './apply-plan.ts';
import type { Shapes } from './apply-shapes.ts';
import type { TargetTransaction } from './apply-transaction.ts';
import { writeCollapsed, writeOrdered, writeRawInserts, writeRawUpdates } from './apply-write.ts';
import { collapse } from './collapse.ts';
import { HeldChanges } from './held.ts';
import { type AppliedBatch, type Change, type Relation, type TableGate, type Transaction } from './types.ts';
import { type Snapshot, visibleIn, widenXid } from './visibility.ts';

/** Changes that are held to be collapsed together; then they are written. */
const HELD_CHANGES = 40_000;
/** So many are enough while the target has nothing to do. */
const FIRST_CHANGES = 5000;
/** Bytes of changes from spool files that are held; those in memory are bounded by whoever made the batch. */
const HELD_BYTES = 16 * 1024 * 1024;

/** How a table's changes are written: their net effect; or one by one, rows without a key being found by image or by text. */
export type Mode = 'collapsed' | 'ordered' | 'text';

export interface GateState {
  readonly gate: TableGate;
  readonly snapshot: Snapshot;
}

export interface BatchContext {
  readonly transaction: TargetTransaction;
  readonly shapes: Shapes;
  readonly gates: ReadonlyMap<number, GateState>;
  readonly ignored: ReadonlySet<string>;
  /** By {@link TablePlan.id}; left out: collapsed. */
  readonly modes: ReadonlyMap<string, Mode>;
  /** The newest transaction of the source seen so far, 64 bits. */
  readonly newest: bigint;
}

/** A relation that does not fit was met in transaction `index` of the batch. */
export class DriftInside extends Error {
  override readonly name = 'DriftInside';
  readonly index: number;
  readonly drift: SchemaDriftError;

  constructor(index: number, drift: SchemaDriftError) {
    super(drift.message, { cause: drift });
    this.index = index;
    this.drift = drift;
  }
}

/** Brings the changes of one batch into one transaction of the target, which the caller ends. */
export class BatchWriter {
  readonly #context: BatchContext;
  readonly #held = new Map<string, HeldChanges>();
  #heldChanges = 0;
  #heldBytes = 0;
  #newest: bigint;
  #counts = { inserts: 0, updates: 0, deletes: 0, truncates: 0 };
  #ordered = false;

  constructor(context: BatchContext) {
    this.#context = context;
    this.#newest = context.newest;
  }

  /** The newest transaction of the source, 64 bits; grows while writing. */
  get newest(): bigint {
    return this.#newest;
  }

  /** Sends everything of the batch. @throws DriftInside, OrderMatters, PgsluiceError, or the server's error as it is. */
  async write(batch: readonly Transaction[]): Promise<AppliedBatch> {
    for (const [index, transaction] of batch.entries()) {
      try {
        await this.#read(transaction);
      } catch (error) {
        throw error instanceof SchemaDriftError ? new DriftInside(index, error) : error;
      }
    }
    await this.#flush();
    return { ...this.#counts, transactions: batch.length, ordered: this.#ordered };
  }

  async #read(transaction: Transaction): Promise<void> {
    const xid = widenXid(transaction.xid, this.#newest);
    if (xid > this.#newest) this.#newest = xid;
    if (transaction.inMemory) {
      for (const piece of transaction.held()) await this.#take(piece, xid, false);
      return;
    }
    for await (const piece of transaction.pieces()) await this.#take(piece, xid, true);
  }

  async #take(changes: readonly Change[], xid: bigint, weigh: boolean): Promise<void> {
    const { shapes } = this.#context;
    for (const change of changes) {
      if (change.kind === 'truncate') {
        await this.#truncate(change.relations, xid);
        continue;
      }
      const { relation } = change;
      const gate = this.#gateOf(relation, xid);
      if (gate === null) continue;
      const planned = shapes.known(relation) ?? (await this.#plan(relation, gate));
      this.#counts[`${change.kind}s`] += 1;
      let held = this.#held.get(planned.plan.id);
      if (held !== undefined && held.plan !== planned.plan) {
        await this.#flush();
        held = undefined;
      }
      if (held === undefined) {
        held = new HeldChanges(planned);
        this.#held.set(planned.plan.id, held);
      }
      const bytes = held.add(change, planned);
      this.#heldChanges += 1;
      if (weigh) this.#heldBytes += bytes;
      if (this.#isEnough()) await this.#flush();
    }
  }

  #isEnough(): boolean {
    const { transaction } = this.#context;
    if (this.#heldChanges >= FIRST_CHANGES && this.#heldChanges % FIRST_CHANGES === 0 && transaction.idle) return true;
    return this.#heldChanges >= HELD_CHANGES || this.#heldBytes >= HELD_BYTES;
  }

  /** null when the change is part of the table's copy, or of a table that is left out. */
  #gateOf(relation: Relation, xid: bigint): TableGate | null {
    const state = this.#context.gates.get(relation.oid);
    if (state !== undefined) return visibleIn(state.snapshot, xid) ? null : state.gate;
    if (this.#context.ignored.has(`${relation.schema}.${relation.name}`)) return null;
    throw new SchemaDriftError(
      relation,
      null,
      `The source sends changes of table ${relation.schema}.${relation.name}, which is not part of this job's copy.`,
      'Take the table out of the job’s publication, or let it join the job, then resume.',
    );
  }

  /** Reading the catalogue waits for what was sent before, so that its answer does not hide an error. */
  async #plan(relation: Relation, gate: TableGate): ReturnType<Shapes['plan']> {
    const { transaction, shapes } = this.#context;
    await transaction.settled();
    return await transaction.watched(() => shapes.plan(relation, gate));
  }

  async #flush(): Promise<void> {
    const { transaction, modes } = this.#context;
    // BEGIN has to have been answered before anything is sent behind it.
    await transaction.begun();
    for (const held of this.#held.values()) {
      const { plan } = held;
      const mode = modes.get(plan.id) ?? 'collapsed';
      const raw = mode === 'collapsed' ? held.raw() : null;
      if (raw?.kind === 'insert') {
        await writeRawInserts(transaction, plan, raw);
        continue;
      }
      if (raw?.kind === 'update' && plan.key !== null) {
        await writeRawUpdates(transaction, plan, plan.key, raw);
        continue;
      }
      const changes = held.changes();
      const effect = mode === 'collapsed' ? collapse(plan, changes) : null;
      if (effect !== null) {
        await writeCollapsed(transaction, plan, effect);
        continue;
      }
      this.#ordered = true;
      await writeOrdered(transaction, plan, changes, mode === 'text' ? 'text' : 'image');
    }
    this.#held.clear();
    this.#heldChanges = 0;
    this.#heldBytes = 0;
  }

  async #truncate(relations: readonly Relation[], xid: bigint): Promise<void> {
    const gates = relations.flatMap((relation) => this.#gateOf(relation, xid) ?? []);
    if (gates.length === 0) return;
    const tables = new Set<string>();
    for (const { via, schema, name } of gates) {
      if (via === null) tables.add(`ONLY ${qualified(schema, name)}`);
      else {
        this.#refusePart(via, gates);
        tables.add(qualified(via.schema, via.name));
      }
    }
    await this.#flush();
    const { transaction } = this.#context;
    await transaction.settled();
    // The server truncates no table whose deferred constraints it has yet to look at. On the source nothing was left to look at either.
    const { shapes } = this.#context;
    const deferred = await transaction.watched(() => shapes.deferrable(gates.map((gate) => gate.via ?? gate)));
    const whatever = { check: () => undefined };
    if (deferred.length > 0) transaction.send(`SET CONSTRAINTS ${deferred.join(', ')} IMMEDIATE`, [], 0, whatever);
    transaction.send(`TRUNCATE ${[...tables].join(', ')}`, [], 0, whatever);
    if (deferred.length > 0) transaction.send(`SET CONSTRAINTS ${deferred.join(', ')} DEFERRED`, [], 0, whatever);
    this.#counts.truncates += 1;
  }

  /** Which rows of the target's table came from which partition of the source is not known: all of them go, or none. */
  #refusePart(via: { readonly schema: string; readonly name: string }, truncated: readonly TableGate[]): void {
    const named = new Set(truncated.map((gate) => gate.oid));
    const kept = [...this.#context.gates.values()].filter(
      ({ gate }) => gate.via?.schema === via.schema && gate.via.name === via.name && !named.has(gate.oid),
    );
    if (kept.length === 0) return;
    const names = kept.map(({ gate }) => `${gate.schema}.${gate.name}`);
    throw new PgsluiceError({
      code: 'TRUNCATE_OF_ROUTED_PARTITION',
      message: `The source truncated some partitions of ${via.schema}.${via.name} but not ${names.slice(0, 3).join(', ')}; the target, which distributes rows differently, cannot tell which rows those were.`,
      hint: `Start a new job, which copies ${via.schema}.${via.name} anew; on the source empty partitions with DELETE while a job follows it.`,
    });
  }
}

/** Sends the row that says how far the target is; it has to be as this agent left it. */
export function sendProgress(
  transaction: TargetTransaction,
  job: string,
  epoch: bigint,
  from: Lsn,
  to: Lsn,
  newest: bigint,
): void {
  const text = `UPDATE ${PROGRESS_SCHEMA}.progress SET applied = $1::pg_lsn, newest_xid = $2::numeric
WHERE job = $3::text AND applied = $4::pg_lsn AND epoch = $5::int8 AND NOT finished`;
  const values = [formatLsn(to), newest.toString(), job, formatLsn(from), epoch.toString()];
  transaction.send(text, values, 0, {
    check: ({ rowCount }) => {
      if (rowCount !== 1)
        throw progressTaken(job, `its progress is no longer ${formatLsn(from)} in epoch ${epoch.toString()}`);
    },
  });
}
