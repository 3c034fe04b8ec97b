import { MESSAGE, TupleReader, isNewRow, reading, unreadable } from './pgoutput.ts';
import type { Change, RawRow, Relation, Tuple } from './types.ts';

/**
 * How the changes of a transaction are kept until it is handed out, in memory and on disk alike: as the source sent them, a
 * third of what they take when they are decoded. One record a change:
 *
 *     length of the rest, 32 bits · (sub)transaction, 32 bits · letter of the message · its body
 *
 * A record with the letter of a relation says which description is valid from there on: its body is an index, 32 bits.
 */
const HEADER_BYTES = 8;

const SMALLEST_CHUNK = 4 * 1024;
/** Small enough for the young generation of the heap, and for one string a chunk. */
const LARGEST_CHUNK = 64 * 1024;

/** Where records are appended. Chunks are shared by transactions that come one after the other, and written once. */
export class Arena {
  #chunk: Buffer = Buffer.alloc(0);
  #end = 0;

  get chunk(): Buffer {
    return this.#chunk;
  }

  /** Place for `bytes` in `chunk`, which may be another one than before. */
  reserve(bytes: number): number {
    if (this.#end + bytes > this.#chunk.length) {
      const next = Math.min(LARGEST_CHUNK, Math.max(SMALLEST_CHUNK, this.#chunk.length * 4));
      // Not from Node's pool: its pages would be held by whatever else lies in them.
      this.#chunk = Buffer.allocUnsafeSlow(Math.max(next, bytes));
      this.#end = 0;
    }
    const at = this.#end;
    this.#end += bytes;
    return at;
  }
}

/** The records of one transaction, in order. A record lies in one segment whole. */
export class RecordLog {
  readonly #arena: Arena;
  #whole: Buffer[] = [];
  #open: Buffer | null = null;
  #from = 0;
  #to = 0;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  /** Appends a change: the message from `from` to `end`, which comes after its letter and (sub)transaction. Answers the bytes it takes. */
  append(xid: number, letter: number, message: Buffer, from: number, end: number): number {
    const body = end - from;
    const bytes = HEADER_BYTES + 1 + body;
    const at = this.#reserve(bytes, xid, letter);
    message.copy(this.#arena.chunk, at, from, end);
    return bytes;
  }

  /** From here on the relation is described by the one with this index. */
  describe(index: number): number {
    const bytes = HEADER_BYTES + 5;
    const at = this.#reserve(bytes, 0, MESSAGE.relation);
    this.#arena.chunk.writeUInt32BE(index, at);
    return bytes;
  }

  #reserve(bytes: number, xid: number, letter: number): number {
    const at = this.#arena.reserve(bytes);
    const chunk = this.#arena.chunk;
    if (this.#open !== chunk || this.#to !== at) {
      this.#close();
      this.#open = chunk;
      this.#from = at;
    }
    this.#to = at + bytes;
    chunk.writeUInt32BE(bytes - 4, at);
    chunk.writeUInt32BE(xid, at + 4);
    chunk[at + HEADER_BYTES] = letter;
    return at + HEADER_BYTES + 1;
  }

  #close(): void {
    if (this.#open !== null) this.#whole.push(this.#open.subarray(this.#from, this.#to));
    this.#open = null;
  }

  /** Segments that no record will be added to, taken away; those that grow still stay here. */
  takeWhole(): Buffer[] {
    const taken = this.#whole;
    this.#whole = [];
    return taken;
  }

  /** All segments, taken away. */
  takeAll(): Buffer[] {
    this.#close();
    return this.takeWhole();
  }
}

/** A row that is decoded when it is asked for; most never are. */
class NewRow implements RawRow {
  readonly relation: Relation;
  readonly key = null;
  readonly old = null;
  readonly at: number;
  readonly bytes: number;
  readonly #reader: TupleReader;

  /** The reader stands behind the row. */
  constructor(relation: Relation, reader: TupleReader, at: number) {
    this.relation = relation;
    this.#reader = reader;
    this.at = at;
    this.bytes = reader.at - at;
  }

  get segment(): Buffer {
    return this.#reader.buffer;
  }

  get raw(): RawRow {
    return this;
  }

  /** Decoded anew each time. @throws PgsluiceError STREAM_UNREADABLE. */
  get row(): Tuple {
    return reading(() => this.#reader.tupleAt(this.at, this.relation));
  }
}

class InsertedRow extends NewRow {
  readonly kind = 'insert';
}

class UpdatedRow extends NewRow {
  readonly kind = 'update';
}

/** Turns the records of one transaction into changes, segment by segment and in order. */
export class RecordReader {
  readonly #relations: readonly Relation[];
  readonly #dropped: ReadonlySet<number>;
  readonly #valid = new Map<number, Relation>();

  /** `relations`: what descriptions point into; `dropped`: subtransactions that were rolled back. */
  constructor(relations: readonly Relation[], dropped: ReadonlySet<number>) {
    this.#relations = relations;
    this.#dropped = dropped;
  }

  /** Decodes a segment, `most` changes at a time. @throws PgsluiceError STREAM_UNREADABLE. */
  *read(segment: Buffer, most: number): Generator<Change[]> {
    const reader = new TupleReader(segment);
    while (reader.at < segment.length) {
      const changes = reading(() => this.#some(reader, segment.length, most));
      if (changes.length > 0) yield changes;
    }
  }

  #some(reader: TupleReader, length: number, most: number): Change[] {
    const changes: Change[] = [];
    while (reader.at < length && changes.length < most) {
      const end = reader.uint32() + reader.at;
      if (end > length) throw unreadable('a record is longer than its segment');
      if (this.#dropped.has(reader.uint32())) {
        reader.at = end;
        continue;
      }
      const change = this.#change(reader);
      if (reader.at !== end) throw unreadable('a message is longer or shorter than what it holds');
      if (change !== null) changes.push(change);
    }
    return changes;
  }

  #change(reader: TupleReader): Change | null {
    const letter = reader.byte();
    switch (letter) {
      case MESSAGE.insert: {
        const relation = this.#relation(reader.uint32());
        if (!isNewRow(reader.byte())) throw unreadable('an insert has no new row');
        const { at } = reader;
        if (reader.skim(relation)) return new InsertedRow(relation, reader, at);
        reader.at = at;
        return { kind: 'insert', relation, row: reader.tuple(relation) };
      }
      case MESSAGE.update: {
        const relation = this.#relation(reader.uint32());
        const first = reader.byte();
        if (isNewRow(first)) {
          const { at } = reader;
          if (reader.skim(relation)) return new UpdatedRow(relation, reader, at);
          reader.at = at;
          return { kind: 'update', relation, key: null, old: null, row: reader.tuple(relation) };
        }
        const { key, old } = reader.before(relation, first);
        return { kind: 'update', relation, key, old, row: reader.after(relation, reader.byte()) };
      }
      case MESSAGE.delete: {
        const relation = this.#relation(reader.uint32());
        const { key, old } = reader.before(relation, reader.byte());
        return { kind: 'delete', relation, key, old };
      }
      case MESSAGE.truncate: {
        const count = reader.uint32();
        const flags = reader.byte();
        const relations: Relation[] = [];
        for (let index = 0; index < count; index++) relations.push(this.#relation(reader.uint32()));
        return { kind: 'truncate', relations, cascade: (flags & 1) !== 0, restartIdentity: (flags & 2) !== 0 };
      }
      case MESSAGE.relation: {
        const relation = this.#relations[reader.uint32()];
        if (relation === undefined) throw unreadable('a relation is not described');
        this.#valid.set(relation.oid, relation);
        return null;
      }
      default:
        throw unreadable(`${letter} is no letter of a change`);
    }
  }

  #relation(oid: number): Relation {
    const relation = this.#valid.get(oid);
    if (relation === undefined) throw unreadable(`relation ${oid} is not described`);
    return relation;
  }
}
