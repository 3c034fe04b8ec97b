import { FIRST_UNKNOWN } from './drift-columns.ts';
import { diffTables } from './drift-diff.ts';
import type { ShapeChange } from './drift-diff.ts';
import type { ColumnShape, SourceShape, TableShape } from './drift-shape.ts';
import { tableName } from './drift-sql.ts';
import type { Relation } from './types.ts';

export interface RelationDriftInput {
  /** As the stream describes it at the change that could not be applied. */
  readonly relation: Relation;
  /** Types of the relation's columns as the source writes them; null for one that no longer exists. */
  readonly types: readonly (string | null)[];
  /** The table as the target was last fitted to it. */
  readonly before: TableShape | null;
  /** The table as it is on the source now; null once it was dropped. */
  readonly now: TableShape | null;
  /** The table as it is on the target. */
  readonly target: TableShape;
  /** Columns that the source had for a while, as they were seen, by name. */
  readonly passed?: ReadonlyMap<string, ColumnShape>;
}

export interface RelationDrift {
  /** What leads from the target's table to the table of that moment of the stream. */
  readonly changes: readonly ShapeChange[];
  /** True when the changes are a guess that a person has to look at. */
  readonly ambiguous: boolean;
}

/**
 * What a relation message says about the table at its place in the stream. Columns are followed by attnum through their
 * names before and now, since a message has names only: a column that was renamed is not taken for one dropped and one added,
 * which would lose its values. Of a column that the source has dropped since, the values are of no account, unless old rows are
 * found by them. Where the target already has a column that this moment of the stream lacks and the source has
 * now, nothing is to be done: the column is left to its default. Pure.
 */
export function judgeRelation(input: RelationDriftInput): RelationDrift {
  const { relation, types, before, now, target } = input;
  const earlier = new Map(before?.columns.map((column) => [column.name, column]));
  const present = new Map(now?.columns.map((column) => [column.name, column]));
  const mine = target.columns.map((column, at) => ({
    ...column,
    attnum: earlier.get(column.name)?.attnum ?? present.get(column.name)?.attnum ?? -1 - at,
  }));
  const byName = new Map(mine.map((column) => [column.name, column]));
  const sent = new Set(relation.columns.map((column) => column.name));
  const unmatched = new Map(mine.filter((column) => !sent.has(column.name)).map((column) => [column.attnum, column]));
  const old = new Set(before?.columns.map((column) => column.attnum));
  const columns: ColumnShape[] = [];
  /** Columns that the target lacks and that may be one of its own under another name. */
  const doubtful: ColumnShape[] = [];
  const next = 1 + Math.max(FIRST_UNKNOWN, ...mine.map((column) => column.attnum));
  /** Columns without which old rows are not found, and of whose values nothing is known. */
  const missed = new Set<string>();
  let unheard = 0;
  for (const [at, column] of relation.columns.entries()) {
    const type = types[at] ?? 'text';
    const here = byName.get(column.name);
    if (here !== undefined) {
      columns.push({ ...here, type, collation: type === here.type ? here.collation : null });
      continue;
    }
    const seen = input.passed?.get(column.name);
    const known = present.get(column.name) ?? earlier.get(column.name) ?? seen;
    const renamed = known === undefined ? undefined : unmatched.get(known.attnum);
    if (known !== undefined && renamed !== undefined) {
      unmatched.delete(known.attnum);
      columns.push({ ...renamed, name: column.name, type });
    } else if (known !== undefined && present.has(column.name)) {
      // New since the target was fitted, or one of its columns whose name there nobody knows.
      (before !== null && !old.has(known.attnum) ? columns : doubtful).push({ ...known, type });
    } else if (seen !== undefined) columns.push(passing(column.name, type, seen.attnum, seen.missing));
    else {
      unheard += 1;
      if (column.key) missed.add(column.name);
      doubtful.push(passing(column.name, type, next + at, null));
    }
  }
  const alive = new Map(now?.columns.map((column) => [column.attnum, column]));
  const dropped: ColumnShape[] = [];
  for (const column of unmatched.values()) {
    const later = alive.get(column.attnum);
    // Generated columns are never sent; one that the source has now was carried before its time.
    if (column.generated !== '' || later?.name === column.name) columns.push(column);
    else dropped.push(column);
  }
  const proven = (column: ColumnShape): boolean => old.has(column.attnum) && !alive.has(column.attnum);
  const strange = dropped.filter((column) => !proven(column));
  const [gone, came] = [strange[0], doubtful[0]];
  // One column of each side is left: it went by a name between the one that is known and the present one.
  const passedBy = gone !== undefined && came !== undefined && strange.length === 1 && doubtful.length === 1;
  if (passedBy) columns.push({ ...gone, name: came.name, type: came.type });
  else columns.push(...doubtful);
  const ambiguous = !passedBy && (strange.length > 0 || doubtful.length > unheard);
  const aligned: TableShape = {
    ...target,
    oid: relation.oid,
    columns: mine,
    fileNode: before?.fileNode ?? now?.fileNode ?? '',
  };
  const moment: TableShape = { ...aligned, columns, fileNode: now?.fileNode ?? aligned.fileNode };
  const changes = diffTables(aligned, moment).map((change) => {
    if (change.kind !== 'column-added' || present.has(change.column.name)) return change;
    return { ...change, rewritten: missed.has(change.column.name) };
  });
  return { changes, ambiguous };
}

/**
 * Puts a change of an inherited column where it was made: on the topmost table of the target that has it, whose statement
 * reaches all of its children. Pure.
 */
export function liftToParent(change: ShapeChange, target: SourceShape): ShapeChange {
  // A partition has no columns of its own.
  if (!('column' in change) || !(change.column.inherited || change.table.bound !== null)) return change;
  let { table } = change;
  const seen = new Set<string>();
  for (let parent = table.parents[0]; parent !== undefined; parent = table.parents[0]) {
    const { schema, name } = parent;
    const above = target.tables.find((one) => one.schema === schema && one.name === name);
    if (above === undefined || seen.has(tableName(above))) break;
    seen.add(tableName(above));
    table = above;
  }
  return { ...change, table, column: { ...change.column, inherited: false } };
}

/** A column that the source has dropped since: nothing but its name, type and the value of older rows is of use. */
function passing(name: string, type: string, attnum: number, missing: string | null): ColumnShape {
  return {
    attnum,
    name,
    type,
    typeOid: 0,
    collation: null,
    notNull: false,
    default: null,
    identity: '',
    generated: '',
    missing,
    inherited: false,
    version: '',
  };
}
