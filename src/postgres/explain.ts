import { PgsluiceError } from '../errors.ts';
import { type ConnectionSettings, type Side, describeSettings, isUnixSocket } from './settings.ts';
import { SQLSTATE, serverField, sqlStateOf } from './sqlstate.ts';

export interface ExplainContext {
  readonly side: Side;
  readonly settings?: ConnectionSettings | undefined;
  /** What was being done, as it reads after "while": `copying the table "a"."b"`. */
  readonly doing?: string | undefined;
}

export interface Explanation {
  readonly code: string;
  /** Follows "The source user@host:port/database "; ends with a full stop. */
  readonly says: string;
  readonly hint: string;
  readonly retryable?: boolean;
}

type Explain = (facts: Facts) => Explanation;

/** What the table below looks at; pure data. */
interface Facts {
  readonly message: string;
  readonly detail: string | null;
  readonly serverHint: string | null;
  readonly routine: string | null;
  readonly state: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  readonly sslmode: string;
  readonly unix: boolean;
  readonly side: Side;
  readonly doing: string | null;
}

const sentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`);

function quotedName(message: string): string | null {
  // Any language: PostgreSQL's translations keep one of these quotation marks around the name.
  return /["«»„“”]\s*([^"«»„“”]+?)\s*["«»„“”]/.exec(message)?.[1] ?? null;
}

const hbaLine = (f: Facts): string =>
  f.unix
    ? `local ${f.database} ${f.user} scram-sha-256`
    : `hostssl ${f.database} ${f.user} <address of this machine>/32 scram-sha-256`;

function explainAuthorization(f: Facts): Explanation {
  if (f.routine === 'InitializeSessionUserId' || /role .* does not exist/i.test(f.message)) {
    return /not permitted to log in/i.test(f.message)
      ? {
          code: 'AUTHENTICATION_FAILED',
          says: `refuses the role "${f.user}": it may not log in.`,
          hint: `Run on that server: ALTER ROLE "${f.user}" LOGIN; or use another user.`,
        }
      : {
          code: 'UNKNOWN_ROLE',
          says: `has no role "${f.user}".`,
          hint: `Correct the user in the URL, or run on that server: CREATE ROLE "${f.user}" LOGIN PASSWORD '…';`,
        };
  }
  if (/insecure|ssl connection is required|ssl is required|requires? (ssl|tls)/i.test(f.message)) return tlsRequired();
  if (f.routine === 'ClientAuthentication' || /pg_hba/i.test(f.message)) {
    return {
      code: 'NO_PG_HBA_ENTRY',
      says: `does not let this machine in: ${sentence(f.message)}`,
      hint: `Allow this machine's address in the provider's network settings, or add to pg_hba.conf and reload: ${hbaLine(f)}${f.sslmode === 'disable' || f.sslmode === 'allow' ? ' (and try sslmode=require)' : ''}`,
    };
  }
  return authenticationFailed(f);
}

function authenticationFailed(f: Facts): Explanation {
  return {
    code: 'AUTHENTICATION_FAILED',
    says: `does not let "${f.user}" log in: ${sentence(f.message)}`,
    hint: `Check user and password (in a URL write / ? # @ : % as %2F %3F %23 %40 %3A %25); set a new one with ALTER ROLE "${f.user}" PASSWORD '…';`,
  };
}

/** The connection could not be made in time; `seconds` is null when the operating system gave up. */
export function connectTimeout(seconds: number | null): Explanation {
  return {
    code: 'CONNECT_TIMEOUT',
    says: `did not answer as a PostgreSQL server ${seconds === null ? 'in time' : `within ${seconds} s`}.`,
    hint: 'Check host and port, and that firewall and network rules let this machine through; on a slow line add connect_timeout=30 to the URL.',
    retryable: true,
  };
}

/** The answer of something that is not PostgreSQL. */
/** `mute`: it ended the connection before it had said anything, as a server or a line does that is about to go away. */
export function notPostgres(what: string, mute = false): Explanation {
  return {
    code: 'NOT_POSTGRESQL',
    retryable: mute,
    says: `does not answer as a PostgreSQL server: ${what}`,
    hint: "Check the port (PostgreSQL's own is 5432) and that no web server, SSH or proxy for another protocol listens there.",
  };
}

