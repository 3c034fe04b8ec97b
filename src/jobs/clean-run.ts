import { removePartial } from '../clone/export-place.ts';
import type { JobRow } from '../store/job-queries.ts';
import { cleanLive } from './clean-live.ts';
import { bothOf, type Sides } from './job-view.ts';
import type { JobWriter } from './job-writer.ts';
import type { LiveHand } from './live-hand.ts';
import type { JobRooms } from './rooms.ts';

export interface CleanRunInput {
  readonly rooms: JobRooms;
  readonly row: Pick<JobRow, 'id' | 'kind' | 'archive'>;
  readonly sides: Sides;
  readonly live: LiveHand;
  readonly writer: Pick<JobWriter, 'say'>;
  /** How long it may take, in ms. */
  readonly ms: number;
}

/**
 * Takes away what a run that is over has left: on the servers of a live job, where what is left is swept later (live-sweep.ts), and
 * beside the archive of an export. Never rejects for either.
 */
export async function cleanRun({ rooms, row, sides, live, writer, ms }: CleanRunInput): Promise<void> {
  if (row.kind === 'export') await forgetPartial(row, (message) => writer.say('warn', message));
  const { state } = live;
  if (state === null || !live.stands) return;
  await cleanLive({
    rooms,
    job: row.id,
    endpoints: bothOf(row.id, sides),
    state,
    ms,
    log: (level, message) => writer.say(level, message),
    save: (cleaned) => live.save(cleaned, { goesOn: false }),
  });
}

/** Removes the files of an export that did not come to its end; what cannot be removed is told. */
export async function forgetPartial(row: CleanRunInput['row'], tell: (message: string) => void): Promise<void> {
  if (row.kind !== 'export' || row.archive === null) return;
  try {
    await removePartial(row.archive, row.id);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    tell(`Files of the unfinished export are left beside ${row.archive}: ${why}`);
  }
}
