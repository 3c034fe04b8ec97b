import { expect, test } from 'vitest';
import type { ArchiveEntry } from '../postgres/archive.ts';
import { compareArchives, entryName, excerpt, pairDifference } from './catalogue.ts';

function entry(part: Partial<ArchiveEntry>): ArchiveEntry {
  return {
    dumpId: 1,
    classOid: 1259,
    oid: 1,
    dependencies: [],
    type: 'TABLE',
    schema: 'public',
    name: 't',
    owner: 'app',
    section: 'pre-data',
    settings: [],
    statements: ['CREATE TABLE public.t ();'],
    ...part,
  };
}

test('equal archives in another order have no difference', () => {
  const view = entry({ type: 'VIEW', name: 'v', statements: ['CREATE VIEW v AS SELECT 1;'] });
  const result = compareArchives({ entries: [entry({}), view] }, { entries: [view, entry({ dumpId: 9, oid: 9 })] });
  expect(result).toEqual({ compared: 2, missing: [], extra: [], different: [] });
});

test('missing, extra and different entries are told apart', () => {
  const result = compareArchives(
    { entries: [entry({}), entry({ type: 'INDEX', name: 'i' })] },
    { entries: [entry({ statements: ['CREATE TABLE public.t (a int);'] }), entry({ type: 'VIEW', name: 'v' })] },
  );
  expect(result.missing.map(entryName)).toEqual(['public.i']);
  expect(result.extra.map(entryName)).toEqual(['public.v']);
  expect(result.different.map(pairDifference)).toEqual([
    {
      kind: 'TABLE',
      name: 'public.t',
      change: 'different',
      source: 'CREATE TABLE public.t ();',
      target: 'CREATE TABLE public.t (a int);',
    },
  ]);
});

test('entries that share a name are matched by what they say before they are called different', () => {
  const grant = (role: string): ArchiveEntry =>
    entry({ type: 'DEFAULT ACL', name: 'DEFAULT PRIVILEGES FOR TABLES', statements: [`ALTER … GRANT TO ${role};`] });
  const result = compareArchives({ entries: [grant('a'), grant('b')] }, { entries: [grant('b')] });
  expect(result.different).toEqual([]);
  expect(result.missing.map((one) => one.statements)).toEqual([['ALTER … GRANT TO a;']]);
});

test('the tablespace counts, the table access method in force does not, nor the order of grants', () => {
  const table = (settings: string[]): ArchiveEntry => entry({ settings });
  const heap = table(["SET default_tablespace = '';", 'SET default_table_access_method = heap;']);
  const plain = table(["SET default_tablespace = '';"]);
  const fast = table(['SET default_tablespace = fast;']);
  expect(compareArchives({ entries: [heap] }, { entries: [plain] }).different).toEqual([]);
  expect(compareArchives({ entries: [heap] }, { entries: [fast] }).different).toHaveLength(1);
  const acl = (statements: string[]): ArchiveEntry => entry({ type: 'ACL', statements });
  const [one, two] = [
    ['GRANT a;', 'GRANT b;'],
    ['GRANT b;', 'GRANT a;'],
  ];
  expect(compareArchives({ entries: [acl(one)] }, { entries: [acl(two)] }).different).toEqual([]);
});

test('a change deep in a long text is shown', () => {
  const [a, b] = [`${'x'.repeat(3000)}A`, `${'x'.repeat(3000)}B`];
  expect(excerpt(a, b)).toMatch(/^…x+A$/);
  expect(excerpt(a, b).length).toBeLessThan(300);
});

/** A table with a column whose default stands inside CREATE TABLE, or in an entry of its own. */
function serial(columns: string, ...apart: string[]): { entries: ArchiveEntry[] } {
  const statements = [`CREATE TABLE public.t (\n    ${columns}\n);`];
  const defaults = apart.map((value) =>
    entry({
      type: 'DEFAULT',
      name: 't id',
      statements: [`ALTER TABLE ONLY public.t ALTER COLUMN id SET DEFAULT ${value};`],
    }),
  );
  return { entries: [entry({ statements }), ...defaults] };
}

test('a default says the same inside its table and apart from it', () => {
  const value = `nextval('public.t_id_seq'::regclass)`;
  const apart = serial('a integer,\n    id integer NOT NULL', value);
  const inside = serial(`a integer,\n    id integer DEFAULT ${value} NOT NULL`);
  for (const [here, there] of [
    [apart, inside],
    [inside, apart],
  ] as const) {
    expect(compareArchives(here, there)).toMatchObject({ missing: [], extra: [], different: [] });
  }
  const another = serial(`a integer DEFAULT ${value},\n    id integer NOT NULL`);
  expect(compareArchives(apart, another)).toMatchObject({ missing: [{ type: 'DEFAULT' }], different: [{}] });
  const longer = serial(`a integer,\n    id integer DEFAULT ${value} + 1 NOT NULL`);
  expect(compareArchives(apart, longer)).toMatchObject({ missing: [{ type: 'DEFAULT' }], different: [{}] });
  expect(compareArchives(apart, serial('a integer,\n    id integer NOT NULL'))).toMatchObject({
    missing: [{ type: 'DEFAULT' }],
    different: [],
  });
});
