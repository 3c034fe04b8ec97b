import { PgsluiceError } from '../errors.ts';
import { SQLSTATE, serverField, sqlStateOf } from '../postgres/sqlstate.ts';
import type { RowChange, TablePlan } from './apply-plan.ts';
import type { Expectation, TargetTransaction } from './apply-transaction.ts';
import { COPY_ROWS, copyStatement, copyText } from './apply-copy.ts';
import { columnLiteral } from './array-literal.ts';
import { ColumnLiterals, type RawRows, lastOfEachKey, rawCopyText } from './raw-rows.ts';
import type { NetEffect } from './collapse.ts';
import {
  type Likeness,
  type Statement,
  deleteAlike,
  deleteMany,
  deleteOne,
  insertMany,
  insertOne,
  replaceOne,
  updateAlike,
  updateMany,
  updateOne,
} from './statements.ts';
import { type Tuple, UNCHANGED, type Value } from './types.ts';

const CHUNK_ROWS = 5000;
const CHUNK_BYTES = 4 * 1024 * 1024;
/** Characters of a value that a message shows. */
const SHOWN = 60;
/** Longer values are left out when a row is looked up by an index. */
const INDEXED_CHARS = 500;

/** The net effect could not be written as it is; written in the order of the source it may be. */
export class OrderMatters extends Error {
  override readonly name = 'OrderMatters';
  readonly plan: TablePlan;

  constructor(plan: TablePlan, why: string, cause?: unknown) {
    super(why, { cause });
    this.plan = plan;
  }
}

/** Rows that the source has changed are not on the target, or one is there that cannot be. */
export function targetDiverged(plan: TablePlan, says: string, cause?: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'TARGET_DIVERGED',
    message: `Table ${plan.id} on the target is not what the source had: ${says}.`,
    hint: 'Something else has written to the target. Find out what, keep it away, and start a new job into an empty database.',
    cause,
  });
}

function shown(plan: TablePlan, row: Tuple, at: readonly number[]): string {
  const text = (value: Value | undefined): string => {
    if (value === null || value === undefined) return 'NULL';
    if (value === UNCHANGED) return '…';
    return value.length > SHOWN ? `${value.slice(0, SHOWN)}…` : value;
  };
  const names = at.map((index) => plan.columns[index]?.name ?? '?');
  return `(${names.join(', ')}) = (${at.map((index) => text(row[index])).join(', ')})`;
}

const violatesUnique = (error: unknown): boolean => {
  const state = sqlStateOf(error);
  return state === SQLSTATE.uniqueViolation || state === SQLSTATE.exclusionViolation;
};

/** In the order of the source no unique value can be in the way, unless the target has rows that the source has not. */
const holdsAlready =
  (plan: TablePlan) =>
  (error: unknown): unknown =>
    violatesUnique(error)
      ? targetDiverged(
          plan,
          (serverField(error, 'detail') ?? 'it holds a unique value already').replace(/\.$/, ''),
          error,
        )
      : error;

/** SQL is made once a plan and use. */
const made = new WeakMap<TablePlan, Map<string, Statement>>();

function statement(plan: TablePlan, use: string, make: () => Statement): Statement {
  let all = made.get(plan);
  if (all === undefined) {
    all = new Map();
    made.set(plan, all);
  }
  let known = all.get(use);
  if (known === undefined) {
    known = make();
    all.set(use, known);
  }
  return known;
}

function bytesOf(row: Tuple, columns: readonly number[]): number {
  let bytes = 0;
  for (const at of columns) {
    const value = row[at];
    bytes += typeof value === 'string' ? value.length + 4 : 4;
  }
  return bytes;
}

function oneValue(row: Tuple, at: number): string | null {
  const value = row[at] ?? null;
  if (value === UNCHANGED) throw new RangeError(`the value of column ${at} is not known`);
  return value;
}

interface Bulk {
  readonly plan: TablePlan;
  readonly rows: readonly Tuple[];
  readonly many: Statement;
  readonly one: Statement;
  /** Of `rows` rows starting with `first`. */
  expects(rows: number, first: Tuple): Expectation;
}

