import { PgsluiceError } from '../errors.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import type { Ends, FencePlan, FencedTable } from './fence-types.ts';
import { rolesThatOverride } from './read-only.ts';

/** Any of these lets a role LOCK a table IN SHARE MODE (documentation of LOCK); MAINTAIN since 17. */
const LOCKING_RIGHTS = `CASE WHEN current_setting('server_version_num')::int >= 170000
  THEN 'UPDATE, DELETE, TRUNCATE, MAINTAIN' ELSE 'UPDATE, DELETE, TRUNCATE' END`;

/** The tables named by `$1` and `$2`, and every partitioned table above one of them: writers lock those, too. */
const TABLES = `
WITH RECURSIVE named AS (
  SELECT w.schema, w.name, c.oid FROM unnest($1::text[], $2::text[]) AS w(schema, name)
  LEFT JOIN pg_namespace n ON n.nspname = w.schema
  LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p')
), up AS (
  SELECT oid FROM named WHERE oid IS NOT NULL
  UNION
  SELECT i.inhparent FROM up JOIN pg_inherits i ON i.inhrelid = up.oid JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'p'
)
SELECT c.oid::text AS oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind = 'p' AS root,
  has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, ${LOCKING_RIGHTS}) AS lockable
FROM up JOIN pg_class c ON c.oid = up.oid JOIN pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT NULL, schema, name, false, false FROM named WHERE oid IS NULL
ORDER BY 1`;

/** The size of the lock table is documented in 20.12; those taken by the fast path are not in it. */
const POWERS = `
SELECT current_user::text AS role, current_database()::text AS database, o.rolname::text AS owner,
  current_setting('server_version_num')::int AS version,
  (SELECT setting::int FROM pg_settings WHERE name = 'deadlock_timeout') AS "deadlockTimeoutMs",
  current_setting('max_locks_per_transaction')::int AS "locksPerTransaction",
  current_setting('max_locks_per_transaction')::bigint
    * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint) AS "lockSlots",
  (SELECT count(*) FROM pg_locks WHERE NOT fastpath) AS "locksInUse",
  m.rolsuper AS superuser,
  m.rolsuper OR pg_has_role(m.oid, d.datdba, 'USAGE') AS "mayAlterDatabase",
  pg_has_role(m.oid, 'pg_signal_backend', 'USAGE') AS "maySignal",
  ARRAY(SELECT DISTINCT r.rolname::text FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
    WHERE a.datname = d.datname AND r.rolsuper) AS "superusers",
  ARRAY(SELECT DISTINCT r.rolname::text FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
    WHERE a.datname = d.datname AND NOT pg_has_role(m.oid, r.oid, 'USAGE')) AS "strangers"
FROM pg_roles m, pg_database d JOIN pg_roles o ON o.oid = d.datdba
WHERE m.rolname = current_user AND d.datname = current_database()`;

export interface Powers {
  readonly role: string;
  readonly database: string;
  /** The database's owner. */
  readonly owner: string;
  /** server_version_num */
  readonly version: number;
  readonly deadlockTimeoutMs: number;
  /** max_locks_per_transaction */
  readonly locksPerTransaction: number;
  readonly lockSlots: number;
  readonly locksInUse: number;
  readonly superuser: boolean;
  readonly mayAlterDatabase: boolean;
  readonly maySignal: boolean;
  /** Superusers that are connected to this database now. */
  readonly superusers: readonly string[];
  /** Roles that are connected to it now and whose sessions only pg_signal_backend may end. */
  readonly strangers: readonly string[];
  /** Roles whose own default wins over the database's read-only one. */
  readonly overriding: readonly string[];
}

export interface TableRight extends FencedTable {
  /** A partitioned table. */
  readonly root: boolean;
  readonly lockable: boolean;
}

/** Locks of the fence may take this share of the slots that are free: the application needs some as well. */
const SHARE_OF_FREE_SLOTS = 0.75;
const LONGEST_WAIT_MS = 500;
const NAMED = 3;

function impossible(message: string, hint: string): PgsluiceError {
  return new PgsluiceError({ code: 'FENCE_IMPOSSIBLE', message, hint });
}

function grantLocking(powers: Powers, lacking: readonly TableRight[]): string {
  const names = lacking.slice(0, NAMED).map((table) => qualified(table.schema, table.name));
  const right = powers.version >= 170_000 ? 'MAINTAIN' : 'UPDATE';
  const more = lacking.length > NAMED ? ` The same is missing on ${lacking.length - NAMED} more.` : '';
  return `GRANT ${right} ON ${names.join(', ')} TO ${quoteIdent(powers.role)};${more}`;
}

function endsOf(powers: Powers): Ends {
  if (powers.superuser) return 'all';
  return powers.maySignal ? 'ordinary' : 'own';
}

