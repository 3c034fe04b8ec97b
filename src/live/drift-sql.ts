import { qualified, quoteIdent, quoteLiteral } from '../postgres/quote.ts';
import type { ShapeChange } from './drift-diff.ts';
import type { ColumnShape, ConstraintShape, EnumShape, TableShape } from './drift-shape.ts';

/** `"schema"."table"`. */
export function tableName(table: { readonly schema: string; readonly name: string }): string {
  return qualified(table.schema, table.name);
}

/** True when a parent in scope has the object too: there it is changed for all of its children at once. */
function followsParent(table: TableShape, of: { readonly inherited: boolean }): boolean {
  return of.inherited && table.parents.length > 0;
}

function expressionClause(column: ColumnShape): string {
  if (column.generated !== '') {
    return ` GENERATED ALWAYS AS (${column.default ?? 'NULL'}) ${column.generated === 'v' ? 'VIRTUAL' : 'STORED'}`;
  }
  if (column.identity !== '') return ` GENERATED ${column.identity === 'a' ? 'ALWAYS' : 'BY DEFAULT'} AS IDENTITY`;
  return column.default === null ? '' : ` DEFAULT ${column.default}`;
}

function typeClause(column: ColumnShape): string {
  return column.type + (column.collation === null ? '' : ` COLLATE ${column.collation}`);
}

/** As in CREATE TABLE. */
export function columnDefinition(column: ColumnShape): string {
  return `${quoteIdent(column.name)} ${typeClause(column)}${expressionClause(column)}${column.notNull ? ' NOT NULL' : ''}`;
}

/**
 * Adds a column so that rows which are there get what they have on the source: what the source noted for rows older than the
 * column, else NULL. The present default, which may have come later, is a statement of its own. May be repeated.
 */
export function addColumn(table: TableShape, column: ColumnShape): { now: string[]; later: string[] } {
  if (followsParent(table, column)) return { now: [], later: [] };
  const [target, name] = [tableName(table), quoteIdent(column.name)];
  const add = `ALTER TABLE ${target} ADD COLUMN IF NOT EXISTS ${name} ${typeClause(column)}`;
  if (column.generated !== '' || column.identity !== '') {
    return { now: [`${add}${expressionClause(column)};`], later: [] };
  }
  const older = column.missing === null ? '' : ` DEFAULT ${quoteLiteral(column.missing)}::${column.type}`;
  const later: string[] = [];
  if (column.default !== null) later.push(`ALTER TABLE ${target} ALTER COLUMN ${name} SET DEFAULT ${column.default};`);
  else if (column.missing !== null) later.push(`ALTER TABLE ${target} ALTER COLUMN ${name} DROP DEFAULT;`);
  if (column.notNull) later.push(`ALTER TABLE ${target} ALTER COLUMN ${name} SET NOT NULL;`);
  return { now: [`${add}${older};`], later };
}

/**
 * Takes a column away in two steps: first it may be left empty, since changes from before and after its end may stand in one
 * transaction; when all older ones are applied it goes. May be repeated.
 */
export function dropColumn(table: TableShape, column: ColumnShape): { now: string[]; later: string[] } {
  if (followsParent(table, column)) return { now: [], later: [] };
  const [target, name] = [tableName(table), quoteIdent(column.name)];
  const needed = column.notNull && column.identity === '' && column.generated === '';
  return {
    now: needed ? [`ALTER TABLE ${target} ALTER COLUMN ${name} DROP NOT NULL;`] : [],
    later: [`ALTER TABLE ${target} DROP COLUMN IF EXISTS ${name};`],
  };
}

function addConstraint(table: TableShape, constraint: ConstraintShape): string[] {
  if (followsParent(table, constraint)) return [];
  const name = quoteIdent(constraint.name);
  if (constraint.kind === 'index') {
    return [`CREATE UNIQUE INDEX IF NOT EXISTS ${name} ON ${tableName(table)} ${constraint.definition.trim()};`];
  }
  return [`ALTER TABLE ${tableName(table)} ADD CONSTRAINT ${name} ${constraint.definition};`];
}

