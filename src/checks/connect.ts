import { describeSettings } from '../postgres/settings.ts';
import type { ConnectionSettings, SslMode } from '../postgres/settings.ts';
import type { PgsluiceError } from '../errors.ts';
import { placeOfHost, remedyAt } from '../postgres/places/places.ts';
import type { Need } from '../postgres/places/types.ts';
import { failed, informed, passed, warned } from './check.ts';
import type { Check, Verdict } from './check.ts';
import { perDatabase } from './database.ts';
import type { Database } from './database.ts';
import { headroomCheck } from './headroom.ts';
import { placeCheck } from './place.ts';
import { poolerCheck } from './pooler.ts';

export interface Transport {
  readonly tls: boolean;
  readonly tlsVersion: string | null;
  readonly cipher: string | null;
}

/** pg_stat_ssl shows every role its own session (PostgreSQL documentation, 27.2 "The Cumulative Statistics System"). */
export const TRANSPORT = `
SELECT ssl AS tls, version AS "tlsVersion", cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()`;

function isLocal(host: string): boolean {
  return (
    host.startsWith('/') || host.startsWith('@') || host === 'localhost' || host === '::1' || host.startsWith('127.')
  );
}

function tlsWords(transport: Transport, sslmode: SslMode): string {
  if (!transport.tls) return 'not encrypted';
  const verified =
    sslmode === 'verify-full'
      ? 'certificate and host name verified'
      : sslmode === 'verify-ca'
        ? 'certificate verified, host name not'
        : `certificate not verified (sslmode=${sslmode})`;
  return `encrypted with ${transport.tlsVersion ?? 'TLS'}, ${transport.cipher ?? 'unknown cipher'}, ${verified}`;
}

/** `transport` is null where the server does not say (a proxy in between). */
export function judgeReached(
  settings: ConnectionSettings,
  versionText: string,
  transport: Transport | null,
  roundTripMs: number,
): Verdict {
  const words = transport === null ? 'encryption unknown' : tlsWords(transport, settings.sslmode);
  const found = `${describeSettings(settings)} answers: PostgreSQL ${versionText}, ${words}, ${roundTripMs.toFixed(1)} ms a round trip.`;
  if (transport !== null && !transport.tls && !isLocal(settings.host)) {
    return informed(found, 'Add sslmode=require to the URL when the way to this server is not a private network.');
  }
  return passed(found);
}

/** What a place may say in its own words to a connection that did not come about. */
const needOfError: Readonly<Record<string, Need>> = {
  NO_PG_HBA_ENTRY: 'allowlist',
  CONNECT_TIMEOUT: 'allowlist',
  CONNECTION_REFUSED: 'allowlist',
  HOST_UNREACHABLE: 'allowlist',
  TOO_MANY_CONNECTIONS: 'connections',
  UNKNOWN_DATABASE: 'create-database',
  TRANSACTION_POOLER: 'pooler',
};

/**
 * What `openSession` said; its code, sentence and remedy are the check's. A server that was not reached can be told by its
 * host's name only; what its place says to this comes beside the remedy, because the cause is not certain.
 */
export function judgeUnreached(
  error: PgsluiceError,
  settings?: Pick<ConnectionSettings, 'host' | 'database'>,
): Verdict {
  const need = needOfError[error.code];
  const place = need === undefined || settings === undefined ? null : placeOfHost(settings.host);
  const words =
    place === null || need === undefined || settings === undefined
      ? ''
      : remedyAt(place, need, '', { database: settings.database });
  const remedy = [error.hint, words].filter((text) => text !== '').join('\n');
  return { ...failed(error.code, error.message, remedy), retryable: error.retryable };
}

const ROUND_TRIPS = 3;

