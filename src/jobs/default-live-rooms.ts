import { readFingerprint, sameServer } from '../checks/connect.ts';
import { Database, IDENTITY, type Identity } from '../checks/database.ts';
import { connectionsAvailable, readConnectionUse, shareConnections } from '../checks/headroom.ts';
import { createStagedClone } from '../clone/staged.ts';
import type { CopiedTable, LiveCopyContext } from '../clone/staged-types.ts';
import { cleanUp } from '../live/cleanup.ts';
import { runCutover } from '../live/cutover.ts';
import { undoReadOnly, undoReadOnlySql } from '../live/fence.ts';
import { Follower } from '../live/follower.ts';
import { runHandOver } from '../live/hand-over.ts';
import { dropLeftovers } from '../live/leftovers.ts';
import { LiveMonitor } from '../live/monitor.ts';
import { publicationName, slotName } from '../live/names.ts';
import {
  dropProgress,
  ensureProgress,
  finishSql,
  PROGRESS_SCHEMA,
  recordTableSql,
  setTableCountsSql,
  startFollowing,
  storeArchive,
  takeOver,
} from '../live/progress.ts';
import { createPublication, dropPublication } from '../live/publication.ts';
import { createSlot, dropSlot, slotLost } from '../live/slot.ts';
import { throwIfAborted } from '../errors.ts';
import { parseLsn } from '../postgres/lsn.ts';
import { quoteLiteral } from '../postgres/quote.ts';
import { openSession, type Session } from '../postgres/session.ts';
import type { ConnectionSettings, Side } from '../postgres/settings.ts';
import { SourceSnapshot } from '../postgres/snapshot.ts';
import { findPgTools } from '../postgres/tools.ts';
import { readServerVersion } from '../postgres/version.ts';
import { LiveGuards, readPublished } from './live-guards.ts';
import type { LivePlace, LiveRooms, TargetProgress } from './live-rooms-types.ts';
import { openDrift } from './live-drift.ts';
import type { Facts } from './rooms.ts';
import { fenceAgain } from './split-check.ts';

/** How long a connection that does not come about is tried again within one question, in ms. */
const retryForMs = 3_000;

async function withSession<T>(
  settings: ConnectionSettings,
  side: Side,
  purpose: string,
  signal: AbortSignal,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await openSession(settings, { signal, side, purpose, retryForMs });
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}

/** By a session's name the clean-up of its job finds it when its agent died without a word (cleanup.ts). */
const named = (purpose: string, job: string): string => `${purpose} ${job}`;

const onSource = <T>({ source, signal, job }: LivePlace, purpose: string, work: (session: Session) => Promise<T>) =>
  withSession(source, 'source', named(purpose, job), signal, work);

/**
 * What is stored of the progress has to outlive a crash of the target, whatever was told to come after it; a higher setting than
 * this one stays.
 */
const durable = (scope: 'session' | 'transaction'): string =>
  `SELECT set_config('synchronous_commit', 'local', ${scope === 'transaction'}) WHERE current_setting('synchronous_commit') = 'off'`;

const onTarget = <T>({ target, signal, job }: LivePlace, purpose: string, work: (session: Session) => Promise<T>) =>
  withSession(target, 'target', named(purpose, job), signal, async (session) => {
    await session.run(durable('session'));
    return await work(session);
  });

async function readFacts(input: Parameters<LiveRooms['readFacts']>[0]): Promise<Facts> {
  const { signal } = input;
  const read = (side: Side) =>
    withSession(input[side], side, named('facts', input.job), signal, async (session) => {
      const version = await readServerVersion(session);
      const [identity] = await session.query<Identity & Record<string, unknown>>(IDENTITY);
      if (identity === undefined) throw new Error('the current role is not in pg_roles');
      const database = new Database({ side, settings: input[side], session, version, identity });
      const available = connectionsAvailable(await readConnectionUse(database));
      return { version, available, fingerprint: await readFingerprint(database) };
    });
  const [source, target] = await Promise.all([read('source'), read('target')]);
  const shared = sameServer(source.fingerprint, target.fingerprint)
    ? shareConnections(source.available, target.available)
    : { source: source.available, target: target.available };
  return {
    source: { version: source.version, connectionsAvailable: shared.source },
    target: { version: target.version, connectionsAvailable: shared.target },
    tools: await findPgTools({
      binDir: input.pgBinDir,
      minMajor: Math.max(source.version.major, target.version.major),
    }),
  };
}

const publish: LiveRooms['publish'] = (place, name, tables) =>
  onSource(place, 'publication', (session) =>
    createPublication(session, name, tables, place.signal, (text) => place.log('info', `The publication is ${text}`)),
  );

interface CopiedRow {
  readonly [column: string]: unknown;
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
  readonly snapshot: string;
  readonly rows: string | null;
  readonly bytes: string | null;
}

async function readCopied(target: Session, job: string): Promise<CopiedTable[]> {
  const rows = await target.query<CopiedRow>(
    `SELECT relation::text AS oid, schema_name AS schema, table_name AS name, snapshot, rows, bytes
     FROM ${PROGRESS_SCHEMA}.tables WHERE job = $1 ORDER BY 2, 3`,
    [job],
  );
  return rows.map(({ oid, schema, name, snapshot, rows: count, bytes }) => ({
    oid: Number(oid),
    schema,
    name,
    snapshot,
    rows: Number(count ?? 0),
    bytes: Number(bytes ?? 0),
  }));
}

