import type { ArchiveEntry } from '../postgres/archive.ts';
import { lendCreate } from '../postgres/lend-create.ts';
import type { Lending } from '../postgres/lend-create.ts';
import { grantAsMember, rolesOfEntry } from '../postgres/map-roles.ts';
import type { Session } from '../postgres/session.ts';

const SELF = `SELECT current_user::text AS role, rolsuper AS superuser FROM pg_roles WHERE rolname = current_user`;

/** Who may create where, PUBLIC's rights included; a role that is still to be made has no others. */
const RIGHTS = `
SELECT n.nspname::text AS schema, pg_get_userbyid(n.nspowner)::text AS owner, o.role,
       CASE WHEN r.oid IS NULL THEN has_schema_privilege('public', n.oid, 'CREATE') ELSE has_schema_privilege(r.oid, n.oid, 'CREATE') END AS may
FROM pg_namespace n CROSS JOIN unnest($1::text[]) AS o(role) LEFT JOIN pg_roles r ON r.rolname = o.role
WHERE n.nspname = ANY ($2)`;
const DATABASE_RIGHTS = `
SELECT r.rolname::text AS role FROM pg_roles r
WHERE r.rolname = ANY ($1) AND has_database_privilege(r.oid, current_database(), 'CREATE')`;

/** New owner of a schema by the archive's last word on it. */
function ownersOfSchemas(entries: readonly ArchiveEntry[]): Map<string, string> {
  const owners = new Map<string, string>();
  for (const entry of entries) {
    const [owner] = entry.type === 'SCHEMA' ? rolesOfEntry(entry).keys() : [];
    if (owner !== undefined) owners.set(entry.name, owner);
  }
  return owners;
}

/**
 * The entries as a role that is no superuser can restore them: grants that a grantee passed on are made in its name, and new
 * owners are lent the right to create. `emptied`: schemas are dropped before, but for public.
 */
export async function asOrdinaryRole(
  target: Session,
  entries: readonly ArchiveEntry[],
  emptied: boolean,
): Promise<readonly ArchiveEntry[]> {
  const [self] = await target.query<{ role: string; superuser: boolean }>(SELF);
  if (self === undefined || self.superuser) return entries;
  const owners = new Set<string>();
  for (const entry of entries) {
    if (entry.type !== 'ACL') for (const [role, acts] of rolesOfEntry(entry)) if (acts) owners.add(role);
  }
  owners.delete(self.role);
  const members = entries.map(grantAsMember);
  if (owners.size === 0) return members;
  const schemas = new Set(entries.flatMap(({ schema }) => (schema === null ? [] : [schema])));
  const rows = await target.query<{ schema: string; owner: string; role: string; may: boolean }>(RIGHTS, [
    [...owners],
    emptied ? ['public'] : [...schemas],
  ]);
  const database = await target.query<{ role: string }>(DATABASE_RIGHTS, [[...owners]]);
  const may = new Set(rows.filter((row) => row.may).map(({ schema, role }) => JSON.stringify([schema, role])));
  const lending: Lending = {
    self: self.role,
    database: target.settings.database,
    schemaOwners: new Map([...rows.map(({ schema, owner }) => [schema, owner] as const), ...ownersOfSchemas(entries)]),
    mayCreate: (role, schema) => may.has(JSON.stringify([schema, role])),
    mayCreateInDatabase: (role) => database.some((row) => row.role === role),
  };
  return members.map((entry) => lendCreate(entry, lending));
}
