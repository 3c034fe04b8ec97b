import type { Logger } from 'pino';
import { jobsWithOpenHooks } from '../store/hook-queries.ts';
import { findReport, type JobRow, saveReport } from '../store/job-queries.ts';
import type { Store } from '../store/store.ts';
import { JobHooks, hookTodo } from './hooks.ts';
import type { Sides } from './job-view.ts';
import type { JobWriter } from './job-writer.ts';
import type { RunEnvironment } from './run-environment.ts';

export interface HookSweepInput {
  readonly store: Store;
  readonly logger: Logger;
  readonly hooks: RunEnvironment['hooks'];
  readonly inHand: (id: string) => boolean;
  readonly inTurn: (id: string, work: () => Promise<void>) => Promise<void>;
  /** Takes an idle job for this agent; null when another one holds it. */
  readonly claim: (id: string) => Promise<JobRow | null>;
  /** The job with its hooks as they were given. */
  readonly opened: (row: JobRow) => JobRow;
  readonly sidesOf: (row: JobRow) => Sides;
  readonly writerFor: (row: JobRow) => JobWriter;
}

/** Calls the hooks of jobs that are over and whose agent ended before it had called them to their end. */
export async function sweepHooks(input: HookSweepInput, signal: AbortSignal): Promise<void> {
  const { store, logger, inHand, inTurn, claim } = input;
  for (const { id, moment } of await jobsWithOpenHooks(store.db)) {
    if (signal.aborted) return;
    if (inHand(id)) continue;
    await inTurn(id, async () => {
      const row = inHand(id) ? null : await claim(id);
      if (row === null || row.held || signal.aborted) return;
      await callAll(input, row, moment, signal);
    }).catch((error: unknown) => logger.warn({ job: id, err: error }, 'hooks of a job could not be called'));
  }
}

async function callAll(
  { store, hooks, opened, sidesOf, writerFor }: HookSweepInput,
  row: JobRow,
  moment: 'completed' | 'failed',
  signal: AbortSignal,
): Promise<void> {
  const writer = writerFor(row);
  try {
    await writer.patch({ held: true });
    const report = await findReport(store.db, row.id);
    const job = new JobHooks({
      ...hooks,
      db: store.db,
      row: opened(row),
      sides: sidesOf(row),
      signal,
      log: (level, message) => writer.say(level, message),
    });
    const failures = await job.run(moment, row.state, report);
    if (report !== null && failures.length > 0) {
      await saveReport(store.db, row.id, { ...report, todo: [...report.todo, ...hookTodo(failures)] });
    }
  } finally {
    await writer.patch({ held: false });
    await writer.close();
  }
}
