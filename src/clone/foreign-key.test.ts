import { expect, test } from 'vitest';
import type { ArchiveEntry } from '../postgres/archive.ts';
import type { RelationOwners } from './catalogue.ts';
import { foreignKeyOf, planForeignKey } from './foreign-key.ts';

const entry = (statement: string, oid = 7): ArchiveEntry => ({
  dumpId: 1,
  classOid: 2606,
  oid,
  dependencies: [],
  type: 'FK CONSTRAINT',
  schema: 's',
  name: 't k',
  owner: null,
  section: 'post-data',
  settings: [],
  statements: [statement],
});

const owners = (kind: string): RelationOwners => ({
  tableOfIndex: new Map(),
  tableOfConstraint: new Map([[7, { oid: 3, schema: 's', name: 't', kind }]]),
  locksOfForeignKey: new Map(),
});

const plain =
  'ALTER TABLE ONLY s.t\n    ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES s.u(id) ON DELETE CASCADE DEFERRABLE;';

test('a key is made without looking at a row, and is to be validated', () => {
  const planned = planForeignKey(entry(plain), owners('r'), 15);
  expect(planned.entry.statements).toEqual([plain.replace(/;$/, ' NOT VALID;')]);
  expect(planned.later).toEqual({ schema: 's', table: 't', name: 'k' });
  expect(planned.checksNow).toBe(false);
});

test.each([
  'ALTER TABLE ONLY s.t\n    ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES s.u(id) NOT VALID;',
  'ALTER TABLE ONLY s.t\n    ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES s.u(id) DEFERRABLE NOT ENFORCED;',
])('what the source does not hold to is no stricter on the target: %s', (statement) => {
  const planned = planForeignKey(entry(statement), owners('r'), 18);
  expect(planned).toEqual({ entry: entry(statement), later: null, checksNow: false });
});

test('a name may say NOT VALID', () => {
  const statement =
    'ALTER TABLE ONLY s.t\n    ADD CONSTRAINT " NOT VALID;" FOREIGN KEY (a) REFERENCES s." NOT VALID"(" NOT VALID");';
  expect(planForeignKey(entry(statement), owners('r'), 15).later).toEqual({
    schema: 's',
    table: 't',
    name: ' NOT VALID;',
  });
});

test('a partitioned table checks its rows at once before 18', () => {
  const statement = plain.replace('ONLY ', '');
  expect(planForeignKey(entry(statement), owners('p'), 17)).toEqual({
    entry: entry(statement),
    later: null,
    checksNow: true,
  });
  expect(planForeignKey(entry(statement), owners('p'), 18).later).not.toBeNull();
});

test('quoted names are read as they are', () => {
  const statement =
    'ALTER TABLE ONLY "S""x"."t. ADD CONSTRAINT z FOREIGN KEY (a)"\n    ADD CONSTRAINT "k ""1""; --" FOREIGN KEY (a) REFERENCES s.u(id);';
  expect(foreignKeyOf(entry(statement))).toEqual({
    schema: 'S"x',
    table: 't. ADD CONSTRAINT z FOREIGN KEY (a)',
    name: 'k "1"; --',
  });
  expect(foreignKeyOf({ ...entry(statement), type: 'CONSTRAINT' })).toBeNull();
});
