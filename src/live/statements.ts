import { qualified, quoteIdent } from '../postgres/quote.ts';
import type { TablePlan } from './apply-plan.ts';
import type { TargetColumn } from './target-table.ts';

/** A statement whose parameters are, in this order, the plan's columns at `parameters`: an array of each, or one value of each. */
export interface Statement {
  readonly text: string;
  readonly parameters: readonly number[];
}

const column = (plan: TablePlan, at: number): TargetColumn => {
  const found = plan.columns[at];
  if (found === undefined) throw new RangeError(`table ${plan.id} has no column ${at}`);
  return found;
};

const type = (of: { readonly schema: string; readonly name: string }): string => qualified(of.schema, of.name);

const name = (plan: TablePlan, at: number): string => quoteIdent(column(plan, at).name);

const table = (plan: TablePlan): string => qualified(plan.table.schema, plan.table.name);

/** Rows of a partitioned table are in its partitions; any other table may have children that are tables of their own. */
const only = (plan: TablePlan): string => (plan.table.partitioned ? table(plan) : `ONLY ${table(plan)}`);

/** As in `"schema".=`; the name of an operator takes no quotes. */
const equals = (of: TargetColumn): string => `OPERATOR(${quoteIdent(of.equality.schema)}.${of.equality.name})`;

/** Columns whose parameter is one text of all values instead of an array, in statements of many rows. */
type Parted = ReadonlySet<number>;
const none: Parted = new Set();

/**
 * `unnest` of one array a column, as rows of u. Taking a text apart at a byte that no value holds costs the target about half of
 * reading an array literal, which it looks through twice [measured].
 */
function rowsOf(plan: TablePlan, parameters: readonly number[], parted: Parted): string {
  const arrays = parameters.map((at, index) => {
    if (parted.has(at))
      return `pg_catalog.unnest(pg_catalog.string_to_array($${index + 1}::pg_catalog.text COLLATE pg_catalog."C", E'\\x01', E'\\x02'))`;
    const { arrayType } = column(plan, at);
    return `pg_catalog.unnest($${index + 1}::${arrayType === null ? 'pg_catalog._text' : type(arrayType)})`;
  });
  return `ROWS FROM (${arrays.join(', ')}) AS u (${parameters.map((at) => `c${at}`).join(', ')})`;
}

/** The value in u. A text is read by the type's own input function; no other cast is in the way, since there is none from text. */
function valueOf(plan: TablePlan, at: number, parted: Parted): string {
  const { arrayType, castTo } = column(plan, at);
  return arrayType === null || parted.has(at) ? `u.c${at}::${type(castTo)}` : `u.c${at}`;
}

const found = (plan: TablePlan, key: readonly number[], parted: Parted): string =>
  key.map((at) => `t.${name(plan, at)} ${equals(column(plan, at))} ${valueOf(plan, at, parted)}`).join(' AND ');

/** One value: parameter `index` in the column's own type, read by its input function. */
const single = (plan: TablePlan, at: number, index: number): string => `$${index}::${type(column(plan, at).castTo)}`;

const allOf = (plan: TablePlan): number[] => plan.columns.map((_, at) => at);

/** Inserts rows given as arrays, in their order. A table without writable columns takes one row of defaults a run. */
export function insertMany(plan: TablePlan): Statement {
  const parameters = allOf(plan);
  if (parameters.length === 0) return insertOne(plan);
  const names = parameters.map((at) => name(plan, at)).join(', ');
  const values = parameters.map((at) => valueOf(plan, at, none)).join(', ');
  return {
    text: `INSERT INTO ${table(plan)} (${names}) OVERRIDING SYSTEM VALUE SELECT ${values} FROM ${rowsOf(plan, parameters, none)}`,
    parameters,
  };
}

export function insertOne(plan: TablePlan): Statement {
  const parameters = allOf(plan);
  if (parameters.length === 0) return { text: `INSERT INTO ${table(plan)} DEFAULT VALUES`, parameters };
  const names = parameters.map((at) => name(plan, at)).join(', ');
  const values = parameters.map((at) => single(plan, at, at + 1)).join(', ');
  return {
    text: `INSERT INTO ${table(plan)} (${names}) OVERRIDING SYSTEM VALUE VALUES (${values})`,
    parameters,
  };
}

/**
 * Updates `set` of rows given as arrays, found by their key. Identity columns that cannot be set have to be as the row says:
 * where one is not, the row is not found.
 */
export function updateMany(
  plan: TablePlan,
  key: readonly number[],
  set: readonly number[],
  parted: Parted = none,
): Statement {
  const by = [...key, ...plan.fixed];
  const parameters = [...by, ...set];
  const assignments = set.map((at) => `${name(plan, at)} = ${valueOf(plan, at, parted)}`).join(', ');
  return {
    text: `UPDATE ${only(plan)} AS t SET ${assignments} FROM ${rowsOf(plan, parameters, parted)} WHERE ${found(plan, by, parted)}`,
    parameters,
  };
}

