import type { ArchiveEntry } from '../postgres/archive.ts';
import type { Session } from '../postgres/session.ts';

/** As pg_restore prints names. */
function printed(name: string): string {
  return name.replace(/[\r\n]/g, ' ');
}

/** Indexes, and constraints that stand on one, that a target has. */
export class ExistingIndexes {
  readonly #keys: ReadonlySet<string>;

  private constructor(keys: ReadonlySet<string>) {
    this.#keys = keys;
  }

  static async read(target: Session): Promise<ExistingIndexes> {
    const rows = await target.query<{ key: string[] }>(
      `SELECT json_build_array('INDEX', n.nspname, c.relname) AS key
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind IN ('i', 'I') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
       UNION ALL
       SELECT json_build_array('CONSTRAINT', n.nspname, c.relname || ' ' || k.conname)
       FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE k.contype IN ('p', 'u', 'x') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'`,
    );
    return new ExistingIndexes(new Set(rows.map(({ key }) => key.map(printed).join('\n'))));
  }

  /** Whether the index or constraint that the entry makes stands already. */
  has(entry: ArchiveEntry): boolean {
    if (entry.type !== 'INDEX' && entry.type !== 'CONSTRAINT') return false;
    return this.#keys.has([entry.type, entry.schema ?? '', entry.name].map(printed).join('\n'));
  }
}

/** Tables with planner statistics, as `schema` and `name` in one JSON text. */
export async function readAnalyzed(target: Session): Promise<ReadonlySet<string>> {
  const rows = await target.query<{ schema: string; name: string }>(
    'SELECT DISTINCT schemaname AS schema, tablename AS name FROM pg_stats',
  );
  return new Set(rows.map(({ schema, name }) => JSON.stringify([schema, name])));
}
