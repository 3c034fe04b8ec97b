import { mappedRole } from './map-roles.ts';
import type { RoleMap } from './map-roles.ts';
import { quoteIdent, quoteLiteral } from './quote.ts';
import { isForeignRole, isPlaceRole } from './role-facts.ts';
import type { Membership, RoleFacts, RoleRights, Verifiers } from './role-facts.ts';
import { settingClause, settingName } from './stored-settings.ts';

export interface RolePlanInput {
  /** What the moved objects name and need, with its source's names: see rolesInvolved. */
  readonly roles: readonly RoleFacts[];
  /** Roles, by their source's names, that the connecting role has to act as: owners, grantors, roles with default privileges. */
  readonly actAs: ReadonlySet<string>;
  /** How passwords are stored on the source; null where they may not be read. */
  readonly verifiers: Verifiers | null;
  readonly map: RoleMap;
  readonly target: RoleRights;
  readonly targetDatabase: string;
}

/** One statement; `secret` stands in for it on the wire and is never shown. */
export interface RoleStep {
  readonly statement: string;
  readonly secret?: string;
  /** What a person has to do where the target refuses it; null: without this step the job cannot go on. */
  readonly otherwise: string | null;
}

export interface RolePlan {
  /** Names on the target, in order. */
  readonly created: readonly string[];
  readonly steps: readonly RoleStep[];
  /** What the target role may not give or set, known before the start: one sentence each, names included. */
  readonly withheld: readonly string[];
  /** Roles that need a password from a person. */
  readonly passwords: readonly string[];
  /** Sentences for the report: what a person has to do by hand. */
  readonly todo: readonly string[];
}

/** Attributes in the order of CREATE ROLE's documentation, with what takes them. */
const strong = ['superuser', 'createdb', 'createrole', 'replication', 'bypassrls'] as const;

/**
 * Whether the target's role may give this attribute. A superuser may give all; with CREATEROLE before 16 CREATEDB and
 * CREATEROLE, from 16 on what one has oneself (PostgreSQL documentation, CREATE ROLE and 22.2).
 */
function mayGive(attribute: (typeof strong)[number], target: RoleRights): boolean {
  if (target.superuser) return true;
  if (attribute === 'superuser') return false;
  if (target.major < 16) return attribute === 'createdb' || attribute === 'createrole';
  return target[attribute];
}

const passwordByHand = (role: string): string =>
  `Set a password for the role ${role} on the target: ALTER ROLE ${role} PASSWORD '…';`;

/** The steps that make the roles the target lacks, as far as its role may, and all that it may not. Pure. */
export function planRoles(input: RolePlanInput): RolePlan {
  const { map, target } = input;
  const plan = {
    created: [] as string[],
    steps: [] as RoleStep[],
    withheld: [] as string[],
    passwords: [] as string[],
  };
  const byHand: string[] = [];
  const made = new Map<string, RoleFacts>();
  for (const role of input.roles) {
    const name = mappedRole(map, role.name);
    if (!target.existing.has(name) && !isForeignRole(name) && !made.has(name)) made.set(name, role);
  }
  for (const [name, role] of made) {
    plan.created.push(name);
    const held = strong.filter((attribute) => role.attributes[attribute] && !mayGive(attribute, target));
    plan.steps.push({ statement: createStatement(name, role, target), otherwise: null });
    if (held.length > 0) {
      const words = held.map((attribute) => attribute.toUpperCase()).join(', ');
      plan.withheld.push(`the role ${quoteIdent(name)} is made without ${words}`);
      byHand.push(
        `Role ${quoteIdent(name)} was made without ${words}, which ${target.role} may not give. As one that may: ALTER ROLE ${quoteIdent(name)} ${held.map((a) => a.toUpperCase()).join(' ')};`,
      );
    }
    if (typeof role.comment === 'string') {
      const statement = `COMMENT ON ROLE ${quoteIdent(name)} IS ${quoteLiteral(role.comment)}`;
      plan.steps.push({ statement, otherwise: byAnother(statement) });
    }
    const verifier = verifierFor(role, name, input.verifiers);
    if (verifier !== null) {
      plan.steps.push({
        statement: `ALTER ROLE ${quoteIdent(name)} PASSWORD (as on the source)`,
        secret: `ALTER ROLE ${quoteIdent(name)} PASSWORD ${quoteLiteral(verifier)}`,
        otherwise: passwordByHand(quoteIdent(name)),
      });
    } else if (role.attributes.login && input.verifiers?.get(role.name) !== null) {
      plan.passwords.push(name);
      byHand.push(passwordByHand(quoteIdent(name)));
    }
  }
  if (!target.superuser) plan.steps.push(...ownMemberships(input, made));
  const memberships = planMemberships(input, made);
  plan.steps.push(...memberships.steps);
  plan.withheld.push(...memberships.withheld);
  const settings = planSettings(input, made);
  plan.steps.push(...settings.steps);
  plan.withheld.push(...settings.withheld);
  return { ...plan, todo: [...byHand, ...memberships.todo, ...settings.todo] };
}

function createStatement(name: string, { attributes }: RoleFacts, target: RoleRights): string {
  const words = [
    ...strong.filter((one) => attributes[one] && mayGive(one, target)).map((one) => one.toUpperCase()),
    attributes.inherit ? 'INHERIT' : 'NOINHERIT',
    attributes.login ? 'LOGIN' : 'NOLOGIN',
    ...(attributes.connectionLimit >= 0 ? [`CONNECTION LIMIT ${attributes.connectionLimit}`] : []),
    ...(attributes.validUntil === null ? [] : [`VALID UNTIL ${quoteLiteral(attributes.validUntil)}`]),
  ];
  return `CREATE ROLE ${quoteIdent(name)} ${words.join(' ')}`;
}