/** Also found by the connector before anything was set, by what two sessions see of each other. */
export function transactionPooler(said: string | null): Explanation {
  return {
    code: 'TRANSACTION_POOLER',
    says: 'is reached through a transaction pooler, which moves one session between server connections.',
    hint: `Give the direct address of the server (without "-pooler", not port 6543), or the pooler's session mode.${said === null ? '' : ` The server said: ${sentence(said)}`}`,
  };
}

/** Also thrown by the connector, which finds out by asking the server for TLS. */
export function tlsRequired(): Explanation {
  return {
    code: 'TLS_REQUIRED',
    says: 'accepts encrypted connections only.',
    hint: 'Use sslmode=require, or verify-full with sslrootcert to check its certificate too.',
  };
}

const lost =
  (hint: string): Explain =>
  (f) => ({
    code: 'CONNECTION_LOST',
    says: `ended the connection: ${sentence(f.message)}`,
    hint,
    retryable: true,
  });

const connectionLost = lost(
  'Check that the server is up and that no firewall or proxy ends long connections, then retry the job.',
);

const outOfMemory: Explain = (f) =>
  /max_locks_per_transaction|max_pred_locks/i.test(`${f.serverHint ?? ''} ${f.message}`) ||
  /shared memory/i.test(f.message)
    ? {
        code: 'OUT_OF_LOCKS',
        says: 'has no room for more locks.',
        hint: 'Run: ALTER SYSTEM SET max_locks_per_transaction = 1024; restart that server, and retry. (On a managed service set it in the parameter group.)',
      }
    : {
        code: 'OUT_OF_MEMORY',
        says: `ran out of memory: ${sentence(f.message)}`,
        hint: 'Lower --table-jobs and --index-jobs, or give the server more memory, and retry.',
        retryable: true,
      };

const undefinedObject: Explain = (f) => {
  const name = quotedName(f.message);
  // Role lookups are the only undefined objects that end in this routine.
  if (f.routine === 'get_role_oid' || f.routine === 'get_rolespec_oid' || /^role /i.test(f.message)) {
    return {
      code: 'ROLE_MISSING',
      says: `has no role ${name === null ? 'of that name' : `"${name}"`}: ${sentence(f.message)}`,
      hint: `Use --roles create, or --no-owner and --no-acl, or run on that server: CREATE ROLE "${name ?? 'name'}";`,
    };
  }
  // PostgreSQL 17 and newer; older ones call it an invalid parameter value.
  if (f.routine === 'ImportSnapshot' || /^snapshot /i.test(f.message)) return snapshotGone(f);
  return serverError(f);
};

const extensionUnavailable: Explain = (f) => ({
  code: 'EXTENSION_UNAVAILABLE',
  says: `cannot provide an extension: ${sentence(f.message)}`,
  hint: "Install its package on that server, or allow it in the provider's settings, or leave out what needs it with --exclude-schema or --exclude-table.",
});

const invalidParameter: Explain = (f) =>
  /snapshot/i.test(f.message) || f.routine === 'ImportSnapshot' ? snapshotGone(f) : serverError(f);

const snapshotGone: Explain = (f) => ({
  code: 'SNAPSHOT_GONE',
  says: `no longer knows the snapshot of this copy: ${sentence(f.message)}`,
  hint: 'Name one server rather than a load balancer, and start the job again: a new snapshot is taken.',
});

const undefinedFile: Explain = (f) =>
  /extension/i.test(f.message)
    ? extensionUnavailable(f)
    : /snapshot/i.test(f.message)
      ? snapshotGone(f)
      : serverError(f);

function serverError(f: Facts): Explanation {
  const during = f.doing === null ? 'working on that server' : f.doing;
  const detail = f.detail === null ? '' : ` Detail: ${sentence(f.detail)}`;
  return {
    code: 'SERVER_ERROR',
    says: `refused a statement: ${sentence(f.message)}${detail} (SQLSTATE ${f.state})`,
    hint: `It happened while ${during}. ${f.serverHint === null ? `Look up SQLSTATE ${f.state} and the server's own log for the statement, remove the cause and retry.` : `The server's hint: ${sentence(f.serverHint)}`}`,
  };
}

