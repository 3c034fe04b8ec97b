import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { WebSocket, WebSocketServer } from 'ws';
import { PgsluiceError } from '../errors.ts';
import type { ApiManager } from './api-manager.ts';
import {
  bearerToken,
  originAllowed,
  originError,
  parseProtocols,
  protocolToken,
  sameToken,
  socketProtocol,
  unauthorizedError,
} from './auth.ts';
import { toFrames } from './event-frames.ts';
import { problemOf, type ProblemBody } from './problem.ts';

export interface HubOptions {
  readonly manager: Pick<ApiManager, 'get' | 'stream'>;
  readonly token: string;
  readonly allowedOrigins: readonly string[];
  readonly logger: Logger;
  /** ms between two pings; a peer that left two unanswered is ended at the next. */
  readonly pingEveryMs?: number;
}

/** A client may lag this many bytes behind before its stream waits; with its socket that bounds memory per client. */
const maxBuffered = 1024 * 1024;
const maxClients = 1000;
/** Clients have nothing to say. */
const maxPayload = 1024;
const defaultPingEveryMs = 25_000;
const closeGraceMs = 1000;

const ignoreReset = (): void => undefined;

interface Wanted {
  readonly jobId: string;
  readonly after: number;
}

/**
 * The WebSocket side of the API: `/api/jobs/:id/events?after=SEQ`. Origin, token, path and job are checked before the
 * upgrade, so that whoever may not listen never holds a socket. Each client pulls from the manager at its own pace.
 */
export class EventHub {
  readonly #options: HubOptions;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    maxPayload,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(socketProtocol) ? socketProtocol : false),
  });
  readonly #unanswered = new WeakMap<WebSocket, number>();
  readonly #pinger: NodeJS.Timeout;
  #closing = false;

  constructor(options: HubOptions) {
    this.#options = options;
    this.#pinger = setInterval(() => this.#ping(), options.pingEveryMs ?? defaultPingEveryMs);
    this.#pinger.unref();
  }

  get clients(): number {
    return this.#sockets.clients.size;
  }

  /** For the HTTP server's `upgrade` event. Never rejects. */
  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    // A peer that resets the connection while it is being checked must not end the process.
    socket.on('error', ignoreReset);
    try {
      const wanted = await this.#admit(request);
      socket.off('error', ignoreReset);
      if (socket.destroyed) return;
      this.#sockets.handleUpgrade(request, socket, head, (ws) => this.#serve(ws, wanted));
    } catch (error) {
      const body = problemOf(error);
      if (body.code === 'INTERNAL') this.#options.logger.error({ err: error }, 'upgrade failed');
      refuse(socket, body);
    }
  }

  /** From now on whoever is closed is told that the agent goes away, not that its job is gone. */
  announceStop(): void {
    this.#closing = true;
  }

  /** Ends every client with 1001 (going away) and waits until all are gone, at most a second. */
  async close(): Promise<void> {
    this.announceStop();
    clearInterval(this.#pinger);
    const open = [...this.#sockets.clients];
    const gone = Promise.all(open.map((ws) => new Promise<void>((resolve) => ws.once('close', () => resolve()))));
    for (const ws of open) ws.close(1001, 'The agent stops.');
    const timer = setTimeout(() => {
      for (const ws of open) ws.terminate();
    }, closeGraceMs);
    await gone;
    clearTimeout(timer);
    this.#sockets.close();
  }

  async #admit(request: IncomingMessage): Promise<Wanted> {
    const { headers } = request;
    const { manager, token, allowedOrigins } = this.#options;
    if (!originAllowed({ origin: headers.origin, host: headers.host }, allowedOrigins)) {
      throw originError(headers.origin ?? 'nowhere');
    }
    const protocols = headers['sec-websocket-protocol'];
    const given = bearerToken(headers.authorization) ?? protocolToken(protocols);
    if (given === null || !sameToken(given, token)) throw unauthorizedError();
    const wanted = parseEventsUrl(request.url ?? '/');
    if (parseProtocols(protocols).length > 0 && !parseProtocols(protocols).includes(socketProtocol)) {
      throw new PgsluiceError({
        code: 'INVALID_PROTOCOL',
        message: 'The WebSocket asks for a subprotocol that is not spoken here.',
        hint: `Ask for the subprotocol "${socketProtocol}".`,
      });
    }
    if (this.#closing || this.clients >= maxClients) {
      throw new PgsluiceError({
        code: 'STOPPING',
        message: this.#closing ? 'The agent stops.' : 'Too many clients follow jobs at once.',
        hint: 'Connect again in a few seconds.',
        retryable: true,
      });
    }
    await manager.get(wanted.jobId);
    return wanted;
  }

  #serve(ws: WebSocket, wanted: Wanted): void {
    const gone = new AbortController();
    ws.on('close', () => gone.abort());
    ws.on('pong', () => this.#unanswered.delete(ws));
    ws.on('error', (error) => {
      this.#options.logger.debug({ err: error }, 'websocket error');
      ws.terminate();
    });
    this.#pump(ws, wanted, gone.signal).catch((error: unknown) => {
      if (gone.signal.aborted) return;
      const body = problemOf(error);
      this.#options.logger.error({ err: error, jobId: wanted.jobId }, 'event stream failed');
      ws.close(this.#closing ? 1001 : 1011, body.code.slice(0, 120));
    });
  }

  /** Sends as fast as the client takes it: while more than `maxBuffered` bytes wait, nothing is read from the job. */
  async #pump(ws: WebSocket, wanted: Wanted, signal: AbortSignal): Promise<void> {
    for await (const batch of this.#options.manager.stream(wanted.jobId, wanted.after, signal)) {
      for (const text of toFrames(batch)) {
        if (signal.aborted) return;
        const flushed = send(ws, text);
        if (ws.bufferedAmount >= maxBuffered) await flushed;
      }
    }
    if (!signal.aborted) ws.close(this.#closing ? 1001 : 1000, this.#closing ? 'The agent stops.' : 'The job is gone.');
  }

  #ping(): void {
    for (const ws of this.#sockets.clients) {
      const unanswered = this.#unanswered.get(ws) ?? 0;
      if (unanswered >= 2) {
        ws.terminate();
        continue;
      }
      this.#unanswered.set(ws, unanswered + 1);
      if (ws.readyState === WebSocket.OPEN) ws.ping();
    }
  }
}

