import type { Explanation } from '../contract/explain.ts';
import type { JobOptions } from '../contract/options.ts';
import { describeSettings } from '../postgres/settings.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import { PgsluiceError } from '../errors.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { ServerVersion } from '../postgres/version.ts';
import { listPartitionLeaves } from './analyze.ts';
import { chooseBuildSettings, readTargetMeans } from './build-settings.ts';
import { readRelationOwners } from './catalogue.ts';
import { fillsAlone, isSmall } from './copy-table.ts';
import type { CopyMode } from './copy-table.ts';
import { pathsOf } from './cost-model.ts';
import type { CostEstimate } from './cost-phases.ts';
import { estimateOf, measureRoundTrip, readLargeObjects } from './estimate.ts';
import { planTasks } from './plan.ts';
import type { CopyTask } from './plan.ts';
import { planStages } from './post-data.ts';
import { takeMoment } from './source-moment.ts';
import type { MomentContext } from './source-moment.ts';

export interface ExplainContext extends MomentContext {
  readonly target: ConnectionSettings;
  readonly targetVersion: ServerVersion;
  readonly connections: { readonly source: number; readonly target: number };
  readonly method: 'copy' | 'live';
}

const MOST_TABLES = 10;
const MIB = 1024 * 1024;

/** What is asked of the target, read-only. */
interface TargetAnswers {
  readonly roundTripMs: number;
  readonly settings: Explanation['settings'];
}

/** null where the job is yet to make the target's database. */
async function openTarget({ target, signal, options }: ExplainContext): Promise<Session | null> {
  try {
    return await openSession(target, {
      signal,
      side: 'target',
      purpose: 'explain',
      retryForMs: 30_000,
      readOnly: true,
    });
  } catch (error) {
    if (options.createDatabase && error instanceof PgsluiceError && error.code === 'UNKNOWN_DATABASE') return null;
    throw error;
  }
}

async function askTarget(context: ExplainContext): Promise<TargetAnswers | null> {
  const session = await openTarget(context);
  if (session === null) return null;
  try {
    const roundTripMs = await measureRoundTrip(session);
    // A single connection is needed by the work itself: nobody asks there, and nothing is set.
    if (context.connections.target < 2) return { roundTripMs, settings: [] };
    const chosen = chooseBuildSettings(await readTargetMeans(session), context.options.indexJobs);
    const workers = chosen.parallelMaintenanceWorkers;
    return {
      roundTripMs,
      settings: [
        { name: 'maintenance_work_mem', value: `${Math.floor(chosen.maintenanceWorkMem / MIB)}MB` },
        ...(workers === null ? [] : [{ name: 'max_parallel_maintenance_workers', value: String(workers) }]),
      ],
    };
  } finally {
    await session.close();
  }
}

function notesOf(context: ExplainContext, options: JobOptions, target: TargetAnswers | null): string[] {
  const rate = options.maxRate ?? null;
  return [
    'Every figure is an estimate from the catalogue of the source and from rates of a small machine; nothing was copied to measure them.',
    ...(context.method === 'live'
      ? [
          'The method is live: this is its copy. What is written meanwhile is followed afterwards, for as long as you like.',
        ]
      : []),
    ...(target === null ? ['The target has no such database yet: its round trip and settings are not known.'] : []),
    ...(options.gentle === true || rate !== null
      ? ['The source is read at a bounded rate (--gentle or --max-rate), which makes it longer than estimated.']
      : []),
  ];
}

/** The ten whose end comes last, in the order of their copies. Pure. */
export function longestTables(
  estimate: CostEstimate,
  tasks: readonly CopyTask[],
  mode: CopyMode,
): Explanation['longest'] {
  const costs = new Map(estimate.tables.map((cost) => [cost.table.oid, cost]));
  const seen = new Set<number>();
  const longest: Explanation['longest'] = [];
  for (const task of tasks) {
    const cost = costs.get(task.table.oid);
    if (cost === undefined || seen.has(task.table.oid)) continue;
    if (longest.length === MOST_TABLES) break;
    seen.add(task.table.oid);
    longest.push({
      schema: task.table.schema,
      name: task.table.name,
      bytes: task.table.sizeBytes,
      rows: cost.rows,
      format: task.format,
      pieces: cost.pieces,
      freeze: fillsAlone(task, mode) && !isSmall(task, mode),
      indexes: cost.builds.length,
      copySeconds: cost.copySeconds,
      buildSeconds: cost.buildSeconds,
      verifySeconds: cost.verifySeconds,
      pathSeconds: cost.pathSeconds,
    });
  }
  return longest;
}

/**
 * The plan of a clone and what it is expected to take, from a moment of the source that ends with it. Of the target only settings
 * are asked, read-only.
 * @throws PgsluiceError as takeMoment does, and when the job was cancelled.
 */
export async function explainClone(context: ExplainContext): Promise<Explanation> {
  const { options } = context;
  const target = await askTarget(context);
  const moment = await takeMoment(context);
  const { snapshot, tables } = moment;
  try {
    const sourceMs = await measureRoundTrip(snapshot.holder);
    const largeObjects = await readLargeObjects(snapshot.holder, options);
    const owners = await readRelationOwners(snapshot.holder, context.sourceVersion.major);
    const leaves = await listPartitionLeaves(snapshot.holder);
    const moved = options.schemaOnly ? [] : tables;
    const whole = new Set(moved.filter((table) => table.via === null).map((table) => table.oid));
    const stages = planStages(moment.archive ?? { entries: [] }, owners, whole);
    const late = stages.lateIndexes.filter(({ type }) => type !== 'INDEX ATTACH');
    const tableJobs = Math.min(options.tableJobs, snapshot.workers);
    const estimate = estimateOf({
      tables,
      stages,
      owners,
      leaves,
      largeObjects,
      roundTripMs: { source: sourceMs, target: target?.roundTripMs ?? sourceMs },
      sourceMajor: context.sourceVersion.major,
      tableJobs,
      options,
    });
    const tasks = planTasks({
      tables: moved,
      tableJobs: options.dataOnly ? 1 : tableJobs,
      splitAbove: options.splitAbove,
      sourceMajor: context.sourceVersion.major,
      paths: pathsOf(estimate.tables),
    });
    const fresh = !options.dataOnly;
    return {
      type: 'explanation',
      method: context.method,
      source: { label: describeSettings(context.source), version: context.sourceVersion.text },
      target: { label: describeSettings(context.target), version: context.targetVersion.text },
      roundTripMs: { source: sourceMs, target: target?.roundTripMs ?? null },
      tables: moved.length,
      emptyTables: moved.filter((table) => table.empty === true).length,
      rows: estimate.tables.reduce((sum, cost) => sum + cost.rows, 0),
      bytes: estimate.bytes,
      indexes: [...stages.builds.values()].reduce((sum, list) => sum + list.length, late.length),
      foreignKeys: stages.foreignKeys.length,
      largeObjects,
      seconds: estimate.seconds,
      phases: estimate.phases.map((phase) => ({ ...phase })),
      atOnce: {
        tables: tableJobs,
        indexes: options.indexJobs,
        sourceConnections: context.connections.source,
        targetConnections: context.connections.target,
      },
      longest: longestTables(estimate, tasks, { fresh, untouched: fresh, replicaRole: false }),
      settings: target?.settings ?? [],
      notes: notesOf(context, options, target),
    };
  } finally {
    await snapshot.close();
  }
}
