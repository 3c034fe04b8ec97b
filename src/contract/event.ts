import { z } from '@hono/zod-openapi';
import { CheckResult } from './check.ts';
import { LiveProgress } from './live.ts';
import { Application, Difference } from './report.ts';

export const jobStates = [
  'draft',
  'validating',
  'ready',
  'blocked',
  'running',
  'following',
  'cutting_over',
  'paused',
  'verifying',
  'completed',
  'failed',
  'cancelled',
] as const;
export const JobState = z.enum(jobStates).openapi('JobState');
export type JobState = z.infer<typeof JobState>;

export const phases = ['schema', 'copy', 'indexes', 'constraints', 'sequences', 'analyze'] as const;
export const Phase = z.enum([...phases, 'validate', 'slot', 'follow', 'cutover', 'verify']);
export type Phase = z.infer<typeof Phase>;

export const tableStates = ['pending', 'copying', 'copied', 'failed', 'skipped'] as const;
export const TableState = z.enum(tableStates);
export type TableState = z.infer<typeof TableState>;

export const ErrorView = z.object({ code: z.string(), message: z.string(), hint: z.string() });
export type ErrorView = z.infer<typeof ErrorView>;

/** Where one table stands. All figures are measured: rows and bytes are those that passed through the agent. */
export const TableProgress = z
  .object({
    schema: z.string(),
    name: z.string(),
    state: TableState,
    rows: z.number(),
    bytes: z.number(),
    /** Size of the table's main and TOAST forks on the source in bytes, measured at the start; the yardstick of the bar. */
    sizeBytes: z.number(),
    /** Planner's estimate of the rows on the source at the start, or null when the table was never analysed. */
    estimatedRows: z.number().nullable(),
    format: z.enum(['binary', 'text']).nullable(),
    /** Bytes a second over the last seconds. */
    rate: z.number(),
    seconds: z.number(),
    attempts: z.number(),
    error: ErrorView.nullable(),
  })
  .openapi('TableProgress');
export type TableProgress = z.infer<typeof TableProgress>;

export const LogLevel = z.enum(['debug', 'info', 'warn', 'error']);
export type LogLevel = z.infer<typeof LogLevel>;

export const StateEvent = z.object({
  type: z.literal('state'),
  state: JobState,
  previous: JobState.nullable(),
  reason: z.string(),
  error: ErrorView.nullable(),
});
export const PhaseEvent = z.object({
  type: z.literal('phase'),
  phase: Phase,
  status: z.enum(['started', 'finished']),
  seconds: z.number().nullable(),
  detail: z.string(),
});
export const CheckEvent = z.object({ type: z.literal('check'), check: CheckResult });
export const TableEvent = z.object({ type: z.literal('table'), table: TableProgress });
export const IndexEvent = z.object({
  type: z.literal('index'),
  /** pg_dump's word: INDEX, CONSTRAINT, FK CONSTRAINT … */
  kind: z.string(),
  schema: z.string(),
  table: z.string(),
  name: z.string(),
  state: z.enum(['building', 'built', 'failed']),
  seconds: z.number(),
});
export const LogEvent = z.object({ type: z.literal('log'), level: LogLevel, message: z.string() });
/** How far the comparison of both sides is. */
export const ComparingProgress = z
  .object({
    tables: z.number(),
    tablesDone: z.number(),
    rows: z.number(),
    /** Sizes on the source of what has been compared. */
    bytes: z.number(),
    /** Share 0..1, never falls; weighted by the source's sizes. */
    fraction: z.number(),
    bytesPerSecond: z.number(),
    rowsPerSecond: z.number(),
  })
  .openapi('ComparingProgress');
export type ComparingProgress = z.infer<typeof ComparingProgress>;

/** Totals, at most 4 a second; while following one a second. */
export const MetricEvent = z.object({
  type: z.literal('metric'),
  tables: z.number(),
  tablesDone: z.number(),
  rows: z.number(),
  /** Bytes that passed through the agent. */
  bytes: z.number(),
  /** Share of the copy that is done, 0..1, never falls; weighted by the source's sizes. */
  fraction: z.number(),
  bytesPerSecond: z.number(),
  rowsPerSecond: z.number(),
  /** Remaining seconds as a range until it is known; null while nothing can be said. */
  remaining: z.object({ low: z.number(), high: z.number() }).nullable(),
  /** What the job waits for when nothing moves, and since when (ISO, UTC). */
  waiting: z.object({ what: z.string(), since: z.string() }).nullable(),
  /** Only while both sides are compared: the figures above then stay those of the copy, but `remaining` is the comparison's. */
  comparing: ComparingProgress.optional(),
  /** Only of live jobs, from the slot on. */
  live: LiveProgress.optional(),
});
export const ResultEvent = z.object({
  type: z.literal('result'),
  status: z.enum(['completed', 'failed', 'blocked', 'cancelled']),
  verified: z.boolean(),
  tables: z.number(),
  rows: z.number(),
  bytes: z.number(),
  seconds: z.number(),
  differences: z.array(Difference),
  /** By their migration tables. Results of earlier versions have none. */
  applications: z.array(Application).optional(),
  error: ErrorView.nullable(),
});
export type ResultEvent = z.infer<typeof ResultEvent>;

/** What rooms emit; the job adds seq and at. */
export const JobEventBody = z.discriminatedUnion('type', [
  StateEvent,
  PhaseEvent,
  CheckEvent,
  TableEvent,
  IndexEvent,
  LogEvent,
  MetricEvent,
  ResultEvent,
]);
export type JobEventBody = z.infer<typeof JobEventBody>;

const stamp = { seq: z.number().int().positive(), at: z.string() };
export const JobEvent = z
  .discriminatedUnion('type', [
    StateEvent.extend(stamp),
    PhaseEvent.extend(stamp),
    CheckEvent.extend(stamp),
    TableEvent.extend(stamp),
    IndexEvent.extend(stamp),
    LogEvent.extend(stamp),
    MetricEvent.extend(stamp),
    ResultEvent.extend(stamp),
  ])
  .openapi('JobEvent');
export type JobEvent = z.infer<typeof JobEvent>;

/** Sent instead of a backlog when the store no longer holds what follows `after`; the client starts anew from `firstSeq`. */
export const ResetMessage = z.object({ type: z.literal('reset'), firstSeq: z.number(), lastSeq: z.number() });
export type ResetMessage = z.infer<typeof ResetMessage>;

/** Every message a WebSocket client can receive. */
export type StreamMessage = JobEvent | ResetMessage;
