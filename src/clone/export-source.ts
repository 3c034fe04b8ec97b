import type { Manifest } from '../contract/manifest.ts';
import { readRoles, rolesInvolved } from '../postgres/role-facts.ts';
import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import type { ServerVersion } from '../postgres/version.ts';

export type SourceFacts = Pick<Manifest, 'source' | 'roles' | 'extensions'>;

/** Columns of pg_database have come and gone: ICU and versions with 15, rules with 16, one name for all locales with 17. */
const DATABASE = `
SELECT to_jsonb(d) AS row, pg_encoding_to_char(d.encoding) AS encoding, pg_get_userbyid(d.datdba)::text AS owner,
       shobj_description(d.oid, 'pg_database') AS comment,
       coalesce((SELECT s.setconfig FROM pg_db_role_setting s WHERE s.setdatabase = d.oid AND s.setrole = 0), '{}') AS settings
FROM pg_database d WHERE d.datname = current_database()`;

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

interface DatabaseRow {
  readonly row: Readonly<Record<string, unknown>>;
  readonly encoding: string;
  readonly owner: string;
  readonly comment: string | null;
  readonly settings: string[];
  readonly [column: string]: unknown;
}

const providers: Readonly<Record<string, string>> = { c: 'libc', i: 'icu', b: 'builtin' };

function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

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

/** What the manifest says of the server, read inside of the archive's transaction. */
export async function readSourceFacts(
  session: Session,
  settings: ConnectionSettings,
  version: ServerVersion,
): Promise<SourceFacts> {
  const [database] = await session.query<DatabaseRow>(DATABASE);
  if (database === undefined) throw new Error('the current database is not in pg_database');
  const { row } = database;
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
      localeProvider: providers[text(row['datlocprovider']) ?? 'c'] ?? 'libc',
      collate: text(row['datcollate']) ?? '',
      ctype: text(row['datctype']) ?? '',
      locale: text(row['datlocale']) ?? text(row['daticulocale']),
      icuRules: text(row['daticurules']),
      collationVersion: text(row['datcollversion']),
      lcMonetary: monetary?.value ?? 'C',
      owner: database.owner,
      comment: database.comment,
      settings: database.settings,
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
