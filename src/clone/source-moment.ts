import { setTimeout as sleep } from 'node:timers/promises';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { dumpArchive } from '../postgres/archive.ts';
import type { Archive, DumpInput } from '../postgres/archive.ts';
import { isExcludedRelation, keptColumns, readExcluded } from '../postgres/excluded.ts';
import type { Excluded } from '../postgres/excluded.ts';
import { readInstalled } from '../postgres/extensions.ts';
import type { InstalledExtension } from '../postgres/extensions.ts';
import { SILENCE_MS } from '../postgres/line-watch.ts';
import { pruneArchive } from '../postgres/prune.ts';
import { qualified } from '../postgres/quote.ts';
import { openSession, sessionName } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import { SourceSnapshot } from '../postgres/snapshot.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import type { SourceTable, TableSizes } from './catalogue.ts';
import { listRewrittenTables, listTables } from './catalogue.ts';
import type { CloneContext } from './context.ts';
import { log } from './context.ts';
import { nameLockers, watchDump } from './dump-watch.ts';

/** What it takes to choose a moment of the source. */
export interface MomentContext extends Pick<
  CloneContext,
  'source' | 'sourceVersion' | 'options' | 'tools' | 'workDir' | 'signal' | 'emit'
> {
  readonly connections: { readonly source: number };
}

/** One moment of the source: its snapshot, what pg_dump saw in it, and its tables, locked as a reader locks them. */
export interface SourceMoment {
  readonly snapshot: SourceSnapshot;
  readonly archive: Archive | null;
  readonly tables: readonly SourceTable[];
  /** Extensions that the job brings, as the source has them. */
  readonly extensions: readonly InstalledExtension[];
  /** What is left out with extensions; archive and tables are without it. */
  readonly excluded: Excluded;
}

const ATTEMPTS = 5;
const LOCK_CHUNK = 500;
const LOCK_TIMEOUT_MS = 1500;
/**
 * How long locks are waited for while others are held: below deadlock_timeout in all. A session that comes to wait for us looks for a
 * deadlock once, after that timeout, and must not find one and be its victim (PostgreSQL documentation, 20.12).
 */
const HOLDING_PATIENCE = `
SELECT set_config(s.name, least(1000, (SELECT setting::int FROM pg_settings WHERE name = 'deadlock_timeout') * 4 / 5)::text, true)
FROM (VALUES ('lock_timeout'), ('statement_timeout')) AS s (name)`;
/** pg_dump holds locks while it waits for others: below the usual deadlock_timeout for the same reason. */
const DUMP_LOCK_WAIT_MS = 800;
const GIVE_WAY_MS = [500, 1000, 2000, 4000];

/** Every row version of the catalogue tables that pg_dump reads, as one hash: equal means that no DDL has committed in between. */
const FINGERPRINT = `
SELECT md5(string_agg(part, ',' ORDER BY part)) AS hash FROM (
${[
  'pg_class',
  'pg_type',
  'pg_proc',
  'pg_constraint',
  'pg_trigger',
  'pg_rewrite',
  'pg_namespace',
  'pg_policy',
  'pg_attrdef',
  'pg_enum',
  'pg_operator',
  'pg_extension',
  'pg_event_trigger',
  'pg_publication',
  'pg_statistic_ext',
  'pg_default_acl',
  'pg_cast',
  'pg_collation',
  'pg_foreign_server',
]
  .map((name) => `  SELECT '${name}' || oid || ':' || xmin AS part FROM ${name} WHERE oid >= 16384`)
  .join(' UNION ALL\n')}
  UNION ALL SELECT 'a' || attrelid || '.' || attnum || ':' || xmin FROM pg_attribute WHERE attrelid >= 16384
  UNION ALL SELECT 'd' || objoid || '.' || objsubid || ':' || xmin FROM pg_description WHERE objoid >= 16384
) rows`;

async function fingerprint(session: Session): Promise<string> {
  const [row] = await session.query<{ hash: string | null }>(FINGERPRINT);
  return row?.hash ?? '';
}

function dumpInput(context: MomentContext, snapshotId: string | null): DumpInput {
  return {
    tools: context.tools,
    settings: { ...context.source, applicationName: sessionName(context.source, 'dump') },
    snapshotId,
    filter: context.options,
    noOwner: context.options.noOwner,
    noAcl: context.options.noAcl,
    workDir: context.workDir,
    signal: context.signal,
    onLine: (line) => log(context, 'debug', line),
    onWait: (text) => log(context, 'warn', text),
    lockWaitMs: DUMP_LOCK_WAIT_MS,
  };
}

