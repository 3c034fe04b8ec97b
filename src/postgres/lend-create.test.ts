import { expect, it } from 'vitest';
import type { ArchiveEntry } from './archive.ts';
import { lendCreate, withoutLending } from './lend-create.ts';

function entry(type: string, schema: string | null, ...statements: string[]): ArchiveEntry {
  const ids = { dumpId: 1, classOid: 0, oid: 0, dependencies: [], settings: [] };
  return { ...ids, type, schema, name: 'x', owner: null, section: 'pre-data', statements };
}
const lending = {
  self: 'me',
  database: 'd b',
  schemaOwners: new Map([
    ['own', 'app'],
    ['other', 'me'],
  ]),
  mayCreate: (role: string, schema: string) => schema === 'public' && role === 'friend',
  mayCreateInDatabase: () => false,
};
const lent = (one: ArchiveEntry): readonly string[] => lendCreate(one, lending).statements;

it('lends CREATE for the moment in which an object changes hands', () => {
  const table = entry('TABLE', 'other', 'CREATE TABLE other.t ();', 'ALTER TABLE other.t OWNER TO app;');
  expect(lent(table)).toEqual([
    'CREATE TABLE other.t ();',
    '/* lent for ALTER … OWNER TO */ GRANT CREATE ON SCHEMA "other" TO "app";',
    'ALTER TABLE other.t OWNER TO app;',
    '/* lent for ALTER … OWNER TO */ REVOKE CREATE ON SCHEMA "other" FROM "app";',
  ]);
  expect(withoutLending(lendCreate(table, lending))).toEqual(table);
});

it('lends nothing to itself, to the owner of the schema, or to whoever may create there', () => {
  for (const [schema, role] of [
    ['other', 'me'],
    ['own', 'app'],
    ['public', 'friend'],
  ] as const) {
    const one = entry('TABLE', schema, `ALTER TABLE x OWNER TO ${role};`);
    expect(lendCreate(one, lending)).toEqual(one);
  }
  const schema = entry('SCHEMA', null, 'CREATE SCHEMA own;', 'ALTER SCHEMA own OWNER TO app;');
  expect(lendCreate(schema, lending)).toEqual(schema);
  const text = entry('FUNCTION', 'other', `COMMENT ON FUNCTION f() IS 'ALTER x OWNER TO app;';`);
  expect(lendCreate(text, lending)).toEqual(text);
});

it('lends CREATE on the database to the owner of a publication', () => {
  const one = entry('PUBLICATION', null, 'CREATE PUBLICATION p;', 'ALTER PUBLICATION p OWNER TO app;');
  expect(lent(one)[1]).toContain('GRANT CREATE ON DATABASE "d b" TO "app";');
});
