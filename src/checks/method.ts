import type { CheckResult } from '../contract/check.ts';
import type { JobOptions } from '../contract/options.ts';
import { count } from './words.ts';

/** How a job moves its database, and why: one sentence. */
export interface MethodChoice {
  readonly method: 'copy' | 'live';
  readonly reason: string;
}

/** True when the job is to follow its source, or would if it can: then the live checks are made. */
export function wantsLive(options: JobOptions): boolean {
  if (options.method !== 'auto') return options.method === 'live';
  return options.cutover !== null && !options.schemaOnly && !options.dataOnly;
}

/** The live checks decide between methods, and so block nothing by themselves. */
export function decidesMethod(options: JobOptions): boolean {
  return options.method === 'auto' && wantsLive(options);
}

/**
 * Chooses by what the live checks found, as they were judged and not as they are shown: `auto` takes live where nothing stands
 * against it and a cutover was asked for, else copy. Pure.
 */
export function chooseMethod(
  checks: readonly Pick<CheckResult, 'id' | 'family' | 'outcome' | 'found'>[],
  options: JobOptions,
): MethodChoice {
  if (options.method !== 'auto') return { method: options.method, reason: `Method ${options.method} was asked for.` };
  if (!wantsLive(options)) {
    const why =
      options.cutover === null
        ? 'No cutover was asked for, so the source may stand still meanwhile.'
        : 'Only one of schema and data is moved, which cannot be followed.';
    return { method: 'copy', reason: why };
  }
  const live = checks.filter((check) => check.family === 'live');
  const against = live.filter((check) => check.outcome === 'failed');
  const [first] = against;
  if (first !== undefined) {
    const more = against.length === 1 ? '' : ` (and ${count(against.length - 1, 'more check')} failed)`;
    return { method: 'copy', reason: `The source cannot be followed: ${first.found}${more}` };
  }
  if (live.every((check) => check.outcome === 'skipped'))
    return { method: 'copy', reason: 'Whether the source can be followed could not be checked.' };
  return { method: 'live', reason: 'A cutover was asked for, and nothing stands against following.' };
}
