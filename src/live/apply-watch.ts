import { Socket } from 'node:net';
import { PgsluiceError } from '../errors.ts';
import { type Session, openSession } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';

/** ms without an answer after which the server is asked what our session does. */
const QUIET_MS = 15_000;
/** However short the settings say a silence may be. */
const LEAST_QUIET_MS = 3_000;
const LOOK_EVERY_MS = 5_000;
/** ms without an answer from the server on any connection after which this one is given up. */
const GIVE_UP_MS = 60_000;
/** Bytes sent during one wait that may still lie in buffers between here and the server; more of them take a slow line its time. */
const SMALL_BYTES = 64 * 1024;

export interface Look {
  /** The session's transaction is at work, or waits for a lock. */
  readonly busy: boolean;
  /** Who keeps it waiting; null when nobody does. */
  readonly blocker: string | null;
}

const LOOK = `
SELECT a.state = 'active' AND a.wait_event_type IS DISTINCT FROM 'Client' AS busy,
  (SELECT string_agg(format('process %s (%s, %s)', b.pid, b.usename, b.application_name), ', ')
   FROM pg_stat_activity b WHERE b.pid = ANY (pg_blocking_pids(a.pid))) AS blocker
FROM pg_stat_activity a WHERE a.pid = $1`;

export interface WatchInput {
  readonly session: Session;
  readonly settings: ConnectionSettings;
  readonly signal: AbortSignal;
  /** ms since 1970 since when an answer is waited for; null when none is. */
  waitsSince(): number | null;
  /** Called when the connection is dead; its session has been ended on the server where that was possible. */
  onDead(error: PgsluiceError): void;
  log(level: 'debug' | 'info' | 'warn', message: string): void;
  readonly quietMs?: number;
  readonly lookEveryMs?: number;
  /** How long a session that waits for us may go without anything leaving this process when much was sent to it, in ms. */
  readonly giveUpMs?: number;
}

/** How much has left this process on a session's socket, as far as this process sees. */
interface Sent {
  /** Bytes of writes that have ended. */
  readonly done: number;
  /** Bytes of the write under way that the system has not taken yet. */
  readonly left: number;
  /** Bytes given to the socket, sent or not. */
  readonly given: number;
}

function sentOn({ client }: Session): Sent {
  const stream: unknown = Reflect.get(Object(Reflect.get(client, 'connection')), 'stream');
  if (!(stream instanceof Socket)) return { done: 0, left: 0, given: 0 };
  // One large statement is one write, which ends with its last byte: what is left of it shows that it goes on.
  const left: unknown = Reflect.get(Object(Reflect.get(stream, '_handle')), 'writeQueueSize');
  const given = stream.bytesWritten;
  return { done: given - stream.writableLength, left: typeof left === 'number' ? left : 0, given };
}

/**
 * Bounds the wait for an answer of the target. A statement may take its time; a line that has gone silent may not. While an answer is
 * long in coming, another connection asks what our session does: a blocker is told once, and a session that itself waits for us twice
 * in a row, while nothing leaves this process, means that the line between is dead. Where much was sent to it, that has to last longer:
 * buffers on the way empty themselves at the pace of the line. Then it is ended on the server, for its locks would stop whoever goes on.
 */
export class AnswerWatch {
  readonly #input: WatchInput;
  readonly #timer: NodeJS.Timeout;
  #looking = false;
  #idleLooks = 0;
  #seenWait: number | null = null;
  #told: string | null = null;
  #sent: Sent;
  /** Bytes that had been sent when last nothing was waited for. */
  #sentBefore: number;
  /** ms since 1970 when something last left this process. */
  #movedAt = Date.now();

  constructor(input: WatchInput) {
    this.#input = input;
    this.#sent = sentOn(input.session);
    this.#sentBefore = this.#sent.done;
    this.#timer = setInterval(() => void this.#look(), input.lookEveryMs ?? LOOK_EVERY_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    const since = this.#input.waitsSince();
    const sent = sentOn(this.#input.session);
    if (sent.done !== this.#sent.done || sent.left !== this.#sent.left) {
      this.#movedAt = Date.now();
      this.#idleLooks = 0;
    }
    this.#sent = sent;
    if (since !== this.#seenWait) {
      // An answer came: what was counted belongs to another wait.
      this.#seenWait = since;
      this.#idleLooks = 0;
      this.#told = null;
    }
    if (since === null) this.#sentBefore = sent.done;
    if (this.#looking || since === null || Date.now() - since < this.#quietMs()) return;
    this.#looking = true;
    try {
      await this.#ask(since);
    } catch (error) {
      if (Date.now() - Math.max(since, this.#movedAt) > this.#giveUpMs())
        this.#dead(since, `and it cannot be asked: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      this.#looking = false;
    }
  }

  async #ask(since: number): Promise<void> {
    const { settings, signal, session } = this.#input;
    const other = await openSession(settings, { signal, side: 'target', purpose: 'apply watch' });
    try {
      const [found] = await other.query<Look & Record<string, unknown>>(LOOK, [session.processId]);
      if (found?.busy === true) {
        this.#idleLooks = 0;
        if (found.blocker !== null && found.blocker !== this.#told) {
          this.#told = found.blocker;
          this.#input.log(
            'warn',
            `Applying waits for a lock on the target since ${iso(since)}, held by ${found.blocker}.`,
          );
        }
        return;
      }
      this.#idleLooks += 1;
      if (this.#idleLooks < 2 || this.#input.waitsSince() !== since || !this.#stands(since)) return;
      if (found !== undefined) await other.query('SELECT pg_terminate_backend($1)', [session.processId]);
      this.#dead(since, 'though it waits for more itself');
    } finally {
      await other.close();
    }
  }

  /** Nothing has left this process for as long as what it sent may take to arrive. */
  #stands(since: number): boolean {
    const { given, done, left } = sentOn(this.#input.session);
    if (done !== this.#sent.done || left !== this.#sent.left) return false;
    if (given - this.#sentBefore < SMALL_BYTES) return true;
    return Date.now() - Math.max(since, this.#movedAt) >= this.#giveUpMs();
  }

  #quietMs(): number {
    const { quietMs, settings } = this.#input;
    return quietMs ?? (settings.silenceMs === undefined ? QUIET_MS : Math.max(LEAST_QUIET_MS, settings.silenceMs));
  }

  #giveUpMs(): number {
    return this.#input.giveUpMs ?? Math.min(GIVE_UP_MS, 4 * this.#quietMs());
  }

  #dead(since: number, how: string): void {
    this.stop();
    this.#input.onDead(
      new PgsluiceError({
        code: 'CONNECTION_LOST',
        message: `The target has not answered since ${iso(since)}, ${how}: the connection is dead.`,
        hint: 'Check the network between this machine and the target. The job connects anew and goes on.',
        retryable: true,
      }),
    );
  }
}

const iso = (ms: number): string => new Date(ms).toISOString();
