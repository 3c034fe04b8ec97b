import { setMaxListeners } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { sendCancel } from './cancel.ts';
import { type Connected, connectOnce } from './connect.ts';
import { type ExplainContext, connectionError, explainError } from './explain.ts';
import { LineWatch, type LookAtSession, SILENCE_MS } from './line-watch.ts';
import { type ConnectionSettings, type Side, isUnixSocket } from './settings.ts';
import { sqlStateOf } from './sqlstate.ts';

export interface SessionOptions {
  /** When it fires, the session cancels what runs and closes. */
  readonly signal: AbortSignal;
  readonly side: Side;
  /** What the session is for, as it shows in `application_name`: `copy` becomes `pgsluice copy`. */
  readonly purpose: string;
  /** How long transient failures to connect are tried again, in ms; 0 when left out. */
  readonly retryForMs?: number;
  /** Transactions are READ ONLY unless they say otherwise. */
  readonly readOnly?: boolean;
  /**
   * Statements are sent without waiting for the answers to those before them; each still has its own answer. Such a session
   * cannot COPY, and after a failed statement a COMMIT that was sent already resolves, with command ROLLBACK.
   */
  readonly pipeline?: boolean;
  /** How long the next answer may take, in ms, whatever bound the server was given; for ever when left out. */
  readonly answerWithinMs?: number;
  readonly onRetry?: (why: string, attempt: number) => void;
  /** Whether the line is watched (line-watch.ts) while the server owes an answer; true when left out, never for a `pipeline`. */
  readonly watched?: boolean;
  /** Notices and warnings of the server. */
  readonly onNotice?: (message: string) => void;
}

const STARTED = `(date_part('epoch', pg_postmaster_start_time()) * 1000)::bigint`;

/** Without track_activities, or of another role, nothing can be said. */
const LOOK = `
SELECT (SELECT CASE WHEN a.state IS NULL OR a.state = 'disabled' THEN 'unknown'
               WHEN a.state LIKE 'idle%' OR a.wait_event_type = 'Client' THEN 'waits for us' ELSE 'works' END
        FROM pg_stat_activity a WHERE a.pid = $1) AS found,
       ${STARTED} = $2::bigint OR ${STARTED} > $3::bigint AS same`;

/** Only while the server has not been started anew, and only the process of that time: numbers are given out again. */
const PUT_AWAY = `
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
WHERE a.pid = $1 AND a.usename = session_user AND ${STARTED} = $2::bigint
  AND (date_part('epoch', a.backend_start) * 1000)::bigint <= $3::bigint`;
/** How long a close waits for that, ms. */
const PUT_AWAY_MS = 2000;
/** How long the server may take for its answer to it, ms: what is a server takes a moment, and a close is not to leave more behind. */
const PUT_AWAY_ANSWER_MS = 1500;

const CANCEL_TIMEOUT_MS = 1000;
/** How long a cancelled statement may take to end before the socket is cut. */
const DRAIN_MS = 800;
const GOODBYE_MS = 500;
/** How long another connection may take to say what a silent session does. */
const LOOK_MS = 10_000;

/**
 * One connection with one lifecycle: open → closed. It is opened by {@link openSession}, and closed by `close`, by
 * its job's signal, or by the server or network, in which last case `lost` is true. Never reopened.
 */
export class Session {
  readonly client: pg.Client;
  /** Server process, as `pg_stat_activity.pid` names it. */
  readonly processId: number;
  readonly side: Side;
  readonly settings: ConnectionSettings;
  readonly encrypted: boolean;
  readonly #stream: Socket;
  readonly #fate: Connected['fate'];
  readonly #signal: AbortSignal;
  readonly #context: ExplainContext;
  readonly #onAbort: () => void;
  readonly #answerWithinMs: number | null;
  #answeredAt = 0;
  readonly #server: Connected['server'];
  readonly #watch: LineWatch | null;
  #owed: (() => boolean) | null = null;
  /** Ends a look that is under way when the session is closed. */
  readonly #looking = new AbortController();
  #closing: Promise<void> | null = null;

