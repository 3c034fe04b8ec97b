import { throwIfAborted } from '../errors.ts';
import type { RelationFilter } from '../postgres/filters.ts';
import { type Lsn, parseLsn } from '../postgres/lsn.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { ColumnMemory } from './drift-columns.ts';
import { alignByName, diffShapes } from './drift-diff.ts';
import type { KnownAs, ShapeChange } from './drift-diff.ts';
import { describeChange, planChanges, planCopy } from './drift-judge.ts';
import type { CarriedChange, DriftPlan, PlanOptions } from './drift-judge.ts';
import { readFingerprints, readShape } from './drift-shape.ts';
import type { ColumnShape, SourceShape } from './drift-shape.ts';
import { inOrder, statementsOf, tableName } from './drift-sql.ts';
import { judgeRelation, liftToParent } from './drift-stream.ts';
import type { Relation } from './types.ts';

/*
 * The source's schema may change while it is followed, and the stream says little of it. Two sources of knowledge, two times:
 *
 * - The applier meets a relation that does not fit the target's table (SCHEMA_DRIFT). That is the exact place in the stream:
 *   everything before it is applied, nothing after it. `examineDrift` says what leads from the target's table to that moment.
 * - The catalogue, looked at every few seconds (`DriftWatch`), knows what the stream never shows: defaults, NOT NULL, keys,
 *   new and dropped tables, renamed tables, changes of tables that nobody writes. What it finds is ahead of the stream. It
 *   comes with `seenAt`: once everything that committed before it is applied, the target is past the change as well, and only
 *   then does the job act on it. A refusal of the target before that (a NULL that is allowed now, a new enum label) is
 *   explained by asking the watch at once.
 *
 * Why the cut is clean: ALTER TABLE takes ACCESS EXCLUSIVE on the table and all of its children until it commits, so every
 * transaction that wrote them before has committed before it, and every later writer commits after it. Commit order is the
 * order of apply. Only the altering transaction itself may have written on both sides of its own ALTER, and decoding shows
 * each change in the shape of its time. Hence
 *  - an added column is added at its place, and changes in the older shape that come again after a rollback leave it to the
 *    value that older rows have; the present default is set only at `seenAt`;
 *  - a dropped column is only relieved of NOT NULL at its place and dropped at `seenAt`. The applier has to bear columns of
 *    the target that the stream does not send;
 *  - a column that came and went before the stream shows it is added nullable then, and found dropped by the next look. Its
 *    values go with it, but old rows may be found by them (REPLICA IDENTITY FULL): unless a look saw what older rows held, the
 *    table is copied anew.
 *
 * Rows that are there when a column is added get pg_attribute.attmissingval, the very value the source gives them, never the
 * default of today. A volatile default, a new identity and every other rewriting of rows by an expression are in no stream:
 * such a table is copied anew. So is a table in which a name has passed from one column to another (dropped and added again,
 * two names exchanged): messages know columns by name only.
 *
 * Tables are known by oid. A renamed table keeps sending under its oid, its changes go to the old name on the target until
 * `seenAt`; a table dropped and created anew under its name is two tables. TRUNCATE then DROP: the stream's TRUNCATE comes
 * before `seenAt`, the target drops its table after it. A new table sends nothing until it has joined the publication: it joins,
 * then those who wrote to it before are waited for (publication.ts), then its copy under a snapshot of its own, which covers all rows of before; apply stands still until the
 * copy's gate is known.
 */

export interface DriftWatchInput {
  readonly source: ConnectionSettings;
  readonly filter: RelationFilter;
  /** Key of the job's rows in pgsluice_live. */
  readonly job: string;
  readonly carry: boolean;
  /** The shape that the target was last fitted to. */
  readonly before: SourceShape;
  readonly signal: AbortSignal;
  /** ms between two looks; an earlier `check` answers what the last one found. */
  readonly everyMs?: number;
  log(level: 'debug' | 'info' | 'warn', message: string): void;
}

export type DriftFinding =
  | { readonly kind: 'none'; /** The archive of the schema is older than the schema. */ readonly archiveStale: boolean }
  | {
      readonly kind: 'changed';
      readonly archiveStale: boolean;
      readonly changes: readonly ShapeChange[];
      readonly plan: DriftPlan;
      /** All of it was committed before this position of the source's WAL. */
      readonly seenAt: Lsn;
      /** To be given to `accept` once the target fits it. */
      readonly shape: SourceShape;
    };

/** A source may be a standby, which writes no WAL of its own. */
const POSITION = `SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END)::text AS lsn`;

/** Looks at the source's catalogue now and then; while nothing changes a look is one small query. One session, opened when needed. */
export class DriftWatch {
  readonly #input: DriftWatchInput;
  #session: Session | null = null;
  #before: SourceShape;
  /** Of the moment the archive was dumped. */
  #archive: { readonly tables: string; readonly catalogue: string };
  /** Columns that came since `#before`, as they were seen, by table and name: one may be gone before the stream shows it. */
  readonly #seen = new ColumnMemory();
  /** Columns that the target was given at their place in the stream since `#before`. */
  readonly #given = new ColumnMemory();
  #last: { readonly at: number; readonly finding: DriftFinding } | null = null;

