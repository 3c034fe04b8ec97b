import { z } from '@hono/zod-openapi';

import { CheckResult } from './check.ts';
import { CutoverReport } from './live.ts';
import { JobKind } from './options.ts';

/** One way in which the target is not the source. `kind` is pg_dump's word for the object, or `ROWS`, `CONTENT`, `SEQUENCE VALUE`, `LARGE OBJECT DATA`. */
export const Difference = z
  .object({
    kind: z.string(),
    /** Qualified, quoted name as a person would write it. */
    name: z.string(),
    change: z.enum(['missing', 'extra', 'different']),
    /** What the source has; null when it has nothing. At most 2,000 characters. */
    source: z.string().nullable(),
    target: z.string().nullable(),
  })
  .openapi('Difference');
export type Difference = z.infer<typeof Difference>;

export const TableVerification = z.object({
  schema: z.string(),
  name: z.string(),
  sourceRows: z.number(),
  targetRows: z.number(),
  /** Order-independent content checksums, computed by each server; null when only rows were counted. */
  sourceChecksum: z.string().nullable(),
  targetChecksum: z.string().nullable(),
  equal: z.boolean(),
  seconds: z.number(),
});
export type TableVerification = z.infer<typeof TableVerification>;

export const Verification = z
  .object({
    mode: z.enum(['none', 'counts', 'full']),
    /** True only when everything the mode covers was compared and nothing differed. */
    verified: z.boolean(),
    tables: z.array(TableVerification),
    sequencesCompared: z.number(),
    largeObjectsCompared: z.number(),
    /** Entries of the source's catalogue that were compared with the target's. */
    objectsCompared: z.number(),
    differences: z.array(Difference),
    /** What was not compared, each with its reason. */
    notChecked: z.array(z.string()),
    seconds: z.number(),
  })
  .openapi('Verification');
export type Verification = z.infer<typeof Verification>;

/** A restored entry that the target refused, and what it means. */
export const RestoreProblem = z.object({
  kind: z.string(),
  name: z.string(),
  statement: z.string(),
  error: z.string(),
  harmless: z.boolean(),
  reason: z.string(),
});
export type RestoreProblem = z.infer<typeof RestoreProblem>;

export const PhaseTiming = z.object({
  phase: z.string(),
  seconds: z.number(),
  startedAt: z.string(),
  finishedAt: z.string(),
});
export type PhaseTiming = z.infer<typeof PhaseTiming>;

/** Seconds of wall time of one table; null where it was not measured. */
const TableSeconds = z.object({
  copy: z.number().nullable(),
  /** All of its indexes and constraints, added up. */
  build: z.number().nullable(),
  verify: z.number().nullable(),
});

/** What was expected before the target was touched, beside what happened. Seconds. */
export const EstimateReport = z
  .object({
    estimatedSeconds: z.number(),
    /** Of the phases below. */
    measuredSeconds: z.number(),
    phases: z.array(
      z.object({
        /** `indexes` is what was left to build when the last row was in. */
        phase: z.string(),
        estimatedSeconds: z.number(),
        measuredSeconds: z.number(),
        /** What was expected to make it that long, in words. */
        bound: z.string(),
      }),
    ),
    /** Ten at most, the largest miss first; tables so small that many were copied at once are left out. */
    misses: z.array(
      z.object({ schema: z.string(), name: z.string(), estimated: TableSeconds, measured: TableSeconds }),
    ),
  })
  .openapi('EstimateReport');
export type EstimateReport = z.infer<typeof EstimateReport>;

/** An application that keeps its migrations in the database, told by its migration table. */
export const Application = z
  .object({
    framework: z.string(),
    /** Qualified, quoted name of its migration table. */
    table: z.string(),
    /** The newest migration as the framework names it; null when the table is empty. */
    version: z.string().nullable(),
    migrations: z.number(),
    /** The target's table says the same; null when it was not read again. */
    sameOnTarget: z.boolean().nullable(),
    /** Migrations that began and did not end, or failed, by name. */
    unfinished: z.array(z.string()),
  })
  .openapi('Application');
export type Application = z.infer<typeof Application>;

/** What `GET /api/jobs/:id/report` answers, and what the printable page shows. */
export const Report = z
  .object({
    jobId: z.string(),
    name: z.string(),
    state: z.string(),
    method: z.string(),
    /** Reports of earlier versions have none of these two: they are of moves. */
    kind: JobKind.optional(),
    /** What an export has written, or an import has read; its size in bytes, null where it is not known. */
    archive: z.object({ path: z.string(), bytes: z.number().nullable() }).nullable().optional(),
    source: z.object({ label: z.string(), version: z.string().nullable() }),
    target: z.object({ label: z.string(), version: z.string().nullable() }),
    /** Where each side runs, in words; null where it is not known. Reports of earlier versions have none of these two. */
    places: z.object({ source: z.string().nullable(), target: z.string().nullable() }).optional(),
    applications: z.array(Application).optional(),
    createdAt: z.string(),
    startedAt: z.string().nullable(),
    finishedAt: z.string().nullable(),
    seconds: z.number().nullable(),
    moved: z.object({
      tables: z.number(),
      rows: z.number(),
      bytes: z.number(),
      indexes: z.number(),
      sequences: z.number(),
      largeObjects: z.number(),
    }),
    phases: z.array(PhaseTiming),
    /** Only of a completed copy that ran in one go; reports of earlier versions have none. */
    estimate: EstimateReport.optional(),
    restoreProblems: z.array(RestoreProblem),
    verification: Verification.nullable(),
    /** Warnings that a person let stand; reports of earlier versions have none. */
    accepted: z.array(CheckResult).optional(),
    /** Only of live jobs that came to a cutover. */
    cutover: CutoverReport.nullable(),
    /** What a person still has to do, in plain sentences. */
    todo: z.array(z.string()),
    error: z.object({ code: z.string(), message: z.string(), hint: z.string() }).nullable(),
  })
  .openapi('Report');
export type Report = z.infer<typeof Report>;
