import type { Output } from './output.ts';
import { textWidth } from './text.ts';

const redrawEveryMs = 100;
const hideCursor = '\u001b[?25l';
const showCursor = '\u001b[?25h';
const clearBelow = '\u001b[J';
const clearRight = '\u001b[K';

/**
 * Keeps a block of lines at the bottom of the terminal; log lines scroll away above it. Open → closed. At most ten redraws a
 * second; the cursor comes back however the process ends.
 */
export class BottomBlock {
  readonly #output: Output;
  readonly #lines: (width: number) => string[];
  readonly #timer: NodeJS.Timeout;
  readonly #offResize: () => void;
  readonly #restore = (): void => this.#output.out(showCursor);
  #pending: string[] = [];
  #drawn: readonly string[] = [];
  #dirty = true;
  #closed = false;

  /** `lines` gives the block as it is now, no line wider than `width` columns. */
  constructor(output: Output, lines: (width: number) => string[]) {
    this.#output = output;
    this.#lines = lines;
    this.#offResize = output.onResize(() => {
      this.#dirty = true;
    });
    process.on('exit', this.#restore);
    output.out(hideCursor);
    // Redraws also tell how long something has been waiting, so they go on while nothing happens: once a second.
    let ticks = 0;
    this.#timer = setInterval(() => {
      ticks += 1;
      if (this.#dirty || ticks % 10 === 0) this.#draw();
    }, redrawEveryMs);
  }

  /** The block has changed. */
  update(): void {
    this.#dirty = true;
  }

  /** One line above the block; it may hold colours, but nothing else that moves a cursor. */
  log(line: string): void {
    if (this.#closed) {
      this.#output.out(`${line}\n`);
      return;
    }
    this.#pending.push(line);
    this.#dirty = true;
  }

  close(): void {
    if (this.#closed) return;
    clearInterval(this.#timer);
    this.#offResize();
    const pending = this.#pending.map((line) => `${line}\n`).join('');
    this.#output.out(`${this.#erase()}${pending}${showCursor}`);
    this.#drawn = [];
    this.#closed = true;
    process.off('exit', this.#restore);
  }

  #draw(): void {
    const erase = this.#erase();
    const logs = this.#pending.map((line) => `${line}${clearRight}\n`).join('');
    const lines = this.#lines(this.#output.columns - 1);
    this.#output.out(`${erase}${logs}${lines.map((line) => `${line}${clearRight}\n`).join('')}`);
    this.#pending = [];
    this.#drawn = lines;
    this.#dirty = false;
  }

  /** Back to the first line of the block, all below cleared; lines that a narrower terminal wrapped count as they stand. */
  #erase(): string {
    const { columns } = this.#output;
    const height = this.#drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(printedWidth(line) / columns)), 0);
    return height === 0 ? '' : `\r\u001b[${height}A${clearBelow}`;
  }
}

function printedWidth(line: string): number {
  // oxlint-disable-next-line no-control-regex -- our own colour sequences take no columns
  return textWidth(line.replace(/\u001b\[\d+m/g, ''));
}
