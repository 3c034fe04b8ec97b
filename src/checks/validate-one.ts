import type { CheckResult } from '../contract/check.ts';
import { type ErrorReport, throwIfAborted } from '../errors.ts';
import type { ApplicationState } from '../postgres/applications/read-applications.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { PgTools } from '../postgres/tools.ts';
import { applicationsOf } from './application.ts';
import type { Check, Scope, Severity, Verdict } from './check.ts';
import type { Database } from './database.ts';
import { connectionsAvailable, readConnectionUse } from './headroom.ts';
import { nameOfPlace } from './place.ts';
import { guarded, runChecks, sideOf, toResult } from './run-checks.ts';
import type { Reached, Side } from './run-checks.ts';
import { afterTools, beforeTools, reach, reachTarget, readSideFacts } from './validate.ts';
import type { SideFacts, ValidationInput } from './validate.ts';
import { OLDEST_MAJOR, TOOLS_CHECK, judgeTools, searchTools } from './version.ts';

/** One check of the archive; the server is given where it was reached. */
export interface ArchiveCheck {
  readonly id: `archive.${string}`;
  readonly severity: Severity;
  readonly title: string;
  readonly run: (server: Database | null, scope: Scope) => Promise<Verdict>;
}

export interface OneSideInput extends Pick<
  ValidationInput,
  'options' | 'pgBinDir' | 'signal' | 'onCheck' | 'ownTarget' | 'ownNames' | 'only' | 'job'
> {
  /** Which side the server is; an archive is the other one. */
  readonly side: Side;
  readonly server: ConnectionSettings;
  /** pg_dump and pg_restore have to be of this major at least, whatever the server's. */
  readonly minMajor?: number;
  /** Made last, in this order. */
  readonly archiveChecks: readonly ArchiveCheck[];
}

export interface OneSideOutcome {
  readonly checks: CheckResult[];
  readonly blocked: boolean;
  /** The first failed check. */
  readonly error: ErrorReport | null;
  /** Null when the server was not reached, there is no pg_dump to work with, or only some checks were asked for. */
  readonly facts: { readonly server: SideFacts; readonly tools: PgTools } | null;
  readonly place: string | null;
  /** Applications by their migration tables on a source; null when they were not looked for. */
  readonly applications: readonly ApplicationState[] | null;
}

/** Checks of a server that is not there would say nothing; those that hold two against each other say why they are not made. */
function concerns(check: Check, side: Side): boolean {
  return check.needs === side || check.needs === 'each' || check.needs === 'both';
}

/**
 * As validate(), of a job with an archive in the place of one server. Changes nothing. Throws PgsluiceError only for the
 * cancellation.
 */
export async function validateOne(input: OneSideInput): Promise<OneSideOutcome> {
  const { side, signal } = input;
  const options = { ...input.options, method: 'copy' as const };
  const scope: Scope = {
    options,
    ownTarget: input.ownTarget ?? false,
    ownNames: input.ownNames ?? [],
    job: input.job ?? null,
    slotsNeeded: 0,
    signal,
  };
  throwIfAborted(signal);
  const started = performance.now();
  const there = await (side === 'source'
    ? reach(input.server, side, signal)
    : reachTarget(input.server, options, signal));
  const reachMs = performance.now() - started;
  const absent: Reached = { database: null, error: null, archive: true };
  const sides = side === 'source' ? { source: there, target: absent } : { source: absent, target: there };
  const checks: CheckResult[] = [];
  const errors: ErrorReport[] = [];
  const note = (head: Pick<CheckResult, 'id' | 'side' | 'title'>, verdict: Verdict, elapsedMs: number): void => {
    const check = toResult(head, verdict, elapsedMs);
    checks.push(check);
    if (check.outcome === 'failed') {
      const { code, found: message, remedy: hint } = check;
      errors.push({ code: code ?? 'CHECK_FAILED', message, hint, retryable: verdict.retryable ?? false });
    }
    input.onCheck(check);
  };
  try {
    const asked = (id: string): boolean => input.only === undefined || input.only.includes(id);
    const make = async (list: readonly Check[]): Promise<void> => {
      const chosen = list.filter((check) => asked(check.id) && concerns(check, side));
      for await (const { check, verdict, elapsedMs } of runChecks(chosen, sides, scope)) {
        const on = check.needs === 'each' ? side : sideOf(check);
        const connecting = check.id === `connect.${side}` ? reachMs : 0;
        note({ id: check.id, side: on, title: check.title }, verdict, elapsedMs + connecting);
      }
    };
    let tools: PgTools | null = null;
    await make(beforeTools);
    if (asked(TOOLS_CHECK.id)) {
      const start = performance.now();
      const search = await searchTools(input.pgBinDir, [
        there.database?.version.major ?? OLDEST_MAJOR,
        input.minMajor ?? OLDEST_MAJOR,
      ]);
      tools = 'tools' in search ? search.tools : null;
      note({ ...TOOLS_CHECK, side: 'agent' }, judgeTools(search), performance.now() - start);
    }
    await make(afterTools(false));
    for (const check of input.archiveChecks.filter(({ id }) => asked(id))) {
      throwIfAborted(signal);
      const start = performance.now();
      const verdict = await guarded(check, () => check.run(there.database, scope));
      note({ id: check.id, side: 'agent', title: check.title }, verdict, performance.now() - start);
    }
    throwIfAborted(signal);
    const { database } = there;
    const known = input.only === undefined && database !== null && tools !== null && there.session?.lost !== true;
    const facts =
      known && tools !== null && database !== null
        ? { server: await readSideFacts(database, connectionsAvailable(await readConnectionUse(database))), tools }
        : null;
    return {
      checks,
      blocked: errors.length > 0,
      error: errors[0] ?? null,
      facts,
      place: await nameOfPlace(database, input.server),
      applications: database === null || side === 'target' ? null : (applicationsOf(database)?.found ?? null),
    };
  } finally {
    await there.session?.close();
  }
}