/** What stays open at the hand-over. Pure. */
function limitsOf(powers: Powers): string[] {
  const role = quoteIdent(powers.role);
  const limits: string[] = [];
  if (!powers.mayAlterDatabase) {
    limits.push(
      `New sessions on the source cannot be made read-only by ${powers.role}; as a superuser: GRANT ${quoteIdent(powers.owner)} TO ${role};`,
    );
  }
  if (!powers.superuser && !powers.maySignal && powers.strangers.length > 0) {
    limits.push(
      `Sessions of ${powers.strangers.slice(0, NAMED).join(', ')} on the source cannot be ended by ${powers.role}; as a superuser: GRANT pg_signal_backend TO ${role};`,
    );
  }
  if (!powers.superuser && powers.superusers.length > 0) {
    limits.push(
      `Sessions of the superuser ${powers.superusers.slice(0, NAMED).join(', ')} on the source can be ended by a superuser only.`,
    );
  }
  for (const overriding of powers.overriding.slice(0, NAMED)) {
    limits.push(
      `Role ${overriding} has its own default_transaction_read_only = off, which wins over the database's; as a superuser: ALTER ROLE ${quoteIdent(overriding)} RESET default_transaction_read_only;`,
    );
  }
  return limits;
}

/**
 * Chooses how writes are stopped. Pure.
 * @throws PgsluiceError FENCE_IMPOSSIBLE with the GRANT that makes it possible.
 */
export function planFence(powers: Powers, tables: readonly TableRight[]): FencePlan {
  const lacking = tables.filter((table) => !table.lockable);
  const free = Math.max(0, powers.lockSlots - powers.locksInUse) * SHARE_OF_FREE_SLOTS;
  const limits = limitsOf(powers);
  const plan = {
    database: powers.database,
    tables: tables.map(({ oid, schema, name }) => ({ oid, schema, name })),
    giveUpMs: Math.max(1, Math.min(LONGEST_WAIT_MS, Math.floor(powers.deadlockTimeoutMs / 2))),
    deadlockTimeoutMs: powers.deadlockTimeoutMs,
    mayAlterDatabase: powers.mayAlterDatabase,
    ends: endsOf(powers),
  };
  if (lacking.length === 0 && tables.length <= free) return { ...plan, means: 'lock', limits };
  if (powers.mayAlterDatabase && limits.length === 0) {
    const open =
      'A session that switches default_transaction_read_only off for itself can write in spite of the fence.';
    return { ...plan, means: 'read-only', limits: [open] };
  }
  if (lacking.length > 0) {
    throw impossible(
      `${powers.role} may not lock ${lacking.length} of ${tables.length} tables of the source against writes, and cannot make the whole database read-only either.`,
      `Run on the source as the tables' owner: ${grantLocking(powers, lacking)}`,
    );
  }
  const slotsNeeded = tables.length / SHARE_OF_FREE_SLOTS + powers.locksInUse;
  const needed = Math.ceil((slotsNeeded / Math.max(1, powers.lockSlots)) * powers.locksPerTransaction);
  throw impossible(
    `The source has no room for ${tables.length} locks beside the ${powers.locksInUse} in use (${powers.lockSlots} in all).`,
    `Run on the source: ALTER SYSTEM SET max_locks_per_transaction = ${Math.max(2 * powers.locksPerTransaction, needed)}; and restart it. ${limits.join(' ')}`,
  );
}

/**
 * Reads what this role may do on the source and chooses. Touches nothing; three statements.
 * @throws PgsluiceError FENCE_IMPOSSIBLE with the GRANT; SCHEMA_DRIFT when a published table is gone.
 */
export async function chooseFence(
  session: Session,
  tables: readonly { readonly schema: string; readonly name: string }[],
): Promise<FencePlan> {
  const rows = await session.query<{
    oid: string | null;
    schema: string;
    name: string;
    root: boolean;
    lockable: boolean;
  }>(TABLES, [tables.map((table) => table.schema), tables.map((table) => table.name)]);
  const rights: TableRight[] = [];
  for (const row of rows) {
    if (row.oid === null) {
      throw new PgsluiceError({
        code: 'SCHEMA_DRIFT',
        message: `Table ${row.schema}.${row.name} is followed but is no longer on the source.`,
        hint: `Drop it on the target as well, or create it again on the source, and resume the job.`,
      });
    }
    rights.push({ oid: Number(row.oid), schema: row.schema, name: row.name, root: row.root, lockable: row.lockable });
  }
  // A writer locks the partitioned table before the partition.
  rights.sort((a, b) => Number(b.root) - Number(a.root) || a.oid - b.oid);
  const [powers] = await session.query<
    Omit<Powers, 'overriding' | 'lockSlots' | 'locksInUse'> & { lockSlots: string; locksInUse: string }
  >(POWERS);
  if (powers === undefined) throw new Error('the current role is not in pg_roles');
  return planFence(
    {
      ...powers,
      lockSlots: Number(powers.lockSlots),
      locksInUse: Number(powers.locksInUse),
      overriding: await rolesThatOverride(session),
    },
    rights,
  );
}
