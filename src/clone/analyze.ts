import { qualified } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { BuildQueue } from './build-queue.ts';
import type { BuildTask } from './build-queue.ts';
import type { SourceTable } from './catalogue.ts';
import type { SessionPool } from './session-pool.ts';

/** Relations on the target whose statistics are those of a tree: the roots of partitioned tables. */
async function listPartitionRoots(target: Session): Promise<{ schema: string; name: string }[]> {
  return target.query<{ schema: string; name: string }>(
    `SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'p' AND NOT c.relispartition AND c.relpersistence <> 't'
     ORDER BY 1, 2`,
  );
}

/** Leaves of partition trees: ANALYZE of the root reads them too, and writes their statistics with its own. */
export async function listPartitionLeaves(source: Session): Promise<Set<number>> {
  const rows = await source.query<{ oid: string }>(
    `SELECT oid::text AS oid FROM pg_class WHERE relispartition AND relkind = 'r'`,
  );
  return new Set(rows.map((row) => Number(row.oid)));
}

async function analyze(target: Session, relations: readonly { schema: string; name: string }[]): Promise<void> {
  await target.run(`ANALYZE ${relations.map(({ schema, name }) => qualified(schema, name)).join(', ')}`);
}

/**
 * After the tables' indexes, since expression indexes have statistics of their own; tables that came together are read with one
 * statement, each in a transaction of its own. `leaves` are read with their root.
 */
export function analyzeTasks(
  sessions: SessionPool,
  tables: readonly SourceTable[],
  leaves: ReadonlySet<number>,
): BuildTask[] {
  const own = tables.filter((table) => !leaves.has(table.oid) && table.sizeBytes > 0);
  if (own.length === 0) return [];
  return [
    {
      locks: own.map((table) => table.oid),
      exclusive: true,
      priority: -1,
      run: () => sessions.with((session) => analyze(session, own)),
    },
  ];
}

/** `jobs` at once. */
export async function analyzeRoots(sessions: SessionPool, jobs: number): Promise<void> {
  const roots = await sessions.with((session) => listPartitionRoots(session));
  const queue = new BuildQueue(jobs);
  queue.add(
    roots.map((root) => ({
      locks: [],
      exclusive: false,
      priority: 0,
      run: () => sessions.with((session) => analyze(session, [root])),
    })),
  );
  await queue.idle();
}
