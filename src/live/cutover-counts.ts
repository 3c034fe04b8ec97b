import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { qualified } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import { listUnstablePartitions } from '../postgres/unstable-partitions.ts';

export interface CountedTable {
  readonly schema: string;
  readonly name: string;
  /** Main fork on the source, in bytes. */
  readonly bytes: number;
}

/** Of one statement: about a twentieth of a second from memory. */
const CHUNK_BYTES = 32 * 1024 * 1024;
const CHUNK_TABLES = 100;
/** Tables that would not fit into the time are not begun. */
const MOST_BYTES = 256 * 1024 * 1024;
/** All counting together; the writers wait meanwhile. */
export const COUNTS_MS = 500;

const SIZES = `
SELECT c.oid::text AS oid, w.schema, w.name, pg_relation_size(c.oid) AS bytes FROM unnest($1::text[], $2::text[]) AS w(schema, name)
JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind = 'r'`;

/**
 * The tables that are worth counting, smallest first. Partitions whose rows the target routes anew are left out: theirs may lie elsewhere.
 * Done before the fence.
 */
export async function chooseCounted(
  source: Session,
  major: number,
  tables: readonly { readonly schema: string; readonly name: string }[],
): Promise<CountedTable[]> {
  const unstable = await listUnstablePartitions(source, major);
  const rows = await source.query<{ oid: string; schema: string; name: string; bytes: string }>(SIZES, [
    tables.map((table) => table.schema),
    tables.map((table) => table.name),
  ]);
  return rows
    .filter((row) => !unstable.has(Number(row.oid)))
    .map((row) => ({ schema: row.schema, name: row.name, bytes: Number(row.bytes) }))
    .toSorted((a, b) => a.bytes - b.bytes);
}

/** Splits the tables, smallest first, into statements of bounded work; those beyond what fits into the time are left out. Pure. */
export function countChunks(tables: readonly CountedTable[]): CountedTable[][] {
  const chunks: CountedTable[][] = [];
  let chunk: CountedTable[] = [];
  let chunkBytes = 0;
  let bytes = 0;
  for (const table of tables) {
    bytes += table.bytes;
    if (bytes > MOST_BYTES) break;
    if (chunk.length >= CHUNK_TABLES || (chunk.length > 0 && chunkBytes + table.bytes > CHUNK_BYTES)) {
      chunks.push(chunk);
      chunk = [];
      chunkBytes = 0;
    }
    chunk.push(table);
    chunkBytes += table.bytes;
  }
  if (chunk.length > 0) chunks.push(chunk);
  return chunks;
}

const countSql = (chunk: readonly CountedTable[]): string =>
  chunk
    .map((table, at) => `SELECT ${at} AS at, count(*) AS rows FROM ONLY ${qualified(table.schema, table.name)}`)
    .join(' UNION ALL ');

/** Rows by position in the chunk; null when the time was up, or this role may not see all rows. */
async function countSide(session: Session, chunk: readonly CountedTable[], ms: number): Promise<bigint[] | null> {
  // A savepoint, since a timeout would otherwise end the target's whole transaction.
  await session.run(`SAVEPOINT counts; SET LOCAL statement_timeout = ${ms}`);
  try {
    const counts: bigint[] = [];
    for (const row of await session.query<{ at: number; rows: string }>(countSql(chunk)))
      counts[row.at] = BigInt(row.rows);
    await session.run('SET LOCAL statement_timeout = 0; RELEASE SAVEPOINT counts');
    return counts;
  } catch (error) {
    const state = sqlStateOf(error);
    if (state !== SQLSTATE.queryCanceled && state !== SQLSTATE.insufficientPrivilege) throw error;
    await session.run('ROLLBACK TO SAVEPOINT counts; RELEASE SAVEPOINT counts');
    return null;
  }
}

export interface CountsInput {
  readonly source: Session;
  /** In its open transaction. */
  readonly target: Session;
  /** Smallest first. */
  readonly tables: readonly CountedTable[];
  readonly signal: AbortSignal;
  /** ms */
  readonly budgetMs?: number;
}

/**
 * Counts the rows of as many tables as the time allows on both sides at once, while nobody writes.
 * @returns how many tables and rows were counted.
 * @throws PgsluiceError CUTOVER_COUNTS_DIFFER.
 */
export async function compareCounts(input: CountsInput): Promise<{ tables: number; rows: bigint }> {
  const { source, target, tables, signal } = input;
  const until = performance.now() + (input.budgetMs ?? COUNTS_MS);
  let counted = 0;
  let rows = 0n;
  await source.run('BEGIN READ ONLY');
  try {
    for (const chunk of countChunks(tables)) {
      throwIfAborted(signal);
      const left = Math.floor(until - performance.now());
      if (left < 1) break;
      const [here, there] = await Promise.all([countSide(source, chunk, left), countSide(target, chunk, left)]);
      if (here === null || there === null) break;
      const wrong = chunk.flatMap((table, at) =>
        here[at] === there[at]
          ? []
          : [`${table.schema}.${table.name} (${here[at]} on the source, ${there[at]} on the target)`],
      );
      if (wrong.length > 0) throw differ(wrong);
      counted += chunk.length;
      rows = here.reduce((sum, count) => sum + count, rows);
    }
  } finally {
    if (!source.lost && !signal.aborted) await source.run('ROLLBACK');
  }
  return { tables: counted, rows };
}

const NAMED = 3;

function differ(wrong: readonly string[]): PgsluiceError {
  const more = wrong.length > NAMED ? ` and ${wrong.length - NAMED} more` : '';
  return new PgsluiceError({
    code: 'CUTOVER_COUNTS_DIFFER',
    message: `The target does not hold what the source holds, so nothing was handed over: ${wrong.slice(0, NAMED).join(', ')}${more}.`,
    hint: 'Find out who wrote to the target, or report it with the job’s log; then start a new job into an empty database.',
  });
}
