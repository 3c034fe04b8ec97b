import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createStagedClone } from '../../src/clone/staged.ts';
import type { CopiedTable, StagedClone } from '../../src/clone/staged.ts';
import type { CloneContext } from '../../src/clone/context.ts';
import type { JobEventBody } from '../../src/contract/event.ts';
import { JobOptions } from '../../src/contract/options.ts';
import type { Verification } from '../../src/contract/report.ts';
import { PauseGate } from '../../src/gate.ts';
import {
  ensureProgress,
  dropProgress,
  recordTableSql,
  setTableCountsSql,
  storeArchive,
} from '../../src/live/progress.ts';
import { dumpArchive } from '../../src/postgres/archive.ts';
import type { Archive } from '../../src/postgres/archive.ts';
import { openSession } from '../../src/postgres/session.ts';
import type { Session } from '../../src/postgres/session.ts';
import { parseEndpoint } from '../../src/postgres/settings.ts';
import { findPgTools } from '../../src/postgres/tools.ts';
import { readServerVersion } from '../../src/postgres/version.ts';
import { verifyDatabases } from '../../src/verify/verify.ts';
import { pgDumpFor } from './servers.ts';

export interface StagedInput {
  readonly sourceUrl: string;
  readonly targetUrl: string;
  readonly job?: string;
  readonly options?: Partial<JobOptions>;
  readonly connections?: { readonly source: number; readonly target: number };
  readonly replaceTarget?: boolean;
  readonly onEvent?: (event: JobEventBody) => void;
}

export interface StagedRun {
  readonly clone: StagedClone;
  readonly context: CloneContext;
  readonly events: JobEventBody[];
  readonly abort: AbortController;
  /** Tables that were asked to be published, as `schema.name`. */
  readonly published: string[];
  logText(): string;
  /** Runs `work` with a session of its own. */
  on<T>(side: 'source' | 'target', work: (session: Session) => Promise<T>): Promise<T>;
  /** finish and its COMMIT, as a cutover does it. */
  finish(): Promise<Awaited<ReturnType<StagedClone['finish']>>>;
  /** The source's schema as it is now. */
  dumpSource(): Promise<Archive>;
  /** Compares both databases, without what the job keeps on the target. */
  verify(): Promise<Verification>;
  close(): Promise<void>;
}

const never = new AbortController().signal;

