import { and, eq, sql } from 'drizzle-orm';
import type { CheckResult } from '../contract/check.ts';
import type { JobEvent, Phase, TableProgress } from '../contract/event.ts';
import type { LiveProgress } from '../contract/live.ts';
import { rowsOf, type StateDatabase } from './database.ts';
import { jobChecks, jobEventBatches, jobs, jobTables, type JobTotals } from './schema.ts';

/** One batch of a job's events, seq without a gap, and what follows from them for the job's other tables. */
export interface EventBatch {
  readonly jobId: string;
  readonly ownerId: string;
  /** The first event's seq; the job's stored last seq must be the one before it. */
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** Moment of the last event, ISO. */
  readonly at: string;
  /** JSON array of the events. */
  readonly events: string;
  readonly totals: JobTotals | null;
  readonly phase: Phase | null;
  /** The newest progress of every table in the batch. */
  readonly tables: readonly TableProgress[];
  readonly checks: readonly { readonly position: number; readonly check: CheckResult }[];
}

/**
 * Stores a batch whole or not at all.
 * Answers false, and stores nothing, when the job is gone, another agent owns it now, or it does not end where the batch begins.
 */
export async function writeEvents(db: StateDatabase, batch: EventBatch): Promise<boolean> {
  return batch.tables.length + batch.checks.length === 0
    ? await appendBatch(db, batch)
    : await db.transaction(async (tx) => {
        if (!(await appendBatch(tx, batch))) return false;
        await storeEffects(tx, batch);
        return true;
      });
}

/** One statement: beside it nothing has to be sent for most batches. */
async function appendBatch(db: StateDatabase, batch: EventBatch): Promise<boolean> {
  const totals = batch.totals === null ? sql`` : sql`, totals = ${JSON.stringify(batch.totals)}::text::jsonb`;
  const phase = batch.phase === null ? sql`` : sql`, phase = ${batch.phase}`;
  const stored = rowsOf(
    await db.execute(sql`
      with owned as (
        update ${jobs} set last_seq = ${batch.lastSeq}, updated_at = now() ${totals} ${phase}
        where id = ${batch.jobId} and owner_id = ${batch.ownerId} and last_seq = ${batch.firstSeq - 1} returning id)
      insert into ${jobEventBatches} (job_id, first_seq, last_seq, at, characters, events)
      select id, ${batch.firstSeq}::bigint, ${batch.lastSeq}::bigint, ${batch.at}::timestamptz, ${batch.events.length}::integer,
        ${batch.events}::text from owned returning 1`),
  );
  return stored.length === 1;
}

async function storeEffects(db: StateDatabase, batch: EventBatch): Promise<void> {
  if (batch.tables.length > 0) {
    await db.execute(sql`
        insert into ${jobTables} (job_id, schema_name, table_name, progress)
        select ${batch.jobId}, t->>'schema', t->>'name', t
        from jsonb_array_elements(${JSON.stringify(batch.tables)}::text::jsonb) as t
        on conflict (job_id, schema_name, table_name) do update set progress = excluded.progress`);
  }
  for (const { position, check } of batch.checks) {
    await db
      .insert(jobChecks)
      .values({ jobId: batch.jobId, checkId: check.id, side: check.side, position, result: check })
      .onConflictDoUpdate({
        target: [jobChecks.jobId, jobChecks.checkId, jobChecks.side],
        // A check that is made again, or accepted, keeps its place.
        set: { result: check },
      });
  }
}

/** A stored batch: JSON array of its events, whose seqs run from `firstSeq` to `lastSeq`. */
export interface StoredBatch {
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly events: string;
}

/** Characters of JSON after which a read ends, so that it stays short whatever the size of the events. */
const charactersPerRead = 1_000_000;

/** The batches that hold events after `after`, the oldest first: one at least where there is any, then until there are `events`. */
export async function readBatches(
  db: StateDatabase,
  jobId: string,
  after: number,
  events: number,
): Promise<StoredBatch[]> {
  const rows = rowsOf<{ first: string | number; last: string | number; events: string }>(
    await db.execute(sql`
      select first_seq as first, last_seq as last, events from ${jobEventBatches}
      where job_id = ${jobId} and last_seq > ${after} and last_seq <= (
        select max(last_seq) from (
          select last_seq, first_seq - min(first_seq) over () as events_before,
            sum(characters) over (order by last_seq rows between unbounded preceding and current row) - characters as characters_before
          from (
            select first_seq, last_seq, characters from ${jobEventBatches}
            where job_id = ${jobId} and last_seq > ${after} order by last_seq limit ${events}
          ) as next
        ) as measured
        where events_before < ${events}::bigint and characters_before < ${charactersPerRead}::bigint)
      order by last_seq`),
  );
  return rows.map(({ first, last, events: text }) => ({
    firstSeq: Number(first),
    lastSeq: Number(last),
    events: text,
  }));
}

export function eventsOf({ events }: Pick<StoredBatch, 'events'>): JobEvent[] {
  return JSON.parse(events) as JobEvent[];
}

/**
 * Events after `after`, the oldest first: about `limit`, since batches are read whole; empty only where there is none. Ends at the
 * end of a batch, so that readers who began at different places soon ask for the same.
 */
export async function readEvents(db: StateDatabase, jobId: string, after: number, limit: number): Promise<JobEvent[]> {
  const batches = await readBatches(db, jobId, after, limit);
  return batches.flatMap(eventsOf).filter(({ seq }) => seq > after);
}

/** First and last stored seq of a job, first = last + 1 where none is stored; null when the job is gone. */
export async function eventBounds(db: StateDatabase, jobId: string): Promise<{ first: number; last: number } | null> {
  const [row] = rowsOf<{ first: string | number | null; last: string | number }>(
    await db.execute(sql`select last_seq as last, (
        select first_seq from ${jobEventBatches} where job_id = ${jobs.id} order by ${jobEventBatches.lastSeq} limit 1) as first
      from ${jobs} where id = ${jobId}`),
  );
  if (row === undefined) return null;
  const last = Number(row.last);
  return { first: row.first === null ? last + 1 : Number(row.first), last };
}

/** Events behind which the newest figures of a live job are looked for. */
const progressReach = 5_000;

/** What a live job last measured, as its newest events tell it; null when they tell nothing. */
export async function lastProgress(db: StateDatabase, jobId: string): Promise<LiveProgress | null> {
  const [row] = await db
    .select({ events: jobEventBatches.events })
    .from(jobEventBatches)
    .where(
      and(
        eq(jobEventBatches.jobId, jobId),
        sql`${jobEventBatches.lastSeq} > (select last_seq from ${jobs} where id = ${jobId}) - ${progressReach}::bigint`,
        sql`${jobEventBatches.events} ~ '"live": ?[{]'`,
      ),
    )
    .orderBy(sql`${jobEventBatches.lastSeq} desc`)
    .limit(1);
  if (row === undefined) return null;
  const told = eventsOf(row).flatMap((event) => (event.type === 'metric' && event.live ? [event.live] : []));
  return told.at(-1) ?? null;
}
