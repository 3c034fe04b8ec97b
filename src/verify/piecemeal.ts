import type { Pace } from '../pace.ts';
import { readServerVersion } from '../postgres/version.ts';
import type { Session } from '../postgres/session.ts';
import { checksumSql } from './checksum.ts';
import type { ChecksumMethod, ColumnFacts } from './checksum.ts';
import type { Content } from './rows.ts';
import { ownRows } from './tables.ts';
import type { ComparedRelation } from './tables.ts';

/** Reads the source in pieces, each of which is paid for before the next one. */
export interface Piecemeal {
  readonly pace: Pace;
  /** Awaited before each piece: where a pause takes hold. */
  readonly wait: () => Promise<void>;
  readonly signal: AbortSignal;
}

/** What one statement reads, bytes: a fraction of a second's work. */
const PIECE_BYTES = 4 * 1024 * 1024;

/** Ranges of pages [from, to) that are read one after the other; the last one has no end. Pure. */
export function pagesInPieces(pages: number, bytes: number): { from: number; to: number | null }[] {
  const pieces = Math.max(1, Math.min(pages, Math.ceil(bytes / PIECE_BYTES)));
  return Array.from({ length: pieces }, (_, piece) => ({
    from: Math.floor((pages * piece) / pieces),
    to: piece === pieces - 1 ? null : Math.floor((pages * (piece + 1)) / pieces),
  }));
}

/** Adds up what the pieces say: a checksum is an exact sum over rows, so those of the pieces add up to the table's. Pure. */
export function addContents(pieces: readonly Content[]): Content {
  const counted = pieces.some((piece) => piece.checksum === null);
  return {
    rows: pieces.reduce((sum, piece) => sum + piece.rows, 0),
    checksum: counted ? null : pieces.reduce((sum, piece) => sum + BigInt(piece.checksum ?? '0'), 0n).toString(),
  };
}

/**
 * Rows and checksum as `checksumSql` has them, by several short statements of one snapshot. Where a relation cannot be read by
 * ranges of pages (a partition tree, a condition of its own, a server before 14) it is one statement all the same.
 */
export async function contentInPieces(
  session: Session,
  relation: ComparedRelation,
  method: ChecksumMethod | null,
  columns: readonly ColumnFacts[],
  { pace, wait, signal }: Piecemeal,
): Promise<Content> {
  const inRanges = !relation.tree && relation.condition === '' && relation.sizeBytes > PIECE_BYTES;
  const ranges =
    inRanges && (await readServerVersion(session)).major >= 14
      ? pagesInPieces(await pagesOf(session, relation), relation.sizeBytes)
      : [];
  const conditions =
    ranges.length < 2
      ? [relation.condition]
      : ranges.map(
          ({ from, to }) => `WHERE ctid >= '(${from},0)'::tid${to === null ? '' : ` AND ctid < '(${to},0)'::tid`}`,
        );
  const contents: Content[] = [];
  for (const condition of conditions) {
    await wait();
    const sql = checksumSql(method, ownRows(relation), columns, condition);
    const [row] = await session.query<{ rows: string; checksum: string | null }>(sql);
    if (row === undefined) throw new Error('an aggregate returned no row');
    contents.push({ rows: Number(row.rows), checksum: row.checksum });
    await pace.take(Math.ceil(relation.sizeBytes / conditions.length), signal);
  }
  return addContents(contents);
}

async function pagesOf(session: Session, relation: ComparedRelation): Promise<number> {
  const [row] = await session.query<{ pages: string }>(
    `SELECT (pg_relation_size($1::oid) / current_setting('block_size')::int8)::text AS pages`,
    [relation.oid],
  );
  return Number(row?.pages ?? 0);
}
