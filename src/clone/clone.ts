import type { PhaseTiming, Report, RestoreProblem } from '../contract/report.ts';
import type { ErrorReport } from '../errors.ts';
import type { PgsluiceError } from '../errors.ts';
import type { Archive, ArchiveEntry } from '../postgres/archive.ts';
import { qualified } from '../postgres/quote.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import type { ExtensionPlan } from '../postgres/extensions.ts';
import type { SourceSnapshot } from '../postgres/snapshot.ts';
import { analyzeTasks, listPartitionLeaves } from './analyze.ts';
import type { BuildQueue } from './build-queue.ts';
import { readRelationOwners } from './catalogue.ts';
import type { RelationOwners, SourceTable } from './catalogue.ts';
import type { CloneContext } from './context.ts';
import { log } from './context.ts';
import { copyData } from './copy-data.ts';
import type { FailedTable } from './copy-data.ts';
import { Expectation } from './expectation.ts';
import type { Expected } from './expectation.ts';
import { chooseCopyMode } from './copy-mode.ts';
import { carriesLargeObjects, carryLargeObjects } from './large-objects.ts';
import { PhaseClock } from './phase-clock.ts';
import { failedTablesError, refusedError } from './outcome.ts';
import { describeTasks, planTasks } from './plan.ts';
import type { CopyTask } from './plan.ts';
import { planStages } from './post-data.ts';
import type { RestoreStages } from './post-data.ts';
import { CopyProgress } from './progress.ts';
import { dropTargetObjects, emptyTables, tellDropped } from './replace.ts';
import { RESTORE_SETTINGS } from './restore.ts';
import { emptyConfiguration, emptyStatement, pinVersions, planOnTarget, updateExtensions } from './extensions.ts';
import { fitArchive, makeMissingSchemas, tellLeft } from './fit.ts';
import { carryRoles } from './roles.ts';
import { readSequences, writeSequences } from './sequences.ts';
import type { SequenceValue } from './sequences.ts';
import { takeMoment } from './source-moment.ts';
import type { SourceMoment } from './source-moment.ts';
import { watchStalls } from './stall-watch.ts';
import { TargetWork } from './target-work.ts';
import { SessionPool, buildSettings, openControl } from './session-pool.ts';

export type { CloneContext } from './context.ts';

export interface CloneOutcome {
  readonly ok: boolean;
  readonly error: PgsluiceError | null;
  readonly failedTables: readonly { schema: string; name: string; error: ErrorReport }[];
  readonly restoreProblems: readonly RestoreProblem[];
  readonly phases: readonly PhaseTiming[];
  readonly moved: Report['moved'];
  /** Extensions that the target had before and the source does not have; they stay. */
  readonly targetExtensions: readonly string[];
  /** What a person still has to do, in plain sentences. */
  readonly todo: readonly string[];
  /** Only of a copy between two servers that ran in one go. */
  readonly expected?: Expected;
}

/** A clone under one snapshot, kept by its job so that failed tables can be tried again while the snapshot lives. */
export interface CloneRun {
  /**
   * Runs what is still to be done: at first everything, after a failure the failed tables and what follows them.
   * @throws PgsluiceError when the job was cancelled or a connection was lost for good.
   */
  run(): Promise<CloneOutcome>;
  readonly snapshot: SourceSnapshot | null;
  readonly sourceArchive: Archive | null;
  /** The values the target's sequences were set to, as read from the source; null before that. */
  readonly sequences: readonly SequenceValue[] | null;
  readonly canRetry: boolean;
  close(): Promise<void>;
}

/** A moment of the source that was taken before anybody knew whether it is needed. */
export interface EarlyMoment {
  /** The moment, which is the caller's to close from then on; null where there is none, or it has passed. @throws the cancellation. */
  take(): Promise<SourceMoment | null>;
}

export function createClone(context: CloneContext, early?: EarlyMoment): CloneRun {
  return new Clone(context, early ?? null);
}

