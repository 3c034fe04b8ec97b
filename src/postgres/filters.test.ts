import { describe, expect, test } from 'vitest';
import { dumpFilterArguments, largeObjectsMatch, schemaMatches, tableDataMatches, tableMatches } from './filters.ts';
import type { RelationFilter } from './filters.ts';

const none: RelationFilter = {
  includeSchema: [],
  excludeSchema: [],
  includeTable: [],
  excludeTable: [],
  excludeTableData: [],
};

describe('filters', () => {
  test('without globs everything is part of the job', () => {
    expect(tableMatches(none, 'any', 'Thing')).toBe(true);
  });

  test('exclusion wins over inclusion', () => {
    const filter = { ...none, includeSchema: ['app*'], excludeSchema: ['app_old'] };
    expect(schemaMatches(filter, 'app_new')).toBe(true);
    expect(schemaMatches(filter, 'app_old')).toBe(false);
    expect(tableMatches(filter, 'other', 't')).toBe(false);
  });

  test('a table glob without a schema matches in every schema, and only whole names', () => {
    const filter = { ...none, includeTable: ['orders', 'shop.item?'] };
    expect(tableMatches(filter, 'a', 'orders')).toBe(true);
    expect(tableMatches(filter, 'a', 'orders2')).toBe(false);
    expect(tableMatches(filter, 'shop', 'items')).toBe(true);
    expect(tableMatches(filter, 'a', 'items')).toBe(false);
  });

  test('characters with a meaning in expressions are plain in globs', () => {
    const filter = { ...none, includeTable: ['a.b+c(d)'] };
    expect(tableMatches(filter, 'a', 'b+c(d)')).toBe(true);
    expect(tableMatches(filter, 'a', 'bbc(d)')).toBe(false);
  });

  test('excluded data keeps the table', () => {
    const filter = { ...none, excludeTableData: ['log.*'] };
    expect(tableMatches(filter, 'log', 'entries')).toBe(true);
    expect(tableDataMatches(filter, 'log', 'entries')).toBe(false);
  });

  test('pg_dump patterns quote what is literal', () => {
    const filter = { ...none, includeTable: ['Shop.Item*'], excludeSchema: ['a"b'] };
    expect(dumpFilterArguments(filter).slice(0, 2)).toEqual(['--exclude-schema="a""b"', '--table="Shop"."Item"*']);
  });

  test('pg_dump is kept from system schemas, and beside tables from excluded schemas', () => {
    expect(dumpFilterArguments({ ...none, includeSchema: ['p*'] })).toEqual([
      '--schema="p"*',
      '--exclude-schema="pg_"*',
      '--exclude-schema="information_schema"',
    ]);
    expect(dumpFilterArguments({ ...none, includeTable: ['p*'], excludeSchema: ['old'] }).slice(2)).toEqual([
      '--exclude-table="old".*',
      '--exclude-table="pg_"*.*',
      '--exclude-table="information_schema".*',
    ]);
  });

  test('large objects stay behind only where something is picked out, as in pg_dump', () => {
    expect(largeObjectsMatch({ ...none, excludeSchema: ['a'], excludeTable: ['b'], excludeTableData: ['c'] })).toBe(
      true,
    );
    expect(largeObjectsMatch({ ...none, includeSchema: ['a'] })).toBe(false);
    expect(largeObjectsMatch({ ...none, includeTable: ['a'] })).toBe(false);
  });
});
