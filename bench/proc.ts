import { readFile, readdir } from 'node:fs/promises';

/** Linux counts CPU time for programs in hundredths of a second, whatever the kernel was built with (man 7 time, USER_HZ). */
const ticksPerSecond = 100;

export interface ProcessStat {
  readonly pid: number;
  readonly parent: number;
  /** CPU seconds of the process itself. */
  readonly own: number;
  /** CPU seconds of its children that have ended and been waited for, and of theirs. */
  readonly reaped: number;
}

/** One line of /proc/<pid>/stat (man 5 proc); the command in it may hold blanks and brackets. */
export function parseStat(line: string): ProcessStat | null {
  const end = line.lastIndexOf(')');
  const fields = line.slice(end + 2).split(' ');
  const number = (index: number): number => Number(fields[index]);
  const pid = Number.parseInt(line, 10);
  if (end < 0 || !Number.isInteger(pid) || fields.length < 15) return null;
  return {
    pid,
    parent: number(1),
    own: (number(11) + number(12)) / ticksPerSecond,
    reaped: (number(13) + number(14)) / ticksPerSecond,
  };
}

/** All processes of the machine; empty where there is no /proc. */
export async function readProcesses(): Promise<ReadonlyMap<number, ProcessStat>> {
  const names = await readdir('/proc').catch(() => []);
  const lines = await Promise.all(
    names.filter((name) => /^\d+$/.test(name)).map((name) => readFile(`/proc/${name}/stat`, 'utf8').catch(() => '')),
  );
  const stats = lines.map(parseStat).filter((stat) => stat !== null);
  return new Map(stats.map((stat) => [stat.pid, stat]));
}

/** `root` and all that descend from it. */
export function treeOf(root: number, processes: ReadonlyMap<number, ProcessStat>): ProcessStat[] {
  const children = groupByParent(processes);
  const found: ProcessStat[] = [];
  const waiting = [root];
  for (let pid = waiting.pop(); pid !== undefined; pid = waiting.pop()) {
    const stat = processes.get(pid);
    if (stat === undefined) continue;
    found.push(stat);
    waiting.push(...(children.get(pid) ?? []));
  }
  return found;
}

function groupByParent(processes: ReadonlyMap<number, ProcessStat>): ReadonlyMap<number, number[]> {
  const children = new Map<number, number[]>();
  for (const { pid, parent } of processes.values()) {
    const list = children.get(parent);
    if (list === undefined) children.set(parent, [pid]);
    else list.push(pid);
  }
  return children;
}

/**
 * CPU seconds a server has used since its start. A postmaster waits for every backend that ends, so nothing is lost
 * between two readings. Null where there is no /proc.
 */
export async function serverCpu(postmaster: number): Promise<number | null> {
  const tree = treeOf(postmaster, await readProcesses());
  return tree.length === 0 ? null : tree.reduce((sum, { own, reaped }) => sum + own + reaped, 0);
}

/** CPU seconds of all children of this process that have ended, with theirs. Null where there is no /proc. */
export async function reapedCpu(): Promise<number | null> {
  const line = await readFile('/proc/self/stat', 'utf8').catch(() => '');
  return parseStat(line)?.reaped ?? null;
}

export interface Memory {
  /** Bytes in memory now. */
  readonly resident: number;
  /** Most bytes that were in memory at once since the process began (VmHWM). */
  readonly peak: number;
}

export function parseStatus(text: string): Memory | null {
  const kilobytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? NaN);
  const resident = kilobytes('VmRSS') * 1024;
  const peak = kilobytes('VmHWM') * 1024;
  return Number.isNaN(resident) || Number.isNaN(peak) ? null : { resident, peak };
}

/** Null for a process that has ended, and where there is no /proc. */
export async function readMemory(pid: number): Promise<Memory | null> {
  return parseStatus(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''));
}

/** CPU seconds that all programs of the machine together have used, of the first line of /proc/stat (man 5 proc); null for any other text. */
export function parseBusy(text: string): number | null {
  const match = /^cpu +(\d+) (\d+) (\d+) \d+ \d+ (\d+) (\d+)/.exec(text);
  if (match === null) return null;
  return match.slice(1).reduce((sum, ticks) => sum + Number(ticks), 0) / ticksPerSecond;
}

/** CPU seconds that programs other than the trees of `roots` have used since the machine started. Null where there is no /proc. */
export async function othersCpu(roots: readonly number[]): Promise<number | null> {
  const busy = parseBusy(await readFile('/proc/stat', 'utf8').catch(() => ''));
  if (busy === null) return null;
  const processes = await readProcesses();
  const own = new Map(roots.flatMap((root) => treeOf(root, processes)).map((stat) => [stat.pid, stat]));
  return [...own.values()].reduce((sum, stat) => sum - stat.own - stat.reaped, busy);
}
