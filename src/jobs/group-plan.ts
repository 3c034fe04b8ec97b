import type { GroupAction, GroupPlanEntry, GroupRequest, GroupView } from '../contract/group.ts';
import type { JobAction, JobView } from '../contract/job.ts';
import { PgsluiceError } from '../errors.ts';
import { allowedActions } from './transitions.ts';

/** One database of the source's server, as it was found. */
export interface FoundDatabase {
  readonly name: string;
  readonly template: boolean;
  /** pg_database.datallowconn, and not left invalid by an interrupted DROP DATABASE. */
  readonly open: boolean;
  /** The role has the privilege CONNECT. */
  readonly mayConnect: boolean;
  /** null where the role may not read it. */
  readonly bytes: number | null;
  /** Nobody has ever made anything in it; only looked at where that decides. */
  readonly empty: boolean;
}

export type PlannedDatabase = Omit<GroupPlanEntry, 'job'>;

/** Databases in which a provider keeps its own things, and which its customers' roles cannot own. */
const OF_PROVIDERS: ReadonlySet<string> = new Set([
  'rdsadmin',
  'cloudsqladmin',
  'alloydbadmin',
  'alloydbmetadata',
  'azure_maintenance',
  'azure_sys',
  '_dodb',
]);

/** The one that initdb makes to connect to; most servers keep nothing in it. */
export const MAINTENANCE_DATABASE = 'postgres';

function whySkipped(found: FoundDatabase): string | null {
  if (found.template) return 'it is a template';
  if (!found.open) return 'it allows no connections';
  if (OF_PROVIDERS.has(found.name)) return 'it belongs to the provider';
  if (!found.mayConnect) return 'this role has no CONNECT privilege there';
  if (found.empty) return 'it is the maintenance database, and nothing was ever made in it';
  return null;
}

/**
 * Which databases become jobs, the largest first, and after them those that are left out, each with its reason. Pure.
 * @throws PgsluiceError DATABASES_MISSING for names that the source does not have, or that cannot be connected to: what was
 * asked for by name is never left out; NO_DATABASES when nothing is left.
 */
export function planDatabases(
  found: readonly FoundDatabase[],
  onTarget: ReadonlySet<string>,
  request: Pick<GroupRequest, 'databases'> & { readonly options: { readonly createDatabase: boolean } },
): PlannedDatabase[] {
  const { databases, options } = request;
  const plan = ({ name, bytes }: FoundDatabase, skipped: string | null): PlannedDatabase => ({
    database: name,
    bytes,
    target: onTarget.has(name) ? 'exists' : options.createDatabase ? 'will be made' : 'missing',
    skipped,
  });
  const planned =
    databases === 'all' ? found.map((each) => plan(each, whySkipped(each))) : named(databases, found, plan);
  if (planned.every((entry) => entry.skipped !== null)) {
    throw new PgsluiceError({
      code: 'NO_DATABASES',
      message: `No database of the source can be moved: ${listed(planned.map((entry) => `${entry.database} (${entry.skipped})`))}.`,
      hint: 'Name the databases, or connect as a role that has the privilege CONNECT on them.',
    });
  }
  return planned.toSorted(
    (a, b) =>
      Number(a.skipped !== null) - Number(b.skipped !== null) ||
      (b.bytes ?? 0) - (a.bytes ?? 0) ||
      (a.database < b.database ? -1 : 1),
  );
}

function named(
  names: readonly string[],
  found: readonly FoundDatabase[],
  plan: (database: FoundDatabase, skipped: null) => PlannedDatabase,
): PlannedDatabase[] {
  const byName = new Map(found.map((each) => [each.name, each]));
  const planned: PlannedDatabase[] = [];
  const problems: string[] = [];
  for (const name of new Set(names)) {
    const each = byName.get(name);
    if (each === undefined) problems.push(`"${name}" does not exist`);
    else if (!each.open) problems.push(`"${name}" allows no connections`);
    else if (!each.mayConnect) problems.push(`this role has no CONNECT privilege on "${name}"`);
    else planned.push(plan(each, null));
  }
  if (problems.length === 0) return planned;
  throw new PgsluiceError({
    code: 'DATABASES_MISSING',
    message: `Not every database that was named can be read on the source: ${listed(problems)}.`,
    hint: `There are: ${listed(found.filter((each) => whySkipped(each) === null).map((each) => each.name))}. Names are case-sensitive.`,
  });
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 20).join(', ');
  return names.length > 20 ? `${shown} and ${names.length - 20} more` : shown === '' ? 'none' : shown;
}

