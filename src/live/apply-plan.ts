import { PgsluiceError } from '../errors.ts';
import type { TargetColumn, TargetTable } from './target-table.ts';
import { type Change, type Relation, type TableGate, type Tuple, UNCHANGED, type Value } from './types.ts';

/** How rows are written to one table of the target. Changes of several relations may share it: partitions routed anew. */
export interface TablePlan {
  /** `schema.name`, for messages and as the key of its changes. */
  readonly id: string;
  readonly table: TargetTable;
  /** What is written, in the target's order. Rows of {@link RowChange} have one value for each. */
  readonly columns: readonly TargetColumn[];
  /** Positions in `columns` by which a row is found; null where the whole old row has to be, or none ever is. */
  readonly key: readonly number[] | null;
  /** Positions of identity columns that cannot be updated and are not part of the key. */
  readonly fixed: readonly number[];
}

/** How the tuples of one relation become rows of a plan. */
export interface RelationPlan {
  readonly relation: Relation;
  readonly plan: TablePlan;
  /** Position in the relation's tuples of each column of the plan; null where they are the same. */
  readonly from: readonly number[] | null;
}

/** A change of one row in the columns of a {@link TablePlan}. */
export type RowChange =
  | { readonly kind: 'insert'; readonly row: Tuple }
  | {
      readonly kind: 'update';
      /** Values in the key's columns before the change; null where they did not change, or where there is no key. */
      readonly oldKey: Tuple | null;
      /** The whole row before the change where the stream has it. */
      readonly old: Tuple | null;
      readonly row: Tuple;
    }
  | {
      readonly kind: 'delete';
      /** Holds the values in the key's columns, the whole row where there is no key. */
      readonly old: Tuple;
    };

/** A relation of the source that does not fit the table of the target it is gated to. */
export class SchemaDriftError extends PgsluiceError {
  /** As the stream describes it at the change that was refused. */
  readonly relation: Relation;
  /** null when nothing of this relation is known on the target. */
  readonly gate: TableGate | null;

  constructor(relation: Relation, gate: TableGate | null, message: string, hint: string) {
    super({ code: 'SCHEMA_DRIFT', message, hint });
    this.relation = relation;
    this.gate = gate;
  }
}

/** Oids below it mean the same type on every server (PostgreSQL's transam.h, FirstGenbkiObjectId). */
const FIRST_OWN_OID = 10_000;

function fitsType(sent: { readonly typeOid: number; readonly typeModifier: number }, has: TargetColumn): boolean {
  if (sent.typeOid >= FIRST_OWN_OID) return has.typeOid >= FIRST_OWN_OID;
  return sent.typeOid === has.typeOid && sent.typeModifier === has.typeModifier;
}

/**
 * Why rows of the relation cannot be written to the table: one sentence for each column in the way; empty when they can. A column
 * that only the target has is no obstacle while it may be left to NULL or its default: one that the source has dropped, or one
 * that was added before changes in the older shape came again. Pure.
 */
export function misfits(relation: Relation, table: TargetTable): string[] {
  const has = new Map(table.columns.map((column) => [column.name, column]));
  const found: string[] = [];
  for (const column of relation.columns) {
    const mine = has.get(column.name);
    if (mine === undefined) found.push(`the target has no column ${column.name}`);
    else if (mine.generated) found.push(`column ${column.name} is generated on the target`);
    else if (!fitsType(column, mine)) found.push(`column ${column.name} has another type on the target`);
    has.delete(column.name);
  }
  for (const column of has.values()) {
    if (column.notNull && !column.hasDefault && !column.identity && !column.generated)
      found.push(`the source does not send column ${column.name}, which the target needs`);
  }
  return found;
}

/** Names of the columns by which rows of the relation are found on the target; null where none will do. */
function keyColumns(relation: Relation, table: TargetTable): readonly string[] | null {
  const full = relation.identity === 'f';
  const sent = relation.columns.filter((column) => full || column.key).map((column) => column.name);
  const delivered = new Set(sent);
  const notNull = new Set(table.columns.filter((column) => column.notNull).map((column) => column.name));
  for (const index of table.indexes) {
    // A deferrable one may hold equal rows until the transaction ends; one that takes NULL, for ever.
    if (!index.unique || !index.immediate || !index.columns.every((name) => delivered.has(name))) continue;
    if (index.primary || (full && index.columns.every((name) => notNull.has(name)))) return index.columns;
  }
  return full || sent.length === 0 ? null : sent;
}

