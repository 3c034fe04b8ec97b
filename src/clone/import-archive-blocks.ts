/** Thrown when the archive's output ends where rows were still to come, or rows that were asked for are not in it. */
export class BlockError extends Error {
  override readonly name = 'BlockError';
}

/** A line of `\.`: COPY writes a backslash of the data as two, so that no row can look like it. */
const END = Buffer.from('\n\\.\n');
const NEWLINE = Buffer.from('\n');

/**
 * Cuts what `pg_restore --data-only --file=-` prints into the rows of each table. Blocks are asked for in the order in which they
 * come; one that is not read to its end is passed over when the next is asked for.
 */
export class BlockReader {
  readonly #chunks: AsyncIterator<Buffer>;
  /** What was read and not given out; within a block it begins with the line break before the next row. */
  #rest: Buffer = NEWLINE;
  #inside = false;

  constructor(output: AsyncIterable<Buffer>) {
    this.#chunks = output[Symbol.asyncIterator]();
  }

  /**
   * The rows that follow `statement` (the table of contents' COPY statement), without the closing `\.`.
   * @throws BlockError when the output ends before.
   */
  async *block(statement: string): AsyncGenerator<Buffer> {
    await this.#leave();
    await this.#find(Buffer.from(`\n${statement}`));
    this.#inside = true;
    for (;;) {
      const at = this.#rest.indexOf(END);
      if (at >= 0) {
        const rows = this.#rest.subarray(1, at + 1);
        this.#rest = this.#rest.subarray(at + END.length - 1);
        this.#inside = false;
        if (rows.length > 0) yield rows;
        return;
      }
      const keep = END.length - 1;
      if (this.#rest.length > keep + 1) {
        const cut = this.#rest.length - keep;
        const rows = this.#rest.subarray(1, cut);
        // One byte more stays, so that what is left still begins one byte before the next row's first.
        this.#rest = this.#rest.subarray(cut - 1);
        yield rows;
      }
      await this.#more('in the middle of a table');
    }
  }

  /** Reads what is left, line by line. */
  async drain(onLine: (line: string) => void): Promise<void> {
    await this.#leave();
    let rest = this.#rest.toString('latin1');
    this.#rest = Buffer.alloc(0);
    for (;;) {
      const lines = rest.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) onLine(line);
      const next = await this.#chunks.next();
      if (next.done === true) break;
      rest += next.value.toString('latin1');
    }
    if (rest !== '') onLine(rest);
  }

  async #leave(): Promise<void> {
    while (this.#inside) {
      const at = this.#rest.indexOf(END);
      if (at >= 0) {
        this.#rest = this.#rest.subarray(at + END.length - 1);
        this.#inside = false;
        return;
      }
      this.#rest = this.#rest.subarray(Math.max(0, this.#rest.length - END.length + 1));
      await this.#more('in the middle of a table');
    }
  }

  async #find(mark: Buffer): Promise<void> {
    for (;;) {
      const at = this.#rest.indexOf(mark);
      if (at >= 0) {
        // The statement's own line break stays: a table without rows ends right behind it.
        this.#rest = this.#rest.subarray(at + mark.length - 1);
        return;
      }
      this.#rest = this.#rest.subarray(Math.max(0, this.#rest.length - mark.length + 1));
      await this.#more('before a table');
    }
  }

  async #more(where: string): Promise<void> {
    const next = await this.#chunks.next();
    if (next.done === true) throw new BlockError(`The archive's data ends ${where}.`);
    this.#rest = this.#rest.length === 0 ? next.value : Buffer.concat([this.#rest, next.value]);
  }
}

/** Rows of COPY text: one a line. */
export function countLines(rows: Buffer): number {
  let lines = 0;
  for (let at = rows.indexOf(10); at >= 0; at = rows.indexOf(10, at + 1)) lines += 1;
  return lines;
}
