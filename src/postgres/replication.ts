import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { LogicalReplicationService } from 'pg-logical-replication';
import { type PgsluiceError, throwIfAborted } from '../errors.ts';
import { connectBy } from './connect.ts';
import { divertCopyData } from './copy-both.ts';
import type { Dialled } from './dial.ts';
import { type ExplainContext, connectionError } from './explain.ts';
import { type Lsn, formatLsn, parseLsn } from './lsn.ts';
import { quoteIdent, quoteLiteral } from './quote.ts';
import {
  ENDED,
  START_TIMED_OUT,
  START_TIMEOUT_MS,
  explainReplication,
  publicationLost,
  refused,
  slotLost,
} from './replication-errors.ts';
import type { ConnectionSettings } from './settings.ts';
import { settleSql } from './settle.ts';
import { SQLSTATE } from './sqlstate.ts';

export interface ReplicationInput {
  /** Of the source; the role needs REPLICATION. */
  readonly settings: ConnectionSettings;
  readonly slot: string;
  readonly publication: string;
  /** Transactions that committed before it are not sent. */
  readonly from: Lsn;
  /** Large transactions may be sent before they commit; servers from 14 on can. */
  readonly streaming: boolean;
  readonly signal: AbortSignal;
  /** One message of pgoutput: `bytes` from `start` to `end`, overwritten later. What it throws ends the connection. */
  onMessage(bytes: Buffer, start: number, end: number): void;
  /** The server has sent everything before `walEnd`. */
  onKeepalive(walEnd: Lsn, replyWanted: boolean): void;
  /** Once, and then nothing more; not after `close`. */
  onEnd(error: PgsluiceError): void;
  log(level: 'debug' | 'info' | 'warn', message: string): void;
}

/** How values look as text, and what could end the connection: the server has to say that it is so. By names in lower case. */
const EXPECTED: ReadonlyMap<string, string> = new Map([
  ['client_encoding', 'UTF8'],
  ['datestyle', 'ISO, MDY'],
  ['intervalstyle', 'postgres'],
  ['extra_float_digits', '3'],
  ['bytea_output', 'hex'],
  ['timezone', 'UTC'],
  ['lc_monetary', 'C'],
  ['xmloption', 'content'],
  ['search_path', 'pg_catalog'],
  ['quote_all_identifiers', 'off'],
  ['statement_timeout', '0'],
  ['lock_timeout', '0'],
  ['idle_in_transaction_session_timeout', '0'],
]);

const SETTINGS_SQL = `
  select pg_catalog.lower(s.name) as name, s.setting
  from pg_catalog.pg_settings s
  where pg_catalog.lower(s.name) in (${[...EXPECTED.keys(), 'wal_sender_timeout'].map(quoteLiteral).join(', ')})`;

/** As JSON, since older servers lack some of the columns. */
const slotSql = (slot: string): string => `
  select pg_catalog.to_jsonb(s) ->> 'wal_status' as status, s.confirmed_flush_lsn::text as confirmed, s.plugin::text as plugin
  from pg_catalog.pg_replication_slots s
  where s.slot_name = ${quoteLiteral(slot)}`;

/** 'w': position of the data, end of WAL, time; then one message of pgoutput. 'k': end of WAL, time, whether to answer. */
const XLOG_DATA = 0x77;
const XLOG_HEADER_BYTES = 25;
const KEEPALIVE = 0x6b;
const KEEPALIVE_BYTES = 18;

/** Chunks that come closer together than this come from a source that has much to send. */
const BUSY_WITHIN_MS = 1;
const REST_MS = 1;
/** What Node reads at once. */
const FULL_CHUNK_BYTES = 64 * 1024;

const GOODBYE_MS = 500;
/** Of one connection that are told; a server may go on for ever. */
const MOST_NOTICES = 100;
/** Terminate (documentation, 55.7). */
const TERMINATE = Buffer.from([0x58, 0, 0, 0, 4]);

/** START_REPLICATION takes its options as strings, and the list of publications inside of one is split like a list of names. */
export function startSql(input: Pick<ReplicationInput, 'slot' | 'publication' | 'streaming'>, from: Lsn): string {
  const options = [
    ...(input.streaming ? [`proto_version '2'`, `streaming 'on'`] : [`proto_version '1'`]),
    `publication_names ${quoteLiteral(quoteIdent(input.publication))}`,
  ];
  return `START_REPLICATION SLOT ${quoteIdent(input.slot)} LOGICAL ${formatLsn(from)} (${options.join(', ')})`;
}

/**
 * One connection in which the source sends a slot's changes: opening → sending → over. The transport is
 * pg-logical-replication's; what it would do by itself, acknowledging and skipping over failures, is kept from it.
 */
