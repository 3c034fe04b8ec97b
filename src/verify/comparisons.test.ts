import { expect, test } from 'vitest';
import { Findings } from './findings.ts';
import { compareObjectLists } from './large-objects.ts';
import { extensionNotes } from './notes.ts';
import { compareKeys } from './row-differences.ts';
import { compareSequenceValues } from './sequences.ts';
import { chooseRelations, readableName, relationKey } from './tables.ts';
import type { RelationFacts } from './tables.ts';

const everything = { includeSchema: [], excludeSchema: [], includeTable: [], excludeTable: [], excludeTableData: [] };

function relation(part: Partial<RelationFacts>): RelationFacts {
  return {
    kind: 'table',
    oid: 1,
    schema: 'public',
    name: 't',
    columns: [],
    key: [],
    sizeBytes: 0,
    condition: '',
    tree: false,
    relkind: 'r',
    populated: true,
    accessMethod: 'heap',
    ...part,
  };
}

test('largest tables first; foreign tables and excluded data are named', () => {
  const scope = chooseRelations({
    inScope: [
      relation({ name: 'small', sizeBytes: 1 }),
      relation({ name: 'Big', sizeBytes: 9 }),
      relation({ name: 'log' }),
      relation({ name: 'f', relkind: 'f' }),
      relation({ name: 'mv', relkind: 'm', kind: 'materialized view' }),
    ],
    filter: { ...everything, excludeTableData: ['log'] },
    schemaOnly: false,
    unstable: new Map(),
  });
  expect(scope.compared.map((one) => one.name)).toEqual(['Big', 'small']);
  expect(scope.left).toHaveLength(3);
  expect(scope.left.join()).toContain('public.log');
  const whole = { filter: everything, unstable: new Map() };
  expect(chooseRelations({ ...whole, inScope: [relation({})], schemaOnly: true }).compared).toEqual([]);
});

test('partitions whose rows the target routes anew are compared as one tree', () => {
  const root = relation({ oid: 1, name: 'root', relkind: 'p' });
  const leaves = [relation({ oid: 2, name: 'a', sizeBytes: 5 }), relation({ oid: 3, name: 'b', sizeBytes: 6 })];
  const unstable = new Map(leaves.map((leaf) => [leaf.oid, { oid: 1, schema: 'public', name: 'root' }]));
  const scope = chooseRelations({ inScope: [root, ...leaves], filter: everything, schemaOnly: false, unstable });
  expect(scope.compared).toMatchObject([{ name: 'root', tree: true, sizeBytes: 11 }]);
  expect(scope.unable).toEqual([]);
  const filter = { ...everything, excludeTableData: ['b'] };
  const part = chooseRelations({ inScope: [root, ...leaves], filter, schemaOnly: false, unstable });
  expect(part.compared).toEqual([]);
  expect(part.unable).toHaveLength(1);
});

test('a sequence the target lacks is left to the catalogue, a moved one is named', () => {
  const findings = new Findings();
  const value = (lastValue: string, isCalled = true): { lastValue: string; isCalled: boolean } => ({
    lastValue,
    isCalled,
  });
  const names = ['a', 'b', 'c'].map((name) => ({ schema: 's', name }));
  const key = (name: string): string => relationKey({ schema: 's', name });
  const source = new Map(names.map(({ name }) => [key(name), value('5')]));
  const target = new Map([
    [key('a'), value('5')],
    [key('b'), value('5', false)],
  ]);
  expect(compareSequenceValues(names, source, target, findings)).toBe(2);
  expect(findings.differences.map((one) => [one.kind, one.name])).toEqual([['SEQUENCE VALUE', 's.b']]);
  expect(findings.absent.map((one) => one.name)).toEqual(['s.c']);
});

test('a sequence whose value was not read is no proof', () => {
  const findings = new Findings();
  expect(compareSequenceValues([{ schema: 's', name: 'a' }], new Map(), new Map(), findings)).toBe(0);
  expect(findings.incomplete).toBe(true);
});

test('rows are told apart by key', () => {
  const source = new Map(Array.from({ length: 10 }, (_, n) => [`(${n})`, '1']));
  const target = new Map([
    ['(0)', '1'],
    ['(1)', '2'],
    ['(x)', '1'],
  ]);
  expect(compareKeys(source, target)).toEqual({
    changed: ['(1)'],
    missing: ['(2)', '(3)', '(4)', '(5)', '(6)'],
    extra: ['(x)'],
    counts: { changed: 1, missing: 8, extra: 1 },
  });
});

test('large objects: set, owner, grants and comment', () => {
  const facts = (owner: string, comment = ''): { owner: string; acl: string; comment: string } => ({
    owner,
    acl: `${owner}=rw/${owner}`,
    comment,
  });
  const options = { contents: true, noOwner: false, noAcl: false };
  const source = new Map([
    ['1', facts('a')],
    ['2', facts('a')],
  ]);
  const target = new Map([
    ['2', facts('b')],
    ['3', facts('a')],
  ]);
  const findings = new Findings();
  expect(compareObjectLists(source, target, options, findings)).toEqual(['2']);
  expect(findings.differences.map((one) => [one.name, one.change])).toEqual([
    ['1', 'missing'],
    ['2', 'different'],
    ['3', 'extra'],
  ]);
  const lenient = new Findings();
  compareObjectLists(new Map([['2', facts('a')]]), target, { ...options, noOwner: true }, lenient);
  expect(lenient.differences.map((one) => one.change)).toEqual(['extra']);
});

test('names and notes as a person reads them', () => {
  expect(readableName('public', 'Odd "x"')).toBe('public."Odd ""x"""');
  expect(readableName(null, 'plain_1')).toBe('plain_1');
  const versions = (version: string): Map<string, string> => new Map([['citext', version]]);
  expect(extensionNotes(versions('1.6'), versions('1.6'))).toEqual([]);
  expect(extensionNotes(versions('1.6'), versions('1.8'))).toHaveLength(1);
});