/** Plans how changes of the relation are written. The relation has to fit: see {@link misfits}. Pure. */
export function planRelation(relation: Relation, table: TargetTable): RelationPlan {
  const position = new Map(relation.columns.map((column, at) => [column.name, at]));
  const columns = table.columns.filter((column) => !column.generated && position.has(column.name));
  const from = columns.map((column) => position.get(column.name) ?? -1);
  const names = keyColumns(relation, table);
  const at = new Map(columns.map((column, index) => [column.name, index]));
  const key = names === null ? null : names.map((name) => at.get(name) ?? -1);
  const inKey = new Set(key ?? []);
  const fixed = columns.flatMap((column, index) => (column.identityAlways && !inKey.has(index) ? [index] : []));
  return {
    relation,
    plan: { id: `${table.schema}.${table.name}`, table, columns, key, fixed },
    from: from.every((index, to) => index === to) ? null : from,
  };
}

const list = (indexes: readonly number[] | null): string => (indexes === null ? '-' : indexes.join());

/** True when rows of either plan may be collapsed and written together. Pure. */
export function samePlan(one: TablePlan, other: TablePlan): boolean {
  return (
    one === other ||
    (one.table === other.table &&
      list(one.key) === list(other.key) &&
      one.columns.length === other.columns.length &&
      one.columns.every((column, at) => column === other.columns[at]))
  );
}

/** True when both describe the same columns, so that what was planned for one holds for the other. Pure. */
export function sameShape(one: Relation, other: Relation): boolean {
  return (
    one.oid === other.oid &&
    one.identity === other.identity &&
    one.columns.length === other.columns.length &&
    one.columns.every((column, at) => {
      const too = other.columns[at];
      return (
        too !== undefined &&
        column.name === too.name &&
        column.typeOid === too.typeOid &&
        column.typeModifier === too.typeModifier &&
        column.key === too.key
      );
    })
  );
}

function project(tuple: Tuple, from: readonly number[] | null): Tuple {
  return from === null ? tuple : from.map((at): Value => tuple[at] ?? null);
}

/** The new row with what the old one is known to hold in place of values that were left out. */
function filled(row: Tuple, known: Tuple, only: readonly number[] | null): Tuple {
  if (!row.includes(UNCHANGED)) return row;
  return row.map((value, at) => {
    if (value !== UNCHANGED || (only !== null && !only.includes(at))) return value;
    const before = known[at];
    return before === undefined ? UNCHANGED : before;
  });
}

function withoutKey(relation: Relation): PgsluiceError {
  return new PgsluiceError({
    code: 'CHANGE_WITHOUT_KEY',
    message: `The source sent a change of ${relation.schema}.${relation.name} without the row it was made to.`,
    hint: `Run on the source: ALTER TABLE "${relation.schema}"."${relation.name}" REPLICA IDENTITY FULL; then start the job again.`,
  });
}

/**
 * The change in the columns of its plan. A toasted value of the key or, under FULL, of any column is taken from the old row.
 * @throws PgsluiceError CHANGE_WITHOUT_KEY. Pure.
 */
export function rowChange(change: Exclude<Change, { kind: 'truncate' }>, planned: RelationPlan): RowChange {
  const { from, plan } = planned;
  if (change.kind === 'insert') return { kind: 'insert', row: project(change.row, from) };
  const before = change.old ?? change.key;
  const old = before === null ? null : project(before, from);
  if (change.kind === 'delete') {
    if (old === null || (plan.key === null && change.old === null)) throw withoutKey(planned.relation);
    return { kind: 'delete', old };
  }
  const sent = project(change.row, from);
  const row = old === null ? sent : filled(sent, old, change.old === null ? plan.key : null);
  if (plan.key === null) {
    if (change.old === null) throw withoutKey(planned.relation);
    return { kind: 'update', oldKey: null, old, row };
  }
  const moved = old !== null && plan.key.some((at) => old[at] !== row[at]);
  if (plan.key.some((at) => row[at] === UNCHANGED)) throw withoutKey(planned.relation);
  return { kind: 'update', oldKey: moved ? old : null, old: change.old === null ? null : old, row };
}