/** Steps that are done once, whatever comes after them fails. */
interface Done {
  schema: boolean;
  readonly tables: Set<number>;
  largeObjects: boolean;
}

class Clone implements CloneRun {
  readonly #context: CloneContext;
  readonly #early: EarlyMoment | null;
  readonly #clock: PhaseClock;
  readonly #work: TargetWork;
  readonly #todo: string[] = [];
  readonly #done: Done = { schema: false, tables: new Set(), largeObjects: false };
  readonly #progress: CopyProgress;
  readonly #expectation: Expectation;
  #moment: SourceMoment | null = null;
  #owners: RelationOwners | null = null;
  #leaves: ReadonlySet<number> = new Set();
  #sequences: readonly SequenceValue[] | null = null;
  #fitted: Archive | null = null;
  #left: readonly ArchiveEntry[] = [];
  #ownExtensions: readonly string[] = [];
  #extensions: readonly ExtensionPlan[] = [];
  #copyRuns = 0;

  constructor(context: CloneContext, early: EarlyMoment | null) {
    this.#context = context;
    this.#early = early;
    this.#clock = new PhaseClock(context);
    this.#work = new TargetWork(context);
    this.#expectation = new Expectation(context);
    this.#progress = new CopyProgress((event) => {
      context.emit(event);
      this.#expectation.look(event);
    });
  }

  get snapshot(): SourceSnapshot | null {
    return this.#moment?.snapshot ?? null;
  }

  get sourceArchive(): Archive | null {
    return this.#fitted === null ? null : { entries: [...this.#fitted.entries, ...this.#left] };
  }

  get sequences(): readonly SequenceValue[] | null {
    return this.#sequences;
  }

  get canRetry(): boolean {
    return this.#done.schema && this.#moment?.snapshot.alive === true && this.#work.refused.length === 0;
  }

  async close(): Promise<void> {
    await this.#moment?.snapshot.close();
  }

  async run(): Promise<CloneOutcome> {
    const context = this.#context;
    const { options } = context;
    const stages = await this.#clock.run('schema', () => this.#schema());
    if (this.#work.refused.length > 0) return this.#refused();

    const moment = this.#theMoment();
    const control = await openControl(context);
    const sessions = new SessionPool(context, {
      side: 'target',
      server: context.target,
      // One connection of the target is the control session's, where there is more than one.
      connections: context.connections.target - (control === null ? 0 : 1),
      settings: `${RESTORE_SETTINGS}; ${await buildSettings(control, options.indexJobs)}`,
    });
    const unwatch = watchStalls(
      this.#progress,
      moment.snapshot.workers > 1 || context.connections.source > 1 ? moment.snapshot.holder : null,
      control,
    );
    try {
      const failed = await this.#work.carryOut(sessions, this.#clock, stages, this.#owners, {
        copy: (builds) => this.#copy(sessions, builds, stages, control),
        sequences: () => this.#setSequences(sessions),
      });
      if (failed === null) return this.#refused();
      if (failed.length > 0) return this.#failedTables(failed);
      if (this.#extensions.some((plan) => plan.update))
        this.#todo.push(...(await sessions.with((session) => updateExtensions(context, session, this.#extensions))));
      return this.#outcome(null, []);
    } finally {
      unwatch();
      this.#progress.finish();
      await sessions.close();
      await control?.close();
    }
  }

  /** Snapshot, dump, and pre-data on the target; only the plan of what follows when that was done by an earlier run. */
  async #schema(): Promise<RestoreStages> {
    const context = this.#context;
    this.#moment ??= (await this.#early?.take()) ?? (await takeMoment(context));
    const { snapshot, tables } = this.#moment;
    this.#owners ??= await readRelationOwners(snapshot.holder, context.sourceVersion.major);
    if (!this.#done.schema) this.#leaves = await listPartitionLeaves(snapshot.holder);
    // Rows routed through a root arrive in any of its partitions: their indexes are built when all of them are in.
    const copied = new Set(
      context.options.schemaOnly ? [] : tables.filter((table) => table.via === null).map((table) => table.oid),
    );
    if (this.#fitted === null && this.#moment.archive !== null) {
      const fitted = await fitArchive(context, this.#moment.archive);
      this.#fitted = fitted.archive;
      this.#left = fitted.left;
      this.#todo.push(...tellLeft(context, fitted.left));
      this.#ownExtensions = fitted.targetExtensions;
    }
    const archive = this.#fitted;
    const stages = planStages(archive ?? { entries: [] }, this.#owners, copied);
    if (this.#done.schema) return stages;

    const asked = this.#expectation.ask(snapshot.holder);
    // Awaited when the target answers; its failure until then is no unhandled rejection.
    asked.catch(() => undefined);
    const target = await openSession(context.target, {
      signal: context.signal,
      side: 'target',
      purpose: 'schema',
      retryForMs: 30_000,
    });
    try {
      const begun = performance.now();
      await target.run(RESTORE_SETTINGS);
      const targetMs = performance.now() - begun;
      const tableJobs = Math.min(context.options.tableJobs, snapshot.workers);
      const facts = { tables, stages, owners: this.#owners, leaves: this.#leaves, tableJobs };
      this.#expectation.say(facts, await asked, targetMs);
      await context.beforeFirstWrite();
      if (context.replaceTarget && context.options.dataOnly) {
        await emptyTables(target, tables, carriesLargeObjects(context.options));
        log(context, 'warn', `Emptied ${tables.length} table(s) on the target.`);
      } else if (context.replaceTarget) {
        tellDropped(context, await dropTargetObjects(target, context.options.replace));
      }
      if (archive !== null) {
        const roles = await carryRoles(context, snapshot.holder, target, this.#moment.archive?.entries ?? []);
        for (const statement of roles.statements) log(context, 'info', `On the target: ${statement}`);
        this.#todo.push(...roles.todo);
        if (context.replaceTarget) await emptyConfiguration(target, tables);
        await makeMissingSchemas(target, archive.entries, context.options);
        this.#extensions = await planOnTarget(context, target, this.#moment.extensions);
        await this.#work.restoreDefinitions(target, pinVersions(stages.preData, this.#extensions));
      }
    } finally {
      await target.close();
    }
    this.#done.schema = true;
    return stages;
  }

  async #copy(
    sessions: SessionPool,
    builds: BuildQueue,
    stages: RestoreStages,
    control: Session | null,
  ): Promise<FailedTable[]> {
    const context = this.#context;
    const { tables, snapshot } = this.#theMoment();
    const first = this.#copyRuns === 0;
    this.#copyRuns += 1;
    if (!first) await this.#emptyForRetry(sessions, tables);
    const todo = tables.filter((table) => !this.#done.tables.has(table.oid));
    const jobs = Math.min(context.options.tableJobs, snapshot.workers);
    const tasks = planTasks({
      tables: todo,
      // Pieces cannot empty their table; where that may be needed a table is copied whole.
      tableJobs: first && !context.options.dataOnly ? jobs : 1,
      splitAbove: context.options.splitAbove,
      sourceMajor: context.sourceVersion.major,
      ...this.#expectation.paths,
    });
    this.#announce(tasks, first);
    const buildSeconds = this.#expectation.builds;
    this.#expectation.copyBegins();
    const largeObjects = this.#copyLargeObjects(sessions);
    // Awaited after the tables; its failure until then is no unhandled rejection.
    largeObjects.catch(() => undefined);
    const failed = await copyData(
      context,
      {
        snapshot,
        sessions,
        progress: this.#progress,
        mode: await chooseCopyMode(context, control, first),
        jobs,
        onTableDone: (table) => {
          this.#done.tables.add(table.oid);
          const list = stages.builds.get(table.oid) ?? [];
          builds.add([
            ...this.#work.buildTasks(sessions, list, table.sizeBytes, buildSeconds.get(table.oid)),
            ...analyzeTasks(sessions, [table], this.#leaves),
          ]);
        },
        onTablesDone: (group) => {
          for (const { oid } of group) this.#done.tables.add(oid);
          const list = group.flatMap(({ oid }) => stages.builds.get(oid) ?? []);
          builds.add([...this.#work.buildGroups(sessions, list), ...analyzeTasks(sessions, group, this.#leaves)]);
        },
      },
      tasks,
    );
    await largeObjects;
    const totals = this.#progress.totals;
    Object.assign(this.#work.moved, { tables: totals.tables, rows: totals.rows, bytes: totals.bytes });
    return failed;
  }

  /**
   * What a failed run may have left in its failed tables: pieces of split ones, rows that were routed through a root, rows of a
   * COMMIT without an answer. Tables that their COPY empties by itself need nothing.
   */
  async #emptyForRetry(sessions: SessionPool, tables: readonly SourceTable[]): Promise<void> {
    const failed = tables.filter((table) => !this.#done.tables.has(table.oid));
    const roots = new Map(failed.flatMap(({ via }) => (via === null ? [] : [[via.oid, via] as const])));
    for (const table of tables) if (table.via !== null && roots.has(table.via.oid)) this.#done.tables.delete(table.oid);
    const statements = [...roots.values()].map((root) => `TRUNCATE ${qualified(root.schema, root.name)}`);
    if (this.#context.options.dataOnly) {
      statements.push(...failed.map(emptyStatement));
    }
    if (statements.length > 0) await sessions.with((session) => session.run(statements.join('; ')));
  }

  #announce(tasks: readonly CopyTask[], first: boolean): void {
    const pieces = new Map<number, CopyTask[]>();
    for (const task of tasks) pieces.set(task.table.oid, [...(pieces.get(task.table.oid) ?? []), task]);
    for (const [oid, list] of pieces) {
      const task = list[0];
      if (task === undefined) continue;
      if (first) this.#progress.add(task.table, task.format, list.length);
      else this.#progress.reset(oid);
    }
    log(this.#context, 'info', describeTasks([...pieces.values()]));
  }

  async #copyLargeObjects(sessions: SessionPool): Promise<void> {
    if (this.#done.largeObjects || !carriesLargeObjects(this.#context.options)) return;
    this.#work.moved.largeObjects = await carryLargeObjects(this.#context, this.#theMoment().snapshot, sessions);
    this.#done.largeObjects = true;
  }

  async #setSequences(sessions: SessionPool): Promise<void> {
    const { options } = this.#context;
    if (options.schemaOnly) return;
    const moment = this.#theMoment();
    const values = await readSequences(moment.snapshot.holder, options, moment.excluded);
    await sessions.with((session) => writeSequences(session, values));
    this.#sequences = values;
    this.#work.moved.sequences = values.length;
    log(this.#context, 'info', `Set ${values.length} ${values.length === 1 ? 'sequence' : 'sequences'}.`);
  }

  #theMoment(): SourceMoment {
    if (this.#moment === null) throw new Error('the schema phase takes the snapshot first');
    return this.#moment;
  }

  #refused(): CloneOutcome {
    return this.#outcome(refusedError(this.#work.refused), []);
  }

  #failedTables(failed: readonly FailedTable[]): CloneOutcome {
    const tables = failed.map(({ table, error }) => ({ schema: table.schema, name: table.name, error }));
    return this.#outcome(failedTablesError(tables, this.canRetry ? 'snapshot' : 'nothing'), tables);
  }

  #outcome(error: PgsluiceError | null, failedTables: CloneOutcome['failedTables']): CloneOutcome {
    return {
      ok: error === null,
      error,
      failedTables,
      restoreProblems: this.#work.problems,
      phases: this.#clock.timings,
      moved: this.#work.moved,
      targetExtensions: this.#ownExtensions,
      todo: this.#todo,
      ...(error === null
        ? this.#expectation.compared((oid) => this.#progress.of(oid).seconds, this.#work.buildSeconds)
        : {}),
    };
  }
}
