import type { JobOptions } from '../contract/options.ts';
import { grantKey, objectKey } from '../postgres/left-out.ts';
import { mappedRole } from '../postgres/map-roles.ts';
import { perDatabase } from './database.ts';
import type { Database } from './database.ts';
import { inScope, picksOut } from './scope.ts';
import type { CatalogObject } from './catalog.ts';

/** Catalogue of each kind that may take a superuser to create. */
const catalogs: Readonly<Record<string, string>> = {
  'ACCESS METHOD': 'pg_am',
  CAST: 'pg_cast',
  'EVENT TRIGGER': 'pg_event_trigger',
  'FOREIGN DATA WRAPPER': 'pg_foreign_data_wrapper',
  FUNCTION: 'pg_proc',
  'OPERATOR CLASS': 'pg_opclass',
  'OPERATOR FAMILY': 'pg_opfamily',
  'PROCEDURAL LANGUAGE': 'pg_language',
  PUBLICATION: 'pg_publication',
  'TEXT SEARCH PARSER': 'pg_ts_parser',
  'TEXT SEARCH TEMPLATE': 'pg_ts_template',
  TRANSFORM: 'pg_transform',
  TYPE: 'pg_type',
};

/** Rows, or what guards and shows them: nothing of it is left out, whatever it stands on. */
const kept = [
  'pg_class',
  'pg_attrdef',
  'pg_constraint',
  'pg_trigger',
  'pg_policy',
  'pg_rewrite',
  'pg_statistic_ext',
  'pg_default_acl',
];

/**
 * $1, $2: the objects that cannot be made. With them goes what cannot stand without them; where that would be rows, the walk
 * stops and says so. Parts (deptype i and a) need no naming.
 */
const DEPENDENTS = `
WITH RECURSIVE kept AS (SELECT unnest(ARRAY[${kept.map((name) => `'${name}'::regclass::oid`).join(', ')}]) AS classid),
lost (classid, objid, part) AS (
  SELECT c::regclass::oid, o::oid, false FROM unnest($1::text[], $2::int8[]) AS u (c, o)
  UNION
  SELECT d.classid, d.objid, d.deptype <> 'n'
  FROM lost l JOIN pg_depend d ON d.refclassid = l.classid AND d.refobjid = l.objid
  WHERE d.deptype IN ('n', 'a', 'i') AND l.classid NOT IN (SELECT classid FROM kept)
    -- Functions of a type and language are noted beside its transform, whether they name it or not.
    AND NOT (l.classid = 'pg_transform'::regclass AND d.classid = 'pg_proc'::regclass
             AND EXISTS (SELECT FROM pg_proc p WHERE p.oid = d.objid AND p.protrftypes IS NULL))
)
SELECT classid::int4 AS "classOid", objid::int8::text AS oid, pg_describe_object(classid, objid, 0) AS name,
       bool_and(part) OR classid IN ('pg_amop'::regclass, 'pg_amproc'::regclass) AS part, classid IN (SELECT classid FROM kept) AS kept
FROM lost GROUP BY 1, 2, 3, classid ORDER BY 3`;

/** Default privileges, by the role whose objects they are for. */
const DEFAULT_GRANTS = `
SELECT oid::int8::text AS oid, pg_get_userbyid(defaclrole)::text AS role, pg_describe_object('pg_default_acl'::regclass, oid, 0) AS name
FROM pg_default_acl ORDER BY 3`;
const PG_DEFAULT_ACL = 826;

const readDefaultGrants = perDatabase((source) =>
  source.session.query<{ oid: string; role: string; name: string }>(DEFAULT_GRANTS),
);

interface Dependent {
  readonly classOid: number;
  readonly oid: string;
  readonly name: string;
  readonly part: boolean;
  readonly kept: boolean;
}

/**
 * Grants on what the server or an extension brings, that are not as they were brought: whoever does not own the object may not
 * change them (PostgreSQL documentation, 53.26 "pg_init_privs"). Named as pg_dump names them.
 */
