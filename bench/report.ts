import { mkdir, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Machine } from './machine.ts';
import { checkout } from './contest.ts';

let told: NodeJS.WriteStream = process.stdout;

/** From here on what is told goes to stderr: stdout is for the figures. */
export function tellElsewhere(): void {
  told = process.stderr;
}

export function print(text = ''): void {
  told.write(`${text}\n`);
}

/** Columns as wide as their widest cell; the first is a name, the others are numbers. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((cell, column) => Math.max(cell.length, ...rows.map((row) => (row[column] ?? '').length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  ')
      .trimEnd();
  return [line(head), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)].join('\n');
}

export const seconds = (value: number | null): string => (value === null ? 'n/a' : value.toFixed(1));
export const megabytes = (bytes: number | null): string => (bytes === null ? 'n/a' : `${Math.round(bytes / 1e6)} MB`);
export const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

export function printMachine(machine: Machine): void {
  print(`${machine.cpu}, ${machine.cores} cores, ${gigabytes(machine.memoryBytes)} memory, ${machine.system}`);
  print(`Node ${machine.node}; ${machine.servers}`);
  print(
    `Servers: ${Object.entries(machine.settings)
      .map(([name, value]) => `${name}=${value}`)
      .join(', ')}; all else default`,
  );
}

/** Where git does not look. */
export const resultsDir = (): string => join(checkout(), 'bench/results');

/** One file of figures, named by this moment; each call writes what is known by then, and answers the path from the checkout. */
export function resultFile(command: string): (result: object) => Promise<string> {
  const file = join(resultsDir(), `${new Date().toISOString().replaceAll(/[:.]/g, '-')}-${command}.json`);
  return async (result) => {
    await mkdir(resultsDir(), { recursive: true });
    await writeFile(file, `${JSON.stringify(result, null, 2)}\n`);
    return relative(checkout(), file);
  };
}

/** Writes the figures once; the path from the checkout. */
export const writeResult = (command: string, result: object): Promise<string> => resultFile(command)(result);
