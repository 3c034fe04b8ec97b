import { throwIfAborted } from '../errors.ts';
import type { ErrorReport } from '../errors.ts';
import type { CheckResult } from '../contract/check.ts';
import type { JobOptions } from '../contract/options.ts';
import type { ApplicationState } from '../postgres/applications/read-applications.ts';
import { maintenanceDatabases } from '../postgres/database-facts.ts';
import { explainError } from '../postgres/explain.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { PgTools } from '../postgres/tools.ts';
import { readServerVersion } from '../postgres/version.ts';
import type { ServerVersion } from '../postgres/version.ts';
import { applicationsOf } from './application.ts';
import { newDatabaseChecks } from './absent-target.ts';
import { capacityChecks } from './capacity.ts';
import type { Check, Scope, Verdict } from './check.ts';
import { connectChecks, readFingerprint, sameServer } from './connect.ts';
import { Database, IDENTITY } from './database.ts';
import type { Identity } from './database.ts';
import { connectionsAvailable, readConnectionUse, shareConnections } from './headroom.ts';
import { objectChecks } from './objects.ts';
import { nameOfPlace } from './place.ts';
import { privilegeChecks } from './privilege.ts';
import { readLeftOut } from './privilege-target.ts';
import { leftoverChecks } from './leftovers.ts';
import { liveChecks } from './live.ts';
import { chooseMethod, decidesMethod, wantsLive } from './method.ts';
import type { MethodChoice } from './method.ts';
import { runChecks, sideOf, toResult } from './run-checks.ts';
import type { Reached, Side } from './run-checks.ts';
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
  /** Only these checks, by id; no facts are read then. All when left out. */
  readonly only?: readonly string[];
  /** This job: the progress of any other on the target is told of, also of one that the agent knows. */
  readonly job?: string | null;
  /** Called at most once, when nothing that was found up to the search for tools speaks against the job: what its first look at the source takes. */
  readonly onSourceKnown?: (known: SourceKnown) => void;
  /** Jobs made together that have yet to make their slot on the source, this one included; 1 when left out. */
  readonly slotsNeeded?: number;
}

/** What is known of the source before the checks that take longer. */
export interface SourceKnown {
  readonly version: ServerVersion;
  /** As in SideFacts. */
  readonly connectionsAvailable: number;
  readonly tools: PgTools;
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
  readonly facts: (Facts & { readonly tools: PgTools }) | null;
  /** Where each side runs, by name; null where it is not known. */
  readonly places: { readonly source: string | null; readonly target: string | null };
  /** Applications by their migration tables on the source; null when they were not looked for. */
  readonly applications: readonly ApplicationState[] | null;
}

export interface Reach extends Reached {
  readonly session: Session | null;
}

/** Room for a session that a checker before us has just given back. */
const RETRY_MS = 1500;

/**
 * Locks are waited for briefly: a check must not queue behind, nor before, the application. Compiling a query that is asked once
 * takes longer than answering it; 10 has no such setting.
 */
const BOUNDS = `SET statement_timeout = '60s'; SET lock_timeout = '5s'; SELECT set_config(name, 'off', false) FROM pg_settings WHERE name = 'jit'`;

/** Longer than the bound that the server itself is given: one that does not keep to it is not waited for. */
const ANSWER_MS = 75_000;

/** With --create-database a target that does not exist yet is looked at from another database of its server. */
export async function reachTarget(
  settings: ConnectionSettings,
  options: JobOptions,
  signal: AbortSignal,
): Promise<Reach> {
  const found = await reach(settings, 'target', signal);
  if (!options.createDatabase || found.error?.code !== 'UNKNOWN_DATABASE') return found;
  for (const database of maintenanceDatabases(settings.database, settings.user)) {
    const beside = await reach({ ...settings, database }, 'target', signal, settings.database);
    if (beside.database !== null) return beside;
  }
  return found;
}

/** `absent`: name of the database that is meant, and is not the one in `settings` because it does not exist. */
export async function reach(
  settings: ConnectionSettings,
  side: Side,
  signal: AbortSignal,
  absent?: string,
): Promise<Reach> {
  let session: Session | null = null;
  try {
    session = await openSession(settings, {
      signal,
      side,
      purpose: 'validate',
      readOnly: true,
      retryForMs: RETRY_MS,
      pipeline: true,
      answerWithinMs: ANSWER_MS,
    });
    await session.run(BOUNDS);
    const version = await readServerVersion(session);
    const [own] = await session.query<Identity & Record<string, unknown>>(IDENTITY);
    if (own === undefined) throw new Error('The current role is not in pg_roles.');
    // No database has the oid 0: this one is the same as none.
    const identity = absent === undefined ? own : { ...own, database: absent, databaseOid: 0 };
    const database = new Database({ side, settings, session, version, identity, absent: absent !== undefined });
    return { session, database, error: null, settings };
  } catch (error) {
    await session?.close();
    throwIfAborted(signal);
    // Also what no server answers: it need not be one.
    const told = explainError(error, { side, settings, doing: 'finding out what that server is' });
    return { session: null, database: null, error: told, settings };
  }
}

