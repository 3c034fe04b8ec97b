import type { TablePlan } from './apply-plan.ts';
import { TupleReader, reading, unreadable } from './pgoutput.ts';
import type { RawRow, Relation, Tuple } from './types.ts';

/**
 * Rows go from the stream to the target's statements in the bytes in which the source sent them, without a string for each value:
 * of everything the agent does, making those cost most [measured].
 */

/** Rows by their places alone: an object for each of those that wait to be written would cost the heap most of its work [measured]. */
export class RawRows {
  readonly #segments: Buffer[] = [];
  readonly #at: number[] = [];

  get length(): number {
    return this.#at.length;
  }

  add({ segment, at }: Pick<RawRow, 'segment' | 'at'>): void {
    this.#segments.push(segment);
    this.#at.push(at);
  }

  /** @throws RangeError for a row that is not there. */
  segment(index: number): Buffer {
    const segment = this.#segments[index];
    if (segment === undefined) throw new RangeError(`there is no row ${index}`);
    return segment;
  }

  at(index: number): number {
    return this.#at[index] ?? 0;
  }

  /** The values of each row. @throws PgsluiceError STREAM_UNREADABLE. */
  *decoded(relation: Relation): Generator<Tuple> {
    let reader: TupleReader | null = null;
    for (let index = 0; index < this.length; index += 1) {
      const segment = this.segment(index);
      if (reader?.buffer !== segment) reader = new TupleReader(segment);
      const from = reader;
      yield reading(() => from.tupleAt(this.at(index), relation));
    }
  }
}

const NULL = 0x6e;
const TEXT = 0x74;
const TAB = 0x09;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ZERO = 0x30;
const NINE = 0x39;

/** Between the values of a text that `string_to_array` takes apart, and in place of NULL; see statements.ts. */
const SEPARATOR = 0x01;
const NOTHING = 0x02;

const SMALLEST = 4 * 1024;

/** Bytes that grow at their end. */
class Bytes {
  #buffer: Buffer;
  #length = 0;
  /** Or of all bytes so far: 0x80 and above tells of something that is not ASCII. */
  #all = 0;
  #separates = false;

  constructor(capacity: number) {
    this.#buffer = Buffer.allocUnsafeSlow(capacity);
  }

  get length(): number {
    return this.#length;
  }

