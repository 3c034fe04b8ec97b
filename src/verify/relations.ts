import type { JobEventBody } from '../contract/event.ts';
import { throwIfAborted } from '../errors.ts';
import type { ChecksumMethod } from './checksum.ts';
import { checksumSql } from './checksum.ts';
import type { Findings } from './findings.ts';
import { KEYS_FETCHED, describeRowDifferences } from './row-differences.ts';
import type { DifferenceText } from './row-differences.ts';
import { compareRows, compareTogether, comparisonLine, countText, messageOf, rethrowFatal } from './rows.ts';
import type { Comparison } from './rows.ts';
import type { Sides } from './sides.ts';
import { isRewritten, knewRelation } from './rewritten.ts';
import { readableName } from './tables.ts';
import type { ComparedRelation } from './tables.ts';

export interface RelationsInput {
  readonly sides: Sides;
  readonly relations: readonly ComparedRelation[];
  /** null: rows are only counted. */
  readonly method: ChecksumMethod | null;
  /** How many relations are compared at once. */
  readonly jobs: number;
  readonly findings: Findings;
  readonly emit: (event: JobEventBody) => void;
}

type Compared = Extract<Comparison, { outcome: 'compared' }>;

/** Time between two metric events in ms. */
const METRIC_EVERY_MS = 250;

/** A comparison moves nothing; what a copy before it has moved, only its job knows. */
const nothingCopied = {
  type: 'metric',
  tables: 0,
  tablesDone: 0,
  rows: 0,
  bytes: 0,
  fraction: 0,
  bytesPerSecond: 0,
  rowsPerSecond: 0,
  waiting: null,
} as const;

/** Adds up what is done; emits at most four metric events a second and one at the end. */
class Progress {
  readonly #input: RelationsInput;
  readonly #started = Date.now();
  readonly #total: number;
  #last = 0;
  #done = 0;
  #rows = 0;
  #bytes = 0;

  constructor(input: RelationsInput) {
    this.#input = input;
    this.#total = input.relations.reduce((sum, relation) => sum + weightOf(relation), 0);
  }

