import type { Report, RestoreProblem } from '../contract/report.ts';
import type { ArchiveEntry } from '../postgres/archive.ts';
import type { Session } from '../postgres/session.ts';
import { buildEntry, tellRefusals } from './build-entry.ts';
import { BuildQueue } from './build-queue.ts';
import type { BuildTask } from './build-queue.ts';
import type { RelationOwners } from './catalogue.ts';
import type { TargetContext } from './context.ts';
import { harmful } from './post-data.ts';
import type { RestoreStages, TableBuild } from './post-data.ts';
import { restoreEntries } from './restore.ts';
import type { SessionPool } from './session-pool.ts';

/** What is made on a target beside its rows, wherever they come from, and what of it was refused. Serves all runs of one copy. */
export class TargetWork {
  readonly problems: RestoreProblem[] = [];
  readonly moved: Report['moved'] = { tables: 0, rows: 0, bytes: 0, indexes: 0, sequences: 0, largeObjects: 0 };
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

  /** Those of a table's indexes and constraints that no earlier run has made. */
  buildTasks(sessions: SessionPool, list: readonly TableBuild[], sizeBytes: number): BuildTask[] {
    return list
      .filter(({ entry }) => !this.#built.has(entry.dumpId))
      .map(({ entry, table, exclusive }) => ({
        locks: [table.oid],
        exclusive,
        priority: sizeBytes,
        run: async () => {
          const problems = await buildEntry(this.#context, sessions, entry, table);
          this.#built.add(entry.dumpId);
          this.note(problems);
          if (problems.length === 0) this.moved.indexes += 1;
        },
      }));
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
}
