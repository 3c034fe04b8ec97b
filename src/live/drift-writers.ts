import { setTimeout as sleep } from 'node:timers/promises';
import { throwIfAborted } from '../errors.ts';
import type { Session } from '../postgres/session.ts';

const LOOK_EVERY_MS = 100;

/** Transactions that have written to one of the tables and go on, prepared ones included, whose locks have no process. */
const WRITERS = `
SELECT l.virtualtransaction AS id, string_agg(DISTINCT coalesce(l.pid::text, 'prepared'), ', ') AS who,
       min(a.xact_start)::text AS since
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY ($1::oid[])
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'ShareUpdateExclusiveLock', 'ShareLock')
GROUP BY 1`;

/**
 * Waits until every transaction that had written to the tables when this was called is over. It stands between a table's
 * joining of the publication and the snapshot of its copy: what such a transaction wrote before the table had joined is not
 * sent, so that it must be in the copy. Nobody is kept from writing meanwhile; new writers are not waited for, since their
 * changes are sent. A prepared transaction keeps this waiting until it is ended.
 */
export async function awaitWriters(
  source: Session,
  oids: readonly number[],
  signal: AbortSignal,
  onWait: (text: string) => void,
): Promise<void> {
  const look = async (): Promise<Map<string, string>> => {
    const rows = await source.query<{ id: string; who: string; since: string | null }>(WRITERS, [oids]);
    return new Map(
      rows.map((row) => [
        row.id,
        row.who === 'prepared'
          ? 'a prepared transaction'
          : `process ${row.who}${row.since === null ? '' : ` since ${row.since}`}`,
      ]),
    );
  };
  const first = await look();
  let told = '';
  for (let now = first; ; now = await look()) {
    const left = [...now].filter(([id]) => first.has(id)).map(([, text]) => text);
    if (left.length === 0) return;
    const text = `Waiting for transactions that wrote to a new table before it was followed: ${left.join(', ')}.`;
    if (text !== told) onWait(text);
    told = text;
    await sleep(LOOK_EVERY_MS);
    throwIfAborted(signal);
  }
}
