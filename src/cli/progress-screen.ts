import type { JobEvent } from '../contract/event.ts';
import { BottomBlock } from './bottom-block.ts';
import type { Output } from './output.ts';
import { renderProgress } from './progress-render.ts';
import { reduceProgress, type ProgressState } from './progress-state.ts';
import { fit } from './text.ts';

/** One job's progress at the bottom of the terminal. */
export class ProgressScreen {
  readonly #output: Output;
  readonly #block: BottomBlock;
  #state: ProgressState;
  #prompt: string | null = null;

  constructor(output: Output, state: ProgressState) {
    this.#output = output;
    this.#state = state;
    this.#block = new BottomBlock(output, (width) => this.#lines(width));
  }

  update(event: JobEvent): void {
    this.#state = reduceProgress(this.#state, event);
    this.#block.update();
  }

  /** The last line of the block, where a person may type. */
  prompt(text: string | null): void {
    this.#prompt = text;
    this.#block.update();
  }

  /** One line above the block; it may hold colours, but nothing else that moves a cursor. */
  log(line: string): void {
    this.#block.log(line);
  }

  close(): void {
    this.#block.close();
  }

  #lines(width: number): string[] {
    const { rows, style } = this.#output;
    const height = Math.min(this.#state.state === 'cutting_over' ? 20 : 16, rows - 3);
    const lines = renderProgress(this.#state, width, { style, height, now: Date.now() });
    if (this.#prompt !== null) lines.push(style.bold(fit(this.#prompt, width)));
    return lines;
  }
}
