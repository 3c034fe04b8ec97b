import { spawn } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { readMemory, readProcesses, reapedCpu, treeOf } from './proc.ts';

const sampleEveryMs = 50;
const ticksPerTree = 5;

export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export interface Measure {
  readonly seconds: number;
  /** CPU seconds of the program and all its children; null without /proc. */
  readonly cpu: number | null;
  /** Most bytes the program and its children had in memory at once, sampled; pages they share count once for each. */
  readonly treeBytes: number | null;
  /** Most bytes the program itself had in memory, as the kernel counted them. */
  readonly mainBytes: number | null;
}

/**
 * Runs programs one after the other as one measure; their output goes to `logFile`.
 * @throws Error with the end of the output when one of them fails.
 */
export async function measure(commands: readonly Command[], logFile: string, signal: AbortSignal): Promise<Measure> {
  const cpuBefore = await reapedCpu();
  const log = await open(logFile, 'w');
  const peaks = { tree: 0, main: 0 };
  const started = performance.now();
  try {
    for (const command of commands) await runOne(command, log.fd, logFile, peaks, signal);
  } finally {
    await log.close();
  }
  const seconds = (performance.now() - started) / 1000;
  const cpuAfter = await reapedCpu();
  return {
    seconds,
    cpu: cpuBefore === null || cpuAfter === null ? null : cpuAfter - cpuBefore,
    treeBytes: peaks.main === 0 ? null : Math.max(peaks.tree, peaks.main),
    mainBytes: peaks.main === 0 ? null : peaks.main,
  };
}

async function runOne(
  command: Command,
  log: number,
  logFile: string,
  peaks: { tree: number; main: number },
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const child = spawn(command.file, command.args, { env: { ...command.env }, stdio: ['ignore', log, log] });
  const stop = (): void => {
    child.kill('SIGTERM');
  };
  signal.addEventListener('abort', stop, { once: true });
  const sampling = new AbortController();
  const sampler = child.pid === undefined ? null : sample(child.pid, peaks, sampling.signal);
  try {
    const ended = await new Promise<number | NodeJS.Signals | null>((resolve, reject) => {
      child.once('error', reject).once('exit', (code, killedBy) => resolve(killedBy ?? code));
    });
    signal.throwIfAborted();
    if (ended !== 0) {
      const tail = (await readFile(logFile, 'utf8')).trim().split('\n').slice(-15).join('\n');
      throw new Error(`${command.file} ${command.args[0] ?? ''} ended with ${ended}:\n${tail}`);
    }
  } finally {
    signal.removeEventListener('abort', stop);
    sampling.abort();
    await sampler;
  }
}

/**
 * Raises `peaks` until it is stopped. The program itself is read often, because its peak can only be read while it
 * lives; the tree seldom, because looking for it costs CPU time that the measured programs want.
 */
async function sample(pid: number, peaks: { tree: number; main: number }, signal: AbortSignal): Promise<void> {
  for (let tick = 0; !signal.aborted; tick += 1) {
    const main = await readMemory(pid);
    peaks.main = Math.max(peaks.main, main?.peak ?? 0);
    if (tick % ticksPerTree === 0) {
      const tree = treeOf(pid, await readProcesses());
      const memories = await Promise.all(tree.map((stat) => readMemory(stat.pid)));
      peaks.tree = Math.max(
        peaks.tree,
        memories.reduce((sum, memory) => sum + (memory?.resident ?? 0), 0),
      );
    }
    await sleep(sampleEveryMs, undefined, { signal }).catch(() => undefined);
  }
}
