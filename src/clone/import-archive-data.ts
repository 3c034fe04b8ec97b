import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import PQueue from 'p-queue';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { explainError, isTransient } from '../postgres/explain.ts';
import { qualified } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { streamTool } from '../postgres/tool-stream.ts';
import type { ToolStream } from '../postgres/tool-stream.ts';
import type { TargetContext } from './context.ts';
import { log } from './context.ts';
import { RETRY_AFTER_MS, askOutcome, unknownOutcome } from './copy-data.ts';
import type { FailedTable } from './copy-data.ts';
import { CommitUnknownError, fillsAlone, isSmall, storeTask } from './copy-table.ts';
import type { CopyMode } from './copy-table.ts';
import { BlockError, BlockReader, countLines } from './import-archive-blocks.ts';
import { copyInStatement } from './import-archive-entries.ts';
import type { ArchiveTable } from './import-archive-entries.ts';
import type { CopyTask } from './plan.ts';
import { copiedSentence } from './progress.ts';
import type { CopyProgress } from './progress.ts';
import type { SessionPool } from './session-pool.ts';
import { feedCopy } from './transfer.ts';
import type { Transferred } from './transfer.ts';

/** One table of the archive, as a task of its own. */
export interface LoadTask {
  readonly table: ArchiveTable;
  readonly task: CopyTask;
}

export interface ArchiveLoader {
  readonly path: string;
  readonly encoding: string;
  readonly sessions: SessionPool;
  readonly progress: CopyProgress;
  readonly mode: CopyMode;
  readonly jobs: number;
  /** False: the archive does not say where each table's rows begin, so that it is read from its beginning to its end. */
  readonly positions: boolean;
  /** Called as soon as a table's rows are committed. */
  readonly onTableDone: (task: LoadTask, rows: number) => void;
}

/** Tables that are read by one pg_restore: starting it, which reads the table of contents, costs more than a small table. */
const GROUP_BYTES = 32 * 1024 * 1024;
const GROUP_TABLES = 200;

/** Largest first; small ones together. Pure. */
export function groupTasks(tasks: readonly LoadTask[], positions: boolean): LoadTask[][] {
  if (!positions) return tasks.length === 0 ? [] : [[...tasks]];
  const groups: LoadTask[][] = [];
  let group: LoadTask[] = [];
  let bytes = 0;
  for (const one of tasks.toSorted((a, b) => b.task.weight - a.task.weight)) {
    if (group.length > 0 && (bytes + one.task.weight > GROUP_BYTES || group.length >= GROUP_TABLES)) {
      groups.push(group);
      group = [];
      bytes = 0;
    }
    group.push(one);
    bytes += one.task.weight;
  }
  if (group.length > 0) groups.push(group);
  return groups;
}

/** Has pg_restore print the data of these entries, in this order. The list of entries is a file that goes again with `stop`. */
export async function openData(
  context: Pick<TargetContext, 'tools' | 'workDir' | 'signal'>,
  path: string,
  dumpIds: readonly number[],
): Promise<ToolStream> {
  await mkdir(context.workDir, { recursive: true, mode: 0o700 });
  const list = join(context.workDir, `${randomUUID()}.list`);
  await writeFile(list, dumpIds.map((id) => `${id};\n`).join(''), { mode: 0o600 });
  const stream = streamTool({
    command: context.tools.pgRestore,
    args: ['--data-only', `--use-list=${list}`, '--file=-', path],
    env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' },
    signal: context.signal,
  });
  return {
    ...stream,
    stop: async () => {
      await stream.stop();
      await rm(list, { force: true });
    },
  };
}

interface Left {
  readonly task: LoadTask;
  /** null: it was not begun. */
  readonly error: unknown;
}

class Load {
  readonly #context: TargetContext;
  readonly #loader: ArchiveLoader;
  readonly #failed: FailedTable[] = [];

  constructor(context: TargetContext, loader: ArchiveLoader) {
    this.#context = context;
    this.#loader = loader;
  }

