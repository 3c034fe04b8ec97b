import { placeRoles } from './places/places.ts';
import type { Session } from './session.ts';

/** A role as its server describes it. Holds no password, so that it can be shown, stored and compared. */
export interface RoleFacts {
  readonly name: string;
  readonly attributes: {
    readonly login: boolean;
    readonly inherit: boolean;
    readonly createdb: boolean;
    readonly createrole: boolean;
    readonly superuser: boolean;
    readonly replication: boolean;
    readonly bypassrls: boolean;
    /** -1: no limit. */
    readonly connectionLimit: number;
    /** As the server prints it, with its zone; null: for ever. */
    readonly validUntil: string | null;
  };
  /** Names of the roles that it is a member of. */
  readonly memberOf: readonly string[];
  /** The same with their options; left out where only the names are known. */
  readonly memberships?: readonly Membership[];
  /** `name=value` of ALTER ROLE … SET, and of ALTER ROLE … IN DATABASE … SET for the session's database. */
  readonly settings: readonly string[];
  readonly databaseSettings: readonly string[];
  readonly comment?: string | null;
}

export interface Membership {
  readonly role: string;
  readonly admin: boolean;
  /** Options of 16 and newer; null on older servers, where the member's own INHERIT decides and SET ROLE is always allowed. */
  readonly inherit: boolean | null;
  readonly set: boolean | null;
}

/** Roles that the server brings itself (PostgreSQL documentation, 22.5 "Predefined Roles"). */
export function isPredefinedRole(name: string): boolean {
  return name.startsWith('pg_');
}

/** Further roles by which providers run their service; a target of the same provider has its own. */
const placePatterns: readonly RegExp[] = [
  /^rds(_|admin$|topmgr$|repladmin$|writeforwarduser$|proxyadmin$)/,
  /^cloudsql/,
  /^azure_/,
  /^azuresu$/,
  /^alloydb/,
  /^supabase_/,
  /^(authenticator|anon|authenticated|service_role|dashboard_user|pgbouncer|pgsodium_\w+)$/,
  /^neon_/,
  /^cloud_admin$/,
  /^(doadmin|avnadmin|_aiven|_doadmin\w*)$/,
  /^heroku/,
];

/** True for a role that belongs to the place the server stands at. Pure. */
export function isPlaceRole(name: string): boolean {
  return placeRoles.includes(name) || placePatterns.some((pattern) => pattern.test(name));
}

/** True for roles that are never made: the server or its provider brings them. */
export function isForeignRole(name: string): boolean {
  return isPredefinedRole(name) || isPlaceRole(name);
}

const ROLES = `
SELECT r.rolname::text AS name,
  json_build_object('login', r.rolcanlogin, 'inherit', r.rolinherit, 'createdb', r.rolcreatedb, 'createrole', r.rolcreaterole,
    'superuser', r.rolsuper, 'replication', r.rolreplication, 'bypassrls', r.rolbypassrls, 'connectionLimit', r.rolconnlimit,
    'validUntil', CASE WHEN r.rolvaliduntil <> 'infinity' THEN r.rolvaliduntil::text END) AS attributes,
  COALESCE((SELECT json_agg(json_build_object('role', g.role, 'admin', g.admin, 'inherit', g.inherit, 'set', g.set) ORDER BY g.role)
   FROM (SELECT pg_get_userbyid(m.roleid)::text AS role, bool_or(m.admin_option) AS admin,
           bool_or((to_jsonb(m)->>'inherit_option')::boolean) AS inherit, bool_or((to_jsonb(m)->>'set_option')::boolean) AS set
         FROM pg_auth_members m WHERE m.member = r.oid GROUP BY m.roleid) g), '[]') AS memberships,
  ARRAY(SELECT c FROM pg_db_role_setting s, unnest(s.setconfig) c WHERE s.setrole = r.oid AND s.setdatabase = 0) AS settings,
  ARRAY(SELECT c FROM pg_db_role_setting s, unnest(s.setconfig) c
        WHERE s.setrole = r.oid AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())) AS "databaseSettings",
  shobj_description(r.oid, 'pg_authid') AS comment
FROM pg_roles r ORDER BY r.rolname`;

interface RoleRow {
  readonly name: string;
  readonly attributes: RoleFacts['attributes'];
  readonly memberships: Membership[];
  readonly settings: string[];
  readonly databaseSettings: string[];
  readonly comment: string | null;
  readonly [column: string]: unknown;
}

/** Every role of the server but its predefined ones. */
export async function readRoles(session: Session): Promise<RoleFacts[]> {
  const rows = await session.query<RoleRow>(ROLES);
  return rows
    .filter(({ name }) => !isPredefinedRole(name))
    .map(({ name, attributes, memberships, settings, databaseSettings, comment }) => ({
      name,
      attributes,
      memberOf: memberships.map(({ role }) => role),
      memberships,
      settings,
      databaseSettings,
      comment,
    }));
}

/**
 * The roles that these names stand for or need: themselves, whoever acts through a membership in them, and what they are
 * members of. Those who only administer a role do not use it, and members of a provider's own roles are its own affair. Pure.
 */
