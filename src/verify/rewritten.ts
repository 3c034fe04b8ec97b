import type { Session } from '../postgres/session.ts';
import type { ComparedRelation } from './tables.ts';

/** The relation itself and, for a partitioned one, what belongs to it. $1 and $2: schema and name. */
const MEMBERS = `
WITH RECURSIVE member(oid) AS (
  SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2
  UNION ALL
  SELECT i.inhrelid FROM member m JOIN pg_class p ON p.oid = m.oid AND p.relkind = 'p' JOIN pg_inherits i ON i.inhparent = m.oid
)`;

/** `relfilenode` is read under the snapshot, pg_relation_filenode() reads the present. */
const REWRITTEN = `${MEMBERS}
SELECT FROM member m JOIN pg_class c ON c.oid = m.oid
WHERE c.relfilenode <> 0 AND pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode LIMIT 1`;

const COLUMNS = `
SELECT a.attname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = $1 AND c.relname = $2`;

/** Whether a relation was truncated, rewritten or dropped since the snapshot of this session was taken. */
export async function isRewritten(session: Session, relation: ComparedRelation): Promise<boolean> {
  return (await session.query(REWRITTEN, [relation.schema, relation.name])).length > 0;
}

/** Whether the snapshot's catalogue has the relation with all of its columns, whatever became of it since. */
export async function knewRelation(session: Session, relation: ComparedRelation): Promise<boolean> {
  const rows = await session.query<{ name: string | null }>(COLUMNS, [relation.schema, relation.name]);
  const names = new Set(rows.map((row) => row.name));
  return rows.length > 0 && relation.columns.every((column) => names.has(column.name));
}
