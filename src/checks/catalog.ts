/** A relation of people as pg_class has it. */
export interface Relation {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** pg_class.relkind: r p v m f S. */
  readonly kind: string;
  /** p, u (unlogged). */
  readonly persistence: string;
  readonly owner: string;
  readonly partition: boolean;
  readonly populated: boolean;
  readonly canSelect: boolean;
  readonly schemaUsage: boolean;
  /** True when policies limit the rows this role reads (owner, FORCE, BYPASSRLS and superuser considered by the server). */
  readonly rowSecurity: boolean;
  readonly rowSecurityForced: boolean;
}

/** One object of people. */
export interface CatalogObject {
  readonly oid: number;
  /** pg_dump's word. */
  readonly kind: string;
  readonly schema: string | null;
  readonly name: string;
  /** True for what pg_class holds. */
  readonly relation: boolean;
  /** Null where the kind has no owner (casts, access methods). */
  readonly owner: string | null;
  /** Roles of the object's ACL that are not its owner, PUBLIC left out. */
  readonly grantees: readonly string[];
  /** Why only a superuser can create it, or null. */
  readonly superuserWhy: string | null;
  /** True when the current role may alter or drop it: it has the owner's rights, or those of the schema's owner. */
  readonly ours: boolean;
}

export interface RoleUse {
  readonly kind: string;
  readonly schema: string | null;
  readonly name: string;
  readonly relation: boolean;
  readonly roles: readonly string[];
}

/** Schemas of the system, as pg_dump tells them (their objects are never dumped). */
export const userSchema = (alias: string): string =>
  `${alias}.nspname !~ '^pg_' AND ${alias}.nspname <> 'information_schema'`;

/** Members of extensions come with CREATE EXTENSION (PostgreSQL documentation, 38.17 and pg_depend.deptype). */
export const notOfExtension = (catalog: string, oid: string): string =>
  `NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = '${catalog}'::regclass AND x.objid = ${oid} AND x.deptype = 'e')`;

/** Objects made at initdb have lower oids (FirstNormalObjectId, transam.h). */
export const FIRST_USER_OID = 16384;

export const RELATIONS = `
SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relkind AS kind, c.relpersistence AS persistence,
       pg_get_userbyid(c.relowner) AS owner, c.relispartition AS partition, c.relispopulated AS populated,
       has_table_privilege(c.oid, 'SELECT') AS "canSelect", has_schema_privilege(n.oid, 'USAGE') AS "schemaUsage",
       c.relrowsecurity AND row_security_active(c.oid) AS "rowSecurity", c.relforcerowsecurity AS "rowSecurityForced"
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't' AND ${userSchema('n')}
  AND ${notOfExtension('pg_class', 'c.oid')}
ORDER BY n.nspname, c.relname`;

/**
 * Branches of one list: catalogue, oid, pg_dump's word, schema oid, name, owner oid, ACL, why it needs a superuser.
 * Row types of tables, array types, and what a range or identity column brings along are left out: they come by themselves.
 * The schema public is left out while it has the owner every database starts with.
 */