const BY_STATE: Readonly<Record<string, Explain>> = {
  [SQLSTATE.invalidPassword]: authenticationFailed,
  [SQLSTATE.invalidAuthorizationSpecification]: explainAuthorization,
  [SQLSTATE.invalidCatalogName]: (f) => ({
    code: 'UNKNOWN_DATABASE',
    says: `has no database "${f.database}".`,
    hint: `Correct the database in the URL, or run on that server: CREATE DATABASE "${f.database}"; (psql -l lists what exists; --create-database makes the target's.)`,
  }),
  [SQLSTATE.tooManyConnections]: (f) => ({
    code: 'TOO_MANY_CONNECTIONS',
    says: `has no connection left for "${f.user}": ${sentence(f.message)}`,
    hint: `Lower --table-jobs and --index-jobs, close idle sessions (SELECT pid, state, application_name FROM pg_stat_activity), or raise max_connections or: ALTER ROLE "${f.user}" CONNECTION LIMIT -1;`,
    retryable: true,
  }),
  [SQLSTATE.cannotConnectNow]: (f) => ({
    code: 'SERVER_STARTING',
    says: `is not ready yet: ${sentence(f.message)}`,
    hint: 'Wait until it accepts connections (pg_isready shows it) and try again.',
    retryable: true,
  }),
  [SQLSTATE.readOnlySqlTransaction]: () => ({
    code: 'READ_ONLY_TARGET',
    says: 'accepts no writes.',
    hint: 'Name the primary rather than a standby; if it is the primary, switch default_transaction_read_only off there.',
  }),
  [SQLSTATE.insufficientPrivilege]: (f) => ({
    code: 'PERMISSION_DENIED',
    says: `does not allow this to "${f.user}": ${sentence(f.message)}`,
    hint: /schema public/i.test(f.message)
      ? `Run there as the database's owner: GRANT CREATE ON SCHEMA public TO "${f.user}"; (since PostgreSQL 15 only the owner has it).`
      : /row-level security/i.test(f.message)
        ? `Run there as a superuser: ALTER ROLE "${f.user}" BYPASSRLS; otherwise policies would hide rows.`
        : f.side === 'source'
          ? `Run there as the owner: GRANT SELECT ON … TO "${f.user}"; or as a superuser: GRANT pg_read_all_data TO "${f.user}";`
          : `Use a user that owns what is changed, or --no-owner and --no-acl.${f.serverHint === null ? '' : ` The server's hint: ${sentence(f.serverHint)}`}`,
  }),
  [SQLSTATE.diskFull]: (f) => ({
    code: 'OUT_OF_DISK',
    says: `has no disk space left: ${sentence(f.message)}`,
    hint: 'Free or add disk space on that server, then retry the job.',
  }),
  [SQLSTATE.outOfMemory]: outOfMemory,
  [SQLSTATE.deadlockDetected]: () => ({
    code: 'DEADLOCK',
    says: 'ended a statement of this job to resolve a deadlock with another session.',
    hint: 'Retry the job while nothing else changes these tables.',
    retryable: true,
  }),
  [SQLSTATE.serializationFailure]: (f) => ({
    code: 'SERIALIZATION_FAILURE',
    says: `could not order this work among other transactions: ${sentence(f.message)}`,
    hint: 'Retry the job; on a standby raise max_standby_streaming_delay or set hot_standby_feedback = on.',
    retryable: true,
  }),
  [SQLSTATE.queryCanceled]: (f) => ({
    code: 'QUERY_CANCELLED',
    says: `ended a statement: ${sentence(f.message)}`,
    hint: 'Somebody ran pg_cancel_backend, or a limit of the server ended it; retry the job when that is settled.',
    retryable: true,
  }),
  [SQLSTATE.lockNotAvailable]: (f) => ({
    code: 'LOCK_TIMEOUT',
    says: `could not get a lock in time: ${sentence(f.message)}`,
    hint: 'Find who holds it (SELECT pid, query FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(<waiting pid>))), wait or end it, and retry.',
    retryable: true,
  }),
  [SQLSTATE.adminShutdown]: lost(
    'An administrator ended the session, or the server is stopping. Retry when it is up again.',
  ),
  [SQLSTATE.crashShutdown]: lost('The server restarts after a crash. Read its log, and retry when it is up again.'),
  [SQLSTATE.databaseDropped]: (f) => ({
    code: 'UNKNOWN_DATABASE',
    says: `dropped the database "${f.database}" while it was in use.`,
    hint: 'Create the database again and start the job anew.',
  }),
  [SQLSTATE.idleSessionTimeout]: lost('Set idle_session_timeout to 0 for this role and retry.'),
  [SQLSTATE.idleInTransactionSessionTimeout]: lost(
    'Set idle_in_transaction_session_timeout to 0 for this role and retry.',
  ),
  [SQLSTATE.transactionTimeout]: lost('Set transaction_timeout to 0 for this role and retry.'),
  [SQLSTATE.undefinedObject]: undefinedObject,
  [SQLSTATE.invalidParameterValue]: invalidParameter,
  [SQLSTATE.undefinedFile]: undefinedFile,
  [SQLSTATE.invalidSqlStatementName]: (f) => transactionPooler(f.message),
  [SQLSTATE.duplicatePreparedStatement]: (f) => transactionPooler(f.message),
  [SQLSTATE.featureNotSupported]: (f) =>
    /extension ".*" is not available/i.test(f.message) || /^(parse|create)_?extension/i.test(f.routine ?? '')
      ? extensionUnavailable(f)
      : serverError(f),
};

