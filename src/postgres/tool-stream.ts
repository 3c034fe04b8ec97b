import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { PassThrough } from 'node:stream';
import type { Readable } from 'node:stream';
import { throwIfAborted } from '../errors.ts';
import { toolFailed } from './tools.ts';

const MAX_STDERR = 64 * 1024;
const KILL_AFTER_MS = 3000;

/** A program whose output is read while it runs. */
export interface ToolStream {
  /** Ends when the program has written everything, and also when it failed or was stopped: only `ended` tells which. */
  readonly output: Readable;
  /** @throws PgsluiceError PG_TOOL_FAILED for any end but exit code 0, or the cancellation. */
  readonly ended: Promise<void>;
  /** Ends the program when it still runs; resolves when it is gone. */
  stop(): Promise<void>;
}

/**
 * Starts a program in a process group of its own. `signal` ends it as `stop` does: SIGINT, after 3 s SIGKILL.
 * `env` is all that it gets.
 */
export function streamTool(input: {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Record<string, string>;
  readonly signal: AbortSignal;
}): ToolStream {
  const { command, signal } = input;
  throwIfAborted(signal);
  const child = spawn(command, [...input.args], { env: input.env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  // When a program exits, Node reads to its end whatever nobody reads yet, and throws it away.
  const output = child.stdout.pipe(new PassThrough());
  let over = false;
  let stopped = false;
  let killTimer: NodeJS.Timeout | undefined;
  const kill = (name: NodeJS.Signals): void => {
    if (over || child.pid === undefined) return;
    try {
      process.kill(-child.pid, name);
    } catch (error) {
      // ESRCH: the group is gone already, which is what was wanted.
      if (!(error instanceof Error) || Reflect.get(error, 'code') !== 'ESRCH') child.kill(name);
    }
  };
  const end = (): void => {
    stopped = true;
    kill('SIGINT');
    killTimer ??= setTimeout(() => kill('SIGKILL'), KILL_AFTER_MS);
    // Unread output would keep the program, and its end, waiting: nobody may read any more, or somebody may still wait for a piece.
    child.stdout.unpipe(output);
    child.stdout.resume();
    output.end();
  };
  signal.addEventListener('abort', end, { once: true });
  let stderr = '';
  createInterface({ input: child.stderr, crlfDelay: Infinity }).on('line', (line) => {
    stderr = `${stderr}${line}\n`.slice(-MAX_STDERR);
  });
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', (error) => {
      if (child.pid === undefined) reject(toolFailed(command, `could not be started (${error.message})`, '', error));
    });
    child.once('close', (code, by) => {
      over = true;
      clearTimeout(killTimer);
      signal.removeEventListener('abort', end);
      if (code === 0 || stopped) resolve();
      else reject(toolFailed(command, by === null ? `ended with exit code ${code}` : `was ended by ${by}`, stderr));
    });
  }).then(() => throwIfAborted(signal));
  // Awaited later than it may fail; that is no unhandled rejection.
  ended.catch(() => undefined);
  return {
    output,
    ended,
    stop: async () => {
      if (!over) end();
      await ended.catch(() => undefined);
    },
  };
}
