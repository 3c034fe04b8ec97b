import { COPY_ROWS } from './apply-copy.ts';
import { type RelationPlan, type RowChange, type TablePlan, rowChange } from './apply-plan.ts';
import { RawRows } from './raw-rows.ts';
import { type Change, UNCHANGED } from './types.ts';

type RowsChange = Exclude<Change, { kind: 'truncate' }>;

/** Fewer updates are not worth a way of their own. */
const RAW_UPDATES = 100;

/**
 * Changes of one table that are written together. As long as they are nothing but insertions, or nothing but updates that keep
 * their keys, they stay in the bytes in which they came.
 */
export class HeldChanges {
  readonly plan: TablePlan;
  readonly #planned: RelationPlan;
  #kind: 'insert' | 'update' | null = null;
  #raw = new RawRows();
  #changes: RowChange[] = [];

  constructor(planned: RelationPlan) {
    this.plan = planned.plan;
    this.#planned = planned;
  }

  /** Takes a change of a relation with the same plan. Answers about how many bytes it takes. @throws PgsluiceError CHANGE_WITHOUT_KEY. */
  add(change: RowsChange, planned: RelationPlan): number {
    const raw = change.kind === 'delete' ? null : (change.raw ?? null);
    if (raw !== null && change.kind !== 'delete' && this.#takesRaw(change.kind, planned)) {
      this.#kind = change.kind;
      this.#raw.add(raw);
      return ENTRY_BYTES + raw.bytes;
    }
    this.#decode();
    const row = rowChange(change, planned);
    this.#changes.push(row);
    return weightOf(row);
  }

  #takesRaw(kind: 'insert' | 'update', planned: RelationPlan): boolean {
    if (this.#changes.length > 0 || planned.from !== this.#planned.from) return false;
    if (kind === 'update' && (this.plan.key === null || this.plan.fixed.length > 0)) return false;
    return this.#kind === null || this.#kind === kind;
  }

  /** What they are when they are still bytes, and enough for it to matter. */
  raw(): {
    readonly kind: 'insert' | 'update';
    readonly from: readonly number[] | null;
    readonly rows: RawRows;
  } | null {
    const enough = this.#kind === 'insert' ? COPY_ROWS : RAW_UPDATES;
    if (this.#kind === null || this.#raw.length < enough || this.plan.columns.length === 0) return null;
    return { kind: this.#kind, from: this.#planned.from, rows: this.#raw };
  }

  changes(): readonly RowChange[] {
    this.#decode();
    return this.#changes;
  }

  #decode(): void {
    if (this.#kind === null) return;
    const { relation } = this.#planned;
    for (const row of this.#raw.decoded(relation)) {
      const change: RowsChange =
        this.#kind === 'insert'
          ? { kind: 'insert', relation, row }
          : { kind: 'update', relation, key: null, old: null, row };
      this.#changes.push(rowChange(change, this.#planned));
    }
    this.#raw = new RawRows();
    this.#kind = null;
  }
}

/** Of an object for a row whose bytes lie elsewhere. */
const ENTRY_BYTES = 64;

function weightOf(change: RowChange): number {
  const tuple = change.kind === 'delete' ? change.old : change.row;
  let bytes = ENTRY_BYTES;
  for (const value of tuple) bytes += value === null || value === UNCHANGED ? 8 : value.length + 16;
  return change.kind === 'update' && change.old !== null ? bytes * 2 : bytes;
}