/** Errors of the operating system and of Node's resolver, by their `code`. */
const BY_SYSTEM_CODE: Readonly<Record<string, Explain>> = {
  ENOTFOUND: (f) => ({
    code: 'UNKNOWN_HOST',
    says: `cannot be found: no address is known for "${f.host}".`,
    hint: `Check the host name for a typing error; getent hosts ${f.host} shows what this machine knows. A name of a private network is known only inside it.`,
  }),
  EAI_AGAIN: (f) => ({
    code: 'UNKNOWN_HOST',
    says: `cannot be found: the name service gave no answer for "${f.host}".`,
    hint: "Check this machine's network and DNS settings, then try again.",
    retryable: true,
  }),
  ECONNREFUSED: (f) => refused(f),
  ENOENT: (f) => (f.unix ? refused(f) : connectionLost(f)),
  EACCES: (f) => ({
    code: 'CONNECTION_REFUSED',
    says: `cannot be reached: this account may not open ${f.unix ? `${f.host}/.s.PGSQL.${f.port}` : 'that connection'}.`,
    hint: f.unix
      ? "Run pgsluice as a user of the socket's group, or use a TCP host."
      : 'Allow the connection in the local firewall.',
  }),
  EHOSTUNREACH: (f) => unreachable(f),
  ENETUNREACH: (f) => unreachable(f),
  EADDRNOTAVAIL: (f) => unreachable(f),
  ETIMEDOUT: (f) => (f.doing === 'connecting' ? connectTimeout(null) : connectionLost(f)),
  ECONNRESET: (f) => connectionLost(f),
  ECONNABORTED: (f) => connectionLost(f),
  EPIPE: (f) => connectionLost(f),
};

function refused(f: Facts): Explanation {
  return {
    code: 'CONNECTION_REFUSED',
    says: f.unix
      ? `has no server listening at ${f.host}/.s.PGSQL.${f.port}.`
      : `refuses connections: nothing listens on port ${f.port} of ${f.host}.`,
    hint: f.unix
      ? `Check that the server runs and the port is right; SHOW unix_socket_directories names the directory.`
      : `Check host and port, that the server runs (pg_isready -h ${f.host} -p ${f.port}), and that its listen_addresses is not only localhost.`,
    retryable: true,
  };
}

function unreachable(f: Facts): Explanation {
  return {
    code: 'HOST_UNREACHABLE',
    says: `cannot be reached: there is no route to "${f.host}".`,
    hint: `Check the network of this machine; a host with IPv6 addresses only needs IPv6 here (ping ${f.host}).`,
    retryable: true,
  };
}

function property(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
}

function systemCodeOf(error: unknown): string | null {
  const codes = (error instanceof AggregateError ? error.errors : [error]).map((one: unknown) => property(one, 'code'));
  // A name with several addresses fails with all their errors; a refusal says most, a missing route for IPv6 least.
  const code = codes.find((one) => one === 'ECONNREFUSED') ?? codes.find((one) => one === 'ETIMEDOUT') ?? codes[0];
  return typeof code === 'string' ? code : null;
}

/** Of a server's words, in characters: they come with every event and answer that tells of the error. */
const LONGEST_WORDS = 2000;

function shortened<T extends string | null>(words: T): T | string {
  return words === null || words.length <= LONGEST_WORDS ? words : `${words.slice(0, LONGEST_WORDS)} …`;
}

