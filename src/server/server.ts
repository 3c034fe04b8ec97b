import { createServer, type Server } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { PgsluiceError } from '../errors.ts';
import { createApp, type AppOptions } from './app.ts';
import { errnoOf } from './errno.ts';
import { EventHub } from './event-hub.ts';

export interface ServerOptions extends Omit<AppOptions, 'websocketClients'> {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
}

export interface RunningServer {
  /** Without a trailing slash. */
  readonly url: string;
  /** No new connection; open sockets go on, so that clients still see how their jobs end. */
  stopListening(): void;
  /** Ends every WebSocket with 1001 and every connection; resolves within about 2 s. Idempotent. */
  close(): Promise<void>;
}

/** How long a running answer may take once the server closes, in ms. */
const closeGraceMs = 1000;

/**
 * Listens for HTTP and WebSocket. Throws PgsluiceError PORT_IN_USE, PORT_FORBIDDEN or HOST_NOT_AVAILABLE when it cannot.
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const hub = new EventHub({
    manager: options.manager,
    token: options.token,
    allowedOrigins: options.allowedOrigins ?? [],
    logger: options.logger,
  });
  const app = await createApp({ ...options, websocketClients: () => hub.clients });
  const answer = getRequestListener(app.fetch);
  const server = createServer((request, response) => void answer(request, response));
  server.on('upgrade', (request, socket, head) => void hub.upgrade(request, socket, head));
  try {
    await listen(server, options.host, options.port);
  } catch (error) {
    await hub.close();
    throw listenError(error, options);
  }
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : options.port;
  const closed = new Promise<void>((resolve) => server.once('close', () => resolve()));
  let closing: Promise<void> | null = null;
  const stopListening = (): void => {
    hub.announceStop();
    if (server.listening) server.close();
    server.closeIdleConnections();
  };
  const close = async (): Promise<void> => {
    stopListening();
    await hub.close();
    server.closeIdleConnections();
    const timer = setTimeout(() => server.closeAllConnections(), closeGraceMs);
    await closed;
    clearTimeout(timer);
  };
  return {
    url: `http://${urlHost(options.host)}:${port}`,
    stopListening,
    close: () => (closing ??= close()),
  };
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
