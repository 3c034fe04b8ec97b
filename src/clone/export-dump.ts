import { PgsluiceError } from '../errors.ts';
import { dumpDataArguments, dumpFilterArguments } from '../postgres/filters.ts';
import { OWN_SCHEMA } from '../postgres/own-objects.ts';
import { qualified, quoteIdent } from '../postgres/quote.ts';
import { SessionRelay } from '../postgres/relay.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import type { SourceSnapshot } from '../postgres/snapshot.ts';
import { libpqEnvironment, runTool } from '../postgres/tools.ts';
import { copiedTable } from '../postgres/wire-watch.ts';
import type { CopyMeter } from '../postgres/wire-watch.ts';
import type { SourceTable } from './catalogue.ts';
import { log } from './context.ts';
import type { Compression } from './export-compression.ts';
import type { ExportContext } from './export-context.ts';
import { copiedSentence } from './progress.ts';
import type { CopyProgress } from './progress.ts';

/** It holds locks while it waits for others: below the usual deadlock_timeout, so that nobody who waits for us is its victim. */
const LOCK_WAIT_MS = 800;
const retryConnectMs = 30_000;

export interface DumpPlan {
  /** Inside of the moment's own transaction, with the one connection there is; else under its snapshot, with connections of its own. */
  readonly within: boolean;
  readonly jobs: number;
}

/**
 * How pg_dump shares the connections with the session that keeps the snapshot: several jobs take one more for the program itself
 * (PostgreSQL documentation, pg_dump, "--jobs"). Pure.
 */
export function planDump(connections: number, tableJobs: number): DumpPlan {
  if (connections < 2) return { within: true, jobs: 1 };
  const jobs = Math.min(tableJobs, connections - 2);
  return { within: false, jobs: jobs < 2 ? 1 : jobs };
}

export interface DumpInput {
  readonly context: ExportContext;
  readonly plan: DumpPlan;
  readonly snapshot: SourceSnapshot;
  readonly tables: readonly SourceTable[];
  readonly progress: CopyProgress;
  readonly compression: Compression;
  /** The directory that pg_dump makes. */
  readonly dir: string;
  readonly signal: AbortSignal;
}

/** Rows that pg_dump was sent, by table: `["schema","name"]`. */
export type DumpedRows = ReadonlyMap<string, number>;

export function tableKey(table: { readonly schema: string; readonly name: string }): string {
  return JSON.stringify([table.schema, table.name]);
}

/** What pg_dump is asked for. Pure. */
export function dumpArguments(
  input: Pick<DumpInput, 'plan' | 'compression' | 'dir'> & {
    readonly options: ExportContext['options'];
    readonly snapshotId: string;
  },
): string[] {
  const { options, plan } = input;
  return [
    '--format=directory',
    '--verbose',
    '--no-password',
    '--no-sync',
    input.compression.argument,
    `--jobs=${plan.jobs}`,
    `--lock-wait-timeout=${LOCK_WAIT_MS}`,
    ...(plan.within ? [] : [`--snapshot=${input.snapshotId}`]),
    ...(options.schemaOnly ? ['--schema-only'] : []),
    ...(options.dataOnly ? ['--data-only'] : []),
    ...(options.noAcl ? ['--no-privileges'] : []),
    ...dumpFilterArguments(options),
    ...dumpDataArguments(options),
    `--exclude-schema=${quoteIdent(OWN_SCHEMA)}`,
    `--file=${input.dir}`,
  ];
}

/** Counts the rows of one table while they pass, and tells them. */
function meterOf(input: DumpInput, table: SourceTable | undefined, key: string, rows: Map<string, number>): CopyMeter {
  const meter = table === undefined ? null : input.progress.begin(table.oid);
  return {
    advance: (bytes, count) => meter?.advance(bytes, count),
    done: (bytes, count) => {
      rows.set(key, count);
      if (table === undefined || meter === null) return;
      meter.commit(bytes, count);
      log(input.context, 'info', copiedSentence(input.progress.of(table.oid)).replace('Copied', 'Exported'));
    },
  };
}

/**
 * Runs pg_dump under the moment's snapshot. It works with sessions of ours, which end with this process.
 * @throws PgsluiceError PG_TOOL_FAILED, SOURCE_LOCKED where another session's lock stands in the way, or the cancellation.
 */
export async function dumpDirectory(input: DumpInput): Promise<DumpedRows> {
  const { context, plan, snapshot } = input;
  const tables = new Map(input.tables.map((table) => [tableKey(table), table]));
  const rows = new Map<string, number>();
  const own = async (): Promise<Session> =>
    openSession(context.source, {
      signal: input.signal,
      side: 'source',
      purpose: 'export',
      retryForMs: retryConnectMs,
      onRetry: (why) => log(context, 'warn', `A connection to the source failed, trying again: ${why}`),
    });
  const relay = await SessionRelay.open({
    workDir: context.workDir,
    settings: context.source,
    gate: context.gate,
    session: async () =>
      plan.within ? { session: snapshot.holder, keep: true } : { session: await own(), keep: false },
    onQuery: (sql) => {
      const asked = copiedTable(sql);
      if (asked === null) return null;
      return meterOf(input, tables.get(tableKey(asked)), tableKey(asked), rows);
    },
  });
  try {
    await runTool({
      command: context.tools.pgDump,
      args: dumpArguments({ ...input, options: context.options, snapshotId: snapshot.id }),
      env: { ...libpqEnvironment(relay.settings), PGTZ: 'UTC' },
      signal: input.signal,
      onStderrLine: (line) => log(context, 'debug', line),
    });
    return rows;
  } catch (error) {
    if (relay.failure !== null) throw relay.failure;
    if (error instanceof Error && isLockWait(error.message)) throw locked(error);
    throw error;
  } finally {
    await relay.close();
  }
}

/** Words of pg_dump that another session's exclusive lock has beaten it. Pure. */
export function isLockWait(text: string): boolean {
  return /canceling statement due to (lock|statement) timeout|could not obtain lock on relation|deadlock detected/.test(
    text,
  );
}

function locked(cause: unknown): PgsluiceError {
  return new PgsluiceError({
    code: 'SOURCE_LOCKED',
    message: 'Another session on the source holds, or waits for, an exclusive lock on a table that is exported.',
    hint: 'Let what changes or truncates tables there come to its end, then retry the job.',
    retryable: true,
    cause,
  });
}

/** Names of tables for a sentence. Pure. */
export function tableName(key: string): string {
  const [schema, name] = JSON.parse(key) as [string, string];
  return qualified(schema, name);
}
