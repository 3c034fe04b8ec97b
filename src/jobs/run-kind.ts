import type { JobRow } from '../store/job-queries.ts';
import { bothOf, type Sides } from './job-view.ts';
import type { KeptMoment } from './run-archive-context.ts';
import { runExport } from './run-export.ts';
import { runImport } from './run-import.ts';
import { type HeldRun, type RunContext, type RunEnd, runJob } from './run-job.ts';

export interface KindInput {
  readonly row: Pick<JobRow, 'id' | 'kind' | 'archive'>;
  readonly sides: Sides;
  readonly context: Omit<RunContext, 'source' | 'target'>;
  readonly held: HeldRun | null;
}

function gentleSource({ source, target }: Sides): Sides {
  return { source: source === null ? null : { ...source, gentle: true }, target };
}

/** One run of a job of any kind. @throws what the run of that kind throws. */
export async function runKind(input: KindInput, showMoment: (moment: KeptMoment) => void): Promise<RunEnd> {
  const { row, context, held } = input;
  const sides = context.options.gentle === true ? gentleSource(input.sides) : input.sides;
  const { id, kind, archive } = row;
  if (kind === 'move') return await runJob({ ...context, ...bothOf(id, sides) }, held);
  const server = kind === 'export' ? sides.source : sides.target;
  if (server === null || archive === null) throw new RangeError(`job ${id} has no server or no archive`);
  const given = { ...context, kind, server, archive, showMoment };
  return kind === 'export' ? await runExport(given) : await runImport(given, held);
}
