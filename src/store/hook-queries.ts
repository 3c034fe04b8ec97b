import { randomUUID } from 'node:crypto';
import { and, asc, desc, eq, inArray, or, sql } from 'drizzle-orm';
import type { HookMoment } from '../contract/options.ts';
import type { StateDatabase } from './database.ts';
import { type HookState, jobHooks, jobs } from './schema.ts';

/** Which hook of which job: its place in the job's options. */
export interface HookKey {
  readonly jobId: string;
  readonly moment: HookMoment;
  readonly position: number;
}

/** One calling; `repeated` when an agent had begun it and did not say how it ended. */
export interface HookCall {
  readonly delivery: string;
  readonly repeated: boolean;
}

async function newest(db: StateDatabase, key: HookKey): Promise<{ delivery: string; state: HookState } | null> {
  const [row] = await db
    .select({ delivery: jobHooks.delivery, state: jobHooks.state })
    .from(jobHooks)
    .where(and(eq(jobHooks.jobId, key.jobId), eq(jobHooks.moment, key.moment), eq(jobHooks.position, key.position)))
    .orderBy(desc(jobHooks.createdAt), desc(jobHooks.delivery))
    .limit(1);
  return row ?? null;
}

const isOpen = (state: HookState): boolean => state === 'due' || state === 'calling';

/** Stores that the moment has come; a hook that is due already stays so. */
export async function markDue(db: StateDatabase, keys: readonly HookKey[]): Promise<void> {
  for (const key of keys) {
    const row = await newest(db, key);
    if (row === null || !isOpen(row.state)) {
      await db.insert(jobHooks).values({ ...key, delivery: randomUUID(), state: 'due' });
    }
  }
}

/**
 * Stores that the hook is called now. One that is due, or whose calling was interrupted, keeps its delivery.
 * @param once answers null where this hook has been called to its end before.
 */
export async function beginCall(db: StateDatabase, key: HookKey, once: boolean): Promise<HookCall | null> {
  const row = await newest(db, key);
  if (row !== null && isOpen(row.state)) {
    await setHookState(db, row.delivery, 'calling');
    return { delivery: row.delivery, repeated: row.state === 'calling' };
  }
  if (row !== null && once) return null;
  const delivery = randomUUID();
  await db.insert(jobHooks).values({ ...key, delivery, state: 'calling' });
  return { delivery, repeated: false };
}

export async function setHookState(db: StateDatabase, delivery: string, state: HookState): Promise<void> {
  await db.update(jobHooks).set({ state }).where(eq(jobHooks.delivery, delivery));
}

/** Jobs that are over, that nobody holds, and whose last hooks were not called to their end. */
export async function jobsWithOpenHooks(db: StateDatabase): Promise<{ id: string; moment: 'completed' | 'failed' }[]> {
  const rows = await db
    .select({ id: jobs.id, moment: jobHooks.moment, at: sql`min(${jobHooks.createdAt})` })
    .from(jobHooks)
    .innerJoin(jobs, eq(jobs.id, jobHooks.jobId))
    .where(
      and(
        inArray(jobHooks.state, ['due', 'calling']),
        eq(jobs.held, false),
        or(
          and(eq(jobHooks.moment, 'completed'), eq(jobs.state, 'completed')),
          and(eq(jobHooks.moment, 'failed'), inArray(jobs.state, ['failed', 'blocked'])),
        ),
      ),
    )
    .groupBy(jobs.id, jobHooks.moment)
    .orderBy(asc(sql`min(${jobHooks.createdAt})`));
  return rows.flatMap(({ id, moment }) => (moment === 'completed' || moment === 'failed' ? [{ id, moment }] : []));
}
