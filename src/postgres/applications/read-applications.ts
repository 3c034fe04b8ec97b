import { PgsluiceError } from '../../errors.ts';
import { qualified } from '../quote.ts';
import type { Session } from '../session.ts';
import { type Framework, type MigrationTable, frameworkOf, frameworks, stateSql } from './frameworks.ts';

/** What an application's own migration table says. */
export interface ApplicationState {
  readonly framework: string;
  /** Qualified and quoted. */
  readonly table: string;
  /** The newest migration that is done; null when there is none. */
  readonly version: string | null;
  readonly migrations: number;
  /** Migrations that failed, or began and did not end. */
  readonly unfinished: readonly string[];
}

export interface Applications {
  readonly found: readonly ApplicationState[];
  /** Tables of known frameworks beyond those that are read. */
  readonly more: number;
  /** Why they could not be read; null when they were. */
  readonly unread: string | null;
}

/** Some applications keep one table a tenant; a few say enough. */
const MOST = 20;
const TIMEOUT_MS = 5_000;

/** Tables of these names that this role may read; one question, whatever their number. */
const TABLES = `
SELECT n.nspname AS schema, c.relname AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns,
  array_agg(t.typcategory::text ORDER BY a.attnum) AS types
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relname = ANY ($1) AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
GROUP BY n.nspname, c.relname, c.oid ORDER BY n.nspname, c.relname`;

interface StateRow {
  readonly [column: string]: unknown;
  readonly i: number;
  readonly version: string | null;
  readonly migrations: number;
  readonly unfinished: string[];
}

/**
 * Recognises applications by their migration tables among those for which `inScope` holds, and reads which version they are at.
 * Takes 5 s at most; what could not be read is said, because nothing depends on it.
 * @throws PgsluiceError when the session is lost or cancelled.
 */
export async function readApplications(
  session: Session,
  inScope: (schema: string, name: string) => boolean,
): Promise<Applications> {
  try {
    await session.run(
      `BEGIN READ ONLY; SET LOCAL statement_timeout = ${TIMEOUT_MS}; SET LOCAL lock_timeout = ${TIMEOUT_MS / 2}`,
    );
    const names = [...new Set(frameworks.map(({ table }) => table))];
    const tables = await session.query<MigrationTable & Record<string, unknown>>(TABLES, [names]);
    const known = tables
      .filter(({ schema, name }) => inScope(schema, name))
      .map((table) => ({ table, framework: frameworkOf(table) }))
      .filter((entry): entry is { table: (typeof tables)[number]; framework: Framework } => entry.framework !== null);
    const read = known.slice(0, MOST);
    const rows = read.length === 0 ? [] : await session.query<StateRow>(stateSql(read));
    const found = rows
      .toSorted((a, b) => a.i - b.i)
      .flatMap(({ i, version, migrations, unfinished }) => {
        const entry = read[i];
        if (entry === undefined) return [];
        const table = qualified(entry.table.schema, entry.table.name);
        return [{ framework: entry.framework.name, table, version, migrations, unfinished }];
      });
    return { found, more: known.length - read.length, unread: null };
  } catch (error) {
    if (!(error instanceof PgsluiceError) || error.code === 'CANCELLED' || !session.usable) throw error;
    return { found: [], more: 0, unread: error.message };
  } finally {
    if (session.usable) await session.run('ROLLBACK');
  }
}
