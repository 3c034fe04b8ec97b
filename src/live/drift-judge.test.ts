import { expect, test } from 'vitest';
import { diffShapes, diffTables } from './drift-diff.ts';
import { pauseHint, planChanges } from './drift-judge.ts';
import type { ColumnShape, SourceShape, TableShape } from './drift-shape.ts';
import { judgeRelation } from './drift-stream.ts';
import type { Relation } from './types.ts';

function column(attnum: number, name: string, part: Partial<ColumnShape> = {}): ColumnShape {
  return {
    attnum,
    name,
    type: 'integer',
    typeOid: 23,
    collation: null,
    notNull: false,
    default: null,
    identity: '',
    generated: '',
    missing: null,
    inherited: false,
    version: '1',
    ...part,
  };
}

function table(columns: readonly ColumnShape[], part: Partial<TableShape> = {}): TableShape {
  return {
    oid: 100,
    schema: 's',
    name: 't',
    kind: 'r',
    unlogged: false,
    followed: true,
    fileNode: '1',
    replicaIdentity: 'f',
    identityIndex: null,
    identityColumns: [],
    parents: [],
    bound: null,
    partitionKey: null,
    columns,
    constraints: [],
    ...part,
  };
}

const shape = (...tables: TableShape[]): SourceShape => ({ fingerprint: '', catalogue: '', tables, enums: [] });
const relation = (...names: string[]): Relation => ({
  oid: 100,
  schema: 's',
  name: 't',
  identity: 'f',
  columns: names.map((name) => ({ name, typeOid: 23, typeModifier: -1, key: true })),
});
const kinds = (changes: readonly { readonly kind: string }[]): string[] => changes.map((change) => change.kind);
const [a, b, c] = [column(1, 'a'), column(2, 'b'), column(3, 'c')];

test('statements about one family of tables stand in one place', () => {
  const parent = { oid: 1, schema: 's', name: 'p' };
  const before = shape(
    table([a, b], { oid: 1, name: 'p', kind: 'p' }),
    table([column(1, 'a', { inherited: true }), column(2, 'b', { inherited: true })], {
      oid: 2,
      name: 'p1',
      parents: [parent],
    }),
    table([a], { oid: 3, name: 'other' }),
  );
  const after = shape(
    table([a, c], { oid: 1, name: 'p', kind: 'p' }),
    table([column(1, 'a', { inherited: true, notNull: true }), column(3, 'c', { inherited: true })], {
      oid: 2,
      name: 'p1',
      parents: [parent],
    }),
    table([a, c], { oid: 3, name: 'other' }),
  );
  const plan = planChanges(diffShapes(before, after), { carry: true, job: 'j' });
  expect(plan.carry.map((change) => change.relation.name)).toEqual(['other']);
  expect(plan.pause?.statements).toEqual([
    'ALTER TABLE "s"."p" DROP COLUMN IF EXISTS "b";',
    'ALTER TABLE "s"."p" ADD COLUMN IF NOT EXISTS "c" integer;',
    'ALTER TABLE "s"."p1" ALTER COLUMN "a" SET NOT NULL;',
  ]);
});

test('a table that has lost its identity is first of all a harm to the source', () => {
  const before = table([a], { replicaIdentity: 'd', identityColumns: [1] });
  const plan = planChanges(diffTables(before, table([a], { replicaIdentity: 'd' })), { carry: true, job: 'j' });
  const statement = 'ALTER TABLE ONLY "s"."t" REPLICA IDENTITY FULL;';
  expect(plan.pause).toMatchObject({ statements: [statement], sourceStatements: [statement] });
  expect(plan.pause === null ? '' : pauseHint(plan.pause)).toBe(
    `Run on the source: ${statement} Run on the target: ${statement} Then resume the job; it goes on where it stopped.`,
  );
});

test('names that change hands are changes of contents', () => {
  const swapped = diffTables(table([a, b]), table([column(1, 'b'), column(2, 'a')]));
  expect(kinds(swapped)).toEqual(['column-renamed', 'column-renamed', 'contents']);
  const plan = planChanges(swapped, { carry: true, job: "it's" });
  expect(plan.carry).toEqual([]);
  expect(plan.pause?.statements.slice(-2)).toEqual([
    'TRUNCATE ONLY "s"."t";',
    `DELETE FROM pgsluice_live.tables WHERE job = 'it''s' AND relation = 100;`,
  ]);
});

test('a rewritten table hides what older rows hold in a new column', () => {
  const [change] = diffTables(table([a]), table([a, c], { fileNode: '2' }));
  expect(change).toMatchObject({ kind: 'column-added', rewritten: true });
  expect(diffTables(table([a]), table([a], { fileNode: '2' }))).toEqual([]);
  const touched = diffTables(table([a]), table([column(1, 'a', { version: '2' })], { fileNode: '2' }));
  expect(kinds(touched)).toEqual(['contents']);
  expect(diffTables(table([a]), table([column(1, 'a', { version: '2' })]))).toEqual([]);
});

test('what the stream shows is never dropped and added where it may have been renamed', () => {
  const judge = (sent: string[], before: TableShape | null, now: TableShape | null, target: TableShape) =>
    judgeRelation({ relation: relation(...sent), types: sent.map(() => 'integer'), before, now, target });
  const old = table([a, b]);
  // Known by its number.
  expect(kinds(judge(['a', 'c'], old, table([a, column(2, 'c')]), old).changes)).toEqual(['column-renamed']);
  // By a name that has passed.
  expect(kinds(judge(['a', 'x'], old, table([a, column(2, 'c')]), old).changes)).toEqual(['column-renamed']);
  // Proven: b is gone, c is new.
  const proven = judge(['a', 'c'], old, table([a, c]), old);
  expect([proven.ambiguous, ...kinds(proven.changes)]).toEqual([false, 'column-added', 'column-dropped']);
  // Nobody knows whether x was b. Both are gone now, but old rows are sent with it.
  const unknown = judge(['a', 'x'], old, table([a]), old);
  expect(unknown.ambiguous).toBe(false);
  expect(unknown.changes).toMatchObject([{ kind: 'column-added', rewritten: true }, { kind: 'column-dropped' }]);
  const keyless = relation('a', 'x').columns.map((one) => ({ ...one, key: one.name === 'a' }));
  expect(
    judgeRelation({
      relation: { ...relation(), columns: keyless },
      types: ['integer', 'integer'],
      before: old,
      now: table([a]),
      target: old,
    }).changes,
  ).toMatchObject([{ kind: 'column-added', rewritten: false }, { kind: 'column-dropped' }]);
  expect(judge(['a', 'x', 'y'], old, table([a, column(2, 'c')]), old).ambiguous).toBe(true);
  // Without the shape that the target was fitted to, an addition may be a rename as well.
  expect(judge(['a', 'c', 'd'], null, table([a, c, column(4, 'd')]), old).ambiguous).toBe(true);
  // The target has what the source has now; the stream is not so far.
  expect(judge(['a'], old, table([a, b]), old)).toEqual({ changes: [], ambiguous: false });
});
