import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { CheckFamily } from '../contract/check.ts';
import type { CheckResult } from '../contract/check.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { atPlace, failed, joinVerdicts, skipped, warned } from './check.ts';
import type { Check, Scope, Verdict } from './check.ts';
import { verdictOfNewDatabase } from './absent-target.ts';
import { judgeUnreached } from './connect.ts';
import type { Database } from './database.ts';
import { readPlace } from './place.ts';
import { OLDEST_MAJOR } from './version.ts';

export type Side = 'source' | 'target';

/** A side is reached, or why not: the connection's error, or a version whose catalogue is unknown here. */
export interface Reached {
  readonly database: Database | null;
  readonly error: PgsluiceError | null;
  /** Where it was looked for; tells the place of a server that was not reached. */
  readonly settings?: Pick<ConnectionSettings, 'host' | 'database'>;
  /** There is no such server: an archive stands in its place. */
  readonly archive?: true;
}

/** Checks that need no more than a connection, whatever the server's version. */
const anyVersion = (check: Check): boolean => check.id.startsWith('connect.') || check.id.startsWith('version.');

/** Why a check that needs `side` cannot be made there; null when it can. */
function lacking(check: Check, side: Side, { database, archive }: Reached): string | null {
  if (archive === true) return `An archive stands in the place of the ${side}.`;
  if (database === null) return `The ${side} was not reached.`;
  if (database.version.major < OLDEST_MAJOR && !anyVersion(check)) {
    return `The ${side} runs PostgreSQL ${database.version.text}, whose catalogue this agent does not read.`;
  }
  return null;
}

export const sideOf = (check: Check): CheckResult['side'] =>
  check.needs === 'each' ? 'both' : check.needs === 'both' ? check.side : check.needs;

/** Where the place cannot be told, the remedy stays PostgreSQL's own. */
async function inPlace(verdict: Verdict, database: Database): Promise<Verdict> {
  return verdict.parts === undefined ? verdict : atPlace(verdict, await readPlace(database));
}

async function runCheck(check: Check, sides: Readonly<Record<Side, Reached>>, scope: Scope): Promise<Verdict> {
  if (sides.target.database?.absent === true) {
    const verdict = verdictOfNewDatabase(check.id, scope.options.dataOnly);
    if (verdict !== null) return verdict;
  }
  if (check.needs === 'source' || check.needs === 'target') {
    const reached = sides[check.needs];
    if (check.id === `connect.${check.needs}` && reached.error !== null)
      return judgeUnreached(reached.error, reached.settings);
    const why = lacking(check, check.needs, reached);
    const { database } = reached;
    return why === null && database !== null ? inPlace(await check.run(database, scope), database) : skipped(why ?? '');
  }
  if (check.needs === 'both') {
    const why = [lacking(check, 'source', sides.source), lacking(check, 'target', sides.target)].filter(
      (w) => w !== null,
    );
    const { source, target } = sides;
    if (why.length > 0 || source.database === null || target.database === null) return skipped(why.join(' '));
    const verdict = await check.run(source.database, target.database, scope);
    return inPlace(verdict, check.side === 'source' ? source.database : target.database);
  }
  const onSide = async (side: Side): Promise<Verdict> => {
    const { database } = sides[side];
    const why = lacking(check, side, sides[side]);
    return why === null && database !== null
      ? await guarded(check, async () => inPlace(await check.run(database, scope), database))
      : skipped(why ?? '');
  };
  if (sides.source.archive === true) return await onSide('target');
  if (sides.target.archive === true) return await onSide('source');
  const [source, target] = await Promise.all([onSide('source'), onSide('target')]);
  return joinVerdicts([
    { label: 'Source', verdict: source },
    { label: 'Target', verdict: target },
  ]);
}

/**
 * What becomes of a check whose query failed: one that can block does block, because nothing may be claimed that was not
 * looked at; others warn. Where the role may not look, an informing check is left out.
 */
export function judgeImpossible(severity: Check['severity'], error: PgsluiceError, denied: boolean): Verdict {
  const found = `This could not be checked: ${error.message}`;
  if (severity === 'blocks') return { ...failed(error.code, found, error.hint), retryable: error.retryable };
  return severity === 'informs' && denied ? skipped(found) : warned(found, error.hint);
}

export async function guarded(check: Pick<Check, 'severity'>, run: () => Promise<Verdict>): Promise<Verdict> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof PgsluiceError) || error.code === 'CANCELLED') throw error;
    return judgeImpossible(check.severity, error, sqlStateOf(error) === SQLSTATE.insufficientPrivilege);
  }
}

/** The answer as it is shown; `elapsedMs` is rounded to a tenth. Pure. */
export function toResult(
  head: Pick<CheckResult, 'id' | 'side' | 'title'>,
  verdict: Verdict,
  elapsedMs: number,
): CheckResult {
  const { outcome, code, found, remedy } = verdict;
  const { id, side, title } = head;
  return {
    id,
    family: CheckFamily.parse(id.split('.', 1)[0]),
    side,
    outcome,
    code,
    title,
    found,
    remedy,
    elapsedMs: Math.round(elapsedMs * 10) / 10,
  };
}

export interface Answer {
  readonly check: Check;
  readonly verdict: Verdict;
  /** ms from the check's start to its answer; checks between two that are `alone` run side by side. */
  readonly elapsedMs: number;
}

/** Neighbours that may run side by side; a check that must be alone is a group of its own. Pure. */
export function groupsOf(checks: readonly Check[]): Check[][] {
  const groups: Check[][] = [];
  let open = false;
  for (const check of checks) {
    const last = groups.at(-1);
    if (open && last !== undefined && check.alone !== true) last.push(check);
    else groups.push([check]);
    open = check.alone !== true;
  }
  return groups;
}

/**
 * Makes the checks, those that may side by side over each side's one session, and answers them in their order.
 * Throws PgsluiceError only for the cancellation.
 */
export async function* runChecks(
  checks: readonly Check[],
  sides: Readonly<Record<Side, Reached>>,
  scope: Scope,
): AsyncGenerator<Answer> {
  for (const group of groupsOf(checks)) {
    throwIfAborted(scope.signal);
    const begun = group.map(async (check) => {
      const start = performance.now();
      const verdict = await guarded(check, () => runCheck(check, sides, scope));
      return { check, verdict, elapsedMs: performance.now() - start };
    });
    // The first failure below is thrown; those of its neighbours must not be left unheard.
    void Promise.allSettled(begun);
    for (const answer of begun) {
      yield await answer;
      throwIfAborted(scope.signal);
    }
  }
}
