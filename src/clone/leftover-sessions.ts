import { setTimeout as sleep } from 'node:timers/promises';
import { openSession, sessionName, type Session } from '../postgres/session.ts';
import type { CloneContext } from './context.ts';
import { log } from './context.ts';

const BETWEEN_LOOKS_MS = 200;

/** Backends of this job's copies that hold a lock by which something is changed on one of the tables. */
const AT_WORK = `
SELECT DISTINCT l.pid, pg_terminate_backend(l.pid) AS told
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.mode IN ('RowExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  AND a.usename = current_user AND a.application_name = $3
  AND l.relation IN (SELECT c.oid FROM unnest($1::text[], $2::text[]) AS w (schema, name)
                     JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name)`;

/**
 * Ends what an earlier run of the job left at work on the target: its backends may go on without their client, commit rows or
 * build an index. When it resolves, what that run has done is settled. Waits as long as a backend takes to end.
 */
export async function endLeftoverSessions(
  context: CloneContext,
  target: Session,
  tables: readonly { readonly schema: string; readonly name: string }[],
): Promise<void> {
  const names = [tables.map((table) => table.schema), tables.map((table) => table.name)];
  const told = new Set<number>();
  for (;;) {
    const rows = await target.query<{ pid: number }>(AT_WORK, [...names, sessionName(context.target, 'copy')]);
    if (rows.length === 0) return;
    const fresh = rows.map((row) => row.pid).filter((pid) => !told.has(pid));
    for (const pid of fresh) told.add(pid);
    if (fresh.length > 0) {
      log(context, 'warn', `Ending what an earlier run left at work on the target: process ${fresh.join(', ')}.`);
    }
    await sleep(BETWEEN_LOOKS_MS, undefined, { signal: context.signal });
  }
}

/** What a copy's sessions on the source are for; they keep locks, and row versions from being cleaned away. */
const PURPOSES = ['copy', 'snapshot', 'dump', 'catalogue'] as const;

const LEFT_ON_SOURCE = `
SELECT pid, pg_terminate_backend(pid) AS told FROM pg_stat_activity
WHERE datname = current_database() AND usename = session_user AND pid <> pg_backend_pid() AND application_name = ANY ($1::text[])`;

/**
 * Ends sessions on the source that an agent which died, or whose line is frozen, has left open for this very job; to be called while
 * this agent has none there itself.
 */
export async function endLeftoversOnSource(context: CloneContext): Promise<void> {
  const { source, signal } = context;
  if (source.job === undefined) return;
  const session = await openSession(source, { signal, side: 'source', purpose: 'leftovers', retryForMs: 30_000 });
  try {
    const names = PURPOSES.map((purpose) => sessionName(source, purpose));
    const rows = await session.query<{ pid: number }>(LEFT_ON_SOURCE, [names]);
    if (rows.length === 0) return;
    const pids = rows.map((row) => row.pid).join(', ');
    log(context, 'warn', `Ended what an earlier run left open on the source: process ${pids}.`);
  } finally {
    await session.close();
  }
}
