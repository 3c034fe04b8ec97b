import pg from 'pg';
import { PgsluiceError } from '../errors.ts';
import { connectBy } from '../postgres/connect.ts';
import { HALF_DEADLOCK_TIMEOUT } from '../postgres/lock-patience.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import { failed, informed, passed, skipped } from './check.ts';
import type { Check, Verdict } from './check.ts';
import type { Database } from './database.ts';
import { isFollowed, readLiveTables } from './live-tables.ts';
import type { LiveTable } from './live-tables.ts';
import { NAMED, count, listNames } from './words.ts';

/** What became of a connection in the replication protocol: the system's answer, or why there was none. */
export type ReplicationProbe =
  | { readonly timeline: string }
  | { readonly error: PgsluiceError; readonly denied: boolean; readonly noSender: boolean };

export function judgeReplicationRight(role: string, probe: ReplicationProbe, provider: string | null): Verdict {
  if ('timeline' in probe)
    return passed(`A connection in the replication protocol was made as ${role} (timeline ${probe.timeline}).`);
  const { error } = probe;
  if (probe.denied) {
    const grant =
      provider === 'rds_replication'
        ? `GRANT rds_replication TO ${quoteIdent(role)};`
        : `ALTER ROLE ${quoteIdent(role)} REPLICATION; -- as a superuser`;
    return failed('REPLICATION_DENIED', `The role ${role} may not replicate: ${error.message}`, [
      { text: grant, need: 'replication-right', values: { role } },
      { text: '-- or use --method copy' },
    ]);
  }
  if (probe.noSender)
    return {
      ...failed('NO_SENDER_LEFT', error.message, [
        { text: 'ALTER SYSTEM SET max_wal_senders = …; -- and restart the source; or end a sender', need: 'max-slots' },
      ]),
      retryable: true,
    };
  return {
    ...failed(error.code, `No connection in the replication protocol could be made: ${error.message}`, error.hint),
    retryable: error.retryable,
  };
}

/** Logs in as a walsender for this database, asks who it talks to, and leaves: makes nothing (documentation, 55.4). */
async function probeReplication(source: Database, signal: AbortSignal): Promise<ReplicationProbe> {
  const { settings } = source;
  const input = { settings, side: 'source', applicationName: `${settings.applicationName} validate`, signal } as const;
  try {
    return await connectBy(input, async (config, { stream }) => {
      const walsender: pg.ClientConfig & { readonly replication: string } = { ...config, replication: 'database' };
      const client = new pg.Client(walsender);
      // What ends the connection also fails the question below.
      client.on('error', () => undefined);
      try {
        await client.connect();
        const { rows } = await client.query<{ timeline: number }>('IDENTIFY_SYSTEM');
        await client.end();
        return { timeline: String(rows[0]?.timeline ?? 'unknown') };
      } finally {
        stream.destroy();
      }
    });
  } catch (error) {
    if (!(error instanceof PgsluiceError) || error.code === 'CANCELLED') throw error;
    const state = sqlStateOf(error);
    return {
      error,
      denied: state === SQLSTATE.insufficientPrivilege,
      noSender: state === SQLSTATE.tooManyConnections,
    };
  }
}

const PROVIDER = `SELECT rolname::text AS name FROM pg_roles WHERE rolname = 'rds_replication'`;

const replicationRight: Check = {
  id: 'live.replication-right',
  severity: 'blocks',
  title: 'The source role may replicate, and a connection in the replication protocol works.',
  needs: 'source',
  run: async (source, { signal }) => {
    const [provider] = await source.session.query<{ name: string }>(PROVIDER);
    return judgeReplicationRight(source.identity.role, await probeReplication(source, signal), provider?.name ?? null);
  },
};

export interface PublicationFacts {
  readonly role: string;
  readonly database: string;
  /** CREATE on the database. */
  readonly mayCreate: boolean;
  /** Those that are to be published. */
  readonly tables: readonly LiveTable[];
}

