import { quoteIdent } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { rowNumber } from './checksum.ts';
import type { ChecksumMethod, ColumnFacts } from './checksum.ts';
import { askBoth } from './sides.ts';
import type { Sides } from './sides.ts';
import { ownRows } from './tables.ts';
import type { ComparedRelation } from './tables.ts';

/** Above this many rows the keys are not fetched: a help for people must not cost more than the comparison. */
export const KEYS_FETCHED = 200_000;
const SHOWN = 5;

export interface KeyDifferences {
  /** Keys of rows with other contents on the target, at most `SHOWN`. */
  readonly changed: readonly string[];
  readonly missing: readonly string[];
  readonly extra: readonly string[];
  /** How many there are in all. */
  readonly counts: { readonly changed: number; readonly missing: number; readonly extra: number };
}

/** Compares two maps of key → row number. Pure. */
export function compareKeys(source: ReadonlyMap<string, string>, target: ReadonlyMap<string, string>): KeyDifferences {
  const changed: string[] = [];
  const missing: string[] = [];
  const extra: string[] = [];
  const counts = { changed: 0, missing: 0, extra: 0 };
  const add = (keys: string[], kind: keyof typeof counts, key: string): void => {
    counts[kind] += 1;
    if (keys.length < SHOWN) keys.push(key);
  };
  for (const [key, number] of source) {
    const other = target.get(key);
    if (other === undefined) add(missing, 'missing', key);
    else if (other !== number) add(changed, 'changed', key);
  }
  for (const key of target.keys()) if (!source.has(key)) add(extra, 'extra', key);
  return { changed, missing, extra, counts };
}

function keyText(relation: ComparedRelation): string {
  return `ROW(${relation.key.map(quoteIdent).join(', ')})::text`;
}

async function fetchKeys(session: Session, sql: string): Promise<Map<string, string>> {
  const rows = await session.query<{ key: string; number: string }>(sql);
  return new Map(rows.map((row) => [row.key, row.number]));
}

/** Names of the columns in which the rows with these keys differ. */
async function changedColumns(
  sides: Sides,
  relation: ComparedRelation,
  method: ChecksumMethod,
  columns: readonly ColumnFacts[],
  keys: readonly string[],
): Promise<string[]> {
  const numbers = columns.map((column) => `(${rowNumber(method, [column])})::text`).join(', ');
  const sql = `SELECT ${keyText(relation)} AS key, ARRAY[${numbers}] AS numbers FROM ${ownRows(relation)}
    WHERE ${keyText(relation)} = ANY ($1)`;
  const [source, target] = await askBoth(sides, (session) =>
    session.query<{ key: string; numbers: string[] }>(sql, [keys]),
  );
  const others = new Map(target.map((row) => [row.key, row.numbers]));
  return columns
    .filter((_, at) => source.some((row) => others.get(row.key)?.[at] !== row.numbers[at]))
    .map((column) => column.name);
}

function list(keys: readonly string[], count: number): string {
  return `${keys.join(', ')}${count > keys.length ? ` and ${count - keys.length} more` : ''}`;
}

export interface DifferenceText {
  readonly source: string;
  readonly target: string;
}

/**
 * Says by primary key which rows differ, where that is cheap: a table of at most `KEYS_FETCHED` rows with a primary key.
 * Null where it is not. Contents are never shown, only keys and column names.
 */
export async function describeRowDifferences(
  sides: Sides,
  relation: ComparedRelation,
  method: ChecksumMethod,
  columns: readonly ColumnFacts[],
): Promise<DifferenceText | null> {
  if (relation.key.length === 0) return null;
  const sql = `SELECT ${keyText(relation)} AS key, (${rowNumber(method, columns)})::text AS number
    FROM ${ownRows(relation)}${relation.condition === '' ? '' : ` ${relation.condition}`}`;
  const [source, target] = await askBoth(sides, (session) => fetchKeys(session, sql));
  const found = compareKeys(source, target);
  const names = found.changed.length === 0 ? [] : await changedColumns(sides, relation, method, columns, found.changed);
  const key = `primary key (${relation.key.join(', ')})`;
  const onSource: string[] = [];
  const onTarget: string[] = [];
  if (found.counts.missing > 0) onSource.push(`only here: ${list(found.missing, found.counts.missing)}`);
  if (found.counts.extra > 0) onTarget.push(`only here: ${list(found.extra, found.counts.extra)}`);
  if (found.counts.changed > 0) {
    onTarget.push(
      `other contents: ${list(found.changed, found.counts.changed)}${names.length > 0 ? `, in column ${names.join(', ')}` : ''}`,
    );
  }
  const sentence = (parts: readonly string[]): string => (parts.length === 0 ? '' : `; by ${key}: ${parts.join('; ')}`);
  return { source: sentence(onSource), target: sentence(onTarget) };
}
