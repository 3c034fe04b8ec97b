import type { ArchiveEntry } from '../postgres/archive.ts';
import type { JobOptions } from '../contract/options.ts';
import { quoteIdent } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';

interface SourceRole {
  readonly name: string;
  readonly login: boolean;
  readonly inherit: boolean;
  readonly createdb: boolean;
  readonly createrole: boolean;
  readonly superuser: boolean;
  readonly replication: boolean;
  readonly bypassrls: boolean;
  readonly memberOf: string[];
  readonly [column: string]: unknown;
}

/** Roles that own something in this database or are named in a grant, policy or default privilege of it, and what they are members of. */
const ROLES = `
WITH RECURSIVE named AS (
  SELECT DISTINCT refobjid AS oid FROM pg_shdepend
  WHERE refclassid = 'pg_authid'::regclass AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  UNION SELECT oid FROM pg_roles WHERE rolname = ANY ($1)
), wanted AS (
  SELECT oid FROM named
  UNION SELECT m.roleid FROM pg_auth_members m JOIN wanted w ON w.oid = m.member
)
SELECT r.rolname AS name, r.rolcanlogin AS login, r.rolinherit AS inherit, r.rolcreatedb AS createdb,
       r.rolcreaterole AS createrole, r.rolsuper AS superuser, r.rolreplication AS replication, r.rolbypassrls AS bypassrls,
       ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
             WHERE m.member = r.oid ORDER BY 1) AS "memberOf"
FROM wanted w JOIN pg_roles r ON r.oid = w.oid
WHERE r.rolname NOT LIKE 'pg\\_%' ORDER BY 1`;

export interface RolePlan {
  readonly statements: readonly string[];
  /** Sentences for the report: what a person has to set by hand. */
  readonly todo: readonly string[];
}

/** The statements that make the missing roles, without passwords. Pure. */
export function planRoles(
  source: readonly SourceRole[],
  existing: ReadonlySet<string>,
  targetIsSuperuser: boolean,
): RolePlan {
  const missing = source.filter((role) => !existing.has(role.name));
  const statements: string[] = [];
  const todo: string[] = [];
  for (const role of missing) {
    const attributes = [role.login ? 'LOGIN' : 'NOLOGIN', role.inherit ? 'INHERIT' : 'NOINHERIT'];
    const strong = [
      role.createdb ? 'CREATEDB' : null,
      role.createrole ? 'CREATEROLE' : null,
      role.superuser ? 'SUPERUSER' : null,
      role.replication ? 'REPLICATION' : null,
      role.bypassrls ? 'BYPASSRLS' : null,
    ].filter((attribute) => attribute !== null);
    if (targetIsSuperuser) attributes.push(...strong);
    else if (strong.length > 0) {
      todo.push(
        `Role ${quoteIdent(role.name)} was made without ${strong.join(', ')}: only a superuser of the target may give that.`,
      );
    }
    statements.push(`CREATE ROLE ${quoteIdent(role.name)} ${attributes.join(' ')}`);
    if (role.login)
      todo.push(`Set a password for the role ${quoteIdent(role.name)} on the target: passwords are not carried.`);
  }
  for (const role of missing) {
    for (const group of role.memberOf) statements.push(`GRANT ${quoteIdent(group)} TO ${quoteIdent(role.name)}`);
  }
  // An ordinary role may hand ownership only to roles that it is a member of.
  if (!targetIsSuperuser) for (const role of missing) statements.push(`GRANT ${quoteIdent(role.name)} TO CURRENT_USER`);
  return { statements, todo };
}

/** With `--roles create`: makes the roles that the source's objects name and the target lacks. */
export async function createRoles(
  source: Session,
  target: Session,
  options: JobOptions,
  entries: readonly ArchiveEntry[],
): Promise<RolePlan> {
  if (options.roles !== 'create') return { statements: [], todo: [] };
  // The bootstrap superuser is pinned and stands in no dependency; as an owner the archive names it.
  const owners = new Set(entries.map((entry) => entry.owner).filter((owner) => owner !== null));
  const wanted = await source.query<SourceRole>(ROLES, [[...owners]]);
  const existing = await target.query<{ name: string }>('SELECT rolname AS name FROM pg_roles');
  const [self] = await target.query<{ super: boolean }>(
    'SELECT rolsuper AS super FROM pg_roles WHERE rolname = current_user',
  );
  const plan = planRoles(wanted, new Set(existing.map((role) => role.name)), self?.super === true);
  const [version] = await target.query<{ num: number }>(`SELECT current_setting('server_version_num')::int AS num`);
  // From 16 on the creator is a member already, but may neither act as the role nor inherit from it.
  const own = (version?.num ?? 0) >= 160000 ? 'TO CURRENT_USER WITH SET TRUE, INHERIT TRUE' : 'TO CURRENT_USER';
  const done: string[] = [];
  const todo = [...plan.todo];
  // All or none: a role that is left by a failed run counts as the target's own afterwards, and its memberships as settled.
  await target.run('BEGIN');
  try {
    for (const planned of plan.statements) {
      const statement = planned.replace(/TO CURRENT_USER$/, own);
      await target.run('SAVEPOINT role');
      try {
        await target.run(statement);
        done.push(statement);
      } catch (error) {
        if (!isForeignMembership(statement) || sqlStateOf(error) !== SQLSTATE.insufficientPrivilege) throw error;
        await target.run('ROLLBACK TO SAVEPOINT role');
        todo.push(`The target role may not do this; run it as one that may: ${statement};`);
      }
    }
    await target.run('COMMIT');
  } catch (error) {
    if (!target.lost) await target.run('ROLLBACK');
    throw error;
  }
  return { statements: done, todo };
}

/** Membership in a role that somebody else administers, for instance one of PostgreSQL's own; no object depends on it. */
function isForeignMembership(statement: string): boolean {
  return statement.startsWith('GRANT ') && !statement.includes(' TO CURRENT_USER');
}
