import { expect, test } from 'vitest';
import type { RowChange, TablePlan } from './apply-plan.ts';
import { collapse, keyText } from './collapse.ts';
import type { TargetColumn } from './target-table.ts';
import { type Tuple, UNCHANGED } from './types.ts';

const column = (name: string): TargetColumn => ({
  name,
  typeName: 'text',
  typeOid: 25,
  typeModifier: -1,
  castTo: { schema: 'pg_catalog', name: 'text' },
  arrayType: { schema: 'pg_catalog', name: '_text' },
  delimiter: ',',
  plain: false,
  parts: false,
  equality: { schema: 'pg_catalog', name: '=' },
  notNull: false,
  hasDefault: false,
  generated: false,
  identity: false,
  identityAlways: false,
});

/** Columns id, v, big; found by id. */
const plan = (key: readonly number[] | null = [0], fixed: readonly number[] = []): TablePlan => {
  const columns = ['id', 'v', 'big'].map(column);
  return {
    id: 's.t',
    table: { schema: 's', name: 't', partitioned: false, columns, indexes: [] },
    columns,
    key,
    fixed,
  };
};

const insert = (...row: Tuple): RowChange => ({ kind: 'insert', row });
const remove = (...old: Tuple): RowChange => ({ kind: 'delete', old });
const update = (row: Tuple, oldKey: Tuple | null = null): RowChange => ({ kind: 'update', oldKey, old: null, row });

test('what came and went leaves nothing, what came and changed is one insertion', () => {
  const changes = [
    insert('1', 'a', 'x'),
    insert('2', 'a', 'x'),
    update(['2', 'b', UNCHANGED]),
    remove('1', null, null),
  ];
  expect(collapse(plan(), changes)).toEqual({ deletes: [], updates: [], inserts: [['2', 'b', 'x']] });
});

test('updates of a row become one, by the columns that are known', () => {
  const changes = [
    update(['1', 'a', UNCHANGED]),
    update(['2', 'b', 'y']),
    update(['1', 'c', UNCHANGED]),
    update(['3', 'd', 'z']),
    update(['3', 'e', UNCHANGED]),
    update(['4', UNCHANGED, UNCHANGED]),
  ];
  expect(collapse(plan(), changes)).toEqual({
    deletes: [],
    updates: [
      { set: [1], rows: [['1', 'c', UNCHANGED]] },
      {
        set: [1, 2],
        rows: [
          ['2', 'b', 'y'],
          ['3', 'e', 'z'],
        ],
      },
    ],
    inserts: [],
  });
});

test('a row that was deleted and came back is updated as a whole; one that was changed first is only deleted', () => {
  const changes = [
    remove('1', null, null),
    insert('1', 'new', 'x'),
    update(['2', 'b', UNCHANGED]),
    remove('2', null, null),
  ];
  expect(collapse(plan(), changes)).toEqual({
    deletes: [['2', 'b', UNCHANGED]],
    updates: [{ set: [1, 2], rows: [['1', 'new', 'x']] }],
    inserts: [],
  });
});

test('keys that pass on: 1 → 2 → 3, and two that change places', () => {
  const chain = [update(['2', 'a', 'x'], ['1', null, null]), update(['3', 'a', UNCHANGED], ['2', null, null])];
  expect(collapse(plan(), chain)).toEqual({ deletes: [['1', null, null]], updates: [], inserts: [['3', 'a', 'x']] });
  const swap = [
    update(['0', 'a', 'x'], ['1', null, null]),
    update(['1', 'b', 'y'], ['2', null, null]),
    update(['2', 'a', UNCHANGED], ['0', null, null]),
  ];
  expect(collapse(plan(), swap)).toEqual({
    deletes: [],
    updates: [
      {
        set: [1, 2],
        rows: [
          ['1', 'b', 'y'],
          ['2', 'a', 'x'],
        ],
      },
    ],
    inserts: [],
  });
});

test('order decides where a row moves with values that are not known, or changes contradict each other', () => {
  expect(collapse(plan(), [update(['2', 'a', UNCHANGED], ['1', null, null])])).toBeNull();
  expect(collapse(plan(), [insert('1', 'a', 'x'), insert('1', 'b', 'x')])).toBeNull();
  expect(collapse(plan(), [remove('1', null, null), remove('1', null, null)])).toBeNull();
  expect(collapse(plan(), [remove('1', null, null), update(['1', 'a', 'x'])])).toBeNull();
  expect(collapse(plan(), [update(['1', 'a', 'x']), update(['1', 'b', 'x'], ['2', null, null])])).toBeNull();
});

test('rows without a key only come', () => {
  expect(collapse(plan(null), [insert('1', 'a', null), insert('1', 'a', null)])?.inserts).toHaveLength(2);
  expect(collapse(plan(null), [insert('1', 'a', null), remove('1', 'a', null)])).toBeNull();
});

test('an identity column that cannot be set is left alone, or makes a new row where it is known to differ', () => {
  const always = plan([0], [1]);
  expect(collapse(always, [update(['1', '7', 'x'])])).toEqual({
    deletes: [],
    updates: [{ set: [2], rows: [['1', '7', 'x']] }],
    inserts: [],
  });
  const changed: RowChange = { kind: 'update', oldKey: null, old: ['1', '7', 'x'], row: ['1', '8', 'x'] };
  const anew = collapse(always, [changed]);
  expect(anew?.deletes).toHaveLength(1);
  expect(anew?.inserts).toEqual([['1', '8', 'x']]);
  expect(collapse(always, [remove('1', null, null), insert('1', '9', 'y')])?.inserts).toEqual([['1', '9', 'y']]);
  // Nothing but the identity column could have changed.
  expect(collapse(always, [update(['1', '7', UNCHANGED])])).toBeNull();
});

test('keys of several columns never run into each other', () => {
  const key = [0, 1];
  const texts = [
    ['1', '1:1'],
    ['11', ':1'],
    ['1:1', '1'],
    ['', '1:11:1'],
    ['null', ''],
  ].map((row) => keyText(row, key));
  expect(new Set(texts).size).toBe(5);
});