function openSnapshot(context: MomentContext, connections: number): Promise<SourceSnapshot> {
  return SourceSnapshot.open(context.source, {
    connections,
    signal: context.signal,
    log: (level, message) => log(context, level, message),
  });
}

/**
 * Runs `work` on the snapshot's session; where a lock of another session keeps it waiting, it is asked again in short steps,
 * and the log says who is waited for. Sizes of relations need their lock as well.
 */
async function withLockWaits<T>(context: MomentContext, holder: Session, work: () => Promise<T>): Promise<T> {
  for (;;) {
    throwIfAborted(context.signal);
    await holder.run(`SAVEPOINT locks; SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`);
    try {
      const result = await work();
      await holder.run('SET LOCAL lock_timeout = 0; RELEASE SAVEPOINT locks');
      return result;
    } catch (error) {
      if (holder.lost) throw error;
      await holder.run('ROLLBACK TO SAVEPOINT locks');
      if (!givesWay(error)) throw error;
      await tellLocked(context, holder);
    }
  }
}

async function tellLocked(context: MomentContext, session: Session): Promise<void> {
  const text = `Waiting for an exclusive lock of another session on the source: ${await nameLockers(session)}; asking again.`;
  log(context, 'warn', text);
}

/**
 * Locks the tables against TRUNCATE and rewriting for as long as the snapshot lives, since both would take rows away from
 * under it without an error. It is a reader's lock: reading and writing go on.
 */
async function lockTables(context: MomentContext, holder: Session, tables: readonly SourceTable[]): Promise<void> {
  // All or none: who holds the lock we wait for may itself wait for one that we have taken before.
  await withLockWaits(context, holder, async () => {
    await holder.run(HOLDING_PATIENCE);
    for (let at = 0; at < tables.length; at += LOCK_CHUNK) {
      const names = tables.slice(at, at + LOCK_CHUNK).map((table) => qualified(table.schema, table.name));
      await holder.run(`LOCK TABLE ONLY ${names.join(', ONLY ')} IN ACCESS SHARE MODE`);
    }
    await holder.run('SET LOCAL statement_timeout = 0');
  });
}

function isLocked(error: unknown): boolean {
  return error instanceof PgsluiceError && error.code === 'SOURCE_LOCKED';
}

/** The moment without the extensions that are left out, and all that goes with them; each is told to the log by name. */
async function withoutExcluded(
  context: MomentContext,
  snapshot: SourceSnapshot,
  archive: Archive | null,
  tables: readonly SourceTable[],
): Promise<SourceMoment> {
  const { holder } = snapshot;
  const installed = await readInstalled(holder);
  const excluded = await readExcluded(holder, context.options.excludeExtension);
  if (excluded.extensions.length === 0) return { snapshot, archive, tables, extensions: installed, excluded };
  log(context, 'warn', `Left out: extension ${excluded.extensions.join(', ')}`);
  for (const name of excluded.names) log(context, 'warn', `Left out with its extension: ${name}`);
  return {
    snapshot,
    archive: archive === null ? null : pruneArchive(archive, excluded),
    tables: tables
      .filter((table) => !isExcludedRelation(excluded, table.oid))
      .map((table) => ({ ...table, columns: keptColumns(excluded, table.oid, table.columns) })),
    extensions: installed.filter(({ name }) => !excluded.extensions.includes(name)),
    excluded,
  };
}

/** Somebody else has the lock, or waits for one of ours while we wait for theirs. */
function givesWay(error: unknown): boolean {
  const state = sqlStateOf(error);
  return state === SQLSTATE.lockNotAvailable || state === SQLSTATE.deadlockDetected || state === SQLSTATE.queryCanceled;
}

/** DDL that ran between the snapshot and the locks: worth a new snapshot. */
function isStale(error: unknown): boolean {
  return sqlStateOf(error) === SQLSTATE.undefinedTable;
}

async function dumpWatched(context: MomentContext, snapshot: SourceSnapshot): Promise<Archive> {
  const dead = new AbortController();
  const pid: { dump: number | null } = { dump: null };
  const unwatch = watchDump(context, snapshot.holder, sessionName(context.source, 'dump'), {
    pid: () => pid.dump,
    silenceMs: context.source.silenceMs ?? SILENCE_MS,
    onDead: (error) => dead.abort(error),
  });
  try {
    return await dumpArchive({
      ...dumpInput(context, snapshot.id),
      signal: AbortSignal.any([context.signal, dead.signal]),
      onStart: (started) => {
        pid.dump = started;
      },
    });
  } finally {
    await unwatch();
  }
}