  finished(relation: ComparedRelation, rows: number): void {
    this.#done += 1;
    this.#rows += rows;
    this.#bytes += weightOf(relation);
    const now = Date.now();
    if (now - this.#last < METRIC_EVERY_MS && this.#done < this.#input.relations.length) return;
    this.#last = now;
    const seconds = Math.max(0.001, (now - this.#started) / 1000);
    const fraction = this.#total === 0 ? 1 : this.#bytes / this.#total;
    const left = (seconds / fraction) * (1 - fraction);
    this.#input.emit({
      ...nothingCopied,
      remaining: this.#done < 2 || fraction < 0.05 ? null : { low: left * 0.8, high: left * 1.5 },
      comparing: {
        tables: this.#input.relations.length,
        tablesDone: this.#done,
        rows: this.#rows,
        bytes: this.#bytes,
        fraction,
        bytesPerSecond: Math.round(this.#bytes / seconds),
        rowsPerSecond: Math.round(this.#rows / seconds),
      },
    });
  }
}

/** A table's share of the work in bytes; an empty one costs a round trip as well. */
function weightOf(relation: ComparedRelation): number {
  return Math.max(8192, relation.sizeBytes);
}

/** Up to this size a relation costs more in round trips than in reading, bytes. */
const SMALL_BYTES = 128 * 1024;
/** Relations in one statement: each is a lock for each of its indexes, and a plan of its own. */
const TOGETHER = 40;

/** What is compared with one statement a side: small relations in numbers, larger ones alone, in their order. Pure. */
export function groupRelations(relations: readonly ComparedRelation[]): ComparedRelation[][] {
  const groups: ComparedRelation[][] = [];
  let open: ComparedRelation[] | null = null;
  for (const relation of relations) {
    if (relation.tree || relation.sizeBytes > SMALL_BYTES) groups.push([relation]);
    else if (open === null || open.length >= TOGETHER) groups.push((open = [relation]));
    else open.push(relation);
  }
  return groups;
}

/** Compares rows and contents of all relations, several at once, in the order given; writes to `findings`. */
export async function compareRelations(input: RelationsInput): Promise<void> {
  const progress = new Progress(input);
  const waiting = groupRelations(input.relations);
  const worker = async (): Promise<void> => {
    for (let group = waiting.shift(); group !== undefined; group = waiting.shift()) {
      const began = Date.now();
      const together =
        group.length > 1
          ? await compareTogether(input.sides, group, input.method)
          : new Map<ComparedRelation, Comparison>();
      const share = (Date.now() - began) / group.length;
      for (const relation of group) {
        const started = Date.now();
        const comparison = together.get(relation) ?? (await compareRows(input.sides, relation, input.method));
        await record(input, relation, comparison, (share + Date.now() - started) / 1000);
        progress.finished(relation, comparison.outcome === 'unreadable' ? 0 : comparison.source.rows);
      }
    }
  };
  const workers = Array.from({ length: Math.max(1, Math.min(input.jobs, waiting.length)) }, worker);
  const outcomes = await Promise.allSettled(workers);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

async function record(
  input: RelationsInput,
  relation: ComparedRelation,
  comparison: Comparison,
  seconds: number,
): Promise<void> {
  const { findings, emit } = input;
  const name = readableName(relation.schema, relation.name);
  if (comparison.outcome === 'unreadable') {
    findings.fail(`${name} could not be compared: ${comparison.error}`);
    emit({ type: 'log', level: 'error', message: comparisonLine(relation, comparison) });
    return;
  }
  if (await hasMovedOn(input.sides, relation, comparison)) {
    findings.fail(
      `${name} could not be compared: since its moment it was truncated, rewritten, altered or dropped on the target, which a snapshot does not outlast.`,
    );
    emit({ type: 'log', level: 'warn', message: `could not verify ${name}: the target has changed it meanwhile` });
    return;
  }
  const { source } = comparison;
  const target = comparison.outcome === 'absent' ? { rows: 0, checksum: null } : comparison.target;
  const stale = await isStale(input, relation, comparison);
  const equal = comparison.outcome === 'compared' && (sameContent(comparison) || stale);
  emit({ type: 'log', level: equal ? 'info' : 'error', message: comparisonLine(relation, comparison) });
  findings.tables.push({
    schema: relation.schema,
    name: relation.name,
    sourceRows: source.rows,
    targetRows: target.rows,
    sourceChecksum: source.checksum,
    targetChecksum: target.checksum,
    equal,
    seconds,
  });
  if (comparison.outcome === 'absent') {
    findings.absent.push({
      kind: relation.kind.toUpperCase(),
      name,
      change: comparison.missing ? 'missing' : 'different',
      source: countText(source.rows),
      target: comparison.missing ? null : comparison.error,
    });
    return;
  }
  for (const problem of comparison.problems) {
    findings.fail(`Column ${problem.column} of ${name} could not be compared: ${problem.error}`);
  }
  if (equal) {
    if (stale) {
      findings.note(
        `The contents of materialized view ${name} are out of date on the source; the target holds what a refresh on the source would give.`,
      );
    }
    return;
  }
  const help = await rowHelp(input, relation, comparison);
  const counts = source.rows !== target.rows;
  const text = (rows: number, checksum: string | null): string =>
    counts || checksum === null ? countText(rows) : `${countText(rows)}, checksum ${checksum}`;
  findings.differ({
    kind: relation.kind === 'materialized view' ? 'MATERIALIZED VIEW CONTENT' : counts ? 'ROWS' : 'CONTENT',
    name,
    change: 'different',
    source: text(source.rows, source.checksum) + (help?.source ?? ''),
    target: text(target.rows, target.checksum) + (help?.target ?? ''),
  });
}

function sameContent(comparison: Compared): boolean {
  return comparison.source.rows === comparison.target.rows && comparison.source.checksum === comparison.target.checksum;
}

/**
 * True when a difference says nothing: a target in use has taken the rows, the columns or the relation away from under the
 * snapshot (PostgreSQL documentation, 13.6 "Caveats").
 */
async function hasMovedOn(sides: Sides, relation: ComparedRelation, comparison: Comparison): Promise<boolean> {
  if (!sides.targetMovesOn || comparison.outcome === 'unreadable') return false;
  if (comparison.outcome === 'absent') return sides.target((session) => knewRelation(session, relation));
  return !sameContent(comparison) && sides.target((session) => isRewritten(session, relation));
}

async function rowHelp(
  input: RelationsInput,
  relation: ComparedRelation,
  comparison: Compared,
): Promise<DifferenceText | null> {
  if (input.method === null || Math.max(comparison.source.rows, comparison.target.rows) > KEYS_FETCHED) return null;
  try {
    return await describeRowDifferences(input.sides, relation, input.method, comparison.columns);
  } catch (error) {
    throwIfAborted(input.sides.signal);
    input.emit({
      type: 'log',
      level: 'warn',
      message: `the differing rows of ${readableName(relation.schema, relation.name)} could not be named: ${messageOf(error)}`,
    });
    return null;
  }
}

/**
 * A materialized view that nobody refreshed for long holds other rows than its refreshed copy. It is no difference when the
 * target holds exactly what the definition yields on the source now, under the snapshot.
 */
async function isStale(input: RelationsInput, relation: ComparedRelation, comparison: Comparison): Promise<boolean> {
  if (relation.kind !== 'materialized view' || comparison.outcome !== 'compared' || sameContent(comparison))
    return false;
  try {
    return await input.sides.source(async (session) => {
      const [view] = await session.query<{ definition: string }>(
        `SELECT rtrim(pg_get_viewdef($1::oid), '; ') AS definition`,
        [relation.oid],
      );
      if (view === undefined) return false;
      const sql = checksumSql(comparison.method, `(${view.definition}) AS fresh`, comparison.columns, '');
      const [row] = await session.query<{ rows: string; checksum: string | null }>(sql);
      return (
        row !== undefined && Number(row.rows) === comparison.target.rows && row.checksum === comparison.target.checksum
      );
    });
  } catch (error) {
    rethrowFatal(error, input.sides.signal);
    return false;
  }
}