function dropConstraint(table: TableShape, constraint: ConstraintShape): string[] {
  if (followsParent(table, constraint)) return [];
  if (constraint.kind === 'index') return [`DROP INDEX IF EXISTS ${qualified(table.schema, constraint.name)};`];
  return [`ALTER TABLE ${tableName(table)} DROP CONSTRAINT IF EXISTS ${quoteIdent(constraint.name)};`];
}

function replicaIdentity(table: TableShape): string {
  const words = {
    d: 'DEFAULT',
    n: 'NOTHING',
    f: 'FULL',
    i: `USING INDEX ${quoteIdent(table.identityIndex ?? '')}`,
  }[table.replicaIdentity];
  return `ALTER TABLE ONLY ${tableName(table)} REPLICA IDENTITY ${words};`;
}

/** The table without its rows: columns, constraints, unique indexes, replica identity. */
export function createTable(table: TableShape): string[] {
  const target = tableName(table);
  const [parent, ...others] = table.parents;
  const statements: string[] = [];
  const isPartition = parent !== undefined && table.bound !== null;
  const columns = table.columns.map((column) => `\n    ${columnDefinition(column)}`).join(',');
  const inherits =
    isPartition || parent === undefined ? '' : ` INHERITS (${[parent, ...others].map(tableName).join(', ')})`;
  const partitionBy = table.partitionKey === null ? '' : ` PARTITION BY ${table.partitionKey}`;
  const unlogged = table.unlogged ? 'UNLOGGED ' : '';
  statements.push(
    `CREATE ${unlogged}TABLE ${target} (${columns}${columns === '' ? '' : '\n'})${inherits}${partitionBy};`,
  );
  if (isPartition) statements.push(`ALTER TABLE ${tableName(parent)} ATTACH PARTITION ${target} ${table.bound};`);
  for (const constraint of table.constraints) statements.push(...addConstraint(table, constraint));
  if (table.replicaIdentity !== 'd') statements.push(replicaIdentity(table));
  return statements;
}

function renameTable(before: TableShape, table: TableShape): string[] {
  const statements: string[] = [];
  if (before.schema !== table.schema) {
    statements.push(`ALTER TABLE ${tableName(before)} SET SCHEMA ${quoteIdent(table.schema)};`);
  }
  if (before.name !== table.name) {
    statements.push(`ALTER TABLE ${qualified(table.schema, before.name)} RENAME TO ${quoteIdent(table.name)};`);
  }
  return statements;
}

function changeParents(before: TableShape, table: TableShape): string[] {
  const child = tableName(table);
  const statements: string[] = [];
  const stays = (of: TableShape, parent: TableShape['parents'][number]): boolean =>
    of.bound === (of === before ? table : before).bound &&
    (of === before ? table : before).parents.some((other) => other.oid === parent.oid);
  for (const parent of before.parents) {
    if (stays(before, parent)) continue;
    statements.push(
      before.bound === null
        ? `ALTER TABLE ${child} NO INHERIT ${tableName(parent)};`
        : `ALTER TABLE ${tableName(parent)} DETACH PARTITION ${child};`,
    );
  }
  for (const parent of table.parents) {
    if (stays(table, parent)) continue;
    statements.push(
      table.bound === null
        ? `ALTER TABLE ${child} INHERIT ${tableName(parent)};`
        : `ALTER TABLE ${tableName(parent)} ATTACH PARTITION ${child} ${table.bound};`,
    );
  }
  return statements;
}