  async run(tasks: readonly LoadTask[]): Promise<FailedTable[]> {
    const queue = new PQueue({ concurrency: Math.max(1, this.#loader.jobs) });
    const groups = groupTasks(tasks, this.#loader.positions);
    await Promise.all(groups.map((group) => queue.add(() => this.#whole(group))));
    throwIfAborted(this.#context.signal);
    return this.#failed;
  }

  /** A group to its end: what was interrupted is tried again, what fails for good is named, and the others go on. */
  async #whole(group: readonly LoadTask[]): Promise<void> {
    const attempts = new Map<LoadTask, number>();
    for (let todo = group; todo.length > 0;) {
      if (this.#context.signal.aborted) return;
      const left = await this.#group(todo, attempts);
      if (this.#context.signal.aborted) return;
      const again: LoadTask[] = [];
      let longest = 0;
      for (const { task, error } of left) {
        if (error === null) {
          again.push(task);
          continue;
        }
        const attempt = attempts.get(task) ?? 0;
        const wait = RETRY_AFTER_MS[attempt];
        if (wait === undefined || !(error instanceof CommitUnknownError || isTransient(error))) {
          this.#fail(task, error);
          continue;
        }
        attempts.set(task, attempt + 1);
        longest = Math.max(longest, wait);
        again.push(task);
        const why = error instanceof Error ? error.message : 'no reason given';
        const name = qualified(task.table.schema, task.table.name);
        log(
          this.#context,
          'warn',
          `Loading ${name} was interrupted (${why}); trying this table again in ${wait / 1000} s.`,
        );
      }
      if (longest > 0) await sleep(longest, undefined, { signal: this.#context.signal }).catch(() => undefined);
      todo = again;
    }
  }

  #fail(task: LoadTask, error: unknown): void {
    const explained = error instanceof PgsluiceError ? error : explainError(error, { side: 'target' });
    this.#failed.push({ table: task.task.table, error: explained.report() });
    this.#loader.progress.fail(task.task.table.oid, explained.report());
    const name = qualified(task.table.schema, task.table.name);
    log(this.#context, 'error', `Table ${name} was not loaded: ${explained.message} ${explained.hint}`);
  }

  /** One pg_restore. @returns what was not loaded. */
  async #group(group: readonly LoadTask[], attempts: ReadonlyMap<LoadTask, number>): Promise<Left[]> {
    const { signal } = this.#context;
    const left: Left[] = [];
    const ids = group.map(({ table }) => table.entry.dumpId);
    const stream = await openData(this.#context, this.#loader.path, ids);
    const reader = new BlockReader(stream.output);
    try {
      for (const [at, one] of group.entries()) {
        await this.#context.gate.wait(signal);
        throwIfAborted(signal);
        try {
          await this.#table(one, reader, (attempts.get(one) ?? 0) > 0);
        } catch (error) {
          throwIfAborted(signal);
          left.push({ task: one, error: await this.#cause(error, stream) });
          if (!(error instanceof BlockError || stream.output.destroyed || stream.output.readableEnded)) continue;
          // Nothing more comes out of this pg_restore; those behind it are read by another.
          left.push(...group.slice(at + 1).map((task) => ({ task, error: null })));
          break;
        }
      }
    } finally {
      await stream.stop();
    }
    return left;
  }

  /** When the output ends too early, pg_restore says why. */
  async #cause(found: unknown, stream: ToolStream): Promise<unknown> {
    if (!(found instanceof BlockError)) return found;
    const [end] = await Promise.allSettled([stream.ended]);
    const failure: unknown = end.status === 'rejected' ? end.reason : null;
    throwIfAborted(this.#context.signal);
    const words = failure instanceof Error ? failure.message : found.message;
    return new PgsluiceError({
      code: 'ARCHIVE_TORN',
      message: `The archive could not be read to the end of this table: ${words}`,
      hint: 'The archive was whole when the job began: see whether its disk fails or somebody changes it, then retry.',
      cause: failure ?? found,
    });
  }

  async #table(one: LoadTask, reader: BlockReader, again: boolean): Promise<void> {
    const { loader, mode } = { loader: this.#loader, mode: this.#modeOf(one, again) };
    const meter = loader.progress.begin(one.task.table.oid);
    try {
      const moved = await loader.sessions.with((target) => this.#store(one, target, reader, mode, meter));
      meter.commit(moved.bytes, moved.rows);
      this.#done(one, moved.rows);
    } catch (error) {
      // A table that is emptied first is simply loaded again; for any other, rows could be stored twice.
      if (error instanceof CommitUnknownError && !fillsAlone(one.task, mode)) {
        const outcome = await askOutcome(this.#context, loader.sessions, error);
        if (outcome === 'committed') {
          meter.commit(error.transferred.bytes, error.transferred.rows);
          this.#done(one, error.transferred.rows);
          return;
        }
        if (outcome === null) {
          meter.abandon();
          throw unknownOutcome(qualified(one.table.schema, one.table.name), error);
        }
      }
      meter.abandon();
      throw error;
    }
  }

  #done(one: LoadTask, rows: number): void {
    log(this.#context, 'info', copiedSentence(this.#loader.progress.of(one.task.table.oid)));
    this.#loader.onTableDone(one, rows);
  }

  #modeOf(one: LoadTask, again: boolean): CopyMode {
    const { mode } = this.#loader;
    return { ...mode, fresh: mode.fresh && one.table.made, untouched: mode.untouched && !again };
  }

  async #store(
    one: LoadTask,
    target: Session,
    reader: BlockReader,
    mode: CopyMode,
    meter: { advance(bytes: number, rows: number): void },
  ): Promise<Transferred> {
    const { signal, gate } = this.#context;
    const { copyStatement } = one.table.entry;
    const freeze = fillsAlone(one.task, mode) && !isSmall(one.task, mode);
    const counted = { bytes: 0, rows: 0 };
    async function* rows(): AsyncGenerator<Buffer> {
      for await (const chunk of reader.block(copyStatement)) {
        await gate.wait(signal);
        throwIfAborted(signal);
        yield chunk;
        counted.bytes += chunk.length;
        counted.rows += countLines(chunk);
        meter.advance(counted.bytes, counted.rows);
      }
    }
    const broken: { error: BlockError | null } = { error: null };
    const transfer = async (): Promise<Transferred> => {
      try {
        const stored = await feedCopy(target, copyInStatement(copyStatement, this.#loader.encoding, freeze), rows());
        if (stored === counted.rows) return { rows: stored, bytes: counted.bytes };
      } catch (error) {
        if (error instanceof Error && error.cause instanceof BlockError) broken.error = error.cause;
        throw error;
      }
      throw new PgsluiceError({
        code: 'ROWS_LOST',
        message: `The archive holds ${counted.rows} rows of ${one.table.into} and the target stored another number; none were kept.`,
        hint: 'Retry the job; if it happens again, report it with the version of both.',
      });
    };
    try {
      return await storeTask(target, one.task, mode, transfer, () => target);
    } catch (error) {
      throw broken.error ?? error;
    }
  }
}

/**
 * Loads the rows of all tasks, largest first, several at once, each table in one transaction. A table that fails for good is
 * named and the others go on. @returns the tables that failed. @throws the cancellation.
 */
export async function loadData(
  context: TargetContext,
  loader: ArchiveLoader,
  tasks: readonly LoadTask[],
): Promise<FailedTable[]> {
  return new Load(context, loader).run(tasks);
}
