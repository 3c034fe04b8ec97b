import type { JobEventBody, JobState, LogLevel, Phase } from '../contract/event.ts';
import type { JobOptions } from '../contract/options.ts';
import type { PhaseTiming, Report, Verification } from '../contract/report.ts';
import { type ErrorReport, PgsluiceError, throwIfAborted } from '../errors.ts';
import type { PauseGate } from '../gate.ts';
import type { DatabaseFacts } from '../postgres/database-facts.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { JobPatch } from '../store/job-queries.ts';
import { estimateSentence } from '../contract/estimate-words.ts';
import { asReport } from './as-report.ts';
import { cleanLive } from './clean-live.ts';
import { estimateOfRun } from './estimate-report.ts';
import { EarlySource } from './early-moment.ts';
import { gently } from './gentle.ts';
import { whileDiskIsWatched } from './disk-watch.ts';
import { type LiveHand, alreadyHandedOver } from './live-hand.ts';
import { planConnections } from './plan-connections.ts';
import type { Facts, JobRooms } from './rooms.ts';
import { runLive } from './run-live.ts';
import { finishDatabase, makeDatabase, readWantedDatabase } from './target-database.ts';
import type { Totals } from './totals.ts';
import { type ServerSide, validatePatiently } from './validate-again.ts';
import type { CutoverReport } from '../contract/live.ts';
import type { CloneOutcome, CloneRun } from '../clone/clone.ts';

/** What a run is given by the manager: the job, and the ways to tell what happens. */
export interface RunContext {
  readonly id: string;
  readonly source: ConnectionSettings;
  readonly target: ConnectionSettings;
  readonly options: JobOptions;
  readonly goal: 'validate' | 'migrate';
  readonly rooms: JobRooms;
  readonly pgBinDir: string | null;
  readonly workDir: string;
  readonly signal: AbortSignal;
  readonly gate: PauseGate;
  /** True when an earlier run of this job has changed the target. */
  readonly targetTouched: boolean;
  /** What a live job has made and last measured; of a job that copies it stays empty. */
  readonly live: LiveHand;
  /** A live run that was paused or interrupted goes on: nothing is validated again. */
  readonly goesOn: boolean;
  emit(event: JobEventBody): void;
  /** Stores and announces a new state; waits while the job is paused. */
  move(to: JobState, reason: string, patch?: JobPatch): Promise<void>;
  /** Pauses the job with an error that a person has to answer; resolves when that is stored. The gate opens when the job goes on. */
  pauseWith(error: PgsluiceError): Promise<void>;
  /** From now on the run takes no place of those that run at once: it only follows. */
  leavePlace(): void;
  /** What the job has counted so far, earlier runs included where this one goes on. */
  totals(): Totals;
  /** Stores that the target is about to be changed: from then on a retry may remove what stands in it. */
  touchTarget(): Promise<void>;
  /** Slots and publications of all live jobs that the store knows, as far as they may stand: no leftovers. */
  standingNames(): Promise<readonly string[]>;
  /** The last commit that the target had stored for this job, as an earlier run has told (LiveProgress.storedLsn); null: none is known. */
  lastStored(): Promise<string | null>;
  /**
   * Calls the job's hooks of this moment. Answers the failure that stops what would come next; after the cutover nothing does, and
   * a failure stands in the report. @throws the cancellation.
   */
  hook(moment: 'after-validate' | 'before-cutover' | 'after-cutover'): Promise<PgsluiceError | null>;
  /** Forgets the checks of earlier validations; answers the sides that they had reached. */
  clearChecks(): Promise<readonly ServerSide[]>;
  /** Forgets the tables of earlier copies. */
  clearTables(): Promise<void>;
}

/** A copy that failed and still holds its snapshot, or one that is whole and was not verified to its end. */
export interface HeldCopy {
  readonly kind: 'copy';
  readonly clone: CloneRun;
  readonly facts: Facts;
  readonly connections: { readonly source: number; readonly target: number };
  /** What the target's database is to be like; null when the job makes none. */
  readonly database: DatabaseFacts | null;
  /** The result when the copy itself is whole. */
  readonly copied: CloneOutcome | null;
}