/** Labels that were added, in order, and renamed ones; null when labels are gone, which no statement undoes. */
function changeEnum(before: EnumShape, after: EnumShape): string[] {
  const type = qualified(after.schema, after.name);
  const lost = before.labels.filter((label) => !after.labels.includes(label));
  const made = after.labels.filter((label) => !before.labels.includes(label));
  const statements: string[] = [];
  let known = before.labels;
  if (lost.length > 0 && before.labels.length === after.labels.length) {
    for (const [at, label] of before.labels.entries()) {
      const now = after.labels[at];
      if (now === undefined || now === label) continue;
      statements.push(`ALTER TYPE ${type} RENAME VALUE ${quoteLiteral(label)} TO ${quoteLiteral(now)};`);
    }
    known = after.labels;
  }
  for (const label of made) {
    if (known.includes(label)) continue;
    const previous = after.labels[after.labels.indexOf(label) - 1];
    const next = after.labels[after.labels.indexOf(label) + 1];
    const place =
      previous === undefined
        ? next === undefined
          ? ''
          : ` BEFORE ${quoteLiteral(next)}`
        : ` AFTER ${quoteLiteral(previous)}`;
    statements.push(`ALTER TYPE ${type} ADD VALUE IF NOT EXISTS ${quoteLiteral(label)}${place};`);
  }
  return statements;
}

/** Order in which statements of one table may run: names first, then what is in the way, columns, and what rests on them. */
const RANK: Readonly<Record<ShapeChange['kind'], number>> = {
  'table-dropped': 0,
  enum: 1,
  'table-renamed': 2,
  'column-renamed': 3,
  'constraint-dropped': 4,
  logged: 5,
  generated: 6,
  'column-dropped': 7,
  'column-type': 8,
  'column-added': 9,
  default: 10,
  'not-null': 11,
  identity: 12,
  'table-added': 13,
  parents: 14,
  'constraint-added': 15,
  'replica-identity': 16,
  contents: 17,
};

/** A parent goes before its children, which a statement about it may reach, and is dropped after them. */
function depth(change: ShapeChange): number {
  if (change.kind === 'enum' || change.table.parents.length === 0) return 0;
  const below = change.table.kind === 'p' ? 1 : 2;
  return change.kind === 'table-dropped' ? -below : below;
}

/** The changes in the order in which their statements may run. Pure. */
export function inOrder(changes: readonly ShapeChange[]): ShapeChange[] {
  return changes.toSorted((a, b) => RANK[a.kind] - RANK[b.kind] || depth(a) - depth(b));
}

type Renaming = Extract<ShapeChange, { readonly kind: 'table-renamed' | 'column-renamed' }>;

/** What a renaming takes the name away from; another one may be about to leave that name. */
function namesOf(change: Renaming): { readonly from: string; readonly to: string } {
  if (change.kind === 'table-renamed') return { from: tableName(change.before), to: tableName(change.table) };
  const { table, before, column } = change;
  return { from: `${table.oid}.${before.name}`, to: `${table.oid}.${column.name}` };
}

/**
 * Renamings that exchange names or hand them on get theirs by way of a name that nobody has: first all of them leave their
 * place, then each takes the new one. Answers the changes to go on with. Pure.
 */
export function stepAside(changes: readonly ShapeChange[]): { statements: string[]; changes: ShapeChange[] } {
  const renamings = changes.filter(
    (change): change is Renaming => change.kind === 'table-renamed' || change.kind === 'column-renamed',
  );
  const left = new Set(renamings.map((change) => namesOf(change).from));
  const statements: string[] = [];
  const rest = changes.map((change): ShapeChange => {
    if (change.kind !== 'table-renamed' && change.kind !== 'column-renamed') return change;
    if (!left.has(namesOf(change).to)) return change;
    if (change.kind === 'table-renamed') {
      const aside = { ...change.before, name: `pgsluice_aside_${change.table.oid}` };
      statements.push(...statementsOf({ ...change, table: aside }));
      return { ...change, before: aside };
    }
    const aside = { ...change.before, name: `pgsluice_aside_${change.before.attnum}` };
    // A table that gets another name by these statements has its old one still.
    const tableNow = renamings.find((one) => one.kind === 'table-renamed' && one.table.oid === change.table.oid);
    const table = tableNow?.kind === 'table-renamed' ? tableNow.before : change.table;
    statements.push(...statementsOf({ ...change, table, column: aside }));
    return { ...change, before: aside };
  });
  return { statements, changes: rest };
}