/** Fails, and with it the transaction, when another agent leads the job; holds off one that wants to until the end of it. */
function assertLeadSql(job: string, epoch: bigint): string {
  return `WITH lead AS (SELECT 1 FROM ${PROGRESS_SCHEMA}.progress WHERE job = ${quoteLiteral(job)} AND epoch = ${epoch.toString()} FOR SHARE)
SELECT CASE count(*) WHEN 1 THEN 1 ELSE (count(*)::text || ' rows: another agent has taken over this job')::int END FROM lead`;
}

function copyContext(
  place: LivePlace,
  publication: string,
  { archive, epoch }: { readonly archive: string | null; readonly epoch: () => bigint },
): LiveCopyContext {
  const { job } = place;
  return {
    job,
    publish: async (tables) => {
      await publish(place, publication, tables);
    },
    archive,
    readCopied: (target) => readCopied(target, job),
    storeArchive: async (target, json) => {
      await target.run(durable('session'));
      await storeArchive(target, job, json);
    },
    recordTable: (table, snapshot, { rows, bytes }) =>
      [
        durable('transaction'),
        assertLeadSql(job, epoch()),
        recordTableSql(job, table, snapshot),
        setTableCountsSql(job, table.oid, rows, bytes),
      ].join(';\n'),
  };
}

async function hasFinished(target: ConnectionSettings, job: string, signal: AbortSignal): Promise<boolean> {
  return await withSession(target, 'target', named('progress', job), signal, async (session) => {
    const [there] = await session.query<{ there: boolean }>(
      `SELECT to_regclass('${PROGRESS_SCHEMA}.progress') IS NOT NULL AS there`,
    );
    if (there?.there !== true) return false;
    const [row] = await session.query<{ finished: boolean }>(
      `SELECT finished FROM ${PROGRESS_SCHEMA}.progress WHERE job = $1`,
      [job],
    );
    return row?.finished ?? false;
  });
}

/** Ends what an agent that died has left open on the target; a target that is not reached is told of by what comes after. */
async function endSessions(target: ConnectionSettings, job: string, signal: AbortSignal): Promise<void> {
  try {
    await withSession(target, 'target', 'cleanup', signal, (session) =>
      session.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
           AND right(application_name, length($1) + 1) = ' ' || $1`,
        [job],
      ),
    );
  } catch {
    throwIfAborted(signal);
  }
}

async function slotPosition(session: Session, slot: string): Promise<bigint> {
  const [row] = await session.query<{ lsn: string | null }>(
    'SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = $1',
    [slot],
  );
  if (row?.lsn == null) throw slotLost(slot, null);
  return parseLsn(row.lsn);
}

/** The rooms of the live method as they are. `allowCommand`: whoever started this agent lets its jobs run programs. */
export function liveRooms(allowCommand: boolean): LiveRooms {
  return {
    names: (job) => ({ slot: slotName(job), publication: publicationName(job) }),
    readFacts,
    dropLeftovers: (place, keep) => onSource(place, 'leftovers', (session) => dropLeftovers(session, keep)),
    publish,
    publishedTables: (place, publication) =>
      onSource(place, 'publication', (session) => readPublished(session, publication)),
    createSlot,
    dropSlotAndPublication: (place, { slot, publication }) =>
      onSource(place, 'cleanup', async (session) => {
        await dropSlot(session, slot, place.signal);
        await dropPublication(session, publication, place.signal);
      }),
    takeOver: (place, make) =>
      onTarget(place, 'progress', async (session): Promise<TargetProgress> => {
        if (make) await ensureProgress(session, place.job);
        return await takeOver(session, place.job);
      }),
    copyContext,
    createStagedClone,
    readSequences: (place, staged) => onSource(place, 'sequences', (session) => staged.readSequences(session)),
    openDrift,
    slotPosition: (place, slot) => onSource(place, 'slot', (session) => slotPosition(session, slot)),
    startFollowing: (place, epoch, lsn) =>
      onTarget(place, 'progress', (session) => startFollowing(session, place.job, epoch, lsn)),
    hasFinished,
    dropProgress: (place) => onTarget(place, 'progress', (session) => dropProgress(session, place.job)),
    follow: (input) => new Follower(input),
    monitor: (input) => new LiveMonitor(input),
    guards: (place, publication) => new LiveGuards(place, publication),
    runCutover,
    finishSql: (job, epoch) => `${durable('transaction')};\n${finishSql(job, epoch)}`,
    openSnapshot: (settings, options) => SourceSnapshot.open(settings, options),
    handOver: ({ target, job, signal, log }, handOver) =>
      runHandOver({ handOver, target, job, signal, allowCommand, log }),
    undoReadOnly: (place, state) => onSource(place, 'cleanup', (session) => undoReadOnly(session, state)),
    undoReadOnlySql,
    fenceAgain,
    cleanUp: async (input) => {
      const { target, job, signal } = input;
      if (target !== null) await endSessions(target, job, signal);
      return await cleanUp(input);
    },
  };
}