const branches = (major: number): readonly string[] => [
  `SELECT 'pg_namespace'::regclass, oid, 'SCHEMA', oid, nspname, nspowner, nspacl, NULL::text
   FROM pg_namespace n WHERE ${userSchema('n')}
     AND NOT (nspname = 'public' AND (nspowner = 10 OR pg_get_userbyid(nspowner) = 'pg_database_owner'))`,
  `SELECT 'pg_class'::regclass, oid, CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
     WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, relnamespace, relname, relowner, relacl, NULL
   FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relpersistence <> 't'`,
  `SELECT 'pg_proc'::regclass, p.oid, 'FUNCTION', pronamespace, proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
     proowner, proacl, CASE
       WHEN a.aggfnoid IS NOT NULL THEN
         CASE WHEN 'internal'::regtype IN (a.aggtranstype, a.aggmtranstype) THEN 'its state is of type internal' END
       WHEN lanname IN ('c', 'internal') THEN 'it is written in C'
       WHEN NOT lanpltrusted THEN 'its language ' || lanname || ' is untrusted'
       WHEN proleakproof THEN 'it is LEAKPROOF'
       WHEN COALESCE(to_jsonb(p)->>'prosupport', '-') NOT IN ('-', '0') THEN 'it has a SUPPORT function'
       WHEN proconfig IS NOT NULL THEN (SELECT 'it sets ' || s.name || ', which only superusers may' FROM unnest(p.proconfig) c
         JOIN pg_settings s ON s.name = split_part(c, '=', 1) AND s.context = 'superuser' LIMIT 1) END
   FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid
   WHERE p.oid >= ${FIRST_USER_OID}`,
  `SELECT 'pg_type'::regclass, t.oid, CASE typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, typnamespace, typname, typowner, typacl,
     CASE WHEN typtype = 'b' THEN 'it is a base type' WHEN typtype = 'p' THEN 'it was announced and never defined' END
   FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
   WHERE (typtype IN ('b', 'c', 'd', 'e', 'r') AND typisdefined OR typtype = 'p' AND NOT typisdefined) AND (c.oid IS NULL OR c.relkind = 'c')
     AND NOT EXISTS (SELECT FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid)`,
  `SELECT 'pg_operator'::regclass, oid, 'OPERATOR', oprnamespace, oprname, oprowner, NULL, NULL FROM pg_operator WHERE oprcode <> 0`,
  `SELECT 'pg_opclass'::regclass, oid, 'OPERATOR CLASS', opcnamespace, opcname, opcowner, NULL, 'it is an operator class' FROM pg_opclass`,
  `SELECT 'pg_opfamily'::regclass, oid, 'OPERATOR FAMILY', opfnamespace, opfname, opfowner, NULL, 'it is an operator family' FROM pg_opfamily`,
  `SELECT 'pg_collation'::regclass, oid, 'COLLATION', collnamespace, collname, collowner, NULL, NULL FROM pg_collation`,
  `SELECT 'pg_conversion'::regclass, oid, 'CONVERSION', connamespace, conname, conowner, NULL, NULL FROM pg_conversion`,
  `SELECT 'pg_statistic_ext'::regclass, oid, 'STATISTICS', stxnamespace, stxname, stxowner, NULL, NULL FROM pg_statistic_ext`,
  `SELECT 'pg_ts_config'::regclass, oid, 'TEXT SEARCH CONFIGURATION', cfgnamespace, cfgname, cfgowner, NULL, NULL FROM pg_ts_config`,
  `SELECT 'pg_ts_dict'::regclass, oid, 'TEXT SEARCH DICTIONARY', dictnamespace, dictname, dictowner, NULL, NULL FROM pg_ts_dict`,
  `SELECT 'pg_ts_parser'::regclass, oid, 'TEXT SEARCH PARSER', prsnamespace, prsname, NULL, NULL, 'it is a text search parser' FROM pg_ts_parser`,
  `SELECT 'pg_ts_template'::regclass, oid, 'TEXT SEARCH TEMPLATE', tmplnamespace, tmplname, NULL, NULL, 'it is a text search template' FROM pg_ts_template`,
  `SELECT 'pg_language'::regclass, oid, 'PROCEDURAL LANGUAGE', NULL, lanname, lanowner, lanacl, 'it is a procedural language' FROM pg_language WHERE lanispl`,
  `SELECT 'pg_foreign_data_wrapper'::regclass, oid, 'FOREIGN DATA WRAPPER', NULL, fdwname, fdwowner, fdwacl, 'it is a foreign data wrapper'
   FROM pg_foreign_data_wrapper`,
  `SELECT 'pg_foreign_server'::regclass, oid, 'SERVER', NULL, srvname, srvowner, srvacl, NULL FROM pg_foreign_server`,
  `SELECT 'pg_publication'::regclass, oid, 'PUBLICATION', NULL, pubname, pubowner, NULL,
     CASE WHEN puballtables THEN 'it publishes ALL TABLES'${
       major >= 15
         ? `
       WHEN EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid) THEN 'it publishes TABLES IN SCHEMA'`
         : ''
     } END FROM pg_publication p`,
  `SELECT 'pg_subscription'::regclass, oid, 'SUBSCRIPTION', NULL, subname, subowner, NULL, NULL FROM pg_subscription
   WHERE subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())`,
  `SELECT 'pg_event_trigger'::regclass, oid, 'EVENT TRIGGER', NULL, evtname, evtowner, NULL, 'it is an event trigger' FROM pg_event_trigger`,
  `SELECT 'pg_am'::regclass, oid, 'ACCESS METHOD', NULL, amname, NULL, NULL, 'it is an access method' FROM pg_am`,
  `SELECT 'pg_cast'::regclass, oid, 'CAST', NULL, format_type(castsource, NULL) || ' AS ' || format_type(casttarget, NULL), NULL, NULL,
     CASE WHEN castmethod = 'b' THEN 'it casts WITHOUT FUNCTION'
       WHEN castsource < ${FIRST_USER_OID} AND casttarget < ${FIRST_USER_OID} THEN 'both of its types belong to PostgreSQL itself' END FROM pg_cast`,
  `SELECT 'pg_transform'::regclass, t.oid, 'TRANSFORM', NULL, format_type(trftype, NULL) || ' LANGUAGE ' || lanname, NULL, NULL,
     CASE WHEN trftype < ${FIRST_USER_OID} THEN 'its type belongs to PostgreSQL itself' END FROM pg_transform t JOIN pg_language l ON l.oid = trflang`,
];

