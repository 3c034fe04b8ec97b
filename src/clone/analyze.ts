import { qualified } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';

/** Relations on the target whose statistics are those of a tree: the roots of partitioned tables. */
export async function listPartitionRoots(target: Session): Promise<{ schema: string; name: string }[]> {
  return target.query<{ schema: string; name: string }>(
    `SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'p' AND NOT c.relispartition AND c.relpersistence <> 't'
     ORDER BY 1, 2`,
  );
}

/** Leaves of partition trees: ANALYZE of the root reads them too, and writes their statistics with its own. */
export async function listPartitionLeaves(source: Session): Promise<Set<number>> {
  const rows = await source.query<{ oid: string }>(
    `SELECT oid::text AS oid FROM pg_class WHERE relispartition AND relkind = 'r'`,
  );
  return new Set(rows.map((row) => Number(row.oid)));
}

export async function analyze(target: Session, relation: { schema: string; name: string }): Promise<void> {
  await target.run(`ANALYZE ${qualified(relation.schema, relation.name)}`);
}
