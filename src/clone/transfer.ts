import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';
import type { Duplex } from 'node:stream';
import type pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import type { PauseGate } from '../gate.ts';
import type { Session } from '../postgres/session.ts';
import { LONGEST_REST_MS, Valve } from '../valve.ts';
import { CopyFrameWalker } from './frame-walker.ts';
import type { CopyFormat } from './format.ts';

export interface TransferInput {
  readonly source: Session;
  readonly copyOut: string;
  readonly target: Session;
  readonly copyIn: string;
  readonly format: CopyFormat;
  readonly gate: PauseGate;
  /** Called for every piece that was handed to the target: bytes and rows so far. */
  readonly onProgress: (bytes: number, rows: number) => void;
}

export interface Transferred {
  /** Rows as both servers counted them; they are compared. */
  readonly rows: number;
  /** Bytes of COPY data that passed through the agent. */
  readonly bytes: number;
}

/** The side whose error ended a transfer; the other side's connection is of no use afterwards. */
export class TransferError extends Error {
  override readonly name = 'TransferError';
  readonly side: 'source' | 'target';
  constructor(side: 'source' | 'target', cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.side = side;
  }
}

/** The parts of a pg connection that the wire path needs; absent ones make it fall back to pg-copy-streams. */
interface WireConnection {
  readonly stream: Duplex;
  query(text: string): void;
  endCopyFrom(): void;
  sendCopyFail(message: string): void;
}

interface CommandComplete {
  readonly text?: string;
}

function rowsOf(message: CommandComplete): number {
  return Number(/^COPY (\d+)/.exec(message.text ?? '')?.[1] ?? Number.NaN);
}

/** Type bytes of the messages that may stand among a COPY's own (PostgreSQL documentation, 55.2.6 and 55.2.7). */
const message = {
  copyOutResponse: 0x48,
  copyDone: 0x63,
  notice: 0x4e,
  parameterStatus: 0x53,
  notification: 0x41,
} as const;

/** Bytes of a notice at most: what has not arrived whole is kept. */
const LONGEST_BETWEEN = 16 * 1024 * 1024;

/** `COPY … FROM STDIN` on the target: resolves `ready` when the server takes data, `done` when it has ended. */
class CopyIn {
  readonly ready: Promise<WireConnection>;
  readonly done: Promise<number>;
  readonly text: string;
  callback: (() => void) | undefined;
  #rows = Number.NaN;
  #readyResolve: (connection: WireConnection) => void = () => undefined;
  #doneResolve: (rows: number) => void = () => undefined;
  #fail: (error: unknown) => void = () => undefined;

  constructor(text: string) {
    this.text = text;
    let rejectReady: (error: unknown) => void = () => undefined;
    let rejectDone: (error: unknown) => void = () => undefined;
    this.ready = new Promise((resolve, reject) => {
      this.#readyResolve = resolve;
      rejectReady = reject;
    });
    this.done = new Promise((resolve, reject) => {
      this.#doneResolve = resolve;
      rejectDone = reject;
    });
    this.#fail = (error) => {
      rejectReady(error);
      rejectDone(error);
    };
    // Both are awaited later than they may fail; that is no unhandled rejection.
    this.ready.catch(() => undefined);
    this.done.catch(() => undefined);
  }

  submit(connection: WireConnection): void {
    connection.query(this.text);
  }
  handleCopyInResponse(connection: WireConnection): void {
    this.#readyResolve(connection);
  }
  handleCommandComplete(done: CommandComplete): void {
    this.#rows = rowsOf(done);
  }
  handleReadyForQuery(): void {
    this.#doneResolve(this.#rows);
  }
  handleError(error: unknown): void {
    this.#fail(error);
  }
}

interface OutSink {
  onChunk(chunk: Buffer): void;
}

/**
 * `COPY … TO STDOUT` on the source. Takes the socket's data away from the driver's parser while CopyData flows, and gives the
 * parser everything else: notices in between, and all that follows the data.
 */
