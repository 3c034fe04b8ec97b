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

/** The servers of a job; null where an archive stands in the place of one. */
export interface Sides {
  readonly source: ConnectionSettings | null;
  readonly target: ConnectionSettings | null;
}

/** @throws PgsluiceError SECRET_KEY_WRONG. */
export function openSides(secrets: SecretBox, row: Pick<JobRow, 'id' | 'source' | 'target'>): Sides {
  const open = (sealed: string | null, side: 'source' | 'target'): ConnectionSettings | null =>
    sealed === null ? null : (JSON.parse(secrets.open(sealed, `${row.id}:${side}`)) as ConnectionSettings);
  return { source: open(row.source, 'source'), target: open(row.target, 'target') };
}

/** Of a move, which has both. @throws PgsluiceError SECRET_KEY_WRONG; RangeError for an export or an import. */
export function openEndpoints(secrets: SecretBox, row: Pick<JobRow, 'id' | 'source' | 'target'>): Endpoints {
  const { source, target } = openSides(secrets, row);
  if (source === null || target === null) throw new RangeError(`job ${row.id} has no two servers`);
  return { source, target };
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

export function toView(row: JobRow, sides: Sides, live: LiveFacts): JobView {
  return {
    id: row.id,
    name: row.name,
    state: row.state,
    phase: row.phase,
    kind: row.kind,
    source: endpointView(sides.source),
    target: endpointView(sides.target),
    archive: row.archive,
    group: row.groupId === null ? null : { id: row.groupId, name: row.groupName ?? row.groupId },
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

function endpointView(settings: ConnectionSettings | null): EndpointView | null {
  if (settings === null) return null;
  const { host, port, user, database, sslmode } = settings;
  return { host, port, user, database, sslmode, hasPassword: settings.password !== null };
}