/** A live run that failed while it copied: its slot is kept, so that a retry copies only what is missing. */
export interface HeldLive {
  readonly kind: 'live';
}

export type HeldRun = HeldCopy | HeldLive;

/** How a run ended by itself; what a person or a stop of the agent ended is thrown instead. */
export interface RunEnd {
  readonly status: 'ready' | 'blocked' | 'completed' | 'failed';
  readonly error: ErrorReport | null;
  readonly facts: Facts | null;
  /** Of the servers, as far as they are known: for runs with an archive, which have no facts of both. */
  readonly versions?: { readonly source: string | null; readonly target: string | null };
  /** Of a run with an archive: its size in bytes, as far as it is known. */
  readonly archiveBytes?: number;
  readonly copy: CloneOutcome | null;
  readonly verification: Verification | null;
  /** Timings of the phases that the runner itself drives. */
  readonly phases: readonly PhaseTiming[];
  /** Present when a retry can go on from here. */
  readonly held: HeldRun | null;
  /** Only of live runs that came to a cutover. */
  readonly cutover?: CutoverReport;
  /** What a person still has to do beside what the copy says, in plain sentences. */
  readonly todo?: readonly string[];
}

/**
 * One run of a job: validate, copy, verify. With `held` it goes on under the snapshot of the run before.
 * Closes the clone's connections, except when `held` is answered.
 * @throws the signal's reason when it fires.
 */
export async function runJob(context: RunContext, held: HeldRun | null): Promise<RunEnd> {
  const phases: PhaseTiming[] = [];
  if (held?.kind === 'copy') return await copyGently(context, held, phases);
  if (context.goesOn) return await runLive(context, { facts: null, chosen: false, phases });
  // A run from the beginning would empty a target that is in use.
  if (context.live.handedOver) throw alreadyHandedOver();
  if (context.live.stands && context.goal === 'migrate') await cleanFirst(context);

  const early = new EarlySource(context);
  try {
    return await validateAndRun(context, early, phases);
  } finally {
    await early.drop();
  }
}

async function validateAndRun(context: RunContext, early: EarlySource, phases: PhaseTiming[]): Promise<RunEnd> {
  await context.move('validating', 'Checking both servers.');
  const { slot, publication } = context.rooms.live.names(context.id);
  const ownNames = [...new Set([slot, publication, ...(await context.standingNames())])];
  const outcome = await timed(context, phases, 'validate', 'Checking both servers; nothing is changed.', () =>
    validatePatiently({
      context,
      validate: (only) =>
        context.rooms.validate({
          source: context.source,
          target: context.target,
          options: context.options,
          pgBinDir: context.pgBinDir,
          signal: context.signal,
          ownTarget: context.targetTouched,
          job: context.id,
          ownNames,
          ...(only === undefined ? { onSourceKnown: (known) => early.begin(known) } : { only }),
          onCheck: (check) => (only === undefined ? context.emit({ type: 'check', check }) : undefined),
        }),
    }),
  );
  throwIfAborted(context.signal);
  const base = { facts: outcome.facts, copy: null, verification: null, phases, held: null };
  if (outcome.blocked || outcome.facts === null) {
    return { ...base, status: 'blocked', error: outcome.error ?? unreached() };
  }
  const refusal = context.goal === 'migrate' ? await context.hook('after-validate') : null;
  if (refusal !== null) return { ...base, status: 'blocked', error: refusal.report() };
  const warnings = outcome.checks.filter((check) => check.outcome === 'warned').length;
  await context.move(
    'ready',
    warnings === 0 ? 'All checks passed.' : `All checks passed, ${plural(warnings, 'warning')}.`,
  );
  if (context.goal === 'validate') return { ...base, status: 'ready', error: null };

  const chosen = context.options.method === 'auto';
  if (chosen) log(context, 'info', `Method auto takes ${outcome.method}: ${outcome.methodReason}`);
  if (outcome.method === 'live') return await runLive(context, { facts: outcome.facts, chosen, phases });
  const uncalled = uncalledHandOver(context.options);
  for (const line of uncalled) log(context, 'warn', line);
  return await copyGently(context, await prepareCopy(context, outcome.facts, early), phases);
}

