import { expect, test } from 'vitest';
import { type ArchiveEntry, parseArchiveSql, withoutAttver } from './archive.ts';
import type { TocEntry } from './archive-toc.ts';
import { asListed, fitsType } from './listed.ts';

const toc = (more: Partial<TocEntry>): TocEntry => ({
  dumpId: 7,
  classOid: 1259,
  oid: 1,
  name: 'v',
  type: 'VIEW',
  schema: 'public',
  owner: 'app',
  definition: 'CREATE VIEW public.v AS SELECT 1;\n',
  copyStatement: '',
  hasData: false,
  dependencies: [],
  file: null,
  offset: null,
  ...more,
});
const heading = (name: string, type = 'VIEW', schema = 'public', owner = 'app'): string =>
  `--\n-- TOC entry 7 (class 1259 OID 1)\n-- Name: ${name}; Type: ${type}; Schema: ${schema}; Owner: ${owner}\n--\n\n`;
const own = 'CREATE VIEW public.v AS SELECT 1;\n\n\nALTER VIEW public.v OWNER TO app;\n';
const held = (sql: string, listed: TocEntry): ArchiveEntry[] =>
  asListed(parseArchiveSql(sql, 'pre-data'), [listed], false, withoutAttver);
const refused = expect.objectContaining({ code: 'ARCHIVE_NOT_AS_LISTED' }) as Error;

test('what is printed as it is listed passes, with the owner that pg_restore adds', () => {
  expect(held(heading('v') + own, toc({}))).toEqual([
    expect.objectContaining({
      type: 'VIEW',
      schema: 'public',
      name: 'v',
      owner: 'app',
      statements: ['CREATE VIEW public.v AS SELECT 1;', 'ALTER VIEW public.v OWNER TO app;'],
    }),
  ]);
  const odd = toc({ owner: 'a "b" c' });
  expect(held(heading('v') + own.replace('TO app', 'TO "a ""b"" c"'), odd)[0]?.owner).toBe('a "b" c');
});

test('a name with a line break becomes no statement, whatever pg_restore prints of it', () => {
  const name = 'v\nDROP TABLE accounts;\n--';
  for (const sql of [
    heading(name) + own,
    heading('v', 'VIEW', 'public', name) + own,
    heading('v', 'VIEW', name) + own,
  ]) {
    expect(() => held(sql, toc({ name }))).toThrow(refused);
  }
  expect(() => held(heading('v') + own.replace('TO app', 'TO mallory'), toc({}))).toThrow(refused);
  expect(() => held(heading('v') + own.replace('entry 7', 'entry 8'), toc({ dumpId: 8 }))).toThrow(refused);
});

test('type, schema and owner are as listed, not as a heading can be made to say', () => {
  const name = 'v; Type: EXTENSION; Schema: -; Owner: postgres';
  const [entry] = held(heading(name) + own, toc({ name }));
  expect(entry).toMatchObject({ name, type: 'VIEW', schema: 'public', owner: 'app' });
  const schema = 'x; Type: COMMENT; Schema: y; Owner: z';
  expect(held(heading('v', 'VIEW', schema) + own, toc({ schema }))[0]).toMatchObject({ type: 'VIEW', schema });
  const separator = 'a\u2028b';
  expect(held(heading(separator) + own, toc({ name: separator }))[0]).toMatchObject({ name: separator, type: 'VIEW' });
  expect(held(heading('a  b') + own, toc({ name: 'a\r\nb' }))[0]?.name).toBe('a  b');
});

test('what is listed under a type is of that type', () => {
  for (const bad of [
    'DROP TABLE accounts;',
    "ALTER SYSTEM SET archive_command = 'sh';",
    "COPY accounts TO PROGRAM 'sh';",
    'DO $$ begin end $$;',
    'CREATE ROLE mallory SUPERUSER;',
    'GRANT postgres TO mallory;',
    'CREATE VIEW public.v AS SELECT 1; DROP TABLE accounts;',
  ]) {
    expect(() => held(heading('v') + bad, toc({ definition: bad })), bad).toThrow(refused);
  }
  expect(fitsType('ACL', 'GRANT postgres TO mallory;')).toBe(false);
  expect(fitsType('ACL', 'GRANT SELECT ON TABLE public.t TO app;')).toBe(true);
  expect(fitsType('SOMETHING NEW', 'CREATE SOMETHING NEW x;')).toBe(true);
  expect(fitsType('SOMETHING NEW', 'ALTER SYSTEM SET x = 1;')).toBe(false);
  expect(fitsType('SOMETHING NEW', 'CREATE USER mallory;')).toBe(false);
  expect(fitsType('SOMETHING NEW', 'CREATE USER MAPPING FOR a SERVER b;')).toBe(true);
});
