import { setTimeout as sleep } from 'node:timers/promises';
import { PgsluiceError } from '../errors.ts';
import type { LogLevel } from '../contract/event.ts';
import type { JobOptions } from '../contract/options.ts';
import { createDatabase, maintenanceDatabases, readDatabaseFacts } from '../postgres/database-facts.ts';
import type { DatabaseFacts, DatabaseGrant } from '../postgres/database-facts.ts';
import { mappedRole } from '../postgres/map-roles.ts';
import { quoteIdent, quoteLiteral } from '../postgres/quote.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import { settingClause } from '../postgres/stored-settings.ts';
import { readServerVersion } from '../postgres/version.ts';

/**
 * Comment of a database that a job has made and not yet finished: whoever finds it knows where it comes from, and a later run
 * knows that its settings, grants and owner are still to come.
 */
const MARK = 'Made by pgsluice for a job that has not come to its end.';

/** How long CREATE DATABASE is tried again while somebody is connected to template0, ms. */
const TEMPLATE_WAIT_MS = 10_000;

export interface TargetDatabaseInput {
  readonly target: ConnectionSettings;
  /** Of the source's database, from itself or from a manifest. */
  readonly facts: DatabaseFacts;
  readonly signal: AbortSignal;
  /** Awaited right before the server is changed. */
  beforeFirstWrite(): Promise<void>;
  log(level: LogLevel, message: string): void;
}

function isMissing(error: unknown): boolean {
  return error instanceof PgsluiceError && error.code === 'UNKNOWN_DATABASE';
}

/** A session in the first database of the server that lets the role in, for what concerns one that does not exist. */
async function openMaintenance({ target, signal }: TargetDatabaseInput): Promise<Session> {
  let failure: unknown = null;
  for (const database of maintenanceDatabases(target.database, target.user)) {
    try {
      return await openSession({ ...target, database }, { signal, side: 'target', purpose: 'database' });
    } catch (error) {
      if (signal.aborted) throw error;
      failure ??= error;
    }
  }
  throw failure;
}

/**
 * Makes the target's database where it does not exist: from template0, with the source's encoding and locale as far as the
 * target's version has them, owned by the connecting role. Its settings, grants and owner come with
 * {@link finishTargetDatabase}, since they may shut the job out.
 * @returns true when it was made. @throws PgsluiceError when the server refuses, or the cancellation.
 */
