import type { PhaseTiming } from '../contract/report.ts';
import { type ErrorReport, throwIfAborted } from '../errors.ts';
import type { ArchiveCheck, OneSideOutcome } from '../checks/validate-one.ts';
import type { ArchiveRunContext } from './run-archive-context.ts';
import type { RunEnd } from './run-job.ts';
import { validatePatiently } from './validate-again.ts';

export interface ArchiveValidation {
  readonly checks: readonly ArchiveCheck[];
  /** pg_dump and pg_restore have to be of this major at least, whatever the server's. */
  readonly minMajor?: number;
}

/** The run is over, or it goes on with what is known of its server. */
export type Validated =
  | { readonly end: RunEnd }
  | {
      readonly end: null;
      readonly facts: NonNullable<OneSideOutcome['facts']>;
      readonly applications: OneSideOutcome['applications'];
    };

/**
 * Checks the one server and the archive of a run, as far as the state `ready`; `phases` gets its timing.
 * @throws the signal's reason.
 */
export async function validateArchive(
  context: ArchiveRunContext,
  phases: PhaseTiming[],
  validation: ArchiveValidation,
): Promise<Validated> {
  const side = context.kind === 'export' ? 'source' : 'target';
  await context.move('validating', `Checking the ${side} and the archive.`);
  const startedAt = new Date();
  const detail = `Checking the ${side} and the archive; nothing is changed.`;
  context.emit({ type: 'phase', phase: 'validate', status: 'started', seconds: null, detail });
  const ownNames = await context.standingNames();
  const outcome = await validatePatiently({
    context,
    validate: (only) =>
      context.rooms.archives.validateOne({
        side,
        server: context.server,
        options: context.options,
        pgBinDir: context.pgBinDir,
        signal: context.signal,
        ownTarget: context.targetTouched,
        job: context.id,
        ownNames,
        ...(validation.minMajor === undefined ? {} : { minMajor: validation.minMajor }),
        archiveChecks: validation.checks,
        ...(only === undefined ? {} : { only }),
        onCheck: (check) => (only === undefined ? context.emit({ type: 'check', check }) : undefined),
      }),
  });
  const finishedAt = new Date();
  const seconds = (finishedAt.getTime() - startedAt.getTime()) / 1000;
  context.emit({ type: 'phase', phase: 'validate', status: 'finished', seconds, detail: '' });
  const times = { startedAt: startedAt.toISOString(), finishedAt: finishedAt.toISOString() };
  phases.push({ phase: 'validate', seconds, ...times });
  throwIfAborted(context.signal);
  const version = outcome.facts?.server.version.text ?? null;
  const versions = side === 'source' ? { source: version, target: null } : { source: null, target: version };
  const base = { facts: null, versions, copy: null, verification: null, phases, held: null };
  const { facts, applications } = outcome;
  if (outcome.blocked || facts === null) {
    return { end: { ...base, status: 'blocked', error: outcome.error ?? unreached() } };
  }
  const refusal = context.goal === 'migrate' ? await context.hook('after-validate') : null;
  if (refusal !== null) return { end: { ...base, status: 'blocked', error: refusal.report() } };
  const warned = outcome.checks.filter((check) => check.outcome === 'warned').length;
  const warnings = warned === 0 ? '' : `, ${warned} ${warned === 1 ? 'warning' : 'warnings'}`;
  await context.move('ready', `All checks passed${warnings}.`);
  if (context.goal === 'validate') return { end: { ...base, status: 'ready', error: null } };
  return { end: null, facts, applications };
}

function unreached(): ErrorReport {
  return {
    code: 'VALIDATION_INCOMPLETE',
    message: 'The server could not be examined to its end.',
    hint: 'Look at the checks that were skipped and validate again.',
    retryable: true,
  };
}
