import type { JobEventBody } from '../contract/event.ts';
import type { PhaseTiming, Verification } from '../contract/report.ts';
import { throwIfAborted } from '../errors.ts';
import type { CloneOutcome } from '../clone/clone.ts';
import { createImport } from '../clone/import-archive.ts';
import type { CheckedArchive, ImportRun } from '../clone/import-archive.ts';
import type { DatabaseFacts } from '../postgres/database-facts.ts';
import type { ServerVersion } from '../postgres/version.ts';
import type { PgTools } from '../postgres/tools.ts';
import { verifyAgainstArchive } from '../verify/against-archive.ts';
import { asReport } from './as-report.ts';
import { whileDiskIsWatched } from './disk-watch.ts';
import { ArchiveExam } from './import-checks.ts';
import { planConnections } from './plan-connections.ts';
import type { ArchiveRunContext } from './run-archive-context.ts';
import { acceptedDifferences, besideCopy } from './run-job.ts';
import type { HeldRun, RunEnd } from './run-job.ts';
import { finishDatabase, makeDatabase } from './target-database.ts';
import { validateArchive } from './validate-archive.ts';

interface Work {
  readonly run: ImportRun;
  readonly archive: CheckedArchive;
  readonly tools: PgTools;
  readonly sourceVersion: ServerVersion;
  readonly targetVersion: ServerVersion;
  readonly connections: number;
  /** What the target's database is to be like; null when the job makes none. */
  readonly database: DatabaseFacts | null;
  /** The target has a connection beside those, for a moment. */
  readonly spare: boolean;
}

/**
 * One run of an import: the archive and the target are examined to their ends before anything is changed, then the target is
 * filled, then compared with the archive. Every run begins anew; an archive does not change, and what a run before has left on
 * the target goes first.
 * @throws the signal's reason when it fires.
 */
export async function runImport(context: ArchiveRunContext, _held: HeldRun | null): Promise<RunEnd> {
  const phases: PhaseTiming[] = [];
  const exam = new ArchiveExam({
    path: context.archive,
    target: context.server,
    options: context.options,
    pgBinDir: context.pgBinDir,
    workDir: context.workDir,
    signal: context.signal,
    say: (message) => context.emit({ type: 'log', level: 'info', message }),
  });
  const checked = await validateArchive(context, phases, { checks: exam.checks });
  const source = exam.sourceVersion;
  if (checked.end !== null) {
    const versions = { source: source?.text ?? null, target: checked.end.versions?.target ?? null };
    return { ...checked.end, versions };
  }
  const { archive, tools } = exam;
  if (archive === null || tools === null || source === null)
    throw new Error('an archive passed all checks and was not read');
  const { connectionsAvailable, version } = checked.facts.server;
  const available = { source: connectionsAvailable, target: connectionsAvailable };
  const connections = planConnections(available, context.options).target;
  await context.clearTables();
  const run = createImport({
    target: context.server,
    options: context.options,
    tools,
    targetVersion: version,
    connections: { target: connections },
    workDir: context.workDir,
    signal: context.signal,
    gate: context.gate,
    replaceTarget: context.options.replace || context.targetTouched,
    beforeFirstWrite: () => context.touchTarget(),
    emit: (event) => context.emit(event),
    archive,
    leftOut: exam.leftOut,
  });
  const spare = connectionsAvailable > connections;
  const work = {
    run,
    database: exam.database,
    spare,
    archive,
    tools,
    sourceVersion: source,
    targetVersion: version,
    connections,
  };
  return await fill(context, work, phases);
}

async function fill(context: ArchiveRunContext, work: Work, phases: PhaseTiming[]): Promise<RunEnd> {
  const { run, archive, connections } = work;
  const most = `${connections} ${connections === 1 ? 'connection' : 'connections'}`;
  await context.move('running', `Importing with up to ${most} to the target.`);
  if (context.targetTouched) {
    const message = 'The import starts anew; what the run before left on the target is removed.';
    context.emit({ type: 'log', level: 'info', message });
  }
  const versions = { source: work.sourceVersion.text, target: work.targetVersion.text };
  const base = { facts: null, versions, archiveBytes: archive.bytes, phases, held: null };
  const onTarget = { ...context, target: context.server };
  await makeDatabase(onTarget, work.database);
  const outcome = await whileDiskIsWatched(
    {
      ...onTarget,
      spare: work.spare,
      log: (level, message) => context.emit({ type: 'log', level, message }),
    },
    () => run.run(),
  );
  throwIfAborted(context.signal);
  if (!outcome.ok) {
    const error = outcome.error?.report() ?? null;
    return { ...base, status: 'failed', error, copy: outcome, verification: null };
  }
  const { verify } = context.options;
  let verification: Verification | null = null;
  if (verify !== 'none') {
    await context.move('verifying', 'The import is done; comparing the target with the archive.');
    try {
      verification = await compare(context, work, outcome, verify, phases);
    } catch (cause) {
      throwIfAborted(context.signal);
      return { ...base, status: 'failed', error: asReport(cause), copy: outcome, verification: null };
    }
    throwIfAborted(context.signal);
  }
  const todo = await finishDatabase(onTarget, work.database);
  return { ...base, status: 'completed', error: null, copy: outcome, verification, todo };
}

async function compare(
  context: ArchiveRunContext,
  work: Work,
  outcome: CloneOutcome,
  mode: 'counts' | 'full',
  phases: PhaseTiming[],
): Promise<Verification> {
  const { run, archive } = work;
  const told = new Map(
    (archive.manifest?.sequences ?? []).map(({ schema, name, value, isCalled }) => [
      JSON.stringify([schema, name]),
      { schema, name, lastValue: value, isCalled },
    ]),
  );
  const startedAt = new Date();
  const detail = 'Comparing the target with the archive.';
  const tell = (event: JobEventBody): void => context.emit(besideCopy(event, outcome.moved));
  tell({ type: 'phase', phase: 'verify', status: 'started', seconds: null, detail });
  try {
    return await verifyAgainstArchive({
      target: context.server,
      connections: { target: work.connections },
      options: context.options,
      mode,
      tools: work.tools,
      workDir: context.workDir,
      signal: context.signal,
      archive: run.sourceArchive ?? { entries: [] },
      sourceMajor: work.sourceVersion.major,
      manifest: archive.manifest,
      loaded: run.loaded,
      sequences: (run.sequences ?? []).map((one) => told.get(JSON.stringify([one.schema, one.name])) ?? one),
      largeObjects: run.largeObjects,
      accepted: acceptedDifferences(outcome),
      emit: tell,
    });
  } finally {
    const finishedAt = new Date();
    const seconds = (finishedAt.getTime() - startedAt.getTime()) / 1000;
    tell({ type: 'phase', phase: 'verify', status: 'finished', seconds, detail: '' });
    const times = { startedAt: startedAt.toISOString(), finishedAt: finishedAt.toISOString() };
    phases.push({ phase: 'verify', seconds, ...times });
  }
}