export class Replication {
  readonly #input: ReplicationInput;
  readonly #context: ExplainContext;
  readonly #service: LogicalReplicationService;
  readonly #socket: Socket;
  readonly #loggedIn: Promise<void>;
  readonly #sending: Promise<void>;
  readonly #onAbort: () => void;
  #started = false;
  #over = false;
  #failStart: (error: PgsluiceError) => void = () => undefined;
  #closing: Promise<void> | null = null;
  #confirmed: Lsn = 0n;
  #senderTimeoutMs = 0;
  #heard = false;
  #paused = false;
  #resting: NodeJS.Timeout | null = null;
  #readAt = 0;
  readonly #hear = (): void => {
    this.#heard = true;
  };

  private constructor(input: ReplicationInput, context: ExplainContext, config: pg.ClientConfig, dialled: Dialled) {
    this.#input = input;
    this.#context = context;
    this.#socket = dialled.stream;
    this.#socket.on('data', this.#hear);
    // Acknowledging is done by `status` alone.
    // Options that say nothing, or node-postgres takes those of PGOPTIONS.
    this.#service = new LogicalReplicationService(
      { ...config, options: ' ' },
      { acknowledge: { auto: false, timeoutSeconds: 0 } },
    );
    this.#onAbort = () => {
      try {
        throwIfAborted(input.signal);
      } catch (reason) {
        this.#end(reason);
      }
    };
    let loggedIn: () => void = () => undefined;
    let failLogIn: (error: unknown) => void = () => undefined;
    let sending: () => void = () => undefined;
    this.#loggedIn = new Promise((resolve, reject) => {
      loggedIn = resolve;
      failLogIn = reject;
    });
    this.#sending = new Promise((resolve, reject) => {
      sending = resolve;
      this.#failStart = reject;
    });
    // Either may fail with nobody waiting for it yet, or any more.
    this.#loggedIn.catch(() => undefined);
    this.#sending.catch(() => undefined);
    const fail = (error: unknown): void => {
      failLogIn(error);
      this.#end(error);
    };
    this.#service.on('error', fail);
    this.#service.on('start', () => {
      this.#started = true;
      sending();
    });
    const plugin = {
      options: null,
      name: 'pgoutput',
      start: async (client: pg.Client, _slot: string, from: string): Promise<void> => {
        loggedIn();
        await this.#start(client, parseLsn(from));
      },
      // Nothing comes this way: the stream is taken from in front of the transport.
      parse: (): void => undefined,
    };
    this.#service.subscribe(plugin, input.slot, formatLsn(input.from)).then(
      () => fail(connectionError(context, ENDED)),
      (error: unknown) => fail(error),
    );
  }

  /**
   * Connects, settles the session's settings, has them confirmed, and starts the stream.
   * @throws PgsluiceError: SLOT_ACTIVE (to be tried again), SLOT_LOST, SETTINGS_REFUSED, what the server said, the cancellation.
   */
  static async open(input: ReplicationInput): Promise<Replication> {
    const { settings, signal } = input;
    const context: ExplainContext = { side: 'source', settings, doing: 'reading the replication slot' };
    const connect = {
      settings,
      side: 'source',
      applicationName: `${settings.applicationName} replication`,
      signal,
    } as const;
    const replication = await connectBy(connect, async (config, dialled) => {
      const attempt = new Replication(input, context, config, dialled);
      await attempt.#loggedIn;
      return attempt;
    });
    const timer = setTimeout(() => replication.#end(connectionError(context, START_TIMED_OUT)), START_TIMEOUT_MS);
    signal.addEventListener('abort', replication.#onAbort, { once: true });
    if (signal.aborted) replication.#onAbort();
    try {
      await replication.#sending;
      return replication;
    } catch (error) {
      await replication.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** What the slot had been told before: everything before it was durable once. */
  get confirmed(): Lsn {
    return this.#confirmed;
  }

  /** After how much silence of ours the server ends the connection; 0 for never. ms */
  get senderTimeoutMs(): number {
    return this.#senderTimeoutMs;
  }

  /** True when anything at all has come since this was asked last. */
  heard(): boolean {
    const heard = this.#heard;
    this.#heard = false;
    return heard;
  }

  get paused(): boolean {
    return this.#paused;
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    if (this.#resting === null) this.#socket.resume();
  }

  /**
   * The source sends every change by itself. While they come thick and fast a reader that is always waiting is woken for each few of
   * them, which costs both sides more than the changes do; so the socket is let fill for a moment.
   */
  #restWhenBusy(chunk: Buffer): void {
    const now = performance.now();
    const busy = now - this.#readAt < BUSY_WITHIN_MS;
    this.#readAt = now;
    // There is more already: in what Node has read, or, behind a chunk of the full size, in the socket.
    if (this.#socket.readableLength > 0 || chunk.length >= FULL_CHUNK_BYTES) return;
    if (!busy || this.#resting !== null || this.#over) return;
    this.#socket.pause();
    this.#resting = setTimeout(() => {
      this.#resting = null;
      this.#readAt = performance.now();
      if (!this.#paused) this.#socket.resume();
    }, REST_MS);
  }

  /** Tells the server that everything before `durable` is durable; `ask`: it is to answer at once. */
  status(durable: Lsn, ask: boolean): void {
    if (this.#over) return;
    // The transport counts in last bytes and adds one: without the − 1 a transaction that begins at `durable` is lost.
    const last = durable > 0n ? durable - 1n : 0n;
    this.#service.acknowledge(formatLsn(last), ask).catch((error: unknown) => this.#end(error));
  }

  /** Says goodbye and waits until the server has let go of the slot, 1 s at most. Never throws. */
  close(): Promise<void> {
    this.#over = true;
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#input.signal.removeEventListener('abort', this.#onAbort);
    const socket = this.#socket;
    const closed = socket.closed
      ? Promise.resolve()
      : new Promise<void>((resolve) => {
          socket.once('close', () => resolve());
        });
    if (socket.writable) socket.end(TERMINATE);
    if (this.#resting !== null) clearTimeout(this.#resting);
    // What still comes has to be read for the end to be seen.
    socket.resume();
    await Promise.race([closed, sleep(GOODBYE_MS, undefined, { ref: false })]);
    socket.destroy();
    await Promise.race([closed, sleep(GOODBYE_MS, undefined, { ref: false })]);
    await this.#service.stop();
  }

  /** A CopyData message of the stream (documentation, 55.4 "Streaming Replication Protocol"). */
  #read(bytes: Buffer, start: number, end: number): void {
    if (this.#over) return;
    try {
      const letter = bytes[start];
      if (letter === XLOG_DATA && end - start >= XLOG_HEADER_BYTES) {
        this.#input.onMessage(bytes, start + XLOG_HEADER_BYTES, end);
      } else if (letter === KEEPALIVE && end - start >= KEEPALIVE_BYTES) {
        this.#input.onKeepalive(bytes.readBigUInt64BE(start + 1), bytes[start + KEEPALIVE_BYTES - 1] === 1);
      } else throw new RangeError(`a message of the stream begins with ${letter ?? 'nothing'}`);
    } catch (error) {
      this.#end(error);
    }
  }

  /** The first end counts. */
  #end(error: unknown): void {
    if (this.#over) return;
    this.#over = true;
    const explained = explainReplication(error, this.#context, this.#input, this.#started);
    this.#socket.destroy();
    if (this.#started) this.#input.onEnd(explained);
    else this.#failStart(explained);
  }

  async #start(client: pg.Client, from: Lsn): Promise<void> {
    let notices = 0;
    client.on('notice', (notice) => {
      const said = notice.message ?? '';
      notices += 1;
      // Since 18 a publication that is missing is passed over, and its changes with it.
      if (notice.code === SQLSTATE.objectNotInPrerequisiteState)
        this.#end(publicationLost(this.#input.publication, notice));
      else if (notices <= MOST_NOTICES) this.#input.log('warn', `The source says while its changes are read: ${said}`);
    });
    await client.query(settleSql(true, null));
    const settings = await client.query<{ name: string; setting: string }>(SETTINGS_SQL);
    const found = new Map(settings.rows.map((row) => [row.name, row.setting]));
    for (const [name, expected] of EXPECTED) {
      const actual = found.get(name);
      if (actual !== expected) throw refused(this.#context, name, expected, actual ?? 'unknown');
    }
    this.#senderTimeoutMs = Number(found.get('wal_sender_timeout') ?? 0);
    const slots = await client.query<{ status: string | null; confirmed: string | null; plugin: string | null }>(
      slotSql(this.#input.slot),
    );
    const slot = slots.rows[0];
    if (slot === undefined) throw slotLost(this.#input.slot, 'does not exist');
    if (slot.status === 'lost') throw slotLost(this.#input.slot, 'was invalidated');
    if (slot.confirmed !== null) this.#confirmed = parseLsn(slot.confirmed);
    divertCopyData(
      this.#socket,
      (bytes, start, end) => this.#read(bytes, start, end),
      (error) => this.#end(error),
    );
    // Any byte is a sign of life, also of a message that is long in coming.
    this.#socket.on('data', this.#hear);
    this.#socket.on('data', (chunk: Buffer) => this.#restWhenBusy(chunk));
    await client.query(startSql(this.#input, from));
  }
}
