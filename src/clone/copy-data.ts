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
import { groupTasks, isEmpty, readTogether, storeTogether } from './copy-together.ts';
import type { CopyTask } from './plan.ts';
import { copiedSentence } from './progress.ts';
import type { CopyProgress } from './progress.ts';
import type { SessionPool } from './session-pool.ts';
import type { Transferred } from './transfer.ts';

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
  /** The same for small tables that were committed together. */
  readonly onTablesDone: (tables: readonly SourceTable[]) => void;
}

/** `untouched`: no earlier attempt can have left anything in the table. */
async function copyWithRetry(
  context: CloneContext,
  runner: CopyRunner,
  task: CopyTask,
  untouched: boolean,
): Promise<void> {
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
            attempt === 0 && untouched ? runner.mode : { ...runner.mode, untouched: false },
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

/** Copies small tables in one transaction. False where that failed, for whatever reason: each is then copied by itself. */
async function copyGroup(context: CloneContext, runner: CopyRunner, group: readonly CopyTask[]): Promise<boolean> {
  const { mode } = runner;
  await context.gate.wait(context.signal);
  if (context.signal.aborted) return true;
  const meters = group.map((task) => runner.progress.begin(task.table.oid));
  const filled = group.filter((task) => !isEmpty(task));
  let moved: ReadonlyMap<CopyTask, Transferred> = new Map();
  try {
    if (filled.length > 0) {
      const read = await runner.snapshot.withSession(
        (source) => readTogether(source, filled, mode, context.gate, context.signal),
        filled.length,
      );
      moved = await runner.sessions.with((target) => storeTogether(target, read, mode));
    }
  } catch (error) {
    for (const meter of meters) meter.abandon();
    if (context.signal.aborted) return true;
    const why = error instanceof Error ? error.message : String(error);
    log(context, 'debug', `${group.length} small tables could not be copied together, so each is copied alone: ${why}`);
    return false;
  }
  for (const [at, task] of group.entries()) {
    const { bytes, rows } = moved.get(task) ?? { bytes: 0, rows: 0 };
    meters[at]?.commit(bytes, rows);
  }
  for (const task of group) log(context, 'info', copiedSentence(runner.progress.of(task.table.oid)));
  runner.onTablesDone(group.map((task) => task.table));
  return true;
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

  const copyOne = async (task: CopyTask, untouched: boolean): Promise<void> => {
    if (context.signal.aborted || failed.has(task.table.oid)) return;
    try {
      await copyWithRetry(context, runner, task, untouched);
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
  };
  const { alone, groups } = groupTasks(tasks, runner.mode);
  const runs = [
    ...alone.map((task) => queue.add(() => copyOne(task, true))),
    ...groups.map((group) =>
      queue.add(async () => {
        if (await copyGroup(context, runner, group)) return;
        // Whether its transaction came to anything is not asked: a table that may hold rows is emptied before its own COPY.
        for (const task of group) await copyOne(task, false);
      }),
    ),
  ];
  await Promise.all(runs);
  throwIfAborted(context.signal);
  return [...failed.values()];
}
