import { setTimeout as sleep } from 'node:timers/promises';
import type { Duplex } from 'node:stream';
import type pg from 'pg';
import type { PauseGate } from '../gate.ts';
import type { Session } from '../postgres/session.ts';
import { LONGEST_REST_MS } from '../valve.ts';
import { copyStatements, isSmall } from './copy-table.ts';
import type { CopyMode } from './copy-table.ts';
import type { CopyTask } from './plan.ts';
import type { Transferred } from './transfer.ts';

/** A table that takes part, bytes. What it holds passes through the agent's memory. */
const TABLE_BYTES = 64 * 1024;
/** All of a group, bytes as they are stored. */
const GROUP_BYTES = 512 * 1024;
/** Each is a lock on either server until the group's end. */
const GROUP_TABLES = 40;
/** Those without a row need no lock. */
const EMPTY_TABLES = 200;
/** What a group may come to in memory: compressed values are stored in a small part of it. */
const MEMORY_BYTES = 8 * 1024 * 1024;
/** So much is made room for at once, bytes. */
const ROOM_BYTES = 256 * 1024;

/** Tasks that are copied many at a time, and those that are copied alone, each in their order. Pure. */
export function groupTasks(
  tasks: readonly CopyTask[],
  mode: CopyMode,
): { readonly alone: readonly CopyTask[]; readonly groups: readonly (readonly CopyTask[])[] } {
  const alone: CopyTask[] = [];
  const filled: CopyTask[][] = [];
  const empty: CopyTask[][] = [];
  let bytes = 0;
  for (const task of tasks) {
    const size = task.table.sizeBytes;
    if (!isSmall(task, mode) || size > TABLE_BYTES) {
      alone.push(task);
      continue;
    }
    const groups = isEmpty(task) ? empty : filled;
    const open = groups.at(-1);
    const full =
      open === undefined ||
      (groups === empty ? open.length >= EMPTY_TABLES : open.length >= GROUP_TABLES || bytes + size > GROUP_BYTES);
    if (full) groups.push([task]);
    else open.push(task);
    if (groups === filled) bytes = full ? size : bytes + size;
  }
  return { alone, groups: [...filled, ...empty] };
}

/** Proven to hold no row: nothing has to be asked of either server. */
export function isEmpty(task: CopyTask): boolean {
  return task.table.empty === true;
}

/** The parts of a pg connection that are needed here. */
interface WireConnection {
  readonly stream: Duplex;
  query(text: string): void;
}

/** What is given to the driver as a query: it tells of every message that belongs to it. */
abstract class ManyCopies {
  readonly done: Promise<void>;
  /** Rows of each COPY that has ended, as the server counted them. */
  readonly rows: number[] = [];
  callback: (() => void) | undefined;
  protected readonly text: string;
  #resolve: () => void = () => undefined;
  #reject: (error: unknown) => void = () => undefined;

  constructor(statements: readonly string[]) {
    this.text = statements.join(';\n');
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Awaited later than it may fail; that is no unhandled rejection.
    this.done.catch(() => undefined);
  }

  abstract submit(connection: WireConnection): void;
  handleCommandComplete(message: { readonly text?: string }): void {
    this.rows.push(Number(/^COPY (\d+)/.exec(message.text ?? '')?.[1] ?? Number.NaN));
  }
  handleReadyForQuery(): void {
    this.#resolve();
  }
  handleError(error: unknown): void {
    this.#reject(error);
  }
}

class ManyOut extends ManyCopies {
  /** Payload of each COPY that has ended; not kept any more once it is too much. */
  readonly data: Buffer[] = [];
  bytes = 0;
  /** What has arrived of the COPY that runs, from `#from` to `#to`: the driver uses its own buffer again. */
  #room = Buffer.allocUnsafe(ROOM_BYTES);
  #from = 0;
  #to = 0;

  get tooMuch(): boolean {
    return this.bytes > MEMORY_BYTES;
  }

