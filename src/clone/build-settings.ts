import type { Session } from '../postgres/session.ts';

/** What the target says it has. Sizes in bytes. */
export interface TargetMeans {
  readonly maintenanceWorkMem: number;
  readonly effectiveCacheSize: number;
  /** null before version 11, which builds no index in parallel. */
  readonly parallelMaintenanceWorkers: number | null;
  /** Workers of all parallel operations of the server together, and whether a person or a provider chose the number. */
  readonly parallelWorkers: number;
  readonly parallelWorkersChosen: boolean;
}

export interface BuildSettings {
  /** Bytes for one build, its parallel workers included. */
  readonly maintenanceWorkMem: number;
  /** null leaves it as it is. */
  readonly parallelMaintenanceWorkers: number | null;
}

const GIB = 1024 ** 3;
/** More than this sorts no faster on any machine that was measured. */
const MOST_MEMORY = GIB;
/** Workers of one build beyond which the leader's merge bounds it. */
const MOST_WORKERS = 8;

/**
 * Settings of the sessions that build indexes; every role may make them (PostgreSQL documentation, 20.4.1 and 20.4.6). All builds together get a quarter of
 * the memory that the target calls its cache, each at most 1 GiB, and none less than the server gives by itself. Workers are raised
 * only where the number of the whole server was chosen by somebody who knows its cores, and shared among the builds. Pure.
 */
export function chooseBuildSettings(means: TargetMeans, jobs: number): BuildSettings {
  const share = means.effectiveCacheSize / 4 / Math.max(1, jobs);
  const own = means.parallelMaintenanceWorkers;
  const workers = Math.min(MOST_WORKERS, Math.floor(means.parallelWorkers / Math.max(1, jobs)));
  return {
    maintenanceWorkMem: Math.floor(Math.min(MOST_MEMORY, Math.max(means.maintenanceWorkMem, share))),
    parallelMaintenanceWorkers: own !== null && means.parallelWorkersChosen && workers > own ? workers : null,
  };
}

/** The settings as SQL. Pure. */
export function buildSettingsSql(settings: BuildSettings): string {
  const workers = settings.parallelMaintenanceWorkers;
  return [
    `SET maintenance_work_mem = '${Math.floor(settings.maintenanceWorkMem / 1024)}kB'`,
    ...(workers === null ? [] : [`SET max_parallel_maintenance_workers = ${workers}`]),
  ].join('; ');
}

/** What the server says it has, in one round trip. */
export async function readTargetMeans(target: Session): Promise<TargetMeans> {
  const [row] = await target.query<{
    memory: string;
    cache: string;
    own: number | null;
    workers: number | null;
    chosen: boolean | null;
  }>(
    `SELECT pg_size_bytes(current_setting('maintenance_work_mem'))::text AS memory,
            pg_size_bytes(current_setting('effective_cache_size'))::text AS cache,
            current_setting('max_parallel_maintenance_workers', true)::int AS own,
            (SELECT s.setting::int FROM pg_settings s WHERE s.name = 'max_parallel_workers') AS workers,
            (SELECT s.source <> 'default' FROM pg_settings s WHERE s.name = 'max_parallel_workers') AS chosen`,
  );
  return {
    maintenanceWorkMem: Number(row?.memory ?? 0),
    effectiveCacheSize: Number(row?.cache ?? 0),
    parallelMaintenanceWorkers: row?.own ?? null,
    parallelWorkers: row?.workers ?? 0,
    parallelWorkersChosen: row?.chosen ?? false,
  };
}
