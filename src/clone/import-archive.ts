import type { Manifest } from '../contract/manifest.ts';
import type { PgsluiceError } from '../errors.ts';
import { printArchive } from '../postgres/archive.ts';
import type { Archive, ArchiveEntry } from '../postgres/archive.ts';
import type { Toc } from '../postgres/archive-toc.ts';
import { readOffered } from '../postgres/extensions.ts';
import type { ExtensionPlan } from '../postgres/extensions.ts';
import { isPredefinedRole } from '../postgres/role-facts.ts';
import type { RoleFacts } from '../postgres/role-facts.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import { analyzeTasks } from './analyze.ts';
import type { BuildQueue } from './build-queue.ts';
import type { RelationOwners, SourceTable } from './catalogue.ts';
import type { CloneOutcome, CloneRun } from './clone.ts';
import type { TargetContext } from './context.ts';
import { log } from './context.ts';
import type { FailedTable } from './copy-data.ts';
import { chooseCopyMode } from './copy-mode.ts';
import { pinVersions, planOnTarget, updateExtensions } from './extensions.ts';
import { fitArchive, makeMissingSchemas, tellLeft } from './fit.ts';
import { loadData } from './import-archive-data.ts';
import type { LoadTask } from './import-archive-data.ts';
import {
  archiveEncoding,
  archiveOwners,
  archiveSequences,
  archiveTables,
  chooseEntries,
  isLargeObject,
} from './import-archive-entries.ts';
import type { ArchiveTable } from './import-archive-entries.ts';
import { archiveExtensions, asInstalled } from './import-archive-extensions.ts';
import type { ArchivePlace } from './import-archive-kind.ts';
import { loadLargeObjects } from './import-archive-large-objects.ts';
import type { LoadedLargeObjects } from './import-archive-large-objects.ts';
import { readTargetTables, tableKey } from './import-archive-target.ts';
import type { TargetTable } from './import-archive-target.ts';
import { carriesLargeObjects } from './large-objects.ts';
import { failedTablesError, refusedError } from './outcome.ts';
import { PhaseClock } from './phase-clock.ts';
import { planStages } from './post-data.ts';
import type { RestoreStages } from './post-data.ts';
import { CopyProgress } from './progress.ts';
import { dropTargetObjects, emptyTables, tellDropped } from './replace.ts';
import { RESTORE_SETTINGS } from './restore.ts';
import { createRoles, rolesNamed } from './roles.ts';
import { writeSequences } from './sequences.ts';
import type { SequenceValue } from './sequences.ts';
import { SessionPool, buildSettings, openControl } from './session-pool.ts';
import { watchStalls } from './stall-watch.ts';
import { TargetWork } from './target-work.ts';

/** What the data of one table measured when the archive was read through. */
export interface MeasuredData {
  readonly rows: number;
  /** Of COPY text. */
  readonly bytes: number;
}

/** An archive that was found whole. */
export interface CheckedArchive {
  readonly place: ArchivePlace;
  readonly toc: Toc;
  /** null: it was not written by pgsluice. */
  readonly manifest: Manifest | null;
  /** By dumpId; empty where a manifest says it. */
  readonly measured: ReadonlyMap<number, MeasuredData>;
  /** Of the files, in bytes. */
  readonly bytes: number;
}

export interface ImportContext extends TargetContext {
  readonly archive: CheckedArchive;
}

/** A table of the archive after the import. */
export interface LoadedTable {
  readonly schema: string;
  readonly name: string;
  /** As the target counted them while it stored them. */
  readonly rows: number;
  /** Its rows went through a partitioned table, which may have put them elsewhere. */
  readonly routed: boolean;
  /** The target held the table already, perhaps with other rows. */
  readonly existed: boolean;
}

export interface ImportRun extends CloneRun {
  /** Tables whose rows are stored. */
  readonly loaded: readonly LoadedTable[];
  readonly largeObjects: LoadedLargeObjects;
}

/** Smallest weight of a table in bytes: what it costs in round trips. */
const SMALLEST_WEIGHT = 8192;

export function createImport(context: ImportContext): ImportRun {
  return new Import(context);
}

