import { expect, test } from 'vitest';
import type { TablePlan } from './apply-plan.ts';
import { deleteAlike, deleteMany, insertMany, insertOne, replaceOne, updateMany, updateOne } from './statements.ts';
import type { TargetColumn } from './target-table.ts';

const column = (name: string, type: string, more: Partial<TargetColumn> = {}): TargetColumn => ({
  name,
  typeName: type,
  typeOid: 25,
  typeModifier: -1,
  castTo: { schema: 'pg_catalog', name: type },
  arrayType: { schema: 'pg_catalog', name: `_${type}` },
  delimiter: ',',
  plain: false,
  parts: false,
  equality: { schema: 'pg_catalog', name: '=' },
  notNull: false,
  hasDefault: false,
  generated: false,
  identity: false,
  identityAlways: false,
  ...more,
});

const plan = (partitioned = false, fixed: readonly number[] = []): TablePlan => {
  const columns = [
    column('Id"', 'citext', { equality: { schema: 'ext', name: '=' } }),
    column('list', '_int4', { arrayType: null }),
    column('bits', 'bit'),
  ];
  return { id: 's.t', table: { schema: 's', name: 't', partitioned, columns, indexes: [] }, columns, key: [0], fixed };
};

test('arrays of arrays travel as text and are cast one by one, without a modifier', () => {
  expect(insertMany(plan())).toEqual({
    text:
      'INSERT INTO "s"."t" ("Id""", "list", "bits") OVERRIDING SYSTEM VALUE SELECT u.c0, u.c1::"pg_catalog"."_int4", u.c2 FROM ' +
      'ROWS FROM (pg_catalog.unnest($1::"pg_catalog"."_citext"), pg_catalog.unnest($2::pg_catalog._text), pg_catalog.unnest($3::"pg_catalog"."_bit")) AS u (c0, c1, c2)',
    parameters: [0, 1, 2],
  });
  expect(insertOne(plan()).text).toContain(
    'VALUES ($1::"pg_catalog"."citext", $2::"pg_catalog"."_int4", $3::"pg_catalog"."bit")',
  );
});

test('rows are found by the operator of their type, and only in the table itself unless it is partitioned', () => {
  const many = updateMany(plan(), [0], [2]);
  expect(many.text).toContain('UPDATE ONLY "s"."t" AS t SET "bits" = u.c2 FROM');
  expect(many.text).toContain('WHERE t."Id""" OPERATOR("ext".=) u.c0');
  expect(many.parameters).toEqual([0, 2]);
  expect(deleteMany(plan(true), [0]).text).toContain('DELETE FROM "s"."t" AS t USING');
  expect(updateOne(plan(), [0], [0, 2])).toEqual({
    text: 'UPDATE ONLY "s"."t" AS t SET "Id""" = $2::"pg_catalog"."citext", "bits" = $3::"pg_catalog"."bit" WHERE t."Id""" OPERATOR("ext".=) $1::"pg_catalog"."citext"',
    parameters: [0, 0, 2],
  });
});

test('an identity column that cannot be set has to be what the row says', () => {
  expect(updateMany(plan(false, [1]), [0], [2]).text).toMatch(
    /WHERE t\."Id""" OPERATOR\("ext"\.=\) u\.c0 AND t\."list" OPERATOR\("pg_catalog"\.=\) u\.c1::"pg_catalog"\."_int4"$/,
  );
});

test('a row is put in the place of another with what it does not say taken over', () => {
  const { text, parameters } = replaceOne(plan(), [0], [0, 2]);
  expect(text).toContain('RETURNING t."list")');
  expect(text).toContain('SELECT $2::"pg_catalog"."citext", d."list", $3::"pg_catalog"."bit" FROM d');
  expect(parameters).toEqual([0, 0, 2]);
});

test('exactly one of equal rows is meant, with its table where partitions hold it', () => {
  const { text } = deleteAlike(plan(true), [2], 'image');
  expect(text).toContain('LIMIT 1) AS x (o, c) WHERE r.ctid = x.c AND r.tableoid = x.o');
  expect(text).toContain('t."bits" OPERATOR("pg_catalog".=) $3');
  expect(text).toContain('::record OPERATOR(pg_catalog.*=) ROW(');
  expect(deleteAlike(plan(), [], 'text').text).toContain(`pg_catalog.format('%L', t."list") OPERATOR(pg_catalog.=)`);
});
