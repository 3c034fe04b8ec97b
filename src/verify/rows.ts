import { setTimeout as sleep } from 'node:timers/promises';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { isTransient } from '../postgres/explain.ts';
import type { Session } from '../postgres/session.ts';
import { sqlStateOf, SQLSTATE } from '../postgres/sqlstate.ts';
import { checksumSql } from './checksum.ts';
import type { ChecksumMethod, ColumnFacts } from './checksum.ts';
import { contentInPieces } from './piecemeal.ts';
import type { Sides } from './sides.ts';
import { ownRows, readableName } from './tables.ts';
import type { ComparedRelation } from './tables.ts';

/** What one server says of one relation. */
export interface Content {
  readonly rows: number;
  readonly checksum: string | null;
}

export interface ColumnProblem {
  readonly column: string;
  readonly error: string;
}

/** Both servers' answers, or why there is none. */
export type Comparison =
  | {
      readonly outcome: 'compared';
      readonly source: Content;
      readonly target: Content;
      readonly method: ChecksumMethod | null;
      /** Columns that took part in the checksum. */
      readonly columns: readonly ColumnFacts[];
      /** Columns whose text could not be computed. */
      readonly problems: readonly ColumnProblem[];
    }
  | {
      /** The target has no such relation (`missing`), or lacks one of its columns. */
      readonly outcome: 'absent';
      readonly missing: boolean;
      readonly source: Content;
      readonly error: string;
    }
  | { readonly outcome: 'unreadable'; readonly error: string };

const ATTEMPTS = 3;
const PAUSE_MS = 1000;

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Cancellation and the loss of the snapshot end the whole verification; what is left concerns one relation. */
export function rethrowFatal(error: unknown, signal: AbortSignal): void {
  throwIfAborted(signal);
  if (error instanceof PgsluiceError && ['CANCELLED', 'SNAPSHOT_GONE'].includes(error.code)) throw error;
  if (isTransient(error)) throw error;
}

/** Tries again what a lost connection, a restart or a conflict with recovery ended. */
export async function withRetries<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      throwIfAborted(signal);
      if (attempt >= ATTEMPTS || !isTransient(error)) throw error;
      await sleep(PAUSE_MS, undefined, { ref: true });
    }
  }
}

async function ask(session: Session, sql: string): Promise<Content> {
  const [row] = await session.query<{ rows: string; checksum: string | null }>(sql);
  if (row === undefined) throw new Error('an aggregate returned no row');
  return { rows: Number(row.rows), checksum: row.checksum };
}

type Answers = [PromiseSettledResult<Content>, PromiseSettledResult<Content>];

/** The same statement on both servers at once. */
async function askBothSides(
  sides: Sides,
  relation: ComparedRelation,
  use: ChecksumMethod | null,
  columns: readonly ColumnFacts[],
): Promise<Answers> {
  const { pace, gate, signal } = sides;
  const wait = (): Promise<void> => gate.wait(signal);
  const sql = checksumSql(use, ownRows(relation), columns, relation.condition);
  const attempt = (side: 'source' | 'target'): Promise<Content> =>
    withRetries(signal, () =>
      sides[side]((session) =>
        side === 'source' && pace !== null
          ? contentInPieces(session, relation, use, columns, { pace, wait, signal })
          : ask(session, sql),
      ),
    );
  const answers = await Promise.allSettled([attempt('source'), attempt('target')]);
  for (const answer of answers) if (answer.status === 'rejected') rethrowFatal(answer.reason, sides.signal);
  return answers;
}

const UNDEFINED_COLUMN = '42703';
const INVALID_SCHEMA_NAME = '3F000';
const ABSENT: ReadonlySet<string> = new Set([SQLSTATE.undefinedTable, UNDEFINED_COLUMN, INVALID_SCHEMA_NAME]);

/**
 * Counts a relation on both servers at once and, with a method, computes its content checksum. Where a column's text cannot
 * be had (over 1 GB, a failing expression), the columns are tried one by one and the others compared without it.
 * Throws the cancellation and what concerns more than this relation.
 */