/** Shortest of a few round trips, in ms: the first one may pay for warming up. */
async function measureRoundTrip(database: Database): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < ROUND_TRIPS; i += 1) {
    const start = performance.now();
    await database.session.query('SELECT 1');
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

const reached = (side: 'source' | 'target'): Check => ({
  id: `connect.${side}`,
  severity: 'blocks',
  title: `The ${side} is reachable and lets this role in.`,
  alone: true,
  needs: side,
  run: async (database) => {
    const [transport] = await database.session.query<Transport & Record<string, unknown>>(TRANSPORT);
    const roundTrip = await measureRoundTrip(database);
    return judgeReached(database.settings, database.version.text, transport ?? null, roundTrip);
  },
});

/** What tells one running server from another. */
export interface ServerFingerprint {
  /** From pg_control_system(); null where the role may not read it. Copies of a data directory share it. */
  readonly systemIdentifier: string | null;
  /** Microseconds since 1970 as text: two servers do not start in the same one. */
  readonly startedAt: string;
  readonly port: string;
  readonly databaseOid: number;
  readonly database: string;
  readonly inRecovery: boolean;
}

export const FINGERPRINT = `
SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint::text AS "startedAt", current_setting('port') AS port,
       has_function_privilege('pg_control_system()', 'EXECUTE') AS allowed`;

export const readFingerprint = perDatabase(async (database): Promise<ServerFingerprint> => {
  const row = await database.one<{ startedAt: string; port: string; allowed: boolean }>(FINGERPRINT);
  const identifier = row.allowed
    ? (await database.one<{ id: string }>('SELECT system_identifier::text AS id FROM pg_control_system()')).id
    : null;
  return {
    systemIdentifier: identifier,
    startedAt: row.startedAt,
    port: row.port,
    databaseOid: database.identity.databaseOid,
    database: database.identity.database,
    inRecovery: database.identity.inRecovery,
  };
});

/** True when both are databases of one running server, whatever way leads there. */
export function sameServer(source: ServerFingerprint, target: ServerFingerprint): boolean {
  const known = source.systemIdentifier !== null && target.systemIdentifier !== null;
  return (
    source.startedAt === target.startedAt &&
    source.port === target.port &&
    (!known || source.systemIdentifier === target.systemIdentifier)
  );
}

/**
 * Same running server and same database: blocked. A standby and its primary hold one database as well: blocked.
 * Two primaries with one identifier are copies of a data directory that went their own ways: allowed.
 */
export function judgeSameDatabase(source: ServerFingerprint, target: ServerFingerprint): Verdict {
  const sameName = source.databaseOid === target.databaseOid && source.database === target.database;
  const remedy = 'Check the two URLs: give the target a database of its own.';
  const sameIdentifier = source.systemIdentifier !== null && source.systemIdentifier === target.systemIdentifier;
  const oneServer = sameServer(source, target);
  if (oneServer && sameName) {
    return failed(
      'SAME_DATABASE',
      `Source and target are the same database, ${source.database}, of the same server.`,
      remedy,
    );
  }
  if (sameIdentifier && sameName && (source.inRecovery || target.inRecovery)) {
    return failed(
      'SAME_DATABASE',
      `One of the two is a standby of the other: both hold the database ${source.database}.`,
      remedy,
    );
  }
  if (oneServer) return passed(`Two databases of one server: ${source.database} and ${target.database}.`);
  if (sameIdentifier) {
    return informed('Two servers that began as copies of one data directory; they run apart from each other now.');
  }
  return passed('Source and target are different servers.');
}

const sameDatabase: Check = {
  id: 'connect.same-database',
  severity: 'blocks',
  title: 'Source and target are two databases, whatever their host names say.',
  needs: 'both',
  side: 'both',
  run: async (source, target) => judgeSameDatabase(await readFingerprint(source), await readFingerprint(target)),
};

export interface StandbyState {
  readonly inRecovery: boolean;
  /** hot_standby_feedback. */
  readonly feedback: boolean;
  /** max_standby_streaming_delay in ms; -1: replay waits for readers as long as they take. */
  readonly delayMs: number;
}

/** Pure. */
export function judgeStandbySource({ inRecovery, feedback, delayMs }: StandbyState): Verdict {
  if (!inRecovery) return passed('The source is a primary.');
  if (feedback && delayMs === -1) return informed('The source is a standby that waits for our reading.');
  return warned(
    'The source is a standby: replaying what its primary does can cancel our reading ("conflict with recovery").',
    [
      '-- on the standby, for the time of the copy:',
      'ALTER SYSTEM SET hot_standby_feedback = on;',
      "ALTER SYSTEM SET max_standby_streaming_delay = '-1';",
      'SELECT pg_reload_conf();',
    ].join('\n'),
  );
}

const STANDBY = `
SELECT pg_is_in_recovery() AS "inRecovery", current_setting('hot_standby_feedback')::bool AS feedback,
       (SELECT setting::float8 FROM pg_settings WHERE name = 'max_standby_streaming_delay') AS "delayMs"`;

const standbySource: Check = {
  id: 'connect.standby-source',
  severity: 'warns',
  title: 'The source is a primary; a standby may cancel long reading.',
  needs: 'source',
  run: async (source) => judgeStandbySource(await source.one<StandbyState & Record<string, unknown>>(STANDBY)),
};

export interface ReadOnlyState {
  readonly inRecovery: boolean;
  /** What a new session starts with: default_transaction_read_only without our own setting. */
  readonly readOnlyDefault: boolean;
  /** Statements that undo it, from pg_db_role_setting; empty when it comes from the server's configuration. */
  readonly resets: readonly string[];
}

/** reset_val is what the session began with, before our own SET (PostgreSQL documentation, 54.24 "pg_settings"). */
export const READ_ONLY = `
SELECT pg_is_in_recovery() AS "inRecovery", s.reset_val = 'on' AS "readOnlyDefault",
  ARRAY(SELECT CASE
      WHEN d.setrole = 0 THEN format('ALTER DATABASE %I RESET default_transaction_read_only;', current_database())
      WHEN d.setdatabase = 0 THEN format('ALTER ROLE %I RESET default_transaction_read_only;', current_user)
      ELSE format('ALTER ROLE %I IN DATABASE %I RESET default_transaction_read_only;', current_user, current_database()) END
    FROM pg_db_role_setting d, unnest(d.setconfig) c
    WHERE c LIKE 'default\\_transaction\\_read\\_only=%'
      AND d.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
      AND d.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = current_user))) AS resets
FROM pg_settings s WHERE s.name = 'default_transaction_read_only'`;

/**
 * A session could override default_transaction_read_only. It is not done: providers set it when the disk is full, and
 * people to protect a database; both want to be asked.
 */
export function judgeTargetWritable(state: ReadOnlyState): Verdict {
  if (state.inRecovery) {
    return failed(
      'TARGET_READ_ONLY',
      'The target is a standby: it only replays its primary.',
      'Give the URL of the primary as the target.',
    );
  }
  if (state.readOnlyDefault) {
    const byConfiguration = ['ALTER SYSTEM RESET default_transaction_read_only;', 'SELECT pg_reload_conf();'];
    return failed(
      'TARGET_READ_ONLY',
      'The target is set to read only (default_transaction_read_only is on); some providers do this when the disk is full.',
      // Whoever pastes it is read only as well.
      ['SET default_transaction_read_only TO off;', ...(state.resets.length > 0 ? state.resets : byConfiguration)].join(
        '\n',
      ),
    );
  }
  return passed('The target accepts writes.');
}

const standbyTarget: Check = {
  id: 'connect.standby-target',
  severity: 'blocks',
  title: 'The target accepts writes.',
  needs: 'target',
  run: async (target) => judgeTargetWritable(await target.one<ReadOnlyState & Record<string, unknown>>(READ_ONLY)),
};

export const connectChecks: readonly Check[] = [
  reached('source'),
  reached('target'),
  sameDatabase,
  placeCheck,
  poolerCheck,
  standbySource,
  standbyTarget,
  headroomCheck,
];
