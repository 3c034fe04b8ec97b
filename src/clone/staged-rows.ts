import type { RestoreProblem } from '../contract/report.ts';
import type { Archive } from '../postgres/archive.ts';
import { analyzeTasks, listPartitionLeaves } from './analyze.ts';
import { buildEntry, tellRefusals } from './build-entry.ts';
import { BuildQueue } from './build-queue.ts';
import type { BuildTask } from './build-queue.ts';
import type { RelationOwners, SourceTable } from './catalogue.ts';
import type { CloneContext } from './context.ts';
import { log } from './context.ts';
import type { FailedTable } from './copy-data.ts';
import { ExistingIndexes, readAnalyzed } from './existing.ts';
import { chooseFormat } from './format.ts';
import { endLeftoverSessions } from './leftover-sessions.ts';
import type { PhaseClock } from './phase-clock.ts';
import { describeTasks, planTasks } from './plan.ts';
import { CopyProgress } from './progress.ts';
import { copyStaged } from './staged-copy.ts';
import { planStaged } from './staged-plan.ts';
import type { StagedPlan } from './staged-plan.ts';
import { copyLargeObjectsOnce, listTablesNow, names, splitByArchive } from './staged-tables.ts';
import type { StageSessions } from './staged-tables.ts';
import type { CopiedTable, LiveCopyContext } from './staged-types.ts';
import { watchStalls } from './stall-watch.ts';
import { readTargetColumns } from './table-snapshot.ts';

export interface RowsInput {
  readonly archive: Archive;
  readonly owners: RelationOwners;
  /** An earlier run, or attempt, may have brought rows to the target. */
  readonly resumed: boolean;
  readonly clock: PhaseClock;
  /** Called when the first index may be built; the argument tells the end of that phase. */
  onIndexes(done: (detail: string) => void): void;
}

export interface RowsOutcome {
  /** Every table with a record, those of earlier runs included. */
  readonly copied: readonly CopiedTable[];
  readonly failed: readonly FailedTable[];
  /** Refused indexes and constraints. */
  readonly problems: readonly RestoreProblem[];
  /** Indexes and constraints of these tables that stand. */
  readonly indexes: number;
  readonly largeObjects: number;
}

/** What the target has of the job's tables. */
interface Standing {
  readonly copied: readonly CopiedTable[];
  readonly existing: ExistingIndexes;
  readonly analyzed: ReadonlySet<string>;
  readonly columns: ReadonlyMap<string, ReadonlySet<string>>;
}

/** Brings every table without a record to the target and builds the indexes of each as soon as it is in. */
export async function copyRows(
  context: CloneContext,
  live: LiveCopyContext,
  stage: StageSessions,
  input: RowsInput,
): Promise<RowsOutcome> {
  const all = await stage.sources.with((source) => listTablesNow(context, source));
  const leaves = await stage.sources.with(listPartitionLeaves);
  const { known, unknown } = splitByArchive(all, input.archive);
  if (unknown.length > 0) {
    log(context, 'warn', `Made on the source after its schema had been read, and not copied: ${names(unknown)}.`);
  }
  const standing = await stage.targets.with((target) => lookAt(context, live, target, known, input.resumed));
  const records = new Map(standing.copied.map((table) => [table.oid, table]));
  const missing = known.filter((table) => !records.has(table.oid));
  const followed = missing.filter((table) => table.extensionCondition === null);
  if (followed.length > 0) await live.publish(followed);

  const complete = new Set(known.filter((table) => table.via === null).map((table) => table.oid));
  const plan = planStaged(input.archive, input.owners, complete, context.targetVersion.major);
  const progress = new CopyProgress((event) => context.emit(event));
  const unwatch = watchStalls(progress, stage.sourceControl, stage.targetControl);
  const building = new Building(context, stage, plan, standing, leaves);
  try {
    const tasks = planTasks({
      tables: missing,
      // A table is copied whole: pieces would have to share a snapshot, and lose FREEZE.
      tableJobs: 1,
      splitAbove: null,
      sourceMajor: context.sourceVersion.major,
    });
    for (const table of known) {
      const record = records.get(table.oid);
      if (record === undefined) progress.add(table, chooseFormat(table.columns), 1);
      else progress.addCopied(table, chooseFormat(table.columns), record.rows, record.bytes);
    }
    if (records.size > 0) log(context, 'info', `${records.size} tables are copied already; ${tasks.length} are left.`);
    if (tasks.length > 0) log(context, 'info', describeTasks(tasks.map((task) => [task])));
    for (const table of known) if (records.has(table.oid)) building.add(table, true);

    const fresh: CopiedTable[] = [];
    const largeObjects = copyLargeObjectsOnce(context, stage, input.resumed);
    // Awaited after the tables; its failure until then is no unhandled rejection.
    largeObjects.catch(() => undefined);
    const copying = input.clock.run('copy', () =>
      copyStaged(
        context,
        {
          sources: stage.sources,
          targets: stage.targets,
          progress,
          record: (table, snapshot, moved) => live.recordTable(table, snapshot, moved),
          targetColumns: standing.columns,
          resumed: input.resumed,
          making: null,
          jobs: context.options.tableJobs,
          onTableDone: (table, copied) => {
            fresh.push(copied);
            building.add(table, false);
          },
        },
        tasks,
      ),
    );
    input.onIndexes(input.clock.start('indexes'));
    const failed = await copying;
    await building.idle();
    return {
      copied: [...standing.copied, ...fresh],
      failed,
      problems: building.problems,
      indexes: building.standing,
      largeObjects: await largeObjects,
    };
  } finally {
    unwatch();
    progress.finish();
  }
}

