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
import { CommitUnknownError, copyTask, fillsAlone, outcomeOf } from './copy-table.ts';
import type { CopyMode } from './copy-table.ts';
import type { CopyTask } from './plan.ts';
import { copiedSentence } from './progress.ts';
import type { CopyProgress } from './progress.ts';
import type { SessionPool } from './session-pool.ts';

export interface FailedTable {
  readonly table: SourceTable;
  readonly error: ErrorReport;
}

/** Attempts at one table, with the wait before each further one in ms. */
export const RETRY_AFTER_MS: readonly number[] = [500, 2000, 8000];

export interface CopyRunner {
  readonly snapshot: SourceSnapshot;
  readonly sessions: SessionPool;
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
          copyTask(
            source,
            target,
            task,
            attempt === 0 ? runner.mode : { ...runner.mode, untouched: false },
            context.gate,
            (bytes, rows) => meter.advance(bytes, rows),
          ),
        ),
      );
      meter.commit(moved.bytes, moved.rows);
      return;
    } catch (error) {
      throwIfAborted(context.signal);
      // A task that empties its table first is simply done again; for any other, rows could be stored twice.
      if (error instanceof CommitUnknownError && !fillsAlone(task, runner.mode)) {
        const outcome = await askOutcome(context, runner.sessions, error);
        if (outcome === 'committed') {
          meter.commit(error.transferred.bytes, error.transferred.rows);
          return;
        }
        if (outcome === null) {
          meter.abandon();
          throw unknownOutcome(name, error);
        }
      }
      meter.abandon();
      const wait = RETRY_AFTER_MS[attempt];
      const again = error instanceof CommitUnknownError || isTransient(error);
      if (wait === undefined || !again || !runner.snapshot.alive) throw error;
      const why = error instanceof Error ? error.message : String(error);
      log(context, 'warn', `Copy of ${name} was interrupted (${why}); trying this table again in ${wait / 1000} s.`);
      await sleep(wait, undefined, { signal: context.signal });
    }
  }
}

/** Asks until the transaction has ended, which is soon: its backend has lost its client. */
export async function askOutcome(
  context: Pick<CloneContext, 'signal'>,
  sessions: SessionPool,
  unknown: CommitUnknownError,
): Promise<'committed' | 'aborted' | null> {
  for (let attempt = 0; attempt < 20; attempt += 1) {
    await sleep(100 * (attempt + 1), undefined, { signal: context.signal });
    const outcome = await sessions.with((target) => outcomeOf(target, unknown)).catch(() => null);
    if (outcome !== null) return outcome;
  }
  return null;
}

export function unknownOutcome(name: string, cause: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'COMMIT_UNKNOWN',
    message: `The target ended the connection while it committed rows of ${name}, and cannot say any more whether they are stored.`,
    hint: 'Retry the job: it makes sure of that before it copies this table again.',
    retryable: true,
    cause,
  });
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
