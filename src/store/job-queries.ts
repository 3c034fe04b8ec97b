import { and, asc, desc, eq, inArray, isNotNull, isNull, notInArray, or, sql } from 'drizzle-orm';
import type { CheckResult } from '../contract/check.ts';
import type { JobState, TableProgress } from '../contract/event.ts';
import type { Report } from '../contract/report.ts';
import { rowsOf, type StateDatabase } from './database.ts';
import { agents, jobChecks, jobEventBatches, jobReports, jobs, jobTables } from './schema.ts';

export type JobRow = typeof jobs.$inferSelect;
export type NewJobRow = typeof jobs.$inferInsert;
/** What a transition may change beside the state. */
export type JobPatch = Partial<
  Pick<
    JobRow,
    | 'phase'
    | 'totals'
    | 'verified'
    | 'differences'
    | 'error'
    | 'held'
    | 'targetTouched'
    | 'snapshotAt'
    | 'live'
    | 'goesOn'
    | 'startedAt'
    | 'finishedAt'
  >
>;

export async function insertJob(db: StateDatabase, row: NewJobRow): Promise<void> {
  await db.insert(jobs).values(row);
}

export async function findJob(db: StateDatabase, id: string): Promise<JobRow | null> {
  const [row] = await db.select().from(jobs).where(eq(jobs.id, id));
  return row ?? null;
}

export interface JobQuery {
  /** At most that many. */
  readonly limit?: number;
  /** Only jobs that come behind the one with this id. */
  readonly after?: string;
  /** Only jobs that begin with this id, or a part of it. */
  readonly idPrefix?: string;
  /** Only live jobs that are not over. */
  readonly following?: boolean;
}

/** Newest first. */
export async function listJobs(db: StateDatabase, query: JobQuery = {}): Promise<JobRow[]> {
  const { limit, after, idPrefix, following } = query;
  const conditions = [
    ...(after === undefined
      ? []
      : [sql`(${jobs.createdAt}, ${jobs.id}) < (select j.created_at, j.id from ${jobs} j where j.id = ${after})`]),
    ...(idPrefix === undefined ? [] : [sql`starts_with(${jobs.id}, ${idPrefix})`]),
    ...(following === true ? [isNotNull(jobs.live), notInArray(jobs.state, ['completed', 'cancelled', 'failed'])] : []),
  ];
  const found = db
    .select()
    .from(jobs)
    .where(and(...conditions))
    .orderBy(desc(jobs.createdAt), desc(jobs.id));
  return await (limit === undefined ? found : found.limit(limit));
}

export async function countByState(db: StateDatabase): Promise<Map<JobState, number>> {
  const rows = await db
    .select({ state: jobs.state, count: sql<string>`count(*)` })
    .from(jobs)
    .groupBy(jobs.state);
  return new Map(rows.map((row) => [row.state, Number(row.count)]));
}

/** Changes a job only while `ownerId` owns it and it is in `from`; false when that is no longer so. */
export async function moveJob(
  db: StateDatabase,
  move: { id: string; ownerId: string; from: JobState; to: JobState; patch: JobPatch },
): Promise<boolean> {
  const changed = await db
    .update(jobs)
    .set({ ...move.patch, state: move.to, updatedAt: sql`now()` })
    .where(and(eq(jobs.id, move.id), eq(jobs.ownerId, move.ownerId), eq(jobs.state, move.from)))
    .returning({ id: jobs.id });
  return changed.length === 1;
}

/** False when the job is gone or `ownerId` does not own it any more. */
export async function patchJob(db: StateDatabase, id: string, ownerId: string, patch: JobPatch): Promise<boolean> {
  const changed = await db
    .update(jobs)
    .set({ ...patch, updatedAt: sql`now()` })
    .where(and(eq(jobs.id, id), eq(jobs.ownerId, ownerId)))
    .returning({ id: jobs.id });
  return changed.length === 1;
}

/**
 * Takes a job for `agentId`: it is not in the hands of another agent that still has a heartbeat within `silenceSeconds`.
 * Answers the row as it is then, or null when another agent holds it (or it is gone).
 */
export async function claimJob(
  db: StateDatabase,
  claim: { id: string; agentId: string; silenceSeconds: number },
): Promise<JobRow | null> {
  const livingHolder = sql`${jobs.held} and exists (select 1 from ${agents} where ${agents.id} = ${jobs.ownerId}
    and ${agents.heartbeatAt} > now() - make_interval(secs => ${claim.silenceSeconds}))`;
  const [row] = await db
    .update(jobs)
    .set({ ownerId: claim.agentId })
    .where(
      and(eq(jobs.id, claim.id), sql`(${jobs.ownerId} is not distinct from ${claim.agentId} or not (${livingHolder}))`),
    )
    .returning();
  return row ?? null;
}

/**
 * Jobs that are held by one of `deadAgents`, by an agent that is no longer known, or by `ownId` itself (which knows what it works on).
 * `working`: states in which a job is held; one that is not was left by an agent that died while it marked what another had left.
 */
