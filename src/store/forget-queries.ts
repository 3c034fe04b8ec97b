import { and, asc, eq, isNull, sql } from 'drizzle-orm';
import type { StateDatabase } from './database.ts';
import { jobHooks, jobs } from './schema.ts';

/** How long the passwords of a job are kept after nothing was done with it any more, in seconds. */
export interface PasswordBounds {
  /** Of a job that is completed: nothing of it can be run again. */
  readonly completedSeconds: number;
  /** Of any other that stands still and that no person has paused. */
  readonly otherSeconds: number;
}

export interface Forgettable {
  readonly id: string;
  readonly source: string | null;
  readonly target: string | null;
}

/**
 * Jobs whose passwords nothing needs any more: nobody holds them, a live one has left nothing on a server, no hook is owed, and
 * their time is over. One that is paused keeps its own: it is there to go on.
 */
export async function forgettable(db: StateDatabase, bounds: PasswordBounds): Promise<Forgettable[]> {
  const owed = sql`exists (select 1 from ${jobHooks} where ${jobHooks.jobId} = ${jobs.id} and ${jobHooks.state} in ('due', 'calling'))`;
  const over = (column: typeof jobs.finishedAt | typeof jobs.updatedAt, seconds: number) =>
    sql`${column} < now() - make_interval(secs => ${seconds})`;
  return await db
    .select({ id: jobs.id, source: jobs.source, target: jobs.target })
    .from(jobs)
    .where(
      and(
        isNull(jobs.passwordsForgottenAt),
        eq(jobs.held, false),
        sql`(${jobs.live} is null or ${jobs.live}->>'stage' = 'cleaned')`,
        sql`not ${owed}`,
        sql`((${jobs.state} = 'completed' and ${over(jobs.finishedAt, bounds.completedSeconds)})
          or (${jobs.state} in ('draft', 'ready', 'blocked', 'failed', 'cancelled') and ${over(jobs.updatedAt, bounds.otherSeconds)}))`,
      ),
    )
    .orderBy(asc(jobs.createdAt));
}

/** Takes the place of what was sealed, unless somebody has the job in hand meanwhile. @returns whether it did. */
export async function storeForgotten(
  db: StateDatabase,
  old: Forgettable,
  anew: Pick<Forgettable, 'source' | 'target'>,
): Promise<boolean> {
  const changed = await db
    .update(jobs)
    .set({ ...anew, calls: null, passwordsForgottenAt: sql`now()` })
    .where(
      and(
        eq(jobs.id, old.id),
        eq(jobs.held, false),
        isNull(jobs.passwordsForgottenAt),
        sql`${jobs.source} is not distinct from ${old.source} and ${jobs.target} is not distinct from ${old.target}`,
      ),
    )
    .returning({ id: jobs.id });
  return changed.length === 1;
}
