import { PgsluiceError } from '../errors.ts';
import type { ArchiveEntry } from '../postgres/archive.ts';
import { qualified } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import { buildEntry } from './build-entry.ts';
import { readRelationOwners } from './catalogue.ts';
import type { SourceTable } from './catalogue.ts';
import type { CloneContext } from './context.ts';
import { ExistingIndexes } from './existing.ts';
import { refusedError } from './outcome.ts';
import { planTasks } from './plan.ts';
import { harmful } from './post-data.ts';
import { CopyProgress } from './progress.ts';
import { copyStaged } from './staged-copy.ts';
import { planStaged } from './staged-plan.ts';
import type { StageSessions } from './staged-tables.ts';
import type { CopiedTable, LiveCopyContext } from './staged-types.ts';

const THERE_ALREADY: ReadonlySet<string> = new Set([
  SQLSTATE.duplicateObject,
  SQLSTATE.duplicateTable,
  SQLSTATE.duplicateFunction,
]);

/** Entries one by one, each whole or not at all; one that an interrupted run has made is passed over. */
async function restoreOnce(target: Session, entries: readonly ArchiveEntry[]): Promise<void> {
  for (const entry of entries) {
    try {
      await target.run([...entry.settings, ...entry.statements].join('\n'));
    } catch (error) {
      if (target.lost || !THERE_ALREADY.has(sqlStateOf(error) ?? '')) throw error;
    }
  }
}

/**
 * Brings one new table of the source to the target: entries, rows and record in one transaction, so that a table without a record
 * does not exist; then indexes, and its place in a partition tree last, since a parent would give it indexes of its own.
 * @throws PgsluiceError what the target or the source refuses.
 */
export async function addNewTable(
  context: CloneContext,
  live: LiveCopyContext,
  { sources, targets }: StageSessions,
  entries: readonly ArchiveEntry[],
  table: SourceTable,
): Promise<CopiedTable> {
  const name = qualified(table.schema, table.name);
  if (table.via !== null) {
    throw new PgsluiceError({
      code: 'TABLE_NOT_CARRIED',
      message: `The new table ${name} is a partition whose rows the target has to route by ${qualified(table.via.schema, table.via.name)} anew; such a table is not carried while the source is followed.`,
      hint: `Drop ${name} on the source, or cancel the job and start it again.`,
    });
  }
  const owners = await sources.with((source) => readRelationOwners(source, context.sourceVersion.major));
  const plan = planStaged({ entries }, owners, new Set([table.oid]), context.targetVersion.major);
  const making = plan.preData.filter((entry) => entry.type !== 'TABLE ATTACH');
  const { copied, existing } = await targets.with(async (target) => ({
    copied: await live.readCopied(target),
    existing: await ExistingIndexes.read(target),
  }));
  const record =
    copied.find((other) => other.oid === table.oid) ??
    (await copyNew(
      context,
      live,
      { sources, targets },
      table,
      making.flatMap((entry) => [...entry.settings, ...entry.statements]),
    ));
  for (const { entry } of plan.builds.get(table.oid) ?? []) {
    if (existing.has(entry)) continue;
    const problems = harmful(await buildEntry(context, targets, entry, table));
    if (problems.length > 0) throw refusedError(problems);
  }
  await targets.with(async (target) => {
    const [place] = await target.query<{ attached: boolean }>(
      'SELECT c.relispartition AS attached FROM pg_class c WHERE c.oid = to_regclass($1)',
      [name],
    );
    if (place?.attached === false) {
      await restoreOnce(
        target,
        plan.preData.filter((entry) => entry.type === 'TABLE ATTACH'),
      );
    }
    await restoreOnce(target, plan.lateIndexes);
    await restoreOnce(target, plan.rest);
    await target.run(`ANALYZE ${name}`);
  });
  return record;
}

async function copyNew(
  context: CloneContext,
  live: LiveCopyContext,
  { sources, targets }: Pick<StageSessions, 'sources' | 'targets'>,
  table: SourceTable,
  making: readonly string[],
): Promise<CopiedTable> {
  // Totals are those of the whole job, which are told by whoever follows the source.
  const progress = new CopyProgress((event) => {
    if (event.type !== 'metric') context.emit(event);
  });
  const tasks = planTasks({
    tables: [table],
    tableJobs: 1,
    splitAbove: null,
    sourceMajor: context.sourceVersion.major,
  });
  for (const task of tasks) progress.add(table, task.format, 1);
  const done: CopiedTable[] = [];
  try {
    const [failed] = await copyStaged(
      context,
      {
        sources,
        targets,
        progress,
        record: (identity, snapshot, moved) => live.recordTable(identity, snapshot, moved),
        targetColumns: new Map(),
        resumed: true,
        making: making.join('\n'),
        jobs: 1,
        onTableDone: (_, copied) => done.push(copied),
      },
      tasks,
    );
    if (failed !== undefined) throw new PgsluiceError(failed.error);
  } finally {
    progress.finish();
  }
  const [copied] = done;
  if (copied === undefined) throw new Error('a copy that did not fail is done');
  return copied;
}
