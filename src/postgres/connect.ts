import type { Socket } from 'node:net';
import pg from 'pg';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { type Dialled, type Encryption, dial, encryptionAttempts, notPostgres } from './dial.ts';
import { type ExplainContext, connectionError, explainError, tlsRequired } from './explain.ts';
import { type ConnectionSettings, type Side, isUnixSocket } from './settings.ts';
import { SQLSTATE, sqlStateOf } from './sqlstate.ts';

export interface ConnectInput {
  readonly settings: ConnectionSettings;
  readonly side: Side;
  readonly applicationName: string;
  readonly signal: AbortSignal;
}

export interface Connected {
  readonly client: pg.Client;
  readonly stream: Socket;
  readonly encrypted: boolean;
  /** Becomes true when the connection has died; from the first moment on, so that nothing is missed in between. */
  readonly fate: { error: Error | null; ended: boolean };
}

/** Thrown inside when a server asks for a password and none was given. */
const NO_PASSWORD = 'pgsluice was given no password';

/** Messages a server may send first: Authentication, ErrorResponse, NoticeResponse, NegotiateProtocolVersion. */
const FIRST_MESSAGES = new Set([0x52, 0x45, 0x4e, 0x76]);

/** False when `chunk` cannot be how a PostgreSQL server answers a startup message; libpq draws the same line at 30,000 bytes. */
export function looksLikePostgres(chunk: Buffer): boolean {
  const type = chunk[0];
  if (type === undefined || !FIRST_MESSAGES.has(type)) return false;
  if (chunk.length < 5) return true;
  const length = chunk.readInt32BE(1);
  return length >= 8 && length <= 30_000;
}

/** node-postgres connects its stream itself; ours is connected already, so connecting it only announces that. */
function asConnected(stream: Socket): Socket {
  stream.connect = (): Socket => {
    process.nextTick(() => stream.emit('connect'));
    return stream;
  };
  return stream;
}

function buildClient(dialled: Dialled, input: ConnectInput): pg.Client {
  const { settings } = input;
  const client = new pg.Client({
    host: settings.host,
    port: settings.port,
    user: settings.user,
    database: settings.database,
    application_name: input.applicationName,
    ssl: false,
    stream: () => asConnected(dialled.stream),
    // A function, so that neither PGPASSWORD nor a password file is consulted.
    password: () => {
      if (settings.password === null) throw new Error(NO_PASSWORD);
      return settings.password;
    },
  });
  // node-postgres takes PGOPTIONS from the environment when no options are given; sessions here settle themselves.
  const parameters: unknown = Reflect.get(client, 'connectionParameters');
  if (typeof parameters === 'object' && parameters !== null) Reflect.set(parameters, 'options', undefined);
  return client;
}

async function startSession(dialled: Dialled, input: ConnectInput, deadline: AbortSignal): Promise<Connected> {
  const context: ExplainContext = { side: input.side, settings: input.settings, doing: 'connecting' };
  const { stream } = dialled;
  const fate: Connected['fate'] = { error: null, ended: false };
  const client = buildClient(dialled, input);
  client.on('error', (error: Error) => {
    fate.error ??= error;
  });
  client.on('end', () => {
    fate.ended = true;
  });
  let foreign = false;
  let answered = false;
  stream.once('data', (chunk: Buffer) => {
    answered = true;
    foreign = !looksLikePostgres(chunk);
    if (foreign) stream.destroy();
  });
  const onDeadline = (): void => {
    stream.destroy();
  };
  deadline.addEventListener('abort', onDeadline, { once: true });
  try {
    const connecting = client.connect();
    stream.resume();
    await connecting;
    return { client, stream, encrypted: dialled.encrypted, fate };
  } catch (error) {
    stream.destroy();
    if (deadline.aborted) throw deadline.reason;
    if (foreign) throw notPostgres(context, 'its first bytes belong to another protocol.', error);
    if (sqlStateOf(error) !== null) throw error;
    if (!answered) throw notPostgres(context, 'it closed the connection without a word.', error);
    throw error;
  } finally {
    deadline.removeEventListener('abort', onDeadline);
  }
}

function refusedForEncryption(error: unknown): boolean {
  return sqlStateOf(error) === SQLSTATE.invalidAuthorizationSpecification;
}

