import { PgsluiceError } from '../errors.ts';
import { processTicks } from '../postgres/process-time.ts';
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

/** The program's session, and when that last did something else. */
const DOING = `
SELECT CASE WHEN a.state LIKE 'idle%' OR a.wait_event_type = 'Client' THEN 'waits' ELSE 'works' END AS doing,
       a.pid || ' ' || coalesce(a.state_change::text, '') || ' ' || coalesce(a.query_start::text, '') AS since
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.usename = session_user AND a.application_name = $1
ORDER BY a.backend_start DESC LIMIT 1`;

/** A server that has not heard of the line's end would keep the session with all its locks. */
const END = `
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.usename = session_user AND a.application_name = $1`;

/** What one look found of a program and its session. */
export interface DumpLook {
  /** ms since 1970. */
  readonly at: number;
  readonly doing: 'works' | 'waits' | 'gone';
  /** Another text for everything that the session has begun anew. */
  readonly since: string;
  /** CPU time of the program; null when nobody can say. */
  readonly ticks: number | null;
}

/** Where the CPU time of a program is not known, and where it has no session, it is given so many silences. */
const PATIENCE = 6;

/**
 * Whether the program's connection is dead: its session waits for it, or is gone, it waits for its session, and nothing has changed
 * since `first`. A program that works for itself between two questions uses CPU time. Pure.
 */
export function isDumpCutOff(first: DumpLook, now: DumpLook, silenceMs: number): boolean {
  if (isOther(first, now)) return false;
  const sure = now.doing === 'waits' && now.ticks !== null;
  return now.at - first.at >= (sure ? 1 : PATIENCE) * silenceMs;
}

/** True when something went on between two looks. Pure. */
export function isOther(first: DumpLook, now: DumpLook): boolean {
  return now.doing === 'works' || now.doing !== first.doing || now.since !== first.since || now.ticks !== first.ticks;
}

/** What it takes to notice that a program's own connection is dead. */
export interface DumpLine {
  /** Process id of the program; null before it has begun. */
  pid(): number | null;
  readonly silenceMs: number;
  /** Called when the program waits for an answer that will not come. */
  onDead(error: PgsluiceError): void;
}

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
  line: DumpLine,
): () => Promise<void> {
  let first: DumpLook | null = null;
  let told: string | null = null;
  let shown = false;
  let asking: Promise<void> | null = null;
  const show = (waiting: { what: string; since: string } | null): void => {
    shown = waiting !== null;
    context.emit({ ...nothingMoved, waiting });
  };
  const look = async (): Promise<void> => {
    if (!session.usable) {
      // The moment that is dumped is gone with its session, and nobody is left to ask.
      if (session.lost) line.onDead(cutOff('The session that holds the snapshot on the source was lost'));
      return;
    }
    await session.run(LOOK_ANEW);
    const [found] = await session.query<{ doing: 'works' | 'waits'; since: string }>(DOING, [applicationName]);
    const pid = line.pid();
    const now: DumpLook = {
      at: Date.now(),
      doing: found?.doing ?? 'gone',
      since: found?.since ?? '',
      ticks: pid === null ? null : await processTicks(pid),
    };
    if (first === null || pid === null || isOther(first, now)) first = now;
    else if (isDumpCutOff(first, now, line.silenceMs)) {
      const seconds = Math.round((now.at - first.at) / 1000);
      await session.query(END, [applicationName]);
      line.onDead(
        cutOff(
          `pg_dump has heard nothing from the source for ${seconds} s, though it is pg_dump that is waited for there`,
        ),
      );
    }
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

function cutOff(what: string): PgsluiceError {
  return new PgsluiceError({
    code: 'CONNECTION_LOST',
    message: `${what}: the connection is dead.`,
    hint: 'Check the network, proxies and firewalls between this machine and the source, then retry the job.',
    retryable: true,
  });
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
