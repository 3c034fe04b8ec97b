import type { ReadStream } from 'node:tty';

export interface Typed {
  /** What stands in the line so far. */
  readonly text: string;
  /** Lines that were finished, without their end. */
  readonly lines: readonly string[];
  /** Ctrl-C was typed. */
  readonly interrupted: boolean;
}

const longestLine = 40;

/** What keys make of a line that holds `text`. Escape sequences and what is no printable ASCII character are left out. */
export function typeKeys(text: string, keys: string): Typed {
  let line = text;
  const lines: string[] = [];
  // oxlint-disable-next-line no-control-regex -- arrow keys and their kin begin with an escape
  for (const key of keys.replace(/\u001b(?:\[[0-9;]*[ -/]*[@-~]|O.|.)?/g, '')) {
    const code = key.charCodeAt(0);
    if (code === 3) return { text: '', lines, interrupted: true };
    if (key === '\r' || key === '\n') {
      lines.push(line);
      line = '';
    } else if (code === 8 || code === 127) line = line.slice(0, -1);
    else if (code === 21) line = '';
    else if (code >= 32 && code < 127 && line.length < longestLine) line += key;
  }
  return { text: line, lines, interrupted: false };
}

export interface KeyboardListener {
  onTyping(text: string): void;
  onLine(line: string): void;
}

/**
 * Reads lines from a terminal whose screen is redrawn all the time: raw, so that the display shows what was typed and
 * not the terminal. Ctrl-C stays the signal it is. Open → closed; the terminal is itself again afterwards, however the
 * process ends.
 */
export class Keyboard {
  readonly #input: ReadStream;
  readonly #listener: KeyboardListener;
  readonly #restore = (): void => void this.#input.setRawMode(false);
  readonly #take = (keys: string): void => this.#type(keys);
  #text = '';
  #closed = false;

  constructor(input: ReadStream, listener: KeyboardListener) {
    this.#input = input;
    this.#listener = listener;
    process.on('exit', this.#restore);
    input.setRawMode(true);
    input.setEncoding('utf8');
    input.on('data', this.#take);
    input.resume();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#input.off('data', this.#take);
    this.#input.pause();
    this.#restore();
    process.off('exit', this.#restore);
  }

  #type(keys: string): void {
    const typed = typeKeys(this.#text, keys);
    this.#text = typed.text;
    if (typed.interrupted) {
      process.kill(process.pid, 'SIGINT');
      return;
    }
    for (const line of typed.lines) this.#listener.onLine(line);
    if (!this.#closed) this.#listener.onTyping(this.#text);
  }
}
