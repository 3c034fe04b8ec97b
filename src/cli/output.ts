import type { ReadStream } from 'node:tty';
import { chooseStyle, type Style } from './style.ts';

/** The only way to the terminal. `out` is for what was asked for, `err` for what went wrong. */
export interface Output {
  out(text: string): void;
  err(text: string): void;
  /** stdout is a terminal that understands cursor movement. */
  readonly tty: boolean;
  /** stdin where a person can type into it, else null. */
  readonly input: ReadStream | null;
  readonly style: Style;
  readonly errStyle: Style;
  readonly columns: number;
  readonly rows: number;
  onResize(listener: () => void): () => void;
  /** True once the reader of our pipe has gone. */
  readonly closed: boolean;
  /** Resolves when everything written has been handed over. */
  flush(): Promise<void>;
}

export interface Streams {
  readonly stdin: ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
}

export function createOutput({ stdin, stdout, stderr }: Streams, env: NodeJS.ProcessEnv): Output {
  let closed = false;
  // `pgsluice logs | head` closes the pipe: that is an end, not an error.
  stdout.on('error', () => (closed = true));
  stderr.on('error', () => undefined);
  const tty = stdout.isTTY && env['TERM'] !== 'dumb';
  let waiting = '';
  let timer: NodeJS.Immediate | null = null;
  const write = (): void => {
    if (timer !== null) clearImmediate(timer);
    timer = null;
    const text = waiting;
    waiting = '';
    if (text !== '' && !closed) stdout.write(text);
  };
  process.once('exit', write);
  return {
    out: (text) => {
      waiting += text;
      // Events come hundreds at a time, and a file or pipe takes each write at once: that is time the copy waits for.
      if (tty) write();
      else timer ??= setImmediate(write);
    },
    err: (text) => {
      write();
      stderr.write(text);
    },
    tty,
    input: stdin.isTTY ? stdin : null,
    style: chooseStyle(stdout.isTTY, env),
    errStyle: chooseStyle(stderr.isTTY, env),
    get columns() {
      return stdout.columns > 0 ? stdout.columns : 80;
    },
    get rows() {
      return stdout.rows > 0 ? stdout.rows : 24;
    },
    onResize: (listener) => {
      stdout.on('resize', listener);
      return () => stdout.off('resize', listener);
    },
    get closed() {
      return closed;
    },
    flush: async () => {
      write();
      if (!closed) await new Promise<void>((resolve) => stdout.write('', () => resolve()));
      await new Promise<void>((resolve) => stderr.write('', () => resolve()));
    },
  };
}
