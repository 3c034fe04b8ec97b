import { setTimeout as sleep } from 'node:timers/promises';
import { throwIfAborted } from '../errors.ts';
import type { Archive } from '../postgres/archive.ts';
import { isTransient } from '../postgres/explain.ts';
import { qualified } from '../postgres/quote.ts';
import { openSession } from '../postgres/session.ts';
import type { Session } from '../postgres/session.ts';
import { SQLSTATE, sqlStateOf } from '../postgres/sqlstate.ts';
import { listTables } from './catalogue.ts';
import type { SourceTable } from './catalogue.ts';
import type { CloneContext } from './context.ts';
import { log } from './context.ts';
import { carriesLargeObjects, copyLargeObjects, countLargeObjects, pacer } from './large-objects.ts';
import { PG_CLASS } from './post-data.ts';
import { RESTORE_SETTINGS } from './restore.ts';
import { SessionPool, buildSettings, openControl } from './session-pool.ts';

/** Connections of one stage; gone with it. */
export interface StageSessions {
  readonly targets: SessionPool;
  readonly sources: SessionPool;
  /** For questions beside the work; null where a side allows a single connection. */
  readonly targetControl: Session | null;
  readonly sourceControl: Session | null;
}

type TargetStage = Pick<StageSessions, 'targets' | 'targetControl'>;

/** Runs `work` with sessions to the target within its limits, and ends them with it. */
export async function withTargets<T>(context: CloneContext, work: (sessions: TargetStage) => Promise<T>): Promise<T> {
  const targetControl = await openControl(context);
  let targets: SessionPool | null = null;
  try {
    targets = new SessionPool(context, {
      side: 'target',
      server: context.target,
      connections: context.connections.target - (targetControl === null ? 0 : 1),
      settings: `${RESTORE_SETTINGS}; ${await buildSettings(targetControl, context.options.indexJobs)}`,
    });
    return await work({ targets, targetControl });
  } finally {
    await Promise.all([targets?.close(), targetControl?.close()]);
  }
}

/** Runs `work` with sessions to both sides within their limits, and ends them with it. */
export async function withStage<T>(context: CloneContext, work: (sessions: StageSessions) => Promise<T>): Promise<T> {
  const { source } = context.connections;
  return withTargets(context, async (ours) => {
    const sources = new SessionPool(context, {
      side: 'source',
      server: context.source,
      connections: source - (source < 2 ? 0 : 1),
      settings: 'SELECT 1',
    });
    let sourceControl: Session | null = null;
    try {
      if (source >= 2) {
        sourceControl = await openSession(context.source, {
          signal: context.signal,
          side: 'source',
          purpose: 'control',
          retryForMs: 30_000,
          readOnly: true,
        });
      }
      return await work({ ...ours, sources, sourceControl });
    } finally {
      await Promise.all([sources.close(), sourceControl?.close()]);
    }
  });
}

/** How long the question for a table's size queues behind whoever has it locked, ms. */
const SIZE_TIMEOUT_MS = 300;

/** The job's tables as the source has them now. A locked table makes nobody wait: sizes are the planner's then. */
export async function listTablesNow(context: CloneContext, source: Session): Promise<SourceTable[]> {
  const { options, sourceVersion } = context;
  await source.run(`BEGIN READ ONLY; SET LOCAL lock_timeout = ${SIZE_TIMEOUT_MS}`);
  try {
    return await listTables(source, options, sourceVersion.major);
  } catch (error) {
    if (source.lost || sqlStateOf(error) !== SQLSTATE.lockNotAvailable) throw error;
    log(context, 'info', 'A table of the source is locked by another session: sizes are those of its last ANALYZE.');
  } finally {
    if (!source.lost) await source.run('ROLLBACK');
  }
  return listTables(source, options, sourceVersion.major, 'estimated');
}

export interface KnownTables {
  readonly known: readonly SourceTable[];
  readonly unknown: readonly SourceTable[];
}

/** Which tables the archive makes: by oid, since a table may have been dropped and made again. Pure. */
export function splitByArchive(tables: readonly SourceTable[], archive: Archive): KnownTables {
  const oids = new Set(archive.entries.filter((entry) => entry.classOid === PG_CLASS).map((entry) => entry.oid));
  // An extension makes its own tables.
  const known = (table: SourceTable): boolean => table.extensionCondition !== null || oids.has(table.oid);
  return { known: tables.filter(known), unknown: tables.filter((table) => !known(table)) };
}

export function names(tables: readonly { readonly schema: string; readonly name: string }[]): string {
  const listed = tables.slice(0, 20).map((table) => qualified(table.schema, table.name));
  return `${listed.join(', ')}${tables.length > 20 ? ', …' : ''}`;
}

const ATTEMPTS = 4;

/**
 * Copies the large objects once, under a snapshot of their own; logical replication does not carry them. All of it is one
 * transaction on the target, so that whatever stands there is all of it. `resumed`: an earlier run may have done it.
 * @returns how many the target has.
 */
export async function copyLargeObjectsOnce(
  context: CloneContext,
  { targets, sources }: StageSessions,
  resumed: boolean,
): Promise<number> {
  if (!carriesLargeObjects(context.options)) return 0;
  const present = resumed ? await targets.with(countLargeObjects) : 0;
  if (present > 0) return present;
  if ((await sources.with(countLargeObjects)) === 0) return 0;
  for (let attempt = 1; ; attempt += 1) {
    try {
      const copied = await targets.with((target) =>
        sources.with(async (source) => {
          await source.run('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
          const done = await copyLargeObjects(source, target, context.options, pacer(context));
          await source.run('ROLLBACK');
          return done;
        }),
      );
      const noun = copied.objects === 1 ? 'object' : 'objects';
      log(
        context,
        'warn',
        `Copied ${copied.objects} large ${noun}, ${copied.bytes.toLocaleString('en-US')} bytes. Changes of large objects are not followed: what is written to them from now on does not arrive.`,
      );
      return copied.objects;
    } catch (error) {
      throwIfAborted(context.signal);
      if (attempt >= ATTEMPTS || !isTransient(error)) throw error;
      // Of a COMMIT without an answer.
      const arrived = await targets.with(countLargeObjects);
      if (arrived > 0) return arrived;
      log(context, 'warn', 'The copy of the large objects was interrupted; trying again.');
      await sleep(1000 * 2 ** attempt, undefined, { signal: context.signal });
    }
  }
}