/** The rights that CREATE PUBLICATION … FOR TABLE asks for (documentation), one by one. null: all are there, it may be tried. */
export function judgePublicationRights(facts: PublicationFacts): Verdict | null {
  const { role, database, tables } = facts;
  const foreign = tables.filter((table) => !table.owned);
  const lacks: string[] = [];
  const remedies: string[] = [];
  if (!facts.mayCreate) {
    lacks.push(`has no CREATE on the database ${database}`);
    remedies.push(`GRANT CREATE ON DATABASE ${quoteIdent(database)} TO ${quoteIdent(role)};`);
  }
  if (foreign.length > 0) {
    lacks.push(
      `does not own ${count(foreign.length, 'table')}: ${listNames(foreign.map((table) => qualified(table.schema, table.name)))}`,
    );
    const owners = [...new Set(foreign.map((table) => table.owner))];
    remedies.push(
      ...owners
        .slice(0, NAMED)
        .map(
          (owner) =>
            `GRANT ${quoteIdent(owner)} TO ${quoteIdent(role)}; -- only owners may publish a table; or leave its data out (--exclude-table-data)`,
        ),
    );
  }
  if (lacks.length === 0) return null;
  return failed('PUBLICATION_DENIED', `The role ${role} ${lacks.join(', and ')}.`, remedies.join('\n'));
}

/** Tables that the attempt names: one of each owner, so that few locks are asked for. */
const TRIED = 20;
/** No job's publication: it is rolled back, and so never seen by anybody. */
const TRIAL = 'pgsluice_validation';

async function tryPublication(session: Session, tables: readonly LiveTable[]): Promise<PgsluiceError | null> {
  const byOwner = [...new Map(tables.map((table) => [table.owner, table])).values()].slice(0, TRIED);
  const list = byOwner.map((table) => `ONLY ${qualified(table.schema, table.name)}`).join(', ');
  // SHARE UPDATE EXCLUSIVE stops no reader or writer; one who holds it already (VACUUM) is not waited for long.
  await session.run('BEGIN READ WRITE');
  try {
    await session.run(HALF_DEADLOCK_TIMEOUT);
    await session.run(`CREATE PUBLICATION ${TRIAL}${list === '' ? '' : ` FOR TABLE ${list}`}`);
    return null;
  } catch (error) {
    if (error instanceof PgsluiceError && error.code !== 'CANCELLED') return error;
    throw error;
  } finally {
    // A session that is gone has rolled back by its end.
    if (!session.lost) await session.run('ROLLBACK');
  }
}

const publication: Check = {
  id: 'live.publication',
  severity: 'blocks',
  title: 'The source role may publish every table that is followed (tried, and undone).',
  alone: true,
  needs: 'source',
  run: async (source, { options }) => {
    const tables = (await readLiveTables(source, options)).filter(isFollowed);
    const { role, database } = source.identity;
    const { mayCreate } = await source.one<{ mayCreate: boolean }>(
      `SELECT has_database_privilege(current_database(), 'CREATE') AS "mayCreate"`,
    );
    const lacking = judgePublicationRights({ role, database, mayCreate, tables });
    if (lacking !== null) return lacking;
    if (source.identity.inRecovery) return skipped('A publication cannot be made on a standby.');
    const error = await tryPublication(source.session, tables);
    if (error === null)
      return passed(`The role ${role} may publish all ${count(tables.length, 'table')}; tried, and undone.`);
    if (sqlStateOf(error) === SQLSTATE.lockNotAvailable)
      return informed(
        `The role ${role} has the rights to publish all ${count(tables.length, 'table')}; it was not tried, because a VACUUM or an index build holds one of them.`,
      );
    return failed('PUBLICATION_DENIED', `A publication could not be made: ${error.message}`, error.hint);
  },
};

export const liveRightChecks: readonly Check[] = [replicationRight, publication];
