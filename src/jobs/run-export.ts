import type { PhaseTiming, Report, Verification } from '../contract/report.ts';
import { shellWord } from '../contract/words.ts';
import { throwIfAborted } from '../errors.ts';
import type { CloneOutcome } from '../clone/clone.ts';
import type { ExportOutcome } from '../clone/export.ts';
import { asReport } from './as-report.ts';
import { gently } from './gentle.ts';
import { packageVersion } from './package-version.ts';
import { planConnections } from './plan-connections.ts';
import type { ArchiveRunContext } from './run-archive-context.ts';
import type { RunEnd } from './run-job.ts';
import { validateArchive } from './validate-archive.ts';

/**
 * One run of an export: validate, write, read back. Whatever ends it early leaves nothing at the archive's path.
 * @throws the signal's reason when it fires.
 */
export async function runExport(context: ArchiveRunContext): Promise<RunEnd> {
  const phases: PhaseTiming[] = [];
  const { rooms, server, options } = context;
  const checked = await validateArchive(context, phases, { checks: rooms.archives.exportChecks(context.archive) });
  if (checked.end !== null) return checked.end;
  const { facts, applications } = checked;
  const versions = { source: facts.server.version.text, target: null };
  const { connectionsAvailable } = facts.server;
  const available = { source: connectionsAvailable, target: connectionsAvailable };
  const connections = planConnections(available, { ...options, indexJobs: 0 }).source;
  await context.clearTables();
  const most = `${connections} ${connections === 1 ? 'connection' : 'connections'}`;
  await context.move('running', `Exporting with up to ${most} to the source.`);
  let outcome: ExportOutcome;
  const source = { ...server, job: context.id };
  const look = { ...context, source, available: connectionsAvailable, taken: connections };
  try {
    outcome = await gently(look, () =>
      rooms.archives.exportArchive({
        job: context.id,
        source,
        sourceVersion: facts.server.version,
        options,
        tools: facts.tools,
        connections: { source: connections },
        archive: context.archive,
        workDir: context.workDir,
        signal: context.signal,
        gate: context.gate,
        toolVersion: packageVersion(),
        applications: applications?.map(({ framework, table, version }) => ({ name: framework, table, version })),
        showMoment: (moment) => context.showMoment(moment),
        beforeReading: () => context.move('verifying', 'Everything is written; reading the archive back.'),
        emit: (event) => context.emit(event),
      }),
    );
  } catch (cause) {
    throwIfAborted(context.signal);
    const error = asReport(cause);
    return { status: 'failed', error, facts: null, versions, copy: null, verification: null, phases, held: null };
  }
  // From here on there is an archive: what is asked of the job now comes too late.
  return {
    status: 'completed',
    error: null,
    facts: null,
    versions,
    archiveBytes: outcome.archiveBytes,
    copy: asCopy(outcome),
    verification: options.verify === 'none' ? null : asVerification(outcome),
    phases,
    held: null,
    todo: todoOf(context.archive, outcome.manifest.pgDump.major),
  };
}

function asCopy({ moved, phases }: { moved: Report['moved']; phases: readonly PhaseTiming[] }): CloneOutcome {
  return {
    ok: true,
    error: null,
    failedTables: [],
    restoreProblems: [],
    phases,
    moved,
    targetExtensions: [],
    todo: [],
  };
}

/** What was compared is counts: of the source, of what was sent, and of what can be read back. Pure. */
function asVerification({ tables, manifest, phases }: ExportOutcome): Verification {
  return {
    mode: 'counts',
    verified: true,
    tables: [...tables],
    sequencesCompared: 0,
    largeObjectsCompared: 0,
    objectsCompared: 0,
    differences: [],
    notChecked: [
      'Contents: the archive was read back and its rows were counted; an import compares their checksums.',
      ...manifest.notMeasured,
    ],
    seconds: phases.find(({ phase }) => phase === 'verify')?.seconds ?? 0,
  };
}

/** Pure. */
function todoOf(archive: string, major: number): string[] {
  return [
    `Keep all of ${archive}, and the source until the archive was imported and compared.`,
    `Load it with: pgsluice import ${shellWord(archive)} --target postgres://… (or with pg_restore ${major} or newer).`,
  ];
}