/** An md5 verifier is salted with the role's name and means nothing under another one. */
function verifierFor(role: RoleFacts, name: string, verifiers: Verifiers | null): string | null {
  const verifier = verifiers?.get(role.name) ?? null;
  return verifier === null || (verifier.startsWith('md5') && name !== role.name) ? null : verifier;
}

/** Only a member may hand ownership to a role; from 16 on the creator administers it, but may neither act as it nor inherit. */
function ownMemberships({ actAs, map, target }: RolePlanInput, made: ReadonlyMap<string, RoleFacts>): RoleStep[] {
  const acted = new Set([...actAs].map((name) => mappedRole(map, name)));
  const options = target.major >= 16 ? ' WITH SET TRUE, INHERIT TRUE' : '';
  return [...made.keys()]
    .filter((name) => acted.has(name))
    .map((name) => ({ statement: `GRANT ${quoteIdent(name)} TO CURRENT_USER${options}`, otherwise: null }));
}

interface Part {
  readonly steps: RoleStep[];
  readonly withheld: string[];
  readonly todo: string[];
}

const byAnother = (statement: string): string =>
  `The target role may not do this; run it as one that may: ${statement};`;

function planMemberships(input: RolePlanInput, made: ReadonlyMap<string, RoleFacts>): Part {
  const { map, target } = input;
  const part: Part = { steps: [], withheld: [], todo: [] };
  const seen = new Set<string>();
  for (const role of input.roles) {
    const member = mappedRole(map, role.name);
    for (const membership of role.memberships ?? role.memberOf.map(plain)) {
      const group = mappedRole(map, membership.role);
      const key = JSON.stringify([group, member]);
      if (group === member || seen.has(key) || !(made.has(group) || made.has(member))) continue;
      seen.add(key);
      const there = (name: string): boolean => made.has(name) || target.existing.has(name);
      const words = `${quoteIdent(member)} in ${quoteIdent(group)}`;
      if (!there(group) || !there(member)) {
        if (isPlaceRole(group)) part.withheld.push(`the membership of ${words} is the place's own and is not carried`);
        continue;
      }
      if (!made.has(group) && !target.administers.has(group)) {
        part.withheld.push(`the membership of ${words} is not the target role's to grant`);
        part.todo.push(byAnother(`GRANT ${quoteIdent(group)} TO ${quoteIdent(member)}`));
        continue;
      }
      const { statement, lost } = membershipStatement(group, member, membership, role, input);
      if (lost !== null) {
        part.withheld.push(`the membership of ${words} ${lost}`);
        part.todo.push(`The membership of ${words} ${lost}: PostgreSQL ${target.major} has no options for it.`);
      }
      if (statement !== null) part.steps.push({ statement, otherwise: byAnother(statement) });
    }
  }
  return part;
}

const plain = (role: string): Membership => ({ role, admin: false, inherit: null, set: null });

/** Options of a membership exist from 16 on; before, INHERIT is the member's attribute and SET is always allowed. */
function membershipStatement(
  group: string,
  member: string,
  { admin, inherit, set }: Membership,
  role: RoleFacts,
  { target }: RolePlanInput,
): { statement: string | null; lost: string | null } {
  const grant = `GRANT ${quoteIdent(group)} TO ${quoteIdent(member)}`;
  const word = (on: boolean): string => (on ? 'TRUE' : 'FALSE');
  if (target.major >= 16 && inherit !== null && set !== null) {
    const options = `ADMIN ${word(admin)}, INHERIT ${word(inherit)}, SET ${word(set)}`;
    return { statement: `${grant} WITH ${options}`, lost: null };
  }
  const statement = admin ? `${grant} WITH ADMIN OPTION` : grant;
  if (inherit === null || set === null) return { statement, lost: null };
  if (!inherit && !set) return { statement: null, lost: 'is left out, for it lets nobody use the role' };
  const lost = [
    ...(inherit === role.attributes.inherit ? [] : [`INHERIT ${word(inherit)}`]),
    ...(set ? [] : ['SET FALSE']),
  ];
  return { statement, lost: lost.length === 0 ? null : `comes without ${lost.join(', ')}` };
}

function planSettings(input: RolePlanInput, made: ReadonlyMap<string, RoleFacts>): Part {
  const { target, map } = input;
  const part: Part = { steps: [], withheld: [], todo: [] };
  const set = (name: string, setting: string, where: string): void => {
    const statement = `ALTER ROLE ${quoteIdent(name)}${where} ${settingClause(setting)}`;
    if (!made.has(name) && name !== target.role && !target.administers.has(name)) {
      part.withheld.push(`${settingName(setting)} of the role ${quoteIdent(name)} is not the target role's to set`);
      part.todo.push(byAnother(statement));
    } else if (target.reserved.has(settingName(setting).toLowerCase())) {
      part.withheld.push(`${settingName(setting)} of the role ${quoteIdent(name)} takes a superuser to set`);
      part.todo.push(byAnother(statement));
    } else part.steps.push({ statement, otherwise: byAnother(statement) });
  };
  const here = ` IN DATABASE ${quoteIdent(input.targetDatabase)}`;
  for (const role of input.roles) {
    const name = mappedRole(map, role.name);
    if (made.get(name) === role) for (const setting of role.settings) set(name, setting, '');
    if (!made.has(name) && !target.existing.has(name)) continue;
    for (const setting of role.databaseSettings) {
      // What the target has set for a role of its own stays.
      if (!target.databaseSettings.has(`${name} ${settingName(setting)}`)) set(name, setting, here);
    }
  }
  return part;
}
