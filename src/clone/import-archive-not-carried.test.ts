import { expect, test } from 'vitest';
import type { Toc, TocEntry } from '../postgres/archive-toc.ts';
import { excludedEntries } from './import-archive-extensions.ts';
import { type OrdinaryTarget, notCarriedEntries, superuserWhy } from './import-archive-not-carried.ts';

let ids = 0;
function entry(type: string, name: string, definition = '', on: readonly TocEntry[] = []): TocEntry {
  const dumpId = (ids += 1);
  const schema = type === 'SCHEMA' || type === 'EXTENSION' ? null : 'app';
  return {
    dumpId,
    classOid: 1000,
    oid: 20_000 + dumpId,
    type,
    schema,
    name,
    definition,
    owner: 'keeper',
    copyStatement: '',
    hasData: false,
    file: null,
    offset: null,
    dependencies: on.map((one) => one.dumpId),
  };
}
const header = { format: '1.14', database: 'shop', serverVersion: '15.4', dumpVersion: '15.4', createdAt: '' };
const tocOf = (...entries: TocEntry[]): Toc => ({ ...header, entries });
const target: OrdinaryTarget = {
  untrusted: new Set(['plperlu']),
  reserved: new Set(['log_statement']),
  maySubscribe: false,
  actsAs: (role) => role === 'keeper',
};
const fn = (attributes: string, more = ''): TocEntry =>
  entry(
    'FUNCTION',
    'f()',
    `CREATE FUNCTION app.f() RETURNS integer\n    LANGUAGE ${attributes}${more}\n    AS $$SELECT 1$$;\n`,
  );
const whyOf = (one: TocEntry): string | null => superuserWhy(one, target);

test('what takes a superuser is told by what pg_dump has written', () => {
  expect(whyOf(fn('c STRICT'))).toBe('it is written in C');
  expect(whyOf(fn('plperlu'))).toContain('untrusted');
  expect(whyOf(fn('sql IMMUTABLE LEAKPROOF'))).toBe('it is LEAKPROOF');
  expect(whyOf(fn('sql', "\n    SET log_statement TO 'none'"))).toContain('log_statement');
  expect(whyOf(fn('sql', "\n    SET search_path TO 'app'"))).toBeNull();
  expect(whyOf(fn('plpgsql'))).toBeNull();
  expect(
    whyOf(entry('TYPE', 't', 'CREATE TYPE app.t (\n    INTERNALLENGTH = 4,\n    INPUT = app.t_in\n);\n')),
  ).toContain('base type');
  expect(whyOf(entry('TYPE', 't', 'CREATE TYPE app.t AS (\n\ta integer\n);\n'))).toBeNull();
  expect(whyOf(entry('TYPE', 't', "CREATE TYPE app.t AS ENUM (\n    'a'\n);\n"))).toBeNull();
  expect(whyOf(entry('TYPE', 't', 'CREATE TYPE app.t;\n'))).toContain('never defined');
  expect(
    whyOf(entry('AGGREGATE', 'a(x)', 'CREATE AGGREGATE app.a(x) (\n    SFUNC = f,\n    STYPE = internal\n);')),
  ).toContain('internal');
  expect(
    whyOf(entry('CAST', 'CAST (integer AS text)', 'CREATE CAST (integer AS text) WITH FUNCTION app.f(integer);')),
  ).not.toBeNull();
  expect(
    whyOf(entry('CAST', 'CAST (app.t AS text)', 'CREATE CAST (app.t AS text) WITH FUNCTION app.f(app.t);')),
  ).toBeNull();
  expect(whyOf(entry('CAST', 'CAST (app.t AS text)', 'CREATE CAST (app.t AS text) WITHOUT FUNCTION;'))).not.toBeNull();
  expect(
    whyOf(entry('PUBLICATION', 'p', "CREATE PUBLICATION p FOR ALL TABLES WITH (publish = 'insert');")),
  ).not.toBeNull();
  expect(whyOf(entry('SUBSCRIPTION', 's', 'CREATE SUBSCRIPTION s …'))).toBe('it is a subscription');
  expect(superuserWhy(entry('SUBSCRIPTION', 's', ''), { ...target, maySubscribe: true })).toBeNull();
});

