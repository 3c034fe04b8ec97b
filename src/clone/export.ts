import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Phase } from '../contract/event.ts';
import { type Manifest, manifestFormat, manifestName } from '../contract/manifest.ts';
import type { PhaseTiming, Report, TableVerification } from '../contract/report.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { log } from './context.ts';
import { type Compression, chooseCompression } from './export-compression.ts';
import type { ExportContext, Measured } from './export-context.ts';
import { type DumpedRows, dumpDirectory, planDump } from './export-dump.ts';
import { judgeHolding } from './export-judge.ts';
import {
  closeToOthers,
  diskFull,
  preparePartial,
  publish,
  removePartial,
  saysDiskFull,
  watchDisk,
  writeSynced,
} from './export-place.ts';
import { type Followed, FollowedFiles, heldTables } from './export-follow.ts';
import { hashFiles, readData } from './export-reading.ts';
import { type SourceFacts, readSourceFacts } from './export-source.ts';
import { readToc } from './import-archive-check.ts';
import { CopyProgress } from './progress.ts';
import { type SourceMoment, takeMoment } from './source-moment.ts';

export interface ExportOutcome {
  readonly manifest: Manifest;
  /** Of all files, the manifest apart. */
  readonly archiveBytes: number;
  readonly moved: Report['moved'];
  readonly phases: readonly PhaseTiming[];
  /** Tables whose rows were counted on the source, on their way, and in the archive. */
  readonly tables: readonly TableVerification[];
  readonly seconds: number;
}

const ATTEMPTS = 5;
const GIVE_WAY_MS = 1000;

interface Written {
  readonly facts: SourceFacts;
  readonly measured: Measured;
  readonly dumped: DumpedRows;
  readonly moment: SourceMoment;
  readonly followed: ReadonlyMap<string, Followed>;
  readonly bytes: number;
}

interface Work {
  readonly context: ExportContext;
  readonly compression: Compression;
  /** Fires with the job's, and when the disk is about to be full. */
  readonly signal: AbortSignal;
}

/**
 * Writes an archive of one moment of the source: a directory that pg_restore reads, and a manifest in it. It gets its name when
 * all of it is on disk and was read back; before that, and whenever this throws, there is nothing at `context.archive`.
 * @throws PgsluiceError DISK_FULL, ARCHIVE_EXISTS, ARCHIVE_INCOMPLETE, SOURCE_LOCKED, PG_TOOL_FAILED, or the cancellation.
 */
