import type { JobOptions } from '../contract/options.ts';
import { largeObjectsMatch } from '../postgres/filters.ts';
import type { Session } from '../postgres/session.ts';
import type { RelationOwners, SourceTable } from './catalogue.ts';
import { estimateClone } from './cost-phases.ts';
import type { CostEstimate } from './cost-phases.ts';
import type { RestoreStages } from './post-data.ts';

/** What an estimate is made of, as a clone knows it before it touches the target. */
export interface EstimateFacts {
  readonly tables: readonly SourceTable[];
  readonly stages: RestoreStages;
  readonly owners: Pick<RelationOwners, 'locksOfForeignKey'>;
  readonly leaves: ReadonlySet<number>;
  readonly largeObjects: { readonly count: number; readonly bytes: number };
  readonly roundTripMs: { readonly source: number; readonly target: number };
  readonly sourceMajor: number;
  /** Tables at once, as far as the connections allow it. */
  readonly tableJobs: number;
  readonly options: JobOptions;
}

const QUESTIONS = 3;

/** How long one question and its answer take, ms: the shortest of three, since this process may be busy meanwhile. */
export async function measureRoundTrip(session: Session): Promise<number> {
  let shortest = Number.POSITIVE_INFINITY;
  for (let question = 0; question < QUESTIONS; question += 1) {
    const begun = performance.now();
    await session.run('SELECT 1');
    shortest = Math.min(shortest, performance.now() - begun);
  }
  return shortest;
}

/** How many large objects the job carries, and what they take on the source. */
export async function readLargeObjects(
  source: Session,
  options: JobOptions,
): Promise<{ readonly count: number; readonly bytes: number }> {
  if (options.schemaOnly || !largeObjectsMatch(options)) return { count: 0, bytes: 0 };
  const [row] = await source.query<{ count: string; bytes: string }>(
    `SELECT (SELECT count(*) FROM pg_largeobject_metadata)::text AS count,
            pg_relation_size('pg_catalog.pg_largeobject')::text AS bytes`,
  );
  const count = Number(row?.count ?? 0);
  return { count, bytes: count === 0 ? 0 : Number(row?.bytes ?? 0) };
}

/** The estimate of a clone. Pure. */
export function estimateOf(facts: EstimateFacts): CostEstimate {
  const { stages, owners, options } = facts;
  return estimateClone({
    tables: facts.tables,
    builds: stages.builds,
    plan: { tableJobs: facts.tableJobs, splitAbove: options.splitAbove, sourceMajor: facts.sourceMajor },
    indexJobs: options.indexJobs,
    verify: options.verify,
    roundTripMs: facts.roundTripMs,
    dataOnly: options.dataOnly,
    schemaOnly: options.schemaOnly,
    entries: {
      before: stages.preData.length,
      sequences: stages.preData.filter(({ type }) => type === 'SEQUENCE').length,
      after: stages.lateIndexes.length + stages.rest.length + stages.privileges.length + stages.last.length,
    },
    foreignKeys: stages.foreignKeys.map((entry) => owners.locksOfForeignKey.get(entry.oid) ?? []),
    largeObjects: facts.largeObjects,
    leaves: facts.leaves,
  });
}
