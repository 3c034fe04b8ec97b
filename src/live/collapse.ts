import type { RowChange, TablePlan } from './apply-plan.ts';
import { type Tuple, UNCHANGED, type Value } from './types.ts';

/** What a run of changes to one table amounts to. To be written in this order; no key occurs twice in one list. */
export interface NetEffect {
  /** Only the key's columns are of use. */
  readonly deletes: readonly Tuple[];
  /** By which columns they set: all rows of one list leave the same columns as they are. */
  readonly updates: readonly { readonly set: readonly number[]; readonly rows: readonly Tuple[] }[];
  readonly inserts: readonly Tuple[];
}

interface Entry {
  /** The row of this key that stood there at the start; null when there was none. */
  readonly base: Tuple | null;
  /** As it is now; null once it is gone. */
  row: Tuple | null;
  /** The row of the start was deleted in between, so every column counts. */
  replaced: boolean;
}

/** One text for each key; different keys never share one. */
export function keyText(row: Tuple, key: readonly number[]): string {
  const first = row[key[0] ?? -1];
  if (key.length === 1) return String(first);
  let text = '';
  for (const at of key) {
    const value = String(row[at]);
    text += `${value.length}:${value}`;
  }
  return text;
}

function merged(row: Tuple, onto: Tuple): Tuple {
  if (!row.includes(UNCHANGED)) return row;
  return row.map((value, at): Value => (value === UNCHANGED ? (onto[at] ?? null) : value));
}

class Collapse {
  readonly #plan: TablePlan;
  readonly #key: readonly number[];
  readonly #entries = new Map<string, Entry>();

  constructor(plan: TablePlan, key: readonly number[]) {
    this.#plan = plan;
    this.#key = key;
  }

  /** Each answers false when the changes cannot be told apart by their keys alone: then their order decides. */
  insert(row: Tuple): boolean {
    const text = keyText(row, this.#key);
    const entry = this.#entries.get(text);
    if (entry === undefined) {
      this.#entries.set(text, { base: null, row, replaced: false });
      return true;
    }
    if (entry.row !== null) return false;
    entry.row = row;
    entry.replaced = true;
    return true;
  }

  delete(old: Tuple): boolean {
    const text = keyText(old, this.#key);
    const entry = this.#entries.get(text);
    if (entry === undefined) {
      this.#entries.set(text, { base: old, row: null, replaced: false });
      return true;
    }
    if (entry.row === null) return false;
    entry.row = null;
    return true;
  }

  update(change: RowChange & { kind: 'update' }): boolean {
    if (change.oldKey !== null) return this.#move(change.oldKey, change.row);
    const text = keyText(change.row, this.#key);
    const entry = this.#entries.get(text);
    if (entry === undefined) {
      const replaced = this.#refits(change);
      this.#entries.set(text, { base: change.row, row: change.row, replaced });
      return !replaced || !change.row.includes(UNCHANGED);
    }
    if (entry.row === null) return false;
    entry.row = merged(change.row, entry.row);
    entry.replaced ||= this.#refits(change);
    return !entry.replaced || !entry.row.includes(UNCHANGED);
  }

  /** The update gives an identity column another value, which only a new row can have. */
  #refits(change: RowChange & { kind: 'update' }): boolean {
    const { old, row } = change;
    return old !== null && this.#plan.fixed.some((at) => old[at] !== row[at]);
  }

  #move(oldKey: Tuple, row: Tuple): boolean {
    const before = this.#entries.get(keyText(oldKey, this.#key));
    const known = before?.row === null || before === undefined ? row : merged(row, before.row);
    if (known.includes(UNCHANGED)) return false;
    return this.delete(oldKey) && this.insert(known);
  }

  result(): NetEffect | null {
    const deletes: Tuple[] = [];
    const inserts: Tuple[] = [];
    const shapes = new Map<string, { set: readonly number[]; rows: Tuple[] }>();
    for (const { base, row, replaced } of this.#entries.values()) {
      if (row === null) {
        if (base !== null) deletes.push(base);
      } else if (base === null) inserts.push(row);
      else if (replaced && this.#plan.fixed.length > 0) {
        deletes.push(base);
        inserts.push(row);
      } else this.#addUpdate(shapes, row);
    }
    // Nothing is left to set; but whether the identity columns kept their values, only the target can tell.
    const empty = [...shapes.values()].some((shape) => shape.set.length === 0);
    if (empty && this.#plan.fixed.length > 0) return null;
    return { deletes, updates: [...shapes.values()].filter((shape) => shape.set.length > 0), inserts };
  }

  #addUpdate(shapes: Map<string, { set: readonly number[]; rows: Tuple[] }>, row: Tuple): void {
    const whole = !row.includes(UNCHANGED);
    const name = whole ? '' : row.map((value) => (value === UNCHANGED ? '-' : 's')).join('');
    const shape = shapes.get(name);
    if (shape !== undefined) {
      shape.rows.push(row);
      return;
    }
    const skip = new Set([...this.#key, ...this.#plan.fixed]);
    const set = row.flatMap((value, at) => (value === UNCHANGED || skip.has(at) ? [] : [at]));
    shapes.set(name, { set, rows: [row] });
  }
}

/**
 * The net effect of `changes`, given in the order of commits: what a key went through in between is left out. null when their
 * order decides: rows without a key, a key that changed while values of the row are not known, or changes that contradict
 * each other. Pure.
 */
export function collapse(plan: TablePlan, changes: readonly RowChange[]): NetEffect | null {
  if (plan.key === null) {
    const inserts: Tuple[] = [];
    for (const change of changes) {
      if (change.kind !== 'insert') return null;
      inserts.push(change.row);
    }
    return { deletes: [], updates: [], inserts };
  }
  const state = new Collapse(plan, plan.key);
  for (const change of changes) {
    const told =
      change.kind === 'insert'
        ? state.insert(change.row)
        : change.kind === 'delete'
          ? state.delete(change.old)
          : state.update(change);
    if (!told) return null;
  }
  return state.result();
}
