import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** Who a process is, precisely enough that a recycled process id is not mistaken for it. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Start time as the kernel gives it (ticks since boot); null where there is no /proc. */
  readonly processStart: string | null;
  readonly host: string;
  /** Within one scope (boot and process namespace) a process id means the same process to everybody. */
  readonly scope: string;
}

export function ownIdentity(): ProcessIdentity {
  return { pid: process.pid, processStart: processStart(process.pid), host: hostname(), scope: ownScope() };
}

function ownScope(): string {
  const boot = readText('/proc/sys/kernel/random/boot_id');
  let namespace = '';
  try {
    namespace = readlinkSync('/proc/self/ns/pid');
  } catch {
    namespace = '';
  }
  return [hostname(), boot?.trim() ?? '', namespace].join('/');
}

/** Field 22 of /proc/<pid>/stat (proc(5)); the command name in field 2 may hold blanks and parentheses. */
export function parseStartTime(stat: string): string | null {
  const afterName = stat.slice(stat.lastIndexOf(')') + 1).trim();
  return afterName.split(' ')[19] ?? null;
}

function processStart(pid: number): string | null {
  const stat = readText(`/proc/${pid}/stat`);
  return stat === null ? null : parseStartTime(stat);
}

/** Whether the process of that identity still runs; null when this process cannot tell (another host or namespace). */
export function isAlive(who: ProcessIdentity): boolean | null {
  if (who.scope !== ownScope()) return null;
  try {
    process.kill(who.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const start = processStart(who.pid);
  return start === null || who.processStart === null || start === who.processStart;
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