/** The statements that make one change on the target; empty where its parent's statement does, or no statement can. */
export function statementsOf(change: ShapeChange): string[] {
  switch (change.kind) {
    case 'table-added':
      return createTable(change.table);
    case 'table-dropped':
      return [`DROP TABLE IF EXISTS ${tableName(change.table)};`];
    case 'table-renamed':
      return renameTable(change.before, change.table);
    case 'logged':
      return [`ALTER TABLE ${tableName(change.table)} SET ${change.table.unlogged ? 'UNLOGGED' : 'LOGGED'};`];
    case 'column-added': {
      const { now, later } = addColumn(change.table, change.column);
      return [...now, ...later];
    }
    case 'column-dropped':
      return dropColumn(change.table, change.column).later;
    case 'replica-identity':
      return change.lost ? [] : [replicaIdentity(change.table)];
    case 'constraint-added':
      return addConstraint(change.table, change.constraint);
    case 'constraint-dropped':
      return dropConstraint(change.table, change.constraint);
    case 'parents':
      return changeParents(change.before, change.table);
    case 'enum':
      return changeEnum(change.before, change.after);
    case 'contents':
      return [];
    case 'column-renamed':
    case 'column-type':
    case 'not-null':
    case 'default':
    case 'identity':
    case 'generated':
      return changeColumn(change);
  }
}

type ColumnChange = Extract<ShapeChange, { readonly before: ColumnShape }>;

function changeColumn({ kind, table, column, before }: ColumnChange): string[] {
  // A partition may have a default and a NOT NULL of its own; everything else comes from its parent.
  if (kind !== 'default' && kind !== 'not-null' && followsParent(table, column)) return [];
  const target = tableName(table);
  const alter = `ALTER TABLE ${target} ALTER COLUMN ${quoteIdent(column.name)}`;
  switch (kind) {
    case 'column-renamed':
      return [`ALTER TABLE ${target} RENAME COLUMN ${quoteIdent(before.name)} TO ${quoteIdent(column.name)};`];
    case 'column-type':
      return changeType(alter, column, before);
    case 'not-null':
      return [`${alter} ${column.notNull ? 'SET' : 'DROP'} NOT NULL;`];
    case 'default':
      return [`${alter} ${column.default === null ? 'DROP DEFAULT' : `SET DEFAULT ${column.default}`};`];
    case 'identity':
      if (column.identity === '') return [`${alter} DROP IDENTITY IF EXISTS;`];
      if (before.identity === '') return [`${alter} ADD${expressionClause(column)};`];
      return [`${alter} SET GENERATED ${column.identity === 'a' ? 'ALWAYS' : 'BY DEFAULT'};`];
    case 'generated':
      if (column.generated === '') return [`${alter} DROP EXPRESSION IF EXISTS;`];
      return [
        `ALTER TABLE ${target} DROP COLUMN IF EXISTS ${quoteIdent(column.name)};`,
        `ALTER TABLE ${target} ADD COLUMN ${columnDefinition(column)};`,
      ];
  }
}

/** A default that cannot be cast along would stop the change of type, so it stands aside. */
function changeType(alter: string, column: ColumnShape, before: ColumnShape): string[] {
  const using = ` USING ${quoteIdent(column.name)}::${column.type}`;
  const change = `${alter} TYPE ${typeClause(column)}${column.generated === '' ? using : ''};`;
  if (column.generated !== '' || (before.default === null && column.default === null)) return [change];
  return [
    ...(before.default === null ? [] : [`${alter} DROP DEFAULT;`]),
    change,
    ...(column.default === null ? [] : [`${alter} SET DEFAULT ${column.default};`]),
  ];
}
