import { PgsluiceError } from '../errors.ts';

/** One entry of an archive's table of contents, as pg_dump wrote it (PostgreSQL source, pg_backup_archiver.c, ReadToc). */
export interface TocEntry {
  readonly dumpId: number;
  readonly classOid: number;
  readonly oid: number;
  readonly name: string;
  /** pg_dump's word: TABLE DATA, SEQUENCE SET, BLOBS … */
  readonly type: string;
  readonly schema: string | null;
  /** '' where it has none. */
  readonly owner: string;
  /** SQL that makes it; '' for data. */
  readonly definition: string;
  /** `COPY … FROM stdin;` with its line break; '' where the rows are INSERT commands, and for what is no table. */
  readonly copyStatement: string;
  readonly hasData: boolean;
  readonly dependencies: readonly number[];
  /** Name of its file in a directory; null for a custom-format file. */
  readonly file: string | null;
  /** Where its data begins in a custom-format file; null: unknown, or it has none. */
  readonly offset: number | null;
}

export interface TocHeader {
  /** Of the archive's format, for instance `1.14`. */
  readonly format: string;
  readonly database: string;
  /** As the dumped server named itself, for instance `15.18 (Debian 15.18-0+deb12u1)`. */
  readonly serverVersion: string;
  readonly dumpVersion: string;
  /** The server's local time, no zone: `2026-11-21 16:40:21`. */
  readonly createdAt: string;
}

export interface Toc extends TocHeader {
  readonly entries: readonly TocEntry[];
}

/** Thrown by the reader when the bytes end before the contents do. */
export class TocEndError extends Error {
  override readonly name = 'TocEndError';
}

export const tocMagic = 'PGDMP';
/** Minor numbers of the format 1.x that are understood here: PostgreSQL 9.0 to 18. */
const OLDEST_FORMAT = 12;
const NEWEST_FORMAT = 16;
/** No string or list of a real archive is longer; what claims to be is damaged. */
const LONGEST = 1024 * 1024 * 1024;

function damaged(what: string): PgsluiceError {
  return new PgsluiceError({
    code: 'ARCHIVE_UNREADABLE',
    message: `The archive's table of contents is damaged: ${what}.`,
    hint: 'Take the archive from its origin again; if it is damaged there too, make a new one.',
  });
}

