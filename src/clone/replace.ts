import type { TargetContext } from './context.ts';
import { log } from './context.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { emptyStatement } from './extensions.ts';
import type { Emptied } from './extensions.ts';

/**
 * What stands in the database and belongs to no extension, as PostgreSQL itself names it (pg_identify_object). Objects inside
 * of a schema go with it, unless it is public or an extension that stays stands in it: those schemas are kept and emptied.
 * `rank` puts first what others hang on.
 */
const OBJECTS = `
WITH extension_member AS (
  SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), dropped_extension AS (
  SELECT oid FROM pg_extension WHERE $1 AND extname <> 'plpgsql' AND pg_has_role(extowner, 'USAGE')
), kept AS (
  SELECT n.oid FROM pg_namespace n
  WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    AND (n.nspname = 'public' OR EXISTS (SELECT FROM pg_extension e WHERE e.extnamespace = n.oid
                                           AND e.oid NOT IN (SELECT oid FROM dropped_extension)))
), object AS (
  SELECT 'pg_event_trigger'::regclass AS classid, oid AS objid, 0 AS rank FROM pg_event_trigger
  UNION ALL SELECT 'pg_publication'::regclass, oid, 0 FROM pg_publication
  UNION ALL SELECT 'pg_extension'::regclass, oid, 3 FROM dropped_extension
  UNION ALL SELECT 'pg_namespace'::regclass, oid, 1 FROM pg_namespace
    WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' AND oid NOT IN (SELECT oid FROM kept)
      AND nspname <> ALL ($2)
  UNION ALL SELECT 'pg_class'::regclass, c.oid, 2 FROM pg_class c
    WHERE c.relnamespace IN (SELECT oid FROM kept) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('i', 'a'))
  UNION ALL SELECT 'pg_proc'::regclass, oid, 2 FROM pg_proc WHERE pronamespace IN (SELECT oid FROM kept)
  UNION ALL SELECT 'pg_type'::regclass, t.oid, 2 FROM pg_type t
    WHERE t.typnamespace IN (SELECT oid FROM kept) AND t.typelem = 0 AND t.typtype IN ('b', 'd', 'e', 'r', 'p', 'c')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'i'
                      AND d.refclassid = 'pg_class'::regclass
                      AND EXISTS (SELECT FROM pg_class c WHERE c.oid = d.refobjid AND c.relkind <> 'c'))
  UNION ALL SELECT 'pg_operator'::regclass, oid, 2 FROM pg_operator WHERE oprnamespace IN (SELECT oid FROM kept)
  UNION ALL SELECT 'pg_opclass'::regclass, oid, 2 FROM pg_opclass WHERE opcnamespace IN (SELECT oid FROM kept)
  UNION ALL SELECT 'pg_opfamily'::regclass, oid, 2 FROM pg_opfamily WHERE opfnamespace IN (SELECT oid FROM kept)
  UNION ALL SELECT 'pg_collation'::regclass, oid, 2 FROM pg_collation WHERE collnamespace IN (SELECT oid FROM kept)
  UNION ALL SELECT 'pg_conversion'::regclass, oid, 2 FROM pg_conversion WHERE connamespace IN (SELECT oid FROM kept)
  UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, 2 FROM pg_statistic_ext WHERE stxnamespace IN (SELECT oid FROM kept)
  UNION ALL SELECT 'pg_ts_config'::regclass, oid, 2 FROM pg_ts_config WHERE cfgnamespace IN (SELECT oid FROM kept)
  UNION ALL SELECT 'pg_ts_dict'::regclass, oid, 2 FROM pg_ts_dict WHERE dictnamespace IN (SELECT oid FROM kept)
  UNION ALL SELECT 'pg_ts_parser'::regclass, oid, 2 FROM pg_ts_parser WHERE prsnamespace IN (SELECT oid FROM kept)
  UNION ALL SELECT 'pg_ts_template'::regclass, oid, 2 FROM pg_ts_template WHERE tmplnamespace IN (SELECT oid FROM kept)
  UNION ALL SELECT 'pg_cast'::regclass, oid, 4 FROM pg_cast WHERE oid >= 16384
  UNION ALL SELECT 'pg_transform'::regclass, oid, 4 FROM pg_transform WHERE oid >= 16384
  UNION ALL SELECT 'pg_foreign_server'::regclass, oid, 4 FROM pg_foreign_server
  UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, 4 FROM pg_foreign_data_wrapper
  UNION ALL SELECT 'pg_am'::regclass, oid, 5 FROM pg_am WHERE oid >= 16384
  UNION ALL SELECT 'pg_language'::regclass, oid, 5 FROM pg_language WHERE oid >= 16384
)
SELECT i.type, i.identity, o.rank
FROM object o LEFT JOIN extension_member m ON m.classid = o.classid AND m.objid = o.objid,
     LATERAL pg_identify_object(o.classid, o.objid, 0) i
WHERE m.objid IS NULL
ORDER BY o.rank, i.type, i.identity`;

