import { PgsluiceError } from '../errors.ts';
import { openSession } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';

export interface StopWatchInput {
  readonly settings: ConnectionSettings;
  readonly signal: AbortSignal;
  /** The source is being shut down. */
  onStopping(): void;
  log(level: 'debug', message: string): void;
}

/** Ticks in a row with a question of the source, until it is looked at: an ordinary one asks twice in wal_sender_timeout. */
const TICKS = 3;
const PROBE_EVERY_MS = 15_000;

/**
 * Notices that the source shuts down. A fast shutdown waits, without an end, until every replication connection has taken and
 * confirmed all WAL (walsender.c, WalSndDone); one that cannot keep up, or is paused, would hold the whole server. Such a server
 * asks without a pause, or is not read from; whether it really stops is seen by how it answers a new connection.
 */
export class StopWatch {
  readonly #input: StopWatchInput;
  #asked = false;
  #ticks = 0;
  #probedAt = 0;
  #probing = false;

  constructor(input: StopWatchInput) {
    this.#input = input;
  }

  /** The source wanted an answer. */
  asked(): void {
    this.#asked = true;
  }

  /** Regularly; `deaf`: nothing is read from the source at present. `now`: ms */
  tick(deaf: boolean, now: number): void {
    this.#ticks = this.#asked ? this.#ticks + 1 : 0;
    this.#asked = false;
    if (this.#ticks < TICKS && !deaf) {
      this.#probedAt = 0;
      return;
    }
    // The first look at one that is not read from comes late: most often it is read from again soon.
    if (this.#probedAt === 0 && deaf) this.#probedAt = now;
    if (this.#probing || now - this.#probedAt < PROBE_EVERY_MS) return;
    this.#probedAt = now;
    this.#probing = true;
    void this.#probe();
  }

  /** Never rejects. */
  async #probe(): Promise<void> {
    const { settings, signal } = this.#input;
    try {
      const session = await openSession(settings, { signal, side: 'source', purpose: 'alive', readOnly: true });
      await session.close();
    } catch (error) {
      // 57P03 is what a server says that starts or stops, and this one has been there.
      if (error instanceof PgsluiceError && error.code === 'SERVER_STARTING') this.#input.onStopping();
      else this.#input.log('debug', `Could not see whether the source is being shut down: ${String(error)}`);
    } finally {
      this.#probing = false;
    }
  }
}
