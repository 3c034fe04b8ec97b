/** Message types that are looked at on the way (PostgreSQL documentation, 55.7 "Message Formats"). */
const type = {
  copyData: 0x64,
  copyDone: 0x63,
  copyOut: 0x48,
  error: 0x45,
  query: 0x51,
  ready: 0x5a,
  terminate: 0x58,
} as const;
const HEADER_BYTES = 5;

/** What one `COPY … TO STDOUT` has delivered; both figures only grow. */
export interface CopyMeter {
  advance(bytes: number, rows: number): void;
  /** All rows were sent. */
  done(bytes: number, rows: number): void;
}

/**
 * Walks what a server sends, cut anywhere, by its message headers, and counts the rows of COPY: one CopyData message each
 * (PostgreSQL documentation, 55.2.6). Payloads are not touched.
 */
export class ServerWatch {
  #header: Buffer = Buffer.alloc(0);
  #remaining = 0;
  #meter: CopyMeter | null = null;
  #bytes = 0;
  #rows = 0;
  #owes = false;

  /** True from a question on until the server is ready for another one. */
  get owes(): boolean {
    return this.#owes;
  }

  /** The server was sent something that it has to answer. */
  asked(): void {
    this.#owes = true;
  }

  /** The COPY that was just asked for is counted by `meter`; null counts none. */
  expect(meter: CopyMeter | null): void {
    this.#meter = meter;
    this.#bytes = 0;
    this.#rows = 0;
  }

  /** @throws RangeError when a length is impossible, which means that the peer does not speak the protocol. */
  feed(chunk: Buffer): void {
    const before = this.#rows;
    let at = Math.min(this.#remaining, chunk.length);
    this.#remaining -= at;
    while (at < chunk.length) {
      if (this.#header.length > 0 || chunk.length - at < HEADER_BYTES) {
        const taken = chunk.subarray(at, at + HEADER_BYTES - this.#header.length);
        // A copy: the socket's buffer is used again.
        this.#header = Buffer.concat([this.#header, taken]);
        at += taken.length;
        if (this.#header.length < HEADER_BYTES) break;
        this.#begin(this.#header, 0);
        this.#header = Buffer.alloc(0);
      } else {
        this.#begin(chunk, at);
        at += HEADER_BYTES;
      }
      const body = Math.min(this.#remaining, chunk.length - at);
      this.#remaining -= body;
      at += body;
    }
    if (this.#rows !== before) this.#meter?.advance(this.#bytes, this.#rows);
  }

  #begin(data: Buffer, at: number): void {
    const length = data.readUInt32BE(at + 1);
    if (length < 4) throw new RangeError(`message of length ${length}`);
    this.#remaining = length - 4;
    const kind = data[at];
    if (kind === type.ready) this.#owes = false;
    if (this.#meter === null) return;
    if (kind === type.copyData) {
      this.#rows += 1;
      this.#bytes += length - 4;
    } else if (kind === type.copyDone) {
      this.#meter.done(this.#bytes, this.#rows);
      this.#meter = null;
    } else if (kind === type.error) this.#meter = null;
  }
}

/** What a client sends, in whole messages. */
export interface ClientMessages {
  /** Bytes to pass on. */
  readonly forward: Buffer;
  /** Texts of simple queries among them. */
  readonly queries: readonly string[];
  /** The client has said goodbye; nothing that follows is passed on, and not the goodbye itself. */
  readonly over: boolean;
}

/** Cuts what a libpq program sends into messages. They are short: it sends no data. */
export class ClientWatch {
  #rest: Buffer = Buffer.alloc(0);

  /** @throws RangeError when a length is impossible. */
  feed(chunk: Buffer): ClientMessages {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const queries: string[] = [];
    let at = 0;
    let over = false;
    while (data.length - at >= HEADER_BYTES) {
      const length = data.readUInt32BE(at + 1);
      if (length < 4) throw new RangeError(`message of length ${length}`);
      const end = at + 1 + length;
      if (data[at] === type.terminate) {
        over = true;
        break;
      }
      if (end > data.length) break;
      if (data[at] === type.query) queries.push(data.toString('utf8', at + HEADER_BYTES, end - 1));
      at = end;
    }
    this.#rest = over ? Buffer.alloc(0) : Buffer.from(data.subarray(at));
    return { forward: data.subarray(0, at), queries, over };
  }
}

const IDENT = String.raw`(?:"(?:[^"]|"")*"|[^\s".(),;]+)`;
const copyTable = new RegExp(String.raw`^COPY (${IDENT})\.(${IDENT})(?: \(.*\))? {1,2}TO stdout;$`, 's');
const copySelect = new RegExp(
  String.raw`^COPY \(SELECT ${IDENT}(?:, ${IDENT})* FROM (?:ONLY )?(${IDENT})\.(${IDENT}) .*\) TO stdout;$`,
  's',
);

function unquote(ident: string): string {
  return ident.startsWith('"') ? ident.slice(1, -1).replaceAll('""', '"') : ident;
}

/** The table whose rows pg_dump asks for with this statement; null for any other statement. Pure. */
export function copiedTable(sql: string): { readonly schema: string; readonly name: string } | null {
  if (!sql.startsWith('COPY ')) return null;
  const match = copyTable.exec(sql) ?? copySelect.exec(sql);
  const [, schema, name] = match ?? [];
  return schema === undefined || name === undefined ? null : { schema: unquote(schema), name: unquote(name) };
}