  /** Only for {@link openSession}. */
  constructor(connected: Connected, settings: ConnectionSettings, options: SessionOptions) {
    this.client = connected.client;
    this.#stream = connected.stream;
    this.#fate = connected.fate;
    this.encrypted = connected.encrypted;
    this.settings = settings;
    this.side = options.side;
    this.#signal = options.signal;
    this.#context = { side: options.side, settings, doing: options.purpose };
    this.processId = connected.processId;
    this.#answerWithinMs = options.answerWithinMs ?? null;
    this.#server = connected.server;
    const onNotice = options.onNotice;
    if (onNotice !== undefined) {
      this.client.on('notice', (notice) => onNotice(notice.message ?? ''));
    }
    this.#onAbort = () => {
      void this.close();
    };
    this.#watch =
      options.watched === false || options.pipeline === true || isUnixSocket(settings.host) ? null : this.#watchLine();
    if (this.#watch !== null) this.client.once('end', () => this.#watch?.stop());
    options.signal.addEventListener('abort', this.#onAbort, { once: true });
    if (options.signal.aborted) this.#onAbort();
  }

  /**
   * By which rule the server owes us an answer, where a statement that runs does not mean that, as while it takes rows from us; null
   * for the usual one. A line on which nothing moves meanwhile is asked about, and given up when it is dead.
   */
  owes(rule: (() => boolean) | null): void {
    this.#owed = rule;
  }

  #watchLine(): LineWatch {
    const stream = this.#stream;
    return new LineWatch({
      stream,
      side: this.side,
      silenceMs: this.settings.silenceMs ?? SILENCE_MS,
      owed: () => this.usable && !stream.isPaused() && (this.#owed === null ? this.#busy() : this.#owed()),
      look: () => this.#look(),
      isUnreachable: (error) =>
        error instanceof PgsluiceError && error.code !== 'TOO_MANY_CONNECTIONS' && isRetried(error),
      onDead: (error) => {
        this.#fate.error ??= error;
        stream.destroy(error);
      },
    });
  }

  /** What the server says of this session, by another connection; one that is of no use any more is ended there, with its locks. */
  async #look(): Promise<LookAtSession> {
    const { settings, side } = this;
    const signal = AbortSignal.any([this.#signal, this.#looking.signal, AbortSignal.timeout(LOOK_MS)]);
    const other = await openSession(settings, { signal, side, purpose: 'watch', watched: false });
    try {
      const [row] = await other.query<{ found: LookAtSession | null; same: boolean }>(LOOK, [
        this.processId,
        this.#server.startedAt,
        this.#server.at,
      ]);
      // Behind one address there may be several servers.
      if (row?.found === undefined || row.found === null) return row?.same === true ? 'gone' : 'unknown';
      return row.found;
    } finally {
      await other.close();
    }
  }

  /** True when the connection died without anybody here closing it. */
  get lost(): boolean {
    return this.#closing === null && (this.#fate.ended || this.#fate.error !== null);
  }

  /** False from the moment on in which it is closed or has died: nothing can be asked of it any more. */
  get usable(): boolean {
    return this.#closing === null && !this.lost;
  }

  /**
   * Runs one statement; `$1`… stand for `params`. Answers its rows, `int8` and `numeric` as strings. Throws
   * PgsluiceError: the cancellation when the signal fired, otherwise the server's error explained, kept as `cause`.
   */
  async query<R extends pg.QueryResultRow>(sql: string, params?: readonly unknown[]): Promise<R[]> {
    this.#refuseWhenClosed();
    try {
      const result = await this.#inTime(
        params === undefined ? this.client.query<R>(sql) : this.client.query<R>(sql, [...params]),
      );
      return result.rows;
    } catch (error) {
      throw this.explain(error);
    }
  }

  /** Runs one or several statements in the simple protocol and drops their results. Throws like `query`. */
  async run(sql: string): Promise<void> {
    this.#refuseWhenClosed();
    try {
      await this.#inTime(this.client.query(sql));
    } catch (error) {
      throw this.explain(error);
    }
  }

  /** A server that says nothing in time, though it was told to end what takes long, is not asked anything more. */
  async #inTime<T>(answer: Promise<T>): Promise<T> {
    const within = this.#answerWithinMs;
    if (within === null) return await answer;
    // Statements that were sent together are answered one after the other: each answer begins the time anew.
    const asked = Date.now();
    let timer: NodeJS.Timeout;
    const look = (): void => {
      const left = Math.max(asked, this.#answeredAt) + within - Date.now();
      if (left > 0) {
        timer = setTimeout(look, left);
        return;
      }
      const error = connectionError(this.#context, {
        code: 'NO_ANSWER',
        says: `has not answered a statement within ${Math.round(within / 1000)} s, though it was told to end what takes longer.`,
        hint: 'Check that it is a PostgreSQL server, and what stands between it and this machine (proxy, pooler, firewall).',
        retryable: true,
      });
      this.#fate.error ??= error;
      this.#stream.destroy(error);
    };
    timer = setTimeout(look, within);
    try {
      return await answer;
    } finally {
      this.#answeredAt = Date.now();
      clearTimeout(timer);
    }
  }