/** Fills a target from an archive, in the phases of a clone. May be run again after a failure: what is done stays done. */
class Import implements ImportRun {
  readonly snapshot = null;
  readonly #context: ImportContext;
  readonly #clock: PhaseClock;
  readonly #work: TargetWork;
  readonly #progress: CopyProgress;
  readonly #todo: string[] = [];
  readonly #loaded = new Map<number, LoadedTable>();
  readonly #chosen: ReadonlySet<number>;
  readonly #tables: readonly ArchiveTable[];
  readonly #encoding: string;
  #fitted: Archive | null = null;
  #left: readonly ArchiveEntry[] = [];
  #extensions: readonly ExtensionPlan[] = [];
  #ownExtensions: readonly string[] = [];
  #sequences: readonly SequenceValue[] | null = null;
  #targetTables: ReadonlyMap<string, TargetTable> = new Map();
  #schemaDone = false;
  #largeObjects: LoadedLargeObjects | null = null;
  #copyRuns = 0;
  /** Rows of a table may be stored although it counts as failed: only a target that is emptied first is certain. */
  #unsure = false;

  constructor(context: ImportContext) {
    this.#context = context;
    this.#clock = new PhaseClock(context);
    this.#work = new TargetWork(context);
    this.#progress = new CopyProgress((event) => context.emit(event));
    const { toc } = context.archive;
    this.#chosen = chooseEntries(toc, context.options);
    this.#tables = context.options.schemaOnly ? [] : archiveTables(toc, this.#chosen);
    this.#encoding = archiveEncoding(toc);
  }

  get sourceArchive(): Archive | null {
    return this.#fitted === null ? null : { entries: [...this.#fitted.entries, ...this.#left] };
  }

  get sequences(): readonly SequenceValue[] | null {
    return this.#sequences;
  }