export function deleteMany(plan: TablePlan, key: readonly number[]): Statement {
  return {
    text: `DELETE FROM ${only(plan)} AS t USING ${rowsOf(plan, key, none)} WHERE ${found(plan, key, none)}`,
    parameters: key,
  };
}

/** `t.k = $n` for each column of the key, the parameters counted from `first`. */
function foundOne(plan: TablePlan, key: readonly number[], first: number): string {
  return key
    .map((at, index) => `t.${name(plan, at)} ${equals(column(plan, at))} ${single(plan, at, first + index)}`)
    .join(' AND ');
}

/** Parameters: the old values of `key`, then the new ones of `set`. */
export function updateOne(plan: TablePlan, key: readonly number[], set: readonly number[]): Statement {
  const assignments = set.map((at, index) => `${name(plan, at)} = ${single(plan, at, key.length + index + 1)}`);
  return {
    text: `UPDATE ${only(plan)} AS t SET ${assignments.join(', ')} WHERE ${foundOne(plan, key, 1)}`,
    parameters: [...key, ...set],
  };
}

export function deleteOne(plan: TablePlan, key: readonly number[]): Statement {
  return { text: `DELETE FROM ${only(plan)} AS t WHERE ${foundOne(plan, key, 1)}`, parameters: key };
}

/**
 * Puts a new row in place of the one found by `key`, `set` being new and every other column taken over: the one way to give an
 * identity column that is GENERATED ALWAYS a value. Parameters as in {@link updateOne}.
 */
export function replaceOne(plan: TablePlan, key: readonly number[], set: readonly number[]): Statement {
  const all = allOf(plan);
  const kept = all.filter((at) => !set.includes(at));
  const returning = kept.length === 0 ? '1 AS one' : kept.map((at) => `t.${name(plan, at)}`).join(', ');
  const values = all.map((at) => {
    const index = set.indexOf(at);
    return index < 0 ? `d.${name(plan, at)}` : single(plan, at, key.length + index + 1);
  });
  return {
    text:
      `WITH d AS (DELETE FROM ${only(plan)} AS t WHERE ${foundOne(plan, key, 1)} RETURNING ${returning}) ` +
      `INSERT INTO ${table(plan)} (${all.map((at) => name(plan, at)).join(', ')}) OVERRIDING SYSTEM VALUE SELECT ${values.join(', ')} FROM d`,
    parameters: [...key, ...set],
  };
}

/** How a row without a key is found: by what is stored, or by what is printed of it. */
export type Likeness = 'image' | 'text';

/**
 * One row that is like the old one, as x. `by` columns of an index and not null in the old row; they only make it quick. Values
 * are compared as they are stored, bit by bit, so that 1.0 is not 1.00 and types without equality do as well; or as they print.
 * Parameters: the whole old row.
 */
function alike(plan: TablePlan, by: readonly number[], likeness: Likeness): string {
  const all = allOf(plan);
  const names = all.map((at) => `t.${name(plan, at)}`);
  const values = all.map((at) => single(plan, at, at + 1));
  const same =
    likeness === 'image'
      ? [`ROW(${names.join(', ')})::record OPERATOR(pg_catalog.*=) ROW(${values.join(', ')})::record`]
      : all.map((at) => {
          const [mine, theirs] = [`t.${name(plan, at)}`, single(plan, at, at + 1)];
          return `pg_catalog.format('%L', ${mine}) OPERATOR(pg_catalog.=) pg_catalog.format('%L', ${theirs})`;
        });
  const quick = by.map((at) => `t.${name(plan, at)} ${equals(column(plan, at))} ${single(plan, at, at + 1)}`);
  const where = [...quick, ...(all.length === 0 ? ['true'] : same)].join(' AND ');
  return `(SELECT t.tableoid, t.ctid FROM ${only(plan)} AS t WHERE ${where} LIMIT 1) AS x (o, c)`;
}

/** Updates `set` of exactly one row that is like the old one. Parameters: the whole old row, then the new values of `set`. */
export function updateAlike(
  plan: TablePlan,
  by: readonly number[],
  set: readonly number[],
  likeness: Likeness,
): Statement {
  const width = plan.columns.length;
  const assignments = set.map((at, index) => `${name(plan, at)} = ${single(plan, at, width + index + 1)}`);
  return {
    text: `UPDATE ${only(plan)} AS r SET ${assignments.join(', ')} FROM ${alike(plan, by, likeness)} WHERE r.ctid = x.c AND r.tableoid = x.o`,
    parameters: [...allOf(plan), ...set],
  };
}

/** Deletes exactly one row that is like the old one. Parameters: the whole old row. */
export function deleteAlike(plan: TablePlan, by: readonly number[], likeness: Likeness): Statement {
  return {
    text: `DELETE FROM ${only(plan)} AS r USING ${alike(plan, by, likeness)} WHERE r.ctid = x.c AND r.tableoid = x.o`,
    parameters: allOf(plan),
  };
}
