import { describe, expect, test } from 'vitest';
import type { Excluded } from '../postgres/excluded.ts';
import { planExtensions } from '../postgres/extensions.ts';
import type { InstalledExtension, OfferedExtension } from '../postgres/extensions.ts';
import { judgeExcluded, judgeExcludedLive, judgeExtensions } from './extensions.ts';
import type { ExtensionInput, InstallRights } from './extensions.ts';

const hstore: InstalledExtension = { name: 'hstore', version: '1.7', schema: 'public', relocatable: true };
const offer: OfferedExtension = {
  name: 'hstore',
  defaultVersion: '1.8',
  installed: null,
  versions: ['1.6', '1.7', '1.8'].map((version) => ({ version, superuser: true, trusted: true })),
  updatable: ['1.6', '1.7'],
};
const rights: InstallRights = {
  role: 'me',
  superuser: false,
  admin: false,
  createInDatabase: true,
  database: 'd',
  preloaded: [],
  allowlist: null,
  privileged: [],
};
const has = (version: string, schema = 'public') => ({ ...hstore, version, schema, ours: true });

function verdict(more: Partial<ExtensionInput>, mode: 'source' | 'newest' = 'source') {
  const source = more.source ?? [{ ...hstore, name: 'plpgsql', version: '1.0' }, hstore];
  const offered = more.offered ?? [offer];
  return judgeExtensions({
    source,
    offered,
    plans: planExtensions(source, offered, mode),
    rights,
    leftOut: false,
    replace: false,
    allowOlder: false,
    used: [],
    filled: [],
    ...more,
  });
}

describe('judgeExtensions', () => {
  test('an older major that was asked for brings older versions, which is told', () => {
    const newer = { source: [{ ...hstore, version: '99.0' }] };
    expect(verdict(newer).code).toBe('EXTENSION_TOO_OLD');
    expect(verdict({ ...newer, allowOlder: true }).outcome).toBe('warned');
    const denied = { ...offer, versions: offer.versions.map((one) => ({ ...one, superuser: true, trusted: false })) };
    expect(verdict({ ...newer, allowOlder: true, offered: [denied] }).code).toBe('EXTENSION_NOT_ALLOWED');
  });
  test('trusted ones need no superuser', () => expect(verdict({}).outcome).toBe('passed'));

  test('not available', () => {
    expect(verdict({ offered: [] })).toMatchObject({ outcome: 'failed', code: 'EXTENSION_UNAVAILABLE' });
    expect(verdict({ offered: [] }).remedy).toContain('--exclude-extension hstore');
  });

  test('too old, installed or offered', () => {
    const older = { ...offer, defaultVersion: '1.6', versions: offer.versions.slice(0, 1) };
    expect(verdict({ offered: [older] }).code).toBe('EXTENSION_TOO_OLD');
    const installed = [{ ...offer, installed: has('1.6') }];
    expect(verdict({ offered: installed }).remedy).toBe('ALTER EXTENSION "hstore" UPDATE; -- on the target');
    expect(verdict({ offered: installed }, 'newest').outcome).not.toBe('failed');
  });

  test('another version than the source has is told', () => {
    const newer = { ...offer, versions: offer.versions.slice(2) };
    expect(verdict({ offered: [newer] })).toMatchObject({ outcome: 'info' });
    expect(verdict({ offered: [newer] }).found).toContain('1.7 on the source and arrives as 1.8');
  });

  test('who may install it', () => {
    const untrusted = [{ ...offer, versions: offer.versions.map((one) => ({ ...one, trusted: false })) }];
    expect(verdict({ offered: untrusted }).code).toBe('EXTENSION_NOT_ALLOWED');
    for (const may of [{ superuser: true }, { admin: true }, { privileged: ['hstore'] }])
      expect(verdict({ offered: untrusted, rights: { ...rights, ...may } }).outcome).toBe('passed');
    expect(verdict({ offered: [{ ...untrusted[0], ...offer, installed: has('1.7') }] }).outcome).toBe('passed');
    expect(verdict({ rights: { ...rights, createInDatabase: false } }).remedy).toBe(
      'GRANT CREATE ON DATABASE "d" TO "me";',
    );
  });

  test("a provider's list binds whoever asks", () => {
    const listed = (names: string[]) =>
      verdict({ rights: { ...rights, superuser: true, allowlist: { setting: 'azure.extensions', names } } });
    expect(listed(['citext'])).toMatchObject({ outcome: 'failed', code: 'EXTENSION_NOT_ALLOWED' });
    expect(listed(['citext']).found).toContain('azure.extensions');
    expect(listed(['citext', 'hstore']).outcome).toBe('passed');
    expect(listed(['*']).outcome).toBe('passed');
  });

  test('filters that leave extensions out turn it into a warning', () => {
    expect(verdict({ offered: [], leftOut: true }).outcome).toBe('warned');
  });

  test('libraries that must be loaded at start', () => {
    const one = (name: string) => ({
      source: [{ ...hstore, name }],
      offered: [{ ...offer, name }],
    });
    expect(verdict(one('pg_cron'))).toMatchObject({ outcome: 'failed', code: 'EXTENSION_NOT_PRELOADED' });
    expect(verdict(one('pg_net')).outcome).toBe('warned');
    for (const preloaded of [['pg_cron'], null])
      expect(verdict({ ...one('pg_cron'), rights: { ...rights, preloaded } }).outcome).toBe('passed');
  });

  test('installed in another schema than objects name it in', () => {
    const elsewhere = [{ ...offer, installed: has('1.7', 'extensions') }];
    expect(verdict({ offered: elsewhere }).outcome).toBe('passed');
    expect(verdict({ offered: elsewhere, used: ['hstore'] })).toMatchObject({
      code: 'EXTENSION_ELSEWHERE',
      remedy: 'ALTER EXTENSION "hstore" SET SCHEMA "public"; -- on the target',
    });
  });

  test('rows that stand in a configuration table already', () => {
    const filled = [{ extension: 'hstore', table: '"public"."c"', condition: 'WHERE own' }];
    expect(verdict({ filled })).toMatchObject({
      code: 'EXTENSION_ROWS_PRESENT',
      remedy: 'DELETE FROM "public"."c" WHERE own; -- on the target',
    });
  });
});

test('what is left out is named, and cannot be followed', () => {
  const excluded: Excluded = {
    extensions: ['citext'],
    objects: new Set(),
    parts: new Map(),
    names: ['table column public.people.mail', 'view public.mails'],
  };
  expect(judgeExcluded(excluded, ['citext'])).toMatchObject({ outcome: 'warned' });
  expect(judgeExcluded(excluded, ['citext']).found).toContain('table column public.people.mail, view public.mails');
  expect(judgeExcluded({ ...excluded, extensions: [], names: [] }, ['postgis']).outcome).toBe('warned');
  expect(judgeExcludedLive(excluded).code).toBe('EXTENSION_EXCLUDED_LIVE');
  const view = { ...excluded, names: ['view public.mails'] };
  expect(judgeExcludedLive(view).outcome).toBe('passed');
  expect(judgeExcludedLive(view, ['table "cron"."job"']).outcome).toBe('failed');
});
