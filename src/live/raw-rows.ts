import type { TablePlan } from './apply-plan.ts';
import { unreadable } from './pgoutput.ts';
import type { RawRow } from './types.ts';

/**
 * Rows go from the stream to the target's statements in the bytes in which the source sent them, without a string for each value:
 * of everything the agent does, making those cost most [measured].
 */

const NULL = 0x6e;
const TEXT = 0x74;
const TAB = 0x09;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

const SMALLEST = 4 * 1024;

/** Bytes that grow at their end. */
class Bytes {
  #buffer: Buffer;
  #length = 0;
  /** Or of all bytes so far: 0x80 and above tells of something that is not ASCII. */
  #all = 0;

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

  /** Everything so far, which stays as it is: what comes next goes elsewhere. */
  take(): Buffer {
    const taken = this.#buffer.subarray(0, this.#length);
    this.#buffer = Buffer.allocUnsafeSlow(this.#buffer.length);
    this.#length = 0;
    this.#all = 0;
    return taken;
  }

  /** Everything so far, and begins anew in the same place. @throws PgsluiceError STREAM_UNREADABLE for what is not UTF-8. */
  takeText(): string {
    const ascii = this.#all < 0x80;
    const text = this.#buffer.toString(ascii ? 'latin1' : 'utf8', 0, this.#length);
    if (!ascii && text.includes('\uFFFD') && !Buffer.from(text).equals(this.#buffer.subarray(0, this.#length))) {
      throw unreadable('a value is not UTF-8');
    }
    this.#length = 0;
    this.#all = 0;
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
  read({ segment, at }: RawRow): Int32Array {
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
export function* rawCopyText(
  plan: TablePlan,
  from: readonly number[] | null,
  rows: readonly RawRow[],
): Generator<Buffer> {
  const at = positions(plan, from);
  const plain = plan.columns.map((column) => column.plain);
  const places = new Places();
  const bytes = new Bytes(PIECE + PIECE / 4);
  for (const row of rows) {
    const values = places.read(row);
    for (let column = 0; column < at.length; column += 1) {
      if (column > 0) bytes.byte(TAB);
      const position = 2 * (at[column] ?? 0);
      const start = values[position] ?? -1;
      const end = values[position + 1] ?? -1;
      if (start < 0) bytes.ascii('\\N');
      else if (plain[column] === true) bytes.plain(row.segment, start, end);
      else bytes.copied(row.segment, start, end);
    }
    bytes.byte(NEWLINE);
    if (bytes.length >= PIECE) yield bytes.take();
  }
  if (bytes.length > 0) yield bytes.take();
}

/**
 * The last row of each key, in the order in which keys came first. Keys are told apart by their text, as collapse.ts does. Pure.
 */
export function lastOfEachKey(
  plan: TablePlan,
  from: readonly number[] | null,
  key: readonly number[],
  rows: readonly RawRow[],
): RawRow[] {
  const at = positions(plan, from);
  const places = new Places();
  const last = new Map<string, RawRow>();
  for (const row of rows) {
    const values = places.read(row);
    let text = '';
    for (const column of key) {
      const position = 2 * (at[column] ?? 0);
      const start = values[position] ?? -1;
      const end = values[position + 1] ?? -1;
      // Bytes as they are: one character each, so that a length is enough to tell where a value ends.
      const value = start < 0 ? '-' : row.segment.toString('latin1', start, end);
      text = key.length === 1 ? value : `${text}${start < 0 ? '' : value.length}:${value}`;
    }
    last.set(text, row);
  }
  return [...last.values()];
}

/** Makes array literals of rows, one for each of the given columns of the plan. */
export class ColumnLiterals {
  readonly #columns: readonly { readonly position: number; readonly plain: boolean; readonly delimiter: string }[];
  readonly #literals: readonly Bytes[];
  readonly #places = new Places();

  constructor(plan: TablePlan, from: readonly number[] | null, columns: readonly number[]) {
    const at = positions(plan, from);
    this.#columns = columns.map((column) => ({
      position: at[column] ?? 0,
      plain: plan.columns[column]?.plain ?? false,
      delimiter: plan.columns[column]?.delimiter ?? ',',
    }));
    this.#literals = columns.map(() => new Bytes(SMALLEST));
  }

  /**
   * Of rows from `start` on, until there are `mostRows` or about `mostBytes`; one row at least.
   * @throws PgsluiceError STREAM_UNREADABLE for what is not UTF-8.
   */
  make(
    rows: readonly RawRow[],
    start: number,
    mostRows: number,
    mostBytes: number,
  ): { readonly end: number; readonly values: string[]; readonly bytes: number } {
    for (const literal of this.#literals) literal.ascii('{');
    let end = start;
    let bytes = 0;
    while (end < rows.length && end - start < mostRows && bytes < mostBytes) {
      const row = rows[end];
      if (row === undefined) break;
      const values = this.#places.read(row);
      bytes = 0;
      for (let index = 0; index < this.#columns.length; index += 1) {
        const column = this.#columns[index];
        const literal = this.#literals[index];
        if (column === undefined || literal === undefined) continue;
        if (end > start) literal.ascii(column.delimiter);
        const from = values[2 * column.position] ?? -1;
        const to = values[2 * column.position + 1] ?? -1;
        if (from < 0) literal.ascii('NULL');
        else if (column.plain) literal.plain(row.segment, from, to);
        else literal.quoted(row.segment, from, to);
        bytes += literal.length;
      }
      end += 1;
    }
    const values = this.#literals.map((literal) => {
      literal.ascii('}');
      return literal.takeText();
    });
    return { end, values, bytes };
  }
}
