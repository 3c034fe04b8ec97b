import type { Report, RestoreProblem } from '../contract/report.ts';
import { PgsluiceError } from '../errors.ts';
import type { Archive, ArchiveEntry } from '../postgres/archive.ts';
import { isOwnObject } from '../postgres/own-objects.ts';
import { qualified } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { addNewTable } from './add-table.ts';
import { analyzeRoots } from './analyze.ts';
import { buildEntry, tellRefusals } from './build-entry.ts';
import { readRelationOwners } from './catalogue.ts';
import type { SourceTable } from './catalogue.ts';
import type { CloneOutcome } from './clone.ts';
import type { CloneContext } from './context.ts';
import { log } from './context.ts';
import { ExistingIndexes } from './existing.ts';
import { finishTarget, mergeProblems, refreshEach, rehearseFinish } from './finish.ts';
import { fitArchive } from './fit.ts';
import { LOCAL_RESTORE_SETTINGS, restoreGuarded } from './guarded.ts';
import { failedTablesError, refusedError } from './outcome.ts';
import { PhaseClock } from './phase-clock.ts';
import { harmful } from './post-data.ts';
import { entryName, restoreEntries } from './restore.ts';
import { readSequences, writeSequences } from './sequences.ts';
import type { SequenceValue } from './sequences.ts';
import { readStoredSchema, writeStoredSchema } from './staged-archive.ts';
import type { StoredSchema } from './staged-archive.ts';
import { planStaged } from './staged-plan.ts';
import type { StagedPlan } from './staged-plan.ts';
import { copyRows } from './staged-rows.ts';
import { endLeftoversOnSource } from './leftover-sessions.ts';
import { makeSchema, withTarget } from './staged-schema.ts';
import { listTablesNow, names, withStage, withTargets } from './staged-tables.ts';
import type { StageSessions } from './staged-tables.ts';
import type { CopiedTable, Finished, ForeignKeyName, LiveCopyContext, StagedClone } from './staged-types.ts';
import { listNotValid, validateForeignKeys } from './validate-keys.ts';

export type { CopiedTable, Finished, ForeignKeyName, LiveCopyContext, StagedClone } from './staged-types.ts';

/** The copying part of a live job; `live` says what its earlier runs have done. */
export function createStagedClone(context: CloneContext, live: LiveCopyContext): StagedClone {
  return new Staged(context, live);
}

class Staged implements StagedClone {
  readonly #context: CloneContext;
  readonly #live: LiveCopyContext;
  readonly #clock: PhaseClock;
  readonly #closing = new AbortController();
  readonly #moved: Report['moved'] = { tables: 0, rows: 0, bytes: 0, indexes: 0, sequences: 0, largeObjects: 0 };
  #problems: readonly RestoreProblem[] = [];
  #failedTables: CloneOutcome['failedTables'] = [];
  #error: PgsluiceError | null = null;
  #schema: StoredSchema | null = null;
  #planned: { readonly schema: StoredSchema; readonly plan: StagedPlan } | null = null;
  /** Nobody has tried to bring rows to the target. */
  #untouched = false;
  /** Tells the end of the phase in which indexes are built. */
  #indexesDone: ((detail: string) => void) | null = null;
  /** Views that stand filled, as schema and name. */
  readonly #filled = new Set<string>();
  #toldExtensionTables = false;

  constructor(context: CloneContext, live: LiveCopyContext) {
    const { job } = live;
    this.#context = {
      ...context,
      // By their names the next agent knows what this one left behind when it died.
      source: { ...context.source, job },
      target: { ...context.target, job },
      signal: AbortSignal.any([context.signal, this.#closing.signal]),
    };
    this.#live = live;
    this.#clock = new PhaseClock(this.#context);
  }

  get archive(): Archive {
    return this.#theSchema().archive;
  }

  async close(): Promise<void> {
    this.#closing.abort('This part of the job has been closed.');
  }

  async listTables(): Promise<SourceTable[]> {
    const tables = await this.#stage(({ sources }) => sources.with((source) => listTablesNow(this.#context, source)));
    const brought = tables.filter((table) => table.extensionCondition !== null);
    if (brought.length > 0 && !this.#toldExtensionTables) {
      const text = `Tables of extensions are copied once and not followed: ${names(brought)}.`;
      log(this.#context, 'warn', text);
    }
    this.#toldExtensionTables = true;
    return tables.filter((table) => table.extensionCondition === null);
  }

  async schema(): Promise<void> {
    await this.#clock.run('schema', async () => {
      await endLeftoversOnSource(this.#context);
      const { archive } = this.#live;
      if (archive === null) {
        this.#schema = await this.#fails(
          makeSchema(this.#context, this.#live, (found) => {
            this.#problems = found;
          }),
        );
        this.#untouched = true;
        return;
      }
      this.#schema = readStoredSchema(archive);
      this.#problems = this.#schema.problems;
      const copied = await withTarget(this.#context, 'schema', (target) => this.#live.readCopied(target));
      this.#countTables(copied);
    });
  }