/** What two servers let the jobs of a group have in all, on either side. */
export interface Room {
  readonly source: number;
  readonly target: number;
}

/** With fewer on a side, two jobs beside each other are slower than one after the other. */
const LEAST_EACH = 4;

/** How many jobs of a group run at once, within `most`. Pure. */
export function groupWidth(room: Room, most: number): number {
  return Math.max(1, Math.min(most, Math.floor(Math.min(room.source, room.target) / LEAST_EACH)));
}

/**
 * What one of `width` jobs that run at once may take at most. `following` of the group follow their source, and each may need
 * `needed` at its cutover, whenever that is. Pure.
 */
export function groupShare(room: Room, width: number, following: number, needed: Room): Room {
  const share = (side: keyof Room): number =>
    Math.max(1, Math.floor((room[side] - following * needed[side]) / Math.max(1, width)));
  return { source: share('source'), target: share('target') };
}

const failedStates: ReadonlySet<JobView['state']> = new Set(['failed', 'blocked', 'cancelled']);

/** Figures of a group; weights are the databases' sizes on the source when the group was made. Pure. */
export function groupTotals(jobs: readonly JobView[], bytesOf: (job: JobView) => number | null): GroupView['totals'] {
  const known = jobs.map(bytesOf).filter((bytes) => bytes !== null);
  const mean = known.length === 0 ? 1 : known.reduce((sum, bytes) => sum + bytes, 0) / known.length;
  let weight = 0;
  let moved = 0;
  for (const job of jobs) {
    const bytes = Math.max(1, bytesOf(job) ?? mean);
    weight += bytes;
    moved += bytes * (job.state === 'completed' ? 1 : Math.min(1, job.totals.fraction));
  }
  return {
    databases: jobs.length,
    done: jobs.filter((job) => job.state === 'completed').length,
    failed: jobs.filter((job) => failedStates.has(job.state)).length,
    rows: jobs.reduce((sum, job) => sum + job.totals.rows, 0),
    bytes: jobs.reduce((sum, job) => sum + job.totals.bytes, 0),
    fraction: weight === 0 ? 0 : moved / weight,
    verified: jobs.length > 0 && jobs.every((job) => job.state === 'completed' && job.verified),
  };
}

const stateWords: readonly (readonly [JobView['state'], string])[] = [
  ['completed', 'completed'],
  ['failed', 'failed'],
  ['blocked', 'blocked by a check'],
  ['cancelled', 'cancelled'],
  ['paused', 'paused'],
  ['cutting_over', 'cutting over'],
  ['following', 'following'],
  ['verifying', 'being compared'],
  ['running', 'being copied'],
  ['validating', 'being checked'],
  ['ready', 'ready'],
  ['draft', 'waiting or not started'],
];

/** One sentence: how many databases are where. Pure. */
export function summarizeGroup(jobs: readonly JobView[], plan: readonly GroupPlanEntry[]): string {
  const counted = stateWords
    .map(([state, words]) => [jobs.filter((job) => job.state === state).length, words] as const)
    .filter(([count]) => count > 0)
    .map(([count, words]) => `${count} ${words}`);
  const left = plan.filter((entry) => entry.skipped !== null).length;
  const skipped = left === 0 ? '' : ` ${left} left out, each with its reason in the plan.`;
  const noun = jobs.length === 1 ? 'database' : 'databases';
  return `${jobs.length} ${noun}: ${counted.join(', ')}.${skipped}`;
}

/** The name that a member's database has on both sides. Pure. */
export function databaseOf(job: Pick<JobView, 'source' | 'target' | 'name'>): string {
  return job.source?.database ?? job.target?.database ?? job.name;
}

/** What a step of the group means for a member in that state; null: nothing. Pure. */
export function memberAction(action: GroupAction, state: JobView['state']): JobAction | null {
  if (action === 'resume')
    return state === 'paused' ? 'resume' : state === 'draft' || state === 'ready' ? 'start' : null;
  return allowedActions[action].includes(state) ? action : null;
}