/** Writes rows in their order, many a statement; a single one, and so every large one, with plain parameters. */
async function writeBulk(transaction: TargetTransaction, bulk: Bulk): Promise<void> {
  const { plan, rows, many, one } = bulk;
  for (let start = 0; start < rows.length;) {
    await transaction.room();
    let bytes = 0;
    let end = start;
    for (; end < rows.length && end - start < (many.parameters.length === 0 ? 1 : CHUNK_ROWS); end += 1) {
      const more = bytesOf(rows[end] ?? [], many.parameters);
      if (end > start && bytes + more > CHUNK_BYTES) break;
      bytes += more;
    }
    const first = rows[start] ?? [];
    const expected = bulk.expects(end - start, first);
    if (end - start === 1) {
      const values = one.parameters.map((at) => oneValue(first, at));
      transaction.send(one.text, values, bytes, expected);
    } else {
      const values = many.parameters.map((at) => {
        const column = plan.columns[at];
        return columnLiteral(rows, at, start, end, column?.plain ?? false, column?.delimiter ?? ',');
      });
      transaction.send(many.text, values, bytes, expected);
    }
    start = end;
  }
}

const keyOf = (plan: TablePlan): readonly number[] => plan.key ?? [];

/** What is told of rows without their order: what the target refuses or does not have comes out as {@link OrderMatters}. */
function unordered(plan: TablePlan): (rows: number) => Expectation {
  const explain = (error: unknown): unknown =>
    violatesUnique(error) ? new OrderMatters(plan, 'a unique value was passed on', error) : error;
  return (rows) => ({
    check: ({ rowCount }) => {
      if (rowCount !== rows) throw new OrderMatters(plan, `${rowCount ?? 0} rows were found instead of ${rows}`);
    },
    explain,
  });
}

/** Writes a net effect: deletions, updates, insertions. What the target refuses or does not have comes out as {@link OrderMatters}. */
export async function writeCollapsed(
  transaction: TargetTransaction,
  plan: TablePlan,
  effect: NetEffect,
): Promise<void> {
  const key = keyOf(plan);
  const expects = unordered(plan);
  if (effect.deletes.length > 0)
    await writeBulk(transaction, {
      plan,
      rows: effect.deletes,
      many: statement(plan, 'delete*', () => deleteMany(plan, key)),
      one: statement(plan, 'delete', () => deleteOne(plan, key)),
      expects,
    });
  for (const { set, rows } of effect.updates)
    await writeBulk(transaction, {
      plan,
      rows,
      many: statement(plan, `update* ${set.join()}`, () => updateMany(plan, key, set)),
      one: statement(plan, `update ${set.join()}`, () => updateOne(plan, [...key, ...plan.fixed], set)),
      expects,
    });
  await writeInserts(transaction, plan, effect.inserts, expects);
}

/** Rows in the bytes in which they came. */
export interface RawRun {
  /** See RelationPlan. */
  readonly from: readonly number[] | null;
  readonly rows: RawRows;
}

/** As {@link writeCollapsed} with nothing but insertions, {@link COPY_ROWS} at least. */
export function writeRawInserts(
  transaction: TargetTransaction,
  plan: TablePlan,
  { from, rows }: RawRun,
): Promise<void> {
  const copy = statement(plan, 'copy', () => ({ text: copyStatement(plan), parameters: [] }));
  return transaction.copy(copy.text, rawCopyText(plan, from, rows), unordered(plan)(rows.length));
}

/** Keys that have a collation stay arrays: a text that is taken apart would bring another one into the comparison. */
const partedColumns = (plan: TablePlan, key: readonly number[]): ReadonlySet<number> =>
  new Set(plan.columns.flatMap(({ parts, plain }, at) => (parts && (plain || !key.includes(at)) ? [at] : [])));

/**
 * As {@link writeCollapsed} with nothing but updates of whole rows whose key stays; identity columns that cannot be set have none
 * of these.
 */