  async copy(): Promise<{ readonly tables: readonly CopiedTable[]; readonly moved: Report['moved'] }> {
    const schema = this.#theSchema();
    this.#problems = this.#problems.filter((problem) => problem.harmless);
    const rows = await this.#stage((stage) =>
      copyRows(this.#context, this.#live, stage, {
        archive: schema.archive,
        owners: schema.owners,
        resumed: !this.#untouched,
        clock: this.#clock,
        onIndexes: (done) => {
          this.#indexesDone = done;
        },
      }),
    );
    this.#untouched = false;
    this.#countTables(rows.copied);
    Object.assign(this.#moved, { indexes: rows.indexes, largeObjects: rows.largeObjects });
    this.#note(rows.problems);
    this.#failedTables = rows.failed.map(({ table, error }) => ({ schema: table.schema, name: table.name, error }));
    const [first] = rows.failed;
    if (first !== undefined) {
      this.#endIndexes('stopped: tables failed');
      const drifted = rows.failed.find(({ error }) => error.code === 'SCHEMA_DRIFT');
      throw this.#failed(
        drifted === undefined ? failedTablesError(this.#failedTables, 'records') : new PgsluiceError(drifted.error),
      );
    }
    this.#refuse();
    return { tables: rows.copied, moved: this.#moved };
  }

  async buildRest(): Promise<void> {
    const plan = this.#plan();
    await this.#stage(async (stage) => {
      await this.#buildLateIndexes(stage, plan);
      await stage.targets.with((target) => this.#makeRest(target, plan));
      this.#endIndexes(`${this.#moved.indexes} built`);
      await stage.targets.with((target) => this.#fails(rehearseFinish(target, plan, this.#context.signal)));
      await this.#clock.run('analyze', () => analyzeRoots(stage.targets, this.#context.options.indexJobs));
    });
    const slow = plan.foreignKeys.filter((key) => key.checksNow);
    if (slow.length > 0) {
      const list = slow.map(({ entry }) => entryName(entry)).join(', ');
      log(
        this.#context,
        'warn',
        `Foreign keys of partitioned tables cannot be made NOT VALID before PostgreSQL 18; their rows are checked during the cutover: ${list}.`,
      );
    }
  }

  async addTable(
    entries: readonly ArchiveEntry[],
    table: { readonly schema: string; readonly name: string },
  ): Promise<CopiedTable> {
    const fitted = await fitArchive(this.#context, { entries });
    return this.#stage(async (stage) => {
      const tables = await stage.sources.with((source) => listTablesNow(this.#context, source));
      const found = tables.find((other) => other.schema === table.schema && other.name === table.name);
      if (found === undefined) {
        throw new PgsluiceError({
          code: 'SCHEMA_DRIFT',
          message: `The new table ${qualified(table.schema, table.name)} is gone from the source.`,
          hint: 'Nothing has to be done: the schema is compared again.',
          retryable: true,
        });
      }
      return addNewTable(this.#context, this.#live, stage, fitted.archive.entries, found);
    });
  }

  async replaceArchive(archive: Archive): Promise<void> {
    const schema = this.#theSchema();
    const fitted = await fitArchive(this.#context, archive);
    await this.#stage(async ({ sources, targets }) => {
      const owners = await sources.with((source) => readRelationOwners(source, this.#context.sourceVersion.major));
      const next: StoredSchema = { ...schema, ...fitted, owners };
      await targets.with((target) => this.#live.storeArchive(target, writeStoredSchema(next)));
      this.#schema = next;
    });
  }

  async refreshViews(within?: AbortSignal): Promise<void> {
    const { refreshes } = this.#plan();
    const signal = within === undefined ? this.#context.signal : AbortSignal.any([this.#context.signal, within]);
    if (refreshes.length === 0) return;
    const noun = refreshes.length === 1 ? 'view' : 'views';
    log(this.#context, 'info', `Filling ${refreshes.length} materialized ${noun} on the target.`);
    const refused = await withTargets({ ...this.#context, signal }, ({ targets }) =>
      targets.with((target) => refreshEach(target, refreshes, signal)),
    );
    for (const entry of refreshes) this.#filled.add(entryName(entry));
    for (const { entry, problem } of refused) {
      this.#filled.delete(entryName(entry));
      log(this.#context, 'warn', `A view cannot be filled before the cutover and is filled within it: ${problem}`);
    }
  }

  async readSequences(source: Session): Promise<SequenceValue[]> {
    const values = await readSequences(source, this.#context.options);
    return values.filter(({ schema, name }) => !isOwnObject({ type: 'SEQUENCE', schema, name }));
  }

  writeSequences(target: Session, values: readonly SequenceValue[]): Promise<void> {
    return writeSequences(target, values);
  }

  async finish(target: Session, sequences: readonly SequenceValue[]): Promise<Finished> {
    const plan = this.#plan();
    const refreshes = plan.refreshes.filter((entry) => !this.#filled.has(entryName(entry)));
    const finished = await finishTarget(target, plan, sequences, refreshes, this.#context.signal);
    this.#moved.sequences = sequences.length;
    this.#note(finished.problems);
    return finished;
  }

  async listUnvalidated(): Promise<ForeignKeyName[]> {
    const keys = this.#plan().foreignKeys.flatMap(({ later }) => (later === null ? [] : [later]));
    return withTarget(this.#context, 'constraints', (target) => listNotValid(target, keys));
  }

  async validateConstraints(list: readonly ForeignKeyName[]): Promise<void> {
    if (list.length === 0) return;
    await this.#clock.run('constraints', () =>
      withTargets(this.#context, ({ targets }) => validateForeignKeys(this.#context, targets, list)),
    );
  }

  outcome(): CloneOutcome {
    return {
      ok: this.#error === null,
      error: this.#error,
      failedTables: this.#failedTables,
      restoreProblems: this.#problems,
      phases: this.#clock.timings,
      moved: this.#moved,
      targetExtensions: this.#schema?.targetExtensions ?? [],
      todo: this.#schema?.todo ?? [],
    };
  }

  /** One after the other: few tables have any, and those of one tree build on each other. */
  async #buildLateIndexes({ targets }: StageSessions, plan: StagedPlan): Promise<void> {
    const existing = await targets.with((target) => ExistingIndexes.read(target));
    const made = plan.lateIndexes.filter((entry) => entry.type !== 'INDEX ATTACH');
    for (const entry of made) {
      if (existing.has(entry)) continue;
      const owner =
        this.#theSchema().owners.tableOfIndex.get(entry.oid) ??
        this.#theSchema().owners.tableOfConstraint.get(entry.oid);
      this.#note(
        await buildEntry(this.#context, targets, entry, {
          schema: entry.schema ?? '',
          name: owner?.name ?? entry.name,
        }),
      );
      this.#moved.indexes += 1;
    }
    const attachments = plan.lateIndexes.filter((entry) => entry.type === 'INDEX ATTACH');
    // Attaching twice is once.
    await targets.with(async (target) => {
      const found = await restoreEntries(target, attachments, this.#context.signal, () => undefined);
      tellRefusals(this.#context, found);
      this.#note(found);
    });
    this.#refuse();
  }

  /** In one transaction with the mark that it is done, since views and statistics objects cannot be made twice. */
  async #makeRest(target: Session, plan: StagedPlan): Promise<void> {
    const schema = this.#theSchema();
    if (schema.restBuilt) return;
    await target.run(`BEGIN; ${LOCAL_RESTORE_SETTINGS}`);
    try {
      const { problems } = await restoreGuarded(target, plan.rest, this.#context.signal);
      tellRefusals(this.#context, problems);
      this.#note(problems);
      this.#refuse();
      const next: StoredSchema = { ...schema, problems: this.#problems, restBuilt: true };
      await this.#live.storeArchive(target, writeStoredSchema(next));
      await target.run('COMMIT');
      this.#schema = next;
    } catch (error) {
      if (!target.lost) await target.run('ROLLBACK');
      throw error;
    }
  }

  #stage<T>(work: (sessions: StageSessions) => Promise<T>): Promise<T> {
    return withStage(this.#context, work);
  }

  /** Made once an archive: the cutover has no time to lose. */
  #plan(): StagedPlan {
    const schema = this.#theSchema();
    if (this.#planned?.schema !== schema) {
      const plan = planStaged(schema.archive, schema.owners, new Set(), this.#context.targetVersion.major);
      this.#planned = { schema, plan };
    }
    return this.#planned.plan;
  }

  #countTables(copied: readonly CopiedTable[]): void {
    const sum = (of: (table: CopiedTable) => number): number => copied.reduce((total, table) => total + of(table), 0);
    Object.assign(this.#moved, {
      tables: copied.length,
      rows: sum((table) => table.rows),
      bytes: sum((table) => table.bytes),
    });
  }

  #note(found: readonly RestoreProblem[]): void {
    this.#problems = mergeProblems(this.#problems, found);
  }

  #refuse(): void {
    const found = harmful(this.#problems);
    if (found.length > 0) throw this.#failed(refusedError(found));
  }

  #endIndexes(detail: string): void {
    this.#indexesDone?.(detail);
    this.#indexesDone = null;
  }

  async #fails<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (error instanceof PgsluiceError) this.#error = error;
      throw error;
    }
  }

  #failed(error: PgsluiceError): PgsluiceError {
    this.#error = error;
    return error;
  }

  #theSchema(): StoredSchema {
    if (this.#schema === null) throw new Error('schema() comes first');
    return this.#schema;
  }
}
