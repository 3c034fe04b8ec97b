import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { type BenchServers, giveWay, postmasterOf } from './servers.ts';

const exec = promisify(execFile);

/**
 * The source with a processor for itself, as if it stood on a machine of its own; all that is started from now on, and the target,
 * which gives way, on the others. False where there is one processor, or no taskset.
 */
export async function keepSourceApart({ source, target }: BenchServers): Promise<boolean> {
  const processors = availableParallelism();
  if (processors < 2) return false;
  const others = `1-${processors - 1}`;
  try {
    await pin(await postmasterOf(source), '0');
    await pin(await postmasterOf(target), others);
    await pin(process.pid, others);
  } catch {
    return false;
  }
  await giveWay(await postmasterOf(target));
  return true;
}

async function pin(pid: number, processors: string): Promise<void> {
  await exec('taskset', ['--all-tasks', '--cpu-list', '--pid', processors, String(pid)]);
}
