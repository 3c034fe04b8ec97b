import { z } from '@hono/zod-openapi';
import { ErrorView } from './event.ts';
import { JobView } from './job.ts';
import { EndpointInput, EndpointView, JobOptions, StorableText } from './options.ts';

/** Jobs that are made together, one a database of the same two servers. */
export const GroupRequest = z
  .strictObject({
    name: StorableText.min(1).max(200).optional(),
    /** The database in it is only where the list of databases is read. */
    source: EndpointInput,
    target: EndpointInput,
    /** Each goes into the database of the same name; `all`: those that can be connected to and are no templates. */
    databases: z.union([z.literal('all'), z.array(StorableText.min(1)).min(1).max(1000)]),
    /** Those of every job. */
    options: JobOptions.prefault({}),
    /** Start with the migration of each as soon as its validation has passed. */
    start: z.boolean().default(false),
  })
  .openapi('GroupRequest');
export type GroupRequest = z.infer<typeof GroupRequest>;
/** What a client may send: defaults left out. */
export type GroupRequestInput = z.input<typeof GroupRequest>;

/** What was found of one database when the group was made. */
export const GroupPlanEntry = z
  .object({
    database: z.string(),
    /** Size on the source in bytes; null where this role may not read it. */
    bytes: z.number().nullable(),
    target: z.enum(['exists', 'will be made', 'missing']),
    /** Why it has no job; null for a member. */
    skipped: z.string().nullable(),
    /** null for what was skipped. */
    job: z.string().nullable(),
  })
  .openapi('GroupPlanEntry');
export type GroupPlanEntry = z.infer<typeof GroupPlanEntry>;

export const GroupView = z
  .object({
    id: z.string(),
    name: z.string(),
    source: EndpointView,
    target: EndpointView,
    /** One sentence: how many are where. */
    summary: z.string(),
    /** In the order in which they run: the largest first. Those that were removed are left out. */
    jobs: z.array(JobView),
    totals: z.object({
      databases: z.number(),
      /** Completed. */
      done: z.number(),
      /** Failed, blocked by validation or cancelled. */
      failed: z.number(),
      rows: z.number(),
      bytes: z.number(),
      /** Share 0..1, weighted by the databases' sizes on the source. */
      fraction: z.number(),
      /** True when every member was proven equal. */
      verified: z.boolean(),
    }),
    plan: z.array(GroupPlanEntry),
    createdAt: z.string(),
  })
  .openapi('Group');
export type GroupView = z.infer<typeof GroupView>;

export const GroupAction = z.enum(['validate', 'start', 'pause', 'resume', 'cancel', 'retry']);
export type GroupAction = z.infer<typeof GroupAction>;

/** What a step did to each member. */
export const GroupActionResult = z
  .object({
    group: GroupView,
    members: z.array(
      z.object({
        job: z.string(),
        database: z.string(),
        /** `done`; `waiting` for its turn already; `left`: the step has no meaning for a job in this state; `refused`: it failed. */
        outcome: z.enum(['done', 'waiting', 'left', 'refused']),
        /** One sentence. */
        message: z.string(),
        error: ErrorView.nullable(),
      }),
    ),
  })
  .openapi('GroupActionResult');
export type GroupActionResult = z.infer<typeof GroupActionResult>;