/** Waits for the end of both, whichever fails. @throws the second one's error before the first one's. */
async function both<A, B>(one: Promise<A>, other: Promise<B> | null): Promise<[A, B | null]> {
  const [first, second] = await Promise.allSettled([one, other]);
  if (second.status === 'rejected') throw second.reason;
  if (first.status === 'rejected') throw first.reason;
  return [first.value, second.value];
}

/** With a single connection nobody can ask beside pg_dump what it waits for: it gives up soon, and is run again. */
async function dumpBefore(context: MomentContext): Promise<{ before: string; archive: Archive }> {
  const ask = async <T>(question: (session: Session) => Promise<T>): Promise<T> => {
    const { signal } = context;
    const options = { signal, side: 'source', purpose: 'catalogue', retryForMs: 30_000 } as const;
    const session = await openSession(context.source, options);
    try {
      return await question(session);
    } finally {
      await session.close();
    }
  };
  for (;;) {
    const before = await ask(fingerprint);
    try {
      return { before, archive: await dumpArchive(dumpInput(context, null)) };
    } catch (error) {
      if (context.signal.aborted || !isLocked(error)) throw error;
      await ask((session) => tellLocked(context, session));
    }
  }
}

/**
 * Takes the snapshot, locks the tables it lists and dumps the schema under it; again when the schema changed meanwhile.
 * With a single connection to the source pg_dump has to run before the snapshot exists: both are then proven to have seen the
 * same catalogue.
 * @throws PgsluiceError SOURCE_SCHEMA_CHANGES when it changes at every attempt.
 */
export async function takeMoment(context: MomentContext): Promise<SourceMoment> {
  const single = context.connections.source < 2;
  const wantsSchema = !context.options.dataOnly;
  let gaveWay = 0;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    let before = '';
    let archive: Archive | null = null;
    if (single && wantsSchema) {
      ({ before, archive } = await dumpBefore(context));
    }
    const snapshot = await openSnapshot(context, context.connections.source);
    try {
      const list = (sizes: TableSizes): Promise<SourceTable[]> =>
        withLockWaits(context, snapshot.holder, () =>
          listTables(snapshot.holder, context.options, context.sourceVersion.major, sizes),
        );
      const tables = await list('unread');
      await lockTables(context, snapshot.holder, tables);
      const rewritten = await listRewrittenTables(
        snapshot.holder,
        tables.map((table) => table.oid),
      );
      const changed = single && wantsSchema && (await fingerprint(snapshot.holder)) !== before;
      if (rewritten.length === 0 && !changed) {
        // While pg_dump works they are read in full: their locks are held by now, and the snapshot lists the same ones.
        const [full, dumped] = await both(
          list('measured'),
          !single && wantsSchema ? snapshot.withFreeConnection(() => dumpWatched(context, snapshot)) : null,
        );
        log(
          context,
          'info',
          `Snapshot ${snapshot.id} taken at ${snapshot.takenAt}; ${snapshot.workers} reader(s) share it.`,
        );
        return await withoutExcluded(context, snapshot, dumped ?? archive, full);
      }
      await snapshot.close();
      log(
        context,
        'warn',
        `The source's schema changed while the snapshot was taken (attempt ${attempt}); taking another one.`,
      );
    } catch (error) {
      const lockers = isLocked(error) ? await nameLockers(snapshot.holder) : '';
      await snapshot.close();
      if (context.signal.aborted || (!isStale(error) && !isLocked(error))) throw error;
      if (!isLocked(error)) continue;
      // As often as it takes: whoever wanted the lock has it now, and we hold nothing meanwhile.
      attempt -= 1;
      const pause = GIVE_WAY_MS[Math.min(gaveWay, GIVE_WAY_MS.length - 1)] ?? 0;
      gaveWay += 1;
      log(
        context,
        'warn',
        `Giving way to a lock of another session on the source: ${lockers}; taking a snapshot again.`,
      );
      await sleep(pause * (1 + Math.random()), undefined, { signal: context.signal }).catch(() =>
        throwIfAborted(context.signal),
      );
    }
  }
  throw new PgsluiceError({
    code: 'SOURCE_SCHEMA_CHANGES',
    message: `The source's tables were created, rewritten or truncated during each of ${ATTEMPTS} attempts to take a snapshot.`,
    hint: 'Stop what runs DDL or TRUNCATE on the source (migrations, batch jobs), then retry the job.',
    retryable: true,
  });
}
