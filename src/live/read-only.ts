import { quoteIdent, quoteLiteral } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { type Backend, backendOf } from './cutover-commit.ts';
import type { ReadOnlyState } from './fence-types.ts';

/** The database's own default, not what a role or this session has set; null when there is none. */
const DEFAULT = `
SELECT current_database() AS database,
  (SELECT split_part(c, '=', 2) FROM pg_db_role_setting s, unnest(s.setconfig) AS u(c)
   WHERE s.setrole = 0 AND s.setdatabase = d.oid AND split_part(c, '=', 1) = 'default_transaction_read_only') AS value
FROM pg_database d WHERE d.datname = current_database()`;

/** Roles that may log in and whose own setting wins over the database's (documentation, 20.1.3). */
const OVERRIDING = `
SELECT r.rolname::text AS role FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) AS u(c)
WHERE r.rolcanlogin AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND c = 'default_transaction_read_only=off' ORDER BY 1`;

/** What `default_transaction_read_only` is for this database now. */
export async function readReadOnlyDefault(session: Session): Promise<ReadOnlyState> {
  const [row] = await session.query<{ database: string; value: string | null }>(DEFAULT);
  if (row === undefined) throw new Error('the current database is not in pg_database');
  return { database: row.database, before: row.value };
}

export async function rolesThatOverride(session: Session): Promise<readonly string[]> {
  return (await session.query<{ role: string }>(OVERRIDING)).map((row) => row.role);
}

/** The statement that makes the database as it was; shown to people, too. Pure. */
export function undoReadOnlySql(state: ReadOnlyState): string {
  const database = quoteIdent(state.database);
  return state.before === null
    ? `ALTER DATABASE ${database} RESET default_transaction_read_only`
    : `ALTER DATABASE ${database} SET default_transaction_read_only = ${quoteLiteral(state.before)}`;
}

/**
 * Records what is, then makes the database read-only for sessions that start from now on. A second call changes nothing.
 * `recorded`: what an earlier call recorded, which then is the truth about before.
 * `onAltering` is told which server process is given the statement before it is sent, and null once it has been done. Between the two
 * it may take effect at any time, until that process is gone, however dead the line is.
 */
export async function setReadOnlyDefault(
  session: Session,
  recorded: ReadOnlyState | null,
  record: (state: ReadOnlyState) => Promise<void>,
  onAltering: (by: Backend | null) => void = () => undefined,
): Promise<ReadOnlyState> {
  const state = recorded ?? (await readReadOnlyDefault(session));
  const by = await backendOf(session);
  await record(state);
  onAltering(by);
  await session.run(`ALTER DATABASE ${quoteIdent(state.database)} SET default_transaction_read_only = on`);
  onAltering(null);
  return state;
}

/** Undoes `setReadOnlyDefault`; leaves the setting alone when somebody has changed it since. May be run again. */
export async function undoReadOnly(session: Session, state: ReadOnlyState): Promise<void> {
  const now = await readReadOnlyDefault(session);
  if (now.database !== state.database || now.before !== 'on' || state.before === 'on') return;
  await session.run(undoReadOnlySql(state));
}
