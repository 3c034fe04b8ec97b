import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { type Dialled, type Encryption, dial, encryptionAttempts } from './dial.ts';
import {
  type ExplainContext,
  connectionError,
  connectTimeout,
  explainError,
  notPostgres,
  tlsRequired,
  transactionPooler,
} from './explain.ts';
import { type ConnectionSettings, type Side, describeSettings, isUnixSocket } from './settings.ts';
import { settleSql } from './settle.ts';
import { SQLSTATE, sqlStateOf } from './sqlstate.ts';
import { WireGuard, guardNextListener } from './wire-guard.ts';

export interface ConnectInput {
  readonly settings: ConnectionSettings;
  readonly side: Side;
  readonly applicationName: string;
  readonly readOnly: boolean;
  readonly signal: AbortSignal;
  /** Statements are sent without waiting for the answers to those before them. */
  readonly pipeline?: boolean;
}

export interface Connected {
  readonly client: pg.Client;
  readonly stream: Socket;
  readonly encrypted: boolean;
  /** `pg_backend_pid()`; a pooler announces another one in BackendKeyData. */
  readonly processId: number;
  /** When the server was started, and its clock as the session began: ms since 1970. */
  readonly server: { readonly startedAt: string; readonly at: string };
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

/** Of the streams that a driver reads; they go with them. */
const guards = new WeakMap<Socket, WireGuard>();

/** node-postgres connects its stream itself; ours is connected already, so connecting it only announces that. */
function asConnected({ stream, encrypted }: Dialled, { settings, side }: ConnectInput): Socket {
  const mayCleartext = encrypted || settings.sslmode === 'disable' || isUnixSocket(settings.host);
  const guard = new WireGuard({ mayCleartext });
  guards.set(stream, guard);
  stream.connect = (): Socket => {
    // The driver listens right after this.
    guardNextListener(stream, guard, { side, settings, doing: 'talking to that server' });
    process.nextTick(() => stream.emit('connect'));
    return stream;
  };
  return stream;
}

function clientConfig(dialled: Dialled, input: ConnectInput): pg.ClientConfig {
  const { settings } = input;
  return {
    host: settings.host,
    port: settings.port,
    user: settings.user,
    database: settings.database,
    application_name: input.applicationName,
    ssl: false,
    pipeline: input.pipeline ?? false,
    stream: () => asConnected(dialled, input),
    // A function, so that neither PGPASSWORD nor a password file is consulted.
    password: () => {
      if (settings.password === null) throw new Error(NO_PASSWORD);
      return settings.password;
    },
  };
}

function buildClient(config: pg.ClientConfig): pg.Client {
  const client = new pg.Client(config);
  // node-postgres takes PGOPTIONS from the environment when no options are given; sessions here settle themselves.
  const parameters: unknown = Reflect.get(client, 'connectionParameters');
  if (typeof parameters === 'object' && parameters !== null) Reflect.set(parameters, 'options', undefined);
  return client;
}

/** Awaits what happens on a connection that is still ours alone; cuts it when `deadline` fires. */
async function within<T>(stream: Socket, deadline: AbortSignal, work: Promise<T>): Promise<T> {
  const onDeadline = (): void => {
    stream.destroy();
  };
  deadline.addEventListener('abort', onDeadline, { once: true });
  if (deadline.aborted) onDeadline();
  try {
    return await work;
  } finally {
    deadline.removeEventListener('abort', onDeadline);
  }
}

type Started = Omit<Connected, 'processId' | 'server'>;

/** Logs in with node-postgres over a socket that is dialled; `config` hands it that socket. */
export type LogIn<T> = (config: pg.ClientConfig, dialled: Dialled) => Promise<T>;

const logInToSession: LogIn<Started> = async (config, { stream, encrypted }) => {
  const fate: Connected['fate'] = { error: null, ended: false };
  const client = buildClient(config);
  client.on('error', (error: Error) => {
    fate.error ??= error;
  });
  client.on('end', () => {
    fate.ended = true;
  });
  await client.connect();
  return { client, stream, encrypted, fate };
};

async function start<T>(dialled: Dialled, input: ConnectInput, deadline: AbortSignal, logIn: LogIn<T>): Promise<T> {
  const context: ExplainContext = { side: input.side, settings: input.settings, doing: 'connecting' };
  const { stream } = dialled;
  // It may have died since it was dialled, and would never say so again.
  if (stream.destroyed) throw connectionError(context, notPostgres('it closed the connection without a word.', true));
  let foreign = false;
  let answered = false;
  stream.once('data', (chunk: Buffer) => {
    answered = true;
    foreign = !looksLikePostgres(chunk);
    if (foreign) stream.destroy();
  });
  try {
    const loggingIn = logIn(clientConfig(dialled, input), dialled);
    stream.resume();
    const loggedIn = await within(stream, deadline, loggingIn);
    guards.get(stream)?.open();
    return loggedIn;
  } catch (error) {
    stream.destroy();
    if (deadline.aborted) throw deadline.reason;
    if (foreign) throw connectionError(context, notPostgres('its first bytes belong to another protocol.'), error);
    if (sqlStateOf(error) !== null) throw error;
    if (!answered) throw connectionError(context, notPostgres('it closed the connection without a word.', true), error);
    throw error;
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
  if (message.startsWith('SASL')) {
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
    const connected = await start(dialled, { ...input, settings }, deadline, logInToSession);
    connected.stream.destroy();
    return true;
  } catch (error) {
    // Asked for a password: the door is open to encrypted connections.
    return error instanceof Error && error.message === NO_PASSWORD;
  }
}

async function attempt<T>(
  input: ConnectInput,
  encryption: Encryption,
  deadline: AbortSignal,
  context: ExplainContext,
  logIn: LogIn<T>,
): Promise<T> {
  const dialled = await dial(input.settings, encryption, deadline, context);
  return start(dialled, input, deadline, logIn);
}

async function attempts<T>(
  input: ConnectInput,
  deadline: AbortSignal,
  context: ExplainContext,
  logIn: LogIn<T>,
): Promise<T> {
  const [first, second] = encryptionAttempts(input.settings);
  try {
    return await attempt(input, first, deadline, context, logIn);
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
      return await attempt(input, second, deadline, context, logIn);
    } catch (again) {
      // The first answer stands when the second way does not exist at all or is refused in the same words.
      if (deadline.aborted) throw again;
      const code = explainConnect(again, context).code;
      throw code === 'TLS_REFUSED' || refusedForEncryption(again) ? error : again;
    }
  }
}

const BACKEND = 'select pg_catalog.pg_backend_pid() as pid';

async function backendOf(started: Started): Promise<number> {
  const result = await started.client.query<{ pid: number }>(BACKEND);
  return result.rows[0]?.pid ?? 0;
}

/** Endpoints behind a proxy that were found to keep a session on one server connection. */
const keepsSessions = new Set<string>();

const PROBES = 3;

/**
 * True when two sessions were seen on one server connection, or one session on two: then a setting made here would
 * stay behind on a connection that the application uses. Nothing is set and nothing is left behind by looking.
 */
async function poolsTransactions(
  input: ConnectInput,
  started: Started,
  deadline: AbortSignal,
  context: ExplainContext,
): Promise<boolean> {
  let second: Started;
  try {
    second = await attempt(input, started.encrypted ? 'always' : 'never', deadline, context, logInToSession);
  } catch (error) {
    if (deadline.aborted) throw error;
    // No second connection to be had: nothing was seen that speaks against this one.
    return false;
  }
  try {
    const home = await backendOf(started);
    for (let probe = 0; probe < PROBES; probe++) {
      const theirs = await within(second.stream, deadline, backendOf(second));
      const ours = await backendOf(started);
      if (theirs === home || theirs === ours || ours !== home) return true;
    }
    return false;
  } finally {
    await Promise.race([second.client.end(), sleep(500, undefined, { ref: false })]);
    second.stream.destroy();
  }
}

/** Settles the session, once it is sure that its settings reach no session but this one. */
async function settled(
  input: ConnectInput,
  started: Started,
  deadline: AbortSignal,
  context: ExplainContext,
): Promise<Connected> {
  const { client, stream } = started;
  const settle = async (guard: number | null): Promise<Pick<Connected, 'processId' | 'server'>> => {
    const result = await client.query<{ pid: number; server: string; at: string }>(
      settleSql(input.readOnly, guard, input.settings.gentle === true),
    );
    const [row] = result.rows;
    return { processId: row?.pid ?? 0, server: { startedAt: row?.server ?? '', at: row?.at ?? '' } };
  };
  try {
    return await within(
      stream,
      deadline,
      (async () => {
        const announced: unknown = Reflect.get(client, 'processID');
        const found = await settle(typeof announced === 'number' ? announced : 0);
        if (found.processId === announced) return { ...started, ...found };
        const endpoint = describeSettings(input.settings);
        if (!keepsSessions.has(endpoint)) {
          if (await poolsTransactions(input, started, deadline, context)) {
            throw connectionError(context, transactionPooler(null));
          }
          if (keepsSessions.size >= 1000) keepsSessions.clear();
          keepsSessions.add(endpoint);
        }
        return { ...started, ...(await settle(null)) };
      })(),
    );
  } catch (error) {
    stream.destroy();
    throw error;
  }
}

/** Runs `work` for at most `connectTimeoutMs`, and explains what it throws. */
async function inTime<T>(
  input: ConnectInput,
  work: (deadline: AbortSignal, context: ExplainContext) => Promise<T>,
): Promise<T> {
  throwIfAborted(input.signal);
  const context: ExplainContext = { side: input.side, settings: input.settings, doing: 'connecting' };
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(connectionError(context, connectTimeout(input.settings.connectTimeoutMs / 1000)));
  }, input.settings.connectTimeoutMs);
  const onAbort = (): void => controller.abort(input.signal.reason);
  input.signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await work(controller.signal, context);
  } catch (error) {
    throwIfAborted(input.signal);
    const reason: unknown = controller.signal.reason;
    throw controller.signal.aborted && reason instanceof PgsluiceError ? reason : explainConnect(error, context);
  } finally {
    clearTimeout(timer);
    input.signal.removeEventListener('abort', onAbort);
  }
}

/**
 * Connects, authenticates and settles once, with libpq's meaning of sslmode, within `connectTimeoutMs` in all. Throws
 * PgsluiceError: the cancellation when `signal` fires, otherwise what the server or the network said, explained.
 */
export async function connectOnce(input: ConnectInput): Promise<Connected> {
  return await inTime(input, async (deadline, context) =>
    settled(input, await attempts(input, deadline, context, logInToSession), deadline, context),
  );
}

/**
 * Connects and authenticates once like {@link connectOnce}, with `logIn` making the client, which is not settled: for
 * connections that are no sessions. `logIn` may be called twice, where sslmode allows a second attempt. Throws the same.
 */
export async function connectBy<T>(input: Omit<ConnectInput, 'readOnly'>, logIn: LogIn<T>): Promise<T> {
  const whole: ConnectInput = { ...input, readOnly: true };
  return await inTime(whole, (deadline, context) => attempts(whole, deadline, context, logIn));
}
