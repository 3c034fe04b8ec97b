import { quoteIdent } from '../postgres/quote.ts';
import { failed, passed, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { isFollowed, readLiveTables } from './live-tables.ts';
import { NAMED, count, listNames } from './words.ts';

export interface FenceFacts {
  readonly role: string;
  readonly database: string;
  readonly owner: string;
  readonly major: number;
  /** Tables to lock, partitioned ones above them included, and those of them that this role may not lock. */
  readonly tables: number;
  readonly unlockable: readonly string[];
  readonly locksPerTransaction: number;
  readonly lockSlots: number;
  readonly locksInUse: number;
  readonly superuser: boolean;
  readonly mayAlterDatabase: boolean;
  readonly maySignal: boolean;
}

/** Locks may take this share of the free slots; the application needs some as well. As the cutover reckons. */
const SHARE_OF_FREE_SLOTS = 0.75;

/** Whether writes can be stopped at the cutover: by locks, or by a read-only default and ending sessions. */
export function judgeFence(facts: FenceFacts): Verdict {
  const { role, unlockable } = facts;
  const quoted = quoteIdent(role);
  const free = Math.floor(Math.max(0, facts.lockSlots - facts.locksInUse) * SHARE_OF_FREE_SLOTS);
  const fits = facts.tables <= free;
  const fallback = facts.superuser || (facts.mayAlterDatabase && facts.maySignal);
  const gifts = [
    ...(facts.mayAlterDatabase
      ? []
      : [`GRANT ${quoteIdent(facts.owner)} TO ${quoted}; -- to refuse new writers after the cutover`]),
    ...(facts.superuser || facts.maySignal
      ? []
      : [`GRANT pg_signal_backend TO ${quoted}; -- to end the other sessions at the cutover`]),
  ];
  if (unlockable.length === 0 && fits) {
    const found = `Writes can be stopped by locks on ${count(facts.tables, 'table')}; ${free.toLocaleString('en-US')} more locks have room.`;
    if (gifts.length === 0) return passed(found);
    const open = facts.mayAlterDatabase
      ? 'sessions of other roles cannot be ended'
      : 'sessions that start after the cutover cannot be made read-only';
    return warned(
      `${found} But ${open} by ${role}: stop the writers yourself before the locks are released.`,
      gifts.join('\n'),
    );
  }
  const why =
    unlockable.length > 0
      ? `${role} may not lock ${count(unlockable.length, 'table')} against writes: ${listNames(unlockable)}`
      : `${count(facts.tables, 'lock')} do not fit: ${free.toLocaleString('en-US')} have room (max_locks_per_transaction is ${facts.locksPerTransaction})`;
  const right = facts.major >= 17 ? 'MAINTAIN' : 'UPDATE';
  const needed = Math.ceil(
    ((facts.tables / SHARE_OF_FREE_SLOTS + facts.locksInUse) / Math.max(1, facts.lockSlots)) *
      facts.locksPerTransaction,
  );
  const remedy =
    unlockable.length > 0
      ? `GRANT ${right} ON ${unlockable.slice(0, NAMED).join(', ')} TO ${quoted}; -- as the owner${unlockable.length > NAMED ? `, and on ${unlockable.length - NAMED} more` : ''}`
      : `ALTER SYSTEM SET max_locks_per_transaction = ${Math.max(2 * facts.locksPerTransaction, needed)}; -- and restart the source`;
  if (fallback)
    return warned(
      `${why}. At the cutover the database is made read-only and its other sessions are ended instead; a session can switch that off for itself.`,
      remedy,
    );
  return failed(
    'FENCE_IMPOSSIBLE',
    `${why}. Nor can ${role} make the database read-only and end its sessions, so writes could not be stopped at the cutover.`,
    [remedy, ...gifts.map((gift) => `-- or: ${gift}`)].join('\n'),
  );
}

/** Any of the rights lets a role LOCK a table IN SHARE MODE (documentation of LOCK); MAINTAIN since 17. */
const FENCE = `
WITH RECURSIVE named AS (
  SELECT c.oid FROM unnest($1::text[], $2::text[]) AS w (schema, name)
  JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
), up AS (
  SELECT oid FROM named
  UNION
  SELECT i.inhparent FROM up JOIN pg_inherits i ON i.inhrelid = up.oid JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'p'
), rights AS (
  SELECT n.nspname, c.relname, has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE'
    || CASE WHEN current_setting('server_version_num')::int >= 170000 THEN ', MAINTAIN' ELSE '' END) AS lockable
  FROM up JOIN pg_class c ON c.oid = up.oid JOIN pg_namespace n ON n.oid = c.relnamespace
)
SELECT o.rolname::text AS owner, (SELECT count(*) FROM rights)::int AS tables,
  ARRAY(SELECT quote_ident(nspname) || '.' || quote_ident(relname) FROM rights WHERE NOT lockable ORDER BY 1) AS unlockable,
  current_setting('max_locks_per_transaction')::int AS "locksPerTransaction",
  (current_setting('max_locks_per_transaction')::float8
    * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int)) AS "lockSlots",
  (SELECT count(*) FROM pg_locks WHERE NOT fastpath)::int AS "locksInUse",
  pg_has_role(d.datdba, 'USAGE') AS "mayAlterDatabase", pg_has_role('pg_signal_backend', 'USAGE') AS "maySignal"
FROM pg_database d JOIN pg_roles o ON o.oid = d.datdba WHERE d.datname = current_database()`;

type FenceRow = Omit<FenceFacts, 'role' | 'database' | 'major' | 'superuser'> & Record<string, unknown>;

const fence: Check = {
  id: 'live.fence',
  severity: 'blocks',
  title: 'The source role can stop writes at the cutover.',
  needs: 'source',
  run: async (source, { options }) => {
    const tables = (await readLiveTables(source, options)).filter(isFollowed);
    const row = await source.one<FenceRow>(FENCE, [tables.map((t) => t.schema), tables.map((t) => t.name)]);
    const { role, database, superuser } = source.identity;
    return judgeFence({ ...row, role, database, superuser, major: source.version.major });
  },
};

export interface ProgressRight {
  readonly role: string;
  readonly database: string;
  readonly mayCreate: boolean;
  /** The schema stands; null when not. */
  readonly schema: { readonly owner: string; readonly usable: boolean } | null;
}

/** Where the target keeps how far a job is. */
const SCHEMA = 'pgsluice_live';

export function judgeProgressRight(right: ProgressRight): Verdict {
  const { role, database, schema } = right;
  if (schema !== null) {
    if (schema.usable) return passed(`The schema ${SCHEMA} stands on the target, and ${role} may use it.`);
    return failed(
      'PROGRESS_DENIED',
      `The schema ${SCHEMA} on the target belongs to ${schema.owner}, and ${role} may not write there.`,
      `GRANT ${quoteIdent(schema.owner)} TO ${quoteIdent(role)}; -- or, when no job of that role runs: DROP SCHEMA ${SCHEMA} CASCADE;`,
    );
  }
  if (right.mayCreate)
    return passed(`The role ${role} may create the schema ${SCHEMA} on the target; it is dropped at the end.`);
  return failed(
    'PROGRESS_DENIED',
    `The role ${role} may not create the schema ${SCHEMA} on the target, where it is kept how far the job is.`,
    `GRANT CREATE ON DATABASE ${quoteIdent(database)} TO ${quoteIdent(role)};`,
  );
}

const PROGRESS = `
SELECT has_database_privilege(current_database(), 'CREATE') AS "mayCreate",
  (SELECT jsonb_build_object('owner', pg_get_userbyid(nspowner), 'usable', pg_has_role(nspowner, 'USAGE')) FROM pg_namespace WHERE nspname = '${SCHEMA}') AS schema`;

const targetProgress: Check = {
  id: 'live.target-progress',
  severity: 'blocks',
  title: 'The target role may keep there how far the job is.',
  needs: 'target',
  run: async (target) => {
    const row = await target.one<Pick<ProgressRight, 'mayCreate' | 'schema'> & Record<string, unknown>>(PROGRESS);
    return judgeProgressRight({ ...row, role: target.identity.role, database: target.identity.database });
  },
};

export const liveFenceChecks: readonly Check[] = [fence, targetProgress];