function explainConnect(error: unknown, context: ExplainContext): PgsluiceError {
  if (error instanceof PgsluiceError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (message === NO_PASSWORD) {
    return connectionError(context, {
      code: 'AUTHENTICATION_FAILED',
      says: 'asks for a password, and none was given.',
      hint: 'Put it in the URL, postgres://user:password@host/database, or in the password field. PGPASSWORD and ~/.pgpass are not read.',
    });
  }
  if (/^SASL/.test(message)) {
    return connectionError(
      context,
      {
        code: 'AUTHENTICATION_FAILED',
        says: `could not be logged in to: ${message}.`,
        hint: 'Check the password; an empty one is never accepted.',
      },
      error,
    );
  }
  return explainError(error, context);
}

/** Finds out whether a server that refused an unencrypted connection would have taken an encrypted one. */
async function wantsTls(input: ConnectInput, deadline: AbortSignal, context: ExplainContext): Promise<boolean> {
  const settings: ConnectionSettings = { ...input.settings, sslmode: 'require', sslrootcert: null, password: null };
  try {
    const dialled = await dial(settings, 'always', deadline, context);
    const connected = await startSession(dialled, { ...input, settings }, deadline);
    connected.stream.destroy();
    return true;
  } catch (error) {
    // Asked for a password: the door is open to encrypted connections.
    return error instanceof Error && error.message === NO_PASSWORD;
  }
}

async function attempt(
  input: ConnectInput,
  encryption: Encryption,
  deadline: AbortSignal,
  context: ExplainContext,
): Promise<Connected> {
  const dialled = await dial(input.settings, encryption, deadline, context);
  return startSession(dialled, input, deadline);
}

async function attempts(input: ConnectInput, deadline: AbortSignal, context: ExplainContext): Promise<Connected> {
  const [first, second] = encryptionAttempts(input.settings);
  try {
    return await attempt(input, first, deadline, context);
  } catch (error) {
    if (deadline.aborted) throw error;
    if (second === undefined) {
      if (refusedForEncryption(error) && first === 'never' && !isUnixSocket(input.settings.host)) {
        if (explainConnect(error, context).code === 'NO_PG_HBA_ENTRY' && (await wantsTls(input, deadline, context))) {
          throw connectionError(context, tlsRequired(), error);
        }
      }
      throw error;
    }
    // A wrong password is not tried again over the other kind of connection; being turned away for the kind is.
    const brokenTls = error instanceof PgsluiceError && (error.code === 'TLS_FAILED' || error.code === 'SERVER_ERROR');
    if (!refusedForEncryption(error) && !brokenTls) throw error;
    try {
      return await attempt(input, second, deadline, context);
    } catch (again) {
      // The first answer stands when the second way does not exist at all or is refused in the same words.
      if (deadline.aborted) throw again;
      const code = explainConnect(again, context).code;
      throw code === 'TLS_REFUSED' || refusedForEncryption(again) ? error : again;
    }
  }
}

/**
 * Connects and authenticates once, with libpq's meaning of sslmode, within `connectTimeoutMs` in all. Throws
 * PgsluiceError: the cancellation when `signal` fires, otherwise what the server or the network said, explained.
 */
export async function connectOnce(input: ConnectInput): Promise<Connected> {
  throwIfAborted(input.signal);
  const context: ExplainContext = { side: input.side, settings: input.settings, doing: 'connecting' };
  const controller = new AbortController();
  const seconds = input.settings.connectTimeoutMs / 1000;
  const timer = setTimeout(() => {
    controller.abort(
      connectionError(context, {
        code: 'CONNECT_TIMEOUT',
        says: `did not answer as a PostgreSQL server within ${seconds} s.`,
        hint: 'Check host and port, and that firewall and network rules let this machine through; on a slow line add connect_timeout=30 to the URL.',
        retryable: true,
      }),
    );
  }, input.settings.connectTimeoutMs);
  const onAbort = (): void => controller.abort(input.signal.reason);
  input.signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await attempts(input, controller.signal, context);
  } catch (error) {
    throwIfAborted(input.signal);
    const reason: unknown = controller.signal.reason;
    throw controller.signal.aborted && reason instanceof PgsluiceError ? reason : explainConnect(error, context);
  } finally {
    clearTimeout(timer);
    input.signal.removeEventListener('abort', onAbort);
  }
}