  constructor(input: DriftWatchInput) {
    this.#input = input;
    this.#before = input.before;
    this.#archive = { tables: input.before.fingerprint, catalogue: input.before.catalogue };
  }

  /** The shape that changes are told against. */
  get before(): SourceShape {
    return this.#before;
  }

  /**
   * What has changed since the shape that was accepted last. `at`: `due` looks only when it is time, `now` in any case.
   * @throws PgsluiceError when the source cannot be read; the next call tries again.
   */
  async check(at: 'due' | 'now' = 'due'): Promise<DriftFinding> {
    throwIfAborted(this.#input.signal);
    const fresh = this.#last !== null && Date.now() - this.#last.at < (this.#input.everyMs ?? 5000);
    if (at === 'due' && fresh && this.#last !== null) return this.#last.finding;
    const finding = await this.#look();
    this.#last = { at: Date.now(), finding };
    return finding;
  }

  /**
   * Explains a refusal of the applier at its place in the stream, with what the watch has seen so far (see examineDrift). Once
   * what it answers is done, columns that the source has dropped since are found dropped by the next look.
   */
  async examine(
    sessions: { readonly source: Session; readonly target: Session },
    refused: Pick<ExamineInput, 'relation' | 'gate'>,
  ): Promise<StreamDrift> {
    const { filter, job, carry } = this.#input;
    const passed = this.#seen.of(refused.relation.oid);
    // The target has them, whether or not the source still has.
    const before = this.#given.addTo(this.#before, null);
    const drift = await examineDrift({ ...sessions, ...refused, filter, job, carry, before, passed });
    this.#given.noteAdded(this.#before, drift.changes);
    this.#last = null;
    return drift;
  }

  /** The target fits `shape` now. */
  accept(shape: SourceShape): void {
    this.#before = shape;
    this.#seen.clear();
    this.#given.clear();
    this.#last = null;
  }

  /** The archive was dumped anew; `shape` was read before the dump began. */
  archiveTaken(shape: SourceShape): void {
    this.#archive = { tables: shape.fingerprint, catalogue: shape.catalogue };
    this.#last = null;
  }

  async close(): Promise<void> {
    const session = this.#session;
    this.#session = null;
    await session?.close();
  }

  async #look(): Promise<DriftFinding> {
    const session = await this.#open();
    const { tables, catalogue } = await readFingerprints(session);
    const archiveStale = tables !== this.#archive.tables || catalogue !== this.#archive.catalogue;
    if (tables === this.#before.fingerprint && this.#given.empty) return { kind: 'none', archiveStale };
    const last = this.#last?.finding;
    // Its position stays, or the job would run after it for ever.
    if (last?.kind === 'changed' && last.shape.fingerprint === tables) return { ...last, archiveStale };
    const shape = await readShape(session, this.#input.filter);
    // A column that the target was given and that is gone has to go there as well.
    const changes = diffShapes(this.#given.addTo(this.#before, shape), shape);
    for (const change of changes) if (change.kind === 'column-added') this.#seen.put(change.table.oid, change.column);
    if (changes.length === 0) {
      // TRUNCATE, VACUUM FULL and the like: later changes are told against the table as it lies now.
      this.#before = shape;
      return { kind: 'none', archiveStale };
    }
    // Read after the catalogue: a commit record is written before its transaction can be seen.
    const [row] = await session.query<{ lsn: string }>(POSITION);
    if (row === undefined) throw new Error('a select without FROM returned no row');
    return {
      kind: 'changed',
      archiveStale,
      changes,
      plan: planChanges(changes, this.#input),
      seenAt: parseLsn(row.lsn),
      shape,
    };
  }

  async #open(): Promise<Session> {
    if (this.#session?.usable === true) return this.#session;
    await this.#session?.close();
    this.#session = await openSession(this.#input.source, {
      signal: this.#input.signal,
      side: 'source',
      purpose: `schema watch ${this.#input.job}`,
      readOnly: true,
      retryForMs: 10_000,
      onRetry: (why) => this.#input.log('debug', `The watch over the source's schema connects anew: ${why}`),
    });
    return this.#session;
  }
}

export interface ExamineInput extends PlanOptions {
  readonly source: Session;
  readonly target: Session;
  readonly filter: RelationFilter;
  /** Of the change that the applier refused with SCHEMA_DRIFT. */
  readonly relation: Relation;
  /** The target's table of this relation as its gate names it; null without a gate. */
  readonly gate: { readonly schema: string; readonly name: string } | null;
  /** The shape that the target was last fitted to. */
  readonly before: SourceShape;
  /** Columns that the relation's table had since then, by name. */
  readonly passed?: ReadonlyMap<string, ColumnShape>;
}

export interface StreamDrift {
  /**
   * changed: `plan` fits the target to this place of the stream: `now` of carried changes has to run, `later` at the watch's
   * seenAt. gone: the source has dropped the table since, and the target never had it. unexplained: the target's table already
   * is what the stream sends, or what a person has to make of it is not known.
   */
  readonly kind: 'changed' | 'gone' | 'unexplained';
  readonly plan: DriftPlan;
  /** What the plan was made from, on the tables where it is made. */
  readonly changes: readonly ShapeChange[];
}

/** Explains a refusal of the applier at its place in the stream, and what to do about it. */
export async function examineDrift(input: ExamineInput): Promise<StreamDrift> {
  const { relation } = input;
  const now = await readShape(input.source, input.filter);
  const fitted = await readShape(input.target, input.filter);
  const place = input.gate ?? relation;
  const target = fitted.tables.find((table) => table.schema === place.schema && table.name === place.name);
  const present = now.tables.find((table) => table.oid === relation.oid) ?? null;
  const none = { plan: { carry: [], pause: null }, changes: [] };
  if (target === undefined) {
    if (present === null) return { kind: 'gone', ...none };
    const changes: ShapeChange[] = [{ kind: 'table-added', table: present }];
    return { kind: 'changed', plan: planChanges(changes, input), changes };
  }
  if (input.gate === null && present?.followed === true) {
    // Its record was deleted so that it is copied anew; rows in it would be there twice.
    const [row] = await input.target.query<{ empty: boolean }>(
      `SELECT NOT EXISTS (SELECT FROM ONLY ${tableName(target)}) AS empty`,
    );
    return { kind: 'changed', plan: planCopy(present, row?.empty === true, input), changes: [] };
  }
  const types = await typesOf(input.source, relation);
  const before = input.before.tables.find((table) => table.oid === relation.oid) ?? null;
  const { passed = new Map<string, ColumnShape>() } = input;
  const drift = judgeRelation({ relation, types, before, now: present, target, passed });
  const changes = drift.changes.map((change) => liftToParent(change, fitted));
  if (changes.length === 0) return { kind: 'unexplained', ...none };
  return { kind: 'changed', plan: planChanges(changes, { ...input, carry: input.carry && !drift.ambiguous }), changes };
}

async function typesOf(source: Session, relation: Relation): Promise<(string | null)[]> {
  const rows = await source.query<{ type: string | null }>(
    `SELECT CASE WHEN t.oid IS NOT NULL THEN format_type(t.oid, c.modifier) END AS type
     FROM unnest($1::oid[], $2::int4[]) WITH ORDINALITY AS c(oid, modifier, at) LEFT JOIN pg_type t ON t.oid = c.oid ORDER BY c.at`,
    [relation.columns.map((column) => column.typeOid), relation.columns.map((column) => column.typeModifier)],
  );
  return rows.map((row) => row.type);
}

/**
 * Runs carried changes of columns on the target in one transaction: `now` when the stream has come to them, `all` once
 * everything before `seenAt` is applied. May be repeated. New tables are not its business. The applier has to forget its
 * shapes afterwards.
 * @throws PgsluiceError with the target's reason; nothing is changed then.
 */
export async function carryColumns(
  target: Session,
  changes: readonly CarriedChange[],
  upTo: 'now' | 'all',
): Promise<void> {
  const columns = changes.flatMap((change) => (change.kind === 'columns' ? [change] : []));
  const statements = columns.flatMap((change) => (upTo === 'now' ? change.now : [...change.now, ...change.later]));
  if (statements.length === 0) return;
  await target.run("BEGIN; SET LOCAL lock_timeout = '30s'");
  try {
    for (const statement of statements) await target.run(statement);
    await target.run('COMMIT');
  } catch (error) {
    if (!target.lost) await target.run('ROLLBACK');
    throw error;
  }
}

/**
 * The target as it is, in the source's oids: what a watch tells changes against when nobody has kept the shape that the target
 * was fitted to. Rows rewritten by a command meanwhile do not show in it. `gates`: the names by which the target has its tables.
 */
export async function fittedShape(
  target: Session,
  source: SourceShape,
  filter: RelationFilter,
  gates: readonly KnownAs[],
): Promise<SourceShape> {
  return { ...alignByName(await readShape(target, filter), source, gates), fingerprint: '', catalogue: '' };
}

export interface TargetGap {
  readonly text: string;
  readonly statements: readonly string[];
}

/**
 * What the target still lacks of `shape`, whatever led to it: before a resumed job goes on, and among the conditions of a
 * cutover. Tables of the target that the source does not have count only when `known` has them: they were the source's once.
 */
export async function findGaps(
  target: Session,
  shape: SourceShape,
  filter: RelationFilter,
  options: { readonly sameMajor: boolean; readonly known: SourceShape },
): Promise<TargetGap[]> {
  const known = new Set(options.known.tables.map(tableName));
  const changes = diffShapes(alignByName(await readShape(target, filter), shape), shape, options);
  return inOrder(changes)
    .filter((change) => change.kind !== 'table-dropped' || known.has(tableName(change.table)))
    .map((change) => ({ text: describeChange(change), statements: statementsOf(change) }))
    .filter((gap) => gap.statements.length > 0);
}
