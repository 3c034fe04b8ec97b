import type { JobState } from '../contract/event.ts';
import type { HookMoment } from '../contract/options.ts';
import type { Report } from '../contract/report.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { beginCall, type HookKey, markDue, setHookState } from '../store/hook-queries.ts';
import type { JobRow } from '../store/job-queries.ts';
import type { StateDatabase } from '../store/database.ts';
import { type HookMeans, callHook } from './hook-call.ts';
import type { Sides } from './job-view.ts';

export interface JobHooksInput extends HookMeans {
  readonly db: StateDatabase;
  readonly row: Pick<JobRow, 'id' | 'name' | 'kind' | 'archive' | 'options'>;
  readonly sides: Sides;
}

/** At these a hook that fails stops what would come next, and those after it are not called. */
const stopping: ReadonlySet<HookMoment> = new Set(['after-validate', 'before-cutover']);
/** These come once in a job's life, whatever interrupts it. */
const onceOnly: ReadonlySet<HookMoment> = new Set(['after-cutover']);

/**
 * The hooks of one job. Each calling is stored before it is made: whoever goes on after a crash calls again only what has no
 * known end, says so to whom it calls, and keeps the delivery's id.
 */
export class JobHooks {
  readonly #input: JobHooksInput;

  constructor(input: JobHooksInput) {
    this.#input = input;
  }

  has(moment: HookMoment): boolean {
    return this.#keys(moment).length > 0;
  }

  /** Stores that the moment is about to come, so that a crash right after it does not swallow its hooks. */
  async due(moment: HookMoment): Promise<void> {
    await markDue(this.#input.db, this.#keys(moment));
  }

  /**
   * Calls the moment's hooks, one after the other.
   * @returns what failed; at a moment that stops, the first failure alone.
   * @throws the cancellation; what was being called then counts as perhaps called.
   */
  async run(moment: HookMoment, state: JobState, report: Report | null): Promise<readonly PgsluiceError[]> {
    const { db, row, sides, signal } = this.#input;
    const failures: PgsluiceError[] = [];
    for (const key of this.#keys(moment)) {
      const hook = row.options.hooks[key.position];
      if (hook === undefined) continue;
      throwIfAborted(signal);
      const call = await beginCall(db, key, onceOnly.has(moment));
      if (call === null) continue;
      const { id, name, kind, archive } = row;
      const news = { job: id, name, kind, archive, moment, state, at: new Date(), sides, call, report };
      try {
        await callHook(hook, news, this.#input);
        await setHookState(db, call.delivery, 'done');
      } catch (error) {
        throwIfAborted(signal);
        if (!(error instanceof PgsluiceError) || error.code !== 'HOOK_FAILED') throw error;
        await setHookState(db, call.delivery, 'failed');
        this.#input.log('warn', `${error.message} ${error.hint}`);
        failures.push(error);
        if (stopping.has(moment)) break;
      }
    }
    return failures;
  }

  #keys(moment: HookMoment): HookKey[] {
    const { id, options } = this.#input.row;
    return options.hooks.flatMap(({ on }, position) => (on === moment ? [{ jobId: id, moment, position }] : []));
  }
}

/** What a person has to do about hooks that failed where nothing could be stopped any more. Pure. */
export function hookTodo(failures: readonly PgsluiceError[]): string[] {
  return failures.map(({ message, hint }) => `${message} ${hint}`.trim());
}

/** Hooks whose moment does not come in a job without a cutover. Pure. */
export function uncalledHooks({ hooks }: Pick<JobRow['options'], 'hooks'>): string[] {
  const moments = [...new Set(hooks.map(({ on }) => on))].filter(
    (on) => on === 'before-cutover' || on === 'after-cutover',
  );
  if (moments.length === 0) return [];
  return [`This job has no cutover, so its hooks of ${moments.join(' and ')} were not called.`];
}
