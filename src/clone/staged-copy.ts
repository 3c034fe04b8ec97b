import { setTimeout as sleep } from 'node:timers/promises';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { explainError, isTransient } from '../postgres/explain.ts';
import { qualified } from '../postgres/quote.ts';
import type { SourceTable } from './catalogue.ts';
import type { CloneContext } from './context.ts';
import { log } from './context.ts';
import { RETRY_AFTER_MS, askOutcome, unknownOutcome } from './copy-data.ts';
import type { FailedTable } from './copy-data.ts';
import { CommitUnknownError, copyTask, fillsAlone } from './copy-table.ts';
import type { Beside, CopyMode } from './copy-table.ts';
import type { CopyTask } from './plan.ts';
import { copiedSentence } from './progress.ts';
import type { CopyMeter, CopyProgress } from './progress.ts';
import type { SessionPool } from './session-pool.ts';
import type { CopiedTable, LiveCopyContext } from './staged-types.ts';
import { openTableSnapshot } from './table-snapshot.ts';

/** Wait before a locked table is tried again, ms; other tables go on meanwhile. */
const LOCKED_AGAIN_MS = 500;
/** A wait that goes on is told anew after this, ms. */
const TELL_AGAIN_MS = 30_000;

export interface StagedCopyInput {
  readonly sources: SessionPool;
  readonly targets: SessionPool;
  readonly progress: CopyProgress;
  readonly record: LiveCopyContext['recordTable'];
  /** By quoted, qualified name, as `readTargetColumns` gives them. */
  readonly targetColumns: ReadonlyMap<string, ReadonlySet<string>>;
  /** An earlier run may have left rows whose end it did not learn: no table counts as untouched. */
  readonly resumed: boolean;
  /** SQL that makes the tables, each in the transaction of its rows; null where they stand. */
  readonly making: string | null;
  /** Tables at once. */
  readonly jobs: number;
  onTableDone(table: SourceTable, copied: CopiedTable): void;
}

interface Waiting {
  readonly task: CopyTask;
  /** Attempts that failed. */
  failures: number;
  /** Attempts at which somebody else had the table locked. */
  locked: number;
  /** ms since 1970 */
  notBefore: number;
  told: { readonly by: string; readonly at: number } | null;
}

/**
 * Copies all tables, largest first, several at once, each under a snapshot of its own that ends with it. A table that another
 * session keeps locked is put behind the others; one that fails for good is named, and the others go on.
 * @returns the tables that failed. @throws the cancellation.
 */
export async function copyStaged(
  context: CloneContext,
  input: StagedCopyInput,
  tasks: readonly CopyTask[],
): Promise<FailedTable[]> {
  const waiting: Waiting[] = tasks.map((task) => ({ task, failures: 0, locked: 0, notBefore: 0, told: null }));
  const failed: FailedTable[] = [];
  const worker = async (): Promise<void> => {
    while (waiting.length > 0) {
      await context.gate.wait(context.signal);
      throwIfAborted(context.signal);
      const now = Date.now();
      const at = waiting.findIndex((item) => item.notBefore <= now);
      const [item] = at < 0 ? [] : waiting.splice(at, 1);
      if (item === undefined) {
        const next = Math.min(...waiting.map((other) => other.notBefore));
        await sleep(Math.max(10, next - now), undefined, { signal: context.signal }).catch(() =>
          throwIfAborted(context.signal),
        );
        continue;
      }
      const again = await attempt(context, input, item, failed);
      if (again) waiting.push(item);
    }
  };
  const workers = Array.from({ length: Math.max(1, Math.min(input.jobs, tasks.length)) }, () => worker());
  // All have to be over before the sessions may go.
  const ends = await Promise.allSettled(workers);
  throwIfAborted(context.signal);
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  return failed;
}