export async function writeRawUpdates(
  transaction: TargetTransaction,
  plan: TablePlan,
  key: readonly number[],
  { from, rows }: RawRun,
): Promise<void> {
  const set = plan.columns.flatMap((_, at) => (key.includes(at) ? [] : [at]));
  if (set.length === 0) return;
  const parted = partedColumns(plan, key);
  const inParts = statement(plan, `update/ ${set.join()}`, () => updateMany(plan, key, set, parted));
  const inArrays = statement(plan, `update* ${set.join()}`, () => updateMany(plan, key, set));
  const last = lastOfEachKey(plan, from, key, rows);
  const texts = new ColumnLiterals(plan, from, inParts.parameters, parted);
  const arrays = new ColumnLiterals(plan, from, inArrays.parameters);
  const expects = unordered(plan);
  for (let start = 0; start < last.length;) {
    await transaction.room();
    const parts = texts.make(last, start, CHUNK_ROWS, CHUNK_BYTES);
    const either = parts ?? arrays.make(last, start, CHUNK_ROWS, CHUNK_BYTES);
    if (either === null) throw new RangeError(`an array of ${plan.id} could not be made`);
    transaction.send(
      parts === null ? inArrays.text : inParts.text,
      either.values,
      either.bytes,
      expects(either.end - start),
    );
    start = either.end;
  }
}

function writeInserts(
  transaction: TargetTransaction,
  plan: TablePlan,
  rows: readonly Tuple[],
  expects: Bulk['expects'],
): Promise<void> {
  const first = rows[0];
  if (first !== undefined && rows.length >= COPY_ROWS && plan.columns.length > 0) {
    const copy = statement(plan, 'copy', () => ({ text: copyStatement(plan), parameters: [] }));
    return transaction.copy(copy.text, copyText(plan, rows), expects(rows.length, first));
  }
  const many = statement(plan, 'insert*', () => insertMany(plan));
  const one = statement(plan, 'insert', () => insertOne(plan));
  return writeBulk(transaction, { plan, rows, many, one, expects });
}

/** Sends one change whose answer has to be one row; `says` names the row in the error. */
function sendOne(
  transaction: TargetTransaction,
  plan: TablePlan,
  { text, parameters }: Statement,
  values: readonly (string | null)[],
  missing: (found: number) => Error,
): void {
  const bytes = values.reduce((sum, value) => sum + (value?.length ?? 0) + 4, 0);
  if (values.length !== parameters.length) throw new RangeError(`${values.length} values for ${text}`);
  transaction.send(text, values, bytes, {
    check: ({ rowCount }) => {
      if (rowCount !== 1) throw missing(rowCount ?? 0);
    },
    explain: holdsAlready(plan),
  });
}

const known = (row: Tuple): number[] => row.flatMap((value, at) => (value === UNCHANGED ? [] : [at]));

function sendKeyed(
  transaction: TargetTransaction,
  plan: TablePlan,
  key: readonly number[],
  change: Exclude<RowChange, { kind: 'insert' }>,
): void {
  const missing =
    (before: Tuple) =>
    (found: number): Error =>
      targetDiverged(plan, `${found === 0 ? 'no row' : `${found} rows`} with ${shown(plan, before, key)}`);
  if (change.kind === 'delete') {
    const values = key.map((at) => oneValue(change.old, at));
    const sql = statement(plan, 'delete', () => deleteOne(plan, key));
    sendOne(transaction, plan, sql, values, missing(change.old));
    return;
  }
  const { row, old, oldKey } = change;
  const before = oldKey ?? row;
  const kept = old !== null && plan.fixed.every((at) => old[at] === row[at]);
  const moves = oldKey !== null && key.some((at) => plan.columns[at]?.identityAlways === true);
  const replace = moves || (plan.fixed.length > 0 && !kept);
  const skip = new Set(replace ? [] : [...plan.fixed, ...(oldKey === null ? key : [])]);
  const set = known(row).filter((at) => !skip.has(at));
  if (set.length === 0) return;
  const use = `${replace ? 'replace' : 'set'} ${set.join()}`;
  const sql = statement(plan, use, () => (replace ? replaceOne(plan, key, set) : updateOne(plan, key, set)));
  const values = [...key.map((at) => oneValue(before, at)), ...set.map((at) => oneValue(row, at))];
  sendOne(transaction, plan, sql, values, missing(before));
}

