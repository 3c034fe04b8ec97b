import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { type Lsn, formatLsn } from '../postgres/lsn.ts';
import { Replication } from '../postgres/replication.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { SQLSTATE, serverField } from '../postgres/sqlstate.ts';
import { slotMemory } from './slot-memory.ts';
import { SpoolRoom } from './spool.ts';
import { StopWatch } from './stopping.ts';
import { closedError, silentError, stoppingError, streamingFailed } from './stream-errors.ts';
import { Assembler, type CommittedTransaction } from './transactions.ts';
import type { ChangeStream, StreamItem } from './types.ts';

export interface OpenChangeStream {
  /** Of the source; the role needs REPLICATION. */
  readonly settings: ConnectionSettings;
  readonly slot: string;
  readonly publication: string;
  /** Everything that committed before it is durable on the target; 0 for what the slot itself remembers. */
  readonly from: Lsn;
  readonly sourceMajor: number;
  /** Directory of the agent for large transactions; made when it is missing. */
  readonly workDir: string;
  /** When it fires, the stream ends with its reason. */
  readonly signal: AbortSignal;
  /** Bytes of changes above which a transaction goes to disk. */
  readonly spoolAboveBytes?: number;
  /** Bytes of whole transactions that may wait here before the source is told to wait. */
  readonly queueBytes?: number;
  /** How long the source may say nothing at all, in ms; it is asked for a sign of life three times as often. */
  readonly silenceMs?: number;
  log(level: 'debug' | 'info' | 'warn', message: string): void;
}

const MB = 1024 * 1024;
const SPOOL_ABOVE_BYTES = 24 * MB;
const QUEUE_BYTES = 48 * MB;
const SILENCE_MS = 30_000;
/** Bytes of transactions on disk that wait to be taken, against those in memory. */
const DISK_AHEAD = 8;
/** However short the settings say a silence may be. */
const LEAST_SILENCE_MS = 5_000;
const settingsSilence = ({ silenceMs }: ConnectionSettings): number | undefined =>
  silenceMs === undefined ? undefined : Math.max(LEAST_SILENCE_MS, silenceMs);
/** What a transaction on disk counts towards what one `take` answers: one piece of it. */
const SPOOLED_COUNTS = MB;
const TICK_MS = 1000;
const STATUS_EVERY_MS = 10_000;

/** The first major that can send a large transaction before it commits. */
const STREAMS_FROM = 14;

type Queued =
  | { readonly kind: 'transaction'; readonly transaction: CommittedTransaction }
  | { readonly kind: 'position'; readonly lsn: Lsn };

/**
 * Opens the slot's stream of changes. @throws PgsluiceError: SLOT_ACTIVE (retryable) while another connection has the slot,
 * SLOT_LOST when it is gone or invalidated, SETTINGS_REFUSED, SPOOL_FAILED, what the server or the network said, the cancellation.
 */
export async function openChangeStream(input: OpenChangeStream): Promise<ChangeStream> {
  throwIfAborted(input.signal);
  const stream = new LiveStream(input);
  try {
    await stream.open();
    return stream;
  } catch (error) {
    await stream.close();
    throw error;
  }
}

/** opening → open → over; over by `close`, by an error, or by the signal, and then for good. */
class LiveStream implements ChangeStream {
  readonly #input: OpenChangeStream;
  readonly #queueLimit: number;
  readonly #streaming: boolean;
  readonly #queue: Queued[] = [];
  #queuedBytes = 0;
  #queuedOnDisk = 0;
  #spools: SpoolRoom | null = null;
  #replication: Replication | null = null;
  #error: PgsluiceError | null = null;
  #closed: Promise<void> | null = null;
  #wake: () => void = () => undefined;
  #durable: Lsn;
  /** The furthest that was put into the queue. */
  #told: Lsn = 0n;
  readonly #stopping: StopWatch;
  #timer: NodeJS.Timeout | null = null;
  #tickMs = TICK_MS;
  #tickedAt = 0;
  readonly #silenceMs: number;
  #silentMs = 0;
  #sentAt = 0;
  #askedAt = 0;
  #sent: Lsn = 0n;
  #replyOwed = false;