export function rolesInvolved(all: readonly RoleFacts[], names: Iterable<string>): RoleFacts[] {
  const known = new Map(all.map((role) => [role.name, role]));
  const named = [...names].filter((name) => known.has(name));
  const members = new Map<string, string[]>();
  for (const role of all) {
    for (const group of usedMemberships(role)) members.set(group, [...(members.get(group) ?? []), role.name]);
  }
  const below = closure(named, (name) => (isForeignRole(name) ? [] : (members.get(name) ?? [])));
  const above = closure(named, (name) => known.get(name)?.memberOf ?? []);
  return all.filter(({ name }) => below.has(name) || above.has(name));
}

function usedMemberships(role: RoleFacts): string[] {
  if (role.memberships === undefined) return [...role.memberOf];
  return role.memberships.filter(({ inherit, set }) => inherit !== false || set !== false).map((one) => one.role);
}

function closure(from: readonly string[], next: (name: string) => readonly string[]): Set<string> {
  const found = new Set(from);
  for (const name of found) for (const other of next(name)) found.add(other);
  return found;
}

/** Passwords as the server stores them (a SCRAM or md5 verifier), by role; null for a role without one. Never to be shown. */
export type Verifiers = ReadonlyMap<string, string | null>;

const MAY_READ = `SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS readable`;
const VERIFIERS = `SELECT rolname::text AS name, rolpassword AS verifier FROM pg_authid WHERE rolname = ANY ($1)`;

/** True where the session's role may read how passwords are stored. */
export async function mayReadVerifiers(session: Session): Promise<boolean> {
  const [row] = await session.query<{ readable: boolean }>(MAY_READ);
  return row?.readable === true;
}

/** null where the session's role may not read them. */
export async function readVerifiers(session: Session, names: readonly string[]): Promise<Verifiers | null> {
  if (!(await mayReadVerifiers(session))) return null;
  const rows = await session.query<{ name: string; verifier: string | null }>(VERIFIERS, [names]);
  return new Map(rows.map(({ name, verifier }) => [name, verifier]));
}

const KINDS = `SELECT rolname::text AS name, left(rolpassword, 3) AS verifier FROM pg_authid WHERE rolname = ANY ($1)`;

/** Only how each password is stored, as far as a plan depends on it: nothing of the password itself. */
export async function readVerifierKinds(session: Session, names: readonly string[]): Promise<Verifiers | null> {
  if (!(await mayReadVerifiers(session))) return null;
  const rows = await session.query<{ name: string; verifier: string | null }>(KINDS, [names]);
  return new Map(rows.map(({ name, verifier }) => [name, verifier]));
}

/** What the role of a target's session may do to roles, and which roles there are. */
export interface RoleRights {
  readonly role: string;
  readonly major: number;
  readonly superuser: boolean;
  readonly createrole: boolean;
  readonly createdb: boolean;
  readonly replication: boolean;
  readonly bypassrls: boolean;
  readonly existing: ReadonlySet<string>;
  /** Roles that it may grant to others and set parameters for, itself left out. */
  readonly administers: ReadonlySet<string>;
  /** Parameters that the role may not set for anybody: they take a superuser. */
  readonly reserved: ReadonlySet<string>;
  /** `role name` of every setting that stands for a role in the target database. */
  readonly databaseSettings: ReadonlySet<string>;
}

const RIGHTS = `
SELECT current_user::text AS role, current_setting('server_version_num')::int / 10000 AS major, rolsuper AS superuser,
       rolcreaterole AS createrole, rolcreatedb AS createdb, rolreplication AS replication, rolbypassrls AS bypassrls
FROM pg_roles WHERE rolname = current_user`;

type OwnRights = Omit<RoleRights, 'existing' | 'administers' | 'reserved' | 'databaseSettings'>;

/** Before 16 CREATEROLE administers every role that is no superuser (PostgreSQL documentation, CREATE ROLE). */
const EXISTING = ({ superuser, major, createrole }: OwnRights): string => `
SELECT rolname::text AS name, ${superuser} OR (${major < 16 && createrole} AND NOT rolsuper)
  OR pg_has_role(oid, 'MEMBER WITH ADMIN OPTION') AS administers FROM pg_roles`;

/** From 15 on single parameters can be granted. */
const RESERVED = (major: number): string => `
SELECT lower(name) AS name FROM pg_settings
WHERE context IN ('superuser', 'superuser-backend')${major >= 15 ? ` AND NOT has_parameter_privilege(name, 'SET')` : ''}`;

const DATABASE_SETTINGS = `
SELECT pg_get_userbyid(s.setrole)::text AS role, split_part(c, '=', 1) AS name
FROM pg_db_role_setting s, unnest(s.setconfig) c
WHERE s.setrole <> 0 AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = $1)`;

/** `database`: the target's, which need not be the session's. */
export async function readRoleRights(session: Session, database: string): Promise<RoleRights> {
  const [own] = await session.query<OwnRights & Record<string, unknown>>(RIGHTS);
  if (own === undefined) throw new Error('The current role is not in pg_roles.');
  const roles = await session.query<{ name: string; administers: boolean }>(EXISTING(own));
  const reserved = own.superuser ? [] : await session.query<{ name: string }>(RESERVED(own.major));
  const set = await session.query<{ role: string; name: string }>(DATABASE_SETTINGS, [database]);
  return {
    ...own,
    existing: new Set(roles.map(({ name }) => name)),
    administers: new Set(roles.filter((role) => role.administers).map(({ name }) => name)),
    reserved: new Set(reserved.map(({ name }) => name)),
    databaseSettings: new Set(set.map(({ role, name }) => `${role} ${name}`)),
  };
}
