import { quoteIdent } from '../postgres/quote.ts';
import type { Session } from '../postgres/session.ts';
import { giveNameLockBack, tryNameLock } from './name-lock.ts';
import { NAME_PREFIX, jobOfName } from './names.ts';

export interface Leftovers {
  readonly slots: readonly { readonly name: string; readonly active: boolean; readonly retainedBytes: number }[];
  readonly publications: readonly string[];
}

const SLOTS = `
SELECT s.slot_name::text AS name, s.active,
       COALESCE(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, s.restart_lsn), 0)::float8 AS "retainedBytes"
FROM pg_replication_slots s
WHERE left(s.slot_name, length($1)) = $1 AND s.slot_type = 'logical' AND s.database = current_database() ORDER BY 1`;

const PUBLICATIONS = `SELECT p.pubname::text AS name FROM pg_publication p WHERE left(p.pubname, length($1)) = $1 ORDER BY 1`;

/** Slots and publications of this database that a job of ours made, of whichever agent, running ones included. */
export async function findLeftovers(session: Session): Promise<Leftovers> {
  const slots = await session.query<Leftovers['slots'][number] & Record<string, unknown>>(SLOTS, [NAME_PREFIX]);
  const publications = await session.query<{ name: string }>(PUBLICATIONS, [NAME_PREFIX]);
  return { slots, publications: publications.map((row) => row.name) };
}

/** Sessions of a job's agent show that it is alive, although it holds no slot yet. */
const ALIVE = `
SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND right(application_name, length($1) + 1) = ' ' || $1`;

/**
 * Drops slots that nobody uses and publications whose slot nobody uses, made by jobs of ours other than those in `keep` (names of
 * slots and publications). What another session works on at this moment is left alone. Answers what was dropped, in words.
 * @throws PgsluiceError what the server says.
 */
export async function dropLeftovers(session: Session, keep: readonly string[]): Promise<readonly string[]> {
  const found = await findLeftovers(session);
  const names = new Set([...found.slots.map((slot) => slot.name), ...found.publications]);
  const dropped: string[] = [];
  for (const name of names) {
    const job = jobOfName(name);
    if (job === null || keep.includes(name)) continue;
    if ((await session.query(ALIVE, [job])).length > 0 || !(await tryNameLock(session, name))) continue;
    try {
      const slots = await session.query(
        'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1 AND NOT active',
        [name],
      );
      if (slots.length > 0) dropped.push(`slot ${name}`);
      const [left] = await session.query('SELECT FROM pg_replication_slots WHERE slot_name = $1', [name]);
      if (left !== undefined || !found.publications.includes(name)) continue;
      await session.run(`DROP PUBLICATION IF EXISTS ${quoteIdent(name)}`);
      dropped.push(`publication ${name}`);
    } finally {
      await giveNameLockBack(session, name);
    }
  }
  return dropped;
}
