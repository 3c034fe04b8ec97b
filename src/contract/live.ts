import { z } from '@hono/zod-openapi';

/** One condition of a calm cutover. `blocks`: no cutover is started; `waits`: it may pass by itself; `ok`. */
export const Guardrail = z
  .object({
    id: z.enum(['lag', 'long-writes', 'prepared-transactions', 'schema-drift', 'target-written', 'fence', 'slot']),
    state: z.enum(['ok', 'waits', 'blocks']),
    /** One sentence with what was measured. */
    found: z.string(),
    /** What to do; empty when there is nothing to do. */
    remedy: z.string(),
  })
  .openapi('Guardrail');
export type Guardrail = z.infer<typeof Guardrail>;

export const cutoverSteps = [
  'prepare',
  'guardrails',
  'fence',
  'drain',
  'sequences',
  'snapshots',
  'constraints',
  'counts',
  'refuse-writes',
  'hand-over',
  'drop-slot',
] as const;
export const CutoverStep = z
  .object({
    step: z.enum(cutoverSteps),
    startedAt: z.string(),
    /** null while it runs. */
    ms: z.number().nullable(),
    detail: z.string(),
  })
  .openapi('CutoverStep');
export type CutoverStep = z.infer<typeof CutoverStep>;

/** What the slot makes the source keep. */
export const SlotHealth = z
  .object({
    /** pg_replication_slots.wal_status; null before 13. */
    walStatus: z.enum(['reserved', 'extended', 'unreserved', 'lost']).nullable(),
    /** Bytes that may still be written before the slot is lost; null where nothing limits it. */
    safeWalBytes: z.number().nullable(),
    /** WAL from the slot's restart_lsn to the newest, in bytes. */
    retainedBytes: z.number(),
    /** Bytes of WAL a second, measured over the last minute. */
    walBytesPerSecond: z.number(),
    /** Until the nearest limit (the server's or the job's) is reached at this rate, in seconds; null when it is not approached. */
    lastsSeconds: z.number().nullable(),
    active: z.boolean(),
  })
  .openapi('SlotHealth');
export type SlotHealth = z.infer<typeof SlotHealth>;

/** Changes that the target has committed, by kind. */
export const AppliedCounts = z.object({
  inserts: z.number(),
  updates: z.number(),
  deletes: z.number(),
  truncates: z.number(),
  transactions: z.number(),
});
export type AppliedCounts = z.infer<typeof AppliedCounts>;

export const LiveProgress = z
  .object({
    /** WAL of the source that the target has not applied: newest insert position − applied, in bytes. */
    lagBytes: z.number(),
    /** Age of the oldest commit that is not applied yet, by the source's clock; 0 when there is none. */
    lagSeconds: z.number(),
    sourceLsn: z.string(),
    appliedLsn: z.string(),
    /** The last commit of the source that the target has stored, as far as it is known; `appliedLsn` may be ahead where nothing of the job was written. */
    storedLsn: z.string().optional(),
    applied: AppliedCounts,
    /** Rows a second over the last seconds, by kind. */
    perSecond: AppliedCounts,
    /** Bytes of large transactions on the agent's disk, now. */
    spooledBytes: z.number(),
    slot: SlotHealth.nullable(),
    guardrails: z.array(Guardrail),
    /** Steps of the cutover in progress or of the last one; empty before the first. */
    cutover: z.array(CutoverStep),
    /** False while the stream is being connected anew. */
    connected: z.boolean(),
  })
  .openapi('LiveProgress');
export type LiveProgress = z.infer<typeof LiveProgress>;

/** How the cutover went, for the report. */
export const CutoverReport = z
  .object({
    steps: z.array(CutoverStep),
    /** From the first write that had to wait to the hand-over, ms. */
    downtimeMs: z.number().nullable(),
    fencedBy: z.enum(['lock', 'read-only']).nullable(),
    /** Position that was drained to. */
    lsn: z.string().nullable(),
    attempts: z.number(),
  })
  .openapi('CutoverReport');
export type CutoverReport = z.infer<typeof CutoverReport>;

/** What a live job has made outside of the agent; stored before it is made, so that every crash can be cleaned up. */
export const LiveState = z.object({
  slot: z.string(),
  publication: z.string(),
  /** How far the job is for good. */
  stage: z.enum(['preparing', 'copying', 'following', 'handed-over', 'cleaned']),
  /** The method was chosen by `auto`. */
  chosen: z.boolean(),
  /** ALTER DATABASE … SET default_transaction_read_only that may have to be undone; what it was before. */
  readOnly: z.object({ database: z.string(), before: z.string().nullable() }).nullable(),
  /** True from the cutover's end on: the source stays read-only for new sessions because the target has taken over. */
  keepReadOnly: z.boolean(),
  /** The hand-over's command or webhook has been run; while it is false after the hand-over, whoever goes on runs it. */
  told: z.boolean().optional(),
  /** All that is left is to take off both servers what the job made there: it may be gone already, and nothing of it is read again. */
  concluding: z.boolean().optional(),
});
export type LiveState = z.infer<typeof LiveState>;
