import { expect, it } from 'vitest';
import { applicationSentence, importCommand, shellWord } from './words.ts';

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
  expect(applicationSentence(found)).toBe(
    'Ecto (Phoenix) at 20260401120000 (1,212 migrations, public.schema_migrations); the target says otherwise. Not finished on the source: 20260402.',
  );
  expect(applicationSentence({ ...found, version: null, migrations: 1, sameOnTarget: null, unfinished: [] })).toBe(
    'Ecto (Phoenix) with no migration yet (1 migration, public.schema_migrations).',
  );
});
