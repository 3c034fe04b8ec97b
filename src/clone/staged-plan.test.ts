import { expect, test } from 'vitest';
import type { ArchiveEntry } from '../postgres/archive.ts';
import { readStoredSchema, writeStoredSchema } from './staged-archive.ts';
import type { StoredSchema } from './staged-archive.ts';
import { planStaged } from './staged-plan.ts';

let ids = 0;
function entry(type: string, name: string, more: Partial<ArchiveEntry> = {}): ArchiveEntry {
  ids += 1;
  return {
    dumpId: ids,
    classOid: 0,
    oid: ids,
    dependencies: [],
    type,
    schema: 's',
    name,
    owner: null,
    section: 'post-data',
    settings: [],
    statements: [`-- ${name}`],
    ...more,
  };
}

const trigger = entry('TRIGGER', 't tr');
const key = entry('FK CONSTRAINT', 't fk');
const index = entry('INDEX', 't_idx', { classOid: 1259 });
const view = entry('RULE', 'v _RETURN', { statements: ['CREATE OR REPLACE VIEW s.v AS SELECT 1;'] });
const rule = entry('RULE', 't r', { statements: ['CREATE RULE r AS ON DELETE TO s.t DO INSTEAD NOTHING;'] });
const archive = {
  entries: [
    entry('TABLE', 't', { section: 'pre-data' }),
    index,
    key,
    trigger,
    view,
    rule,
    entry('STATISTICS', 'st'),
    entry('COMMENT', 'INDEX t_idx', { dependencies: [index.dumpId] }),
    entry('COMMENT', 'TRIGGER tr ON t', { dependencies: [trigger.dumpId] }),
    entry('COMMENT', 'CONSTRAINT fk ON t', { dependencies: [key.dumpId] }),
    entry('POLICY', 't p'),
    entry('ROW SECURITY', 't'),
    entry('PUBLICATION', 'theirs', { schema: null }),
    entry('SUBSCRIPTION', 'sub', { schema: null }),
    entry('ACL', 'TABLE t', { section: 'pre-data' }),
    entry('DEFAULT ACL', 'DEFAULT PRIVILEGES FOR TABLES'),
    entry('MATERIALIZED VIEW DATA', 'm'),
    entry('EVENT TRIGGER', 'e', { schema: null }),
  ],
};
const owners = {
  tableOfIndex: new Map([[index.oid, { oid: 1, schema: 's', name: 't', kind: 'r' }]]),
  tableOfConstraint: new Map(),
  locksOfForeignKey: new Map([[key.oid, [1]]]),
};

test('what fires, hides rows or lets others in waits for the cutover, with what is said about it', () => {
  const plan = planStaged(archive, owners, new Set([1]), 15);
  const names = (entries: readonly ArchiveEntry[]): string[] => entries.map((one) => `${one.type} ${one.name}`);
  expect(names(plan.preData)).toEqual(['TABLE t']);
  expect(names((plan.builds.get(1) ?? []).map((build) => build.entry))).toEqual(['INDEX t_idx']);
  expect(names(plan.rest)).toEqual(['RULE v _RETURN', 'STATISTICS st', 'COMMENT INDEX t_idx']);
  expect(names(plan.foreignKeys.map((one) => one.entry))).toEqual(['FK CONSTRAINT t fk']);
  expect(names(plan.firing)).toEqual([
    'TRIGGER t tr',
    'RULE t r',
    'COMMENT TRIGGER tr ON t',
    'COMMENT CONSTRAINT fk ON t',
    'POLICY t p',
    'ROW SECURITY t',
    'PUBLICATION theirs',
    'SUBSCRIPTION sub',
  ]);
  expect(names(plan.privileges)).toEqual(['ACL TABLE t', 'DEFAULT ACL DEFAULT PRIVILEGES FOR TABLES']);
  expect(names(plan.refreshes)).toEqual(['MATERIALIZED VIEW DATA m']);
  expect(names(plan.last)).toEqual(['EVENT TRIGGER e']);
});

test('what is stored for a later run is read back as it was', () => {
  const schema: StoredSchema = {
    archive,
    owners,
    problems: [{ kind: 'COMMENT', name: 'x', statement: 's', error: 'e', harmless: true, reason: 'r' }],
    todo: ['Set a password.'],
    targetExtensions: ['pg_stat_statements'],
    restBuilt: true,
  };
  expect(readStoredSchema(writeStoredSchema(schema))).toEqual(schema);
});

test.each(['', '{}', '{"format":2}', '{"format":1,"entries":[]}', 'null'])('%j is refused as what it is', (json) => {
  expect(() => readStoredSchema(json)).toThrow('another version of pgsluice');
});
