import type { SourceTable } from './catalogue.ts';
import { chooseFormat } from './format.ts';
import type { CopyFormat } from './format.ts';

/** A range of pages, [from, to), of one table; null copies the table whole. */
export interface PageRange {
  readonly from: number;
  /** null: to the table's end, whatever its length is by then. */
  readonly to: number | null;
}

/** One COPY: a table, or one ctid range of it. */
export interface CopyTask {
  readonly table: SourceTable;
  readonly format: CopyFormat;
  readonly range: PageRange | null;
  /** Estimated share of the table in bytes; orders the tasks and weighs progress. */
  readonly weight: number;
}

export interface PlanInput {
  readonly tables: readonly SourceTable[];
  readonly tableJobs: number;
  /** Bytes; null lets the plan decide. */
  readonly splitAbove: number | null;
  /** ctid ranges are read without scanning the whole table from 14 on. */
  readonly sourceMajor: number;
  /** Estimated seconds from the start of a table's copy to the end of its last index, by oid; left out, size alone orders the tables. */
  readonly paths?: ReadonlyMap<number, number>;
}

/** Below this a table costs as much in round trips as in bytes. */
const SMALLEST_WEIGHT = 8192;
/** A split costs FREEZE and a second snapshot of hint bits, so a piece has to be worth it. */
const SMALLEST_PIECE = 256 * 1024 * 1024;

/** How many pieces a table is cut into; 1 keeps it whole. */
export function piecesOf(table: SourceTable, input: PlanInput): number {
  if (input.sourceMajor < 14 || input.tableJobs < 2 || table.pages < 2 || table.extensionCondition !== null) return 1;
  if (input.splitAbove !== null) {
    if (table.sizeBytes <= input.splitAbove) return 1;
    return Math.min(
      input.tableJobs,
      table.pages,
      Math.max(2, Math.ceil(table.sizeBytes / Math.max(1, input.splitAbove))),
    );
  }
  // Asked first, since there may be thousands of tables and the sum below is made for each that comes so far.
  if (input.tableJobs < 4 || table.sizeBytes < 2 * SMALLEST_PIECE) return 1;
  // Alone on the critical path: copying it takes longer than all the rest spread over the other workers.
  const total = input.tables.reduce((sum, other) => sum + other.sizeBytes, 0);
  const fairShare = total / input.tableJobs;
  if (table.sizeBytes < 2 * fairShare) return 1;
  return Math.max(1, Math.min(input.tableJobs, Math.floor(table.sizeBytes / SMALLEST_PIECE)));
}

/**
 * Every table as one task or several, the longest critical path first: its copy and what is built after it, so that none starts when
 * the others have ended. Where no paths are known, the largest first.
 */
export function planTasks(input: PlanInput): CopyTask[] {
  const tasks: CopyTask[] = [];
  for (const table of input.tables) {
    const format = chooseFormat(table.columns);
    const pieces = piecesOf(table, input);
    const weight = Math.max(SMALLEST_WEIGHT, table.sizeBytes) / pieces;
    for (let piece = 0; piece < pieces; piece += 1) {
      const from = Math.floor((table.pages * piece) / pieces);
      const to = piece === pieces - 1 ? null : Math.floor((table.pages * (piece + 1)) / pieces);
      tasks.push({ table, format, range: pieces === 1 ? null : { from, to }, weight });
    }
  }
  const pathOf = ({ table }: CopyTask): number => input.paths?.get(table.oid) ?? 0;
  return tasks.toSorted((a, b) => pathOf(b) - pathOf(a) || b.weight - a.weight);
}

/** One sentence about what will be copied; `tables`: the tasks of each table. Pure. */
export function describeTasks(tables: readonly (readonly CopyTask[])[]): string {
  const binary = tables.filter((tasks) => tasks[0]?.format === 'binary').length;
  const split = tables.filter((tasks) => tasks.length > 1).length;
  const noun = tables.length === 1 ? 'table' : 'tables';
  const pieces = split > 0 ? `; ${split} split by ctid` : '';
  return `Copying ${tables.length} ${noun}, the longest first: ${binary} in binary, ${tables.length - binary} as text${pieces}.`;
}
