import { PgsluiceError, throwIfAborted } from '../errors.ts';
import type { ErrorReport } from '../errors.ts';
import { CheckFamily } from '../contract/check.ts';
import type { CheckResult } from '../contract/check.ts';
import type { JobOptions } from '../contract/options.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import type { PgTools } from '../postgres/tools.ts';
import { readServerVersion } from '../postgres/version.ts';
import type { ServerVersion } from '../postgres/version.ts';
import { capacityChecks } from './capacity.ts';
import { failed, joinVerdicts, skipped, warned } from './check.ts';
import type { Check, Scope, Verdict } from './check.ts';
import { connectChecks, judgeUnreached, readFingerprint, sameServer } from './connect.ts';
import { Database, IDENTITY } from './database.ts';
import type { Identity } from './database.ts';
import { connectionsAvailable, readConnectionUse, shareConnections } from './headroom.ts';
import { objectChecks } from './objects.ts';
import { privilegeChecks } from './privilege.ts';
import { leftoverChecks } from './leftovers.ts';
import { liveChecks } from './live.ts';
import { chooseMethod, decidesMethod, wantsLive } from './method.ts';
import type { MethodChoice } from './method.ts';
import { serverChecks } from './server.ts';
import { OLDEST_MAJOR, TOOLS_CHECK, judgeTools, searchTools, versionChecks } from './version.ts';

export interface ValidationInput {
  readonly source: ConnectionSettings;
  readonly target: ConnectionSettings;
  readonly options: JobOptions;
  /** Folder with pg_dump and pg_restore, alone when given; null to look where they usually are. */
  readonly pgBinDir: string | null;
  readonly signal: AbortSignal;
  /** Called once a check, in the order of `ValidationOutcome.checks`. */
  readonly onCheck: (check: CheckResult) => void;
  /** The target's contents were made by this very job (a retry): it then need not be empty. */
  readonly ownTarget?: boolean;
  /** Slots and publications of this job and of others that the agent knows: they are no leftovers. */
  readonly ownNames?: readonly string[];
  /** This job: the progress of any other on the target is told of, also of one that the agent knows. */
  readonly job?: string | null;
}

/** What later steps plan with. */
export interface SideFacts {
  readonly version: ServerVersion;
  /** Connections this role could have at once when validation looked, its own session's slot counted as free; where both sides are one server, this side's share. */
  readonly connectionsAvailable: number;
  readonly superuser: boolean;
  readonly inRecovery: boolean;
  readonly databaseBytes: number;
  readonly systemIdentifier: string | null;
}

export interface ValidationOutcome {
  /** As they are shown: where method `auto` decides by them, failed live checks are warnings here. */
  readonly checks: CheckResult[];
  /** How the database is to be moved; of no meaning when blocked. */
  readonly method: MethodChoice['method'];
  /** One sentence. */
  readonly methodReason: string;
  readonly blocked: boolean;
  /** The first failed check in the order of the families, connect first. */
  readonly error: ErrorReport | null;
  /** Null when a side was not reached or there is no pg_dump to work with. */
  readonly facts: { readonly source: SideFacts; readonly target: SideFacts; readonly tools: PgTools } | null;
}

type Side = 'source' | 'target';

/** A side is reached, or why not: the connection's error, or a version whose catalogue is unknown here. */
interface Reach {
  readonly settings: ConnectionSettings;
  readonly session: Session | null;
  readonly database: Database | null;
  readonly error: PgsluiceError | null;
}

/** Room for a session that a checker before us has just given back. */
const RETRY_MS = 1500;

/** Locks are waited for briefly: a check must not queue behind, nor before, the application. */
const BOUNDS = `SET statement_timeout = '60s'; SET lock_timeout = '5s'`;

async function reach(settings: ConnectionSettings, side: Side, signal: AbortSignal): Promise<Reach> {
  let session: Session | null = null;
  try {
    session = await openSession(settings, { signal, side, purpose: 'validate', readOnly: true, retryForMs: RETRY_MS });
    await session.run(BOUNDS);
    const version = await readServerVersion(session);
    const [identity] = await session.query<Identity & Record<string, unknown>>(IDENTITY);
    if (identity === undefined) throw new Error('The current role is not in pg_roles.');
    return { settings, session, database: new Database({ side, settings, session, version, identity }), error: null };
  } catch (error) {
    await session?.close();
    throwIfAborted(signal);
    if (!(error instanceof PgsluiceError)) throw error;
    return { settings, session: null, database: null, error };
  }
}

const families: readonly (readonly Check[])[] = [
  connectChecks,
  versionChecks,
  serverChecks,
  privilegeChecks,
  capacityChecks,
  objectChecks,
  liveChecks,
  leftoverChecks,
];

/** Checks that need no more than a connection, whatever the server's version. */
const anyVersion = (check: Check): boolean => check.id.startsWith('connect.') || check.id.startsWith('version.');

/** Why a check that needs `side` cannot be made there; null when it can. */
function lacking(check: Check, side: Side, reached: Reach): string | null {
  const { database } = reached;
  if (database === null) return `The ${side} was not reached.`;
  if (database.version.major < OLDEST_MAJOR && !anyVersion(check)) {
    return `The ${side} runs PostgreSQL ${database.version.text}, whose catalogue this agent does not read.`;
  }
  return null;
}

const sideOf = (check: Check): CheckResult['side'] =>
  check.needs === 'each' ? 'both' : check.needs === 'both' ? check.side : check.needs;

