import { PG_CLASS } from './catalogue-oids.ts';
import type { EntryPair } from './catalogue.ts';
import type { SettleContext } from './settle.ts';
import { both } from './sides.ts';

/** The MAINTAIN privilege came with 17 (PostgreSQL documentation, release notes E.17). */
const MAINTAIN_SINCE = 17;

/**
 * A relation's grants as they stand, those that its owner has by default written out. $3: whose MAINTAIN privileges are left
 * out, because the other side is too old to have them: the `owner`'s own, which an older source cannot revoke; of an older
 * target `all`, since what it grants with ALL does not hold them.
 */
const GRANTS = `
SELECT coalesce((
  SELECT string_agg(concat_ws(' ', a.grantor::regrole, a.grantee::regrole, a.privilege_type, a.is_grantable), ', '
           ORDER BY a.grantor::regrole::text COLLATE "C", a.grantee::regrole::text COLLATE "C", a.privilege_type COLLATE "C")
  FROM aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) AS a
  WHERE NOT (a.privilege_type = 'MAINTAIN' AND ($3 = 'all' OR ($3 = 'owner' AND a.grantee = c.relowner)))), '') AS grants
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`;

/**
 * True when the grants on a relation are the same but for a privilege that one side's version does not know. Between
 * servers that know the same privileges, and for what is not a relation, the archives' texts decide.
 */
export async function sameGrants(context: SettleContext, pair: EntryPair): Promise<boolean> {
  const { sides, sourceVersion, targetVersion } = context;
  const newer = { source: sourceVersion.major >= MAINTAIN_SINCE, target: targetVersion.major >= MAINTAIN_SINCE };
  if (newer.source === newer.target) return false;
  const object = pair.source.dependencies.map(context.entryOf).find((entry) => entry?.classOid === PG_CLASS);
  if (object === undefined || pair.source.name.startsWith('COLUMN ')) return false;
  const read = async (side: 'source' | 'target'): Promise<string | undefined> => {
    const without = newer[side] ? (side === 'target' ? 'owner' : 'all') : '';
    const params = [object.schema, object.name, without];
    const rows = await sides[side]((session) => session.query<{ grants: string }>(GRANTS, params));
    return rows[0]?.grants;
  };
  const [source, target] = await both(read('source'), read('target'));
  return source !== undefined && source === target;
}
