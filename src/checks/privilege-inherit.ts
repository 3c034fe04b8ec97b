import { quoteIdent } from '../postgres/quote.ts';
import { failed, passed, skipped } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { readNeeded } from './privilege-target.ts';
import { count, listNames } from './words.ts';

/** An owner whom the target role may name, and whether it has the owner's rights without SET ROLE. */
export interface OwnerRight {
  readonly owner: string;
  readonly inherits: boolean;
}

/**
 * A member WITHOUT INHERIT may give a table away, and then neither fill nor index it: its sessions never SET ROLE
 * (PostgreSQL documentation, 22.3 "Role Membership"). Pure.
 */
export function judgeOwnerRights(role: string, major: number, rights: readonly OwnerRight[]): Verdict {
  const without = rights.filter((right) => !right.inherits).map((right) => quoteIdent(right.owner));
  if (without.length === 0) return passed(`The role ${role} keeps its rights on what it gives to its owners.`);
  const self = quoteIdent(role);
  return failed(
    'OWNER_NOT_INHERITED',
    `The role ${role} is a member of ${count(without.length, 'owner')} WITHOUT INHERIT: it may give objects away, but then not fill or index them: ${listNames(without)}.`,
    `${major >= 16 ? `GRANT ${without.join(', ')} TO ${self} WITH INHERIT TRUE;` : `ALTER ROLE ${self} INHERIT;`}\n-- or: --no-owner, and everything belongs to ${role}`,
  );
}

/** Only roles that may be named at all; privilege.set-owner speaks of the others. */
const RIGHTS = (major: number): string => `
SELECT rolname AS owner, pg_has_role(oid, 'USAGE') AS inherits FROM pg_roles
WHERE rolname = ANY ($1) AND pg_has_role(oid, '${major >= 16 ? 'SET' : 'MEMBER'}') ORDER BY 1`;

export const ownerRights: Check = {
  id: 'privilege.owner-rights',
  severity: 'blocks',
  title: 'The target role keeps its rights on objects that it gives to their owners.',
  needs: 'both',
  side: 'target',
  run: async (source, target, { options }) => {
    if (options.dataOnly || options.noOwner) return skipped('The job sets no owner.');
    const { role, superuser } = target.identity;
    if (superuser) return passed(`The role ${role} is a superuser.`);
    const { owners } = await readNeeded(source, options);
    const { major } = target.version;
    const rights = await target.session.query<OwnerRight & Record<string, unknown>>(RIGHTS(major), [
      [...owners.keys()],
    ]);
    return judgeOwnerRights(role, major, rights);
  },
};