  override submit(connection: WireConnection): void {
    connection.query(this.text);
  }
  handleCopyData(message: { readonly chunk: Buffer }): void {
    const { chunk } = message;
    this.bytes += chunk.length;
    if (this.tooMuch) {
      this.data.splice(0);
      return;
    }
    if (this.#to + chunk.length > this.#room.length) this.#move(chunk.length);
    chunk.copy(this.#room, this.#to);
    this.#to += chunk.length;
  }
  override handleCommandComplete(message: { readonly text?: string }): void {
    super.handleCommandComplete(message);
    if (!this.tooMuch) this.data.push(this.#room.subarray(this.#from, this.#to));
    this.#from = this.#to;
  }

  /** Another room, with what this COPY has brought so far; what came before it stays where it is. */
  #move(more: number): void {
    const begun = this.#to - this.#from;
    const room = Buffer.allocUnsafe(Math.max(ROOM_BYTES, 2 * (begun + more)));
    this.#room.copy(room, 0, this.#from, this.#to);
    this.#room = room;
    this.#from = 0;
    this.#to = begun;
  }
}

/** Head of a message of the protocol (PostgreSQL documentation, 55.7 "Message Formats"). */
function head(type: 'd' | 'c', bytes: number): Buffer {
  const buffer = Buffer.allocUnsafe(5);
  buffer.write(type, 0, 'latin1');
  buffer.writeUInt32BE(4 + bytes, 1);
  return buffer;
}

class ManyIn extends ManyCopies {
  readonly #frames: Buffer;

  /** `data`: the rows of each, which go as one message: where rows end is no matter of messages (same, 55.2.6). */
  constructor(statements: readonly string[], data: readonly Buffer[]) {
    super(statements);
    this.#frames = Buffer.concat(
      data.flatMap((rows) => (rows.length === 0 ? [head('c', 0)] : [head('d', rows.length), rows, head('c', 0)])),
    );
  }

  /** The rows go behind the statements, unasked: what a failed COPY leaves unread the server passes over. */
  override submit(connection: WireConnection): void {
    connection.query(this.text);
    connection.stream.write(this.#frames);
  }
  handleCopyInResponse(): void {
    // Its rows are on their way.
  }
}

async function run(session: Session, copies: ManyCopies): Promise<void> {
  const submit: (query: { submit(connection: WireConnection): void }) => unknown = (
    session.client as pg.Client & { query(query: unknown): unknown }
  ).query.bind(session.client);
  submit(copies);
  try {
    await copies.done;
  } catch (error) {
    throw session.explain(error);
  }
}

export interface ReadGroup {
  readonly tasks: readonly CopyTask[];
  readonly data: readonly Buffer[];
  readonly rows: readonly number[];
}

/** Reads all tables of a group in one round trip, at the gate's pace. @throws PgsluiceError; the session is of no use then. */
export async function readTogether(
  source: Session,
  tasks: readonly CopyTask[],
  mode: CopyMode,
  gate: PauseGate,
  signal: AbortSignal,
): Promise<ReadGroup> {
  const out = new ManyOut(tasks.map((task) => copyStatements(task, mode).out));
  await run(source, out);
  for (let wait = gate.pace.spend(out.bytes); wait > 0; wait = gate.pace.spend(0))
    await sleep(Math.min(wait, LONGEST_REST_MS), undefined, { signal });
  if (out.tooMuch) throw new Error(`They came to ${out.bytes} bytes, more than is kept in memory.`);
  return { tasks, data: out.data, rows: out.rows };
}

/**
 * Stores what was read, in one transaction and one round trip: all of the tables or none.
 * @returns what became of each. @throws as readTogether, and where the two servers have counted different rows.
 */
export async function storeTogether(
  target: Session,
  group: ReadGroup,
  mode: CopyMode,
): Promise<Map<CopyTask, Transferred>> {
  const into = new ManyIn(
    group.tasks.map((task) => copyStatements(task, mode).into),
    group.data,
  );
  await run(target, into);
  return new Map(
    group.tasks.map((task, at) => {
      const rows = into.rows[at];
      if (rows === undefined || rows !== group.rows[at])
        throw new Error(
          `The source sent ${group.rows[at] ?? 'no'} rows of ${task.table.name}, the target stored ${rows ?? 'none'}.`,
        );
      return [task, { rows, bytes: group.data[at]?.length ?? 0 }] as const;
    }),
  );
}