  get loaded(): readonly LoadedTable[] {
    return [...this.#loaded.values()];
  }

  get largeObjects(): LoadedLargeObjects {
    return this.#largeObjects ?? { objects: 0, bytes: 0 };
  }

  get canRetry(): boolean {
    return this.#schemaDone && !this.#unsure && this.#work.refused.length === 0;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async run(): Promise<CloneOutcome> {
    const context = this.#context;
    const { options } = context;
    const { stages, owners } = await this.#clock.run('schema', () => this.#schema());
    if (this.#work.refused.length > 0) return this.#refused();

    const control = await openControl(context);
    const sessions = new SessionPool(context, {
      side: 'target',
      server: context.target,
      connections: context.connections.target - (control === null ? 0 : 1),
      settings: `${RESTORE_SETTINGS}; ${await buildSettings(control, options.indexJobs)}`,
    });
    const unwatch = watchStalls(this.#progress, null, control);
    try {
      const failed = await this.#work.carryOut(sessions, this.#clock, stages, owners, {
        copy: (builds) => this.#load(sessions, builds, stages, control),
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

  /** The archive's definitions, and as this target takes them. */
  async #definitions(): Promise<{ printed: readonly ArchiveEntry[]; fitted: readonly ArchiveEntry[] }> {
    const context = this.#context;
    const { options, archive } = context;
    const input = {
      tools: context.tools,
      path: archive.place.path,
      encoding: this.#encoding,
      noOwner: options.noOwner,
      noAcl: options.noAcl,
      workDir: context.workDir,
      signal: context.signal,
    };
    const objects = options.dataOnly ? [] : (await printArchive(input)).entries;
    const wanted = objects.filter((entry) => this.#chosen.has(entry.dumpId) && !isLargeObject(entry));
    const fitted = await fitArchive(context, { entries: wanted });
    if (this.#fitted === null) this.#todo.push(...tellLeft(context, fitted.left));
    this.#fitted = fitted.archive;
    this.#left = fitted.left;
    this.#ownExtensions = fitted.targetExtensions;
    // A dump of the target for the comparison leaves them out as well.
    const about = archive.toc.entries.filter((entry) => isLargeObject(entry) && entry.type !== 'BLOBS');
    const only = carriesLargeObjects(options) ? about.map(({ dumpId }) => dumpId) : [];
    const large = only.length === 0 ? [] : (await printArchive({ ...input, only })).entries;
    const fittedLarge = large.length === 0 ? [] : (await fitArchive(context, { entries: large })).archive.entries;
    return { printed: [...wanted, ...large], fitted: [...fitted.archive.entries, ...fittedLarge] };
  }

  async #schema(): Promise<{ stages: RestoreStages; owners: RelationOwners }> {
    const context = this.#context;
    const { printed, fitted } = await this.#definitions();
    const target = await openSession(context.target, {
      signal: context.signal,
      side: 'target',
      purpose: 'schema',
      retryForMs: 30_000,
    });
    try {
      await target.run(RESTORE_SETTINGS);
      // Rows routed through a root arrive in any of its partitions: their indexes are built when all of them are in.
      const copied = new Set(this.#tables.filter(({ routed }) => !routed).map(({ entry }) => entry.oid));
      const plan = (): { stages: RestoreStages; owners: RelationOwners } => {
        const owners = this.#owners(fitted);
        return { stages: planStages({ entries: fitted }, owners, copied), owners };
      };
      if (!this.#schemaDone) {
        await this.#prepare(target, printed);
        await makeMissingSchemas(target, fitted, context.options);
        this.#extensions = await this.#planExtensions(target);
        await this.#work.restore(target, pinVersions(plan().stages.preData, this.#extensions));
        this.#schemaDone = true;
      }
      this.#targetTables = await readTargetTables(target, context.targetVersion.major);
      return plan();
    } finally {
      await target.close();
    }
  }

  /** In the versions that the manifest tells; without one the target's own are as good as any. */
  async #planExtensions(target: Session): Promise<ExtensionPlan[]> {
    const { manifest, toc } = this.#context.archive;
    const extensions = archiveExtensions(toc, this.#chosen, manifest);
    const offered = await readOffered(
      target,
      extensions.map(({ name }) => name),
    );
    return planOnTarget(this.#context, target, asInstalled(extensions, offered));
  }

  #owners(entries: readonly ArchiveEntry[]): RelationOwners {
    const { toc } = this.#context.archive;
    const oids = new Map<string, number>();
    for (const { type, schema, name, oid } of toc.entries) {
      if (type === 'TABLE') oids.set(tableKey(schema ?? '', name), oid);
    }
    return archiveOwners(toc, entries, ({ schema, name, oid }) => {
      const root = this.#targetTables.get(tableKey(schema, name))?.root;
      return (root === undefined ? undefined : oids.get(root)) ?? oid;
    });
  }

  /** What stands in the target goes, and the roles that the archive names come. */
  async #prepare(target: Session, printed: readonly ArchiveEntry[]): Promise<void> {
    const context = this.#context;
    const { options } = context;
    await context.beforeFirstWrite();
    if (context.replaceTarget && options.dataOnly) {
      const standing = await readTargetTables(target, context.targetVersion.major);
      const tables = this.#tables.map(({ schema, name }) => ({
        schema,
        name,
        extensionCondition: standing.get(tableKey(schema, name))?.extensionCondition ?? null,
      }));
      await emptyTables(target, tables, carriesLargeObjects(options));
      log(context, 'warn', `Emptied ${this.#tables.length} table(s) on the target.`);
    } else if (context.replaceTarget) {
      tellDropped(context, await dropTargetObjects(target, options.replace));
    }
    if (options.roles !== 'create') return;
    const { manifest } = context.archive;
    const named = rolesNamed(printed, [], options);
    const made = await createRoles(target, {
      options,
      source: {
        roles: rolesOfArchive(manifest, named.all),
        verifiers: null,
      },
      named,
    });
    for (const statement of made.statements) log(context, 'info', `On the target: ${statement}`);
    this.#todo.push(...made.todo);
    if (manifest === null && made.statements.length > 0) {
      this.#todo.push(
        'The archive names roles and says nothing else of them: those that were made may not log in and are members of nothing. Give them what they had.',
      );
    }
  }

  async #load(
    sessions: SessionPool,
    builds: BuildQueue,
    stages: RestoreStages,
    control: Session | null,
  ): Promise<FailedTable[]> {
    const context = this.#context;
    const { options, archive } = context;
    const first = this.#copyRuns === 0;
    this.#copyRuns += 1;
    const tasks = this.#tables
      .filter(({ entry }) => !this.#loaded.has(entry.dumpId))
      .map((table): LoadTask => this.#task(table));
    for (const { task } of tasks) {
      if (first) this.#progress.add(task.table, 'text', 1);
      else this.#progress.reset(task.table.oid);
    }
    const positions = archive.place.kind === 'directory' || tasks.every(({ table }) => table.entry.offset !== null);
    const noun = tasks.length === 1 ? 'table' : 'tables';
    log(
      context,
      'info',
      positions
        ? `Loading ${tasks.length} ${noun} from the archive, largest first.`
        : `Loading ${tasks.length} ${noun} one after the other: the archive does not say where each begins.`,
    );
    const leaves = new Set(
      tasks
        .filter(({ table }) => this.#targetTables.get(tableKey(table.schema, table.name))?.isPartition)
        .map(({ table }) => table.entry.oid),
    );
    const largeObjects = this.#loadLargeObjects(sessions);
    // Awaited after the tables; its failure until then is no unhandled rejection.
    largeObjects.catch(() => undefined);
    const failed = await loadData(
      context,
      {
        path: archive.place.path,
        encoding: this.#encoding,
        sessions,
        progress: this.#progress,
        mode: await chooseCopyMode(context, control, first),
        jobs: options.tableJobs,
        positions,
        onTableDone: ({ table, task }, rows) => {
          const { schema, name, routed, made } = table;
          this.#loaded.set(table.entry.dumpId, { schema, name, rows, routed, existed: !made });
          const list = stages.builds.get(table.entry.oid) ?? [];
          builds.add([
            ...this.#work.buildTasks(sessions, list, task.weight),
            ...analyzeTasks(sessions, [{ ...task.table, sizeBytes: rows }], leaves),
          ]);
        },
      },
      tasks,
    );
    await largeObjects;
    const { tables, rows, bytes } = this.#progress.totals;
    Object.assign(this.#work.moved, { tables, rows, bytes });
    return failed;
  }

  #task(table: ArchiveTable): LoadTask {
    const { archive } = this.#context;
    const told = archive.manifest?.tables.find(({ schema, name }) => schema === table.schema && name === table.name);
    const measured = archive.measured.get(table.entry.dumpId);
    const sizeBytes = measured?.bytes ?? told?.bytes ?? 0;
    const description: SourceTable = {
      oid: table.entry.oid,
      schema: table.schema,
      name: table.name,
      columns: [],
      sizeBytes,
      pages: 0,
      estimatedRows: measured?.rows ?? told?.rows ?? null,
      extensionCondition: null,
      via: table.routed ? { oid: 0, schema: '', name: '' } : null,
    };
    const weight = Math.max(SMALLEST_WEIGHT, sizeBytes);
    return { table, task: { table: description, format: 'text', range: null, weight } };
  }

  async #loadLargeObjects(sessions: SessionPool): Promise<void> {
    const { options, archive } = this.#context;
    if (this.#largeObjects !== null || !carriesLargeObjects(options)) return;
    const ids = archive.toc.entries.filter(({ type, dumpId }) => type === 'BLOBS' && this.#chosen.has(dumpId));
    this.#largeObjects = await loadLargeObjects(
      this.#context,
      archive.place.path,
      ids.map(({ dumpId }) => dumpId),
      sessions,
    );
    this.#work.moved.largeObjects = this.#largeObjects.objects;
  }

  async #setSequences(sessions: SessionPool): Promise<void> {
    const { options, archive } = this.#context;
    if (options.schemaOnly) return;
    const values = archiveSequences(archive.toc, this.#chosen);
    await sessions.with((session) => writeSequences(session, values));
    this.#sequences = values;
    this.#work.moved.sequences = values.length;
    log(this.#context, 'info', `Set ${values.length} ${values.length === 1 ? 'sequence' : 'sequences'}.`);
  }

  #refused(): CloneOutcome {
    return this.#outcome(refusedError(this.#work.refused), []);
  }

  #failedTables(failed: readonly FailedTable[]): CloneOutcome {
    const tables = failed.map(({ table, error }) => ({ schema: table.schema, name: table.name, error }));
    this.#unsure = tables.some(({ error }) => error.code === 'COMMIT_UNKNOWN');
    return this.#outcome(failedTablesError(tables, this.#unsure ? 'nothing' : 'records'), tables);
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
    };
  }
}

/** Roles by these names as far as the archive knows them. Pure. */
export function rolesOfArchive(manifest: Manifest | null, named: ReadonlySet<string>): readonly RoleFacts[] {
  return manifest?.roles ?? [...named].filter((name) => !isPredefinedRole(name)).map(nameOnly);
}

/** A role of which an archive says nothing but its name. */
function nameOnly(name: string): RoleFacts {
  const attributes = {
    login: false,
    inherit: true,
    createdb: false,
    createrole: false,
    superuser: false,
    replication: false,
    bypassrls: false,
    connectionLimit: -1,
    validUntil: null,
  };
  return { name, attributes, memberOf: [], settings: [], databaseSettings: [] };
}