async function lookAt(
  context: CloneContext,
  live: LiveCopyContext,
  target: Parameters<LiveCopyContext['readCopied']>[0],
  tables: readonly SourceTable[],
  resumed: boolean,
): Promise<Standing> {
  if (resumed) {
    const roots = tables.flatMap(({ via }) => (via === null ? [] : [via]));
    // Only then can no more records appear.
    await endLeftoverSessions(context, target, [...tables, ...roots, { schema: 'pg_catalog', name: 'pg_largeobject' }]);
  }
  return {
    copied: await live.readCopied(target),
    existing: await ExistingIndexes.read(target),
    analyzed: resumed ? await readAnalyzed(target) : new Set(),
    columns: await readTargetColumns(target),
  };
}

/** What is done to each table once its rows are in. */
class Building {
  readonly problems: RestoreProblem[] = [];
  /** Indexes and constraints that were found or made. */
  standing = 0;
  readonly #context: CloneContext;
  readonly #stage: StageSessions;
  readonly #plan: StagedPlan;
  readonly #found: Standing;
  readonly #leaves: ReadonlySet<number>;
  readonly #queue: BuildQueue;

  constructor(
    context: CloneContext,
    stage: StageSessions,
    plan: StagedPlan,
    found: Standing,
    leaves: ReadonlySet<number>,
  ) {
    this.#context = context;
    this.#stage = stage;
    this.#plan = plan;
    this.#found = found;
    this.#leaves = leaves;
    this.#queue = new BuildQueue(context.options.indexJobs);
  }

  /** `earlier`: its rows were brought by an earlier run, which may have built some of it. */
  add(table: SourceTable, earlier: boolean): void {
    const builds = this.#plan.builds.get(table.oid) ?? [];
    const todo = builds.filter(({ entry }) => !this.#found.existing.has(entry));
    this.standing += builds.length - todo.length;
    const tasks = todo.map(({ entry, table: owner, exclusive }): BuildTask => ({
      locks: [owner.oid],
      exclusive,
      priority: table.sizeBytes,
      run: async () => {
        const problems = await buildEntry(this.#context, this.#stage.targets, entry, owner);
        tellRefusals(this.#context, problems);
        this.problems.push(...problems);
        if (problems.length === 0) this.standing += 1;
      },
    }));
    const known = earlier && this.#found.analyzed.has(JSON.stringify([table.schema, table.name]));
    this.#queue.add([...tasks, ...(known ? [] : analyzeTasks(this.#stage.targets, [table], this.#leaves))]);
  }

  /** @throws what a build threw: the loss of its session, or the cancellation. */
  idle(): Promise<void> {
    return this.#queue.idle();
  }
}
