import type { JobEvent } from '../contract/event.ts';
import type { Output } from './output.ts';
import { renderProgress } from './progress-render.ts';
import { reduceProgress, type ProgressState } from './progress-state.ts';
import { fit, textWidth } from './text.ts';

const redrawEveryMs = 100;
const hideCursor = '\u001b[?25l';
const showCursor = '\u001b[?25h';
const clearBelow = '\u001b[J';
const clearRight = '\u001b[K';

/**
 * Keeps a block of progress lines at the bottom of the terminal; log lines scroll away above it. Open → closed. At most
 * ten redraws a second; the cursor comes back however the process ends.
 */
export class ProgressScreen {
  readonly #output: Output;
  readonly #timer: NodeJS.Timeout;
  readonly #offResize: () => void;
  readonly #restore = (): void => this.#output.out(showCursor);
  #state: ProgressState;
  #pending: string[] = [];
  #drawn: readonly string[] = [];
  #prompt: string | null = null;
  #dirty = true;
  #closed = false;

  constructor(output: Output, state: ProgressState) {
    this.#output = output;
    this.#state = state;
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

  update(event: JobEvent): void {
    this.#state = reduceProgress(this.#state, event);
    this.#dirty = true;
  }

  /** The last line of the block, where a person may type. */
  prompt(text: string | null): void {
    this.#prompt = text;
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
    const { columns, rows, style } = this.#output;
    const erase = this.#erase();
    const logs = this.#pending.map((line) => `${line}${clearRight}\n`).join('');
    const height = Math.min(this.#state.state === 'cutting_over' ? 20 : 16, rows - 3);
    const lines = renderProgress(this.#state, columns - 1, { style, height, now: Date.now() });
    if (this.#prompt !== null) lines.push(style.bold(fit(this.#prompt, columns - 1)));
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