async function runCheck(check: Check, sides: Readonly<Record<Side, Reach>>, scope: Scope): Promise<Verdict> {
  if (check.needs === 'source' || check.needs === 'target') {
    const reached = sides[check.needs];
    if (check.id === `connect.${check.needs}` && reached.error !== null) return judgeUnreached(reached.error);
    const why = lacking(check, check.needs, reached);
    return why === null && reached.database !== null ? check.run(reached.database, scope) : skipped(why ?? '');
  }
  if (check.needs === 'both') {
    const why = [lacking(check, 'source', sides.source), lacking(check, 'target', sides.target)].filter(
      (w) => w !== null,
    );
    const { source, target } = sides;
    if (why.length > 0 || source.database === null || target.database === null) return skipped(why.join(' '));
    return check.run(source.database, target.database, scope);
  }
  const parts: { label: string; verdict: Verdict }[] = [];
  for (const side of ['source', 'target'] as const) {
    const { database } = sides[side];
    const why = lacking(check, side, sides[side]);
    const verdict =
      why === null && database !== null ? await guarded(check, () => check.run(database, scope)) : skipped(why ?? '');
    parts.push({ label: side === 'source' ? 'Source' : 'Target', verdict });
  }
  return joinVerdicts(parts);
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

async function guarded(check: Check, run: () => Promise<Verdict>): Promise<Verdict> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof PgsluiceError) || error.code === 'CANCELLED') throw error;
    return judgeImpossible(check.severity, error, sqlStateOf(error) === SQLSTATE.insufficientPrivilege);
  }
}

function toResult(head: Pick<CheckResult, 'id' | 'side' | 'title'>, verdict: Verdict, elapsedMs: number): CheckResult {
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

/** A check that decides between methods stops nothing: what it found is told as the reason to copy. */
function softened(check: CheckResult): CheckResult {
  return check.outcome === 'failed' ? { ...check, outcome: 'warned', code: null } : check;
}

async function readSideFacts(database: Database, available: number): Promise<SideFacts> {
  const { systemIdentifier } = await readFingerprint(database);
  const size = await database.one<{ bytes: number }>('SELECT pg_database_size(current_database())::float8 AS bytes');
  return {
    version: database.version,
    connectionsAvailable: available,
    superuser: database.identity.superuser,
    inRecovery: database.identity.inRecovery,
    databaseBytes: size.bytes,
    systemIdentifier,
  };
}

async function readFacts(source: Database, target: Database): Promise<{ source: SideFacts; target: SideFacts }> {
  const alone = {
    source: connectionsAvailable(await readConnectionUse(source)),
    target: connectionsAvailable(await readConnectionUse(target)),
  };
  const one = sameServer(await readFingerprint(source), await readFingerprint(target));
  const available = one ? shareConnections(alone.source, alone.target) : alone;
  return {
    source: await readSideFacts(source, available.source),
    target: await readSideFacts(target, available.target),
  };
}

/**
 * Looks at both servers and says whether the job can succeed. Changes nothing on either (every transaction is READ
 * ONLY), holds one session a side, for a moment a second one where the limits leave room, and closes all before it
 * returns. Every check is made even when others fail. Throws PgsluiceError only for the cancellation.
 */
export async function validate(input: ValidationInput): Promise<ValidationOutcome> {
  const { options, signal } = input;
  const scope: Scope = {
    options,
    ownTarget: input.ownTarget ?? false,
    ownNames: input.ownNames ?? [],
    job: input.job ?? null,
    signal,
  };
  throwIfAborted(signal);
  const started = performance.now();
  const [source, target] = await Promise.all([
    reach(input.source, 'source', signal),
    reach(input.target, 'target', signal),
  ]);
  const reachMs = performance.now() - started;
  const sides = { source, target };
  const checks: CheckResult[] = [];
  const judged: CheckResult[] = [];
  const errors: ErrorReport[] = [];
  const note = (head: Pick<CheckResult, 'id' | 'side' | 'title'>, verdict: Verdict, elapsedMs: number): void => {
    const found = toResult(head, verdict, elapsedMs);
    judged.push(found);
    const check = found.family === 'live' && decidesMethod(options) ? softened(found) : found;
    checks.push(check);
    if (check.outcome === 'failed') {
      errors.push({
        code: check.code ?? 'CHECK_FAILED',
        message: check.found,
        hint: check.remedy,
        retryable: verdict.retryable ?? false,
      });
    }
    input.onCheck(check);
  };
  try {
    let tools: PgTools | null = null;
    for (const family of families) {
      if (family === liveChecks && !wantsLive(options)) continue;
      for (const check of family) {
        throwIfAborted(signal);
        const start = performance.now();
        const verdict = await guarded(check, () => runCheck(check, sides, scope));
        const connecting = check.id === 'connect.source' || check.id === 'connect.target' ? reachMs : 0;
        note(
          { id: check.id, side: sideOf(check), title: check.title },
          verdict,
          performance.now() - start + connecting,
        );
      }
      if (family === versionChecks) {
        const start = performance.now();
        const majors = [source, target].flatMap((side) =>
          side.database === null ? [] : [side.database.version.major],
        );
        const search = await searchTools(input.pgBinDir, majors.length === 0 ? [OLDEST_MAJOR] : majors);
        tools = 'tools' in search ? search.tools : null;
        note({ ...TOOLS_CHECK, side: 'agent' }, judgeTools(search), performance.now() - start);
      }
    }
    throwIfAborted(signal);
    const facts =
      source.database === null ||
      target.database === null ||
      tools === null ||
      source.session?.lost ||
      target.session?.lost
        ? null
        : { ...(await readFacts(source.database, target.database)), tools };
    const { method, reason } = chooseMethod(judged, options);
    return { checks, method, methodReason: reason, blocked: errors.length > 0, error: errors[0] ?? null, facts };
  } finally {
    await Promise.all([source.session?.close(), target.session?.close()]);
  }
}
