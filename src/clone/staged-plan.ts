import type { Archive, ArchiveEntry } from '../postgres/archive.ts';
import type { RelationOwners } from './catalogue.ts';
import { planForeignKey } from './foreign-key.ts';
import type { PlannedForeignKey } from './foreign-key.ts';
import { planStages } from './post-data.ts';
import type { TableBuild } from './post-data.ts';

/** An archive in the order of a live job: before rows, with rows, before the cutover, in the cutover. */
export interface StagedPlan {
  readonly preData: readonly ArchiveEntry[];
  readonly builds: ReadonlyMap<number, readonly TableBuild[]>;
  readonly lateIndexes: readonly ArchiveEntry[];
  /** Statistics objects, views, comments: nothing of it fires. */
  readonly rest: readonly ArchiveEntry[];
  readonly foreignKeys: readonly PlannedForeignKey[];
  /** Triggers, rules, policies, publications, and what is said about them. */
  readonly firing: readonly ArchiveEntry[];
  readonly privileges: readonly ArchiveEntry[];
  readonly refreshes: readonly ArchiveEntry[];
  /** Event triggers: they would see everything that is made after them. */
  readonly last: readonly ArchiveEntry[];
}

/** What fires, refuses rows or shows them to others once it stands. */
const WAITING: ReadonlySet<string> = new Set([
  'TRIGGER',
  'RULE',
  'POLICY',
  'ROW SECURITY',
  'EVENT TRIGGER',
  'PUBLICATION',
  'PUBLICATION TABLE',
  'PUBLICATION TABLES IN SCHEMA',
  'SUBSCRIPTION',
  'SUBSCRIPTION TABLE',
  'FK CONSTRAINT',
]);

/** pg_dump breaks a circle of views by printing the last one of them as its rule. */
function isView(entry: ArchiveEntry): boolean {
  return entry.type === 'RULE' && (entry.statements[0] ?? '').startsWith('CREATE OR REPLACE VIEW ');
}

/** dumpIds of what waits for the cutover, and of whatever says something about it. */
function waiting(archive: Archive): ReadonlySet<number> {
  const ids = new Set<number>();
  for (const entry of archive.entries) {
    if (entry.section !== 'post-data') continue;
    const waits = (WAITING.has(entry.type) && !isView(entry)) || entry.dependencies.some((id) => ids.has(id));
    // 0 stands for entries without an identity of their own; no other depends on them.
    if (waits && entry.dumpId !== 0) ids.add(entry.dumpId);
  }
  return ids;
}

/** Sorts the archive into stages. Pure. `copied`: oids of the tables whose rows are complete once their own copy is. */
export function planStaged(
  archive: Archive,
  owners: RelationOwners,
  copied: ReadonlySet<number>,
  targetMajor: number,
): StagedPlan {
  const stages = planStages(archive, owners, copied);
  const late = waiting(archive);
  const waits = (entry: ArchiveEntry): boolean =>
    late.has(entry.dumpId) ||
    (WAITING.has(entry.type) && !isView(entry)) ||
    entry.dependencies.some((id) => late.has(id));
  return {
    preData: stages.preData,
    builds: stages.builds,
    lateIndexes: stages.lateIndexes,
    rest: stages.rest.filter((entry) => !waits(entry)),
    foreignKeys: stages.foreignKeys.map((entry) => planForeignKey(entry, owners, targetMajor)),
    firing: stages.rest.filter(waits),
    privileges: stages.privileges,
    refreshes: stages.last.filter((entry) => entry.type === 'MATERIALIZED VIEW DATA'),
    last: stages.last.filter((entry) => entry.type !== 'MATERIALIZED VIEW DATA'),
  };
}
