import type { JobView } from '../../contract/job.ts';
import { PgsluiceError } from '../../errors.ts';
import { isWorking } from '../../jobs/transitions.ts';
import type { JobClient } from '../client.ts';

/** The job with that id, or whose id begins so, where only one does; the newest when none is named. Throws JOB_NOT_FOUND. */
export async function findJob(client: JobClient, id: string | undefined): Promise<JobView> {
  if (id !== undefined) return client.get(await resolveId(client, id));
  const [newest] = await client.list({ limit: 1 });
  if (newest !== undefined) return newest;
  throw new PgsluiceError({
    code: 'JOB_NOT_FOUND',
    message: `There is no job in ${client.where}.`,
    hint: 'Begin one with "pgsluice clone".',
  });
}

/** The whole id of the one job whose id begins with `id`; `id` itself where none or several do. */
export async function resolveId(client: JobClient, id: string): Promise<string> {
  const matches = await client.list({ idPrefix: id });
  const exact = matches.find((job) => job.id === id);
  if (exact !== undefined) return exact.id;
  return matches.length === 1 ? (matches[0]?.id ?? id) : id;
}

/** Throws PgsluiceError NOTHING_TO_RESUME. */
export async function newestUnfinished(client: JobClient): Promise<JobView> {
  const all = await client.list();
  const unfinished = all
    .filter((job) => isWorking(job.state) || job.state === 'paused' || job.state === 'failed' || waitsInGroup(job, all))
    .toSorted((a, b) => b.createdAt.localeCompare(a.createdAt));
  const newest = unfinished[0];
  if (newest !== undefined) return newest;
  throw new PgsluiceError({
    code: 'NOTHING_TO_RESUME',
    message: `No job in ${client.where} was left unfinished.`,
    hint: 'List them with "pgsluice jobs", or begin one with "pgsluice clone".',
  });
}

/** Its turn had not come when the others of its group were left. */
function waitsInGroup(job: JobView, all: readonly JobView[]): boolean {
  if (job.group === null || (job.state !== 'draft' && job.state !== 'ready')) return false;
  return all.some((other) => other.group?.id === job.group?.id && other.startedAt !== null);
}

/** The whole id of the group that is meant by `id`, or by the first characters of it; null where it is the id of a job, or of nothing. */
export async function groupNamed(client: JobClient, id: string): Promise<string | null> {
  const jobs = await client.list();
  if (jobs.some((job) => job.id.startsWith(id))) return null;
  const groups = new Set(jobs.flatMap(({ group }) => (group?.id.startsWith(id) ? [group.id] : [])));
  const [only] = groups;
  return groups.size === 1 ? (only ?? null) : null;
}

/** The one live job that can be cut over. Throws PgsluiceError NOTHING_FOLLOWS where there is none, WHICH_JOB where there are several. */
export async function onlyFollowing(client: JobClient): Promise<JobView> {
  const jobs = (await client.list()).filter((job) => job.state === 'following' || job.state === 'cutting_over');
  const [only] = jobs;
  if (only !== undefined && jobs.length === 1) return only;
  if (only === undefined) {
    throw new PgsluiceError({
      code: 'NOTHING_FOLLOWS',
      message: `No job in ${client.where} follows its source now.`,
      hint: 'Look at them with "pgsluice jobs"; a paused one goes on with "pgsluice resume".',
    });
  }
  throw new PgsluiceError({
    code: 'WHICH_JOB',
    message: `${jobs.length} jobs follow their source: ${jobs.map((job) => job.id).join(', ')}.`,
    hint: `Name the one to cut over: pgsluice cutover ${only.id}`,
  });
}
