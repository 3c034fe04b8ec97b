import { readFingerprints } from '../live/drift-shape.ts';
import type { Session } from '../postgres/session.ts';

const byVersion = (catalogue: string, relation: string): string =>
  `(SELECT count(*) || ':' || coalesce(sum(hashtextextended(t.tableoid || ':' || t.xmin || ':' || t.ctid, 0)::numeric), 0)
    FROM ${catalogue} t JOIN mine ON mine.oid = t.${relation})`;

/**
 * What pg_dump writes of relations. Their rows in pg_class are taken by what they say, not by their version: TRUNCATE, and every
 * command that rewrites a table, makes a new version that says the same but for the file.
 */
const RELATIONS = `
WITH mine AS MATERIALIZED (
  SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'pgsluice_live')
)
SELECT concat_ws(' ',
  (SELECT count(*) || ':' || coalesce(sum(hashtextextended(concat_ws('|', oid, relname, relnamespace, reloftype, relowner, relam,
     reltablespace, relpersistence, relkind, relrowsecurity, relforcerowsecurity, relispopulated, relreplident, relispartition,
     relacl::text, reloptions::text, relpartbound::text), 0)::numeric), 0) FROM mine),
  ${byVersion('pg_attribute', 'attrelid')}, ${byVersion('pg_attrdef', 'adrelid')}, ${byVersion('pg_index', 'indrelid')},
  ${byVersion('pg_inherits', 'inhrelid')}, ${byVersion('pg_constraint', 'conrelid')},
  (SELECT count(*) || ':' || coalesce(sum(t.xmin::text::numeric), 0) FROM pg_namespace t WHERE t.oid >= 16384),
  (SELECT count(*) || ':' || coalesce(sum(t.xmin::text::numeric), 0) FROM pg_enum t)) AS print`;

/** Equal: pg_dump would write the same of this database's schema. Two small questions. */
export async function readArchivePrint(source: Session): Promise<string> {
  const { catalogue } = await readFingerprints(source);
  const [row] = await source.query<{ print: string }>(RELATIONS);
  if (row === undefined) throw new Error('a select without FROM returned no row');
  return `${catalogue} ${row.print}`;
}
