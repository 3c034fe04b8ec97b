import { setTimeout as sleep } from 'node:timers/promises';
import type { JobOptions } from '../contract/options.ts';
import type { ArchiveEntry } from '../postgres/archive.ts';
import { rolesOfEntry } from '../postgres/map-roles.ts';
import { isOwnObject } from '../postgres/own-objects.ts';
import { readRoleRights, readRoles, readVerifiers, rolesInvolved } from '../postgres/role-facts.ts';
import type { RoleFacts, Verifiers } from '../postgres/role-facts.ts';
import { planRoles } from '../postgres/role-plan.ts';
import type { Session } from '../postgres/session.ts';
import { serverField, SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import type { CloneContext } from './context.ts';
import { carriesLargeObjects } from './large-objects.ts';

export interface CreatedRoles {
  /** What was done, for the log; no password in it. */
  readonly statements: readonly string[];
  /** Sentences for the report: what a person has to do by hand. */
  readonly todo: readonly string[];
}

/** Roles as their server or a manifest describes them. */
export interface RoleSource {
  readonly roles: readonly RoleFacts[];
  readonly verifiers: Verifiers | null;
}

/** Roles by their source's names that are needed by what is moved. */
export interface RolesNamed {
  readonly all: ReadonlySet<string>;
  /** Those that the connecting role has to act as. */
  readonly actAs: ReadonlySet<string>;
}

const LARGE_OBJECT_ROLES = `
SELECT pg_get_userbyid(lomowner)::text AS name, true AS owner FROM pg_largeobject_metadata
UNION SELECT pg_get_userbyid(r)::text, false FROM pg_largeobject_metadata, LATERAL aclexplode(lomacl) a, LATERAL (VALUES (a.grantee), (a.grantor)) v (r)
WHERE r <> 0`;

/** Roles of the large objects, which stand in no archive of the schema. */
export async function rolesOfLargeObjects(source: Session): Promise<{ name: string; owner: boolean }[]> {
  return source.query<{ name: string; owner: boolean }>(LARGE_OBJECT_ROLES);
}

/** The roles that the archive's entries name, by the archive's own names. Pure. */
export function rolesNamed(
  entries: readonly ArchiveEntry[],
  largeObjects: readonly { readonly name: string; readonly owner: boolean }[],
  options: Pick<JobOptions, 'noOwner' | 'noAcl'>,
): RolesNamed {
  const all = new Set<string>();
  const actAs = new Set<string>();
  const note = (name: string, acts: boolean): void => {
    all.add(name);
    if (acts) actAs.add(name);
  };
  for (const entry of entries) for (const [name, acts] of rolesOfEntry(entry)) note(name, acts);
  for (const { name, owner } of largeObjects) if (owner ? !options.noOwner : !options.noAcl) note(name, owner);
  return { all, actAs };
}

export interface CreateRolesInput {
  readonly options: Pick<JobOptions, 'roles' | 'mapRole'>;
  readonly source: RoleSource;
  readonly named: RolesNamed;
}

const RACES: ReadonlySet<string | null> = new Set([
  SQLSTATE.duplicateObject,
  SQLSTATE.uniqueViolation,
  SQLSTATE.deadlockDetected,
  SQLSTATE.serializationFailure,
]);

/** Roles are the whole server's: a job into another of its databases may make the same ones in this moment. */
function isRace(error: unknown): boolean {
  return RACES.has(sqlStateOf(error)) || serverField(error, 'message') === 'tuple concurrently updated';
}

const ATTEMPTS = 6;

/**
 * With `--roles create`: makes the roles that `named` needs and the target lacks, with what the target's role may give. All of
 * them or none; those that another job makes meanwhile are made once. @throws PgsluiceError when a role cannot be made at all.
 */
export async function createRoles(target: Session, input: CreateRolesInput): Promise<CreatedRoles> {
  if (input.options.roles !== 'create') return { statements: [], todo: [] };
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await createMissing(target, input);
    } catch (error) {
      if (target.lost || attempt === ATTEMPTS || !isRace(error)) throw error;
      await sleep(50 * 2 ** attempt * (1 + Math.random()));
    }
  }
}

async function createMissing(target: Session, input: CreateRolesInput): Promise<CreatedRoles> {
  const { source, named, options } = input;
  const roles = rolesInvolved(source.roles, named.all);
  const targetDatabase = target.settings.database;
  const plan = planRoles({
    roles,
    actAs: named.actAs,
    verifiers: source.verifiers,
    map: options.mapRole,
    target: await readRoleRights(target, targetDatabase),
    targetDatabase,
  });
  const done: string[] = [];
  const todo = [...plan.todo];
  // All or none: a role that is left by a failed run counts as the target's own afterwards, and its memberships as settled.
  await target.run('BEGIN');
  try {
    for (const { statement, secret, otherwise } of plan.steps) {
      await target.run('SAVEPOINT role');
      try {
        await target.run(secret ?? statement);
        done.push(statement);
      } catch (error) {
        if (otherwise === null || target.lost || sqlStateOf(error) === null || isRace(error)) throw error;
        await target.run('ROLLBACK TO SAVEPOINT role');
        todo.push(otherwise);
      }
    }
    await target.run('COMMIT');
  } catch (error) {
    if (!target.lost) await target.run('ROLLBACK');
    throw error;
  }
  return { statements: done, todo };
}

/** The roles of a source that is asked itself, passwords included where it lets them be read. */
export async function readRoleSource(source: Session): Promise<RoleSource> {
  const roles = await readRoles(source);
  const verifiers = await readVerifiers(
    source,
    roles.map(({ name }) => name),
  );
  return { roles, verifiers };
}

/** {@link createRoles} for a job between two servers. `entries`: the source's archive as it was dumped. */
export async function carryRoles(
  context: Pick<CloneContext, 'options'>,
  source: Session,
  target: Session,
  entries: readonly ArchiveEntry[],
): Promise<CreatedRoles> {
  const { options } = context;
  if (options.roles !== 'create') return { statements: [], todo: [] };
  const large = carriesLargeObjects(options) ? await rolesOfLargeObjects(source) : [];
  const dumped = entries.filter((entry) => !isOwnObject(entry));
  return createRoles(target, {
    options,
    source: await readRoleSource(source),
    named: rolesNamed(dumped, large, options),
  });
}