const FOREIGN_GRANTS = `
WITH o (classid, oid, schema, name, acl) AS (
  SELECT 'pg_proc'::regclass, p.oid, n.nspname, CASE p.prokind WHEN 'p' THEN 'PROCEDURE ' ELSE 'FUNCTION ' END || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.proacl
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  UNION ALL
  SELECT 'pg_class'::regclass, c.oid, n.nspname, CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.relname, c.relacl
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'v', 'm', 'S', 'f', 'p')
  UNION ALL
  SELECT 'pg_type'::regclass, t.oid, n.nspname, 'TYPE ' || t.typname, t.typacl FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
  UNION ALL
  SELECT 'pg_foreign_data_wrapper'::regclass, oid, NULL, 'FOREIGN DATA WRAPPER ' || fdwname, fdwacl FROM pg_foreign_data_wrapper
  UNION ALL
  SELECT 'pg_language'::regclass, oid, NULL, 'LANGUAGE ' || lanname, lanacl FROM pg_language
  UNION ALL
  SELECT 'pg_namespace'::regclass, oid, NULL, 'SCHEMA ' || nspname, nspacl FROM pg_namespace WHERE nspname = 'pg_catalog'
)
SELECT o.schema, o.name FROM o LEFT JOIN pg_init_privs i ON i.classoid = o.classid AND i.objoid = o.oid AND i.objsubid = 0
WHERE ((o.oid < 16384 AND (o.schema IS NULL OR o.schema = 'pg_catalog'))
       OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype = 'e'))
  AND ((o.acl IS NULL) <> (i.initprivs IS NULL) OR NOT (o.acl @> i.initprivs AND o.acl <@ i.initprivs))
ORDER BY 1 NULLS FIRST, 2`;

const readForeignGrants = perDatabase((source) =>
  source.session.query<{ schema: string | null; name: string }>(FOREIGN_GRANTS),
);

async function readDependents(source: Database, objects: readonly CatalogObject[]): Promise<Dependent[]> {
  const known = objects.filter((o) => catalogs[o.kind] !== undefined);
  if (known.length === 0) return [];
  return source.session.query<Dependent & Record<string, unknown>>(DEPENDENTS, [
    known.map((o) => catalogs[o.kind]),
    known.map((o) => o.oid),
  ]);
}

export interface NotCarried {
  /** Objects that only a superuser creates. */
  readonly objects: readonly CatalogObject[];
  /** What stands on them and goes with them, described. */
  readonly with: readonly string[];
  /** Rows, and what belongs to them, that stand on them: reason enough not to begin. */
  readonly kept: readonly string[];
  /** Grants on objects of the server or of extensions, and by default on what roles make that the target's does not act as. */
  readonly grants: readonly string[];
  /** All of it for the copy: see postgres/left-out.ts. */
  readonly keys: readonly string[];
}

/**
 * What an ordinary role cannot make of the job's objects. `actsAs`: whether it may act as this role of the target; only those it
 * may have default privileges set for them.
 */
export async function readNotCarried(
  source: Database,
  options: JobOptions,
  actsAs: (role: string) => boolean,
): Promise<NotCarried> {
  const objects = (await source.objects()).filter(
    (o) => o.superuserWhy !== null && o.kind !== 'SUBSCRIPTION' && inScope(options, o),
  );
  const dependents = await readDependents(source, objects);
  const own = new Set(objects.map((o) => String(o.oid)));
  const grants = options.noAcl || picksOut(options) ? [] : await readForeignGrants(source);
  const defaults = options.noAcl || picksOut(options) ? [] : await readDefaultGrants(source);
  const foreign = defaults.filter(({ role }) => !actsAs(mappedRole(options.mapRole, role)));
  return {
    objects,
    with: dependents.filter((d) => !d.kept && !d.part && !own.has(d.oid)).map((d) => d.name),
    kept: dependents.filter((d) => d.kept).map((d) => d.name),
    grants: [
      ...grants.map(({ schema, name }) => (schema === null ? name : name.replace(' ', ` ${schema}.`))),
      ...foreign.map(({ name }) => name),
    ],
    keys: [
      ...dependents.filter((d) => !d.kept).map((d) => objectKey(d.classOid, d.oid)),
      ...grants.map(({ schema, name }) => grantKey(schema, name)),
      ...foreign.map(({ oid }) => objectKey(PG_DEFAULT_ACL, oid)),
    ],
  };
}