  /** What `error`, met on this session's client or stream, means: the cancellation, or the server's error explained. */
  explain(error: unknown): PgsluiceError {
    if (this.#signal.aborted) {
      try {
        throwIfAborted(this.#signal);
      } catch (cancellation) {
        if (cancellation instanceof PgsluiceError) return cancellation;
      }
    }
    return explainError(error, this.#context);
  }

  /**
   * Asks the server to end the running statement, by a CancelRequest on a socket of its own, which takes no
   * connection slot. Resolves when the server has passed it on; the statement then fails with QUERY_CANCELLED.
   */
  async cancelRunning(): Promise<void> {
    // The pair from BackendKeyData: behind a pooler its process is not the one in pg_stat_activity.
    const processId: unknown = Reflect.get(this.client, 'processID');
    const secretKey: unknown = Reflect.get(this.client, 'secretKey');
    if (typeof secretKey !== 'number' || typeof processId !== 'number') return;
    await sendCancel(
      { settings: this.settings, side: this.side, encrypted: this.encrypted, processId, secretKey },
      CANCEL_TIMEOUT_MS,
    );
  }

  /** Cancels what runs, says goodbye, and cuts the socket when that takes too long: over within about 2 s. Never throws. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#watch?.stop();
    this.#looking.abort(new Error('the session was closed'));
    if (this.#watch !== null && this.#fate.error !== null && sqlStateOf(this.#fate.error) === null) {
      this.#stream.destroy();
      await Promise.race([this.#putAway(), sleep(PUT_AWAY_MS, undefined, { ref: false })]);
    }
    if (this.#fate.ended) return;
    if (this.#busy() && !this.#stream.destroyed) {
      try {
        await this.cancelRunning();
        await this.#untilIdle();
      } catch {
        // The cancellation did not get through; cutting the socket below ends the session all the same.
        this.#stream.destroy();
      }
    }
    const ended = this.#untilEnded();
    // Destroys the socket at once when a statement still runs.
    void this.client.end();
    await Promise.race([ended, sleep(GOODBYE_MS, undefined, { ref: false })]);
    this.#stream.destroy();
    await Promise.race([ended, sleep(GOODBYE_MS, undefined, { ref: false })]);
  }

  /** A server that has not heard of the line's end would keep the session with its locks, in the way of whoever does the work again. */
  async #putAway(): Promise<void> {
    try {
      const signal = AbortSignal.timeout(LOOK_MS);
      const other = await openSession(this.settings, {
        signal,
        side: this.side,
        purpose: 'watch',
        watched: false,
        answerWithinMs: PUT_AWAY_ANSWER_MS,
      });
      try {
        await other.query(PUT_AWAY, [this.processId, this.#server.startedAt, this.#server.at]);
      } finally {
        await other.close();
      }
    } catch {
      // Out of reach: then the server finds out by its own keepalives (settle.ts).
    }
  }

  #busy(): boolean {
    return Reflect.get(this.client, 'readyForQuery') !== true;
  }

  async #untilIdle(): Promise<void> {
    const until = Date.now() + DRAIN_MS;
    while (this.#busy() && !this.#fate.ended && Date.now() < until) await sleep(10);
  }

  #untilEnded(): Promise<void> {
    return this.#fate.ended ? Promise.resolve() : new Promise((resolve) => this.client.once('end', () => resolve()));
  }

  #refuseWhenClosed(): void {
    throwIfAborted(this.#signal);
    if (this.usable) return;
    if (this.#closing === null && this.#fate.error !== null) throw this.explain(this.#fate.error);
    throw connectionError(
      this.#context,
      {
        code: 'CONNECTION_LOST',
        says: this.#closing === null ? 'ended the connection.' : 'was asked for more after its session was closed.',
        hint: 'Retry the job.',
        retryable: true,
      },
      this.#fate.error ?? undefined,
    );
  }
}

/** Failures to connect that waiting may cure. */
const RETRIED: ReadonlySet<string> = new Set([
  'CONNECTION_REFUSED',
  'CONNECT_TIMEOUT',
  'CONNECTION_LOST',
  'HOST_UNREACHABLE',
  'SERVER_STARTING',
  'TOO_MANY_CONNECTIONS',
]);

function isRetried({ code, retryable }: PgsluiceError): boolean {
  return RETRIED.has(code) || (code === 'NOT_POSTGRESQL' && retryable);
}

/** Wait before the next try in ms: doubles from 100 ms to 2 s, with up to a quarter of chance so that workers spread. */
export function backoffMs(attempt: number, random: number): number {
  return Math.min(2000, 100 * 2 ** (attempt - 1)) * (1 + random / 4);
}

/**
 * To be run before a question to pg_stat_activity inside of a transaction: what its first reader found there is shown until the
 * transaction ends (PostgreSQL documentation, 27.2.2 "Viewing Statistics").
 */
export const LOOK_ANEW = 'SELECT pg_stat_clear_snapshot()';

/** How a session shows in pg_stat_activity: a name that ends in the id of its job belongs to that job alone. Pure. */
export function sessionName(
  { applicationName, job }: Pick<ConnectionSettings, 'applicationName' | 'job'>,
  purpose: string,
): string {
  return `${applicationName} ${purpose}${job === undefined ? '' : ` ${job}`}`;
}

async function openOnce(settings: ConnectionSettings, options: SessionOptions): Promise<Session> {
  const connected = await connectOnce({
    settings,
    side: options.side,
    applicationName: sessionName(settings, options.purpose),
    readOnly: options.readOnly ?? false,
    pipeline: options.pipeline ?? false,
    signal: options.signal,
  });
  return new Session(connected, settings, options);
}

/**
 * Opens a session and settles its settings (settle.ts), for this session only. Transient failures are tried again
 * with growing pauses for `retryForMs`. Throws PgsluiceError; the cancellation when the signal fires.
 */
export async function openSession(settings: ConnectionSettings, options: SessionOptions): Promise<Session> {
  // One signal a job and many sessions on it: Node would call more than ten listeners a leak.
  setMaxListeners(0, options.signal);
  const until = Date.now() + (options.retryForMs ?? 0);
  for (let attempt = 1; ; attempt++) {
    try {
      return await openOnce(settings, options);
    } catch (error) {
      throwIfAborted(options.signal);
      const pause = backoffMs(attempt, Math.random());
      if (!(error instanceof PgsluiceError) || !isRetried(error) || Date.now() + pause > until) throw error;
      options.onRetry?.(error.message, attempt);
      try {
        await sleep(pause, undefined, { signal: options.signal });
      } catch (interrupted) {
        throwIfAborted(options.signal);
        throw interrupted;
      }
    }
  }
}
