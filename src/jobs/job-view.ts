import type { LiveProgress } from '../contract/live.ts';
import type { JobView } from '../contract/job.ts';
import type { EndpointView } from '../contract/options.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { JobRow } from '../store/job-queries.ts';
import type { SecretBox } from '../store/secrets.ts';
import { summarize } from './job-summary.ts';

export interface Endpoints {
  readonly source: ConnectionSettings;
  readonly target: ConnectionSettings;
}

export function sealEndpoints(
  secrets: SecretBox,
  id: string,
  endpoints: Endpoints,
): { source: string; target: string } {
  return {
    source: secrets.seal(JSON.stringify(endpoints.source), `${id}:source`),
    target: secrets.seal(JSON.stringify(endpoints.target), `${id}:target`),
  };
}

/** @throws PgsluiceError SECRET_KEY_WRONG. */
export function openEndpoints(secrets: SecretBox, row: Pick<JobRow, 'id' | 'source' | 'target'>): Endpoints {
  return {
    source: JSON.parse(secrets.open(row.source, `${row.id}:source`)) as ConnectionSettings,
    target: JSON.parse(secrets.open(row.target, `${row.id}:target`)) as ConnectionSettings,
  };
}

/** What only the agent that works on the job knows. */
export interface LiveFacts {
  readonly queued: boolean;
  readonly snapshotAlive: boolean;
  readonly snapshotAt: Date | null;
  /** What a live run last measured. */
  readonly progress: LiveProgress | null;
}

export const notInHand: LiveFacts = { queued: false, snapshotAlive: false, snapshotAt: null, progress: null };

/** How the job moves its database; null while that is not decided. Pure. */
export function methodOf(row: Pick<JobRow, 'live' | 'options' | 'state' | 'startedAt'>): 'copy' | 'live' | null {
  if (row.live !== null) return 'live';
  if (row.options.method !== 'auto') return row.options.method;
  const before: readonly JobRow['state'][] = ['draft', 'validating', 'ready', 'blocked'];
  return row.startedAt === null || before.includes(row.state) ? null : 'copy';
}

export function toView(row: JobRow, endpoints: Endpoints, live: LiveFacts): JobView {
  return {
    id: row.id,
    name: row.name,
    state: row.state,
    phase: row.phase,
    source: endpointView(endpoints.source),
    target: endpointView(endpoints.target),
    options: row.options,
    summary: summarize({ ...row, ...live, snapshotAt: live.snapshotAt ?? row.snapshotAt }),
    totals: row.totals,
    verified: row.verified,
    differences: row.differences,
    error: row.error,
    snapshotAlive: live.snapshotAlive,
    method: methodOf(row),
    live: live.progress,
    lastSeq: row.lastSeq,
    createdAt: row.createdAt.toISOString(),
    startedAt: row.startedAt?.toISOString() ?? null,
    finishedAt: row.finishedAt?.toISOString() ?? null,
    updatedAt: row.updatedAt.toISOString(),
  };
}

function endpointView(settings: ConnectionSettings): EndpointView {
  const { host, port, user, database, sslmode } = settings;
  return { host, port, user, database, sslmode, hasPassword: settings.password !== null };
}
