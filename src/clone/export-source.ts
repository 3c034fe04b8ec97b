import type { Manifest } from '../contract/manifest.ts';
import type { JobOptions } from '../contract/options.ts';
import { readDatabaseFacts } from '../postgres/database-facts.ts';
import { tableDataMatches } from '../postgres/filters.ts';
import { readRoles, rolesInvolved } from '../postgres/role-facts.ts';
import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import type { ServerVersion } from '../postgres/version.ts';

export type SourceFacts = Pick<Manifest, 'source' | 'roles' | 'extensions'>;

/** The column came with 15. */
const COLLATION_VERSION = `
SELECT to_jsonb(d)->>'datcollversion' AS version FROM pg_database d WHERE d.datname = current_database()`;

const INDEX_BYTES = `
SELECT n.nspname::text AS schema, c.relname::text AS name, COALESCE(pg_indexes_size(c.oid), 0)::float8 AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relhasindex AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`;

/** Our own sessions have one of their own; what the database says is reset_val's. */
const MONETARY = `SELECT reset_val AS value FROM pg_settings WHERE name = 'lc_monetary'`;

const EXTENSIONS = `
SELECT e.extname::text AS name, e.extversion AS version, n.nspname::text AS schema
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY 1`;

/** Roles that own something here or are named in a grant, policy or default privilege; the bootstrap superuser stands in none. */
const NAMED_ROLES = `
SELECT pg_get_userbyid(refobjid)::text AS name FROM pg_shdepend
WHERE refclassid = 'pg_authid'::regclass AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()
UNION SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid >= 16384
UNION SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE oid >= 16384`;

const SYSTEM_IDENTIFIER = `SELECT system_identifier::text AS id FROM pg_control_system()`;

async function systemIdentifier(session: Session): Promise<string | null> {
  await session.run('SAVEPOINT identifier');
  try {
    const [row] = await session.query<{ id: string }>(SYSTEM_IDENTIFIER);
    return row?.id ?? null;
  } catch (error) {
    if (sqlStateOf(error) !== SQLSTATE.insufficientPrivilege) throw error;
    await session.run('ROLLBACK TO SAVEPOINT identifier');
    return null;
  }
}

async function readIndexBytes(session: Session, options: JobOptions): Promise<number> {
  if (options.schemaOnly) return 0;
  const rows = await session.query<{ schema: string; name: string; bytes: number }>(INDEX_BYTES);
  return rows
    .filter(({ schema, name }) => tableDataMatches(options, schema, name))
    .reduce((sum, { bytes }) => sum + bytes, 0);
}

/** What the manifest says of the server, read inside of the archive's transaction. */
export async function readSourceFacts(
  session: Session,
  settings: ConnectionSettings,
  version: ServerVersion,
  options: JobOptions,
): Promise<SourceFacts> {
  const database = await readDatabaseFacts(session);
  const [collation] = await session.query<{ version: string | null }>(COLLATION_VERSION);
  const [monetary] = await session.query<{ value: string }>(MONETARY);
  const names = await session.query<{ name: string }>(NAMED_ROLES);
  const roles = rolesInvolved(
    await readRoles(session),
    names.map(({ name }) => name),
  );
  return {
    source: {
      version: { num: version.num, text: version.text },
      database: settings.database,
      label: `${settings.host}:${settings.port}/${settings.database}`,
      systemIdentifier: await systemIdentifier(session),
      encoding: database.encoding,
      localeProvider: database.localeProvider,
      collate: database.collate,
      ctype: database.ctype,
      locale: database.locale,
      icuRules: database.icuRules,
      collationVersion: collation?.version ?? null,
      lcMonetary: monetary?.value ?? 'C',
      owner: database.owner,
      comment: database.comment,
      settings: [...database.settings],
      connectionLimit: database.connectionLimit ?? -1,
      grants: database.grants?.map((one) => ({ ...one })) ?? null,
      indexBytes: await readIndexBytes(session, options),
    },
    roles: roles.map(({ memberOf, memberships, settings: all, databaseSettings, comment, ...role }) => ({
      ...role,
      memberOf: [...memberOf],
      memberships: [...(memberships ?? [])],
      settings: [...all],
      databaseSettings: [...databaseSettings],
      comment: comment ?? null,
    })),
    extensions: await session.query<{ name: string; version: string; schema: string }>(EXTENSIONS),
  };
}
