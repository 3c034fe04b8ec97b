import { LOOK_ANEW, type Session } from '../postgres/session.ts';
import type { TargetContext } from './context.ts';
import { log } from './context.ts';

/** ms between two questions what pg_dump waits for; so a wait is told within a second or so. */
const LOOK_EVERY_MS = 500;

/**
 * Who holds or awaits the exclusive locks that keep a reader waiting. What other roles run is only shown to those with
 * pg_read_all_stats.
 */
const LOCKERS = `
SELECT string_agg(DISTINCT format('%I.%I (process %s%s%s%s)', n.nspname, c.relname, coalesce(l.pid::text, 'of a prepared transaction'),
         CASE WHEN a.usename IS NULL THEN '' ELSE ', role ' || a.usename END,
         CASE WHEN a.xact_start IS NULL THEN '' ELSE ', since ' || to_char(a.xact_start AT TIME ZONE 'UTC', 'HH24:MI:SS') || ' UTC' END,
         CASE WHEN a.xact_start IS NULL THEN '' ELSE ': ' || left(regexp_replace(a.query, '\\s+', ' ', 'g'), 80) END), ', ') AS names
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND c.relkind IN ('r', 'p', 'm')
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND n.nspname NOT LIKE 'pg\\_%'`;

/** Who holds or awaits an exclusive lock now, in words. */
export async function nameLockers(session: Session): Promise<string> {
  if (session.lost) return 'it cannot be asked whose';
  await session.run(LOOK_ANEW);
  const [lockers] = await session.query<{ names: string | null }>(LOCKERS);
  return lockers?.names ?? 'it has just ended';
}

/** Sessions of the name `$1` that wait for a lock, and who stands first in their way. */
const WAITING = `
SELECT a.pid, b.pid AS "blockerPid", b.usename::text AS "blockerRole", b.application_name AS "blockerName", b.query AS "blockerQuery",
       to_char(coalesce(b.xact_start, b.backend_start) AT TIME ZONE 'UTC', 'HH24:MI:SS') AS "blockerSince",
       to_char(coalesce((SELECT min((to_jsonb(l) ->> 'waitstart')::timestamptz) FROM pg_locks l WHERE l.pid = a.pid AND NOT l.granted),
                        a.query_start, now()) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since
FROM pg_stat_activity a
LEFT JOIN LATERAL (SELECT pid FROM unnest(pg_blocking_pids(a.pid)) AS u (pid) ORDER BY pid LIMIT 1) first ON true
LEFT JOIN pg_stat_activity b ON b.pid = first.pid
WHERE a.datname = current_database() AND a.usename = session_user AND a.application_name = $1 AND a.wait_event_type = 'Lock'
ORDER BY a.query_start LIMIT 1`;

export interface DumpWait {
  readonly pid: number;
  readonly blockerPid: number | null;
  readonly blockerRole: string | null;
  readonly blockerName: string | null;
  readonly blockerQuery: string | null;
  /** Begin of the blocker's transaction, a time of UTC. */
  readonly blockerSince: string | null;
  /** ISO, UTC. */
  readonly since: string;
  readonly [column: string]: unknown;
}

/** One sentence about what pg_dump waits for. Pure. */
export function describeDumpWait(wait: DumpWait): string {
  const head = `pg_dump (process ${wait.pid}) waits for a lock on the source since ${wait.since.slice(11, 19)} UTC`;
  if (wait.blockerPid === null) return head;
  const who = [wait.blockerRole, wait.blockerName].filter((word) => word !== null && word !== '').join(', ');
  const query = (wait.blockerQuery ?? '').replace(/\s+/g, ' ').trim().slice(0, 120);
  const since = wait.blockerSince === null ? '' : `, in a transaction since ${wait.blockerSince} UTC`;
  return `${head}, held by process ${wait.blockerPid}${who === '' ? '' : ` (${who})`}${since}${query === '' ? '' : `: ${query}`}`;
}

/**
 * While pg_dump runs, asks `session` what the sessions named `applicationName` wait for; a new wait is told to the log, and shown
 * with the metrics until it is over.
 * @returns a function that ends the watch; it resolves when nothing is asked any more.
 */
export function watchDump(
  context: Pick<TargetContext, 'emit'>,
  session: Session,
  applicationName: string,
): () => Promise<void> {
  let told: string | null = null;
  let shown = false;
  let asking: Promise<void> | null = null;
  const show = (waiting: { what: string; since: string } | null): void => {
    shown = waiting !== null;
    context.emit({ ...nothingMoved, waiting });
  };
  const look = async (): Promise<void> => {
    if (!session.usable) return;
    await session.run(LOOK_ANEW);
    const [wait] = await session.query<DumpWait>(WAITING, [applicationName]);
    if (wait === undefined) {
      if (shown) show(null);
      told = null;
      return;
    }
    const what = describeDumpWait(wait);
    show({ what, since: wait.since });
    const key = `${wait.pid} ${wait.blockerPid} ${wait.since}`;
    if (told !== key) log(context, 'warn', `${what}.`);
    told = key;
  };
  const timer = setInterval(() => {
    asking ??= look()
      // The question is a courtesy: a session that cannot answer is reported by the work that needs it.
      .catch(() => undefined)
      .finally(() => {
        asking = null;
      });
  }, LOOK_EVERY_MS);
  timer.unref();
  return async () => {
    clearInterval(timer);
    await asking;
    if (shown) show(null);
  };
}

/** Before the copy no figure is known. */
const nothingMoved = {
  type: 'metric',
  tables: 0,
  tablesDone: 0,
  rows: 0,
  bytes: 0,
  fraction: 0,
  bytesPerSecond: 0,
  rowsPerSecond: 0,
  remaining: null,
} as const;
