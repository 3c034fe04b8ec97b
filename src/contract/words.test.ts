import { expect, it } from 'vitest';
import { applicationWords, importCommand, shellWord } from './words.ts';

it('quotes a path so that a shell reads exactly it', () => {
  expect(shellWord('/var/backups/shop-2026.11')).toBe('/var/backups/shop-2026.11');
  expect(shellWord("/srv/Ada's shop; rm $X")).toBe(`'/srv/Ada'\\''s shop; rm $X'`);
  expect(importCommand('/a b')).toContain(" '/a b' ");
});

it('says of an application what its table of migrations says', () => {
  const found = {
    framework: 'Ecto (Phoenix)',
    table: 'public.schema_migrations',
    version: '20260401120000',
    migrations: 1212,
    sameOnTarget: false,
    unfinished: ['20260402'],
  };
  expect(applicationWords(found)).toBe(
    'Ecto (Phoenix): schema version 20260401120000, 1,212 migrations in public.schema_migrations; the target says otherwise. Not finished on the source: 20260402.',
  );
  expect(applicationWords({ ...found, version: null, migrations: 1, sameOnTarget: null, unfinished: [] })).toBe(
    'Ecto (Phoenix): no migration yet, 1 migration in public.schema_migrations.',
  );
});
