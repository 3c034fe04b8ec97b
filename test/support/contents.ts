import { Client, escapeIdentifier } from 'pg';
import type { TestServerLike } from './servers.ts';

/** The same value prints the same text on every server and in every database. */
const settled = `
  SET search_path = pg_catalog; SET datestyle = 'ISO, YMD'; SET intervalstyle = postgres; SET extra_float_digits = 3;
  SET bytea_output = hex; SET timezone = 'UTC'; SET xmloption = content; SET lc_monetary = 'C'; SET row_security = off;`;

/**
 * Everything a database holds besides its schema, as name → fingerprint: rows and their content by table (partitions by
 * their root, for a row may change its partition), sequences, large objects. It is computed apart from the code under
 * test on purpose.
 */
export async function contentsOf(server: TestServerLike, database: string): Promise<Map<string, string>> {
  const client = new Client({ connectionString: server.url(database) });
  await client.connect();
  try {
    await client.query(settled);
    const found = new Map<string, string>();
    // Columns by name: a table attached to its parent afterwards gets the parent's order of columns back from pg_dump.
    const relations = await client.query<{ schema: string; name: string; kind: string; columns: string }>(
      `SELECT n.nspname AS schema, c.relname AS name, c.relkind AS kind, coalesce((SELECT string_agg(format('%I', a.attname), ', ' ORDER BY a.attname)
         FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '') AS columns FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind IN ('r', 'p', 'S') AND NOT c.relispartition AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1, 2`,
    );
    for (const { schema, name, kind, columns } of relations.rows) {
      const relation = `${escapeIdentifier(schema)}.${escapeIdentifier(name)}`;
      const sql =
        kind === 'S'
          ? `SELECT last_value || ' ' || is_called AS print FROM ${relation}`
          : `SELECT count(*) || ' ' || coalesce(md5(string_agg(md5(x::text), '' ORDER BY md5(x::text))), '') AS print FROM (SELECT ${columns} FROM ${kind === 'r' ? 'ONLY ' : ''}${relation}) x`;
      const { rows } = await client.query<{ print: string }>(sql);
      found.set(relation, rows[0]?.print ?? '');
    }
    const objects = await client.query<{ oid: string; print: string }>(
      `SELECT oid::text, md5(lo_get(oid)) || ' ' || lomowner::regrole || ' ' || coalesce(lomacl::text, '') AS print FROM pg_largeobject_metadata`,
    );
    for (const { oid, print } of objects.rows) found.set(`large object ${oid}`, print);
    return found;
  } finally {
    await client.end();
  }
}
