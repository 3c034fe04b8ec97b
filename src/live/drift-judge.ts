import { quoteLiteral } from '../postgres/quote.ts';
import type { ShapeChange } from './drift-diff.ts';
import { alignByName, diffShapes } from './drift-diff.ts';
import type { SourceShape, TableShape } from './drift-shape.ts';
import { addColumn, dropColumn, inOrder, statementsOf, stepAside, tableName } from './drift-sql.ts';

/** What the job does by itself. Both kinds may be repeated. */
export type CarriedChange =
  | {
      readonly kind: 'columns';
      readonly relation: { readonly oid: number; readonly schema: string; readonly name: string };
      /** Run where the stream comes to the change, or later; they take nothing away. */
      readonly now: readonly string[];
      /** Run when everything that committed before the change was seen is applied. */
      readonly later: readonly string[];
      readonly text: string;
    }
  | {
      readonly kind: 'add-table';
      readonly relation: { readonly oid: number; readonly schema: string; readonly name: string };
      /** False: the target has it, empty. */
      readonly create: boolean;
      /** Its rows are to be published and copied; a partitioned table has none. */
      readonly followed: boolean;
      readonly text: string;
    };

export interface DriftPause {
  /** What changed on the source, in plain words. */
  readonly message: string;
  /** For the target, in this order; then the job may be resumed. */
  readonly statements: readonly string[];
  /** For the source: without them it refuses its own users' writes. */
  readonly sourceStatements: readonly string[];
  /** What the job does once it is resumed. */
  readonly onResume: readonly CarriedChange[];
}

export interface DriftPlan {
  readonly carry: readonly CarriedChange[];
  readonly pause: DriftPause | null;
}

export interface PlanOptions {
  /** The user allowed added nullable columns, dropped columns and new tables to be carried over. */
  readonly carry: boolean;
  /** Key of the job's rows in pgsluice_live. */
  readonly job: string;
}

function carriesByItself(change: ShapeChange): boolean {
  if (change.kind === 'column-dropped') return true;
  if (change.kind !== 'column-added') return false;
  const { column } = change;
  return !change.rewritten && !column.notNull && column.identity === '' && column.generated === '';
}

/** Makes the job copy the table anew, under a snapshot of its own, when it is resumed. */
function copyAnew(table: TableShape, job: string): string[] {
  return [
    `TRUNCATE ONLY ${tableName(table)};`,
    `DELETE FROM pgsluice_live.tables WHERE job = ${quoteLiteral(job)} AND relation = ${table.oid};`,
  ];
}

/** The job finds its tables on the target by what it has noted of them. */
function noteName({ table, before }: Extract<ShapeChange, { readonly kind: 'table-renamed' }>, job: string): string {
  const [schema, name] = [quoteLiteral(table.schema), quoteLiteral(table.name)];
  const own = `job = ${quoteLiteral(job)}`;
  if (table.kind === 'r') {
    return `UPDATE pgsluice_live.tables SET schema_name = ${schema}, table_name = ${name} WHERE ${own} AND relation = ${table.oid};`;
  }
  return `UPDATE pgsluice_live.tables SET via_schema = ${schema}, via_name = ${name} WHERE ${own} AND via_schema = ${quoteLiteral(before.schema)} AND via_name = ${quoteLiteral(before.name)};`;
}

/** Values of rows that are there already came into being on the source and are in no stream. */
function needsCopy(change: ShapeChange): change is Extract<ShapeChange, { readonly table: TableShape }> {
  if (change.kind === 'enum' || !change.table.followed) return false;
  if (change.kind === 'contents') return true;
  if (change.kind === 'column-added') return change.rewritten;
  return change.kind === 'logged' && !change.table.unlogged;
}

