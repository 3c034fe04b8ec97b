import { expect, test } from 'vitest';
import type { CatalogObject, Relation } from './catalog.ts';
import { judgeForeign } from './foreign.ts';
import { judgeInventory } from './inventory.ts';
import {
  judgeCollations,
  judgeDisabledTriggers,
  judgeInvalidIndexes,
  judgeLanguages,
  judgeNotValid,
  judgeSubscriptions,
} from './objects.ts';
import { judgeTablespaces } from './tablespaces.ts';

test('tablespaces, collations and languages', () => {
  expect(judgeTablespaces(['fast'], [{ name: 'fast', create: true }], 'me').outcome).toBe('passed');
  expect(judgeTablespaces(['fast'], [], 'me').remedy).toContain('CREATE TABLESPACE "fast"');
  expect(judgeTablespaces(['fast'], [{ name: 'fast', create: false }], 'me')).toMatchObject({
    outcome: 'warned',
    remedy: 'GRANT CREATE ON TABLESPACE "fast" TO "me";',
  });
  expect(judgeCollations({ used: ['de_DE'], onTarget: [] }).code).toBe('COLLATION_MISSING');
  expect(judgeCollations({ used: ['de_DE'], onTarget: ['de_DE'] }).outcome).toBe('passed');
  expect(judgeCollations({ used: [], onTarget: [] }).outcome).toBe('passed');
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
  const facts = { servers: [{ name: 's', wrapper: 'w' }], mappings: [], role: 'me', closedWrappers: [] };
  expect(judgeForeign({ ...facts, servers: [] }).outcome).toBe('passed');
  expect(judgeForeign(facts)).toMatchObject({ outcome: 'warned', remedy: '' });
  expect(judgeForeign({ ...facts, mappings: [{ server: 's', user: 'public', visible: false }] }).remedy).toContain(
    'FOR PUBLIC SERVER "s"',
  );
  expect(judgeForeign({ ...facts, closedWrappers: ['other'] }).outcome).toBe('warned');
  expect(judgeForeign({ ...facts, closedWrappers: ['w'] })).toMatchObject({
    code: 'WRAPPER_USAGE_DENIED',
    remedy: 'GRANT USAGE ON FOREIGN DATA WRAPPER "w" TO "me";',
  });
});

test('what belongs to relations', () => {
  const one = [{ schema: 's', relation: 't', name: 'i' }];
  expect(judgeInvalidIndexes(one).remedy).toBe('REINDEX INDEX "s"."i";');
  expect(judgeNotValid(one).outcome).toBe('info');
  expect(judgeDisabledTriggers(one).outcome).toBe('info');
  expect(judgeSubscriptions([{ name: 'x', enabled: true }]).outcome).toBe('warned');
  expect(judgeSubscriptions([{ name: 'x', enabled: false }]).outcome).toBe('info');
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