class Reader {
  at = 0;
  intSize = 4;
  offsetSize = 8;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  take(length: number): Buffer {
    if (length > LONGEST) throw damaged(`a part of it claims to have ${length} bytes`);
    if (this.at + length > this.#bytes.length) throw new TocEndError('the table of contents goes on');
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }

  byte(): number {
    return this.take(1).readUInt8();
  }

  int(): number {
    const negative = this.byte() !== 0;
    const bytes = this.take(this.intSize);
    let value = 0;
    for (let at = bytes.length - 1; at >= 0; at -= 1) value = value * 256 + (bytes[at] ?? 0);
    return negative ? -value : value;
  }

  /** null as pg_dump writes it; text is in the archive's encoding. */
  bytes(): Buffer | null {
    const length = this.int();
    return length < 0 ? null : this.take(length);
  }

  /** @returns null unless the position was recorded. */
  offset(): number | null {
    const state = this.byte();
    const bytes = this.take(this.offsetSize);
    if (state < 1 || state > 3) throw damaged(`a position of data is marked ${state}`);
    let value = 0;
    for (let at = bytes.length - 1; at >= 0; at -= 1) value = value * 256 + (bytes[at] ?? 0);
    return state === 2 ? value : null;
  }
}

interface Head extends TocHeader {
  readonly minor: number;
  readonly custom: boolean;
}

function readHead(reader: Reader): Head {
  if (reader.take(tocMagic.length).toString('latin1') !== tocMagic) throw damaged('it does not begin as one');
  const [major, minor] = [reader.byte(), reader.byte()];
  reader.byte();
  if (major !== 1 || minor < OLDEST_FORMAT) throw damaged(`its format is ${major}.${minor}`);
  if (minor > NEWEST_FORMAT) {
    throw new PgsluiceError({
      code: 'ARCHIVE_TOO_NEW',
      message: `The archive has the format 1.${minor}, which came after PostgreSQL 18; this version of pgsluice reads up to 1.${NEWEST_FORMAT}.`,
      hint: 'Update pgsluice, or make the archive again with pg_dump 18 or older.',
    });
  }
  reader.intSize = reader.byte();
  reader.offsetSize = reader.byte();
  if (reader.intSize < 2 || reader.intSize > 8 || reader.offsetSize < 4 || reader.offsetSize > 8) {
    throw damaged(`it counts in ${reader.intSize} and ${reader.offsetSize} bytes`);
  }
  const format = reader.byte();
  if (minor >= 15) reader.byte();
  else reader.int();
  const [second, minute, hour, day, month, year] = Array.from({ length: 6 }, () => reader.int());
  reader.int();
  const two = (value: number | undefined): string => String(value ?? 0).padStart(2, '0');
  const text = (): string => reader.bytes()?.toString('utf8') ?? '';
  return {
    format: `1.${minor}`,
    minor,
    custom: format === 1,
    createdAt: `${(year ?? 0) + 1900}-${two((month ?? 0) + 1)}-${two(day)} ${two(hour)}:${two(minute)}:${two(second)}`,
    database: text(),
    serverVersion: text(),
    dumpVersion: text(),
  };
}

/** The head alone, which is enough to know who wrote the archive. @throws as `parseToc`. */
export function parseTocHeader(bytes: Buffer): TocHeader {
  const { format, database, serverVersion, dumpVersion, createdAt } = readHead(new Reader(bytes));
  return { format, database, serverVersion, dumpVersion, createdAt };
}

/**
 * Reads the table of contents at the beginning of a custom-format file, or of a directory's `toc.dat`. `decode` turns bytes of
 * the archive's encoding into text. Pure.
 * @throws TocEndError when `bytes` end before it does; PgsluiceError ARCHIVE_UNREADABLE for what no pg_dump writes,
 * ARCHIVE_TOO_NEW for a format that came later.
 */
export function parseToc(bytes: Buffer, decode: (bytes: Buffer) => string): Toc {
  const reader = new Reader(bytes);
  const head = readHead(reader);
  const text = (): string => {
    const raw = reader.bytes();
    return raw === null ? '' : decode(raw);
  };
  const count = reader.int();
  if (count < 0) throw damaged(`it claims to have ${count} entries`);
  const entries: TocEntry[] = [];
  for (let at = 0; at < count; at += 1) {
    const dumpId = reader.int();
    const hasData = reader.int() !== 0;
    const [classOid, oid] = [Number(text()), Number(text())];
    const [name, type] = [text(), text()];
    const section = reader.int();
    if (dumpId <= 0 || section < 1 || section > 4 || !Number.isInteger(classOid) || !Number.isInteger(oid)) {
      throw damaged(`entry ${at + 1} of ${count} makes no sense`);
    }
    const [definition, , copyStatement, schema] = [text(), text(), text(), text()];
    text();
    if (head.minor >= 14) text();
    if (head.minor >= 16) reader.int();
    const owner = text();
    text();
    const dependencies: number[] = [];
    for (let one = reader.bytes(); one !== null; one = reader.bytes())
      dependencies.push(Number(one.toString('latin1')));
    const file = head.custom ? null : reader.bytes();
    const offset = head.custom ? reader.offset() : null;
    entries.push({
      dumpId,
      classOid,
      oid,
      name,
      type,
      schema: schema === '' ? null : schema,
      owner,
      definition,
      copyStatement,
      hasData,
      dependencies,
      file: file === null || file.length === 0 ? null : file.toString('utf8'),
      offset,
    });
  }
  const { format, database, serverVersion, dumpVersion, createdAt } = head;
  return { format, database, serverVersion, dumpVersion, createdAt, entries };
}

/** Major of a version as servers and pg_dump name it: `15.18 (Debian …)`, `17beta1`, `9.6.24` → 9; 0 where there is none. */
export function majorOfVersion(text: string): number {
  return Number(/^(\d+)/.exec(text)?.[1] ?? 0);
}
