import { z } from '@hono/zod-openapi';
import { ErrorView, JobState, Phase } from './event.ts';
import { LiveProgress } from './live.ts';
import { EndpointView, JobKind, JobOptions } from './options.ts';

/** A job as the API answers it. Holds no password. */
export const JobView = z
  .object({
    id: z.string(),
    name: z.string(),
    state: JobState,
    phase: Phase.nullable(),
    kind: JobKind,
    /** null for an import. */
    source: EndpointView.nullable(),
    /** null for an export. */
    target: EndpointView.nullable(),
    /** Path on the agent's machine; null for a move. */
    archive: z.string().nullable(),
    /** The jobs that were made together with this one, one a database; null for a job of its own. */
    group: z.object({ id: z.string(), name: z.string() }).nullable(),
    options: JobOptions,
    /** One sentence: what is happening now and whether the source is safe to use. */
    summary: z.string(),
    totals: z.object({
      tables: z.number(),
      tablesDone: z.number(),
      tablesFailed: z.number(),
      rows: z.number(),
      bytes: z.number(),
      fraction: z.number(),
    }),
    verified: z.boolean(),
    /** How many differences the comparison found; 0 also where nothing was compared. */
    differences: z.number(),
    error: ErrorView.nullable(),
    /** True while a failed copy still holds its snapshot, so that retry copies only the failed tables. */
    snapshotAlive: z.boolean(),
    /** `copy` or `live` once it is decided; null before. */
    method: z.enum(['copy', 'live']).nullable(),
    /** What a live job last measured; null for others. */
    live: LiveProgress.nullable(),
    lastSeq: z.number(),
    createdAt: z.string(),
    startedAt: z.string().nullable(),
    finishedAt: z.string().nullable(),
    updatedAt: z.string(),
  })
  .openapi('Job');
export type JobView = z.infer<typeof JobView>;

export const JobAction = z.enum(['validate', 'start', 'pause', 'resume', 'cancel', 'cutover', 'retry']);
export type JobAction = z.infer<typeof JobAction>;

/** RFC 9457 problem details with our code and hint. */
export const Problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number(),
    code: z.string(),
    detail: z.string(),
    hint: z.string(),
  })
  .openapi('Problem');
export type Problem = z.infer<typeof Problem>;
