import type { ColumnShape, ConstraintShape, EnumShape, SourceShape, TableShape } from './drift-shape.ts';

/** One change of a table; `table` is the table as it is after it. */
export type ShapeChange =
  | { readonly kind: 'table-added'; readonly table: TableShape }
  /** Dropped, or renamed out of the job's scope. */
  | { readonly kind: 'table-dropped'; readonly table: TableShape }
  | { readonly kind: 'table-renamed'; readonly table: TableShape; readonly before: TableShape }
  | { readonly kind: 'logged'; readonly table: TableShape }
  | {
      readonly kind: 'column-added';
      readonly table: TableShape;
      readonly column: ColumnShape;
      /** True when the values that older rows hold in it came into being by rewriting the table: nothing tells them. */
      readonly rewritten: boolean;
    }
  | { readonly kind: 'column-dropped'; readonly table: TableShape; readonly column: ColumnShape }
  | {
      readonly kind: 'column-renamed';
      readonly table: TableShape;
      readonly column: ColumnShape;
      readonly before: ColumnShape;
    }
  | {
      readonly kind: 'column-type';
      readonly table: TableShape;
      readonly column: ColumnShape;
      readonly before: ColumnShape;
    }
  | {
      readonly kind: 'not-null' | 'default' | 'identity' | 'generated';
      readonly table: TableShape;
      readonly column: ColumnShape;
      readonly before: ColumnShape;
    }
  /** One name now stands for another column, which the stream cannot tell; or the rows were rewritten by an expression. */
  | { readonly kind: 'contents'; readonly table: TableShape; readonly why: string }
  | { readonly kind: 'replica-identity'; readonly table: TableShape; readonly lost: boolean }
  | { readonly kind: 'constraint-added'; readonly table: TableShape; readonly constraint: ConstraintShape }
  | { readonly kind: 'constraint-dropped'; readonly table: TableShape; readonly constraint: ConstraintShape }
  | { readonly kind: 'parents'; readonly table: TableShape; readonly before: TableShape }
  | { readonly kind: 'enum'; readonly before: EnumShape; readonly after: EnumShape };

