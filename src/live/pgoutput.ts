import { PgsluiceError } from '../errors.ts';
import type { Lsn } from '../postgres/lsn.ts';
import { type Relation, type RelationColumn, type Tuple, UNCHANGED, type Value } from './types.ts';

/** First byte of a message (documentation, 55.9 "Logical Replication Message Formats"). */
export const MESSAGE = {
  begin: 0x42,
  commit: 0x43,
  origin: 0x4f,
  relation: 0x52,
  type: 0x59,
  insert: 0x49,
  update: 0x55,
  delete: 0x44,
  truncate: 0x54,
  message: 0x4d,
  streamStart: 0x53,
  streamStop: 0x45,
  streamCommit: 0x63,
  streamAbort: 0x41,
  beginPrepare: 0x62,
  prepare: 0x50,
  commitPrepared: 0x4b,
  rollbackPrepared: 0x72,
  streamPrepare: 0x70,
} as const;

const NEW = 0x4e;
const KEY = 0x4b;
const OLD = 0x4f;
const NULL = 0x6e;
const TOAST = 0x75;
const TEXT = 0x74;
const BINARY = 0x62;

/** The source sent something that cannot be understood; trying again would meet the same bytes. */
export function unreadable(what: string, cause?: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'STREAM_UNREADABLE',
    message: `The source's change stream cannot be read: ${what}.`,
    hint: 'Nothing of it was applied. Use method copy, and report this with the version of the source.',
    cause,
  });
}

/** Runs `work`; a message that ends too early is told as unreadable. @throws PgsluiceError STREAM_UNREADABLE. */
export function reading<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof RangeError ? unreadable('a message is too short', error) : error;
  }
}

export interface Commit {
  /** Of the commit record. */
  readonly commitLsn: Lsn;
  /** First byte after it. */
  readonly endLsn: Lsn;
  /** Source's clock, ms since 1970. */
  readonly committedAtMs: number;
}

/** 2000-01-01, PostgreSQL's epoch, in ms since 1970. */
const EPOCH_MS = 946_684_800_000;

/** µs since 2000 as ms since 1970. */
function readTime(message: Buffer, at: number): number {
  return (message.readInt32BE(at) * 4_294_967_296 + message.readUInt32BE(at + 4)) / 1000 + EPOCH_MS;
}

/** The transaction of a Begin message. */
export function readBegin(message: Buffer): number {
  return message.readUInt32BE(17);
}

/** Of a Commit message, or of a Stream Commit message when `at` is 5: one byte of flags comes first. */
export function readCommit(message: Buffer, at: number): Commit {
  return {
    commitLsn: message.readBigUInt64BE(at + 1),
    endLsn: message.readBigUInt64BE(at + 9),
    committedAtMs: readTime(message, at + 17),
  };
}

function isIdentity(letter: string): letter is Relation['identity'] {
  return letter === 'd' || letter === 'n' || letter === 'f' || letter === 'i';
}

/** Of a Relation message; `at` is where its OID stands: 1, or 5 inside of a streamed transaction. */
export function readRelation(message: Buffer, at: number): Relation {
  let next = at + 4;
  const text = (): string => {
    const end = message.indexOf(0, next);
    if (end < 0) throw unreadable('a name has no end');
    const name = message.toString('utf8', next, end);
    next = end + 1;
    return name;
  };
  const oid = message.readUInt32BE(at);
  // An empty name stands for pg_catalog (documentation, 55.9).
  const schema = text() || 'pg_catalog';
  const name = text();
  const identity = String.fromCharCode(message.readUInt8(next));
  if (!isIdentity(identity)) throw unreadable(`"${name}" has the unknown replica identity ${identity}`);
  const count = message.readUInt16BE(next + 1);
  next += 3;
  const columns: RelationColumn[] = [];
  for (let index = 0; index < count; index++) {
    const flags = message.readUInt8(next);
    next += 1;
    const column = text();
    columns.push({
      name: column,
      typeOid: message.readUInt32BE(next),
      typeModifier: message.readInt32BE(next + 4),
      key: (flags & 1) === 1,
    });
    next += 8;
  }
  return { oid, schema, name, identity, columns };
}

/** OIDs of a Truncate message; `at` is where their number stands: 1, or 5 inside of a streamed transaction. */
export function truncatedOids(message: Buffer, at: number): number[] {
  const oids: number[] = [];
  const count = message.readUInt32BE(at);
  for (let index = 0; index < count; index++) oids.push(message.readUInt32BE(at + 5 + 4 * index));
  return oids;
}

