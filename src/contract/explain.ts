import { z } from '@hono/zod-openapi';

/** What `pgsluice clone --explain --json` prints, on one line: the plan of a clone and what it is expected to take. Bytes, seconds, ms. */
export const Explanation = z
  .object({
    type: z.literal('explanation'),
    method: z.enum(['copy', 'live']),
    source: z.object({ label: z.string(), version: z.string() }),
    target: z.object({ label: z.string(), version: z.string() }),
    /** null where the target's database is yet to be made. */
    roundTripMs: z.object({ source: z.number(), target: z.number().nullable() }),
    tables: z.number(),
    emptyTables: z.number(),
    rows: z.number(),
    bytes: z.number(),
    indexes: z.number(),
    foreignKeys: z.number(),
    largeObjects: z.object({ count: z.number(), bytes: z.number() }),
    seconds: z.number(),
    phases: z.array(z.object({ phase: z.string(), seconds: z.number(), bound: z.string() })),
    /** Copies and builds at once, and connections in all. */
    atOnce: z.object({
      tables: z.number(),
      indexes: z.number(),
      sourceConnections: z.number(),
      targetConnections: z.number(),
    }),
    /** Ten at most, in the order in which they are copied. */
    longest: z.array(
      z.object({
        schema: z.string(),
        name: z.string(),
        bytes: z.number(),
        /** As the planner of the source estimates them; from the size where it never looked. */
        rows: z.number(),
        format: z.enum(['binary', 'text']),
        /** Ranges of pages that are copied beside each other; 1: whole. */
        pieces: z.number(),
        freeze: z.boolean(),
        indexes: z.number(),
        copySeconds: z.number(),
        buildSeconds: z.number(),
        verifySeconds: z.number(),
        /** From the start of its copy to its last index, were it alone. */
        pathSeconds: z.number(),
      }),
    ),
    /** Settings of the sessions on the target. */
    settings: z.array(z.object({ name: z.string(), value: z.string() })),
    notes: z.array(z.string()),
  })
  .openapi('Explanation');
export type Explanation = z.infer<typeof Explanation>;