export async function interruptedJobs(
  db: StateDatabase,
  { ownId, deadAgents, working }: { ownId: string; deadAgents: readonly string[]; working: readonly JobState[] },
): Promise<JobRow[]> {
  const suspects = or(
    inArray(jobs.ownerId, [ownId, ...deadAgents]),
    isNull(jobs.ownerId),
    notInArray(jobs.ownerId, db.select({ id: agents.id }).from(agents)),
  );
  return await db
    .select()
    .from(jobs)
    .where(and(or(eq(jobs.held, true), inArray(jobs.state, [...working])), suspects))
    .orderBy(asc(jobs.createdAt));
}

/** Live jobs that are over and have, or may have, left something on a server; those that an agent holds are its own care. */
export async function unclean(db: StateDatabase): Promise<{ id: string }[]> {
  return await db
    .select({ id: jobs.id })
    .from(jobs)
    .where(
      and(
        inArray(jobs.state, ['failed', 'cancelled', 'completed']),
        eq(jobs.held, false),
        sql`${jobs.live}->>'stage' <> 'cleaned'`,
      ),
    )
    .orderBy(asc(jobs.createdAt));
}

/** Slots and publications of all live jobs, whoever holds them, that stand or may stand on a server. */
export async function standingNames(db: StateDatabase): Promise<string[]> {
  const rows = await db
    .select({ live: jobs.live })
    .from(jobs)
    .where(sql`${jobs.live}->>'stage' <> 'cleaned'`);
  return [...new Set(rows.flatMap(({ live }) => (live === null ? [] : [live.slot, live.publication])))];
}

/** Live jobs that were interrupted and that no person has paused. */
export async function goingOn(db: StateDatabase): Promise<{ id: string }[]> {
  return await db
    .select({ id: jobs.id })
    .from(jobs)
    .where(and(eq(jobs.state, 'paused'), eq(jobs.held, false), eq(jobs.goesOn, true)))
    .orderBy(asc(jobs.createdAt));
}

/** Takes an interrupted job from the agent that held it; false when another agent was quicker. */
export async function takeInterrupted(db: StateDatabase, row: JobRow, agentId: string): Promise<boolean> {
  const taken = await db
    .update(jobs)
    .set({ ownerId: agentId, held: false, updatedAt: sql`now()` })
    .where(
      and(
        eq(jobs.id, row.id),
        eq(jobs.held, row.held),
        eq(jobs.state, row.state),
        sql`${jobs.ownerId} is not distinct from ${row.ownerId}`,
      ),
    )
    .returning({ id: jobs.id });
  return taken.length === 1;
}

const batchesPerDelete = 200;

/** Removes a job and all that belongs to it; its events in pieces, because the embedded server answers nobody meanwhile. */
export async function deleteJob(db: StateDatabase, id: string): Promise<void> {
  await db.delete(jobs).where(eq(jobs.id, id));
  for (;;) {
    const deleted = rowsOf<{ n: string | number }>(
      await db.execute(sql`with gone as (delete from ${jobEventBatches} where job_id = ${id} and last_seq in
        (select last_seq from ${jobEventBatches} where job_id = ${id} order by last_seq limit ${batchesPerDelete}) returning 1)
        select count(*) as n from gone`),
    );
    if (Number(deleted[0]?.n ?? 0) < batchesPerDelete) return;
  }
}

/** Forgets the progress of an earlier run. */
export async function clearTables(db: StateDatabase, id: string): Promise<void> {
  await db.delete(jobTables).where(eq(jobTables.jobId, id));
}

/** Forgets what an earlier validation has found; answers it. */
export async function clearChecks(db: StateDatabase, id: string): Promise<CheckResult[]> {
  const gone = await db.delete(jobChecks).where(eq(jobChecks.jobId, id)).returning({ result: jobChecks.result });
  return gone.map(({ result }) => result);
}

/** The biggest first: that is the order in which they are copied. */
export async function tablesOf(db: StateDatabase, id: string): Promise<TableProgress[]> {
  const rows = await db
    .select({ progress: jobTables.progress })
    .from(jobTables)
    .where(eq(jobTables.jobId, id))
    .orderBy(sql`(${jobTables.progress}->>'sizeBytes')::numeric desc`, jobTables.schemaName, jobTables.tableName);
  return rows.map((row) => row.progress);
}

export async function checksOf(db: StateDatabase, id: string): Promise<CheckResult[]> {
  const rows = await db
    .select({ result: jobChecks.result })
    .from(jobChecks)
    .where(eq(jobChecks.jobId, id))
    .orderBy(jobChecks.position);
  return rows.map((row) => row.result);
}

export async function saveReport(db: StateDatabase, id: string, report: Report): Promise<void> {
  await db
    .insert(jobReports)
    .values({ jobId: id, report })
    .onConflictDoUpdate({ target: jobReports.jobId, set: { report, writtenAt: sql`now()` } });
}

export async function findReport(db: StateDatabase, id: string): Promise<Report | null> {
  const [row] = await db.select({ report: jobReports.report }).from(jobReports).where(eq(jobReports.jobId, id));
  return row?.report ?? null;
}