  #room(bytes: number): Buffer {
    if (this.#length + bytes > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(this.#buffer.length * 2, this.#length + bytes));
      this.#buffer.copy(larger, 0, 0, this.#length);
      this.#buffer = larger;
    }
    return this.#buffer;
  }

  byte(value: number): void {
    const to = this.#room(1);
    to[this.#length++] = value;
  }

  /** Of a few characters: a call into the buffer's own writer would cost more. */
  ascii(text: string): void {
    const to = this.#room(text.length);
    for (let at = 0; at < text.length; at += 1) to[this.#length++] = text.charCodeAt(at);
  }

  plain(from: Buffer, start: number, end: number): void {
    const to = this.#room(end - start);
    let at = this.#length;
    let all = 0;
    for (let index = start; index < end; index += 1) {
      const byte = from[index] ?? 0;
      all |= byte;
      to[at++] = byte;
    }
    this.#all |= all;
    this.#length = at;
  }

  /** As a value of COPY's text format (PostgreSQL documentation, COPY, "Text Format"). */
  copied(from: Buffer, start: number, end: number): void {
    const to = this.#room(2 * (end - start));
    let at = this.#length;
    for (let index = start; index < end; index += 1) {
      const byte = from[index] ?? 0;
      if (byte === BACKSLASH || byte === TAB || byte === NEWLINE || byte === RETURN) {
        to[at++] = BACKSLASH;
        // n, r, t
        to[at++] = byte === BACKSLASH ? byte : byte === TAB ? 0x74 : byte === NEWLINE ? 0x6e : 0x72;
      } else to[at++] = byte;
    }
    this.#length = at;
  }

  /** As a quoted element of an array literal (documentation, 8.15.2). */
  quoted(from: Buffer, start: number, end: number): void {
    const to = this.#room(2 * (end - start) + 2);
    let at = this.#length;
    let all = 0;
    to[at++] = QUOTE;
    for (let index = start; index < end; index += 1) {
      const byte = from[index] ?? 0;
      all |= byte;
      if (byte === QUOTE || byte === BACKSLASH) to[at++] = BACKSLASH;
      to[at++] = byte;
    }
    to[at++] = QUOTE;
    this.#all |= all;
    this.#length = at;
  }

  /** As it is, for a text that is taken apart at {@link SEPARATOR}. */
  parted(from: Buffer, start: number, end: number): void {
    const to = this.#room(end - start);
    let at = this.#length;
    let all = 0;
    for (let index = start; index < end; index += 1) {
      const byte = from[index] ?? 0;
      if (byte <= NOTHING) this.#separates = true;
      all |= byte;
      to[at++] = byte;
    }
    this.#all |= all;
    this.#length = at;
  }

  /** True when a value holds what separates values. */
  get separates(): boolean {
    return this.#separates;
  }

  clear(): void {
    this.#length = 0;
    this.#all = 0;
    this.#separates = false;
  }

  /** Everything so far, which stays as it is: what comes next goes elsewhere. */
  take(): Buffer {
    const taken = this.#buffer.subarray(0, this.#length);
    this.#buffer = Buffer.allocUnsafeSlow(this.#buffer.length);
    this.clear();
    return taken;
  }

  /** Everything so far, and begins anew in the same place. @throws PgsluiceError STREAM_UNREADABLE for what is not UTF-8. */
  takeText(): string {
    const ascii = this.#all < 0x80;
    const text = this.#buffer.toString(ascii ? 'latin1' : 'utf8', 0, this.#length);
    if (!ascii && text.includes('\uFFFD') && !Buffer.from(text).equals(this.#buffer.subarray(0, this.#length))) {
      throw unreadable('a value is not UTF-8');
    }
    this.clear();
    return text;
  }
}

const uint32 = (from: Buffer, at: number): number =>
  (((from[at] ?? 0) << 24) | ((from[at + 1] ?? 0) << 16) | ((from[at + 2] ?? 0) << 8) | (from[at + 3] ?? 0)) >>> 0;

/**
 * Where the values of a row begin and end, by their position in the tuple: start and end at 2n and 2n + 1; start −1 for NULL. Used
 * again from row to row.
 */
class Places {
  #at = new Int32Array(0);

  /** The row was looked over when it was read, so its lengths fit its segment. */
  read(segment: Buffer, at: number): Int32Array {
    const count = ((segment[at] ?? 0) << 8) | (segment[at + 1] ?? 0);
    if (this.#at.length < 2 * count) this.#at = new Int32Array(2 * count);
    const places = this.#at;
    let next = at + 2;
    for (let column = 0; column < count; column += 1) {
      const kind = segment[next];
      if (kind === TEXT) {
        const start = next + 5;
        next = start + uint32(segment, next + 1);
        places[2 * column] = start;
        places[2 * column + 1] = next;
      } else if (kind === NULL) {
        places[2 * column] = -1;
        next += 1;
      } else throw unreadable('a row of bytes has a value that is not known');
    }
    return places;
  }
}

/** Position in the tuple of each column of the plan. */
const positions = (plan: TablePlan, from: readonly number[] | null): readonly number[] =>
  from ?? plan.columns.map((_, at) => at);

/** Bytes of one piece of COPY data. */
const PIECE = 128 * 1024;

/** Rows in COPY's text format, in pieces of about {@link PIECE} bytes. Pure. `from`: see RelationPlan. */
export function* rawCopyText(plan: TablePlan, from: readonly number[] | null, rows: RawRows): Generator<Buffer> {
  const at = positions(plan, from);
  const plain = plan.columns.map((column) => column.plain);
  const places = new Places();
  const bytes = new Bytes(PIECE + PIECE / 4);
  for (let index = 0; index < rows.length; index += 1) {
    const segment = rows.segment(index);
    const values = places.read(segment, rows.at(index));
    for (let column = 0; column < at.length; column += 1) {
      if (column > 0) bytes.byte(TAB);
      const position = 2 * (at[column] ?? 0);
      const start = values[position] ?? -1;
      const end = values[position + 1] ?? -1;
      if (start < 0) bytes.ascii('\\N');
      else if (plain[column] === true) bytes.plain(segment, start, end);
      else bytes.copied(segment, start, end);
    }
    bytes.byte(NEWLINE);
    if (bytes.length >= PIECE) yield bytes.take();
  }
  if (bytes.length > 0) yield bytes.take();
}

/** The number whose only text this is; −1 for any other text. A number needs no string to be told apart by. */
function numberOf(segment: Buffer, start: number, end: number): number {
  const length = end - start;
  if (length < 1 || length > 15 || (length > 1 && segment[start] === ZERO)) return -1;
  let value = 0;
  for (let at = start; at < end; at += 1) {
    const byte = segment[at] ?? 0;
    if (byte < ZERO || byte > NINE) return -1;
    value = value * 10 + (byte - ZERO);
  }
  return value;
}

/**
 * The last row of each key, in the order in which keys came first. Keys are told apart by their text, as collapse.ts does. Pure.
 */
export function lastOfEachKey(
  plan: TablePlan,
  from: readonly number[] | null,
  key: readonly number[],
  rows: RawRows,
): RawRows {
  const at = positions(plan, from);
  const places = new Places();
  const last = new Map<string | number, number>();
  for (let index = 0; index < rows.length; index += 1) {
    const segment = rows.segment(index);
    const values = places.read(segment, rows.at(index));
    let text: string | number = '';
    for (const column of key) {
      const position = 2 * (at[column] ?? 0);
      const start = values[position] ?? -1;
      const end = values[position + 1] ?? -1;
      if (key.length === 1) {
        text = start < 0 ? '-' : numberOf(segment, start, end);
        if (text !== -1) break;
      }
      // Bytes as they are: one character each, so that a length is enough to tell where a value ends.
      const value = start < 0 ? '-' : segment.toString('latin1', start, end);
      text = key.length === 1 ? value : `${text}${start < 0 ? '' : value.length}:${value}`;
    }
    last.set(text, index);
  }
  if (last.size === rows.length) return rows;
  const kept = new RawRows();
  for (const index of last.values()) kept.add({ segment: rows.segment(index), at: rows.at(index) });
  return kept;
}

interface LiteralColumn {
  readonly position: number;
  readonly plain: boolean;
  readonly delimiter: string;
  readonly parted: boolean;
}

/** Makes one text a column of many rows: an array literal, or for columns in `parted` the values with {@link SEPARATOR} between them. */
export class ColumnLiterals {
  readonly #columns: readonly LiteralColumn[];
  readonly #literals: readonly Bytes[];
  readonly #places = new Places();

  constructor(
    plan: TablePlan,
    from: readonly number[] | null,
    columns: readonly number[],
    parted: ReadonlySet<number> = new Set(),
  ) {
    const at = positions(plan, from);
    this.#columns = columns.map((column) => ({
      position: at[column] ?? 0,
      plain: plan.columns[column]?.plain ?? false,
      delimiter: plan.columns[column]?.delimiter ?? ',',
      parted: parted.has(column),
    }));
    this.#literals = columns.map(() => new Bytes(SMALLEST));
  }

  /**
   * Of rows from `start` on, until there are `mostRows` or about `mostBytes`; one row at least. null where values could not be told
   * apart: one holds what separates them, or there is only one, which may be empty.
   * @throws PgsluiceError STREAM_UNREADABLE for what is not UTF-8.
   */
  make(
    rows: RawRows,
    start: number,
    mostRows: number,
    mostBytes: number,
  ): { readonly end: number; readonly values: string[]; readonly bytes: number } | null {
    for (const [index, literal] of this.#literals.entries()) {
      literal.clear();
      if (this.#columns[index]?.parted === false) literal.ascii('{');
    }
    let end = start;
    let bytes = 0;
    while (end < rows.length && end - start < mostRows && bytes < mostBytes) {
      const segment = rows.segment(end);
      const values = this.#places.read(segment, rows.at(end));
      bytes = 0;
      for (let index = 0; index < this.#columns.length; index += 1) {
        const column = this.#columns[index];
        const literal = this.#literals[index];
        if (column === undefined || literal === undefined) continue;
        const from = values[2 * column.position] ?? -1;
        const to = values[2 * column.position + 1] ?? -1;
        if (column.parted) {
          if (end > start) literal.byte(SEPARATOR);
          if (from < 0) literal.byte(NOTHING);
          else literal.parted(segment, from, to);
        } else {
          if (end > start) literal.ascii(column.delimiter);
          if (from < 0) literal.ascii('NULL');
          else if (column.plain) literal.plain(segment, from, to);
          else literal.quoted(segment, from, to);
        }
        bytes += literal.length;
      }
      end += 1;
    }
    const some = this.#columns.some((column) => column.parted);
    if (some && (end - start === 1 || this.#literals.some((literal) => literal.separates))) return null;
    const values = this.#literals.map((literal, index) => {
      if (this.#columns[index]?.parted === false) literal.ascii('}');
      return literal.takeText();
    });
    return { end, values, bytes };
  }
}
