import type { Lsn } from '../postgres/lsn.ts';
import {
  type Commit,
  MESSAGE,
  readBegin,
  readCommit,
  readRelation,
  reading,
  truncatedOids,
  unreadable,
} from './pgoutput.ts';
import { Arena, RecordLog, RecordReader } from './records.ts';
import type { Spool, SpoolRoom } from './spool.ts';
import type { Change, Relation, Transaction } from './types.ts';

/** Changes in one piece of a transaction, at most. */
const PIECE_CHANGES = 2000;
/** Bytes of records in one piece, about. */
const PIECE_BYTES = 1024 * 1024;

/** A description and when it came, counted over the whole stream. */
interface Described {
  readonly relation: Relation;
  readonly at: number;
  /** The (sub)transaction it came with; 0 outside of streamed ones. */
  readonly xid: number;
}

/** What has come of a transaction that has not ended yet. */
class OpenTransaction {
  readonly xid: number;
  readonly streamed: boolean;
  readonly log: RecordLog;
  /** What descriptions in the log point into. */
  readonly relations: Relation[] = [];
  /** By OID: what the log says is valid. */
  readonly inLog = new Map<number, Relation>();
  /** By OID, oldest first; of streamed transactions only. */
  readonly described = new Map<number, Described[]>();
  readonly changesOf = new Map<number, number>();
  readonly dropped = new Set<number>();
  changes = 0;
  bytes = 0;
  spool: Spool | null = null;

  constructor(xid: number, streamed: boolean, arena: Arena) {
    this.xid = xid;
    this.streamed = streamed;
    this.log = new RecordLog(arena);
  }
}

/** A transaction whose commit has come. */
export class CommittedTransaction implements Transaction {
  readonly xid: number;
  readonly commitLsn: Lsn;
  readonly endLsn: Lsn;
  readonly committedAtMs: number;
  readonly changeCount: number;
  readonly bytes: number;
  readonly spool: Spool | null;
  readonly #relations: readonly Relation[];
  readonly #dropped: ReadonlySet<number>;
  readonly #segments: readonly Buffer[];

  constructor(open: OpenTransaction, commit: Commit) {
    this.xid = open.xid;
    this.commitLsn = commit.commitLsn;
    this.endLsn = commit.endLsn;
    this.committedAtMs = commit.committedAtMs;
    this.changeCount = open.changes;
    this.bytes = open.spool === null ? open.bytes : 0;
    this.spool = open.spool;
    this.#relations = open.relations;
    this.#dropped = open.dropped;
    this.#segments = open.spool === null ? open.log.takeAll() : [];
  }

  get inMemory(): boolean {
    return this.spool === null;
  }

