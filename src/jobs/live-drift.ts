import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { fitArchive } from '../clone/fit.ts';
import { isLeftOut, RESTORE_SETTINGS } from '../clone/restore.ts';
import { SchemaDriftError } from '../live/apply-plan.ts';
import { bounded } from '../live/cutover-undo.ts';
import { diffArchives, planArchive } from '../live/drift-archive.ts';
import { type CarriedChange, type DriftPause, pauseHint } from '../live/drift-judge.ts';
import { readShape, type SourceShape } from '../live/drift-shape.ts';
import { carryColumns, type DriftFinding, DriftWatch, findGaps, fittedShape } from '../live/drift.ts';
import { recordedTables } from '../live/progress.ts';
import { addToPublication } from '../live/publication.ts';
import type { Lsn } from '../postgres/lsn.ts';
import { type Archive, type ArchiveEntry, dumpArchive } from '../postgres/archive.ts';
import { openSession, type Session } from '../postgres/session.ts';
import type { Side } from '../postgres/settings.ts';
import { NOTHING_EXCLUDED, readExcluded } from '../postgres/excluded.ts';
import { pruneArchive } from '../postgres/prune.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import { readArchivePrint } from './archive-print.ts';
import type { FollowLine } from './follow-line.ts';
import type { LiveDrift } from './live-drift-types.ts';
import { type LiveWork, type OpenCopy, stateOf } from './live-work.ts';

type Changed = Extract<DriftFinding, { kind: 'changed' }>;
type AddedTable = Extract<CarriedChange, { kind: 'add-table' }>;

const purpose = 'schema watch';
const thereAlready: ReadonlySet<string> = new Set([
  SQLSTATE.duplicateObject,
  SQLSTATE.duplicateTable,
  SQLSTATE.duplicateFunction,
  SQLSTATE.duplicateSchema,
]);
/** A look that finds changes again and again is not waited for before a fence. */
const mostLooks = 5;

/** Watches over the source's schema from where the target stands now. @throws PgsluiceError when a side is not reached. */
export async function openDrift(work: LiveWork, copy: OpenCopy, line: FollowLine): Promise<LiveDrift> {
  const { context, place } = work;
  const filter = context.options;
  const now = await onSide(work, 'source', (session) => readShape(session, filter));
  const before = await onSide(work, 'target', async (session) =>
    fittedShape(session, now, filter, await recordedTables(session, place.job)),
  );
  return new SchemaDrift(work, copy, line, before);
}

async function onSide<T>({ place }: LiveWork, side: Side, task: (session: Session) => Promise<T>): Promise<T> {
  const session = await openSession(place[side], {
    signal: place.signal,
    side,
    purpose: `${purpose} ${place.job}`,
    retryForMs: 5_000,
  });
  try {
    return await task(session);
  } finally {
    await session.close();
  }
}

function driftError(pause: DriftPause): PgsluiceError {
  return new PgsluiceError({ code: 'SCHEMA_DRIFT', message: pause.message, hint: pauseHint(pause) });
}

/** The answer to changes of the source's schema: carried over where that is allowed, else a pause with the exact statements. */
class SchemaDrift implements LiveDrift {
  readonly #run: LiveWork;
  /** The run's work within the time that the preparation of a cutover has; null when none is prepared. */
  #within: LiveWork | null = null;
  /** A preparation that may still be under way after its time: nothing else looks meanwhile. */
  #preparing: Promise<unknown> = Promise.resolve();
  readonly #copy: OpenCopy;
  readonly #line: FollowLine;
  readonly #watch: DriftWatch;
  #open: LiveDrift['open'] = null;
  /** What a person was told last; on resume it may bring things for the job to do. */
  #pause: DriftPause | null = null;
  /** Statements about the rest of the schema that a person was told of, and has resumed after. */
  #answered: string | null = null;
  /** Of the source's schema when the archive was dumped; null: it is not known how old the archive is. */
  #print: string | null = null;
  /** Position of the last refusal that nothing explained: a second one there is not tried again. */
  #unexplainedAt: Lsn | null = null;