export async function compareRows(
  sides: Sides,
  relation: ComparedRelation,
  method: ChecksumMethod | null,
): Promise<Comparison> {
  const compare = (use: ChecksumMethod | null, columns: readonly ColumnFacts[]): Promise<Answers> =>
    askBothSides(sides, relation, use, columns);
  const judged = (answers: Answers, use: ChecksumMethod | null, columns: readonly ColumnFacts[]): Comparison | null => {
    const [source, target] = answers;
    if (source.status === 'fulfilled' && target.status === 'fulfilled') {
      return { outcome: 'compared', source: source.value, target: target.value, method: use, columns, problems: [] };
    }
    if (source.status === 'fulfilled' && target.status === 'rejected') {
      const state = sqlStateOf(target.reason) ?? '';
      if (ABSENT.has(state)) {
        const missing = state !== UNDEFINED_COLUMN;
        return { outcome: 'absent', missing, source: source.value, error: messageOf(target.reason) };
      }
    }
    return null;
  };

  const whole = await compare(method, relation.columns);
  const first = judged(whole, method, relation.columns);
  if (first !== null) return first;
  const failure = whole.find((answer) => answer.status === 'rejected');
  const unreadable: Comparison = { outcome: 'unreadable', error: messageOf(failure?.reason) };
  if (method === null) return unreadable;
  // A relation that cannot even be counted has no column to blame.
  const counted = judged(await compare(null, []), null, []);
  if (counted === null) return unreadable;

  const good: ColumnFacts[] = [];
  const problems: ColumnProblem[] = [];
  for (const column of relation.columns) {
    const candidates = column.builtIn && column.type === 'bytea' ? [column, { ...column, digest: true }] : [column];
    let error: unknown = null;
    for (const candidate of candidates) {
      const answers = await compare(method, [candidate]);
      error = answers.find((answer) => answer.status === 'rejected')?.reason ?? null;
      if (error !== null) continue;
      good.push(candidate);
      break;
    }
    if (error !== null) problems.push({ column: column.name, error: messageOf(error) });
  }
  const rest = judged(await compare(method, good), method, good);
  if (rest?.outcome !== 'compared') return unreadable;
  return { ...rest, problems };
}

/**
 * Compares several relations with one statement a side. Answers those that are equal; the others, or all of them where the
 * statement fails, have to be looked at one by one. Throws like `compareRows`.
 */
export async function compareTogether(
  sides: Sides,
  relations: readonly ComparedRelation[],
  method: ChecksumMethod | null,
): Promise<Map<ComparedRelation, Comparison>> {
  const sql = relations
    .map((relation, at) => {
      const one = checksumSql(method, ownRows(relation), relation.columns, relation.condition);
      return `SELECT ${at} AS at, x.rows, x.checksum FROM (${one}) x`;
    })
    .join(' UNION ALL ');
  const attempt = (side: 'source' | 'target'): Promise<Map<number, Content>> =>
    withRetries(sides.signal, async () => {
      const rows = await sides[side]((session) =>
        session.query<{ at: number; rows: string; checksum: string | null }>(sql),
      );
      if (side === 'source' && sides.pace !== null) {
        await sides.pace.take(
          relations.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
          sides.signal,
        );
      }
      return new Map(rows.map(({ at, rows: counted, checksum }) => [at, { rows: Number(counted), checksum }]));
    });
  const [here, there] = await Promise.allSettled([attempt('source'), attempt('target')]);
  for (const answer of [here, there]) if (answer.status === 'rejected') rethrowFatal(answer.reason, sides.signal);
  const equal = new Map<ComparedRelation, Comparison>();
  if (here.status === 'rejected' || there.status === 'rejected') return equal;
  for (const [at, relation] of relations.entries()) {
    const [source, target] = [here.value.get(at), there.value.get(at)];
    if (source === undefined || target === undefined) continue;
    if (source.rows !== target.rows || source.checksum !== target.checksum) continue;
    equal.set(relation, { outcome: 'compared', source, target, method, columns: relation.columns, problems: [] });
  }
  return equal;
}

export function countText(rows: number): string {
  return `${rows.toLocaleString('en-US')} ${rows === 1 ? 'row' : 'rows'}`;
}

/** One line for the log; line breaks in names become spaces. */
export function comparisonLine(relation: ComparedRelation, comparison: Comparison): string {
  const name = readableName(relation.schema, relation.name).replaceAll(/[\r\n]+/g, ' ');
  if (comparison.outcome === 'unreadable') return `could not verify ${name}: ${comparison.error}`;
  if (comparison.outcome === 'absent')
    return `${name} is not on the target as it is on the source: ${comparison.error}`;
  const { source, target } = comparison;
  if (source.rows !== target.rows) {
    return `${name} differs: ${countText(source.rows)} on the source, ${countText(target.rows)} on the target`;
  }
  if (comparison.method === null) return `verified ${name}: ${countText(source.rows)} on both sides`;
  if (source.checksum !== target.checksum)
    return `${name} differs: ${countText(source.rows)} on both sides, checksums differ`;
  return `verified ${name}: ${countText(source.rows)}, checksums equal`;
}
