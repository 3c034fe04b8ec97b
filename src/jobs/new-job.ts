import { randomInt } from 'node:crypto';
import type { JobRequest } from '../contract/options.ts';
import { parseEndpoint } from '../postgres/settings.ts';
import type { NewJobRow } from '../store/job-queries.ts';
import type { Store } from '../store/store.ts';
import { archivePath, jobName, sealSides } from './job-view.ts';
import { assertCallsGiven, sealCalls, withoutCalls } from './sealed-calls.ts';
import { noTotals } from './totals.ts';

/** Of which the ids of jobs are made. */
export const idLetters = 'abcdefghijkmnpqrstuvwxyz23456789';

/** 10 letters of 32: short enough to type, and 50 bits. */
export function newId(): string {
  return Array.from({ length: 10 }, () => idLetters[randomInt(idLetters.length)]).join('');
}

/**
 * A job as it is stored first; its passwords, and what its hooks call, are sealed. `group`: the jobs it was made with.
 * @throws PgsluiceError INVALID_URL and its kin for an endpoint that cannot be understood, RELATIVE_ARCHIVE, HOOK_HIDDEN.
 */
export function newJobRow(
  store: Pick<Store, 'secrets' | 'agentId'>,
  request: JobRequest,
  group: { readonly id: string; readonly name: string } | null,
): NewJobRow {
  const { kind } = request;
  const archive = archivePath(request);
  assertCallsGiven(request.options);
  const sides = {
    source: kind === 'import' ? null : parseEndpoint(request.source ?? {}, 'source'),
    target: kind === 'export' ? null : parseEndpoint(request.target ?? {}, 'target'),
  };
  const id = newId();
  return {
    id,
    name: request.name ?? jobName(sides, archive),
    state: 'draft',
    kind,
    archive,
    groupId: group?.id ?? null,
    groupName: group?.name ?? null,
    ...sealSides(store.secrets, id, sides),
    options: withoutCalls(request.options),
    calls: sealCalls(store.secrets, id, request.options),
    totals: noTotals,
    ownerId: store.agentId,
  };
}
