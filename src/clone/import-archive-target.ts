import type { Session } from '../postgres/session.ts';

/** A table of the target as far as an import needs it. */
export interface TargetTable {
  readonly isPartition: boolean;
  /** Key of its topmost partitioned table, or its own. */
  readonly root: string;
  /** Set for an extension's configuration table: the rows that users made; '' means all. */
  readonly extensionCondition: string | null;
}

export function tableKey(schema: string, name: string): string {
  return JSON.stringify([schema, name]);
}

/** Tables by `tableKey`, after the schema has been restored. */
export async function readTargetTables(target: Session, major: number): Promise<Map<string, TargetTable>> {
  // pg_partition_root() came with 12; without it every table counts as its own.
  const root = major >= 12 ? 'coalesce(pg_partition_root(c.oid), c.oid)' : 'c.oid';
  const rows = await target.query<{
    schema: string;
    name: string;
    partition: boolean;
    rootSchema: string;
    rootName: string;
    condition: string | null;
  }>(
    `SELECT n.nspname AS schema, c.relname AS name, c.relispartition AS partition, rn.nspname AS "rootSchema", r.relname AS "rootName", x.condition
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     JOIN pg_class r ON r.oid = ${root} JOIN pg_namespace rn ON rn.oid = r.relnamespace
     LEFT JOIN (SELECT k.oid, k.condition FROM pg_extension e, LATERAL unnest(e.extconfig, e.extcondition) AS k(oid, condition)) x ON x.oid = c.oid
     WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'`,
  );
  return new Map(
    rows.map((row) => [
      tableKey(row.schema, row.name),
      { isPartition: row.partition, root: tableKey(row.rootSchema, row.rootName), extensionCondition: row.condition },
    ]),
  );
}
