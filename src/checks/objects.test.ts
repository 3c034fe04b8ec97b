import { describe, expect, test } from 'vitest';
import type { CatalogObject, Relation } from './catalog.ts';
import { compareExtensionVersions, judgeExtensions } from './extensions.ts';
import type { ExtensionInput, OfferedExtension } from './extensions.ts';
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

test('versions of extensions compare by number, where they are numbers', () => {
  expect(compareExtensionVersions('1.9', '1.10')).toBeLessThan(0);
  expect(compareExtensionVersions('3.4.0', '3.4')).toBe(0);
  expect(compareExtensionVersions('2.0', '1.10')).toBeGreaterThan(0);
  expect(compareExtensionVersions('unpackaged', '1.0')).toBe(0);
});

describe('judgeExtensions', () => {
  const offer: OfferedExtension = {
    name: 'hstore',
    defaultVersion: '1.8',
    installedVersion: null,
    needsSuperuser: true,
    trusted: true,
  };
  const input: ExtensionInput = {
    source: [
      { name: 'plpgsql', version: '1.0' },
      { name: 'hstore', version: '1.7' },
    ],
    offered: [offer],
    role: 'me',
    superuser: false,
    createInDatabase: true,
    database: 'd',
    preloaded: [],
    leftOut: false,
  };
  const verdict = (more: Partial<ExtensionInput>) => judgeExtensions({ ...input, ...more });
  test('trusted ones need no superuser', () => expect(verdict({}).outcome).toBe('passed'));
  test('not available', () => expect(verdict({ offered: [] }).code).toBe('EXTENSION_UNAVAILABLE'));
  test('older', () => {
    expect(verdict({ offered: [{ ...offer, defaultVersion: '1.6' }] }).code).toBe('EXTENSION_TOO_OLD');
    expect(verdict({ offered: [{ ...offer, installedVersion: '1.6' }] }).remedy).toBe(
      'ALTER EXTENSION "hstore" UPDATE; -- on the target',
    );
  });
  test('not allowed', () => {
    const untrusted = [{ ...offer, trusted: false }];
    expect(verdict({ offered: untrusted }).code).toBe('EXTENSION_NOT_ALLOWED');
    expect(verdict({ offered: untrusted, superuser: true }).outcome).toBe('passed');
    expect(verdict({ offered: [{ ...offer, trusted: false, installedVersion: '1.8' }] }).outcome).toBe('passed');
    expect(verdict({ createInDatabase: false }).remedy).toBe('GRANT CREATE ON DATABASE "d" TO "me";');
  });
  test('filters that leave extensions out turn it into a warning', () => {
    expect(verdict({ offered: [], leftOut: true }).outcome).toBe('warned');
  });
  test('libraries that must be loaded at start', () => {
    const cron = {
      source: [{ name: 'pg_cron', version: '1.6' }],
      offered: [{ ...offer, name: 'pg_cron', defaultVersion: '1.6' }],
    };
    expect(verdict(cron).outcome).toBe('warned');
    expect(verdict({ ...cron, preloaded: ['pg_cron'] }).outcome).toBe('passed');
    expect(verdict({ ...cron, preloaded: null }).outcome).toBe('passed');
  });
});

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
