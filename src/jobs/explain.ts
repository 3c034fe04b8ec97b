import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { explainClone } from '../clone/explain.ts';
import type { CheckResult } from '../contract/check.ts';
import type { JobEventBody } from '../contract/event.ts';
import type { Explanation } from '../contract/explain.ts';
import type { JobRequest } from '../contract/options.ts';
import type { ErrorReport } from '../errors.ts';
import { parseEndpoint } from '../postgres/settings.ts';
import { defaultRooms } from './default-rooms.ts';
import { planConnections } from './plan-connections.ts';

export interface ExplainInput {
  readonly request: JobRequest;
  /** Folder with pg_dump; null: it is looked for. */
  readonly pgBinDir: string | null;
  readonly signal: AbortSignal;
  emit(event: JobEventBody): void;
}

export interface Explained {
  readonly checks: readonly CheckResult[];
  /** Why there is no plan: what blocks the clone. */
  readonly error: ErrorReport | null;
  /** null when the clone is blocked. */
  readonly explanation: Explanation | null;
}

/**
 * Validates a clone and says how it would be done, without a job: nothing is stored, neither side is changed. Of the source a
 * snapshot is taken and its schema dumped, as a clone does; both end with it.
 * @throws PgsluiceError as validate and explainClone do.
 */
export async function explain(input: ExplainInput): Promise<Explained> {
  const { request, pgBinDir, signal } = input;
  const { options } = request;
  const source = parseEndpoint(request.source ?? {}, 'source');
  const target = parseEndpoint(request.target ?? {}, 'target');
  const rooms = defaultRooms(false);
  const outcome = await rooms.validate({
    source,
    target,
    options,
    pgBinDir,
    signal,
    ownTarget: false,
    job: null,
    ownNames: [],
    onCheck: (check) => input.emit({ type: 'check', check }),
  });
  const { checks, facts } = outcome;
  if (outcome.blocked || facts === null) {
    const unreached = {
      code: 'VALIDATION_INCOMPLETE',
      message: 'A server could not be examined to its end.',
      hint: 'Look at the checks that were skipped and validate again.',
      retryable: true,
    };
    return { checks, error: outcome.error ?? unreached, explanation: null };
  }
  const workDir = await mkdtemp(join(tmpdir(), 'pgsluice-explain-'));
  try {
    const explanation = await explainClone({
      source,
      target,
      options,
      tools: facts.tools,
      sourceVersion: facts.source.version,
      targetVersion: facts.target.version,
      connections: planConnections(
        { source: facts.source.connectionsAvailable, target: facts.target.connectionsAvailable },
        options,
        outcome.method,
      ),
      method: outcome.method,
      workDir,
      signal,
      emit: (event) => input.emit(event),
    });
    return { checks, error: null, explanation };
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}
