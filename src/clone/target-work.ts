import type { Report, RestoreProblem } from '../contract/report.ts';
import type { ArchiveEntry } from '../postgres/archive.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import { analyzeRoots } from './analyze.ts';
import { buildEntry, buildTogether, tellRefusals } from './build-entry.ts';
import { BuildQueue } from './build-queue.ts';
import type { BuildTask } from './build-queue.ts';
import type { RelationOwners } from './catalogue.ts';
import type { TargetContext } from './context.ts';
import type { FailedTable } from './copy-data.ts';
import type { PhaseClock } from './phase-clock.ts';
import { harmful } from './post-data.ts';
import type { RestoreStages, TableBuild } from './post-data.ts';
import { restoreSideBySide, planStretches } from './restore-lanes.ts';
import { RESTORE_SETTINGS, restoreEntries } from './restore.ts';
import type { SessionPool } from './session-pool.ts';

/** Up to this size of a table round trips and commits cost its indexes more than building them, bytes. */
const TOGETHER_BYTES = 1024 * 1024;
/** Of several such tables, built in one transaction: each is a lock until its end. */
const TOGETHER_ENTRIES = 40;

/** The catalogues that all of them write to allow no more to be gained. */
const MOST_LANES = 4;

/** Where rows and values come from. */
export interface FillSteps {
  /** Rows of all tables; a table whose rows are in gives its indexes to the queue. */
  readonly copy: (builds: BuildQueue) => Promise<readonly FailedTable[]>;
  readonly sequences: () => Promise<void>;
}

/** What is made on a target beside its rows, wherever they come from, and what of it was refused. Serves all runs of one copy. */
export class TargetWork {
  readonly problems: RestoreProblem[] = [];
  readonly moved: Report['moved'] = { tables: 0, rows: 0, bytes: 0, indexes: 0, sequences: 0, largeObjects: 0 };
  /** Measured seconds of all builds of a table, by its oid on the source. */
  readonly buildSeconds = new Map<number, number>();
  readonly #context: TargetContext;
  readonly #built = new Set<number>();

  constructor(context: TargetContext) {
    this.#context = context;
  }

  /** Refusals that fail the job. */
  get refused(): RestoreProblem[] {
    return harmful(this.problems);
  }

