import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JobEventBody } from '../../src/contract/event.ts';
import { JobOptions } from '../../src/contract/options.ts';
import { PauseGate } from '../../src/gate.ts';
import { defaultRooms } from '../../src/jobs/default-rooms.ts';
import type { ArchiveRunContext } from '../../src/jobs/run-archive-context.ts';
import { runExport } from '../../src/jobs/run-export.ts';
import { runImport } from '../../src/jobs/run-import.ts';
import type { RunEnd } from '../../src/jobs/run-job.ts';
import { parseEndpoint } from '../../src/postgres/settings.ts';

export interface ArchiveRunInput {
  readonly url: string;
  readonly archive: string;
  readonly pgBin: string;
  readonly options?: Partial<JobOptions>;
}

export interface ArchiveRun {
  readonly end: RunEnd;
  readonly events: readonly JobEventBody[];
}

/** A run with an archive as a job drives it, without a store and a process of its own around it. */
async function runHere(kind: 'export' | 'import', input: ArchiveRunInput): Promise<ArchiveRun> {
  const events: JobEventBody[] = [];
  const workDir = await mkdtemp(join(tmpdir(), 'pgsluice-test-work-'));
  const context: ArchiveRunContext = {
    id: 'test',
    kind,
    server: parseEndpoint({ url: input.url }, kind === 'export' ? 'source' : 'target'),
    archive: input.archive,
    options: { ...JobOptions.parse({}), ...input.options },
    goal: 'migrate',
    rooms: defaultRooms(false),
    pgBinDir: input.pgBin,
    workDir,
    signal: new AbortController().signal,
    gate: new PauseGate(),
    targetTouched: false,
    emit: (event) => events.push(event),
    move: () => Promise.resolve(),
    pauseWith: () => Promise.resolve(),
    leavePlace: () => undefined,
    totals: () => ({ tables: 0, tablesDone: 0, tablesFailed: 0, rows: 0, bytes: 0, fraction: 0 }),
    touchTarget: () => Promise.resolve(),
    standingNames: () => Promise.resolve([]),
    lastStored: () => Promise.resolve(null),
    hook: () => Promise.resolve(null),
    clearChecks: () => Promise.resolve([]),
    clearTables: () => Promise.resolve(),
    showMoment: () => undefined,
  };
  try {
    const end = kind === 'export' ? await runExport(context) : await runImport(context, null);
    return { end, events };
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

export function exportHere(input: ArchiveRunInput): Promise<ArchiveRun> {
  return runHere('export', input);
}

export function importHere(input: ArchiveRunInput): Promise<ArchiveRun> {
  return runHere('import', input);
}
