import { readFile } from 'node:fs/promises';

/** CPU time in one line of /proc/<pid>/stat, in ticks: fields 14 and 15 (proc(5)); null when it is something else. Pure. */
export function parseTicks(stat: string): number | null {
  // The command's name, field 2, may hold blanks and parentheses.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = Number(fields[11]) + Number(fields[12]);
  return Number.isNaN(ticks) ? null : ticks;
}

/** CPU time that a process has used so far, in ticks; null where the system does not say, or when it is gone. */
export async function processTicks(pid: number): Promise<number | null> {
  try {
    return parseTicks(await readFile(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return null;
  }
}