export async function exportArchive(context: ExportContext): Promise<ExportOutcome> {
  const started = Date.now();
  const phases: PhaseTiming[] = [];
  const full = new AbortController();
  const signal = AbortSignal.any([context.signal, full.signal]);
  const { archive, job } = context;
  let done = false;
  let unwatch = (): void => undefined;
  try {
    const first = await preparePartial(archive, job);
    unwatch = watchDisk(dirname(first), (free) => full.abort(diskFull(archive, free)));
    const { tools, source, options, workDir } = context;
    const compression = await chooseCompression({ tools, source, workDir, signal, asked: options.compress ?? null });
    const work = { context, compression, signal };
    const { written, dir } = await phase(context, phases, 'copy', `Exporting to ${archive}.`, () => write(work, first));
    await closeToOthers(dir);
    await context.beforeReading();
    const reading = { dir, tools, workDir, signal, gate: context.gate };
    const { followed } = written;
    const [held, printed, files] = await phase(context, phases, 'verify', 'Reading the archive back.', async () => {
      const toc = await readToc({ kind: 'directory', path: dir, tocFile: join(dir, 'toc.dat'), manifestFile: null });
      const rows = readsBack(options) ? heldTables(toc, followed) : null;
      const what = !readsBack(options) ? 'sequences' : rows === null ? 'all' : 'all but tables';
      return [rows, ...(await allOf([readData(reading, what), hashFiles(reading, followed)] as const))] as const;
    });
    const judged = judgeHolding({
      tables: written.measured.tables,
      moment: written.moment.tables,
      dumped: written.dumped,
      printed: readsBack(options) && !options.schemaOnly ? (held ?? printed.tables) : null,
    });
    const archiveBytes = sum(files.map((file) => file.bytes));
    const manifest: Manifest = {
      format: manifestFormat,
      tool: { name: 'pgsluice', version: context.toolVersion },
      createdAt: new Date().toISOString(),
      snapshotAt: written.moment.snapshot.takenAt,
      ...written.facts,
      pgDump: { version: tools.version, major: tools.major },
      compression: compression.words,
      options: contentsOptions(context),
      measured: options.verify,
      ...written.measured,
      tables: [...judged.tables],
      notMeasured: [...written.measured.notMeasured, ...judged.left],
      sequences: printed.sequences,
      ...(context.applications === undefined ? {} : { applications: context.applications }),
      files,
    };
    throwIfAborted(signal);
    await writeSynced(join(dir, manifestName), `${JSON.stringify(manifest, null, 1)}\n`);
    await publish(dir, archive);
    done = true;
    const rows = sum(judged.verified.map((table) => table.sourceRows));
    log(
      context,
      'info',
      `The archive ${archive} is whole: ${files.length.toLocaleString('en-US')} files, ${archiveBytes.toLocaleString('en-US')} bytes, compressed with ${compression.words}.`,
    );
    return {
      manifest,
      archiveBytes,
      moved: {
        tables: written.dumped.size,
        rows: Math.max(rows, sum(written.dumped.values())),
        bytes: written.bytes,
        indexes: 0,
        sequences: printed.sequences.length,
        largeObjects: written.measured.largeObjects?.count ?? 0,
      },
      phases,
      tables: judged.verified,
      seconds: (Date.now() - started) / 1000,
    };
  } catch (error) {
    throwIfAborted(context.signal);
    if (full.signal.aborted) throw full.signal.reason;
    if (error instanceof Error && saysDiskFull(error.message)) throw diskFull(archive, null, error);
    throw error;
  } finally {
    unwatch();
    if (!done) await removePartial(archive, job);
  }
}

function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}

/** What is measured on the source is held against what the archive has. */
function readsBack({ verify }: ExportContext['options']): boolean {
  return verify !== 'none';
}

/** The options that decide what is in the archive. */
function contentsOptions({ options }: ExportContext): Manifest['options'] {
  const { includeSchema, excludeSchema, includeTable, excludeTable, excludeTableData } = options;
  const { noOwner, noAcl, schemaOnly, dataOnly } = options;
  const filters = { includeSchema, excludeSchema, includeTable, excludeTable, excludeTableData };
  return { ...filters, noOwner, noAcl, schemaOnly, dataOnly };
}

/** Waits for all, so that none goes on in the background, and throws what failed first in this order. */
async function allOf<A, B>(work: readonly [Promise<A>, Promise<B>]): Promise<[A, B]> {
  const [one, two] = await Promise.allSettled(work);
  if (one.status === 'rejected') throw one.reason;
  if (two.status === 'rejected') throw two.reason;
  return [one.value, two.value];
}

async function phase<T>(
  context: ExportContext,
  timings: PhaseTiming[],
  name: Phase,
  detail: string,
  work: () => Promise<T>,
): Promise<T> {
  const startedAt = new Date();
  context.emit({ type: 'phase', phase: name, status: 'started', seconds: null, detail });
  const result = await work();
  const finishedAt = new Date();
  const seconds = (finishedAt.getTime() - startedAt.getTime()) / 1000;
  context.emit({ type: 'phase', phase: name, status: 'finished', seconds, detail: '' });
  timings.push({ phase: name, seconds, startedAt: startedAt.toISOString(), finishedAt: finishedAt.toISOString() });
  return result;
}

/** What passes by itself: a lock of another session, a source that restarts or is out of reach for a while. */
function passes(error: unknown): boolean {
  return error instanceof PgsluiceError && (error.code === 'SOURCE_LOCKED' || error.retryable);
}

/** Measures and dumps one moment; where that is interrupted by what passes, another moment, from the beginning. */
async function write(work: Work, first: string): Promise<{ written: Written; dir: string }> {
  const { context, signal } = work;
  let dir = first;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return { written: await writeOnce(work, dir), dir };
    } catch (error) {
      throwIfAborted(signal);
      const why = error instanceof Error ? error.message : String(error);
      if (!passes(error) || attempt >= ATTEMPTS || saysDiskFull(why)) throw error;
      log(context, 'warn', `The export was interrupted and begins anew under another snapshot: ${why}`);
    }
    dir = await preparePartial(context.archive, context.job);
    await sleep(GIVE_WAY_MS * attempt, undefined, { signal }).catch(() => throwIfAborted(signal));
  }
}