function factsOf(error: unknown, context: ExplainContext): Facts {
  const settings = context.settings;
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  const own = first instanceof Error ? first.message : String(first);
  return {
    message: shortened(serverField(error, 'message') ?? own),
    detail: shortened(serverField(error, 'detail')),
    serverHint: shortened(serverField(error, 'hint')),
    routine: serverField(error, 'routine'),
    state: sqlStateOf(error) ?? '',
    host: settings?.host ?? 'the host',
    port: settings?.port ?? 5432,
    user: settings?.user ?? 'this user',
    database: settings?.database ?? 'the database',
    sslmode: settings?.sslmode ?? 'prefer',
    unix: settings !== undefined && isUnixSocket(settings.host),
    side: context.side,
    doing: context.doing ?? null,
  };
}

/** node-postgres reports these without a code of their own. */
const LOST_MESSAGES =
  /Connection terminated|connection error and is not queryable|Client was closed|socket hang up|write after end|stream was destroyed|premature close/i;

function explanationOf(error: unknown, facts: Facts): Explanation | null {
  if (facts.state !== '') {
    const exact = BY_STATE[facts.state];
    if (exact !== undefined) return exact(facts);
    if (facts.state.startsWith('08')) return connectionLost(facts);
    if (facts.state.startsWith('58') || facts.state === 'XX001' || facts.state === 'XX002') {
      return {
        code: 'SERVER_DAMAGED',
        says: `reported trouble with its own files: ${sentence(facts.message)} (SQLSTATE ${facts.state})`,
        hint: "Read the server's log; check disk and data files (pg_amcheck) before trying again.",
      };
    }
    return serverError(facts);
  }
  const system = systemCodeOf(error);
  const known = system === null ? undefined : BY_SYSTEM_CODE[system];
  if (known !== undefined) return known(facts);
  if (LOST_MESSAGES.test(facts.message)) return connectionLost(facts);
  return null;
}

/** An error of this room: its message begins with the side and names the server. */
export function connectionError(context: ExplainContext, explanation: Explanation, cause?: unknown): PgsluiceError {
  const where = context.settings === undefined ? '' : ` ${describeSettings(context.settings)}`;
  return new PgsluiceError({
    code: explanation.code,
    message: `The ${context.side}${where} ${explanation.says}`,
    hint: explanation.hint,
    retryable: explanation.retryable ?? false,
    cause,
  });
}

/**
 * Turns whatever a connection threw into plain words with a remedy. A PgsluiceError passes unchanged; the original
 * error is kept as `cause`. Codes follow the SQLSTATE (PostgreSQL documentation, appendix A), never only the words,
 * because servers speak many languages.
 */
export function explainError(error: unknown, context: ExplainContext): PgsluiceError {
  if (error instanceof PgsluiceError) return error;
  const facts = factsOf(error, context);
  const explanation = explanationOf(error, facts) ?? {
    code: 'UNEXPECTED_ERROR',
    says: `could not be worked with: ${sentence(facts.message)}`,
    hint: `It happened while ${facts.doing ?? 'working on that server'}. Retry; if it comes again, report it with the job's log.`,
  };
  return connectionError(context, explanation, error);
}

const TRANSIENT_STATES: ReadonlySet<string> = new Set([
  SQLSTATE.serializationFailure,
  SQLSTATE.deadlockDetected,
  SQLSTATE.tooManyConnections,
  SQLSTATE.lockNotAvailable,
  SQLSTATE.queryCanceled,
  SQLSTATE.adminShutdown,
  SQLSTATE.crashShutdown,
  SQLSTATE.cannotConnectNow,
  SQLSTATE.idleSessionTimeout,
  SQLSTATE.idleInTransactionSessionTimeout,
  SQLSTATE.transactionTimeout,
  SQLSTATE.outOfMemory,
]);

/** True when the same work may succeed on a new connection with nothing changed by a person. */
export function isTransient(error: unknown): boolean {
  if (error instanceof PgsluiceError) return error.retryable;
  const state = sqlStateOf(error);
  if (state !== null) {
    if (state === SQLSTATE.outOfMemory) return explainError(error, { side: 'source' }).retryable;
    return TRANSIENT_STATES.has(state) || state.startsWith('08');
  }
  const explanation = explanationOf(error, factsOf(error, { side: 'source' }));
  return explanation?.retryable ?? false;
}
