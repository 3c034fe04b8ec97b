import { setTimeout as sleep } from 'node:timers/promises';
import PQueue from 'p-queue';
import type { ErrorReport } from '../errors.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { explainError, isTransient } from '../postgres/explain.ts';
import { qualified } from '../postgres/quote.ts';
import type { SourceSnapshot } from '../postgres/snapshot.ts';
import type { SourceTable } from './catalogue.ts';
import type { CloneContext } from './context.ts';
import { log } from './context.ts';
import { copyTask } from './copy-table.ts';
import type { CopyMode } from './copy-table.ts';
import type { CopyTask } from './plan.ts';
import { copiedSentence } from './progress.ts';
import type { CopyProgress } from './progress.ts';
import type { TargetSessions } from './target-sessions.ts';

export interface FailedTable {
  readonly table: SourceTable;
  readonly error: ErrorReport;
}

/** Attempts at one table, with the wait before each further one in ms. */
const RETRY_AFTER_MS = [500, 2000, 8000];

export interface CopyRunner {
  readonly snapshot: SourceSnapshot;
  readonly sessions: TargetSessions;
  readonly progress: CopyProgress;
  readonly mode: CopyMode;
  readonly jobs: number;
  /** Called as soon as a table's last piece is committed. */
  readonly onTableDone: (table: SourceTable) => void;
}

async function copyWithRetry(context: CloneContext, runner: CopyRunner, task: CopyTask): Promise<void> {
  const name = qualified(task.table.schema, task.table.name);
  for (let attempt = 0; ; attempt += 1) {
    await context.gate.wait(context.signal);
    throwIfAborted(context.signal);
    const meter = runner.progress.begin(task.table.oid);
    try {
      const moved = await runner.snapshot.withSession((source) =>
        runner.sessions.with((target) =>
          copyTask(source, target, task, runner.mode, context.gate, (bytes, rows) => meter.advance(bytes, rows)),
        ),
      );
      meter.commit(moved.bytes, moved.rows);
      return;
    } catch (error) {
      meter.abandon();
      throwIfAborted(context.signal);
      const wait = RETRY_AFTER_MS[attempt];
      if (wait === undefined || !isTransient(error) || !runner.snapshot.alive) throw error;
      const why = error instanceof Error ? error.message : String(error);
      log(context, 'warn', `Copy of ${name} was interrupted (${why}); trying this table again in ${wait / 1000} s.`);
      await sleep(wait, undefined, { signal: context.signal });
    }
  }
}

/**
 * Copies all tasks, largest first, several at once. A table that fails for good is named and the others go on.
 * @returns the tables that failed. @throws the cancellation.
 */
export async function copyData(
  context: CloneContext,
  runner: CopyRunner,
  tasks: readonly CopyTask[],
): Promise<FailedTable[]> {
  const queue = new PQueue({ concurrency: runner.jobs });
  const failed = new Map<number, FailedTable>();
  const piecesLeft = new Map<number, number>();
  for (const task of tasks) piecesLeft.set(task.table.oid, (piecesLeft.get(task.table.oid) ?? 0) + 1);

  const runs = tasks.map((task) =>
    queue.add(async () => {
      if (context.signal.aborted || failed.has(task.table.oid)) return;
      try {
        await copyWithRetry(context, runner, task);
      } catch (error) {
        if (context.signal.aborted) return;
        const explained = error instanceof PgsluiceError ? error : explainError(error, { side: 'target' });
        failed.set(task.table.oid, { table: task.table, error: explained.report() });
        runner.progress.fail(task.table.oid, explained.report());
        const name = qualified(task.table.schema, task.table.name);
        log(context, 'error', `Table ${name} was not copied: ${explained.message} ${explained.hint}`);
        return;
      }
      const left = (piecesLeft.get(task.table.oid) ?? 1) - 1;
      piecesLeft.set(task.table.oid, left);
      if (left > 0 || failed.has(task.table.oid)) return;
      log(context, 'info', copiedSentence(runner.progress.of(task.table.oid)));
      runner.onTableDone(task.table);
    }),
  );
  await Promise.all(runs);
  throwIfAborted(context.signal);
  return [...failed.values()];
}