/** What a person reads about one change. */
export function describeChange(change: ShapeChange): string {
  if (change.kind === 'enum') return `type ${tableName(change.after)} has other labels`;
  const table = tableName(change.table);
  switch (change.kind) {
    case 'table-added':
      return `table ${table} is new`;
    case 'table-dropped':
      return `table ${table} was dropped, or renamed out of the job's scope`;
    case 'table-renamed':
      return `table ${tableName(change.before)} is now ${table}`;
    case 'logged':
      return `table ${table} was set ${change.table.unlogged ? 'UNLOGGED' : 'LOGGED'}`;
    case 'column-added':
      return `column ${change.column.name} ${change.column.type} was added to ${table}`;
    case 'column-dropped':
      return `column ${change.column.name} of ${table} was dropped`;
    case 'column-renamed':
      return `column ${change.before.name} of ${table} is now ${change.column.name}`;
    case 'column-type':
      return `column ${change.column.name} of ${table} was ${change.before.type} and is now ${change.column.type} (if USING was written there, write the same here)`;
    case 'not-null':
      return `column ${change.column.name} of ${table} ${change.column.notNull ? 'is now NOT NULL' : 'may now be NULL'}`;
    case 'default':
      return `column ${change.column.name} of ${table} has another default`;
    case 'identity':
      return `column ${change.column.name} of ${table} has another identity`;
    case 'generated':
      return `column ${change.column.name} of ${table} is generated otherwise`;
    case 'contents':
      return `${table}: ${change.why}; its rows have to be copied anew`;
    case 'replica-identity':
      return change.lost
        ? `table ${table} has lost its replica identity: the source refuses UPDATE and DELETE of it until it has another`
        : `table ${table} has another replica identity`;
    case 'constraint-added':
      return `${change.constraint.kind === 'index' ? 'unique index' : 'constraint'} ${change.constraint.name} was added to ${table}`;
    case 'constraint-dropped':
      return `${change.constraint.kind === 'index' ? 'unique index' : 'constraint'} ${change.constraint.name} of ${table} was dropped`;
    case 'parents':
      return `table ${table} has other parents, or another place in its partitioned table`;
  }
}

function carriedColumns(changes: readonly ShapeChange[]): CarriedChange[] {
  const byTable = new Map<number, { table: TableShape; now: string[]; later: string[]; text: string[] }>();
  for (const change of inOrder(changes)) {
    if (change.kind !== 'column-added' && change.kind !== 'column-dropped') continue;
    const { table, column } = change;
    const steps = change.kind === 'column-added' ? addColumn(table, column) : dropColumn(table, column);
    const entry = byTable.get(table.oid) ?? { table, now: [], later: [], text: [] };
    entry.now.push(...steps.now);
    entry.later.push(...steps.later);
    entry.text.push(describeChange(change));
    byTable.set(table.oid, entry);
  }
  return [...byTable.values()].map(({ table, now, later, text }) => ({
    kind: 'columns',
    relation: { oid: table.oid, schema: table.schema, name: table.name },
    now,
    later,
    text: text.join('; '),
  }));
}

function addedTable(table: TableShape, create: boolean): CarriedChange {
  const relation = { oid: table.oid, schema: table.schema, name: table.name };
  const text = `table ${tableName(table)} is ${create ? 'new' : 'copied'}`;
  return { kind: 'add-table', relation, create, followed: table.followed, text };
}

/** For a table of the target that has no record of a copy: its rows are copied once it is empty. Pure. */
export function planCopy(table: TableShape, empty: boolean, options: PlanOptions): DriftPlan {
  const copy = addedTable(table, false);
  if (empty) return { carry: [copy], pause: null };
  const pause: DriftPause = {
    message: `The target has rows in ${tableName(table)} of which nobody knows which changes they hold; they have to be copied anew.`,
    statements: copyAnew(table, options.job),
    sourceStatements: [],
    onResume: [copy],
  };
  return { carry: [], pause };
}

/**
 * Sorts changes into what the job carries and what stops it. A table about which a person has to do something is left to the
 * person altogether, so that all statements about it stand in one place, in order. Parents and children go together, since a
 * statement about one reaches the other. Pure.
 */
