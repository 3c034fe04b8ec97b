import { expect, it } from 'vitest';
import type { ArchiveEntry } from './archive.ts';
import { grantKey, objectKey, withoutLeftOut } from './left-out.ts';

let ids = 0;
function entry(type: string, name: string, more: Partial<ArchiveEntry> = {}): ArchiveEntry {
  ids += 1;
  const place = { schema: 's', owner: null, section: 'pre-data' as const, settings: [], statements: ['x;'] };
  return { dumpId: ids, classOid: 1, oid: ids, dependencies: [], type, name, ...place, ...more };
}

it('takes user mappings out with their server, which pg_dump notes by name only', () => {
  const server = entry('SERVER', 'far away', { classOid: 1417, oid: 9, schema: null });
  const mapping = entry('USER MAPPING', 'USER MAPPING public SERVER far away', { classOid: 0, oid: 0, schema: null });
  const other = entry('USER MAPPING', 'USER MAPPING public SERVER near', { classOid: 0, oid: 0, schema: null });
  const { left } = withoutLeftOut({ entries: [server, mapping, other] }, new Set([objectKey(1417, 9)]));
  expect(left).toEqual([server, mapping]);
});

it('takes out what is named and what only speaks of it, and nothing else', () => {
  const base = entry('TYPE', 'my_int', { classOid: 1247, oid: 5 });
  const shell = entry('SHELL TYPE', 'my_int', { classOid: 0, oid: 0 });
  const trigger = entry('EVENT TRIGGER', 'e', { classOid: 3466, oid: 7, schema: null });
  const comment = entry('COMMENT', 'EVENT TRIGGER e', { classOid: 0, oid: 0, dependencies: [trigger.dumpId] });
  const table = entry('TABLE', 't', { dependencies: [base.dumpId] });
  const system = entry('ACL', 'FUNCTION pg_sleep(double precision)', { schema: 'pg_catalog', classOid: 0, oid: 0 });
  const own = entry('ACL', 'TABLE t', { classOid: 0, oid: 0, dependencies: [table.dumpId] });
  const archive = { entries: [shell, base, trigger, comment, table, system, own] };
  const { archive: kept, left } = withoutLeftOut(
    archive,
    new Set([objectKey(1247, 5), objectKey(3466, '7'), grantKey('pg_catalog', 'FUNCTION pg_sleep(double precision)')]),
  );
  expect(left).toEqual([shell, base, trigger, comment, system]);
  // A table is never taken: what stands on something that is missing is refused by the target itself.
  expect(kept.entries).toEqual([table, own]);
  expect(withoutLeftOut(archive, new Set())).toEqual({ archive, left: [] });
});