async function writeOnce(work: Work, dir: string): Promise<Written> {
  const { context, signal } = work;
  // The definitions are pg_dump's to read: of the moment only its tables are needed here.
  const options = { ...context.options, dataOnly: true, excludeExtension: [] };
  const moment = await takeMoment({ ...context, signal, options });
  try {
    context.showMoment(moment.snapshot);
    return await writeMoment(work, moment, dir);
  } finally {
    await moment.snapshot.close();
  }
}

const nothingMeasured: Measured = {
  tables: [],
  checksums: { method: null, probe: null },
  largeObjects: null,
  notMeasured: ['Nothing was measured on the source: --verify none.'],
};

async function writeMoment(work: Work, moment: SourceMoment, dir: string): Promise<Written> {
  const { context } = work;
  const { snapshot, tables } = moment;
  const stop = new AbortController();
  const signal = AbortSignal.any([work.signal, stop.signal]);
  const facts = await readSourceFacts(snapshot.holder, context.source, context.sourceVersion, context.options);
  const progress = new CopyProgress((event) => context.emit(event));
  if (!context.options.schemaOnly) for (const table of tables) progress.add(table, 'text', 1);
  const plan = planDump(context.connections.source, context.options.tableJobs);
  const { verify: mode } = context.options;
  const measure = async (): Promise<Measured> => {
    if (mode === 'none') return nothingMeasured;
    const pace = (): Promise<void> => context.gate.wait(signal);
    const onTable = (): void => undefined;
    const rate = context.options.gentle === true ? { rate: context.gate.pace } : {};
    return context.measure({ session: snapshot.holder, mode, signal, pace, onTable, ...rate });
  };
  const dump = async (): Promise<Pick<Written, 'dumped' | 'followed'>> => {
    await context.gate.wait(signal);
    const { compression } = work;
    const contents = readsBack(context.options) && !context.options.schemaOnly;
    const files = new FollowedFiles({ dir, contents, signal, gate: context.gate });
    try {
      const dumped = await dumpDirectory({ context, plan, snapshot, tables, progress, compression, dir, signal });
      if (!plan.within) progress.setWaiting('the source to measure its tables');
      return { dumped, followed: await files.finish() };
    } catch (error) {
      await files.cancel();
      throw error;
    }
  };
  let failure: unknown = null;
  const orStop = async <T>(promise: Promise<T>): Promise<T> => {
    try {
      return await promise;
    } catch (error) {
      failure ??= error;
      stop.abort(error);
      // The other part may be in a statement that takes long.
      await snapshot.close();
      throw error;
    }
  };
  try {
    if (plan.within) {
      const why =
        'The source allows one connection: its tables are measured first, then exported one after the other, in one transaction.';
      log(context, 'info', why);
      const measured = await measure();
      const dumped = await dump();
      return { facts, measured: listed(measured, moment, mode), ...dumped, moment, bytes: progress.totals.bytes };
    }
    const [measured, dumped] = await allOf([orStop(measure()), orStop(dump())] as const);
    return { facts, measured: listed(measured, moment, mode), ...dumped, moment, bytes: progress.totals.bytes };
  } catch (error) {
    throwIfAborted(work.signal);
    throw failure ?? error;
  } finally {
    progress.finish();
  }
}

/** Where nothing was measured the manifest still names the tables, with the rows that pg_dump was sent (export-judge.ts). */
function listed(measured: Measured, { tables }: SourceMoment, mode: string): Measured {
  if (mode !== 'none') return measured;
  return {
    ...measured,
    tables: tables
      .filter((table) => table.via === null)
      .map(({ schema, name, sizeBytes, extensionCondition }) => ({
        schema,
        name,
        kind: 'table' as const,
        tree: false,
        condition: extensionCondition ?? '',
        rows: null,
        bytes: sizeBytes,
        checksum: null,
        columns: [],
      })),
  };
}