  /** Made anew each time, and forgotten by the time the next piece is made: what lives long costs the heap most [measured]. */
  *held(): Generator<readonly Change[]> {
    const reader = new RecordReader(this.#relations, this.#dropped);
    for (const segment of this.#segments) yield* reader.read(segment, PIECE_CHANGES);
  }

  async *pieces(): AsyncGenerator<readonly Change[]> {
    if (this.spool === null) {
      yield* this.held();
      return;
    }
    const reader = new RecordReader(this.#relations, this.#dropped);
    let piece: Change[] = [];
    let bytes = 0;
    for await (const segment of this.spool.read()) {
      for (const some of reader.read(segment, PIECE_CHANGES)) {
        if (piece.length > 0 && piece.length + some.length > PIECE_CHANGES) {
          yield piece;
          piece = [];
          bytes = 0;
        }
        piece = piece.length === 0 ? some : piece.concat(some);
      }
      bytes += segment.length;
      if (bytes < PIECE_BYTES || piece.length === 0) continue;
      yield piece;
      piece = [];
      bytes = 0;
    }
    if (piece.length > 0) yield piece;
  }

  async release(): Promise<void> {
    await this.spool?.delete();
  }
}

export interface AssemblerInput {
  readonly spools: SpoolRoom;
  /** Bytes of changes above which a transaction goes to disk; all that are open together take at most twice as many in memory. */
  readonly spoolAboveBytes: number;
  /** Called in commit order, for transactions with changes. */
  onTransaction(transaction: CommittedTransaction): void;
  /** Everything that committed before `lsn` has been told. */
  onPosition(lsn: Lsn): void;
}

/**
 * Puts the stream's messages together to transactions. Whatever it keeps is copied out of the message at once: the driver uses
 * its buffers again.
 */
export class Assembler {
  readonly #input: AssemblerInput;
  readonly #arena = new Arena();
  /** Descriptions that hold outside of streamed transactions, by OID; the source sends each once. */
  readonly #relations = new Map<number, Described>();
  readonly #streamed = new Map<number, OpenTransaction>();
  /** Between Begin and Commit. */
  #contiguous: OpenTransaction | null = null;
  /** Between Stream Start and Stream Stop. */
  #block: OpenTransaction | null = null;
  #inMemory = 0;
  #told = 0;

  constructor(input: AssemblerInput) {
    this.#input = input;
  }

  /** True when all that has come belongs to transactions that were told of, or that commit later than everything so far. */
  get between(): boolean {
    return this.#contiguous === null && this.#block === null;
  }

  /** Bytes that transactions without an end take in memory. */
  get openBytes(): number {
    return this.#inMemory;
  }

  /** One message: `bytes` from `start` to `end`, which may be overwritten afterwards. @throws PgsluiceError STREAM_UNREADABLE. */
  accept(bytes: Buffer, start = 0, end = bytes.length): void {
    const letter = bytes[start] ?? 0;
    switch (letter) {
      case MESSAGE.insert:
      case MESSAGE.update:
      case MESSAGE.delete:
        this.#change(letter, bytes, start, end);
        return;
      default:
        reading(() => this.#accept(letter, bytes.subarray(start, end)));
    }
  }

  #accept(letter: number, message: Buffer): void {
    switch (letter) {
      case MESSAGE.truncate:
        this.#change(letter, message, 0, message.length);
        return;
      case MESSAGE.begin:
        if (!this.between) throw unreadable('a transaction begins inside of another one');
        this.#contiguous = new OpenTransaction(readBegin(message), false, this.#arena);
        return;
      case MESSAGE.commit: {
        const open = this.#contiguous;
        if (open === null) throw unreadable('a commit comes without its transaction');
        this.#contiguous = null;
        this.#commit(open, readCommit(message, 1));
        return;
      }
      case MESSAGE.relation:
        this.#describe(message);
        return;
      case MESSAGE.streamStart: {
        if (!this.between) throw unreadable('a streamed transaction goes on inside of another one');
        const xid = message.readUInt32BE(1);
        this.#block = this.#streamed.get(xid) ?? new OpenTransaction(xid, true, new Arena());
        this.#streamed.set(xid, this.#block);
        return;
      }
      case MESSAGE.streamStop:
        if (this.#block === null) throw unreadable('a streamed transaction stops that did not start');
        this.#block = null;
        return;
      case MESSAGE.streamCommit:
        this.#streamCommit(message);
        return;
      case MESSAGE.streamAbort:
        this.#streamAbort(message.readUInt32BE(1), message.readUInt32BE(5));
        return;
      case MESSAGE.origin:
      case MESSAGE.type:
      case MESSAGE.message:
        return;
      case MESSAGE.beginPrepare:
      case MESSAGE.prepare:
      case MESSAGE.commitPrepared:
      case MESSAGE.rollbackPrepared:
      case MESSAGE.streamPrepare:
        throw unreadable('it tells of prepared transactions ahead of their commit; the slot was made with two_phase');
      default:
        throw unreadable(`${letter} is no letter of a message`);
    }
  }

  /** Inside of a streamed transaction each message names its (sub)transaction in front of its body. */
  #change(letter: number, message: Buffer, start: number, end: number): void {
    const open = this.#block ?? this.#contiguous;
    if (open === null) throw unreadable('a change comes outside of a transaction');
    const body = start + (open.streamed ? 5 : 1);
    if (body + 4 > end) throw unreadable('a message is too short');
    const xid = open.streamed ? message.readUInt32BE(start + 1) : 0;
    let bytes = 0;
    if (letter === MESSAGE.truncate) {
      for (const oid of truncatedOids(message, body)) bytes += this.#valid(open, oid);
    } else {
      bytes = this.#valid(open, message.readUInt32BE(body));
    }
    bytes += open.log.append(xid, letter, message, body, end);
    open.bytes += bytes;
    open.changes += 1;
    if (open.streamed) open.changesOf.set(xid, (open.changesOf.get(xid) ?? 0) + 1);
    if (open.spool !== null) {
      open.spool.append(open.log.takeWhole());
      return;
    }
    this.#inMemory += bytes;
    if (open.bytes > this.#input.spoolAboveBytes) this.#toDisk(open);
    else if (this.#inMemory > 2 * this.#input.spoolAboveBytes) this.#largestToDisk();
  }

  /** Sees to it that the log says how the relation looks to this change. Answers the bytes it took. */
  #valid(open: OpenTransaction, oid: number): number {
    const known = open.described.get(oid)?.at(-1) ?? this.#relations.get(oid);
    if (known === undefined) throw unreadable(`relation ${oid} changes and is not described`);
    if (open.inLog.get(oid) === known.relation) return 0;
    open.inLog.set(oid, known.relation);
    open.relations.push(known.relation);
    return open.log.describe(open.relations.length - 1);
  }

  #toDisk(open: OpenTransaction): void {
    open.spool = this.#input.spools.create();
    this.#inMemory -= open.bytes;
    open.spool.append(open.log.takeAll());
  }

  #largestToDisk(): void {
    let largest: OpenTransaction | null = null;
    for (const open of [this.#contiguous, ...this.#streamed.values()]) {
      if (open?.spool === null && open.bytes > (largest?.bytes ?? 0)) largest = open;
    }
    if (largest !== null) this.#toDisk(largest);
  }

  /**
   * A description that comes inside of a streamed transaction holds for that one only, until it commits: then the source takes it
   * as known (pgoutput.c, cleanup_rel_sync_cache), unless it has sent a newer one meanwhile.
   */
  #describe(message: Buffer): void {
    this.#told += 1;
    const open = this.#block;
    if (open === null) {
      const relation = readRelation(message, 1);
      this.#relations.set(relation.oid, { relation, at: this.#told, xid: 0 });
      return;
    }
    const relation = readRelation(message, 5);
    const list = open.described.get(relation.oid) ?? [];
    list.push({ relation, at: this.#told, xid: message.readUInt32BE(1) });
    open.described.set(relation.oid, list);
  }

  #streamCommit(message: Buffer): void {
    if (!this.between) throw unreadable('a streamed transaction commits inside of another one');
    const xid = message.readUInt32BE(1);
    const open = this.#streamed.get(xid);
    if (open === undefined) throw unreadable(`transaction ${xid} commits and was never streamed`);
    this.#streamed.delete(xid);
    for (const [oid, list] of open.described) {
      const last = list.at(-1);
      if (last !== undefined && last.at > (this.#relations.get(oid)?.at ?? 0)) this.#relations.set(oid, last);
    }
    this.#commit(open, readCommit(message, 5));
  }

  #streamAbort(xid: number, sub: number): void {
    const open = this.#streamed.get(xid);
    if (open === undefined) return;
    if (sub === xid) {
      this.#streamed.delete(xid);
      this.#forget(open);
      return;
    }
    open.dropped.add(sub);
    open.changes -= open.changesOf.get(sub) ?? 0;
    open.changesOf.delete(sub);
    for (const [oid, list] of open.described) {
      open.described.set(
        oid,
        list.filter((one) => one.xid !== sub),
      );
    }
  }

  #commit(open: OpenTransaction, commit: Commit): void {
    if (open.changes === 0) {
      this.#forget(open);
      this.#input.onPosition(commit.endLsn);
      return;
    }
    if (open.spool === null) this.#inMemory -= open.bytes;
    else open.spool.append(open.log.takeAll());
    this.#input.onTransaction(new CommittedTransaction(open, commit));
  }

  #forget(open: OpenTransaction): void {
    if (open.spool === null) this.#inMemory -= open.bytes;
    else void open.spool.delete();
  }
}