test('what stands on it goes with it; rows are never left out, and stop the job', () => {
  const access = entry('ACCESS METHOD', 'am');
  const family = entry('OPERATOR FAMILY', 'ops', '', [access]);
  const compare = entry('FUNCTION', 'g()', '\n    LANGUAGE sql', [family]);
  const remark = entry('COMMENT', 'FUNCTION g()', '', [compare]);
  const table = entry('TABLE', 'rows', '', [access]);
  const onTable = entry('FUNCTION', 'h()', '\n    LANGUAGE sql', [table]);
  const foreign = entry('ACL', 'FUNCTION pg_sleep(double precision)');
  const own = entry('ACL', 'TABLE rows', '', [table]);
  const theirs = entry(
    'DEFAULT ACL',
    'DEFAULT PRIVILEGES FOR TYPES',
    'ALTER DEFAULT PRIVILEGES FOR ROLE "Other" GRANT …',
  );
  const mine = entry('DEFAULT ACL', 'DEFAULT PRIVILEGES FOR TYPES', 'ALTER DEFAULT PRIVILEGES FOR ROLE keeper GRANT …');
  const toc = tocOf(access, family, compare, remark, table, onTable, foreign, own, theirs, mine);
  const all = new Set(toc.entries.map(({ dumpId }) => dumpId));
  const found = notCarriedEntries(toc, all, target, { noAcl: false });
  expect(found.objects.map(({ entry: one }) => one)).toEqual([access, family]);
  expect(found.with).toEqual([compare]);
  expect(found.kept).toEqual([table]);
  expect(found.grants).toEqual([foreign, theirs]);
  expect(notCarriedEntries(toc, all, target, { noAcl: true }).grants).toEqual([]);
  const others = new Set([access, table].map(({ dumpId }) => dumpId));
  expect(notCarriedEntries(toc, others, target, { noAcl: false })).toMatchObject({ with: [], kept: [table] });
});

test('a server takes its user mappings along, and a transform only functions that name it', () => {
  const wrapper = entry('FOREIGN DATA WRAPPER', 'w');
  const server = entry('SERVER', 'far', '', [wrapper]);
  const mapping = entry('USER MAPPING', 'USER MAPPING public SERVER far');
  const transform = entry(
    'TRANSFORM',
    'TRANSFORM FOR integer LANGUAGE sql',
    'CREATE TRANSFORM FOR integer LANGUAGE sql (…);',
  );
  const beside = entry('FUNCTION', 'a(integer)', '\n    LANGUAGE sql IMMUTABLE\n    AS $$…$$', [transform]);
  const naming = entry('FUNCTION', 'b(integer)', '\n    LANGUAGE sql TRANSFORM FOR TYPE integer\n    AS $$…$$', [
    transform,
  ]);
  const toc = tocOf(wrapper, server, mapping, transform, beside, naming);
  const all = new Set(toc.entries.map(({ dumpId }) => dumpId));
  expect(notCarriedEntries(toc, all, target, { noAcl: false }).with).toEqual([server, naming, mapping]);
});

test('an excluded extension takes all that stands on it, extensions included', () => {
  const cube = entry('EXTENSION', 'cube');
  const earth = entry('EXTENSION', 'earthdistance', '', [cube]);
  const view = entry('VIEW', 'near', '', [earth]);
  const other = entry('VIEW', 'far');
  const toc = tocOf(cube, earth, view, other);
  expect(excludedEntries(toc, ['cu*'])).toEqual({
    extensions: ['cube', 'earthdistance'],
    ids: new Set([cube, earth, view].map(({ dumpId }) => dumpId)),
  });
  expect(excludedEntries(toc, ['nothing']).ids.size).toBe(0);
});