const unknownKind = (kind: number | undefined): PgsluiceError =>
  unreadable(
    kind === BINARY ? 'it is in binary form, which was not asked for' : `${kind ?? 'nothing'} is no kind of value`,
  );

/** Up to here a look at each byte and a piece of the whole's text are quicker than decoding the value alone [measured]. */
const SHORT = 40;
/** Of a larger buffer most is long values, which are decoded alone. */
const LARGEST_TEXT = 64 * 1024;

/**
 * Reads tuples out of one buffer that stays as it is. Values that are short and ASCII, which most are, become pieces of one string
 * for the whole buffer.
 */
export class TupleReader {
  readonly buffer: Buffer;
  #text: string | null = null;
  /** Where the next read begins. */
  at = 0;

  constructor(buffer: Buffer) {
    this.buffer = buffer;
  }

  byte(): number {
    const value = this.buffer[this.at++];
    if (value === undefined) throw unreadable('a message is too short');
    return value;
  }

  uint32(): number {
    const value = this.buffer.readUInt32BE(this.at);
    this.at += 4;
    return value;
  }

  #count(relation: Relation): number {
    const expected = relation.columns.length;
    const count = this.buffer.readUInt16BE(this.at);
    if (count === expected) return count;
    throw unreadable(`a row of "${relation.schema}"."${relation.name}" has ${count} values for ${expected} columns`);
  }

  /** Looks a row over without reading its values: true when all of them are known. Afterwards the next read begins behind it. */
  skim(relation: Relation): boolean {
    const { buffer } = this;
    const count = this.#count(relation);
    let at = this.at + 2;
    let whole = true;
    for (let column = 0; column < count; column++) {
      const kind = buffer[at++];
      if (kind === TEXT) {
        at += 4 + buffer.readUInt32BE(at);
        if (at > buffer.length) throw unreadable('a value is longer than its message');
      } else if (kind === TOAST) whole = false;
      else if (kind !== NULL) throw unknownKind(kind);
    }
    this.at = at;
    return whole;
  }

  tuple(relation: Relation): Tuple {
    const { buffer } = this;
    const count = this.#count(relation);
    let at = this.at + 2;
    const values: Value[] = [];
    for (let column = 0; column < count; column++) {
      const kind = buffer[at++];
      if (kind === TEXT) {
        const length = buffer.readUInt32BE(at);
        at += 4 + length;
        if (at > buffer.length) throw unreadable('a value is longer than its message');
        values.push(this.#value(at - length, at));
      } else if (kind === NULL) {
        values.push(null);
      } else if (kind === TOAST) {
        values.push(UNCHANGED);
      } else {
        throw unknownKind(kind);
      }
    }
    this.at = at;
    return values;
  }

  /** The tuple at another place; the next read begins where it would have. */
  tupleAt(at: number, relation: Relation): Tuple {
    const next = this.at;
    this.at = at;
    try {
      return this.tuple(relation);
    } finally {
      this.at = next;
    }
  }

  #value(from: number, to: number): string {
    const { buffer } = this;
    if (buffer.length <= LARGEST_TEXT && to - from <= SHORT) {
      let all = 0;
      for (let at = from; at < to; at++) all |= buffer[at] ?? 0;
      this.#text ??= buffer.toString('latin1');
      if (all < 0x80) return this.#text.substring(from, to);
    }
    const text = buffer.toString('utf8', from, to);
    // What is no UTF-8 would be replaced without a word. A server checks what it converts, not what was in UTF-8 already.
    if (text.includes('\uFFFD') && !Buffer.from(text).equals(buffer.subarray(from, to))) {
      throw unreadable('a value is not UTF-8');
    }
    return text;
  }

  /** Old values in front of a new row or alone: `key` of the identity's columns only, `old` the whole row. */
  before(relation: Relation, letter: number): { readonly key: Tuple | null; readonly old: Tuple | null } {
    if (letter === KEY) return { key: this.tuple(relation), old: null };
    if (letter === OLD) return { key: null, old: this.tuple(relation) };
    throw unreadable(`${letter} is no kind of row`);
  }

  /** A row whose letter is `letter`. */
  after(relation: Relation, letter: number): Tuple {
    if (letter !== NEW) throw unreadable(`${letter} is no kind of new row`);
    return this.tuple(relation);
  }
}

/** True for the letter of a new row. */
export function isNewRow(letter: number): boolean {
  return letter === NEW;
}
