import { PgsluiceError } from '../errors.ts';
import { Database, IDENTITY, type Identity } from '../checks/database.ts';
import { readFingerprint, sameServer } from '../checks/connect.ts';
import { connectionsAvailable, readConnectionUse, shareConnections } from '../checks/headroom.ts';
import { openSession, type Session } from '../postgres/session.ts';
import type { ConnectionSettings, Side } from '../postgres/settings.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import { readServerVersion } from '../postgres/version.ts';
import { type FoundDatabase, MAINTENANCE_DATABASE, type Room } from './group-plan.ts';

const SIZE = `CASE WHEN has_database_privilege(d.oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')
  THEN pg_database_size(d.oid)::float8 END`;

/** -2: a DROP DATABASE was interrupted, and nothing but another one is possible (documentation, pg_database). */
const databases = (bytes: string): string => `
SELECT d.datname AS name, d.datistemplate AS template, d.datallowconn AND d.datconnlimit <> -2 AS open,
       has_database_privilege(d.oid, 'CONNECT') AS "mayConnect", ${bytes} AS bytes
FROM pg_database d ORDER BY d.datname`;

/** Objects with an OID from 16384 on were not made by initdb (source: FirstNormalObjectId). */
const ANYTHING = `SELECT ${[
  'pg_namespace',
  'pg_class',
  'pg_proc',
  'pg_type',
  'pg_operator',
  'pg_cast',
  'pg_collation',
  'pg_conversion',
  'pg_language',
  'pg_extension',
  'pg_event_trigger',
  'pg_foreign_data_wrapper',
  'pg_foreign_server',
  'pg_publication',
  'pg_largeobject_metadata',
  'pg_ts_config',
  'pg_ts_dict',
  'pg_default_acl',
  'pg_am',
]
  .map((catalog) => {
    const temporary = catalog === 'pg_namespace' ? ` AND nspname !~ '^pg_(toast_)?temp_'` : '';
    return `EXISTS (SELECT FROM ${catalog} WHERE oid >= 16384${temporary})`;
  })
  .join(' OR ')}
  OR EXISTS (SELECT FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())) AS anything`;

/** Walking through the files of a thousand databases may take long; without sizes the order is that of the names. */
const SIZES_TIMEOUT = '15s';

interface DatabaseRow extends Omit<FoundDatabase, 'empty'> {
  readonly [column: string]: unknown;
}

/**
 * The databases of the source's server.
 * @throws PgsluiceError of the connection.
 */
export async function listDatabases(source: ConnectionSettings, signal: AbortSignal): Promise<FoundDatabase[]> {
  const rows = await within(source, 'source', signal, readDatabases);
  const found: FoundDatabase[] = [];
  for (const row of rows) {
    const { name, template, open, mayConnect, bytes } = row;
    const looks = name === MAINTENANCE_DATABASE && open && mayConnect && !template;
    const empty = looks && !(await holdsAnything({ ...source, database: name }, signal));
    found.push({ name, template, open, mayConnect, bytes, empty });
  }
  return found;
}

async function readDatabases(session: Session): Promise<DatabaseRow[]> {
  await session.run(`SET statement_timeout = '${SIZES_TIMEOUT}'`);
  try {
    return await session.query<DatabaseRow>(databases(SIZE));
  } catch (error) {
    // Too slow, or a database was dropped in this moment: sizes decide nothing but the order.
    if (session.lost) throw error;
    return await session.query<DatabaseRow>(databases('NULL::float8'));
  }
}

async function holdsAnything(settings: ConnectionSettings, signal: AbortSignal): Promise<boolean> {
  try {
    const [row] = await within(settings, 'source', signal, (session) => session.query<{ anything: boolean }>(ANYTHING));
    return row?.anything ?? true;
  } catch (error) {
    // A database that cannot be looked into is not left out as empty: its own job says what is wrong.
    if (error instanceof PgsluiceError && error.code !== 'CANCELLED') return true;
    throw error;
  }
}

/**
 * Names of the databases of the target's server; where the one of the URL does not exist they are read from another.
 * @throws PgsluiceError of the connection.
 */
export async function namesOnTarget(target: ConnectionSettings, signal: AbortSignal): Promise<ReadonlySet<string>> {
  return await onTarget(target, signal, async (session) => {
    const rows = await session.query<{ name: string }>('SELECT datname AS name FROM pg_database');
    return new Set(rows.map((row) => row.name));
  });
}

async function onTarget<T>(
  target: ConnectionSettings,
  signal: AbortSignal,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const places = [...new Set([target.database, MAINTENANCE_DATABASE, 'template1'])];
  let missing: unknown = null;
  for (const database of places) {
    try {
      return await within({ ...target, database }, 'target', signal, work);
    } catch (error) {
      if (sqlStateOf(error) !== SQLSTATE.invalidCatalogName) throw missing ?? error;
      missing ??= error;
    }
  }
  throw missing;
}

/** Connections that the jobs of a group can have in all; where both sides are one server, each one's part. */
export async function readRoom(
  source: ConnectionSettings,
  target: ConnectionSettings,
  signal: AbortSignal,
): Promise<Room> {
  const [ofSource, ofTarget] = await Promise.all([
    within(source, 'source', signal, (session) => readSide('source', session)),
    onTarget(target, signal, (session) => readSide('target', session)),
  ]);
  return sameServer(ofSource.fingerprint, ofTarget.fingerprint)
    ? shareConnections(ofSource.available, ofTarget.available)
    : { source: ofSource.available, target: ofTarget.available };
}

async function readSide(side: Side, session: Session) {
  const version = await readServerVersion(session);
  const [identity] = await session.query<Identity & Record<string, unknown>>(IDENTITY);
  if (identity === undefined) throw new Error('the current role is not in pg_roles');
  const database = new Database({ side, settings: session.settings, session, version, identity });
  // A database's own limit binds no other member; each one's validation measures its own.
  const use = { ...(await readConnectionUse(database)), databaseLimit: -1 };
  return { available: connectionsAvailable(use), fingerprint: await readFingerprint(database) };
}

async function within<T>(
  settings: ConnectionSettings,
  side: Side,
  signal: AbortSignal,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await openSession(settings, { signal, side, purpose: 'list', readOnly: true, retryForMs: 1_500 });
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}