/** The copying part of a live job with its progress in the target, without the job around it. */
export async function openStaged(input: StagedInput): Promise<StagedRun> {
  const job = input.job ?? 'staged';
  const source = parseEndpoint({ url: input.sourceUrl }, 'source');
  const target = parseEndpoint({ url: input.targetUrl }, 'target');
  const on: StagedRun['on'] = async (side, work) => {
    const session = await openSession(side === 'source' ? source : target, { signal: never, side, purpose: 'test' });
    try {
      return await work(session);
    } finally {
      await session.close();
    }
  };
  const sourceVersion = await on('source', readServerVersion);
  const targetVersion = await on('target', readServerVersion);
  const minMajor = Math.max(sourceVersion.major, targetVersion.major);
  const tools = await findPgTools({ binDir: join(await pgDumpFor(minMajor, null), '..'), minMajor });
  const events: JobEventBody[] = [];
  const abort = new AbortController();
  const workDir = await mkdtemp(join(tmpdir(), 'pgsluice-test-work-'));
  const archive = await on('target', async (session) => {
    await ensureProgress(session, job);
    const [row] = await session.query<{ entries: string }>('SELECT entries FROM pgsluice_live.archive WHERE job = $1', [
      job,
    ]);
    return row?.entries ?? null;
  });
  const context: CloneContext = {
    source,
    target,
    options: { ...JobOptions.parse({}), ...input.options },
    tools,
    sourceVersion,
    targetVersion,
    connections: input.connections ?? { source: 4, target: 6 },
    workDir,
    signal: abort.signal,
    gate: new PauseGate(),
    replaceTarget: input.replaceTarget ?? false,
    beforeFirstWrite: () => Promise.resolve(),
    emit: (event) => {
      events.push(event);
      input.onEvent?.(event);
    },
  };
  const published: string[] = [];
  const clone = createStagedClone(context, {
    job,
    archive,
    readCopied: async (session) => {
      const rows = await session.query<
        Omit<CopiedTable, 'oid' | 'rows' | 'bytes'> & { oid: string; rows: string; bytes: string }
      >(
        `SELECT relation::text AS oid, schema_name AS schema, table_name AS name, snapshot, rows::text, bytes::text
         FROM pgsluice_live.tables WHERE job = $1`,
        [job],
      );
      return rows.map((row) => ({ ...row, oid: Number(row.oid), rows: Number(row.rows), bytes: Number(row.bytes) }));
    },
    storeArchive: (session, json) => storeArchive(session, job, json),
    publish: (tables) => {
      published.push(...tables.map((table) => `${table.schema}.${table.name}`));
      return Promise.resolve();
    },
    recordTable: (table, snapshot, moved) =>
      `${recordTableSql(job, table, snapshot)};\n${setTableCountsSql(job, table.oid, moved.rows, moved.bytes)}`,
  });
  return {
    clone,
    context,
    events,
    abort,
    published,
    logText: () => events.flatMap((event) => (event.type === 'log' ? [event.message] : [])).join('\n'),
    on,
    finish: async () => {
      const sequences = await on('source', (session) => clone.readSequences(session));
      return on('target', async (session) => {
        await session.run('BEGIN');
        const finished = await clone.finish(session, sequences);
        await session.run('COMMIT');
        return finished;
      });
    },
    dumpSource: () =>
      dumpArchive({
        tools,
        settings: source,
        snapshotId: null,
        filter: context.options,
        noOwner: context.options.noOwner,
        noAcl: context.options.noAcl,
        workDir,
        signal: never,
      }),
    verify: async () => {
      await on('target', (session) => dropProgress(session, job));
      return verifyDatabases({
        source,
        target,
        snapshot: null,
        connections: { source: 3, target: 3 },
        options: context.options,
        mode: 'full',
        tools,
        sourceArchive: null,
        workDir,
        signal: never,
        accepted: clone.outcome().restoreProblems.filter((problem) => problem.harmless),
        emit: () => undefined,
      });
    },
    close: async () => {
      await clone.close();
      await rm(workDir, { recursive: true, force: true });
    },
  };
}

/** Opens it, and closes it whatever happens. */
export async function use<T>(input: StagedInput, work: (run: StagedRun) => Promise<T>): Promise<T> {
  const run = await openStaged(input);
  try {
    return await work(run);
  } finally {
    await run.close();
  }
}

/** Schema, rows and rest; the source has to stand still for what follows. */
export async function toTheCutover({ clone }: StagedRun): Promise<void> {
  await clone.schema();
  await clone.copy();
  await clone.buildRest();
}

export const wide = (table: string, rows: number): string =>
  `CREATE TABLE ${table} (id bigint PRIMARY KEY, filler text);
   INSERT INTO ${table} SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, ${rows}) i;`;

/** A table whose first rows cost 1 ms each where the database says `test.slow`, so that a test can act while it is copied. */
export const slowly = (table: string, rows: number): string =>
  `CREATE FUNCTION slow(bigint) RETURNS boolean LANGUAGE plpgsql AS $$
     BEGIN IF $1 < 1500 AND current_setting('test.slow', true) = 'yes' THEN PERFORM pg_sleep(0.001); END IF; RETURN true; END $$;
   CREATE TABLE ${table} (id bigint PRIMARY KEY, filler text, CHECK (slow(id)));
   INSERT INTO ${table} SELECT i, repeat(md5(i::text), 60) FROM generate_series(1, ${rows}) i;`;
