import type { ManifestSequence } from '../contract/manifest.ts';

const NEWLINE = 0x0a;
const IDENT = String.raw`("(?:[^"]|"")*"|[^\s".(),;']+)`;
const copyStatement = new RegExp(String.raw`^COPY ${IDENT}\.${IDENT}(?: \(.*\))? {1,2}FROM stdin;$`, 's');
const setval = /^SELECT pg_catalog\.setval\((E?)'((?:[^']|'')*)', (-?\d+), (true|false)\);$/s;
const qualifiedName = new RegExp(String.raw`^${IDENT}\.${IDENT}$`, 's');

export function unquoteIdent(ident: string): string {
  return ident.startsWith('"') ? ident.slice(1, -1).replaceAll('""', '"') : ident;
}

/** The table of `COPY a.b (c, d) FROM stdin;`; null where it is none. Pure. */
export function printedTable(statement: string): { schema: string; name: string } | null {
  const [, schema, name] = copyStatement.exec(statement) ?? [];
  return schema === undefined || name === undefined ? null : { schema: unquoteIdent(schema), name: unquoteIdent(name) };
}

export interface PrintedTable {
  readonly schema: string;
  readonly name: string;
  rows: number;
  /** Bytes of its rows as text. */
  bytes: number;
}

/**
 * Counts what pg_restore prints of an archive's data section, cut anywhere: the rows that follow each COPY, and what sequences are
 * set to. A row is a line, since COPY writes line breaks of values as escapes, and `\.` ends them (PostgreSQL documentation, COPY,
 * "Text Format").
 */
export class PrintedData {
  readonly tables = new Map<string, PrintedTable>();
  readonly sequences: ManifestSequence[] = [];
  #table: PrintedTable | null = null;
  /** The present line as far as it came in earlier pieces: its length, and its text where it may be looked at. */
  #lineBytes = 0;
  #line = '';
  /** Lines of a statement that goes on. */
  #statement = '';

  /** For the rows of one table alone, as a file of a directory has them: no statement comes before. */
  static ofRows(): PrintedData {
    const data = new PrintedData();
    data.#table = data.#begin('', '');
    return data;
  }

  /** Not in the middle of a table. */
  get whole(): boolean {
    return this.#table === null;
  }

  /** @throws RangeError when the text ends in the middle of a table. */
  end(): void {
    if (this.#table !== null) throw new RangeError(`the rows of ${this.#table.schema}.${this.#table.name} do not end`);
  }

  feed(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      const found = chunk.indexOf(NEWLINE, at);
      const end = found === -1 ? chunk.length : found;
      // Of a row it takes only the first bytes to see that it is none.
      if (this.#table === null || this.#lineBytes < 2) {
        this.#line += chunk.toString('latin1', at, this.#table === null ? end : Math.min(end, at + 3));
      }
      this.#lineBytes += end - at;
      at = end + 1;
      if (found !== -1) this.#endLine();
    }
  }

  #endLine(): void {
    const bytes = this.#lineBytes;
    const line = this.#line;
    this.#lineBytes = 0;
    this.#line = '';
    if (this.#table === null) this.#endTextLine(line);
    else if (bytes === 2 && line === '\\.') this.#table = null;
    else {
      this.#table.rows += 1;
      this.#table.bytes += bytes + 1;
    }
  }

  /** Names may hold line breaks, so a statement ends where it reads as a whole one. */
  #endTextLine(line: string): void {
    if (this.#statement === '' && !line.startsWith('COPY ') && !line.startsWith('SELECT pg_catalog.setval(')) return;
    this.#statement = this.#statement === '' ? line : `${this.#statement}\n${line}`;
    const statement = Buffer.from(this.#statement, 'latin1').toString('utf8');
    const table = printedTable(statement);
    if (table !== null) {
      this.#statement = '';
      this.#table = this.#begin(table.schema, table.name);
      return;
    }
    const [, escaped, literal, value, called] = setval.exec(statement) ?? [];
    if (literal === undefined || value === undefined) return;
    this.#statement = '';
    const quoted = escaped === 'E' ? literal.replaceAll('\\\\', '\\') : literal;
    const [, owner, sequence] = qualifiedName.exec(quoted.replaceAll("''", "'")) ?? [];
    if (owner === undefined || sequence === undefined) return;
    this.sequences.push({
      schema: unquoteIdent(owner),
      name: unquoteIdent(sequence),
      value,
      isCalled: called === 'true',
    });
  }

  #begin(schema: string, name: string): PrintedTable {
    const key = JSON.stringify([schema, name]);
    const table = this.tables.get(key) ?? { schema, name, rows: 0, bytes: 0 };
    this.tables.set(key, table);
    return table;
  }
}
