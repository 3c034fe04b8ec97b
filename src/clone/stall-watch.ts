import { LOOK_ANEW, type Session } from '../postgres/session.ts';
import type { CopyProgress } from './progress.ts';

/** ms without a moved byte after which the servers are asked what our sessions wait for. */
const QUIET_MS = 5000;
const ASK_EVERY_MS = 5000;

const WAITS = `
SELECT a.query, b.pid AS "blockerPid", b.usename AS "blockerUser", b.application_name AS "blockerName",
       to_char(b.xact_start AT TIME ZONE 'UTC', 'HH24:MI:SS') AS since
FROM pg_stat_activity a
LEFT JOIN LATERAL unnest(pg_blocking_pids(a.pid)) AS blocking(pid) ON true
LEFT JOIN pg_stat_activity b ON b.pid = blocking.pid
WHERE a.application_name LIKE 'pgsluice%' AND a.pid <> pg_backend_pid() AND a.datname = current_database()
  AND a.state = 'active' AND (a.wait_event_type = 'Lock' OR $1)
ORDER BY a.query_start LIMIT 1`;

interface Wait {
  readonly query: string;
  readonly blockerPid: number | null;
  readonly blockerUser: string | null;
  readonly blockerName: string | null;
  readonly since: string | null;
  readonly [column: string]: unknown;
}

/** One sentence about what a session waits for. Pure. */
export function describeWait(side: 'source' | 'target', wait: Wait): string {
  const what = wait.query.replace(/\s+/g, ' ').slice(0, 80);
  if (wait.blockerPid === null) return `the ${side} to finish: ${what}`;
  const who = [wait.blockerUser, wait.blockerName].filter((word) => word !== null && word !== '').join(', ');
  return `a lock on the ${side} held by process ${wait.blockerPid} (${who}) since ${wait.since ?? '?'} UTC, for: ${what}`;
}

/**
 * While nothing moves, asks both servers what our sessions wait for and tells it with the metrics.
 * @returns a function that ends the watch.
 */
export function watchStalls(progress: CopyProgress, source: Session | null, target: Session | null): () => void {
  let asking = false;
  const timer = setInterval(() => {
    if (asking) return;
    if (progress.idleMs < QUIET_MS) return;
    asking = true;
    ask(progress, source, target)
      // The question is a courtesy: a session that cannot answer is reported by the work that needs it.
      .catch(() => undefined)
      .finally(() => {
        asking = false;
      });
  }, ASK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}

async function ask(progress: CopyProgress, source: Session | null, target: Session | null): Promise<void> {
  const sides = [
    { side: 'source' as const, session: source },
    { side: 'target' as const, session: target },
  ];
  for (const lockOnly of [true, false]) {
    for (const { side, session } of sides) {
      if (session === null || session.lost) continue;
      await session.run(LOOK_ANEW);
      const [wait] = await session.query<Wait>(WAITS, [!lockOnly]);
      if (wait !== undefined) {
        progress.setWaiting(describeWait(side, wait));
        return;
      }
    }
  }
}
