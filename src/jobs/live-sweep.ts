import type { Logger } from 'pino';
import { goingOn, type JobRow, unclean } from '../store/job-queries.ts';
import type { LiveState } from '../contract/live.ts';
import { PgsluiceError } from '../errors.ts';
import type { Store } from '../store/store.ts';
import { cleanLive } from './clean-live.ts';
import type { Endpoints } from './job-view.ts';
import type { JobWriter } from './job-writer.ts';
import type { JobRooms } from './rooms.ts';

const cleanMs = 30_000;

export interface LiveSweepInput {
  readonly store: Store;
  readonly logger: Logger;
  readonly rooms: JobRooms;
  /** True for a job that this process works on. */
  readonly inHand: (id: string) => boolean;
  readonly inTurn: (id: string, work: () => Promise<void>) => Promise<void>;
  /** Takes an idle job for this agent; null when another one holds it. */
  readonly claim: (id: string) => Promise<JobRow | null>;
  readonly endpointsOf: (row: JobRow) => Endpoints;
  readonly writerFor: (row: JobRow) => JobWriter;
  /** Resumes an interrupted job. */
  readonly goOn: (id: string) => Promise<void>;
}

/**
 * What an agent does for live jobs that nobody works on: those that are over and have left something on a server are cleaned up
 * after, and those that no person paused go on.
 */
export class LiveSweep {
  readonly #input: LiveSweepInput;
  /** What was said of a job last: the same is not said every minute. */
  readonly #said = new Map<string, string>();

  constructor(input: LiveSweepInput) {
    this.#input = input;
  }

  async clean(signal: AbortSignal): Promise<void> {
    const { store, inTurn, inHand, claim, logger } = this.#input;
    for (const { id } of await unclean(store.db)) {
      if (signal.aborted) return;
      if (inHand(id)) continue;
      await inTurn(id, async () => {
        const row = inHand(id) ? null : await claim(id);
        if (row?.live == null || row.live.stage === 'cleaned' || !isOver(row)) return;
        await this.#cleanOne(row, row.live, signal);
      }).catch((error: unknown) => logger.warn({ job: id, err: error }, 'a job could not be cleaned up after'));
    }
  }

  /**
   * Before a job is forgotten, which is in this agent's hands and which nobody works on: nobody would know any more what it has left.
   * `tried`: it was cleaned up after just now.
   * @throws PgsluiceError JOB_LEFT_TRACES when not all of it could be taken off both servers.
   */
  async cleanForRemoval(row: JobRow, tried: boolean): Promise<void> {
    const { live } = row;
    if (live === null || live.stage === 'cleaned') return;
    if (!tried && (await this.#cleanOne(row, live, new AbortController().signal))) return;
    throw leftTraces(live, this.#input.endpointsOf(row));
  }

  async #cleanOne(row: JobRow, state: LiveState, signal: AbortSignal): Promise<boolean> {
    const { rooms, endpointsOf, writerFor, logger } = this.#input;
    const writer = writerFor(row);
    const lines: { level: 'debug' | 'info' | 'warn' | 'error'; message: string }[] = [];
    try {
      const done = await cleanLive({
        rooms,
        job: row.id,
        endpoints: endpointsOf(row),
        state,
        ms: cleanMs,
        signal,
        log: (level, message) => lines.push({ level, message }),
        save: (live) => writer.patch({ live, goesOn: false }),
      });
      const text = JSON.stringify(lines);
      // Cut short by the agent's stop, it says nothing of the servers.
      if (!done && (signal.aborted || this.#said.get(row.id) === text)) return done;
      this.#said.set(row.id, text);
      logger.info({ job: row.id, done }, 'cleaned up after a live job');
      for (const { level, message } of lines) writer.say(level, message);
      if (done) writer.say('info', 'Nothing of this job is left on the servers but what it moved.');
      return done;
    } finally {
      await writer.close();
    }
  }

  async goOn(signal: AbortSignal): Promise<void> {
    const { store, inHand, goOn, logger } = this.#input;
    for (const { id } of await goingOn(store.db)) {
      if (signal.aborted) return;
      if (inHand(id)) continue;
      logger.info({ job: id }, 'an interrupted live job goes on');
      await goOn(id).catch((error: unknown) => logger.warn({ job: id, err: error }, 'a live job could not go on'));
    }
  }
}

/** Pure. */
export function leftTraces({ slot, publication, readOnly, keepReadOnly }: LiveState, at: Endpoints): PgsluiceError {
  const { source, target } = at;
  const undone = readOnly === null || keepReadOnly ? '' : `, default_transaction_read_only of the database`;
  return new PgsluiceError({
    code: 'JOB_LEFT_TRACES',
    message:
      `The job is kept: what it has made could not be taken off both servers now. There may be left on the source ${source.host} ` +
      `(database ${source.database}): slot ${slot}, publication ${publication}${undone}; on the target ${target.host} ` +
      `(database ${target.database}): its rows in schema pgsluice_live.`,
    hint: 'The log says what failed. When both servers are reached, remove the job again. A slot that stays makes the source keep its WAL.',
    retryable: true,
  });
}

function isOver(row: JobRow): boolean {
  return row.state === 'failed' || row.state === 'cancelled' || row.state === 'completed';
}
