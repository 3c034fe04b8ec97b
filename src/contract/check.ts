import { z } from '@hono/zod-openapi';

export const checkFamilies = [
  'connect',
  'version',
  'server',
  'privilege',
  'capacity',
  'objects',
  'live',
  'leftovers',
  'archive',
] as const;
export const CheckFamily = z.enum(checkFamilies);
export type CheckFamily = z.infer<typeof CheckFamily>;

/** `passed`; `info` tells; `warned` stops nothing and is shown; `failed` blocks; `skipped` says in `found` what it lacked. */
export const checkOutcomes = ['passed', 'info', 'warned', 'failed', 'skipped'] as const;
export const CheckOutcome = z.enum(checkOutcomes);
export type CheckOutcome = z.infer<typeof CheckOutcome>;

/** A warning that a person has read and lets stand; it stays visible. */
export const Acceptance = z
  .object({
    by: z.string(),
    /** ISO, UTC. */
    at: z.string(),
    note: z.string(),
  })
  .openapi('Acceptance');
export type Acceptance = z.infer<typeof Acceptance>;

export const CheckResult = z
  .object({
    /** Stable id, for instance `privilege.select`. */
    id: z.string(),
    family: CheckFamily,
    side: z.enum(['source', 'target', 'both', 'agent']),
    outcome: CheckOutcome,
    /** Error code when it failed, for instance `TARGET_NOT_EMPTY`; the command line shows it as the job's error code. */
    code: z.string().nullable(),
    /** One sentence in plain words: what is checked and why it matters. */
    title: z.string(),
    /** What was measured on this server, names included. */
    found: z.string(),
    /** What to paste where, exactly; empty when there is nothing to do. */
    remedy: z.string(),
    /** ms the check took. */
    elapsedMs: z.number(),
    /** Only of warnings: holds as long as the check finds the same. */
    accepted: Acceptance.nullable().optional(),
  })
  .openapi('CheckResult');
export type CheckResult = z.infer<typeof CheckResult>;