  note(found: readonly RestoreProblem[]): void {
    this.problems.push(...found);
    tellRefusals(this.#context, found);
  }

  async restore(session: Session, entries: readonly ArchiveEntry[]): Promise<void> {
    this.note(await restoreEntries(session, entries, this.#context.signal, () => undefined));
    this.moved.indexes += entries.filter((entry) => entry.type === 'INDEX' || entry.type === 'CONSTRAINT').length;
  }

  /** The definitions that stand before the data, over several connections where there are many and the target allows them. */
  async restoreDefinitions(session: Session, entries: readonly ArchiveEntry[]): Promise<void> {
    const context = this.#context;
    const lanes = Math.min(context.connections.target, context.options.indexJobs, MOST_LANES);
    const stretches = planStretches(entries, lanes);
    const others: Session[] = [];
    try {
      for (let lane = 1; lane < lanes && stretches.some(({ how }) => how === 'side by side'); lane += 1) {
        const other = await openSession(context.target, {
          signal: context.signal,
          side: 'target',
          purpose: 'schema',
          retryForMs: 30_000,
        });
        others.push(other);
        await other.run(RESTORE_SETTINGS);
      }
      this.note(await restoreSideBySide([session, ...others], stretches, context.signal));
    } finally {
      await Promise.all(others.map((other) => other.close()));
    }
  }

  /**
   * Those of a table's indexes and constraints that no earlier run has made. `priority`: how long all of them will take; where that is
   * not known, the table's size. All of a table have the same, so that they start together and share its pages in cache.
   */
  buildTasks(
    sessions: SessionPool,
    list: readonly TableBuild[],
    sizeBytes: number,
    priority: number = sizeBytes,
  ): BuildTask[] {
    const todo = list.filter(({ entry }) => !this.#built.has(entry.dumpId));
    if (sizeBytes <= TOGETHER_BYTES && todo.length > 1) return this.buildGroups(sessions, todo, priority);
    return todo.map(({ entry, table, exclusive }) => ({
      locks: [table.oid],
      exclusive,
      priority,
      run: async () => {
        const begun = performance.now();
        this.#done(entry, await buildEntry(this.#context, sessions, entry, table));
        this.#spend(table.oid, begun, 1);
      },
    }));
  }

  /** The same for small tables that came together: many in one task, all of a table in the same one. */
  buildGroups(sessions: SessionPool, list: readonly TableBuild[], priority = 0): BuildTask[] {
    const groups: TableBuild[][] = [];
    for (const build of list.filter(({ entry }) => !this.#built.has(entry.dumpId))) {
      const open = groups.at(-1);
      const same = open?.at(-1)?.table.oid === build.table.oid;
      if (open === undefined || (!same && open.length >= TOGETHER_ENTRIES)) groups.push([build]);
      else open.push(build);
    }
    return groups.map((group) => ({
      locks: [...new Set(group.map(({ table }) => table.oid))],
      exclusive: true,
      priority,
      run: async () => {
        const begun = performance.now();
        const problems = await buildTogether(this.#context, sessions, group);
        for (const { entry } of group) this.#done(entry, problems.get(entry) ?? []);
        for (const { table } of group) this.#spend(table.oid, begun, group.length);
      },
    }));
  }

  /** What a build took; of several in one transaction each has its share. */
  #spend(oid: number, begun: number, among: number): void {
    const seconds = (performance.now() - begun) / 1000 / among;
    this.buildSeconds.set(oid, (this.buildSeconds.get(oid) ?? 0) + seconds);
  }

  #done(entry: ArchiveEntry, problems: readonly RestoreProblem[]): void {
    this.#built.add(entry.dumpId);
    this.note(problems);
    if (problems.length === 0) this.moved.indexes += 1;
  }

  /** Foreign keys, then what fires or shows something, then privileges. `owners`: without them every key waits for every other. */
  async constraints(
    sessions: SessionPool,
    stages: RestoreStages,
    owners: Pick<RelationOwners, 'locksOfForeignKey'> | null,
  ): Promise<void> {
    if (this.#context.options.dataOnly) return;
    const queue = new BuildQueue(this.#context.options.indexJobs);
    queue.add(
      stages.foreignKeys.map((entry, at) => ({
        locks: owners?.locksOfForeignKey.get(entry.oid) ?? [0],
        exclusive: true,
        priority: -at,
        run: () =>
          buildEntry(this.#context, sessions, entry, { schema: entry.schema ?? '', name: entry.name }).then(
            (problems) => this.note(problems),
          ),
      })),
    );
    await queue.idle();
    await sessions.with(async (session) => {
      for (const stage of [stages.rest, stages.privileges, stages.last]) await this.restore(session, stage);
    });
  }

  /**
   * Everything after the schema, in its order. `copy` gives what may be built to the queue as its tables come in.
   * @returns the tables that failed; null when the target refused what matters.
   */
  async carryOut(
    sessions: SessionPool,
    clock: PhaseClock,
    stages: RestoreStages,
    owners: Pick<RelationOwners, 'locksOfForeignKey'> | null,
    steps: FillSteps,
  ): Promise<readonly FailedTable[] | null> {
    const { options } = this.#context;
    const builds = new BuildQueue(options.indexJobs);
    const copying = options.schemaOnly ? Promise.resolve([]) : clock.run('copy', () => steps.copy(builds));
    const indexes = clock.start('indexes');
    const failed = await copying;
    if (options.schemaOnly) for (const list of stages.builds.values()) builds.add(this.buildTasks(sessions, list, 0));
    await builds.idle();
    if (failed.length > 0) {
      indexes('stopped: tables failed');
      return failed;
    }
    if (!options.dataOnly) await sessions.with((session) => this.restore(session, stages.lateIndexes));
    indexes(`${this.moved.indexes} built`);
    if (this.refused.length > 0) return null;

    // Before the privileges are as on the source, which may leave the owner without a right to its own sequence.
    await clock.run('sequences', () => steps.sequences());
    await clock.run('constraints', () => this.constraints(sessions, stages, owners));
    if (this.refused.length > 0) return null;
    await clock.run('analyze', async () => {
      if (!options.schemaOnly) await analyzeRoots(sessions, options.indexJobs);
    });
    return [];
  }
}
