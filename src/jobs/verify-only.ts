import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CheckResult } from '../contract/check.ts';
import type { JobEventBody } from '../contract/event.ts';
import type { JobRequest } from '../contract/options.ts';
import type { Verification } from '../contract/report.ts';
import { PgsluiceError } from '../errors.ts';
import { parseEndpoint } from '../postgres/settings.ts';
import { defaultRooms } from './default-rooms.ts';
import { planConnections } from './plan-connections.ts';
import type { JobRooms } from './rooms.ts';

export interface VerifyOnlyInput {
  readonly request: JobRequest;
  /** Folder with pg_dump; null: it is looked for. */
  readonly pgBinDir: string | null;
  readonly signal: AbortSignal;
  emit(event: JobEventBody): void;
}

/** Checks that decide whether two databases can be compared; the others are about copying. */
function decidesComparison(check: CheckResult): boolean {
  if (check.outcome !== 'failed') return false;
  if (check.family === 'connect') return check.id !== 'connect.standby-target';
  return check.id === 'version.tools' || check.id === 'privilege.select' || check.id === 'privilege.row-security';
}

/**
 * Compares two databases without a job; nothing of it is stored and neither side is changed.
 * @throws PgsluiceError with the code of the check that makes a comparison impossible, or what verifyDatabases throws.
 */
export async function verifyOnly(input: VerifyOnlyInput, rooms: JobRooms = defaultRooms(false)): Promise<Verification> {
  const { request, signal } = input;
  const source = parseEndpoint(request.source ?? {}, 'source');
  const target = parseEndpoint(request.target ?? {}, 'target');
  const outcome = await rooms.validate({
    source,
    target,
    options: request.options,
    pgBinDir: input.pgBinDir,
    signal,
    ownTarget: true,
    job: null,
    ownNames: [],
    onCheck: () => undefined,
  });
  const obstacle = outcome.checks.find(decidesComparison);
  if (obstacle !== undefined || outcome.facts === null) {
    throw new PgsluiceError({
      code: obstacle?.code ?? outcome.error?.code ?? 'VALIDATION_INCOMPLETE',
      message: obstacle?.found ?? outcome.error?.message ?? 'A server could not be examined to its end.',
      hint: obstacle?.remedy ?? outcome.error?.hint ?? 'Run "pgsluice validate" and look at the checks that failed.',
    });
  }
  const { facts } = outcome;
  const connections = planConnections(
    { source: facts.source.connectionsAvailable, target: facts.target.connectionsAvailable },
    request.options,
  );
  const workDir = await mkdtemp(join(tmpdir(), 'pgsluice-verify-'));
  try {
    return await rooms.verifyDatabases({
      source,
      target,
      snapshot: null,
      connections,
      options: request.options,
      mode: request.options.verify === 'counts' ? 'counts' : 'full',
      tools: facts.tools,
      sourceArchive: null,
      workDir,
      signal,
      emit: (event) => input.emit(event),
    });
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}