/** For a server of this major: tables in a schema are published from 15 on. */
export const objectsOf = (major: number): string => `
WITH o (catalog, oid, kind, namespace, name, owner, acl, why) AS MATERIALIZED (
${branches(major).join('\nUNION ALL\n')}
)
SELECT o.oid, o.kind, CASE WHEN o.kind = 'SCHEMA' THEN o.name ELSE n.nspname END AS schema, o.name,
       o.catalog = 'pg_class'::regclass AS relation,
       CASE WHEN o.owner IS NOT NULL THEN pg_get_userbyid(o.owner) END AS owner,
       CASE WHEN o.acl IS NULL THEN ARRAY[]::text[] ELSE
         ARRAY(SELECT DISTINCT pg_get_userbyid(r.role)::text FROM aclexplode(o.acl) a, LATERAL (VALUES (a.grantee), (a.grantor)) r (role)
               WHERE r.role <> 0 AND r.role IS DISTINCT FROM o.owner) END AS grantees,
       o.why AS "superuserWhy",
       COALESCE(pg_has_role(o.owner, 'USAGE'), false) OR COALESCE(pg_has_role(n.nspowner, 'USAGE'), false) AS ours
FROM o LEFT JOIN pg_namespace n ON n.oid = o.namespace
WHERE (o.oid >= ${FIRST_USER_OID} OR o.kind = 'SCHEMA') AND (n.oid IS NULL OR (${userSchema('n')}))
  AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = o.catalog AND x.objid = o.oid AND x.deptype IN ('e', 'i'))
ORDER BY o.kind, n.nspname, o.name`;

export const ROLE_USES = `
WITH u (kind, relation_oid, name, ids) AS (
  SELECT 'COLUMN GRANT', a.attrelid, NULL, ARRAY(SELECT DISTINCT r.role FROM aclexplode(a.attacl) e,
           LATERAL (VALUES (e.grantee), (e.grantor)) r (role))
    FROM pg_attribute a WHERE a.attacl IS NOT NULL AND a.attrelid >= ${FIRST_USER_OID}
  UNION ALL
  SELECT 'POLICY', polrelid, polname, polroles FROM pg_policy
  UNION ALL
  SELECT 'DEFAULT ACL', 0, COALESCE(n.nspname, 'the database'), defaclrole || ARRAY(SELECT e.grantee FROM aclexplode(defaclacl) e)
    FROM pg_default_acl LEFT JOIN pg_namespace n ON n.oid = defaclnamespace
  UNION ALL
  SELECT 'USER MAPPING', 0, srvname, ARRAY[umuser] FROM pg_user_mappings
)
SELECT u.kind, n.nspname AS schema, COALESCE(u.name, c.relname) AS name, c.relname IS NOT NULL AS relation,
       ARRAY(SELECT DISTINCT pg_get_userbyid(i)::text FROM unnest(u.ids) i WHERE i <> 0) AS roles
FROM u LEFT JOIN pg_class c ON c.oid = u.relation_oid LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.oid IS NULL OR (${userSchema('n')})`;
