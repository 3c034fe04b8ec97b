import { createServer, IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import { getRequestListener } from '@hono/node-server';
import { PgsluiceError } from '../errors.ts';
import { createApp, type AppOptions } from './app.ts';
import { addressOf, assertClient, type ClientRules, everybody } from './client-address.ts';
import { errnoOf } from './errno.ts';
import { EventHub } from './event-hub.ts';
import { Guard } from './guard.ts';
import { headersFor } from './headers.ts';
import { problem, problemOf } from './problem.ts';
import { plainAnswer } from './plain-answer.ts';
import { sharedManager } from './share-view.ts';
import { readTls, type TlsFiles, watchTls } from './tls.ts';

export interface ServerOptions extends Omit<
  AppOptions,
  'websocketClients' | 'guard' | 'secure' | 'addressOf' | 'ended'
> {
  /** The agent's own token; its bearer may do everything. */
  readonly token: string;
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /** Who may connect, and which proxies are believed; everybody and none when left out. */
  readonly clients?: ClientRules;
  /** Left out: plain HTTP. */
  readonly tls?: TlsFiles;
  /** Bounds for slow clients, in ms; for tests. */
  readonly timeouts?: Partial<Timeouts>;
  /** How many may follow jobs at once; for tests. */
  readonly maxFollowers?: number;
}

export interface RunningServer {
  /** Without a trailing slash. */
  readonly url: string;
  /** For commands on the same machine: like `url`, or a door of plain HTTP that only this machine reaches. */
  readonly localUrl: string;
  /** Reads the files of the certificate again; keeps what it has where they cannot be used. Without TLS it does nothing. */
  reloadTls(): void;
  /** No new connection; open sockets go on, so that clients still see how their jobs end. */
  stopListening(): void;
  /** Ends every WebSocket with 1001 and every connection; resolves within about 2 s. Idempotent. */
  close(): Promise<void>;
}

export interface Timeouts {
  /** From the connection to the end of the headers. */
  readonly headersMs: number;
  /** To the end of the body. */
  readonly requestMs: number;
  /** How often both are looked at. */
  readonly checkMs: number;
  /** Between two pings of a WebSocket; a peer that left two unanswered is ended at the next. */
  readonly pingMs: number;
}

/** A client that sends its request byte by byte holds a connection no longer than that; bodies are small (app.ts). */
const defaultTimeouts: Timeouts = { headersMs: 10_000, requestMs: 30_000, checkMs: 2_000, pingMs: 25_000 };
/** Beyond the followers that the hub takes, so that there is always room for a request. */
const mostConnections = 4_000;

/** How long a running answer may take once the server closes, in ms. */
const closeGraceMs = 1000;

/**
 * Listens for HTTP and WebSocket. Throws PgsluiceError PORT_IN_USE, PORT_FORBIDDEN or HOST_NOT_AVAILABLE when it cannot,
 * TLS_FILES_UNUSABLE.
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { manager, logger, token, tls, clients = everybody } = options;
  const { headersMs, requestMs, checkMs, pingMs } = { ...defaultTimeouts, ...options.timeouts };
  const guard = new Guard({ token, access: manager.access, logger });
  const hub = new EventHub({
    manager,
    shared: sharedManager(manager),
    guard,
    allowedOrigins: options.allowedOrigins ?? [],
    addressOf: (request) => addressOf(request, clients),
    headers: headersFor(tls !== undefined),
    logger,
    pingEveryMs: pingMs,
    ...(options.maxFollowers === undefined ? {} : { maxClients: options.maxFollowers }),
  });
  const app = await createApp({
    ...options,
    guard,
    secure: tls !== undefined,
    addressOf: (env) => addressIn(env, clients),
    websocketClients: () => hub.clients,
    ended: (id) => hub.endBearer(id),
  });
  const answer = getRequestListener(app.fetch);
  const bounds = { headersTimeout: headersMs, requestTimeout: requestMs, connectionsCheckingInterval: checkMs };
  const secure =
    tls === undefined ? null : createTlsServer({ ...bounds, ...readTls(tls), handshakeTimeout: bounds.headersTimeout });
  const main = secure ?? createServer(bounds);
  // What a certificate for another name or a list of clients would keep out.
  const local = secure !== null || clients.allowed !== null ? createServer(bounds) : null;
  const headers = headersFor(secure !== null);
  attend(main, { answer, hub, clients, headers });
  if (local !== null) attend(local, { answer, hub, clients: everybody, headers: headersFor(false) });
  const servers = local === null ? [main] : [main, local];
  try {
    await listen(main, options.host, options.port);
    if (local !== null) await listen(local, '127.0.0.1', 0);
  } catch (error) {
    for (const server of servers) server.close();
    await hub.close();
    throw listenError(error, options);
  }
  const reloadTls = (): void => {
    if (tls === undefined || secure === null) return;
    try {
      secure.setSecureContext(readTls(tls));
      logger.info({ cert: tls.cert }, 'the certificate was read again');
    } catch (error) {
      logger.error({ err: error }, 'the certificate stays as it was');
    }
  };
  const endWatch = tls === undefined ? () => undefined : watchTls(tls, reloadTls);
  const closed = Promise.all(
    servers.map((server) => new Promise<void>((resolve) => server.once('close', () => resolve()))),
  );
  let closing: Promise<void> | null = null;
  const stopListening = (): void => {
    hub.announceStop();
    endWatch();
    for (const server of servers) {
      if (server.listening) server.close();
      server.closeIdleConnections();
    }
  };
  const close = async (): Promise<void> => {
    stopListening();
    await hub.close();
    for (const server of servers) server.closeIdleConnections();
    const timer = setTimeout(() => {
      for (const server of servers) server.closeAllConnections();
    }, closeGraceMs);
    await closed;
    clearTimeout(timer);
  };
  const url = `${secure === null ? 'http' : 'https'}://${urlHost(options.host)}:${portOf(main, options.port)}`;
  return {
    url,
    localUrl: local === null ? url : `http://127.0.0.1:${portOf(local, 0)}`,
    reloadTls,
    stopListening,
    close: () => (closing ??= close()),
  };
}

interface Attendance {
  readonly answer: (request: IncomingMessage, response: ServerResponse) => unknown;
  readonly hub: EventHub;
  readonly clients: ClientRules;
  readonly headers: Readonly<Record<string, string>>;
}

/** Whether this machine looks after the agent's health: that tells nobody anything. */
function isProbe({ method, url, socket }: IncomingMessage): boolean {
  const peer = socket.remoteAddress ?? '';
  return (
    method === 'GET' && url === '/healthz' && (peer === '127.0.0.1' || peer === '::1' || peer === '::ffff:127.0.0.1')
  );
}

function attend(server: Server, { answer, hub, clients, headers }: Attendance): void {
  server.maxConnections = mostConnections;
  const refusal = (request: IncomingMessage): string | null => {
    try {
      if (!isProbe(request)) assertClient(addressOf(request, clients), clients);
      return null;
    } catch (error) {
      return plainAnswer(problemOf(error), headers);
    }
  };
  server.on('request', (request, response) => {
    const refused = refusal(request);
    if (refused === null) void answer(request, response);
    else request.socket.end(refused);
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const refused = refusal(request);
    if (refused === null) void hub.upgrade(request, socket, head);
    else socket.end(refused);
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    if (!socket.writable || error.code === 'ECONNRESET') socket.destroy();
    else socket.end(plainAnswer(unreadable(error.code), headers));
  });
}

/** What cannot even be read as a request. */
function unreadable(code: string | undefined): ReturnType<typeof problemOf> {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return problem(408, {
      code: 'REQUEST_TOO_SLOW',
      message: 'The request did not arrive in time.',
      hint: 'Send it at once, over a line that is up to it.',
    });
  }
  if (code === 'HPE_HEADER_OVERFLOW') {
    return problem(431, {
      code: 'HEADERS_TOO_LARGE',
      message: 'The headers of the request are larger than 16 kB.',
      hint: 'Leave out cookies and other headers that are not for this agent.',
    });
  }
  return problem(400, {
    code: 'INVALID_HTTP',
    message: 'The request is not HTTP.',
    hint: 'Use the scheme that the agent printed at its start: http:// or https://.',
  });
}

