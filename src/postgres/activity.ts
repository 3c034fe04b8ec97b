import type { Session } from './session.ts';

/** One session of a job, as its server shows it. */
export interface RunningSession {
  readonly pid: number;
  readonly application: string;
  readonly state: string;
  readonly query: string;
  /** `Lock: relation`; null while it computes. */
  readonly waitsFor: string | null;
  readonly blockedBy: readonly string[];
  /** ISO, UTC. */
  readonly querySince: string | null;
  readonly transactionSince: string | null;
}

const MOST_CHARACTERS = 400;

/**
 * Sessions of one job in this database: by the name's end where it has one (`pgsluice copy <job>`); without one it is told as well,
 * unless it is of the agent's own state. `$1`: the beginning of the names, `$2`: the job, `$3`: letters of a job's id.
 */
const SESSIONS = `
SELECT a.pid, a.application_name AS application, coalesce(a.state, 'active') AS state, coalesce(a.query, '') AS query,
       CASE WHEN a.wait_event IS NULL OR a.wait_event_type = 'Client' AND a.state <> 'active' THEN NULL
            ELSE a.wait_event_type || ': ' || a.wait_event END AS "waitsFor",
       to_char(a.query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "querySince",
       to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "transactionSince",
       ARRAY(SELECT format('process %s%s%s', b.pid, CASE WHEN s.usename IS NULL THEN '' ELSE ' (' || s.usename ||
                       CASE WHEN coalesce(s.application_name, '') = '' THEN '' ELSE ', ' || s.application_name END || ')' END,
                     CASE WHEN s.xact_start IS NULL THEN '' ELSE ', in a transaction since ' || to_char(s.xact_start AT TIME ZONE 'UTC', 'HH24:MI:SS') || ' UTC' END)
             FROM unnest(CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) ELSE '{}' END) AS b (pid)
             LEFT JOIN pg_stat_activity s ON s.pid = b.pid) AS "blockedBy"
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.usename = session_user AND a.pid <> pg_backend_pid()
  AND left(a.application_name, length($1) + 1) = $1 || ' ' AND a.application_name <> $1 || ' state'
  AND (right(a.application_name, length($2) + 1) = ' ' || $2 OR a.application_name !~ (' [' || $3 || ']{10}$'))
ORDER BY a.backend_start, a.pid`;

/** Statements that may carry a password: of these only the first words are shown. */
const SECRET = /password|user mapping|subscription|conninfo/i;

/** A statement for people: on one line, cut, and without what may be a secret. Pure. */
export function shownQuery(sql: string): string {
  const line = sql.replace(/\s+/g, ' ').trim();
  if (SECRET.test(line)) return `${line.split(' ').slice(0, 3).join(' ')} … (not shown)`;
  return line.length > MOST_CHARACTERS ? `${line.slice(0, MOST_CHARACTERS)} …` : line;
}

/** What the sessions of a job run now on the server of `session`, without that one. `names`: how their names begin. */
export async function readActivity(
  session: Session,
  job: string,
  names: string,
  idLetters: string,
): Promise<RunningSession[]> {
  const rows = await session.query<RunningSession & Record<string, unknown>>(SESSIONS, [names, job, idLetters]);
  return rows.map((row) => ({ ...row, query: shownQuery(row.query) }));
}
