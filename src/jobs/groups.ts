import type { GroupAction, GroupActionResult, GroupRequest, GroupView } from '../contract/group.ts';
import type { JobAction, JobView } from '../contract/job.ts';
import { JobRequest } from '../contract/options.ts';
import { PgsluiceError } from '../errors.ts';
import { parseEndpoint, type ConnectionSettings } from '../postgres/settings.ts';
import {
  findGroup,
  forgetEmptyGroups,
  type GroupRecord,
  groupRows,
  insertGroup,
  listGroups,
} from '../store/group-queries.ts';
import type { JobRow, NewJobRow } from '../store/job-queries.ts';
import type { Store } from '../store/store.ts';
import { asReport } from './as-report.ts';
import { listDatabases, namesOnTarget } from './group-databases.ts';
import {
  databaseOf,
  groupTotals,
  memberAction,
  type PlannedDatabase,
  planDatabases,
  summarizeGroup,
} from './group-plan.ts';
import { endpointView } from './job-view.ts';
import { newId, newJobRow } from './new-job.ts';
import { isSettled } from './transitions.ts';

export interface GroupsInput {
  readonly store: Store;
  /** @throws PgsluiceError AGENT_STOPPING, COMMANDS_NOT_ALLOWED. */
  assertAllowed(options: GroupRequest['options']): void;

  /** Tells that a stored job is new. */
  announce(id: string): Promise<void>;
  view(row: JobRow): Promise<JobView>;
  act(id: string, action: JobAction): Promise<JobView>;
  remove(id: string): Promise<void>;
  /** Members whose turn has not come wait until the group goes on. */
  hold(group: string, holds: boolean): void;
}

/** Asking both servers for their databases, in ms. */
const LISTING_MS = 60_000;

/** Jobs that were made together, one a database. Each is an ordinary job; only what concerns several of them is here. */
export class Groups {
  readonly #input: GroupsInput;

  constructor(input: GroupsInput) {
    this.#input = input;
  }

  /**
   * Reads which databases there are, and makes one job for each; with `start` they begin in the order of the plan.
   * @throws PgsluiceError of the request's endpoints and of the connections, DATABASES_MISSING, NO_DATABASES.
   */
  async create(request: GroupRequest): Promise<GroupView> {
    const { store } = this.#input;
    this.#input.assertAllowed(request.options);
    const source = parseEndpoint(request.source, 'source');
    const target = parseEndpoint(request.target, 'target');
    const planned = await planGroup(request, AbortSignal.timeout(LISTING_MS));
    const id = newId();
    const name = request.name ?? `${source.host} to ${target.host}`;
    const rows: NewJobRow[] = [];
    const plan = planned.map((entry) => {
      if (entry.skipped !== null) return { ...entry, job: null };
      const row = newJobRow(store, memberRequest(request, entry.database, source, target), { id, name });
      rows.push(row);
      return { ...entry, job: row.id };
    });
    const record: GroupRecord = {
      id,
      name,
      source: endpointView(source),
      target: endpointView(target),
      plan,
      createdAt: new Date().toISOString(),
    };
    await store.underKey((db) => insertGroup(db, record, rows));
    for (const row of rows) await this.#input.announce(row.id);
    if (request.start) return (await this.act(id, 'start')).group;
    return await this.get(id);
  }

