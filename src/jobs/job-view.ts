import type { LiveProgress } from '../contract/live.ts';
import { basename, isAbsolute, normalize } from 'node:path';
import type { JobView } from '../contract/job.ts';
import type { EndpointView, JobRequest } from '../contract/options.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { JobRow } from '../store/job-queries.ts';
import type { SecretBox } from '../store/secrets.ts';
import { PgsluiceError } from '../errors.ts';
import { withoutCalls } from './sealed-calls.ts';
import { summarize } from './job-summary.ts';

export interface Endpoints {
  readonly source: ConnectionSettings;
  readonly target: ConnectionSettings;
}

/** The servers of a job; null where an archive stands in the place of one. */
export interface Sides {
  readonly source: ConnectionSettings | null;
  readonly target: ConnectionSettings | null;
}

export function sealSides(
  secrets: SecretBox,
  id: string,
  sides: Sides,
): { source: string | null; target: string | null } {
  const seal = (settings: ConnectionSettings | null, side: 'source' | 'target'): string | null =>
    settings === null ? null : secrets.seal(JSON.stringify(settings), `${id}:${side}`);
  return { source: seal(sides.source, 'source'), target: seal(sides.target, 'target') };
}

/** @throws PgsluiceError SECRET_KEY_WRONG. */
export function openSides(secrets: SecretBox, row: Pick<JobRow, 'id' | 'source' | 'target'>): Sides {
  const open = (sealed: string | null, side: 'source' | 'target'): ConnectionSettings | null =>
    sealed === null ? null : (JSON.parse(secrets.open(sealed, `${row.id}:${side}`)) as ConnectionSettings);
  return { source: open(row.source, 'source'), target: open(row.target, 'target') };
}

/** Of a move, which has both. @throws PgsluiceError SECRET_KEY_WRONG; RangeError for an export or an import. */
export function openEndpoints(secrets: SecretBox, row: Pick<JobRow, 'id' | 'source' | 'target'>): Endpoints {
  return bothOf(row.id, openSides(secrets, row));
}

/** @throws RangeError where one side is an archive. */
export function bothOf(id: string, { source, target }: Sides): Endpoints {
  if (source === null || target === null) throw new RangeError(`job ${id} has no two servers`);
  return { source, target };
}

/**
 * Where the archive of a request is; null for a move. Clients and agent need not stand in the same directory.
 * @throws PgsluiceError RELATIVE_ARCHIVE.
 */
export function archivePath({ archive }: Pick<JobRequest, 'archive'>): string | null {
  if (archive === undefined) return null;
  if (isAbsolute(archive.path)) return normalize(archive.path).replace(/(?<=.)\/+$/, '');
  throw new PgsluiceError({
    code: 'RELATIVE_ARCHIVE',
    message: `The archive's path ${archive.path} is not absolute.`,
    hint: "Give the whole path on the agent's machine, for instance /var/backups/shop.",
  });
}

/** For a job that nobody has named. Pure. */
export function jobName({ source, target }: Sides, archive: string | null): string {
  const place = basename(archive ?? '');
  if (source === null) return `${place} into ${target?.database} on ${target?.host}`;
  if (target === null) return `${source.database} from ${source.host} into ${place}`;
  return `${source.database} from ${source.host} to ${target.host}`;
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
    source: sides.source === null ? null : endpointView(sides.source),
    target: sides.target === null ? null : endpointView(sides.target),
    archive: row.archive,
    group: row.groupId === null ? null : { id: row.groupId, name: row.groupName ?? row.groupId },
    options: withoutCalls(row.options),
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

export function endpointView(settings: ConnectionSettings): EndpointView {
  const { host, port, user, database, sslmode } = settings;
  return { host, port, user, database, sslmode, hasPassword: settings.password !== null };
}
