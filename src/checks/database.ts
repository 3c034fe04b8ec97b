import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { ServerVersion } from '../postgres/version.ts';
import { RELATIONS, ROLE_USES, objectsOf } from './catalog.ts';
import type { CatalogObject, Relation, RoleUse } from './catalog.ts';

/** The role a session acts as, and the server and database it is in. */
export interface Identity {
  readonly role: string;
  readonly superuser: boolean;
  readonly createRole: boolean;
  readonly bypassRls: boolean;
  readonly database: string;
  readonly databaseOid: number;
  readonly inRecovery: boolean;
}

export const IDENTITY = `
SELECT current_user::text AS role, r.rolsuper AS superuser, r.rolcreaterole AS "createRole", r.rolbypassrls AS "bypassRls",
       d.datname AS database, d.oid AS "databaseOid", pg_is_in_recovery() AS "inRecovery"
FROM pg_roles r, pg_database d
WHERE r.rolname = current_user AND d.datname = current_database()`;

export interface DatabaseInput {
  readonly side: 'source' | 'target';
  readonly settings: ConnectionSettings;
  readonly session: Session;
  readonly version: ServerVersion;
  readonly identity: Identity;
  /** The database does not exist yet: the session, and `settings` with it, are in another one of the same server. */
  readonly absent?: boolean;
}

/** One side that was reached: its session, who we are there, and what several checks read, read once. */
export class Database {
  readonly side: 'source' | 'target';
  readonly settings: ConnectionSettings;
  readonly session: Session;
  readonly version: ServerVersion;
  readonly identity: Identity;
  /** True: the database that `identity` names is still to be made, and holds nothing. */
  readonly absent: boolean;

  constructor(input: DatabaseInput) {
    this.side = input.side;
    this.settings = input.settings;
    this.session = input.session;
    this.version = input.version;
    this.identity = input.identity;
    this.absent = input.absent ?? false;
  }

  /** Tables, views, materialized views, foreign tables and sequences of people, in or out of the job's scope. */
  relations(): Promise<Relation[]> {
    return this.absent ? Promise.resolve([]) : readRelations(this);
  }

  /** Every object of people that pg_dump names and that has an owner, plus casts; large objects apart. */
  objects(): Promise<CatalogObject[]> {
    return this.absent ? Promise.resolve([]) : readObjects(this);
  }

  /** Roles named by column grants, default privileges, policies and user mappings. */
  roleUses(): Promise<RoleUse[]> {
    return this.absent ? Promise.resolve([]) : readRoleUses(this);
  }

  async one<R extends Record<string, unknown>>(sql: string, params: readonly unknown[] = []): Promise<R> {
    const [row] = await this.session.query<R>(sql, params);
    if (row === undefined) throw new Error('A query that always answers one row answered none.');
    return row;
  }
}

/** What several checks need is read by the first of them, once for a validation. */
export function perDatabase<T>(read: (database: Database) => Promise<T>): (database: Database) => Promise<T> {
  const known = new WeakMap<Database, Promise<T>>();
  return (database) => {
    const value = known.get(database) ?? read(database);
    known.set(database, value);
    return value;
  };
}

const readRelations = perDatabase((database) => database.session.query<Relation & Record<string, unknown>>(RELATIONS));
const readObjects = perDatabase((database) =>
  database.session.query<CatalogObject & Record<string, unknown>>(objectsOf(database.version.major)),
);
const readRoleUses = perDatabase((database) => database.session.query<RoleUse & Record<string, unknown>>(ROLE_USES));
