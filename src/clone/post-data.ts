import type { RestoreProblem } from '../contract/report.ts';
import type { Archive, ArchiveEntry } from '../postgres/archive.ts';
import { isLeftOut } from './restore.ts';
import type { OwningTable, RelationOwners } from './catalogue.ts';

/** pg_catalog oids that pg_dump prints as an entry's class (PostgreSQL's catalogue headers; fixed). */
export const PG_CLASS = 1259;
const PG_CONSTRAINT = 2606;

/** What is built on one table once its rows are in. */
export interface TableBuild {
  readonly entry: ArchiveEntry;
  readonly table: OwningTable;
  /** ALTER TABLE locks the table alone; CREATE INDEX lets other builds of the same table run beside it. */
  readonly exclusive: boolean;
}

/**
 * The archive's entries in the order of a restore. pg_restore's own passes: everything, then privileges, then what would see
 * or set off something (materialized views' data, event triggers).
 */
export interface RestoreStages {
  readonly preData: readonly ArchiveEntry[];
  /** Indexes and constraints of tables whose rows are copied, by the table's oid: built as soon as that table is in. */
  readonly builds: ReadonlyMap<number, readonly TableBuild[]>;
  /** Indexes and constraints of tables whose rows may still arrive then (partitioned ones, routed ones), and attachments. */
  readonly lateIndexes: readonly ArchiveEntry[];
  readonly foreignKeys: readonly ArchiveEntry[];
  readonly rest: readonly ArchiveEntry[];
  readonly privileges: readonly ArchiveEntry[];
  readonly last: readonly ArchiveEntry[];
}

function isPrivilege(entry: ArchiveEntry): boolean {
  return entry.type === 'ACL' || entry.type === 'DEFAULT ACL' || entry.type === 'ACL LANGUAGE';
}

function isLast(entry: ArchiveEntry): boolean {
  if (entry.type === 'MATERIALIZED VIEW DATA' || entry.type === 'EVENT TRIGGER') return true;
  return (entry.type === 'COMMENT' || entry.type === 'SECURITY LABEL') && entry.name.startsWith('EVENT TRIGGER ');
}

function owningTable(entry: ArchiveEntry, owners: RelationOwners): OwningTable | null {
  if (entry.type === 'INDEX' && entry.classOid === PG_CLASS) return owners.tableOfIndex.get(entry.oid) ?? null;
  if (entry.type === 'CONSTRAINT' && entry.classOid === PG_CONSTRAINT)
    return owners.tableOfConstraint.get(entry.oid) ?? null;
  return null;
}

/** Sorts the archive into stages. Pure. `copied`: oids of the tables whose rows are complete once their own copy is. */
export function planStages(archive: Archive, owners: RelationOwners, copied: ReadonlySet<number>): RestoreStages {
  const preData: ArchiveEntry[] = [];
  const builds = new Map<number, TableBuild[]>();
  const lateIndexes: ArchiveEntry[] = [];
  const foreignKeys: ArchiveEntry[] = [];
  const rest: ArchiveEntry[] = [];
  const privileges: ArchiveEntry[] = [];
  const last: ArchiveEntry[] = [];
  for (const entry of archive.entries) {
    if (isLeftOut(entry)) continue;
    if (isPrivilege(entry)) privileges.push(entry);
    else if (isLast(entry)) last.push(entry);
    else if (entry.section === 'pre-data') preData.push(entry);
    else if (entry.type === 'FK CONSTRAINT') foreignKeys.push(entry);
    else if (entry.type === 'INDEX ATTACH') lateIndexes.push(entry);
    else if (entry.type === 'INDEX' || entry.type === 'CONSTRAINT') {
      const table = owningTable(entry, owners);
      // A materialized view may itself stand behind the data, when it groups by a key.
      if (table === null || table.kind === 'm') rest.push(entry);
      else if (!copied.has(table.oid)) lateIndexes.push(entry);
      else {
        const list = builds.get(table.oid) ?? [];
        list.push({ entry, table, exclusive: entry.type === 'CONSTRAINT' || entry.statements.length > 1 });
        builds.set(table.oid, list);
      }
    } else rest.push(entry);
  }
  return { preData, builds, lateIndexes, foreignKeys, rest, privileges, last };
}

/** Refusals that fail the job. */
export function harmful(problems: readonly RestoreProblem[]): RestoreProblem[] {
  return problems.filter((problem) => !problem.harmless);
}
