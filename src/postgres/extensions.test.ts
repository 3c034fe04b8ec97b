import { expect, test } from 'vitest';
import { compareExtensionVersions, planExtensions, versionToInstall } from './extensions.ts';
import type { InstalledExtension, OfferedExtension } from './extensions.ts';

test('versions of extensions compare by number, where they are numbers', () => {
  expect(compareExtensionVersions('1.9', '1.10')).toBeLessThan(0);
  expect(compareExtensionVersions('3.4.0', '3.4')).toBe(0);
  expect(compareExtensionVersions('2.0', '1.10')).toBeGreaterThan(0);
  expect(compareExtensionVersions('unpackaged', '1.0')).toBe(0);
});

const offerOf = (versions: string[], defaultVersion: string): OfferedExtension => ({
  name: 'x',
  defaultVersion,
  installed: null,
  versions: versions.map((version) => ({ version, superuser: false, trusted: false })),
  updatable: versions.filter((version) => version !== defaultVersion),
});
const x = (version: string): InstalledExtension => ({ name: 'x', version, schema: 'public', relocatable: true });

test('the very version, else the nearest above, never one below', () => {
  expect(versionToInstall('1.2', offerOf(['1.1', '1.2', '1.10'], '1.10'))).toBe('1.2');
  expect(versionToInstall('1.3', offerOf(['1.1', '1.10', '1.4'], '1.10'))).toBe('1.4');
  expect(versionToInstall('1.3', offerOf(['1.1', '1.2'], '1.2'))).toBeNull();
  expect(versionToInstall('1.2-beta', offerOf(['1.1', '1.2'], '1.2'))).toBe('1.2');
});

test('installed as on the source, and updated where the newest is wanted', () => {
  const offer = offerOf(['1.0', '1.1', '2.0'], '2.0');
  expect(planExtensions([x('1.0')], [offer], 'source')).toEqual([
    { name: 'x', version: '1.0', update: false, note: '' },
  ]);
  expect(planExtensions([x('1.0')], [offer], 'newest')[0]).toMatchObject({ version: '1.0', update: true });
  expect(planExtensions([x('2.0')], [offer], 'newest')[0]?.update).toBe(false);
  // Without a script that leads there an update would only fail.
  expect(planExtensions([x('1.0')], [{ ...offer, updatable: [] }], 'newest')[0]?.update).toBe(false);
  const had = { ...offer, installed: { ...x('1.1'), ours: true } };
  expect(planExtensions([x('1.0')], [had], 'source')[0]).toMatchObject({ version: null, update: false });
  expect(planExtensions([x('1.0')], [had], 'source')[0]?.note).toContain('arrives as 1.1');
  expect(planExtensions([x('1.0')], [{ ...had, installed: { ...x('1.1'), ours: false } }], 'newest')[0]?.update).toBe(
    false,
  );
});
