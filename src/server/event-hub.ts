import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { WebSocket, WebSocketServer } from 'ws';
import { PgsluiceError } from '../errors.ts';
import type { ApiManager } from './api-manager.ts';
import { bearerToken, originAllowed, originError, parseProtocols, protocolToken, socketProtocol } from './auth.ts';
import { framesOf } from './event-frames.ts';
import { type Caller, type Guard, TooManyFailures } from './guard.ts';
import { plainAnswer } from './plain-answer.ts';
import { problemOf } from './problem.ts';

export interface HubOptions {
  readonly manager: Pick<ApiManager, 'get' | 'stream'>;
  /** The same for those who have come by a link to one job. */
  readonly shared: Pick<ApiManager, 'stream'>;
  readonly guard: Guard;
  readonly allowedOrigins: readonly string[];
  /** Canonical address of the client. */
  readonly addressOf: (request: IncomingMessage) => string;
  /** Of every refusal. */
  readonly headers: Readonly<Record<string, string>>;
  readonly logger: Logger;
  /** ms between two pings; a peer that left two unanswered is ended at the next. */
  readonly pingEveryMs?: number;
  /** Followers at once; 2,000 when left out. */
  readonly maxClients?: number;
}

/** A client may lag this many bytes behind before its stream waits; with its socket that bounds memory per client. */
const maxBuffered = 256 * 1024;
const defaultMaxClients = 2000;
/** Clients have nothing to say. */
const maxPayload = 1024;
const maxUrlLength = 2048;
const defaultPingEveryMs = 25_000;
const closeGraceMs = 1000;

const ignoreReset = (): void => undefined;

interface Wanted {
  readonly caller: Caller;
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
  /** By whose token each client follows. */
  readonly #bearers = new WeakMap<WebSocket, string>();
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
      const retryAfter = error instanceof TooManyFailures ? error.retryAfterSeconds : null;
      socket.once('finish', () => socket.destroy());
      socket.end(plainAnswer(body, this.#options.headers, retryAfter));
    }
  }

  /** Cuts off everybody who follows by this token or share: it was revoked. */
  endBearer(id: string): void {
    for (const ws of this.#sockets.clients) if (this.#bearers.get(ws) === id) ws.close(1008, 'The token was revoked.');
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
    const { headers, url = '/' } = request;
    const { manager, guard, allowedOrigins, addressOf } = this.#options;
    assertSmall(request);
    if (!originAllowed({ origin: headers.origin, host: headers.host }, allowedOrigins)) {
      throw originError(headers.origin ?? 'nowhere');
    }
    const protocols = headers['sec-websocket-protocol'];
    const given = bearerToken(headers.authorization) ?? protocolToken(protocols);
    const caller = await guard.callerOf(given, addressOf(request));
    const wanted = parseEventsUrl(url);
    guard.assertMay(caller, 'GET', `/api/jobs/${encodeURIComponent(wanted.jobId)}/events`);
    if (parseProtocols(protocols).length > 0 && !parseProtocols(protocols).includes(socketProtocol)) {
      throw new PgsluiceError({
        code: 'INVALID_PROTOCOL',
        message: 'The WebSocket asks for a subprotocol that is not spoken here.',
        hint: `Ask for the subprotocol "${socketProtocol}".`,
      });
    }
    if (this.#closing || this.clients >= (this.#options.maxClients ?? defaultMaxClients)) {
      throw new PgsluiceError({
        code: 'STOPPING',
        message: this.#closing ? 'The agent stops.' : 'Too many clients follow jobs at once.',
        hint: 'Connect again in a few seconds.',
        retryable: true,
      });
    }
    await manager.get(wanted.jobId);
    return { ...wanted, caller };
  }

  #serve(ws: WebSocket, wanted: Wanted): void {
    const gone = new AbortController();
    this.#bearers.set(ws, wanted.caller.id);
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

  /**
   * Sends as fast as the client takes it: while more than `maxBuffered` bytes wait, nothing is read from the job. That a
   * full buffer empties is a sign of life: on a slow line the answer to a ping comes behind all that waits.
   */
  async #pump(ws: WebSocket, wanted: Wanted, signal: AbortSignal): Promise<void> {
    const { manager, shared } = this.#options;
    const source = wanted.caller.role === 'share' ? shared : manager;
    for await (const batch of source.stream(wanted.jobId, wanted.after, signal)) {
      for (const frame of framesOf(batch)) {
        if (signal.aborted) return;
        const flushed = send(ws, frame);
        if (ws.bufferedAmount < maxBuffered) continue;
        await flushed;
        this.#unanswered.delete(ws);
      }
    }
    if (!signal.aborted) ws.close(this.#closing ? 1001 : 1000, this.#closing ? 'The agent stops.' : 'The job is gone.');
  }

  /** Tokens expire, shares end with their job, and another agent of the same state may have revoked either. */
  async #endExpired(): Promise<void> {
    const ids = [...this.#sockets.clients].flatMap((ws) => this.#bearers.get(ws) ?? []);
    if (ids.length === 0) return;
    const unique = [...new Set(ids)];
    const holding = await this.#options.guard.stillHolding(unique);
    for (const id of unique) if (!holding.has(id)) this.endBearer(id);
  }

  #ping(): void {
    this.#endExpired().catch((error: unknown) => {
      if (!this.#closing) this.#options.logger.warn({ err: error }, 'tokens of followers could not be looked at');
    });
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
function send(ws: WebSocket, text: Buffer): Promise<void> {
  return new Promise((resolve) => {
    ws.send(text, { binary: false }, () => resolve());
  });
}

/** `/api/jobs/JOB/events?after=SEQ` → what is wanted; throws PgsluiceError NOT_FOUND or INVALID_REQUEST. */
export function parseEventsUrl(url: string): Omit<Wanted, 'caller'> {
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

/** An upgrade is a GET without a body. @throws PgsluiceError BODY_TOO_LARGE. */
function assertSmall({ headers, url = '' }: IncomingMessage): void {
  const length = headers['content-length'] ?? '0';
  if (length === '0' && headers['transfer-encoding'] === undefined && url.length <= maxUrlLength) return;
  throw new PgsluiceError({
    code: 'BODY_TOO_LARGE',
    message: 'A request for a WebSocket has no body, and a short address.',
    hint: 'Events of a job stand at /api/jobs/JOB/events?after=SEQ.',
  });
}
