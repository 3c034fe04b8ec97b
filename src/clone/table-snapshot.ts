import { PgsluiceError } from '../errors.ts';
import { qualified } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import type { SourceTable } from './catalogue.ts';

/**
 * How long an attempt queues for the lock of a table, ms: at first hardly, since other tables could be copied meanwhile; then
 * longer, so that a table that many have locked for a moment each is reached at last.
 */
function lockTimeoutMs(earlierAttempts: number): number {
  return Math.min(5000, 200 * 2 ** Math.min(earlierAttempts, 10));
}

/** Up to this size it is worth a look whether there is a row at all, bytes. */
const LOOKED_INTO_BYTES = 512 * 1024;

export type TableSnapshot =
  | {
      readonly kind: 'open';
      /** `pg_current_snapshot()` of the transaction that the session is in now. */
      readonly snapshot: string;
      /** No row is visible; false also where nobody has looked. */
      readonly empty: boolean;
    }
  /** Another session keeps the table locked; the session is in no transaction. */
  | { readonly kind: 'locked'; readonly by: string };

const BLOCKERS = `
SELECT string_agg(DISTINCT format('process %s%s, since %s', coalesce(l.pid::text, 'of a prepared transaction'),
         CASE WHEN a.usename IS NULL THEN '' ELSE format(' (%s%s)', a.usename,
           CASE WHEN coalesce(a.application_name, '') = '' THEN '' ELSE ', ' || a.application_name END) END,
         coalesce(to_char(a.xact_start AT TIME ZONE 'UTC', 'HH24:MI:SS') || ' UTC', '?')), '; ') AS names
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation = $1::oid
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`;

const COLUMNS = `(SELECT coalesce(json_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod))), '[]')
  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')`;

/** Columns of the target's ordinary tables as text, by schema and table; generated ones are left out. */
export async function readTargetColumns(target: Session): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
  const rows = await target.query<{ schema: string; name: string; columns: string[] }>(
    `SELECT n.nspname AS schema, c.relname AS name, ${COLUMNS} AS columns
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'`,
  );
  return new Map(rows.map((row) => [qualified(row.schema, row.name), new Set(row.columns)]));
}

/**
 * Begins a transaction whose snapshot holds the table as it is: the lock comes first, so that no TRUNCATE and no rewriting can
 * end between the two. @throws PgsluiceError SCHEMA_DRIFT when the table is gone, or another one stands in its place, or its
 * columns are not `expected`, in whatever order; the session is of no use then.
 */
export async function openTableSnapshot(
  session: Session,
  table: SourceTable,
  expected: ReadonlySet<string> | null,
  major: number,
  earlierAttempts: number,
): Promise<TableSnapshot> {
  const name = qualified(table.schema, table.name);
  try {
    // LOCK TABLE takes no snapshot; the SELECT below is the first statement that does (documentation, 13.3.1 and LOCK).
    await session.run(
      `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = ${lockTimeoutMs(earlierAttempts)};
       LOCK TABLE ONLY ${name} IN ACCESS SHARE MODE; SET LOCAL lock_timeout = 0`,
    );
  } catch (error) {
    if (session.lost) throw error;
    const state = sqlStateOf(error);
    if (state === SQLSTATE.undefinedTable || state === SQLSTATE.invalidSchemaName) throw goneError(name, error);
    if (state !== SQLSTATE.lockNotAvailable) throw error;
    await session.run('ROLLBACK');
    const [blockers] = await session.query<{ names: string | null }>(BLOCKERS, [table.oid]);
    return { kind: 'locked', by: blockers?.names ?? 'a session that has just ended' };
  }
  const looks = table.sizeBytes <= LOOKED_INTO_BYTES && table.extensionCondition === null;
  const [seen] = await session.query<{ snapshot: string; oid: string | null; columns: string[]; empty: boolean }>(
    `SELECT ${major >= 13 ? 'pg_current_snapshot' : 'txid_current_snapshot'}()::text AS snapshot, c.oid::text AS oid,
            ${COLUMNS} AS columns, ${looks ? `NOT EXISTS (SELECT FROM ONLY ${name})` : 'false'} AS empty
     FROM (SELECT to_regclass($1)::oid AS oid) c`,
    [name],
  );
  if (seen === undefined) throw new Error('a select without a condition returned no row');
  if (Number(seen.oid) !== table.oid) throw goneError(name, null);
  const columns = new Set(seen.columns);
  if (expected !== null && (columns.size !== expected.size || seen.columns.some((column) => !expected.has(column)))) {
    throw columnsError(name, columns, expected);
  }
  return { kind: 'open', snapshot: seen.snapshot, empty: seen.empty };
}

function goneError(name: string, cause: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'SCHEMA_DRIFT',
    message: `The source dropped or replaced the table ${name} after its schema had been read.`,
    hint: `Cancel the job and start it again: the schema is read anew. Or drop ${name} on the target as well, and go on.`,
    cause,
  });
}

function columnsError(name: string, source: ReadonlySet<string>, target: ReadonlySet<string>): PgsluiceError {
  const only = (left: ReadonlySet<string>, right: ReadonlySet<string>): string =>
    [...left].filter((column) => !right.has(column)).join(', ') || 'none';
  return new PgsluiceError({
    code: 'SCHEMA_DRIFT',
    message: `The columns of ${name} changed on the source after its schema had been read. Only on the source: ${only(source, target)}. Only on the target: ${only(target, source)}.`,
    hint: `Run the same ALTER TABLE ${name} on the target as was run on the source, then go on: the table is copied then.`,
  });
}
