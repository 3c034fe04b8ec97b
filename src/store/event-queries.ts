import { and, asc, desc, eq, gt, ilike, inArray, sql } from 'drizzle-orm';
import type { CheckResult } from '../contract/check.ts';
import type { JobEvent, LogLevel, Phase, TableProgress } from '../contract/event.ts';
import type { LiveProgress } from '../contract/live.ts';
import { rowsOf, type StateDatabase } from './database.ts';
import { jobChecks, jobEvents, jobs, jobTables, type JobTotals } from './schema.ts';

/** One batch of a job's events, seq without a gap, and what follows from them for the job's other tables. */
export interface EventBatch {
  readonly jobId: string;
  readonly ownerId: string;
  /** The first event's seq; the job's stored last seq must be the one before it. */
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** JSON array of `{seq, at, body}`. */
  readonly events: string;
  readonly totals: JobTotals | null;
  readonly phase: Phase | null;
  /** True when a phase that changes the target began. */
  /** The newest progress of every table in the batch. */
  readonly tables: readonly TableProgress[];
  readonly checks: readonly { readonly position: number; readonly check: CheckResult }[];
}

/**
 * Stores a batch whole or not at all.
 * Answers false, and stores nothing, when the job is gone, another agent owns it now, or it does not end where the batch begins.
 */
export async function writeEvents(db: StateDatabase, batch: EventBatch): Promise<boolean> {
  return await db.transaction(async (tx) => {
    const owned = await tx
      .update(jobs)
      .set({
        lastSeq: batch.lastSeq,
        updatedAt: sql`now()`,
        ...(batch.totals === null ? {} : { totals: batch.totals }),
        ...(batch.phase === null ? {} : { phase: batch.phase }),
      })
      .where(and(eq(jobs.id, batch.jobId), eq(jobs.ownerId, batch.ownerId), eq(jobs.lastSeq, batch.firstSeq - 1)))
      .returning({ id: jobs.id });
    if (owned.length === 0) return false;

    await tx.execute(sql`
      insert into ${jobEvents} (job_id, seq, at, type, level, body)
      select ${batch.jobId}, (e->>'seq')::bigint, (e->>'at')::timestamptz, e->'body'->>'type', e->'body'->>'level', e->'body'
      from jsonb_array_elements(${batch.events}::text::jsonb) as e`);
    if (batch.tables.length > 0) {
      await tx.execute(sql`
        insert into ${jobTables} (job_id, schema_name, table_name, progress)
        select ${batch.jobId}, t->>'schema', t->>'name', t
        from jsonb_array_elements(${JSON.stringify(batch.tables)}::text::jsonb) as t
        on conflict (job_id, schema_name, table_name) do update set progress = excluded.progress`);
    }
    for (const { position, check } of batch.checks) {
      await tx
        .insert(jobChecks)
        .values({ jobId: batch.jobId, checkId: check.id, side: check.side, position, result: check })
        .onConflictDoUpdate({
          target: [jobChecks.jobId, jobChecks.checkId, jobChecks.side],
          // A check that is made again, or accepted, keeps its place.
          set: { result: check },
        });
    }
    return true;
  });
}

/** Events after `after`, the oldest first, at most `limit`. */
export async function readEvents(db: StateDatabase, jobId: string, after: number, limit: number): Promise<JobEvent[]> {
  const rows = await db
    .select({ seq: jobEvents.seq, at: jobEvents.at, body: jobEvents.body })
    .from(jobEvents)
    .where(and(eq(jobEvents.jobId, jobId), gt(jobEvents.seq, after)))
    .orderBy(asc(jobEvents.seq))
    .limit(limit);
  return rows.map(toEvent);
}

const levels: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** Log events only; `search` is found in the message whatever its case. */
export async function readLogs(
  db: StateDatabase,
  jobId: string,
  query: { after: number; limit: number; level: LogLevel; search: string | null },
): Promise<JobEvent[]> {
  const conditions = [
    eq(jobEvents.jobId, jobId),
    gt(jobEvents.seq, query.after),
    eq(jobEvents.type, 'log'),
    inArray(jobEvents.level, levels.slice(levels.indexOf(query.level))),
  ];
  if (query.search !== null && query.search !== '') {
    conditions.push(ilike(sql`${jobEvents.body}->>'message'`, `%${query.search.replace(/[\\%_]/g, '\\$&')}%`));
  }
  const rows = await db
    .select({ seq: jobEvents.seq, at: jobEvents.at, body: jobEvents.body })
    .from(jobEvents)
    .where(and(...conditions))
    .orderBy(asc(jobEvents.seq))
    .limit(query.limit);
  return rows.map(toEvent);
}

/** The oldest seq that is still stored; null when there is none. */
export async function firstSeq(db: StateDatabase, jobId: string): Promise<number | null> {
  const [row] = await db
    .select({ seq: jobEvents.seq })
    .from(jobEvents)
    .where(eq(jobEvents.jobId, jobId))
    .orderBy(asc(jobEvents.seq))
    .limit(1);
  return row?.seq ?? null;
}

/** Events behind which the newest figures of a live job are looked for. */
const progressReach = 5_000;

/** What a live job last measured, as its newest events tell it; null when they tell nothing. */
export async function lastProgress(db: StateDatabase, jobId: string): Promise<LiveProgress | null> {
  const [row] = await db
    .select({ progress: sql<LiveProgress>`${jobEvents.body}->'live'` })
    .from(jobEvents)
    .where(
      and(
        eq(jobEvents.jobId, jobId),
        gt(jobEvents.seq, sql`(select last_seq from ${jobs} where id = ${jobId}) - ${progressReach}::bigint`),
        eq(jobEvents.type, 'metric'),
        sql`${jobEvents.body}->'live' is not null`,
      ),
    )
    .orderBy(desc(jobEvents.seq))
    .limit(1);
  return row?.progress ?? null;
}

/**
 * Removes at most `limit` events from the front of a job: those beyond `keep` and those older than `days`, never the newest.
 * What remains is a gapless suffix. Answers how many were removed.
 */
export async function pruneEvents(
  db: StateDatabase,
  jobId: string,
  bounds: { keep: number; days: number; limit: number },
): Promise<number> {
  const rows = rowsOf<{ n: string | number }>(
    await db.execute(sql`
      with job as (select last_seq from ${jobs} where id = ${jobId}),
      young as (select seq from ${jobEvents} where job_id = ${jobId} and at >= now() - make_interval(days => ${bounds.days})
                order by seq limit 1),
      oldest as (select seq from ${jobEvents} where job_id = ${jobId} order by seq limit 1),
      bound as (select least(last_seq, greatest(last_seq - ${bounds.keep} + 1, coalesce((select seq from young), last_seq)),
                             (select seq from oldest) + ${bounds.limit}) as seq from job),
      gone as (delete from ${jobEvents} where job_id = ${jobId} and seq < (select seq from bound) returning 1)
      select count(*) as n from gone`),
  );
  return Number(rows[0]?.n ?? 0);
}

function toEvent(row: { seq: number; at: Date; body: object }): JobEvent {
  return { ...row.body, seq: row.seq, at: row.at.toISOString() } as JobEvent;
}
