import { describe, expect, test } from 'vitest';
import type { CatalogObject, Relation } from './catalog.ts';
import { judgeForeign } from './foreign.ts';
import { judgeInventory } from './inventory.ts';
import {
  judgeCollations,
  judgeDisabledTriggers,
  judgeForeign,
  judgeInvalidIndexes,
  judgeLanguages,
  judgeNotValid,
  judgeSubscriptions,
  judgeTablespaces,
} from './objects.ts';
import { judgeTablespaces } from './tablespaces.ts';

test('tablespaces, collations and languages', () => {
  expect(judgeTablespaces(['fast'], ['fast']).outcome).toBe('passed');
  expect(judgeTablespaces(['fast'], []).outcome).toBe('warned');
  expect(judgeCollations({ used: ['de_DE'], onTarget: [], outdated: [] }).code).toBe('COLLATION_MISSING');
  expect(judgeCollations({ used: ['de_DE'], onTarget: ['de_DE'], outdated: ['the database'] }).outcome).toBe('warned');
  expect(judgeCollations({ used: [], onTarget: [], outdated: [] }).outcome).toBe('passed');
  const language: CatalogObject = {
    oid: 1,
    kind: 'PROCEDURAL LANGUAGE',
    schema: null,
    name: 'pllol',
    relation: false,
    owner: 'a',
    grantees: [],
    superuserWhy: null,
    ours: true,
  };
  expect(judgeLanguages([language]).outcome).toBe('warned');
});

test('foreign servers', () => {
  expect(judgeForeign([], []).outcome).toBe('passed');
  expect(judgeForeign(['"s"'], []).remedy).toBe('');
  expect(judgeForeign(['"s"'], [{ server: 's', user: 'public', visible: false }]).remedy).toContain(
    'FOR PUBLIC SERVER "s"',
  );
});

test('what belongs to relations', () => {
  const one = [{ schema: 's', relation: 't', name: 'i' }];
  expect(judgeInvalidIndexes(one).remedy).toBe('REINDEX INDEX "s"."i";');
  expect(judgeNotValid(one).outcome).toBe('info');
  expect(judgeDisabledTriggers(one).outcome).toBe('info');
  expect(judgeSubscriptions(['x']).outcome).toBe('warned');
  expect(
    [judgeInvalidIndexes([]), judgeNotValid([]), judgeDisabledTriggers([]), judgeSubscriptions([])].map(
      (v) => v.outcome,
    ),
  ).toEqual(Array(4).fill('passed'));
});

test('the inventory counts by kind and warns of nothing to move', () => {
  const relation: Relation = {
    oid: 1,
    schema: 's',
    name: 't',
    kind: 'r',
    persistence: 'p',
    owner: 'a',
    partition: false,
    populated: true,
    canSelect: true,
    schemaUsage: true,
    rowSecurity: false,
    rowSecurityForced: false,
  };
  const none = { relations: [], features: [], largeObjects: 0, largeObjectBytes: 0 };
  expect(judgeInventory(none).outcome).toBe('warned');
  expect(judgeInventory({ ...none, relations: [relation] }).found).toBe('1 table.');
  const matview = { ...relation, kind: 'm', name: 'mv', populated: false };
  expect(judgeInventory({ ...none, relations: [matview], largeObjects: 2 }).found).toBe(
    '1 materialized view, 2 large objects (0 B). Not populated, and left so: "s"."mv".',
  );
});
