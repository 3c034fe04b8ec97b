import { and, eq, gt, gte, lte, sql } from 'drizzle-orm';
import { rowsOf, type StateDatabase } from './database.ts';
import { jobEventBatches, jobs } from './schema.ts';

export interface PruneBounds {
  /** The newest events that stay. */
  readonly keep: number;
  /** Events of that age go; null: age does not matter. */
  readonly days: number | null;
  /** About how many events go at once: the statement stays short, and nobody waits for it. */
  readonly limit: number;
}

export interface Pruned {
  readonly events: number;
  /** Bytes as they were stored. */
  readonly bytes: number;
}

/**
 * Removes events from the front of a job, in whole batches: those beyond `keep` and those that are too old, never the newest batch.
 * What remains is a gapless suffix. Done when it answers no events.
 */
export async function pruneEvents(db: StateDatabase, jobId: string, bounds: PruneBounds): Promise<Pruned> {
  const own = sql`${jobEventBatches} where job_id = ${jobId}`;
  const young =
    bounds.days === null
      ? sql`0`
      : sql`coalesce((select min(last_seq) from ${own} and at >= now() - make_interval(days => ${bounds.days})), (select seq from newest))`;
  const [row] = rowsOf<{ events: string | number; bytes: string | number }>(
    await db.execute(sql`
      with oldest as (select first_seq, last_seq from ${own} order by last_seq limit 1),
      newest as (select last_seq as seq from ${own} order by last_seq desc limit 1),
      bound as (select least(
        (select seq from newest),
        greatest((select seq from newest) - ${bounds.keep}::bigint + 1, ${young}),
        (select greatest(first_seq + ${bounds.limit}::bigint, last_seq + 1) from oldest)) as seq),
      gone as (delete from ${own} and last_seq < (select seq from bound)
        returning last_seq - first_seq + 1 as n, ${storedSize} as bytes)
      select coalesce(sum(n), 0) as events, coalesce(sum(bytes), 0) as bytes from gone`),
  );
  return { events: Number(row?.events ?? 0), bytes: Number(row?.bytes ?? 0) };
}

/** Bytes a batch takes: its compressed text, the rest of its row, and its place in the index. */
const storedSize = sql`pg_column_size(events) + 150`;

const ended = sql`('completed', 'failed', 'cancelled')`;

/** Jobs that have more events than `keep`, with those the count of which has to be bounded even while they run. */
export async function jobsBeyond(db: StateDatabase, keep: number): Promise<string[]> {
  const rows = rowsOf<{ id: string }>(
    await db.execute(sql`select id from ${jobs} where last_seq > ${keep}::bigint and exists (
      select 1 from ${jobEventBatches} b where b.job_id = ${jobs.id} and b.last_seq <= ${jobs.lastSeq} - ${keep}::bigint)`),
  );
  return rows.map(({ id }) => id);
}

/** Ended jobs that have events older than `days`, beside their newest. */
export async function jobsWithOld(db: StateDatabase, days: number): Promise<string[]> {
  const rows = rowsOf<{ id: string }>(
    await db.execute(sql`select distinct job_id as id from ${jobEventBatches} b join ${jobs} on ${jobs.id} = b.job_id
      where b.at < now() - make_interval(days => ${days}) and b.last_seq < ${jobs.lastSeq} and state in ${ended}`),
  );
  return rows.map(({ id }) => id);
}

/** Bytes that all events take, and the ended jobs that have some to give: the one that ended first comes first. */
export async function sizeOfEvents(
  db: StateDatabase,
): Promise<{ readonly bytes: number; readonly ended: readonly { readonly id: string; readonly bytes: number }[] }> {
  const rows = rowsOf<{ id: string; bytes: string | number; over: boolean; more: boolean }>(
    await db.execute(sql`
      select job_id as id, sum(${storedSize}) as bytes, coalesce(bool_or(state in ${ended}), false) as over, count(*) > 1 as more
      from ${jobEventBatches} left join ${jobs} on ${jobs.id} = job_id
      group by job_id order by max(coalesce(finished_at, updated_at)) nulls first, job_id`),
  );
  const all = rows.map((row) => ({ ...row, bytes: Number(row.bytes) }));
  return {
    bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
    ended: all.filter(({ over, more }) => over && more).map(({ id, bytes }) => ({ id, bytes })),
  };
}

/** Bytes that the table of events takes on disk, what was removed included. Cheap. */
export async function roomOfEvents(db: StateDatabase): Promise<number> {
  const [row] = rowsOf<{ bytes: string | number }>(
    await db.execute(sql`select pg_total_relation_size('pgsluice.job_event_batches') as bytes`),
  );
  return Number(row?.bytes ?? 0);
}

export type BatchRow = typeof jobEventBatches.$inferSelect;

/** What a batch holds at most when small ones are put together. */
export const fullBatch = { events: 500, characters: 256_000 };

/** Neighbours put together as far as they stay below the bounds; null where none can be. `rows`: of one job, by seq. Pure. */
export function mergeBatches(rows: readonly BatchRow[], full = fullBatch): BatchRow[] | null {
  const merged: BatchRow[] = [];
  for (const row of rows) {
    const last = merged.at(-1);
    const fits =
      last !== undefined &&
      last.lastSeq + 1 === row.firstSeq &&
      row.lastSeq - last.firstSeq < full.events &&
      last.characters + row.characters <= full.characters;
    if (!fits) {
      merged.push(row);
      continue;
    }
    const events = `${last.events.slice(0, -1)},${row.events.slice(1)}`;
    merged[merged.length - 1] = {
      ...last,
      lastSeq: row.lastSeq,
      at: row.at > last.at ? row.at : last.at,
      characters: events.length,
      events,
    };
  }
  return merged.length < rows.length ? merged : null;
}

/** Jobs whose events lie in many more batches than they need: a job that says little stores an event or two at a time. */
export async function scatteredJobs(db: StateDatabase): Promise<string[]> {
  const rows = rowsOf<{ id: string }>(
    await db.execute(sql`select job_id as id from ${jobEventBatches} group by job_id
      having count(*) > 40 + 4 * (max(last_seq) - min(first_seq)) / ${fullBatch.events}::bigint
        and sum(characters) / count(*) < ${fullBatch.characters / 8}::bigint`),
  );
  return rows.map(({ id }) => id);
}

const batchesPerMerge = 250;

/**
 * Puts the small batches of a piece of a job together, in one transaction: whoever reads sees the one or the other.
 * @returns where to go on, or null at the end.
 */
export async function compactEvents(db: StateDatabase, jobId: string, after: number): Promise<number | null> {
  return await db.transaction(async (tx) => {
    const own = eq(jobEventBatches.jobId, jobId);
    const rows = await tx
      .select()
      .from(jobEventBatches)
      .where(and(own, gt(jobEventBatches.lastSeq, after)))
      .orderBy(jobEventBatches.lastSeq)
      .limit(batchesPerMerge)
      .for('update');
    const [first] = rows;
    const last = rows.at(-1);
    if (first === undefined || last === undefined) return null;
    const merged = mergeBatches(rows);
    if (merged !== null) {
      await tx
        .delete(jobEventBatches)
        .where(and(own, gte(jobEventBatches.lastSeq, first.lastSeq), lte(jobEventBatches.lastSeq, last.lastSeq)));
      await tx.insert(jobEventBatches).values(merged);
    }
    return rows.length < batchesPerMerge ? null : last.lastSeq;
  });
}