/** One attempt at one table; true when it is to be tried again. */
async function attempt(
  context: CloneContext,
  input: StagedCopyInput,
  item: Waiting,
  failed: FailedTable[],
): Promise<boolean> {
  const { table } = item.task;
  const name = qualified(table.schema, table.name);
  try {
    const result = await copyTable(context, input, item);
    if ('by' in result) {
      tellLock(context, input.progress, item, result.by);
      return true;
    }
    log(context, 'info', copiedSentence(input.progress.of(table.oid)));
    input.onTableDone(table, result);
    return false;
  } catch (error) {
    throwIfAborted(context.signal);
    const wait = RETRY_AFTER_MS[item.failures];
    if (wait !== undefined && (error instanceof CommitUnknownError || isTransient(error))) {
      const why = error instanceof Error ? error.message : String(error);
      log(context, 'warn', `Copy of ${name} was interrupted (${why}); trying this table again in ${wait / 1000} s.`);
      item.failures += 1;
      item.notBefore = Date.now() + wait;
      return true;
    }
    const explained = error instanceof PgsluiceError ? error : explainError(error, { side: 'target' });
    failed.push({ table, error: explained.report() });
    input.progress.fail(table.oid, explained.report());
    log(context, 'error', `Table ${name} was not copied: ${explained.message} ${explained.hint}`);
    return false;
  }
}

function tellLock(context: CloneContext, progress: CopyProgress, item: Waiting, by: string): void {
  const { schema, name } = item.task.table;
  const now = Date.now();
  const what = `an exclusive lock on ${qualified(schema, name)} of the source, held by ${by}`;
  if (item.told?.by !== by || now - item.told.at > TELL_AGAIN_MS) {
    log(context, 'warn', `Waiting for ${what}; other tables go on.`);
    item.told = { by, at: now };
  }
  progress.setWaiting(what);
  item.locked += 1;
  item.notBefore = now + LOCKED_AGAIN_MS;
}

/**
 * Copies one table under a snapshot of its own; the record is written in the transaction of the rows. After a failure rows of
 * an attempt whose end is unknown may stand in the table.
 * @returns who keeps the table locked, when it is. @throws CommitUnknownError for a table that may simply be copied again;
 * PgsluiceError.
 */
async function copyTable(
  context: CloneContext,
  runner: StagedCopyInput,
  { task, failures, locked }: Waiting,
): Promise<CopiedTable | { readonly by: string }> {
  const { table } = task;
  const { making } = runner;
  const repeated = failures > 0;
  const name = qualified(table.schema, table.name);
  const expected = making === null ? (runner.targetColumns.get(name) ?? null) : null;
  let meter: CopyMeter | null = null;
  let snapshot = '';
  const done = (rows: number, bytes: number): CopiedTable => {
    meter?.commit(bytes, rows);
    return { oid: table.oid, schema: table.schema, name: table.name, snapshot, rows, bytes };
  };
  try {
    return await runner.targets.with((target) =>
      runner.sources.with(async (source) => {
        const opened = await openTableSnapshot(source, table, expected, context.sourceVersion.major, locked);
        if (opened.kind === 'locked') return { by: opened.by };
        snapshot = opened.snapshot;
        meter = runner.progress.begin(table.oid);
        const untouched = !runner.resumed && !repeated && making === null;
        const mode: CopyMode = { fresh: true, untouched, replicaRole: false };
        const beside: Beside = {
          before: making ?? '',
          after: ({ rows, bytes }) => runner.record(table, opened.snapshot, { rows, bytes }),
        };
        if (opened.empty) {
          await source.run('ROLLBACK');
          const clearing = making ?? (untouched || !fillsAlone(task, mode) ? '' : `TRUNCATE ONLY ${name}`);
          const statements = [clearing, beside.after({ rows: 0, bytes: 0 })].filter((sql) => sql !== '');
          await target.run(`BEGIN;\n${statements.join(';\n')};\nCOMMIT`);
          return done(0, 0);
        }
        const advance = (bytes: number, rows: number): void => meter?.advance(bytes, rows);
        const moved = await copyTask(source, target, task, mode, context.gate, advance, beside);
        // The rows are stored: a reader that is lost by now is no failure, and the pool gives it to nobody.
        await source.run('ROLLBACK').catch(() => undefined);
        return done(moved.rows, moved.bytes);
      }),
    );
  } catch (error) {
    // A table that is emptied first is simply copied again; for any other the target knows what became of the rows.
    const again = making === null && fillsAlone(task, { fresh: true, untouched: false, replicaRole: false });
    if (error instanceof CommitUnknownError && !again) {
      const outcome = await askOutcome(context, runner.targets, error);
      if (outcome === 'committed') return done(error.transferred.rows, error.transferred.bytes);
      abandon(meter);
      if (outcome === null) throw unknownOutcome(name, error);
      throw error;
    }
    abandon(meter);
    throw error;
  }
}

function abandon(meter: CopyMeter | null): void {
  meter?.abandon();
}