export interface DiffOptions {
  /** False between servers of different majors, which may print one expression differently. Default true. */
  readonly sameMajor?: boolean;
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** True when UPDATE and DELETE of a published table are refused by its own server. */
export function lacksIdentity(table: TableShape): boolean {
  return table.kind === 'r' && table.replicaIdentity !== 'f' && table.identityColumns.length === 0;
}

/** Every change that leads from one shape to the other, table by table; tables and columns are known by oid and attnum. Pure. */
export function diffShapes(before: SourceShape, after: SourceShape, options: DiffOptions = {}): ShapeChange[] {
  const changes: ShapeChange[] = [];
  const earlierEnums = new Map(before.enums.map((one) => [one.oid, one]));
  for (const one of after.enums) {
    const earlier = earlierEnums.get(one.oid);
    if (earlier !== undefined && !same(earlier.labels, one.labels)) {
      changes.push({ kind: 'enum', before: earlier, after: one });
    }
  }
  const earlierTables = new Map(before.tables.map((table) => [table.oid, table]));
  for (const table of after.tables) {
    const earlier = earlierTables.get(table.oid);
    earlierTables.delete(table.oid);
    if (earlier === undefined) changes.push({ kind: 'table-added', table });
    else changes.push(...diffTables(earlier, table, options));
  }
  for (const table of earlierTables.values()) changes.push({ kind: 'table-dropped', table });
  return withLeafValues(changes);
}

/**
 * A partitioned table notes no values of older rows, since it has none: its partitions do. What is added to the parent reaches
 * them all with one value. Pure.
 */
function withLeafValues(changes: readonly ShapeChange[]): ShapeChange[] {
  const added = changes.flatMap((change) => (change.kind === 'column-added' ? [change] : []));
  const childrenOf = (oid: number): typeof added =>
    added.filter((change) => change.table.parents.some((parent) => parent.oid === oid));
  const noted = (oid: number, name: string): string | null => {
    for (const child of childrenOf(oid)) {
      if (child.column.name !== name || !child.column.inherited) continue;
      const value = child.column.missing ?? noted(child.table.oid, name);
      if (value !== null) return value;
    }
    return null;
  };
  return changes.map((change) => {
    if (change.kind !== 'column-added' || change.table.kind !== 'p') return change;
    return { ...change, column: { ...change.column, missing: noted(change.table.oid, change.column.name) } };
  });
}

/** The changes of one table. Pure. */
export function diffTables(before: TableShape, table: TableShape, options: DiffOptions = {}): ShapeChange[] {
  const changes: ShapeChange[] = [];
  const exact = options.sameMajor ?? true;
  if (before.schema !== table.schema || before.name !== table.name) {
    changes.push({ kind: 'table-renamed', table, before });
  }
  if (before.unlogged !== table.unlogged) changes.push({ kind: 'logged', table });
  const rewritten = before.fileNode !== table.fileNode;
  const columns = diffColumns(before, table, rewritten, exact);
  changes.push(...columns.changes);
  changes.push(...diffConstraints(before, table, columns, exact));
  const lost = lacksIdentity(table) && !lacksIdentity(before);
  const identity = (of: TableShape): unknown => [of.replicaIdentity, of.identityIndex !== null && of.replicaIdentity];
  if (lost || !same(identity(before), identity(table)) || movedIndex(before, table)) {
    changes.push({ kind: 'replica-identity', table, lost });
  }
  const parents = (of: TableShape): unknown => [
    of.parents.map((parent) => parent.oid),
    exact ? of.bound : of.bound !== null,
  ];
  if (!same(parents(before), parents(table))) changes.push({ kind: 'parents', table, before });
  return changes;
}

function movedIndex(before: TableShape, table: TableShape): boolean {
  return table.replicaIdentity === 'i' && before.identityIndex !== table.identityIndex;
}

interface ColumnDiff {
  readonly changes: readonly ShapeChange[];
  /** attnum of columns that are gone. */
  readonly dropped: ReadonlySet<number>;
  /** The server prints expressions over renamed or retyped columns anew. */
  readonly reprinted: boolean;
}

function diffColumns(before: TableShape, table: TableShape, rewritten: boolean, exact: boolean): ColumnDiff {
  const changes: ShapeChange[] = [];
  const earlier = new Map(before.columns.map((column) => [column.attnum, column]));
  const earlierNames = new Map(before.columns.map((column) => [column.name, column.attnum]));
  const retyped = (old: ColumnShape, column: ColumnShape): boolean =>
    old.type !== column.type || old.collation !== column.collation;
  const reprinted = table.columns.some((column) => {
    const old = earlier.get(column.attnum);
    return old !== undefined && (old.name !== column.name || retyped(old, column));
  });
  const touched: string[] = [];
  const reused: string[] = [];
  for (const column of table.columns) {
    const old = earlier.get(column.attnum);
    earlier.delete(column.attnum);
    const namesake = earlierNames.get(column.name);
    if (namesake !== undefined && namesake !== column.attnum) reused.push(column.name);
    if (old === undefined) {
      // A table that was rewritten has no note of the values of older rows, whatever they were.
      const unknown = rewritten && column.missing === null && column.generated === '';
      changes.push({ kind: 'column-added', table, column, rewritten: unknown });
      continue;
    }
    const own: ShapeChange[] = [];
    if (old.name !== column.name) own.push({ kind: 'column-renamed', table, column, before: old });
    if (retyped(old, column)) own.push({ kind: 'column-type', table, column, before: old });
    if (old.notNull !== column.notNull) own.push({ kind: 'not-null', table, column, before: old });
    if (old.identity !== column.identity) own.push({ kind: 'identity', table, column, before: old });
    const otherExpression = !sameExpression(old.default, column.default, exact);
    if (old.generated !== column.generated || (column.generated !== '' && otherExpression && !reprinted)) {
      own.push({ kind: 'generated', table, column, before: old });
    } else if (column.generated === '' && otherExpression && !retyped(old, column)) {
      own.push({ kind: 'default', table, column, before: old });
    }
    if (own.length === 0 && old.version !== column.version) touched.push(column.name);
    changes.push(...own);
  }
  for (const column of earlier.values()) changes.push({ kind: 'column-dropped', table, column });
  const explained = changes.some(
    (change) => change.kind === 'column-added' || change.kind === 'column-type' || change.kind === 'generated',
  );
  if (reused.length > 0) {
    const why = `column ${reused.join(', ')} is another column than before, under a name that was in use`;
    changes.push({ kind: 'contents', table, why });
  } else if (rewritten && !explained && touched.length > 0) {
    const why = `the table was rewritten by a command about column ${touched.join(', ')}`;
    changes.push({ kind: 'contents', table, why });
  }
  return { changes, dropped: new Set(earlier.keys()), reprinted };
}

function sameExpression(a: string | null, b: string | null, exact: boolean): boolean {
  return exact ? a === b : (a === null) === (b === null);
}

function diffConstraints(
  before: TableShape,
  table: TableShape,
  { dropped, reprinted }: ColumnDiff,
  exact: boolean,
): ShapeChange[] {
  const changes: ShapeChange[] = [];
  const says = (constraint: ConstraintShape): unknown => [
    constraint.kind,
    reprinted || !exact ? constraint.columns : constraint.definition,
  ];
  const earlier = new Map(before.constraints.map((constraint) => [constraint.name, constraint]));
  for (const constraint of table.constraints) {
    const old = earlier.get(constraint.name);
    if (old !== undefined && same(says(old), says(constraint))) earlier.delete(constraint.name);
    else changes.push({ kind: 'constraint-added', table, constraint });
  }
  for (const constraint of earlier.values()) {
    // It went with its column, here as there.
    if (constraint.columns.some((attnum) => dropped.has(attnum))) continue;
    changes.push({ kind: 'constraint-dropped', table, constraint });
  }
  return changes;
}

/** How the target knows a table of the source; a renamed one keeps its old name there for a while. */
export interface KnownAs {
  /** pg_class.oid on the source. */
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
}

/**
 * The target's tables as if their oids and attnums were the source's, matched by the names that `known` has for them, else by
 * name: what diffShapes then finds is what the target lacks. Tables that the source does not have keep an oid that no table of
 * the source has. Pure.
 */
export function alignByName(target: SourceShape, source: SourceShape, known: readonly KnownAs[] = []): SourceShape {
  const key = (of: { readonly schema: string; readonly name: string }): string => JSON.stringify([of.schema, of.name]);
  const byOid = new Map(source.tables.map((table) => [table.oid, table]));
  const called = new Set(known.map((gate) => gate.oid));
  const tables = new Map(source.tables.filter((table) => !called.has(table.oid)).map((table) => [key(table), table]));
  for (const gate of known) {
    const table = byOid.get(gate.oid);
    if (table !== undefined) tables.set(key(gate), table);
  }
  const enums = new Map(source.enums.map((one) => [key(one), one.oid]));
  return {
    ...target,
    tables: target.tables.map((table) => {
      const twin = tables.get(key(table));
      if (twin === undefined) return { ...table, oid: -table.oid };
      return alignTable(table, twin, (parent) => tables.get(key(parent))?.oid ?? -parent.oid);
    }),
    enums: target.enums.map((one) => ({ ...one, oid: enums.get(key(one)) ?? -one.oid })),
  };
}

function alignTable(
  table: TableShape,
  twin: TableShape,
  parentOid: (parent: TableShape['parents'][number]) => number,
): TableShape {
  const twins = new Map(twin.columns.map((column) => [column.name, column]));
  const attnums = new Map(
    table.columns.map((column) => [column.attnum, twins.get(column.name)?.attnum ?? -column.attnum]),
  );
  const attnum = (own: number): number => attnums.get(own) ?? own;
  return {
    ...table,
    oid: twin.oid,
    fileNode: twin.fileNode,
    parents: table.parents.map((parent) => ({ ...parent, oid: parentOid(parent) })),
    columns: table.columns.map((column) => {
      const other = twins.get(column.name);
      return { ...column, attnum: attnum(column.attnum), version: other?.version ?? column.version };
    }),
    constraints: table.constraints.map((constraint) => ({ ...constraint, columns: constraint.columns.map(attnum) })),
    identityColumns: table.identityColumns.map(attnum),
  };
}
