import type { JobOptions } from '../contract/options.ts';
import { mappedRole } from '../postgres/map-roles.ts';
import { placeRoles } from '../postgres/places/places.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import { isForeignRole } from '../postgres/role-facts.ts';
import { failed, passed, skipped, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import type { CatalogObject, RoleUse } from './catalog.ts';
import { perDatabase } from './database.ts';
import type { Database } from './database.ts';
import { readNotCarried } from './left-out.ts';
import type { NotCarried } from './left-out.ts';
import { wantsLive } from './method.ts';
import { objectName } from './names.ts';
import { dataInScope, inScope, largeObjectsInScope } from './scope.ts';
import { NAMED, count, listNames } from './words.ts';

const scoped = (options: JobOptions, objects: readonly CatalogObject[]): CatalogObject[] =>
  objects.filter((object) => inScope(options, object));

export interface CreateRights {
  readonly role: string;
  readonly database: string;
  readonly createInDatabase: boolean;
  /** Schemas that exist on the target, with the right to create in them. */
  readonly schemas: readonly { readonly schema: string; readonly create: boolean }[];
}

/** Schemas the source has objects in, and whether something stands in the database itself (a publication, a schema …). */
export interface CreateNeeds {
  readonly schemas: readonly string[];
  readonly databaseWide: readonly string[];
}

export function judgeCreate(rights: CreateRights, needs: CreateNeeds): Verdict {
  const existing = new Map(rights.schemas.map((s) => [s.schema, s.create]));
  const newSchemas = needs.schemas.filter((schema) => !existing.has(schema));
  const closed = needs.schemas.filter((schema) => existing.get(schema) === false);
  const problems: string[] = [];
  const remedies: string[] = [];
  if (!rights.createInDatabase && (newSchemas.length > 0 || needs.databaseWide.length > 0)) {
    const what = [...newSchemas.map((s) => `schema ${quoteIdent(s)}`), ...needs.databaseWide];
    problems.push(`may not CREATE in the database ${rights.database} (${listNames(what)})`);
    remedies.push(`GRANT CREATE ON DATABASE ${quoteIdent(rights.database)} TO ${quoteIdent(rights.role)};`);
  }
  if (closed.length > 0) {
    problems.push(`may not create in ${count(closed.length, 'schema')}: ${listNames(closed.map(quoteIdent))}`);
    remedies.push(`GRANT CREATE, USAGE ON SCHEMA ${closed.map(quoteIdent).join(', ')} TO ${quoteIdent(rights.role)};`);
  }
  if (problems.length === 0) return passed(`The role ${rights.role} may create what the job creates.`);
  return failed('TARGET_CREATE_DENIED', `The role ${rights.role} ${problems.join('; and it ')}.`, remedies.join('\n'));
}

export interface WriteRight {
  readonly schema: string;
  readonly name: string;
  readonly kind: string;
  readonly writable: boolean;
  readonly rowSecurity: boolean;
}

/** Data only: every row is written by COPY after TRUNCATE, sequences by setval. */
export function judgeWrite(role: string, rights: readonly WriteRight[]): Verdict {
  const denied = rights.filter((r) => !r.writable);
  const guarded = rights.filter((r) => r.writable && r.rowSecurity);
  if (denied.length > 0) {
    return failed(
      'TARGET_WRITE_DENIED',
      `The role ${role} may not fill ${count(denied.length, 'relation')} of the target: ${listNames(denied.map((r) => qualified(r.schema, r.name)))}.`,
      denied
        .slice(0, NAMED)
        .map(
          (r) =>
            `GRANT ${r.kind === 'S' ? 'SELECT, UPDATE ON SEQUENCE' : 'SELECT, INSERT, TRUNCATE ON'} ${qualified(r.schema, r.name)} TO ${quoteIdent(role)};`,
        )
        .join('\n'),
    );
  }
  if (guarded.length > 0) {
    return failed(
      'TARGET_WRITE_DENIED',
      `Row-level security on the target refuses COPY into ${count(guarded.length, 'table')} by ${role}: ${listNames(guarded.map((r) => qualified(r.schema, r.name)))}.`,
      `ALTER ROLE ${quoteIdent(role)} BYPASSRLS;`,
    );
  }
  return passed(`The role ${role} may fill all ${count(rights.length, 'table and sequence', 'tables and sequences')}.`);
}

const CREATE_RIGHTS = `
SELECT current_user::text AS role, current_database()::text AS database, has_database_privilege(current_database(), 'CREATE') AS "createInDatabase",
  COALESCE((SELECT json_agg(json_build_object('schema', n.nspname, 'create', has_schema_privilege(n.oid, 'CREATE') AND has_schema_privilege(n.oid, 'USAGE')))
   FROM pg_namespace n WHERE n.nspname = ANY ($1)), '[]') AS schemas`;

/** What the target's role may create, as far as it matters for these schemas. */
export function readCreateRights(target: Database, schemas: readonly string[]): Promise<CreateRights> {
  return target.one<CreateRights & Record<string, unknown>>(CREATE_RIGHTS, [schemas]);
}

const WRITE_RIGHTS = `
SELECT n.nspname AS schema, c.relname AS name, c.relkind AS kind, row_security_active(c.oid) AS "rowSecurity",
  CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'UPDATE')
       ELSE has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'TRUNCATE') END
    AND has_schema_privilege(n.oid, 'USAGE') AS writable
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'S') AND c.relpersistence <> 't'`;

async function readWriteRights(source: Database, target: Database, options: JobOptions): Promise<WriteRight[]> {
  const filled = new Set(
    (await source.relations())
      .filter((r) => (r.kind === 'r' || r.kind === 'S') && dataInScope(options, r.schema, r.name))
      .map((r) => qualified(r.schema, r.name)),
  );
  return readRightsToFill(target, filled);
}

/** Rights to fill these tables and sequences, which are named qualified and quoted. */
export async function readRightsToFill(target: Database, filled: ReadonlySet<string>): Promise<WriteRight[]> {
  const rights = await target.session.query<WriteRight & Record<string, unknown>>(WRITE_RIGHTS);
  return rights.filter((r) => filled.has(qualified(r.schema, r.name)));
}

export const databaseWideKinds: ReadonlySet<string> = new Set([
  'PUBLICATION',
  'FOREIGN DATA WRAPPER',
  'PROCEDURAL LANGUAGE',
]);

const targetCreate: Check = {
  id: 'privilege.target-create',
  severity: 'blocks',
  title: 'The target role may create (with data only: fill) what the job moves.',
  needs: 'both',
  side: 'target',
  run: async (source, target, { options }) => {
    if (options.dataOnly) return judgeWrite(target.identity.role, await readWriteRights(source, target, options));
    const objects = scoped(options, await source.objects());
    const schemas = [...new Set(objects.map((o) => o.schema).filter((s) => s !== null))];
    const rights = await readCreateRights(target, schemas);
    const databaseWide = objects.filter((o) => databaseWideKinds.has(o.kind)).map(objectName);
    return judgeCreate(rights, { schemas, databaseWide });
  },
};

/** Roles the restored objects name, each with one place where it is named. */
export interface NeededRoles {
  readonly owners: ReadonlyMap<string, string>;
  readonly others: ReadonlyMap<string, string>;
}

function note(map: Map<string, string>, role: string, where: string): void {
  if (!map.has(role)) map.set(role, where);
}

/** By their names on the target: mapped ones by who takes their place. */
export function neededRoles(
  options: JobOptions,
  objects: readonly CatalogObject[],
  uses: readonly RoleUse[],
): NeededRoles {
  const owners = new Map<string, string>();
  const others = new Map<string, string>();
  const named = (role: string): string => mappedRole(options.mapRole, role);
  for (const object of scoped(options, objects)) {
    if (!options.noOwner && object.owner !== null && object.kind !== 'SUBSCRIPTION')
      note(owners, named(object.owner), `owner of ${objectName(object)}`);
    if (!options.noAcl) for (const role of object.grantees) note(others, named(role), `grant on ${objectName(object)}`);
  }
  for (const use of uses) {
    const grant = use.kind === 'COLUMN GRANT' || use.kind === 'DEFAULT ACL';
    if ((grant && options.noAcl) || !inScope(options, { schema: use.schema, name: use.name, relation: use.relation }))
      continue;
    const where =
      use.schema === null ? `${use.kind} of ${use.name}` : `${use.kind} on ${qualified(use.schema, use.name)}`;
    for (const role of use.roles) note(others, named(role), where);
  }
  for (const owner of owners.keys()) others.delete(owner);
  return { owners, others };
}

export interface TargetRole {
  readonly role: string;
  readonly superuser: boolean;
  readonly createRole: boolean;
  /** Roles that exist on the target, each with whether ours may act as it (SET ROLE). */
  readonly existing: ReadonlyMap<string, boolean>;
}

/** A role that can be made: PostgreSQL brings the pg_ ones with its major version, a provider its own. */
const creatable = (role: string): boolean => !isForeignRole(role);

export function judgeRoles(options: JobOptions, needed: NeededRoles, target: TargetRole): Verdict {
  const all = new Map([...needed.owners, ...needed.others]);
  const missing = [...all].filter(([role]) => !target.existing.has(role));
  if (missing.length === 0)
    return passed(
      all.size === 0
        ? 'The job names no role.'
        : `All ${count(all.size, 'role')} that objects name exist on the target.`,
    );
  const names = missing.map(([role, where]) => `${quoteIdent(role)} (${where})`);
  const cannot = missing.some(([role]) => !creatable(role));
  if (options.roles === 'create' && !cannot) {
    if (target.superuser || target.createRole) {
      return passed(
        `${count(missing.length, 'role')} will be created on the target: ${listNames(missing.map(([role]) => quoteIdent(role)))}.`,
      );
    }
    return failed(
      'ROLE_CREATION_DENIED',
      `The role ${target.role} may not create the ${count(missing.length, 'role')} the target lacks: ${listNames(names)}.`,
      `ALTER ROLE ${quoteIdent(target.role)} CREATEROLE;`,
    );
  }
  const without = [
    ...(missing.some(([role]) => needed.owners.has(role)) ? ['--no-owner'] : []),
    ...(missing.some(([role]) => needed.others.has(role)) ? ['--no-acl'] : []),
  ].join(' and ');
  const ways = [
    ...(options.roles === 'create' || cannot ? [] : ['--roles create']),
    `--map-role ${missing[0]?.[0] ?? 'old'}=… with a role of the target`,
    without,
  ].join(', or ');
  return failed(
    'ROLE_MISSING',
    `The target lacks ${count(missing.length, 'role')} that objects of the source name: ${listNames(names)}.`,
    `${missing.map(([role]) => (creatable(role) ? `CREATE ROLE ${quoteIdent(role)};` : `-- ${role} comes with PostgreSQL or a provider: the target's version or place has none`)).join('\n')}\n-- or: ${ways}`,
  );
}

/** Giving an object away needs the right to act as the new owner (PostgreSQL documentation, ALTER TABLE … OWNER TO). */
export function judgeSetOwner(options: JobOptions, needed: NeededRoles, target: TargetRole): Verdict {
  if (options.noOwner) return skipped('Owners are not restored (--no-owner).');
  if (target.superuser) return passed(`The role ${target.role} is a superuser and may set every owner.`);
  const denied = [...needed.owners.keys()].filter(
    (role) => role !== target.role && target.existing.get(role) === false,
  );
  if (denied.length === 0) return passed(`The role ${target.role} may act as every owner it has to set.`);
  return failed(
    'OWNER_NOT_ALLOWED',
    `The role ${target.role} may not make ${count(denied.length, 'role')} the owner of objects: ${listNames(denied.map(quoteIdent))}.`,
    `GRANT ${denied.map(quoteIdent).join(', ')} TO ${quoteIdent(target.role)};\n-- or: --no-owner, and everything belongs to ${target.role}`,
  );
}

/** SET is a privilege of its own from 16 on; membership implies it before. */
const ROLES = (major: number): string => `
SELECT r.rolname AS name, pg_has_role(r.oid, '${major >= 16 ? 'SET' : 'MEMBER'}') AS member FROM pg_roles r`;

const readRoles = perDatabase((target) =>
  target.session.query<{ name: string; member: boolean }>(ROLES(target.version.major)),
);

export async function readTargetRole(target: Database): Promise<TargetRole> {
  const { role, superuser, createRole } = target.identity;
  const existing = new Map((await readRoles(target)).map((row) => [row.name, row.member]));
  return { role, superuser, createRole, existing };
}

const LARGE_OBJECT_ROLES = `
SELECT 'owner' AS kind, pg_get_userbyid(lomowner)::text AS role, count(*)::int AS objects FROM pg_largeobject_metadata GROUP BY 2
UNION ALL
SELECT 'grant', pg_get_userbyid(a.grantee)::text, count(*)::int
FROM pg_largeobject_metadata, LATERAL aclexplode(lomacl) a WHERE a.grantee <> 0 AND a.grantee <> lomowner GROUP BY 2`;

/** Owners and grantees of the large objects, which are no objects of the catalogue; each with how many there are. */
export const readLargeObjectRoles = perDatabase((source) =>
  source.session.query<{ kind: 'owner' | 'grant'; role: string; objects: number }>(LARGE_OBJECT_ROLES),
);

/** By a target that is given, only those of what its role can make: the rest is left out, or stops the job by itself. */
export async function readNeeded(source: Database, options: JobOptions, target?: Database): Promise<NeededRoles> {
  const objects = await source.objects();
  const ordinary = target !== undefined && !target.identity.superuser && !(await isManaged(target));
  const made = ordinary ? objects.filter((o) => o.superuserWhy === null) : objects;
  const { owners, others } = neededRoles(options, made, await source.roleUses());
  const all = { owners: new Map(owners), others: new Map(others) };
  for (const { kind, role } of largeObjectsInScope(options) ? await readLargeObjectRoles(source) : []) {
    const name = mappedRole(options.mapRole, role);
    if (kind === 'owner' && !options.noOwner) note(all.owners, name, 'owner of large objects');
    if (kind === 'grant' && !options.noAcl) note(all.others, name, 'grant on large objects');
  }
  for (const owner of all.owners.keys()) all.others.delete(owner);
  return all;
}

const DATA_ONLY = 'The job moves data only: no object, owner or grant is restored.';

const roles: Check = {
  id: 'privilege.roles',
  severity: 'blocks',
  title: 'Every role that owns, is granted, or is named by something exists on the target.',
  needs: 'both',
  side: 'target',
  run: async (source, target, { options }) =>
    options.dataOnly
      ? skipped(DATA_ONLY)
      : judgeRoles(options, await readNeeded(source, options, target), await readTargetRole(target)),
};

const setOwner: Check = {
  id: 'privilege.set-owner',
  severity: 'blocks',
  title: 'The target role may give objects to their owners.',
  needs: 'both',
  side: 'target',
  run: async (source, target, { options }) =>
    options.dataOnly
      ? skipped(DATA_ONLY)
      : judgeSetOwner(options, await readNeeded(source, options, target), await readTargetRole(target)),
};

const superuserWords = (o: CatalogObject): string => `${objectName(o)}: ${o.superuserWhy ?? ''}`;

/** Names a person must have read before the start: more of them than other checks print. */
const ALL_NAMES = 500;

/** The provider may let its own roles make event triggers: they are tried there. */
export const isTried = (managed: boolean, found: Pick<NotCarried, 'objects' | 'grants'>): boolean =>
  managed && found.grants.length === 0 && found.objects.every((o) => o.kind === 'EVENT TRIGGER');

/** `live`: whoever follows the source holds the target against all of it, so nothing can be left out. */
export function judgeSuperuserObjects(
  superuser: boolean,
  managed: boolean,
  notCarried: Omit<NotCarried, 'keys'>,
  live = false,
): Verdict {
  const { objects, grants, kept } = notCarried;
  if (objects.length + grants.length === 0) return passed('Nothing of the source needs a superuser to be created.');
  if (superuser)
    return passed(
      `${count(objects.length + grants.length, 'object')} that only a superuser creates or grants; the target role is one.`,
    );
  const remedy = [
    { text: 'Give a target URL with a superuser, or drop or filter out these objects.', need: 'superuser' },
  ] as const;
  const parts = [
    ...(objects.length === 0
      ? []
      : [
          `Only a superuser creates ${count(objects.length, 'object')} of the source: ${objects.slice(0, ALL_NAMES).map(superuserWords).join('; ')}.`,
        ]),
    ...(notCarried.with.length === 0
      ? []
      : [`With them goes what stands on them: ${listNames(notCarried.with, ALL_NAMES)}.`]),
    ...(grants.length === 0
      ? []
      : [
          `Grants that are not this role's to change, on what PostgreSQL, extensions or other roles own: ${listNames(grants, ALL_NAMES)}.`,
        ]),
  ];
  if (kept.length > 0) {
    const rows = `Tables, or what belongs to them, stand on them: ${listNames(kept, ALL_NAMES)}.`;
    return failed('SUPERUSER_NEEDED', [...parts, rows].join(' '), remedy);
  }
  if (live && !isTried(managed, notCarried)) {
    return failed('SUPERUSER_NEEDED', [...parts, 'A live job leaves nothing out.'].join(' '), [
      ...remedy,
      { text: '-- or: --method copy, which leaves them out and names them' },
    ]);
  }
  const fate = isTried(managed, notCarried)
    ? 'The provider of this target may allow it all the same.'
    : 'All of it is left out, and the comparison at the end names it as missing.';
  return warned([...parts, fate].join(' '), remedy);
}

/** A role that the job makes lets its maker act as it. */
export async function readActsAs(target: Database, options: JobOptions): Promise<(role: string) => boolean> {
  const { existing } = await readTargetRole(target);
  return (role) => existing.get(role) ?? options.roles === 'create';
}

/** Providers let non-superusers do some of it by roles of their own (event triggers above all). */
export async function isManaged(target: Database): Promise<boolean> {
  const { existing } = await readTargetRole(target);
  return placeRoles.some((role) => existing.has(role));
}

const superuserObjects: Check = {
  id: 'privilege.superuser-objects',
  severity: 'blocks',
  title: 'The target role may create what only superusers can.',
  needs: 'both',
  side: 'target',
  run: async (source, target, { options }) => {
    if (options.dataOnly) return skipped(DATA_ONLY);
    const notCarried = await readNotCarried(source, options, await readActsAs(target, options));
    return judgeSuperuserObjects(target.identity.superuser, await isManaged(target), notCarried, wantsLive(options));
  },
};

/** What the copy leaves out, as privilege.superuser-objects has said: see postgres/left-out.ts. */
export async function readLeftOut(source: Database, target: Database, options: JobOptions): Promise<string[]> {
  if (options.dataOnly || target.identity.superuser) return [];
  const notCarried = await readNotCarried(source, options, await readActsAs(target, options));
  return isTried(await isManaged(target), notCarried) ? [] : [...notCarried.keys];
}

export const targetPrivilegeChecks: readonly Check[] = [targetCreate, roles, setOwner, superuserObjects];
