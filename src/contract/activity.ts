import { z } from '@hono/zod-openapi';

/** One session of a job on one of its servers, as the server shows it. */
export const SessionActivity = z
  .object({
    /** Server process. */
    pid: z.number(),
    /** As in pg_stat_activity, for instance `pgsluice copy 3f2a…`. */
    application: z.string(),
    /** active, idle, idle in transaction … */
    state: z.string(),
    /** The statement that runs, or the last one; cut, and without what may hold a secret. */
    query: z.string(),
    /** What the process waits for, for instance `Lock: relation`; null while it computes. */
    waitsFor: z.string().nullable(),
    /** Processes that hold what it waits for, each in words. */
    blockedBy: z.array(z.string()),
    /** ISO, UTC; null before the first statement. */
    querySince: z.string().nullable(),
    /** ISO, UTC; null outside of a transaction. */
    transactionSince: z.string().nullable(),
  })
  .openapi('SessionActivity');
export type SessionActivity = z.infer<typeof SessionActivity>;

/** Why a server could not be asked; what it runs is then not known. */
const NotAsked = z.object({ code: z.string(), message: z.string(), hint: z.string() });

export const SideActivity = z.object({
  sessions: z.array(SessionActivity),
  error: NotAsked.nullable(),
});
export type SideActivity = z.infer<typeof SideActivity>;

/** What the sessions of a job run at this moment; a side is null where an archive stands in its place. */
export const JobActivity = z
  .object({
    at: z.string(),
    /** Bytes a second that the job may take from its source now; null: no limit, or the job is not in this agent's hands. */
    rate: z.number().nullable(),
    source: SideActivity.nullable(),
    target: SideActivity.nullable(),
  })
  .openapi('JobActivity');
export type JobActivity = z.infer<typeof JobActivity>;