export const beforeTools: readonly Check[] = [...connectChecks, ...versionChecks];

export const afterTools = (live: boolean): readonly Check[] => [
  ...newDatabaseChecks,
  ...serverChecks,
  ...privilegeChecks,
  ...capacityChecks,
  ...objectChecks,
  ...(live ? liveChecks : []),
  ...leftoverChecks,
];

/** Every check of the catalogue by id, in the order in which they are told. */
export const checkIds: readonly string[] = [
  ...beforeTools.map((check) => check.id),
  TOOLS_CHECK.id,
  ...afterTools(true).map((check) => check.id),
];

/** A check that decides between methods stops nothing: what it found is told as the reason to copy. */
function softened(check: CheckResult): CheckResult {
  return check.outcome === 'failed' ? { ...check, outcome: 'warned', code: null } : check;
}

export async function readSideFacts(database: Database, available: number): Promise<SideFacts> {
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

interface Facts {
  readonly source: SideFacts;
  readonly target: SideFacts;
  /** What the target's role cannot carry, by keys of postgres/left-out.ts. */
  readonly leftOut: readonly string[];
}

/** Of both sides. */
async function readAvailable(source: Database, target: Database): Promise<{ source: number; target: number }> {
  const alone = {
    source: connectionsAvailable(await readConnectionUse(source)),
    target: connectionsAvailable(await readConnectionUse(target)),
  };
  const one = sameServer(await readFingerprint(source), await readFingerprint(target));
  return one ? shareConnections(alone.source, alone.target) : alone;
}

async function readFacts(source: Database, target: Database, options: JobOptions): Promise<Facts> {
  const available = await readAvailable(source, target);
  return {
    leftOut: await readLeftOut(source, target, options),
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
    slotsNeeded: input.slotsNeeded ?? 1,
    signal,
  };
  throwIfAborted(signal);
  const started = performance.now();
  const [source, target] = await Promise.all([
    reach(input.source, 'source', signal),
    reachTarget(input.target, options, signal),
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
    const asked = (id: string): boolean => input.only === undefined || input.only.includes(id);
    const chosen = (list: readonly Check[]): Check[] => list.filter((check) => asked(check.id));
    const make = async (list: readonly Check[]): Promise<void> => {
      for await (const { check, verdict, elapsedMs } of runChecks(chosen(list), sides, scope)) {
        const connecting = check.id === 'connect.source' || check.id === 'connect.target' ? reachMs : 0;
        note({ id: check.id, side: sideOf(check), title: check.title }, verdict, elapsedMs + connecting);
      }
    };
    let tools: PgTools | null = null;
    await make(beforeTools);
    if (asked(TOOLS_CHECK.id)) {
      const start = performance.now();
      const majors = [source, target].flatMap((side) => (side.database === null ? [] : [side.database.version.major]));
      const search = await searchTools(input.pgBinDir, majors.length === 0 ? [OLDEST_MAJOR] : majors);
      tools = 'tools' in search ? search.tools : null;
      note({ ...TOOLS_CHECK, side: 'agent' }, judgeTools(search), performance.now() - start);
    }
    if (input.onSourceKnown !== undefined && errors.length === 0 && tools !== null) {
      if (source.database !== null && target.database !== null) {
        const { source: connections } = await readAvailable(source.database, target.database);
        input.onSourceKnown({ version: source.database.version, connectionsAvailable: connections, tools });
      }
    }
    await make(afterTools(wantsLive(options)));
    throwIfAborted(signal);
    const facts =
      input.only !== undefined ||
      source.database === null ||
      target.database === null ||
      tools === null ||
      source.session?.lost ||
      target.session?.lost
        ? null
        : { ...(await readFacts(source.database, target.database, options)), tools };
    const { method, reason } = chooseMethod(judged, options);
    return {
      checks,
      method,
      methodReason: reason,
      blocked: errors.length > 0,
      error: errors[0] ?? null,
      facts,
      places: {
        source: await nameOfPlace(source.database, input.source),
        target: await nameOfPlace(target.database, input.target),
      },
      applications: source.database === null ? null : (applicationsOf(source.database)?.found ?? null),
    };
  } finally {
    await Promise.all([source.session?.close(), target.session?.close()]);
  }
}
