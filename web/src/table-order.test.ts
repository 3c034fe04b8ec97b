import { expect, it } from 'vitest';
import type { TableProgress } from '../../src/contract/event.ts';
import { orderTables } from './table-order.ts';

const table = (name: string, part: Partial<TableProgress> = {}): TableProgress => ({
  schema: 'public',
  name,
  state: 'pending',
  rows: 0,
  bytes: 0,
  sizeBytes: 1,
  estimatedRows: null,
  format: null,
  rate: 0,
  seconds: 0,
  attempts: 0,
  error: null,
  ...part,
});

const tables = [
  table('done', { state: 'copied', rows: 9 }),
  table('small'),
  table('Large', { sizeBytes: 100 }),
  table('moving', { state: 'copying', rows: 5 }),
  table('broken', { state: 'failed' }),
];
const names = (list: TableProgress[]): string[] => list.map(({ name }) => name);

it('puts first what needs a look', () => {
  expect(names(orderTables(tables, { sort: 'attention', search: '', state: 'all' }))).toEqual([
    'broken',
    'moving',
    'Large',
    'small',
    'done',
  ]);
});

it('filters by state and by a part of the name, whatever its case', () => {
  expect(names(orderTables(tables, { sort: 'name', search: 'LAR', state: 'all' }))).toEqual(['Large']);
  expect(names(orderTables(tables, { sort: 'rows', search: 'public.', state: 'pending' }))).toEqual(['Large', 'small']);
});