export function planChanges(changes: readonly ShapeChange[], options: PlanOptions): DriftPlan {
  const families = familiesOf(changes);
  const family = (oid: number): number => families.get(oid) ?? oid;
  const names = new Set(
    changes.flatMap((change) =>
      change.kind === 'table-dropped'
        ? [tableName(change.table)]
        : change.kind === 'table-renamed'
          ? [tableName(change.before)]
          : [],
    ),
  );
  const manual = (change: ShapeChange): boolean => {
    if (!options.carry || change.kind === 'enum') return true;
    // Its name is taken on the target until the old table has gone.
    if (change.kind === 'table-added') return names.has(tableName(change.table));
    return !carriesByItself(change);
  };
  const stopped = new Set<number>();
  for (const change of changes) {
    if (change.kind !== 'enum' && change.kind !== 'table-added' && manual(change))
      stopped.add(family(change.table.oid));
  }
  const byHand = changes.filter(
    (change) =>
      manual(change) ||
      (change.kind !== 'enum' && change.kind !== 'table-added' && stopped.has(family(change.table.oid))),
  );
  const carried = changes.filter((change) => !byHand.includes(change));
  const newTables = inOrder(carried).flatMap((change) =>
    change.kind === 'table-added' ? [addedTable(change.table, true)] : [],
  );
  return {
    carry: [...carriedColumns(carried), ...newTables],
    pause: byHand.length === 0 ? null : pauseFor(byHand, options),
  };
}

/** Tables that hang together by inheritance or partitioning → the smallest oid among them. */
function familiesOf(changes: readonly ShapeChange[]): ReadonlyMap<number, number> {
  const families = new Map<number, number>();
  const root = (oid: number): number => {
    const up = families.get(oid);
    return up === undefined || up === oid ? oid : root(up);
  };
  for (const change of changes) {
    if (change.kind === 'enum') continue;
    for (const parent of change.table.parents) {
      const [a, b] = [root(change.table.oid), root(parent.oid)];
      families.set(Math.max(a, b), Math.min(a, b));
    }
  }
  return new Map([...families.keys()].map((oid) => [oid, root(oid)]));
}

function pauseFor(changes: readonly ShapeChange[], options: PlanOptions): DriftPause {
  const ordered = inOrder(changes);
  const copies = new Map(ordered.filter(needsCopy).map((change) => [change.table.oid, change.table]));
  const aside = stepAside(ordered);
  const first = aside.changes.findIndex(
    (change) => change.kind === 'table-renamed' || change.kind === 'column-renamed',
  );
  const steps = aside.changes.map((change, at) => {
    const renamed = ordered[at];
    const noted = renamed?.kind === 'table-renamed' ? [noteName(renamed, options.job)] : [];
    return [...statementsOf(change), ...noted];
  });
  // What is dropped goes before, so that its name is free.
  const statements = [
    ...steps.slice(0, Math.max(0, first)),
    aside.statements,
    ...steps.slice(Math.max(0, first)),
  ].flat();
  for (const table of copies.values()) statements.push(...copyAnew(table, options.job));
  const onResume = ordered.flatMap((change) =>
    change.kind === 'table-added' && change.table.followed ? [addedTable(change.table, false)] : [],
  );
  onResume.push(...[...copies.values()].map((table) => addedTable(table, false)));
  const lost = ordered.filter((change) => change.kind === 'replica-identity' && change.lost);
  const sourceStatements = lost.flatMap((change) =>
    change.kind === 'enum' ? [] : [`ALTER TABLE ONLY ${tableName(change.table)} REPLICA IDENTITY FULL;`],
  );
  return {
    message: `The source's schema has changed: ${ordered.map(describeChange).join('; ')}.`,
    // The two sides are to be equal in the end.
    statements: [...statements, ...sourceStatements],
    sourceStatements,
    onResume,
  };
}

/** How to bring the pause to a person: the remedy with the exact statements. Pure. */
export function pauseHint(pause: DriftPause): string {
  const parts: string[] = [];
  if (pause.sourceStatements.length > 0) parts.push(`Run on the source: ${pause.sourceStatements.join(' ')}`);
  if (pause.statements.length > 0) parts.push(`Run on the target: ${pause.statements.join(' ')}`);
  parts.push('Then resume the job; it goes on where it stopped.');
  return parts.join(' ');
}

/** The statements that give the target the source's shape, whatever led to the difference; none when it fits. Pure. */
export function statementsToMatch(source: SourceShape, target: SourceShape, sameMajor = true): string[] {
  return inOrder(diffShapes(alignByName(target, source), source, { sameMajor })).flatMap(statementsOf);
}