async function copyGently(context: RunContext, work: HeldCopy, phases: PhaseTiming[]): Promise<RunEnd> {
  const available = work.facts.source.connectionsAvailable;
  const source = { ...context.source, job: context.id };
  return await gently({ ...context, source, available, taken: work.connections.source }, () =>
    copyAndVerify(context, work, phases),
  );
}

/** A copy ends without a cutover: a hand-over that was asked for is left to a person. Pure. */
function uncalledHandOver({ handOver }: Pick<JobOptions, 'handOver'>): string[] {
  if (handOver === null) return [];
  return [
    'The method is copy, which has no hand-over: the command or webhook is not called. Point your application to the target by hand.',
  ];
}

/** What an earlier run has left on the servers goes before a new one makes its own. */
async function cleanFirst(context: RunContext): Promise<void> {
  const { state } = context.live;
  if (state === null) return;
  const done = await cleanLive({
    rooms: context.rooms,
    job: context.id,
    endpoints: { source: context.source, target: context.target },
    state,
    ms: 30_000,
    signal: context.signal,
    log: (level, message) => log(context, level, message),
    save: (cleaned) => context.live.save(cleaned),
  });
  throwIfAborted(context.signal);
  if (done) return;
  throw new PgsluiceError({
    code: 'LEFTOVERS_REMAIN',
    message: 'What the run before has left on the servers could not be removed, so the job cannot begin anew.',
    hint: 'The log says what is left and why. When both servers are reached again, retry.',
    retryable: true,
  });
}

async function prepareCopy(context: RunContext, facts: Facts, early: EarlySource): Promise<HeldCopy> {
  const connections = planConnections(
    { source: facts.source.connectionsAvailable, target: facts.target.connectionsAvailable },
    context.options,
  );
  await context.clearTables();
  const clone = context.rooms.createClone(
    {
      ...ofJob(context),
      options: context.options,
      tools: facts.tools,
      sourceVersion: facts.source.version,
      targetVersion: facts.target.version,
      leftOut: new Set(facts.leftOut),
      connections,
      workDir: context.workDir,
      signal: context.signal,
      gate: context.gate,
      replaceTarget: context.options.replace || context.targetTouched,
      beforeFirstWrite: () => context.touchTarget(),
      emit: (event) => context.emit(event),
    },
    early,
  );
  const database = await readWantedDatabase(context);
  return { kind: 'copy', clone, facts, connections, database, copied: null };
}

/** Both servers, with the job in the name of every session: who looks at a server sees whose it is. */
function ofJob({ id, source, target }: RunContext): Pick<RunContext, 'source' | 'target'> {
  return { source: { ...source, job: id }, target: { ...target, job: id } };
}

