import type { JobOptions } from '../contract/options.ts';
import { mappedRole } from '../postgres/map-roles.ts';
import { quoteIdent } from '../postgres/quote.ts';
import { isForeignRole, readRoleRights, readRoles, readVerifierKinds, rolesInvolved } from '../postgres/role-facts.ts';
import { planRoles } from '../postgres/role-plan.ts';
import type { RolePlan } from '../postgres/role-plan.ts';
import { failed, informed, passed, skipped, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import type { Database } from './database.ts';
import { readLargeObjectRoles, readNeeded, readTargetRole } from './privilege-target.ts';
import { inScope, largeObjectsInScope } from './scope.ts';
import { count, listNames } from './words.ts';

/** An owner on the source, and of how many objects of the job. */
export interface OwnerCount {
  readonly owner: string;
  readonly objects: number;
}

export interface OwnersInput {
  readonly owners: readonly OwnerCount[];
  /** The connecting role. */
  readonly role: string;
  /** Roles of the target. */
  readonly existing: { has(role: string): boolean };
  /** Every role of the source that the job's objects name, owners and others. */
  readonly named: ReadonlySet<string>;
}

/** What becomes of one owner's objects, as the second half of a sentence; `missing` when nobody can take them. */
function fateOf(owner: string, options: JobOptions, input: OwnersInput): { words: string; missing: boolean } {
  const name = mappedRole(options.mapRole, owner);
  const mapped = name === owner ? '' : `mapped to ${quoteIdent(name)}, `;
  if (options.noOwner)
    return { words: `belongs to ${quoteIdent(input.role)}, who connects (--no-owner)`, missing: false };
  if (input.existing.has(name)) {
    return { words: mapped === '' ? 'the same role of the target' : `${mapped}which exists`, missing: false };
  }
  if (options.roles === 'create' && !isForeignRole(name))
    return { words: `${mapped}which will be created`, missing: false };
  return { words: `${mapped}which the target lacks`, missing: true };
}

/** Who will own what: every owner of the source with how much it owns, and what becomes of that. Pure. */
export function judgeOwners(options: JobOptions, input: OwnersInput): Verdict {
  const fates = input.owners.map(({ owner, objects }) => {
    const fate = fateOf(owner, options, input);
    return {
      owner,
      missing: fate.missing,
      text: `${quoteIdent(owner)} owns ${count(objects, 'object')}: ${fate.words}`,
    };
  });
  const found =
    fates.length === 0 ? 'The job moves nothing that has an owner.' : `${fates.map(({ text }) => text).join('; ')}.`;
  const missing = fates.filter((fate) => fate.missing).map(({ owner }) => owner);
  if (missing.length > 0) {
    const map = missing.map((owner) => `--map-role ${owner}=…`).join(' ');
    return failed('ROLE_MISSING', found, `--roles create, or ${map} with roles of the target, or --no-owner`);
  }
  const unused = Object.keys(options.mapRole).filter((role) => !input.named.has(role));
  if (unused.length > 0) {
    return warned(
      `${found} Nothing of the job belongs or is granted to ${listNames(unused.map(quoteIdent))}, which --map-role names.`,
      'Correct the name before the = of --map-role, or leave the option out.',
    );
  }
  const kept = fates.every(({ owner }) => !options.noOwner && mappedRole(options.mapRole, owner) === owner);
  return kept && options.roles === 'none' ? passed(found) : informed(found);
}

async function countOwners(source: Database, options: JobOptions): Promise<OwnerCount[]> {
  const counts = new Map<string, number>();
  const add = (owner: string, objects: number): void => {
    counts.set(owner, (counts.get(owner) ?? 0) + objects);
  };
  for (const object of await source.objects()) {
    if (object.owner !== null && inScope(options, object)) add(object.owner, 1);
  }
  for (const { kind, role, objects } of largeObjectsInScope(options) ? await readLargeObjectRoles(source) : []) {
    if (kind === 'owner') add(role, objects);
  }
  return [...counts].map(([owner, objects]) => ({ owner, objects })).toSorted((a, b) => b.objects - a.objects);
}

/** By their names on the source. */
async function namedRoles(source: Database, options: JobOptions): Promise<{ owners: Set<string>; all: Set<string> }> {
  const { owners, others } = await readNeeded(source, { ...options, mapRole: {} });
  return { owners: new Set(owners.keys()), all: new Set([...owners.keys(), ...others.keys()]) };
}

const DATA_ONLY = 'The job moves data only: no object, owner or grant is restored.';

const owners: Check = {
  id: 'privilege.owners',
  severity: 'blocks',
  title: 'Who will own what on the target.',
  needs: 'both',
  side: 'target',
  run: async (source, target, { options }) => {
    if (options.dataOnly) return skipped(DATA_ONLY);
    const { all } = await namedRoles(source, { ...options, noOwner: false });
    const { existing } = await readTargetRole(target);
    const input = { owners: await countOwners(source, options), role: target.identity.role, existing, named: all };
    return judgeOwners(options, input);
  },
};

/** What the target's role cannot give to the roles that it makes. Pure. */
export function judgeRolePlan(
  role: string,
  plan: Pick<RolePlan, 'created' | 'withheld' | 'passwords' | 'todo'>,
): Verdict {
  if (plan.created.length === 0 && plan.withheld.length === 0) return passed('The job makes no role.');
  const created = `The job makes ${count(plan.created.length, 'role')}`;
  const parts = [
    ...plan.withheld,
    ...(plan.passwords.length === 0
      ? []
      : [`a password has to be set by a person for ${listNames(plan.passwords.map(quoteIdent), Infinity)}`]),
  ];
  if (parts.length === 0) return passed(`${created} as they are on the source.`);
  return warned(`${created}. ${role} cannot carry all of them: ${parts.join('; ')}.`, plan.todo.join('\n'));
}

const roleAttributes: Check = {
  id: 'privilege.role-attributes',
  severity: 'warns',
  title: 'The roles that are made get all that they have on the source.',
  needs: 'both',
  side: 'target',
  run: async (source, target, { options }) => {
    if (options.roles !== 'create' || options.dataOnly) return skipped('The job makes no role.');
    const { owners: actAs, all } = await namedRoles(source, options);
    const involved = rolesInvolved(await readRoles(source.session), all);
    const plan = planRoles({
      roles: involved,
      actAs,
      verifiers: await readVerifierKinds(
        source.session,
        involved.map(({ name }) => name),
      ),
      map: options.mapRole,
      target: await readRoleRights(target.session, target.identity.database),
      targetDatabase: target.identity.database,
    });
    return judgeRolePlan(target.identity.role, plan);
  },
};

export const ownerChecks: readonly Check[] = [owners, roleAttributes];
