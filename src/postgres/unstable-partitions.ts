import type { Session } from './session.ts';

/** A partitioned table by which rows have to be routed anew on another server. */
export interface RoutingRoot {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
}

/**
 * Hash partitioning by an enum uses the labels' oids, which another server numbers differently: a row of the first partition
 * may belong into the second one there. (pg_dump loads such tables through their root as well: `--load-via-partition-root`.)
 * A collation that is not deterministic hashes what its provider's version says.
 */
const UNSTABLE = `
WITH RECURSIVE unstable AS (
  SELECT DISTINCT p.partrelid AS oid
  FROM pg_partitioned_table p
  CROSS JOIN LATERAL unnest(p.partclass, p.partcollation) AS k(opclass, coll)
  JOIN pg_opclass o ON o.oid = k.opclass JOIN pg_opfamily f ON f.oid = o.opcfamily
  WHERE p.partstrat = 'h'
    AND (f.opfname = 'enum_ops' OR EXISTS (SELECT FROM pg_collation c WHERE c.oid = k.coll AND NOT c.collisdeterministic))
), tree AS (
  SELECT i.inhrelid AS oid, u.oid AS root, 1 AS depth FROM unstable u JOIN pg_inherits i ON i.inhparent = u.oid
  UNION ALL
  SELECT i.inhrelid, t.root, t.depth + 1 FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid
), topmost AS (
  SELECT DISTINCT ON (oid) oid, root FROM tree ORDER BY oid, depth DESC
)
SELECT t.oid::text AS oid, t.root::text AS root, n.nspname AS schema, r.relname AS name
FROM topmost t JOIN pg_class r ON r.oid = t.root JOIN pg_namespace n ON n.oid = r.relnamespace`;

/** Partition oid → the table by which its rows are routed; partitions that keep their rows are not in it. `major` ≥ 12. */
export async function listUnstablePartitions(
  session: Session,
  major: number,
): Promise<ReadonlyMap<number, RoutingRoot>> {
  if (major < 12) return new Map();
  const rows = await session.query<{ oid: string; root: string; schema: string; name: string }>(UNSTABLE);
  return new Map(rows.map((row) => [Number(row.oid), { oid: Number(row.root), schema: row.schema, name: row.name }]));
}