  /** Newest first. */
  async list(): Promise<GroupView[]> {
    const groups = await listGroups(this.#input.store.db);
    const views = await Promise.all(groups.map((group) => this.#view(group)));
    const standing = views.filter((view) => view.jobs.length > 0);
    // The jobs of the others were removed one by one.
    if (standing.length < views.length) await forgetEmptyGroups(this.#input.store.db);
    return standing;
  }

  /** @throws PgsluiceError GROUP_NOT_FOUND. */
  async get(id: string): Promise<GroupView> {
    const group = id.includes('\0') ? null : await findGroup(this.#input.store.db, id);
    const view = group === null ? null : await this.#view(group);
    if (view !== null && view.jobs.length > 0) return view;
    throw new PgsluiceError({
      code: 'GROUP_NOT_FOUND',
      message: `There is no group ${id}.`,
      hint: 'List the jobs and their groups with: pgsluice jobs',
    });
  }

  /**
   * Does to every member what its state allows, and answers for each what happened: one that refuses does not stop the others.
   * @throws PgsluiceError GROUP_NOT_FOUND.
   */
  async act(id: string, action: GroupAction): Promise<GroupActionResult> {
    const { jobs } = await this.get(id);
    if (action === 'pause') this.#input.hold(id, true);
    if (action === 'resume' || action === 'start' || action === 'validate') this.#input.hold(id, false);
    const one = async (job: JobView): Promise<GroupActionResult['members'][number]> => {
      const about = { job: job.id, database: databaseOf(job) };
      const step = memberAction(action, job.state);
      if (step === null) {
        return { ...about, outcome: 'left', message: `The job is ${job.state}; there is nothing to do.`, error: null };
      }
      try {
        const after = await this.#input.act(job.id, step);
        return { ...about, outcome: 'done', message: after.summary, error: null };
      } catch (thrown) {
        const { code, message, hint } = asReport(thrown);
        if (code === 'JOB_RUNNING') return { ...about, outcome: 'waiting', message, error: null };
        return { ...about, outcome: 'refused', message, error: { code, message, hint } };
      }
    };
    const members: GroupActionResult['members'] = [];
    if (action === 'cancel') {
      // Those that wait must not begin while the first is being ended.
      members.push(...(await Promise.all(jobs.toReversed().map(one))).toReversed());
    } else {
      for (const job of jobs) members.push(await one(job));
    }
    if (action === 'cancel') this.#input.hold(id, false);
    return { group: await this.get(id), members };
  }

  /**
   * Forgets every job of the group.
   * @throws PgsluiceError GROUP_NOT_FOUND; JOB_RUNNING before anything is removed; what removing a job throws.
   */
  async remove(id: string): Promise<void> {
    const { jobs } = await this.get(id);
    const busy = jobs.filter((job) => !isSettled(job.state));
    if (busy.length > 0) {
      throw new PgsluiceError({
        code: 'JOB_RUNNING',
        message: `Of this group there still run: ${busy.map(databaseOf).join(', ')}.`,
        hint: 'Cancel the group first, or wait for its end.',
      });
    }
    // Those that wait for their turn come last: where one has begun meanwhile, little is gone.
    for (const job of jobs.toReversed()) await this.#input.remove(job.id);
    await forgetEmptyGroups(this.#input.store.db);
  }

  async #view(group: GroupRecord): Promise<GroupView> {
    const place = new Map(group.plan.map((entry, index) => [entry.job, index]));
    const bytes = new Map(group.plan.map((entry) => [entry.job, entry.bytes]));
    const rows = await groupRows(this.#input.store.db, group.id);
    const views = await Promise.all(rows.map((row) => this.#input.view(row)));
    const jobs = views.toSorted((a, b) => (place.get(a.id) ?? 0) - (place.get(b.id) ?? 0));
    return {
      id: group.id,
      name: group.name,
      source: group.source,
      target: group.target,
      summary: summarizeGroup(jobs, group.plan),
      jobs,
      totals: groupTotals(jobs, (job) => bytes.get(job.id) ?? null),
      plan: [...group.plan],
      createdAt: group.createdAt,
    };
  }
}

/**
 * Reads which databases both servers have, and says what becomes of each.
 * @throws as Groups.create does.
 */
export async function planGroup(request: GroupRequest, signal: AbortSignal): Promise<PlannedDatabase[]> {
  const source = parseEndpoint(request.source, 'source');
  const target = parseEndpoint(request.target, 'target');
  const [found, onTarget] = await Promise.all([listDatabases(source, signal), namesOnTarget(target, signal)]);
  return planDatabases(found, onTarget, request);
}

function memberRequest(
  request: GroupRequest,
  database: string,
  source: ConnectionSettings,
  target: ConnectionSettings,
): JobRequest {
  return {
    name: `${database} from ${source.host} to ${target.host}`,
    kind: 'move',
    source: { ...request.source, database },
    target: { ...request.target, database },
    options: request.options,
    start: false,
  };
}
