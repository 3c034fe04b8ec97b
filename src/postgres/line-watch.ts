import type { Socket } from 'node:net';
import { PgsluiceError } from '../errors.ts';
import type { Side } from './settings.ts';

/** ms without a moved byte, while the server owes an answer, after which it is asked about the session; `tcp_user_timeout` sets it. */
export const SILENCE_MS = 20_000;
/** ms between two looks; at least two of them come before a judgement. */
const LOOK_EVERY_MS = 5_000;
/** How long the server may be out of reach altogether, or what was sent may take through buffers on the way, in silences. */
const PATIENCE = 3;
/** Bytes sent during one wait that may lie in buffers on the way; more of them take a slow line its time. */
const SMALL_BYTES = 64 * 1024;

/** How much has passed through this process's end of a line. */
export interface LineCount {
  readonly received: number;
  /** Bytes that the system has taken. */
  readonly sent: number;
  /** Bytes that wait to be taken. */
  readonly unsent: number;
}

/** Reads the counters of a socket; `unsent` includes the part of a single large write that is under way. */
export function countLine(stream: Socket): LineCount {
  const under: unknown = Reflect.get(Object(Reflect.get(stream, '_handle')), 'writeQueueSize');
  const unsent = Math.max(stream.writableLength, typeof under === 'number' ? under : 0);
  return { received: stream.bytesRead, sent: stream.bytesWritten - unsent, unsent };
}

/**
 * What another connection says of a session: it works (or waits for a lock), it waits for its client, its process is gone from a
 * server that would know it, or nobody can say.
 */
export type LookAtSession = 'works' | 'waits for us' | 'gone' | 'unknown';

export interface SilentLine {
  /** ms since the last byte, or since the question. */
  readonly silentMs: number;
  readonly silenceMs: number;
  /** Bytes sent since an answer is waited for. */
  readonly sentInWait: number;
  /** Looks in a row, this one included, that found the session gone or waiting for us, with nothing moved in between. */
  readonly idleLooks: number;
  /** The network did not even let a second connection through. */
  readonly unreachable: boolean;
}

/**
 * Whether a silent line is dead. A statement may take its time, and a slow line may still carry what was sent; but a server that
 * waits for us while we wait for it cannot be reached over this line any more. Pure.
 */
export function isDeadLine(line: SilentLine): boolean {
  const long = line.silentMs >= PATIENCE * line.silenceMs;
  if (line.unreachable) return long;
  if (line.idleLooks < 2) return false;
  return line.sentInWait < SMALL_BYTES || long;
}

export interface LineWatchInput {
  readonly stream: Socket;
  readonly side: Side;
  /** How long a line may be silent before anybody asks, in ms. */
  readonly silenceMs: number;
  /** True while the server owes an answer and nothing here keeps it from coming. */
  owed(): boolean;
  /** Asks the server by another connection. @throws PgsluiceError when that one cannot be had. */
  look(): Promise<LookAtSession>;
  /** True for a failure of `look` that means that the server cannot be reached. */
  isUnreachable(error: unknown): boolean;
  /** Called once, when the line is dead. */
  onDead(error: PgsluiceError): void;
}

/**
 * Bounds the wait for an answer on one connection. TCP notices a dead peer after many minutes, and never one behind a proxy that keeps
 * the connection; so when a line has been silent for `silenceMs`, the server is asked what the session does there.
 * Lifecycle: watching → stopped, by `stop` or by its one judgement.
 */
export class LineWatch {
  readonly #input: LineWatchInput;
  readonly #timer: NodeJS.Timeout;
  #seen: LineCount;
  #movedAt = Date.now();
  /** Bytes sent when no answer was waited for the last time. */
  #sentBefore: number;
  #idleLooks = 0;
  #looking = false;

  constructor(input: LineWatchInput) {
    this.#input = input;
    this.#seen = countLine(input.stream);
    this.#sentBefore = this.#seen.sent;
    this.#timer = setInterval(() => void this.#tick(), Math.min(LOOK_EVERY_MS, input.silenceMs / 2));
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** True when something has moved or nothing is owed: whatever was found so far is void then. */
  #lives(): boolean {
    const now = countLine(this.#input.stream);
    const owed = this.#input.owed();
    const moved =
      now.received !== this.#seen.received || now.sent !== this.#seen.sent || now.unsent !== this.#seen.unsent;
    // An answer that has begun to come ends the wait that was sent for.
    if (!owed || now.received !== this.#seen.received) this.#sentBefore = now.sent;
    this.#seen = now;
    if (owed && !moved) return false;
    this.#movedAt = Date.now();
    this.#idleLooks = 0;
    return true;
  }

  async #tick(): Promise<void> {
    if (this.#looking || this.#lives() || Date.now() - this.#movedAt < this.#input.silenceMs) return;
    this.#looking = true;
    let unreachable = false;
    try {
      const found = await this.#input.look();
      this.#idleLooks = found === 'gone' || found === 'waits for us' ? this.#idleLooks + 1 : 0;
    } catch (error) {
      unreachable = this.#input.isUnreachable(error);
    } finally {
      this.#looking = false;
    }
    if (this.#lives()) return;
    const silentMs = Date.now() - this.#movedAt;
    const sentInWait = this.#seen.sent + this.#seen.unsent - this.#sentBefore;
    const { silenceMs } = this.#input;
    if (!isDeadLine({ silentMs, silenceMs, sentInWait, idleLooks: this.#idleLooks, unreachable })) return;
    this.stop();
    this.#input.onDead(deadLine(this.#input.side, silentMs, unreachable));
  }
}

function deadLine(side: Side, silentMs: number, unreachable: boolean): PgsluiceError {
  const found = unreachable ? 'and it cannot be reached anew' : 'though there it is this side that is waited for';
  return new PgsluiceError({
    code: 'CONNECTION_LOST',
    message: `The ${side} has not answered on this connection for ${Math.round(silentMs / 1000)} s, ${found}: the connection is dead.`,
    hint: `Check the network, proxies and firewalls between this machine and the ${side}, then retry the job.`,
    retryable: true,
  });
}