/** Resolves when the bytes have left for the operating system, or will never leave: the close event tells the rest. */
function send(ws: WebSocket, text: string): Promise<void> {
  return new Promise((resolve) => {
    ws.send(text, () => resolve());
  });
}

/** `/api/jobs/JOB/events?after=SEQ` → what is wanted; throws PgsluiceError NOT_FOUND or INVALID_REQUEST. */
export function parseEventsUrl(url: string): Wanted {
  const parsed = URL.canParse(url, 'http://agent') ? new URL(url, 'http://agent') : null;
  const match = /^\/api\/jobs\/([^/]+)\/events$/.exec(parsed?.pathname ?? '');
  if (parsed === null || match?.[1] === undefined) {
    throw new PgsluiceError({
      code: 'NOT_FOUND',
      message: 'There is no WebSocket at this address.',
      hint: 'Events of a job stand at /api/jobs/JOB/events?after=SEQ.',
    });
  }
  const after = parsed.searchParams.get('after') ?? '0';
  if (!/^\d{1,15}$/.test(after)) {
    throw new PgsluiceError({
      code: 'INVALID_REQUEST',
      message: 'after: must be a whole number, the seq of the last event you have.',
      hint: 'Use after=0 for everything from the start.',
    });
  }
  return { jobId: decodeId(match[1]), after: Number(after) };
}

function decodeId(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A broken escape is no id of ours: the look-up will say that no such job exists.
    return text;
  }
}

const reasons: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  503: 'Service Unavailable',
};

/** Answers the upgrade request with plain HTTP and ends the connection. */
function refuse(socket: Duplex, body: ProblemBody): void {
  const text = JSON.stringify(body);
  const lines = [
    `HTTP/1.1 ${body.status} ${reasons[body.status] ?? 'Error'}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(text)}`,
    'Connection: close',
    ...(body.status === 401 ? ['WWW-Authenticate: Bearer realm="pgsluice"'] : []),
  ];
  socket.once('finish', () => socket.destroy());
  socket.end(`${lines.join('\r\n')}\r\n\r\n${text}`);
}
