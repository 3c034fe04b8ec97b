import type { RestoreProblem } from '../contract/report.ts';
import type { ArchiveEntry } from '../postgres/archive.ts';
import type { Session } from '../postgres/session.ts';
import { isLeftOut, refusal } from './restore.ts';

/** Entries in one round trip: a refusal costs one more for every statement of its batch. */
const BATCH_ENTRIES = 500;
const SAVEPOINT = 'SAVEPOINT pgsluice_entry';
const RELEASE = 'RELEASE SAVEPOINT pgsluice_entry';
const BACK = 'ROLLBACK TO SAVEPOINT pgsluice_entry; RELEASE SAVEPOINT pgsluice_entry';

/** RESTORE_SETTINGS for the present transaction only. */
export const LOCAL_RESTORE_SETTINGS = [
  'SET LOCAL check_function_bodies = false',
  'SET LOCAL client_min_messages = warning',
  "SELECT pg_catalog.set_config('search_path', '', true)",
  'SET LOCAL standard_conforming_strings = on',
  'SET LOCAL row_security = off',
].join('; ');

export interface Guarded {
  /** Refusals, harmless ones included. */
  readonly problems: RestoreProblem[];
  readonly roundTrips: number;
}

/**
 * Restores entries in their order inside of the session's open transaction: all in one round trip while nothing is refused;
 * where a batch is, statement by statement, so that the refused ones are named and the others stand.
 * @throws when the connection is lost or the job was cancelled.
 */
export async function restoreGuarded(
  session: Session,
  entries: readonly ArchiveEntry[],
  signal: AbortSignal,
): Promise<Guarded> {
  const problems: RestoreProblem[] = [];
  let roundTrips = 0;
  const accepted = async (sql: string): Promise<unknown> => {
    roundTrips += 1;
    try {
      await session.run(`${SAVEPOINT};\n${sql}\n${RELEASE}`);
      return null;
    } catch (error) {
      if (signal.aborted || session.lost) throw error;
      roundTrips += 1;
      await session.run(BACK);
      return error;
    }
  };
  const todo = entries.filter((entry) => !isLeftOut(entry));
  for (let at = 0; at < todo.length; at += BATCH_ENTRIES) {
    const batch = todo.slice(at, at + BATCH_ENTRIES);
    const whole = await accepted(batch.flatMap((entry) => [...entry.settings, ...entry.statements]).join('\n'));
    if (whole === null) continue;
    for (const entry of batch) {
      for (const statement of entry.statements) {
        const error = await accepted([...entry.settings, statement].join('\n'));
        if (error !== null) problems.push(refusal(entry, statement, error));
      }
    }
  }
  return { problems, roundTrips };
}