  constructor(work: LiveWork, copy: OpenCopy, line: FollowLine, before: SourceShape) {
    this.#run = work;
    this.#copy = copy;
    this.#line = line;
    const { context, place } = work;
    this.#watch = new DriftWatch({
      source: place.source,
      filter: context.options,
      job: place.job,
      carry: context.options.carrySchemaChanges,
      before,
      signal: place.signal,
      log: place.log,
    });
  }

  get open(): LiveDrift['open'] {
    return this.#open;
  }

  get #work(): LiveWork {
    return this.#within ?? this.#run;
  }

  async look(): Promise<PgsluiceError | null> {
    await this.#preparing;
    const finding = await this.#watch.check('due');
    if (finding.kind === 'none') {
      this.#open = null;
      return null;
    }
    this.#tell(finding);
    return this.#line.follower.done < finding.seenAt ? null : await this.#act(finding);
  }

  async explain(error: PgsluiceError): Promise<'again' | PgsluiceError> {
    await this.#preparing;
    if (!(error instanceof SchemaDriftError)) {
      // A value that the target refuses may be one that the source allows since its schema changed.
      const finding = await this.#watch.check('now');
      if (finding.kind === 'none' || finding.plan.pause === null) return error;
      return this.#paused({ ...finding.plan.pause, message: `${error.message} ${finding.plan.pause.message}` });
    }
    const drift = await onSide(this.#work, 'source', (source) =>
      onSide(this.#work, 'target', (target) =>
        this.#watch.examine(
          { source, target },
          { relation: error.relation, gate: error.gate === null ? null : (error.gate.via ?? error.gate) },
        ),
      ),
    );
    if (drift.kind !== 'changed') {
      const { applied } = this.#line.follower;
      const again = drift.kind === 'unexplained' && this.#unexplainedAt !== applied;
      this.#unexplainedAt = applied;
      return again ? 'again' : error;
    }
    if (drift.plan.pause !== null) return this.#paused(drift.plan.pause);
    await this.#carry(drift.plan.carry, 'now');
    return 'again';
  }

  async resumed(): Promise<PgsluiceError | null> {
    await this.#preparing;
    const pause = this.#pause;
    this.#pause = null;
    if (pause !== null) this.#answered = keyOf(pause);
    const finding = await this.#watch.check('now');
    if (finding.kind === 'changed' && pause !== null) {
      const left = await this.#unmet(finding.shape, pause);
      if (left !== null) return this.#paused(left);
    }
    if (pause !== null) await this.#carry(pause.onResume, 'all');
    this.#line.follower.forgetShapes();
    this.#open = null;
    return null;
  }

  /** What the target still lacks of what a person was asked for; null for nothing. */
  async #unmet(shape: SourceShape, pause: DriftPause): Promise<DriftPause | null> {
    const { context, facts } = this.#work;
    const sameMajor = facts.source.version.major === facts.target.version.major;
    const gaps = await onSide(this.#work, 'target', (session) =>
      findGaps(session, shape, context.options, { sameMajor, known: this.#watch.before }),
    );
    // Tables that the job makes itself and columns that it carries are not asked of a person.
    const asked = new Set(pause.statements);
    const left = gaps.filter((gap) => gap.statements.some((statement) => asked.has(statement)));
    if (left.length === 0) return null;
    return {
      ...pause,
      message: `The target differs from the source: ${left.map(({ text }) => text).join('; ')}.`,
      statements: left.flatMap(({ statements }) => statements),
    };
  }

  async beforeFence(signal: AbortSignal): Promise<void> {
    await bounded(this.#preparing, signal);
    this.#within = { ...this.#run, place: { ...this.#run.place, signal } };
    // The watch's own session knows the run's signal only.
    const onAbort = (): void => void this.#watch.close();
    signal.addEventListener('abort', onAbort, { once: true });
    const preparing = this.#prepare().finally(() => {
      signal.removeEventListener('abort', onAbort);
      this.#within = null;
    });
    this.#preparing = preparing.catch(() => undefined);
    await bounded(preparing, signal);
  }

  async #prepare(): Promise<void> {
    const { place } = this.#work;
    for (let looks = 0; looks < mostLooks; looks += 1) {
      throwIfAborted(place.signal);
      const finding = await this.#watch.check('now');
      if (finding.kind === 'changed') {
        this.#tell(finding);
        await this.#line.follower.drainTo(finding.seenAt, place.signal);
        const pause = await this.#act(finding);
        if (pause !== null) throw pause;
      } else if ((await this.#readPrint()) !== this.#print) await this.#renewArchive();
      else return;
    }
    throw new PgsluiceError({
      code: 'SCHEMA_DRIFT',
      message: "The source's schema changes faster than the target can be fitted to it.",
      hint: 'Stop what alters tables on the source (a deployment, a job that makes partitions), then ask for the cutover again.',
      retryable: true,
    });
  }

  async underFence(): Promise<void> {
    const finding = await this.#watch.check('now');
    if (finding.kind === 'none' && (await this.#readPrint()) === this.#print) return;
    throw new PgsluiceError({
      code: 'SCHEMA_CHANGED_MEANWHILE',
      message: "The source's schema was changed while the cutover began.",
      hint: 'Ask for the cutover again; what has changed is looked at first.',
      retryable: true,
    });
  }

  async close(): Promise<void> {
    await this.#watch.close();
  }

  #tell({ plan, changes }: Changed): void {
    const found = plan.pause?.message ?? `${changes.length} changes of the source's schema are being carried over.`;
    this.#open = { found, remedy: plan.pause === null ? '' : pauseHint(plan.pause) };
  }

  #paused(pause: DriftPause): PgsluiceError {
    this.#pause = pause;
    this.#open = { found: pause.message, remedy: pauseHint(pause) };
    return driftError(pause);
  }

  /** Everything that committed before the change was seen is applied. */
  async #act(finding: Changed): Promise<PgsluiceError | null> {
    const release = await this.#line.follower.hold();
    try {
      await this.#carry(finding.plan.carry, 'all');
      const { pause } = finding.plan;
      if (pause !== null && this.#answered !== keyOf(pause)) return this.#paused(pause);
      const left = pause === null ? null : await this.#unmet(finding.shape, pause);
      if (left !== null) return this.#paused(left);
      this.#watch.accept(finding.shape);
      this.#open = null;
      return null;
    } finally {
      release();
    }
  }

  async #carry(changes: readonly CarriedChange[], upTo: 'now' | 'all'): Promise<void> {
    if (changes.length === 0) return;
    await onSide(this.#work, 'target', (session) => carryColumns(session, changes, upTo));
    for (const change of changes) if (change.kind === 'add-table') await this.#addTable(change);
    this.#line.follower.forgetShapes();
    this.#work.place.log('info', `Carried over: ${changes.map(({ text }) => text).join('; ')}.`);
  }

  /** Apply stands still meanwhile, or has ended: what the stream sends of the table comes after its copy. */
  async #addTable({ relation, create, followed }: AddedTable): Promise<void> {
    const { place, context } = this.#work;
    if (followed) {
      await onSide(this.#work, 'source', (session) =>
        addToPublication(session, stateOf(context).publication, relation, place.signal, (text) =>
          place.log('info', `The new table ${relation.schema}.${relation.name}: ${text}`),
        ),
      );
    }
    const fresh = await this.#dump();
    const { added, atCutover } = diffArchives(this.#copy.staged.archive, fresh);
    const entries = create ? entriesOf(relation, added, fresh) : [];
    if (followed) {
      const copied = await this.#copy.staged.addTable(entries, relation);
      const { oid, schema, name, snapshot } = copied;
      this.#line.follower.addGate({ oid, schema, name, snapshot, via: null });
    } else {
      // Triggers of a partitioned table would be those of its partitions as well, and fire on every change that is applied.
      await this.#restore(entries.filter((entry) => !atCutover.has(entry)));
    }
  }

  /** The cutover works from an archive; this one is of now, and the target is fitted to it. */
  async #renewArchive(): Promise<void> {
    const { context, place } = this.#work;
    const print = await this.#readPrint();
    const fresh = await this.#dump();
    const diff = diffArchives(this.#copy.staged.archive, fresh);
    const plan = planArchive(diff, { carry: context.options.carrySchemaChanges });
    if (plan.pause !== null && keyOf(plan.pause) !== this.#answered) throw this.#paused(plan.pause);
    await onSide(this.#work, 'target', async (session) => {
      await session.run(RESTORE_SETTINGS);
      for (const statement of plan.statements) await session.run(statement);
    });
    await this.#restore(plan.restore);
    await this.#copy.staged.replaceArchive(fresh);
    this.#print = print;
    const count = diff.added.length + diff.removed.length + diff.changed.length;
    if (count > 0) place.log('info', `The schema was read anew for the cutover: ${count} of its entries have changed.`);
  }

  /** Entries one by one, each whole or not at all; what the target has already, from a run before or with its table, is passed over. */
  async #restore(entries: readonly ArchiveEntry[]): Promise<void> {
    if (entries.length === 0) return;
    await onSide(this.#work, 'target', async (session) => {
      await session.run(RESTORE_SETTINGS);
      for (const entry of entries.filter((one) => !isLeftOut(one))) {
        try {
          await session.run([...entry.settings, ...entry.statements].join('\n'));
        } catch (error) {
          if (session.lost || !thereAlready.has(sqlStateOf(error) ?? '')) throw error;
        }
      }
    });
  }

  async #readPrint(): Promise<string> {
    return await onSide(this.#work, 'source', readArchivePrint);
  }

  async #dump(): Promise<Archive> {
    const { context, place, facts } = this.#work;
    const { options } = context;
    const archive = await dumpArchive({
      tools: facts.tools,
      settings: place.source,
      snapshotId: null,
      filter: options,
      noOwner: options.noOwner,
      noAcl: options.noAcl,
      workDir: context.workDir,
      signal: place.signal,
    });
    const globs = options.excludeExtension;
    const excluded =
      globs.length === 0
        ? NOTHING_EXCLUDED
        : await onSide(this.#work, 'source', (session) => readExcluded(session, globs));
    return (await fitArchive(this.#copy.context, pruneArchive(archive, excluded))).archive;
  }
}

function keyOf(pause: DriftPause): string {
  return JSON.stringify(pause.statements);
}

/** The entries of `added` that belong to a table: its own, what it needs, and what hangs on it. Pure. */
export function entriesOf(
  table: { readonly schema: string; readonly name: string },
  added: readonly ArchiveEntry[],
  archive: Archive,
): readonly ArchiveEntry[] {
  const byId = new Map(added.map((entry) => [entry.dumpId, entry]));
  const root = added.find(
    ({ type, schema, name }) => type.endsWith('TABLE') && schema === table.schema && name === table.name,
  );
  if (root === undefined) return [];
  const chosen = new Set<ArchiveEntry>([root]);
  for (const entry of chosen) {
    for (const id of entry.dependencies) {
      const needed = byId.get(id);
      if (needed !== undefined) chosen.add(needed);
    }
  }
  // In archive order, so that one pass finds what hangs on what hangs on the table.
  for (const entry of archive.entries) {
    if (!byId.has(entry.dumpId) || byId.get(entry.dumpId) !== entry) continue;
    if (entry.dependencies.some((id) => [...chosen].some((other) => other.dumpId === id))) chosen.add(entry);
  }
  return archive.entries.filter((entry) => chosen.has(entry));
}