/** Columns of the first index that helps to find the row: its leading ones that are known and not NULL. */
function indexedBy(plan: TablePlan, old: Tuple): readonly number[] {
  const at = new Map(plan.columns.map((column, index) => [column.name, index]));
  for (const index of plan.table.indexes) {
    const usable: number[] = [];
    for (const name of index.columns) {
      const position = at.get(name);
      const value = position === undefined ? null : old[position];
      if (position === undefined || typeof value !== 'string' || value.length > INDEXED_CHARS) break;
      usable.push(position);
    }
    if (usable.length > 0) return usable;
  }
  return [];
}

function sendKeyless(
  transaction: TargetTransaction,
  plan: TablePlan,
  change: Exclude<RowChange, { kind: 'insert' }>,
  likeness: Likeness,
): void {
  const { old } = change;
  if (old === null) throw new RangeError(`a change of ${plan.id} came without its old row`);
  const all = plan.columns.map((_, at) => at);
  const by = indexedBy(plan, old);
  const missing = (): Error =>
    likeness === 'image'
      ? new OrderMatters(plan, 'no row is stored as the source stores it')
      : targetDiverged(plan, `no row with ${shown(plan, old, all.slice(0, 5))}`);
  const before = all.map((at) => oneValue(old, at));
  if (change.kind === 'delete' || plan.fixed.some((at) => old[at] !== change.row[at])) {
    const sql = statement(plan, `delete ${likeness} ${by.join()}`, () => deleteAlike(plan, by, likeness));
    sendOne(transaction, plan, sql, before, missing);
    if (change.kind === 'delete') return;
    const values = all.map((at) => oneValue(change.row, at));
    const insert = statement(plan, 'insert', () => insertOne(plan));
    sendOne(transaction, plan, insert, values, () => targetDiverged(plan, 'a new row did not go in'));
    return;
  }
  const set = known(change.row).filter((at) => !plan.fixed.includes(at));
  if (set.length === 0) return;
  const use = `update ${likeness} ${by.join()} ${set.join()}`;
  const sql = statement(plan, use, () => updateAlike(plan, by, set, likeness));
  sendOne(transaction, plan, sql, [...before, ...set.map((at) => oneValue(change.row, at))], missing);
}

/**
 * Writes changes one by one in the order of the source. Rows without a key are found by `likeness`; where none is stored alike,
 * that comes out as {@link OrderMatters}, and everything else that is not as it has to be as TARGET_DIVERGED.
 */
export async function writeOrdered(
  transaction: TargetTransaction,
  plan: TablePlan,
  changes: readonly RowChange[],
  likeness: Likeness,
): Promise<void> {
  const expects = (rows: number, first: Tuple): Expectation => ({
    check: ({ rowCount }) => {
      if (rowCount === rows) return;
      const where = shown(plan, first, plan.key ?? []);
      throw targetDiverged(plan, `${rowCount ?? 0} of ${rows} rows went in, from ${where} on`);
    },
    explain: holdsAlready(plan),
  });
  let inserts: Tuple[] = [];
  const flush = async (): Promise<void> => {
    if (inserts.length === 0) return;
    const rows = inserts;
    inserts = [];
    await writeInserts(transaction, plan, rows, expects);
  };
  for (const change of changes) {
    if (change.kind === 'insert') {
      inserts.push(change.row);
      continue;
    }
    await flush();
    await transaction.room();
    if (plan.key === null) sendKeyless(transaction, plan, change, likeness);
    else sendKeyed(transaction, plan, plan.key, change);
  }
  await flush();
}