  constructor(input: OpenChangeStream) {
    this.#input = input;
    this.#durable = input.from;
    this.#queueLimit = input.queueBytes ?? QUEUE_BYTES;
    this.#silenceMs =
      slotMemory.silenceMs(input.slot) ?? input.silenceMs ?? settingsSilence(input.settings) ?? SILENCE_MS;
    this.#streaming = input.sourceMajor >= STREAMS_FROM && slotMemory.streams(input.slot);
    this.#stopping = new StopWatch({
      settings: input.settings,
      signal: input.signal,
      onStopping: () => this.#fail(stoppingError()),
      log: (level, message) => input.log(level, message),
    });
  }

  async open(): Promise<void> {
    const { settings, slot, publication, from, workDir, signal } = this.#input;
    const log: OpenChangeStream['log'] = (level, message) => this.#input.log(level, message);
    const spools = await SpoolRoom.open({
      dir: workDir,
      slot,
      onWritten: () => this.#relieve(),
      onFailure: (error) => this.#fail(error),
      log,
    });
    const assembler = new Assembler({
      spools,
      spoolAboveBytes: this.#input.spoolAboveBytes ?? SPOOL_ABOVE_BYTES,
      onTransaction: (transaction) => this.#putTransaction(transaction),
      onPosition: (lsn) => this.#putPosition(lsn),
    });
    this.#spools = spools;
    const replication = await Replication.open({
      settings,
      slot,
      publication,
      from,
      streaming: this.#streaming,
      signal,
      log,
      onMessage: (bytes, start, end) => this.#accept(assembler, bytes, start, end),
      onKeepalive: (walEnd, replyWanted) => {
        if (assembler.between) this.#putPosition(walEnd);
        if (replyWanted) this.#reply();
      },
      onEnd: (error) => this.#fail(this.#streaming ? this.#judge(error) : error),
    });
    this.#replication = replication;
    if (replication.confirmed > this.#durable) this.#durable = replication.confirmed;
    this.#sent = this.#durable;
    // Four signs of life within the server's patience, while nothing is read from it as well.
    if (replication.senderTimeoutMs > 0) this.#tickMs = Math.min(TICK_MS, replication.senderTimeoutMs / 4);
    this.#tickedAt = Date.now();
    this.#send(false);
    this.#timer = setInterval(() => this.#tick(), this.#tickMs);
    this.#relieve();
    log('debug', `Reading slot ${slot} from ${formatLsn(this.#durable)}.`);
  }

  async take(maxBytes: number, signal: AbortSignal): Promise<readonly StreamItem[]> {
    for (;;) {
      throwIfAborted(signal);
      if (this.#closed !== null) throw closedError();
      if (this.#queue.length > 0) return this.#takeQueued(maxBytes);
      if (this.#error !== null) throw this.#error;
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          signal.removeEventListener('abort', wake);
          resolve();
        };
        signal.addEventListener('abort', wake, { once: true });
        this.#wake = wake;
      });
    }
  }

  acknowledge(lsn: Lsn): void {
    if (lsn > this.#durable) this.#durable = lsn;
  }

  askPosition(): void {
    this.#send(true);
  }

  get spooledBytes(): number {
    return this.#spools?.bytes ?? 0;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#send(false);
    this.#wake();
    await this.#replication?.close();
    await this.#spools?.close();
  }

  #accept(assembler: Assembler, bytes: Buffer, start: number, end: number): void {
    assembler.accept(bytes, start, end);
    if (this.#full()) this.#replication?.pause();
  }

  #putTransaction(transaction: CommittedTransaction): void {
    this.#queue.push({ kind: 'transaction', transaction });
    this.#queuedBytes += transaction.bytes;
    this.#queuedOnDisk += transaction.spool?.size ?? 0;
    if (transaction.endLsn > this.#told) this.#come(transaction.endLsn);
    this.#wake();
  }

  /** Positions that say nothing new are dropped: a slot begins to read before what was confirmed. */
  #putPosition(lsn: Lsn): void {
    if (lsn <= this.#told) return;
    this.#come(lsn);
    if (this.#queue.at(-1)?.kind === 'position') this.#queue.pop();
    this.#queue.push({ kind: 'position', lsn });
    this.#wake();
  }

  #come(lsn: Lsn): void {
    this.#told = lsn;
    slotMemory.came(this.#input.slot, lsn);
  }

  #takeQueued(maxBytes: number): StreamItem[] {
    const taken: StreamItem[] = [];
    let bytes = 0;
    let count = 0;
    for (const item of this.#queue) {
      if (bytes >= maxBytes) break;
      count += 1;
      if (item.kind === 'transaction') {
        const { transaction } = item;
        const size = transaction.spool === null ? transaction.bytes : SPOOLED_COUNTS;
        if (taken.length > 0 && bytes + size > maxBytes) {
          count -= 1;
          break;
        }
        bytes += size;
        this.#queuedBytes -= transaction.bytes;
        this.#queuedOnDisk -= transaction.spool?.size ?? 0;
      }
      taken.push(item);
    }
    this.#queue.splice(0, count);
    this.#relieve();
    return taken;
  }

  #load(): number {
    return this.#queuedBytes + this.#queuedOnDisk / DISK_AHEAD + (this.#spools?.unwritten ?? 0);
  }

  #full(): boolean {
    return this.#load() > this.#queueLimit;
  }

  #relieve(): void {
    const replication = this.#replication;
    if (replication === null || this.#error !== null || !replication.paused) return;
    if (this.#load() > this.#queueLimit / 2) return;
    this.#silentMs = 0;
    replication.resume();
  }

  #reply(): void {
    this.#stopping.asked();
    // A server that shuts down asks again with every answer, as fast as they come.
    if (Date.now() - this.#sentAt < this.#tickMs / 4) this.#replyOwed = true;
    else this.#send(false);
  }

  #send(ask: boolean): void {
    const replication = this.#replication;
    if (replication === null || this.#error !== null) return;
    this.#sentAt = Date.now();
    if (ask) this.#askedAt = this.#sentAt;
    this.#sent = this.#durable;
    this.#replyOwed = false;
    replication.status(this.#durable, ask);
  }

  #tick(): void {
    const replication = this.#replication;
    if (replication === null || this.#error !== null) return;
    const now = Date.now();
    const silence = this.#silenceMs;
    // A tick that comes late says nothing about the source: this process was busy or asleep.
    const passed = Math.min(now - this.#tickedAt, 2 * this.#tickMs);
    this.#tickedAt = now;
    this.#silentMs = replication.heard() || replication.paused ? 0 : this.#silentMs + passed;
    if (this.#silentMs >= silence) {
      slotMemory.wasSilent(this.#input.slot, silence, this.#told > this.#durable ? this.#told : this.#durable);
      this.#fail(silentError(silence));
      return;
    }
    this.#stopping.tick(replication.paused, now);
    const ask = now - this.#askedAt >= Math.min(STATUS_EVERY_MS, silence / 3);
    const changed = this.#durable > this.#sent;
    if (ask || changed || this.#replyOwed || replication.paused) this.#send(ask);
  }

  #judge(error: PgsluiceError): PgsluiceError {
    if (serverField(error, 'code') !== SQLSTATE.internalError) return error;
    slotMemory.failedToStream(this.#input.slot);
    return streamingFailed(error);
  }

  /** The first failure counts; what was received whole before it is still handed out. */
  #fail(error: PgsluiceError): void {
    if (this.#error !== null) return;
    this.#error = error;
    if (this.#timer !== null) clearInterval(this.#timer);
    void this.#replication?.close();
    this.#wake();
  }
}