function addressIn(env: unknown, clients: ClientRules): string {
  const incoming: unknown = typeof env === 'object' && env !== null ? Reflect.get(env, 'incoming') : null;
  return incoming instanceof IncomingMessage ? addressOf(incoming, clients) : '';
}

function portOf(server: Server, asked: number): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : asked;
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** What a person can paste into a browser: a wildcard address is reachable as localhost, IPv6 stands in brackets. */
export function urlHost(host: string): string {
  if (host === '0.0.0.0' || host === '::' || host === '') return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}

function listenError(error: unknown, { host, port }: { host: string; port: number }): unknown {
  const where = `${urlHost(host)}:${port}`;
  switch (errnoOf(error)) {
    case 'EADDRINUSE':
      return new PgsluiceError({
        code: 'PORT_IN_USE',
        message: `Another program listens on ${where}.`,
        hint: 'Choose another port with --port, or --port 0 for any free one.',
        cause: error,
      });
    case 'EACCES':
      return new PgsluiceError({
        code: 'PORT_FORBIDDEN',
        message: `This user may not listen on ${where}.`,
        hint: 'Choose a port above 1023 with --port.',
        cause: error,
      });
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new PgsluiceError({
        code: 'HOST_NOT_AVAILABLE',
        message: `${host} is no address of this machine.`,
        hint: 'Use --host 127.0.0.1 for this machine only, or --host 0.0.0.0 for every network.',
        cause: error,
      });
    case null:
    default:
      return error;
  }
}
