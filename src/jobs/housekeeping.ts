import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { beat, registerAgent } from '../store/agent-queries.ts';
import { pruneAudit } from '../store/access-queries.ts';
import { countByState, type JobRow } from '../store/job-queries.ts';
import { ownIdentity } from '../store/process-identity.ts';
import { keyRotated } from '../store/state-key.ts';
import { roomOfEvents } from '../store/event-retention.ts';
import type { Store } from '../store/store.ts';
import { forgetPasswords, passwordBounds } from './forget-passwords.ts';
import { findDead, markInterrupted } from './interrupted.ts';
import type { JobCounters } from './job-counters.ts';
import type { JobWriter } from './job-writer.ts';
import type { LiveSweep } from './live-sweep.ts';
import { defaultRetention, retain, type Retention } from './retention.ts';

const beatMs = 5_000;
const sweepMs = 60_000;
const auditEntriesPerPrune = 10_000;
/** Bytes of new events that are worth a vacuum of their own. */
const sweptAlone = 16e6;

export interface HousekeepingInput {
  readonly store: Store;
  readonly logger: Logger;
  readonly counters: JobCounters;
  readonly retention: Partial<Retention>;
  readonly role: string;
  /** True for a job that this process works on. */
  inHand(id: string): boolean;
  writerFor(row: JobRow): JobWriter;
  readonly live: LiveSweep;
  /** Calls the hooks of jobs that are over and whose agent died before it had. */
  callHooks(signal: AbortSignal): Promise<void>;
}

/** What an agent does beside its jobs: heartbeat, jobs of dead agents, retention. Lifecycle: start → stop. */
export class Housekeeping {
  readonly #input: HousekeepingInput;
  readonly #retention: Retention;
  readonly #stopped = new AbortController();
  #loops: Promise<unknown> = Promise.resolve();
  #keyLost = false;
  /** Bytes of the events on disk when they were last looked after. */
  #room = 0;

  constructor(input: HousekeepingInput) {
    this.#input = input;
    this.#retention = { ...defaultRetention, ...input.retention };
  }

  async start(): Promise<void> {
    await this.#lookAfterJobs(this.#input.store.deadAgents);
    const { signal } = this.#stopped;
    const { live, role } = this.#input;
    this.#loops = Promise.all([
      this.#every(beatMs, () => this.#beat()),
      this.#every(sweepMs, () => this.#sweep()),
      this.#every(this.#retention.everyMs, () => this.#retain()),
      // Servers are asked here, which may take long: never on the way of a start, a heartbeat or another sweep.
      this.#atOnceAndEvery(sweepMs, () => live.clean(signal)),
      ...(role === 'daemon'
        ? [
            this.#atOnceAndEvery(beatMs, () => live.goOn(signal)),
            this.#atOnceAndEvery(sweepMs, () => this.#input.callHooks(signal)),
            // An agent that is restarted often prunes as well.
            this.#guarded(() => this.#retain()),
          ]
        : []),
    ]);
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#loops;
  }

  async #atOnceAndEvery(ms: number, work: () => Promise<void>): Promise<void> {
    await this.#guarded(work);
    await this.#every(ms, work);
  }

  /** Never rejects: a store that does not answer now is asked again the next time. */
  async #every(ms: number, work: () => Promise<void>): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      try {
        await sleep(ms, undefined, { signal, ref: false });
      } catch {
        // Only the stop ends a sleep early.
        return;
      }
      await this.#guarded(work);
    }
  }

  async #guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#input.logger.warn({ err: error }, 'housekeeping did not succeed');
    }
  }

  async #beat(): Promise<void> {
    const { store, role } = this.#input;
    if (store.kind === 'postgresql' && !(await beat(store.db, store.agentId))) {
      await registerAgent(store.db, { id: store.agentId, role, identity: ownIdentity() });
    }
    await this.#lookAfterJobs(await findDead(store));
    await this.#lookAtKey();
  }

  /** Told once; what needs a password is refused from then on. */
  async #lookAtKey(): Promise<void> {
    const { store, logger } = this.#input;
    if (store.kind !== 'postgresql' || this.#keyLost || (await store.keyIsCurrent())) return;
    this.#keyLost = true;
    const { code, message, hint } = keyRotated();
    logger.error({ code, hint }, message);
  }

  async #lookAfterJobs(dead: readonly string[]): Promise<void> {
    const { store, counters } = this.#input;
    await markInterrupted({ ...this.#input, dead });
    counters.setJobs(await countByState(store.db));
  }

  async #sweep(): Promise<void> {
    const { store } = this.#input;
    const { maxAuditEntries, auditDays } = this.#retention;
    await pruneAudit(store.db, { keep: maxAuditEntries, days: auditDays, limit: auditEntriesPerPrune });
    const forgotten = await forgetPasswords(store, passwordBounds, (id) => !this.#input.inHand(id));
    if (forgotten > 0) await store.vacuum();
  }

  async #retain(): Promise<void> {
    const { store, logger } = this.#input;
    const { signal } = this.#stopped;
    const vacuum = (): Promise<void> => store.vacuum();
    const { removed, compacted } = await retain(store.db, this.#retention, { logger, signal, vacuum });
    // What was written since is marked as seen by all, or the first time that room is given back every page would have to be read.
    const room = await roomOfEvents(store.db);
    if (removed + compacted > 0 || room > this.#room + sweptAlone) await vacuum();
    this.#room = room;
  }
}