/** pg_identify_object's words where they are not DROP's. */
const dropWords: Record<string, string> = {
  'foreign-data wrapper': 'FOREIGN DATA WRAPPER',
  'statistics object': 'STATISTICS',
  'composite type': 'TYPE',
};

export function dropStatement(object: { type: string; identity: string }): string {
  return `DROP ${(dropWords[object.type] ?? object.type).toUpperCase()} IF EXISTS ${object.identity} CASCADE`;
}

/**
 * Empties the target in one transaction: everything or, when any of it is refused, nothing. Roles, tablespaces and the
 * database itself stay.
 * `extensions`: also those that the role owns; others were put there by an administrator and stay. `spared`: schemas that stay
 * as they are.
 * @returns what was dropped, in PostgreSQL's own words. @throws PgsluiceError when the target refuses.
 */
export async function dropTargetObjects(
  target: Session,
  extensions: boolean,
  spared: readonly string[] = [],
): Promise<string[]> {
  const subscriptions = await target
    .query<{ name: string }>(
      `SELECT subname AS name FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    )
    .catch(() => []);
  const objects = await target.query<{ type: string; identity: string }>(OBJECTS, [extensions, spared]);
  const dropped = objects.map((object) => `${object.type} ${object.identity}`);
  await target.run('BEGIN');
  try {
    for (const { name } of subscriptions) {
      const subscription = quoteIdent(name);
      await target.run(
        `ALTER SUBSCRIPTION ${subscription} DISABLE; ALTER SUBSCRIPTION ${subscription} SET (slot_name = NONE); DROP SUBSCRIPTION ${subscription}`,
      );
      dropped.push(`subscription ${subscription}`);
    }
    for (const object of objects) await target.run(dropStatement(object));
    const [large] = await target.query<{ count: string }>(
      'SELECT count(lo_unlink(oid))::text AS count FROM pg_largeobject_metadata',
    );
    if (Number(large?.count ?? 0) > 0) dropped.push(`${large?.count} large objects`);
    const defaults = await target.query<{ statement: string }>(DEFAULT_PRIVILEGES);
    for (const { statement } of defaults) await target.run(statement);
    await target.run('COMMIT');
  } catch (error) {
    if (!target.lost) await target.run('ROLLBACK');
    throw error;
  }
  return dropped;
}

/** Tells the log what dropTargetObjects did; nothing where nothing was dropped. */
export function tellDropped(context: Pick<TargetContext, 'emit'>, dropped: readonly string[]): void {
  if (dropped.length === 0) return;
  const named = dropped.slice(0, 20).join(', ');
  const noun = dropped.length === 1 ? 'object' : 'objects';
  log(context, 'warn', `Dropped ${dropped.length} ${noun} on the target: ${named}${dropped.length > 20 ? ', …' : ''}`);
}

/** Statements that take global default privileges back to PostgreSQL's own (acldefault). */
const DEFAULT_PRIVILEGES = `
WITH entry AS (
  SELECT d.defaclrole, d.defaclobjtype, d.defaclnamespace, d.defaclacl,
         CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS'
              WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' WHEN 'L' THEN 'LARGE OBJECTS' END AS kind,
         CASE WHEN d.defaclnamespace = 0 THEN '' ELSE ' IN SCHEMA ' || d.defaclnamespace::regnamespace END AS scope
  FROM pg_default_acl d
), head AS (
  SELECT *, 'ALTER DEFAULT PRIVILEGES FOR ROLE ' || defaclrole::regrole || scope AS words FROM entry
)
SELECT words || ' REVOKE ALL ON ' || kind || ' FROM ' || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS statement
FROM head, LATERAL (SELECT DISTINCT grantee FROM aclexplode(defaclacl)) a
UNION ALL
SELECT words || ' GRANT ' || string_agg(a.privilege_type, ', ') || ' ON ' || kind || ' TO '
       || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
FROM head, LATERAL aclexplode(acldefault(CASE defaclobjtype WHEN 'S' THEN 's' ELSE defaclobjtype END, defaclrole)) a
WHERE defaclnamespace = 0
GROUP BY words, kind, a.grantee`;

/**
 * Empties the tables of a data-only job, all in one statement, since they may refer to each other; with `largeObjects` those go as
 * well. Of an extension's configuration only what users made goes, as only that comes.
 */
export async function emptyTables(target: Session, tables: readonly Emptied[], largeObjects: boolean): Promise<void> {
  const [own, configuration] = [
    tables.filter((table) => (table.extensionCondition ?? null) === null),
    tables.filter((table) => (table.extensionCondition ?? null) !== null),
  ];
  const statements = configuration.map(emptyStatement);
  if (own.length > 0) {
    const names = own.map((table) => qualified(table.schema, table.name));
    statements.push(`TRUNCATE ONLY ${names.join(', ONLY ')}`);
  }
  if (largeObjects) statements.push('SELECT count(lo_unlink(oid)) FROM pg_largeobject_metadata');
  if (statements.length > 0) await target.run(statements.join('; '));
}