class CopyOut {
  readonly done: Promise<number>;
  readonly walker = new CopyFrameWalker();
  readonly text: string;
  callback: (() => void) | undefined;
  readonly #sink: OutSink;
  #rows = Number.NaN;
  #stream: Duplex | null = null;
  #parse: ((chunk: Buffer) => void) | null = null;
  /** A message between the data that has not arrived whole. */
  #partial: Buffer | null = null;
  #resolve: (rows: number) => void = () => undefined;
  #reject: (error: unknown) => void = () => undefined;
  readonly #listener = (chunk: Buffer): void => {
    try {
      this.#take(chunk);
    } catch (error) {
      this.#detach(null);
      this.#reject(error);
    }
  };

  constructor(text: string, sink: OutSink) {
    this.text = text;
    this.#sink = sink;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.done.catch(() => undefined);
  }

  submit(connection: WireConnection): void {
    this.#stream = connection.stream;
    this.#parse = connection.stream.listeners('data')[0] as (chunk: Buffer) => void;
    connection.stream.removeListener('data', this.#parse);
    connection.stream.on('data', this.#listener);
    connection.query(this.text);
  }
  handleCommandComplete(done: CommandComplete): void {
    this.#rows = rowsOf(done);
  }
  handleReadyForQuery(): void {
    this.#resolve(this.#rows);
  }
  handleError(error: unknown): void {
    this.#detach(null);
    this.#reject(error);
  }

  #take(chunk: Buffer): void {
    let data: Buffer | null = chunk;
    if (this.#partial !== null) {
      data = Buffer.concat([this.#partial, chunk]);
      this.#partial = null;
    } else {
      data = this.#forward(data);
    }
    while (data !== null && data.length > 0) {
      if (data.length < 5) {
        this.#partial = data;
        return;
      }
      const type = data[0];
      const length = data.readUInt32BE(1);
      const end = 1 + length;
      const between =
        type === message.copyOutResponse ||
        type === message.notice ||
        type === message.parameterStatus ||
        type === message.notification;
      if (!between) {
        this.#detach(type === message.copyDone ? data.subarray(end) : data);
        return;
      }
      if (length < 4 || length > LONGEST_BETWEEN) throw new RangeError(`a message of length ${length} among the rows`);
      if (data.length < end) {
        this.#partial = data;
        return;
      }
      if (type !== message.copyOutResponse) this.#parse?.(data.subarray(0, end));
      data = this.#forward(data.subarray(end));
    }
  }

  #forward(data: Buffer): Buffer | null {
    const walked = this.walker.walk(data);
    for (const piece of walked.forward) this.#sink.onChunk(piece);
    return walked.rest;
  }

  #detach(unread: Buffer | null): void {
    if (this.#stream === null || this.#parse === null) return;
    const parse = this.#parse;
    this.#stream.removeListener('data', this.#listener);
    this.#stream.on('data', parse);
    this.#stream = null;
    this.#parse = null;
    if (unread !== null && unread.length > 0) parse(unread);
  }
}

function wireConnection(client: pg.Client): WireConnection | null {
  const { connection } = client as unknown as { connection?: Partial<WireConnection> };
  if (connection?.stream === undefined || typeof connection.endCopyFrom !== 'function') return null;
  return connection.stream.listeners('data').length === 1 ? (connection as WireConnection) : null;
}

type Submit = (query: { submit(connection: WireConnection): void }) => unknown;

function submitTo(client: pg.Client): Submit {
  return (client.query as unknown as Submit).bind(client);
}

/**
 * Streams one COPY from source to target. CopyData messages go from socket to socket as they are; the sockets' own buffers
 * are the only memory, since the source is not read while the target's socket is full.
 * After an error neither connection's state is known: the caller closes both.
 * @throws TransferError which names the side that failed; its cause is the driver's error.
 */
export async function transferCopy(input: TransferInput): Promise<Transferred> {
  const from = wireConnection(input.source.client);
  const to = wireConnection(input.target.client);
  return from === null || to === null ? streamTransfer(input) : wireTransfer(input, from);
}

async function wireTransfer(input: TransferInput, from: WireConnection): Promise<Transferred> {
  const copyIn = new CopyIn(input.copyIn);
  submitTo(input.target.client)(copyIn);
  const to = await copyIn.ready.catch((error: unknown) => Promise.reject(new TransferError('target', error)));

  const valve = new Valve(from.stream);
  let fed = false;
  // Until all rows were handed over, the target owes nothing but to take those that it was sent.
  input.target.owes(() => fed || valve.shutBy('full'));
  const releaseGate = input.gate.onChange((paused) => valve.set('paused', paused));
  // The job may have been paused while the sessions were opened.
  valve.set('paused', input.gate.paused);
  let dueTimer: NodeJS.Timeout | null = null;
  /** The rate may be changed meanwhile, hence in steps. */
  const untilDue = (wait: number): void => {
    valve.set('rate', wait > 0);
    dueTimer = wait > 0 ? setTimeout(() => untilDue(input.gate.pace.spend(0)), Math.min(wait, LONGEST_REST_MS)) : null;
  };
  const onDrain = (): void => valve.set('full', false);
  /** A binary stream ends with a trailer of its own, which is no row. */
  const trailer = input.format === 'binary' ? 1 : 0;
  const copyOut: CopyOut = new CopyOut(input.copyOut, {
    onChunk: (chunk) => {
      if (!to.stream.write(chunk) && !valve.shutBy('full')) {
        valve.set('full', true);
        to.stream.once('drain', onDrain);
      }
      const wait = input.gate.pace.spend(chunk.length);
      if (wait > 0 && !valve.shutBy('rate')) untilDue(wait);
      input.onProgress(copyOut.walker.bytes, Math.max(0, copyOut.walker.frames - trailer));
    },
  });
  submitTo(input.source.client)(copyOut);
  try {
    const sourceDone = copyOut.done.catch((error: unknown) => Promise.reject(new TransferError('source', error)));
    const targetFailed = copyIn.done.then(
      () => Promise.reject(new TransferError('target', new Error('The target ended the COPY before the source did.'))),
      (error: unknown) => Promise.reject(new TransferError('target', error)),
    );
    const sourceRows = await Promise.race([sourceDone, targetFailed]);
    to.endCopyFrom();
    fed = true;
    const targetRows = await copyIn.done.catch((error: unknown) => Promise.reject(new TransferError('target', error)));
    assertSameRows(sourceRows, targetRows);
    return { rows: targetRows, bytes: copyOut.walker.bytes };
  } finally {
    input.target.owes(null);
    releaseGate();
    if (dueTimer !== null) clearTimeout(dueTimer);
    to.stream.removeListener('drain', onDrain);
    // With the listener gone a paused socket would stay paused and hide the connection's end.
    from.stream.resume();
  }
}

/** CopyData, 'd', with room for its length (PostgreSQL documentation, 55.7 "Message Formats"). */
function copyDataHeader(length: number): Buffer {
  const header = Buffer.allocUnsafe(5);
  header.writeUInt8(0x64, 0);
  header.writeUInt32BE(length + 4, 1);
  return header;
}

/**
 * Feeds `COPY … FROM STDIN` from bytes that come from elsewhere, cut anywhere; they are asked for only while the target's socket
 * takes them. When they end in an error the COPY is ended by it as well. The session is of no use afterwards then.
 * @returns the rows that the target counted. @throws TransferError; its cause is the driver's error, or that of the bytes.
 */
export async function feedCopy(target: Session, copyIn: string, data: AsyncIterable<Buffer>): Promise<number> {
  if (wireConnection(target.client) === null) {
    target.owes(() => false);
    const writer = target.client.query(copyFrom(copyIn));
    await pipeline(data, writer)
      .catch((error: unknown) => Promise.reject(new TransferError('target', error)))
      .finally(() => target.owes(null));
    return writer.rowCount ?? Number.NaN;
  }
  const running = new CopyIn(copyIn);
  submitTo(target.client)(running);
  const to = await running.ready.catch((error: unknown) => Promise.reject(new TransferError('target', error)));
  const failure: { cause: unknown } | { cause: null } = { cause: null };
  const ended = running.done.then(
    () => undefined,
    (error: unknown) => {
      failure.cause = error;
    },
  );
  let fed = false;
  target.owes(() => fed || to.stream.writableNeedDrain);
  try {
    for await (const chunk of data) {
      if (failure.cause !== null) break;
      to.stream.write(copyDataHeader(chunk.length));
      if (!to.stream.write(chunk)) {
        const drained = new AbortController();
        await Promise.race([once(to.stream, 'drain', { signal: drained.signal }).catch(() => undefined), ended]);
        drained.abort();
      }
    }
  } catch (error) {
    to.sendCopyFail('the data could not be read to its end');
    fed = true;
    await ended;
    target.owes(null);
    throw new TransferError('source', error);
  }
  if (failure.cause === null) to.endCopyFrom();
  fed = true;
  return running.done
    .catch((error: unknown) => Promise.reject(new TransferError('target', error)))
    .finally(() => target.owes(null));
}

/** The same through pg-copy-streams: the reference, and the way out should the driver's connection ever look different. */
export async function streamTransfer(input: TransferInput): Promise<Transferred> {
  input.source.owes(() => false);
  input.target.owes(() => false);
  const reader = input.source.client.query(copyTo(input.copyOut));
  const writer = input.target.client.query(copyFrom(input.copyIn));
  let bytes = 0;
  let rows = 0;
  const ended = new AbortController();
  async function* meter(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      bytes += chunk.length;
      if (input.format === 'text') for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) rows += 1;
      input.onProgress(bytes, rows);
      await input.gate.wait();
      yield chunk;
      await input.gate.pace.take(chunk.length, ended.signal);
    }
  }
  let failed: TransferError | null = null;
  reader.once('error', (error) => (failed ??= new TransferError('source', error)));
  writer.once('error', (error) => (failed ??= new TransferError('target', error)));
  try {
    await pipeline(reader, meter, writer);
  } catch (error) {
    throw failed ?? new TransferError('source', error);
  } finally {
    ended.abort();
    input.source.owes(null);
    input.target.owes(null);
  }
  assertSameRows(reader.rowCount, writer.rowCount);
  return { rows: writer.rowCount ?? 0, bytes };
}

function assertSameRows(sourceRows: number | null, targetRows: number | null): void {
  if (sourceRows === targetRows && sourceRows !== null && !Number.isNaN(sourceRows)) return;
  throw new TransferError(
    'target',
    new Error(`The source sent ${sourceRows ?? 'no'} rows and the target stored ${targetRows ?? 'none'}.`),
  );
}