export async function createTargetDatabase(input: TargetDatabaseInput): Promise<boolean> {
  const { target, signal } = input;
  try {
    const session = await openSession(target, { signal, side: 'target', purpose: 'database', retryForMs: 30_000 });
    await session.close();
    return false;
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  const session = await openMaintenance(input);
  try {
    const { major } = await readServerVersion(session);
    const { statement, lost } = createDatabase(target.database, input.facts, major);
    await input.beforeFirstWrite();
    if (!(await runCreate(session, statement, signal))) return false;
    await session.run(`COMMENT ON DATABASE ${quoteIdent(target.database)} IS ${quoteLiteral(MARK)}`);
    input.log(
      'warn',
      `Made the database ${quoteIdent(target.database)} on the target, which stays when the job does not come to its end: ${statement}`,
    );
    for (const sentence of lost) input.log('warn', `${sentence}.`);
    return true;
  } finally {
    await session.close();
  }
}

/** False when another was quicker. */
async function runCreate(session: Session, statement: string, signal: AbortSignal): Promise<boolean> {
  const until = Date.now() + TEMPLATE_WAIT_MS;
  for (;;) {
    try {
      await session.run(statement);
      return true;
    } catch (error) {
      const state = sqlStateOf(error);
      if (state === SQLSTATE.duplicateDatabase) return false;
      // Somebody else makes a database at the same time.
      if (state !== SQLSTATE.objectInUse || Date.now() > until) throw error;
      await sleep(250, undefined, { signal });
    }
  }
}

export interface FinishDatabaseInput extends Omit<TargetDatabaseInput, 'beforeFirstWrite'> {
  readonly options: Pick<JobOptions, 'noOwner' | 'noAcl' | 'mapRole'>;
}

export interface FinishedDatabase {
  readonly statements: readonly string[];
  /** What a person has to do by hand. */
  readonly todo: readonly string[];
}

/** What makes a database that was made here like the source's, in this order. Pure. */
export function finishStatements(
  name: string,
  facts: DatabaseFacts,
  options: FinishDatabaseInput['options'],
  role: string,
): string[] {
  const database = `DATABASE ${quoteIdent(name)}`;
  const owner = options.noOwner ? role : mappedRole(options.mapRole, facts.owner);
  const limit = facts.connectionLimit ?? -1;
  return [
    ...facts.settings.map((setting) => `ALTER ${database} ${settingClause(setting)}`),
    ...(options.noAcl ? [] : grantStatements(database, facts, options.mapRole)),
    `COMMENT ON ${database} IS ${facts.comment === null ? 'NULL' : quoteLiteral(facts.comment)}`,
    ...(limit < 0 ? [] : [`ALTER ${database} CONNECTION LIMIT ${limit}`]),
    // Last: from then on it is the new owner's to change.
    ...(owner === role ? [] : [`ALTER ${database} OWNER TO ${quoteIdent(owner)}`]),
  ];
}

function grantStatements(database: string, facts: DatabaseFacts, map: JobOptions['mapRole']): string[] {
  if (facts.grants === undefined || facts.grants === null) return [];
  const others = facts.grants.filter(({ grantee }) => grantee !== facts.owner);
  const to = ({ grantee }: DatabaseGrant): string =>
    grantee === null ? 'PUBLIC' : quoteIdent(mappedRole(map, grantee));
  return [
    `REVOKE ALL ON ${database} FROM PUBLIC`,
    ...others.map(
      (one) => `GRANT ${one.privilege} ON ${database} TO ${to(one)}${one.grantable ? ' WITH GRANT OPTION' : ''}`,
    ),
  ];
}

const MARKED = `SELECT shobj_description(oid, 'pg_database') = $1 AS marked FROM pg_database WHERE datname = current_database()`;

/**
 * Gives a database that this or an earlier run made the source's settings, grants, comment, connection limit and owner; leaves
 * every other database as it is. What the role may not do is left to a person. In one transaction.
 */
export async function finishTargetDatabase(input: FinishDatabaseInput): Promise<FinishedDatabase> {
  const { target, facts, options, signal } = input;
  const session = await openSession(target, { signal, side: 'target', purpose: 'database', retryForMs: 30_000 });
  const statements: string[] = [];
  const todo: string[] = [];
  try {
    const [row] = await session.query<{ marked: boolean | null }>(MARKED, [MARK]);
    if (row?.marked !== true) return { statements, todo };
    const [self] = await session.query<{ role: string }>('SELECT current_user::text AS role');
    await session.run('BEGIN');
    try {
      for (const statement of finishStatements(target.database, facts, options, self?.role ?? target.user)) {
        await session.run('SAVEPOINT one');
        try {
          await session.run(statement);
          statements.push(statement);
        } catch (error) {
          if (session.lost || sqlStateOf(error) === null) throw error;
          await session.run('ROLLBACK TO SAVEPOINT one');
          todo.push(`The target refused this for its new database; run it as a role that may: ${statement};`);
        }
      }
      await session.run('COMMIT');
    } catch (error) {
      if (!session.lost) await session.run('ROLLBACK');
      throw error;
    }
    for (const statement of statements) input.log('info', `On the target: ${statement}`);
    return { statements, todo };
  } finally {
    await session.close();
  }
}

/** The source's own description, read on a connection of its own that ends with it. */
export async function readSourceDatabase(source: ConnectionSettings, signal: AbortSignal): Promise<DatabaseFacts> {
  const session = await openSession(source, {
    signal,
    side: 'source',
    purpose: 'database',
    readOnly: true,
    retryForMs: 30_000,
  });
  try {
    return await readDatabaseFacts(session);
  } finally {
    await session.close();
  }
}
