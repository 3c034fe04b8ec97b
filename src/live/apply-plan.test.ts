import { expect, test } from 'vitest';
import { misfits, planRelation, rowChange, samePlan, sameShape } from './apply-plan.ts';
import type { TargetColumn, TargetIndex, TargetTable } from './target-table.ts';
import { type Relation, type RelationColumn, UNCHANGED } from './types.ts';

const column = (name: string, more: Partial<TargetColumn> = {}): TargetColumn => ({
  name,
  typeName: 'integer',
  typeOid: 23,
  typeModifier: -1,
  castTo: { schema: 'pg_catalog', name: 'int4' },
  arrayType: { schema: 'pg_catalog', name: '_int4' },
  delimiter: ',',
  plain: true,
  parts: false,
  equality: { schema: 'pg_catalog', name: '=' },
  notNull: false,
  hasDefault: false,
  generated: false,
  identity: false,
  identityAlways: false,
  ...more,
});
const table = (columns: readonly TargetColumn[], indexes: readonly TargetIndex[] = []): TargetTable => ({
  schema: 's',
  name: 't',
  partitioned: false,
  columns,
  indexes,
});
const index = (columns: readonly string[], more: Partial<TargetIndex> = {}): TargetIndex => ({
  columns,
  primary: false,
  unique: true,
  immediate: true,
  ...more,
});
const sent = (name: string, more: Partial<RelationColumn> = {}): RelationColumn => ({
  name,
  typeOid: 23,
  typeModifier: -1,
  key: false,
  ...more,
});
const relation = (columns: readonly RelationColumn[], identity: Relation['identity'] = 'd'): Relation => ({
  oid: 1,
  schema: 's',
  name: 't',
  identity,
  columns,
});

test('columns fit by name and type, whatever their order', () => {
  const mine = table([column('a'), column('b', { typeOid: 1043, typeModifier: 14 })]);
  expect(misfits(relation([sent('b', { typeOid: 1043, typeModifier: 14 }), sent('a')]), mine)).toEqual([]);
  expect(misfits(relation([sent('b', { typeOid: 1043, typeModifier: 24 }), sent('a')]), mine)).toEqual([
    'column b has another type on the target',
  ]);
  expect(misfits(relation([sent('a'), sent('b', { typeOid: 1043, typeModifier: 14 }), sent('c')]), mine)).toEqual([
    'the target has no column c',
  ]);
});

test('types that are not the server’s own have other oids on every server', () => {
  const own = table([column('a', { typeOid: 16999 })]);
  expect(misfits(relation([sent('a', { typeOid: 23456 })]), own)).toEqual([]);
  expect(misfits(relation([sent('a', { typeOid: 25 })]), own)).toHaveLength(1);
  expect(misfits(relation([sent('a', { typeOid: 23456 })]), table([column('a')]))).toHaveLength(1);
});

test('a column of the target alone is borne unless a row without it is refused', () => {
  const has = (more: Partial<TargetColumn>): string[] =>
    misfits(relation([sent('a')]), table([column('a'), column('x', more)]));
  expect(has({})).toEqual([]);
  expect(has({ notNull: true, hasDefault: true })).toEqual([]);
  expect(has({ notNull: true, identity: true })).toEqual([]);
  expect(has({ notNull: true, generated: true, hasDefault: true })).toEqual([]);
  expect(has({ notNull: true })).toEqual(['the source does not send column x, which the target needs']);
  expect(misfits(relation([sent('a'), sent('x')]), table([column('a'), column('x', { generated: true })]))).toEqual([
    'column x is generated on the target',
  ]);
});

test('rows are found by the primary key, else by the replica identity, under FULL by any key that holds', () => {
  const columns = [column('a', { notNull: true }), column('b', { notNull: true }), column('c')];
  const primary = index(['b'], { primary: true });
  const keyOf = (identity: Relation['identity'], keys: string, indexes: readonly TargetIndex[]): unknown =>
    planRelation(
      relation(
        ['a', 'b', 'c'].map((name) => sent(name, { key: keys.includes(name) })),
        identity,
      ),
      table(columns, indexes),
    ).plan.key;
  expect(keyOf('d', 'b', [primary])).toEqual([1]);
  expect(keyOf('i', 'a', [primary, index(['a'])])).toEqual([0]);
  expect(keyOf('f', 'abc', [primary, index(['a'])])).toEqual([1]);
  expect(keyOf('f', 'abc', [index(['a', 'b'])])).toEqual([0, 1]);
  expect(keyOf('f', 'abc', [index(['c'])])).toBeNull();
  expect(keyOf('f', 'abc', [index(['a'], { immediate: false }), index(['b'], { unique: false })])).toBeNull();
  expect(keyOf('d', '', [])).toBeNull();
  expect(keyOf('n', '', [primary])).toBeNull();
});

test('tuples are put in the target’s order; toasted values of the key, and under FULL all, come from the old row', () => {
  const mine = table([column('a', { notNull: true }), column('gone'), column('b')], [index(['a'], { primary: true })]);
  const planned = planRelation(relation([sent('b'), sent('a', { key: true })]), mine);
  expect(planned.from).toEqual([1, 0]);
  const of = (change: Parameters<typeof rowChange>[0]): unknown => rowChange(change, planned);
  const { relation: sender } = planned;
  expect(of({ kind: 'insert', relation: sender, row: ['B', 'A'] })).toEqual({ kind: 'insert', row: ['A', 'B'] });
  expect(of({ kind: 'update', relation: sender, key: null, old: null, row: [UNCHANGED, 'A'] })).toEqual({
    kind: 'update',
    oldKey: null,
    old: null,
    row: ['A', UNCHANGED],
  });
  expect(of({ kind: 'update', relation: sender, key: [null, 'A'], old: null, row: ['B', UNCHANGED] })).toEqual({
    kind: 'update',
    oldKey: null,
    old: null,
    row: ['A', 'B'],
  });
  expect(of({ kind: 'update', relation: sender, key: null, old: ['b', 'a'], row: [UNCHANGED, 'A'] })).toEqual({
    kind: 'update',
    oldKey: ['a', 'b'],
    old: ['a', 'b'],
    row: ['A', 'b'],
  });
  expect(of({ kind: 'delete', relation: sender, key: [null, 'A'], old: null })).toEqual({
    kind: 'delete',
    old: ['A', null],
  });
});

test('a change that does not say which row it was made to is refused', () => {
  const mine = table([column('a')]);
  const planned = planRelation(relation([sent('a')], 'n'), mine);
  const code = { code: 'CHANGE_WITHOUT_KEY' };
  const { relation: sender } = planned;
  expect(() => rowChange({ kind: 'delete', relation: sender, key: ['1'], old: null }, planned)).toThrow(
    expect.objectContaining(code),
  );
  expect(() => rowChange({ kind: 'update', relation: sender, key: null, old: null, row: ['1'] }, planned)).toThrow(
    expect.objectContaining(code),
  );
});

test('descriptions that say the same share a plan', () => {
  const mine = table([column('a'), column('b')]);
  const one = relation([sent('a'), sent('b')]);
  expect(sameShape(one, relation([sent('a'), sent('b')]))).toBe(true);
  expect(sameShape(one, relation([sent('a'), sent('b', { key: true })]))).toBe(false);
  expect(sameShape(one, relation([sent('a'), sent('b')], 'f'))).toBe(false);
  const turned = relation([sent('b'), sent('a')]);
  expect(samePlan(planRelation(one, mine).plan, planRelation(turned, mine).plan)).toBe(true);
  expect(samePlan(planRelation(one, mine).plan, planRelation(relation([sent('a')]), mine).plan)).toBe(false);
});