async function copyAndVerify(context: RunContext, work: HeldCopy, phases: PhaseTiming[]): Promise<RunEnd> {
  const { clone, facts, connections } = work;
  let keep = false;
  let copied = work.copied;
  try {
    if (copied === null) {
      await context.move(
        'running',
        `Copying with up to ${connections.source} connections to the source and ${connections.target} to the target.`,
      );
      if (clone.snapshot === null && context.targetTouched) {
        log(
          context,
          'info',
          'The copy starts anew under a fresh snapshot; what the run before left on the target is removed.',
        );
      }
      await makeDatabase(context, work.database);
      const outcome = await whileDiskIsWatched(
        {
          ...context,
          spare: facts.target.connectionsAvailable > connections.target,
          log: (level, message) => log(context, level, message),
        },
        () => clone.run(),
      );
      throwIfAborted(context.signal);
      if (!outcome.ok) {
        keep = clone.canRetry;
        const error = outcome.error?.report() ?? null;
        const held = keep ? { ...work, copied: null } : null;
        return { status: 'failed', error, facts, copy: outcome, verification: null, phases, held };
      }
      copied = outcome;
    }
    const whole = copied;
    const { verify } = context.options;
    let verification: Verification | null = null;
    if (verify !== 'none') {
      await context.move('verifying', 'The copy is done; comparing the target with the source.');
      try {
        verification = await timed(context, phases, 'verify', 'Comparing the target with the source.', () =>
          context.rooms.verifyDatabases({
            ...ofJob(context),
            ...(context.options.gentle === true ? { pace: context.gate.pace } : {}),
            gate: context.gate,
            snapshot: clone.snapshot,
            connections,
            options: context.options,
            mode: verify,
            tools: facts.tools,
            sourceArchive: clone.sourceArchive,
            workDir: context.workDir,
            signal: context.signal,
            copiedSequences: clone.sequences,
            accepted: acceptedDifferences(whole),
            emit: (event) => context.emit(besideCopy(event, whole.moved)),
          }),
        );
      } catch (cause) {
        throwIfAborted(context.signal);
        // The copy is whole: a retry only compares again, while the snapshot it has to be compared with lives.
        keep = clone.snapshot?.alive === true;
        const held = keep ? { ...work, copied: whole } : null;
        return { status: 'failed', error: asReport(cause), facts, copy: whole, verification: null, phases, held };
      }
      throwIfAborted(context.signal);
    }
    const { estimate } = estimateOfRun(whole.expected, [...phases, ...whole.phases], verification);
    if (estimate !== undefined) log(context, 'info', estimateSentence(estimate));
    const todo = [...uncalledHandOver(context.options), ...(await finishDatabase(context, work.database))];
    return { status: 'completed', error: null, facts, copy: whole, verification, phases, held: null, todo };
  } finally {
    if (!keep) await clone.close();
  }
}

/** While both sides are compared, the totals stay what the copy has moved: no figure falls back. Pure. */
export function besideCopy(
  event: JobEventBody,
  { tables, rows, bytes }: Pick<Report['moved'], 'tables' | 'rows' | 'bytes'>,
): JobEventBody {
  return event.type === 'metric' ? { ...event, tables, tablesDone: tables, rows, bytes, fraction: 1 } : event;
}

/** Differences that a person was told of and that change nothing of what was moved. */
export function acceptedDifferences(copied: CloneOutcome): { kind: string; name: string; reason: string }[] {
  const reason = 'the target had this extension before, and it stays.';
  return [
    ...copied.restoreProblems.filter((problem) => problem.harmless),
    ...copied.targetExtensions.flatMap((name) => [
      { kind: 'EXTENSION', name, reason },
      { kind: 'COMMENT', name: `EXTENSION ${name}`, reason },
    ]),
  ];
}

async function timed<T>(
  context: RunContext,
  phases: PhaseTiming[],
  phase: Phase,
  detail: string,
  work: () => Promise<T>,
): Promise<T> {
  const startedAt = new Date();
  context.emit({ type: 'phase', phase, status: 'started', seconds: null, detail });
  try {
    return await work();
  } finally {
    const finishedAt = new Date();
    const seconds = (finishedAt.getTime() - startedAt.getTime()) / 1000;
    context.emit({ type: 'phase', phase, status: 'finished', seconds, detail: '' });
    phases.push({ phase, seconds, startedAt: startedAt.toISOString(), finishedAt: finishedAt.toISOString() });
  }
}

function log(context: RunContext, level: LogLevel, message: string): void {
  context.emit({ type: 'log', level, message });
}

function unreached(): ErrorReport {
  return {
    code: 'VALIDATION_INCOMPLETE',
    message: 'A server could not be examined to its end.',
    hint: 'Look at the checks that were skipped and validate again.',
    retryable: true,
  };
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
