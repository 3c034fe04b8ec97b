import type { LiveState } from '../contract/live.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import type { JobRow } from '../store/job-queries.ts';
import type { JobWriter } from './job-writer.ts';
import { linked } from './live-work.ts';
import type { RunEnvironment } from './run-environment.ts';
import type { HeldRun } from './run-job.ts';
import { leftForHold } from './run-words.ts';

export interface HoldInput {
  readonly row: Pick<JobRow, 'id' | 'options'>;
  readonly held: HeldRun;
  /** null for an import. */
  readonly source: ConnectionSettings | null;
  /** What stands on the servers; null for a copy under a snapshot. */
  readonly live: LiveState | null;
  /** Of the job. */
  readonly signal: AbortSignal;
  readonly writer: Pick<JobWriter, 'say'>;
  /** Gives up what is held; called once at most. */
  readonly release: (why: string) => Promise<void>;
}

const nothing = { inserts: 0, updates: 0, deletes: 0, truncates: 0, transactions: 0 };

/**
 * Bounds how long a failed run keeps its snapshot or slot for a retry: in time, and a slot also by what it makes the source keep.
 * Lifecycle: made → ended by `end`, the job's signal, or its own release.
 */
export class Hold {
  readonly #environment: RunEnvironment;
  readonly #input: HoldInput;
  readonly #link: ReturnType<typeof linked>;
  readonly #expiry: NodeJS.Timeout;

  constructor(environment: RunEnvironment, input: HoldInput) {
    this.#environment = environment;
    this.#input = input;
    this.#link = linked(input.signal);
    const { holdSnapshotMs: ms } = environment;
    const { held, live } = input;
    this.#expiry = setTimeout(() => this.#giveUp(leftForHold(held.kind, ms)), ms);
    this.#expiry.unref();
    if (held.kind === 'live' && live !== null && input.source !== null) this.#watch(live.slot, input.source);
  }

  end(): void {
    clearTimeout(this.#expiry);
    this.#link.controller.abort(new Error('the hold has ended'));
    this.#link.release();
  }

  #giveUp(why: string): void {
    if (this.#link.controller.signal.aborted) return;
    this.end();
    this.#input.release(why).catch((error: unknown) => this.#failed(error, 'a snapshot or slot was not given up'));
  }

  /** Nobody reads from the slot meanwhile, so what it keeps only grows. */
  #watch(slot: string, source: ConnectionSettings): void {
    const { row, writer } = this.#input;
    const { slotWarn: warnBytes, slotLimit: giveUpBytes } = row.options;
    const monitor = this.#environment.rooms.live.monitor({
      source,
      slot,
      limits: { warnBytes, giveUpBytes },
      followed: { connected: false, done: null, counts: nothing, spooledBytes: 0 },
      signal: this.#link.controller.signal,
      slotStands: () => true,
      readGuardrails: () => Promise.resolve([]),
      onSlot: ({ verdict, message, hint }) => {
        if (verdict === 'warn') writer.say('warn', `${message} Retry the job, or cancel it.`);
        if (verdict === 'give-up' || verdict === 'lost') {
          this.#giveUp(`${message} The slot is given up; a retry copies everything anew. ${hint}`.trim());
        }
      },
      log: (level, message) => writer.say(level, message),
    });
    monitor.run().catch((error: unknown) => this.#failed(error, 'the slot of a held job is not watched any more'));
  }

  #failed(error: unknown, what: string): void {
    this.#environment.logger.error({ job: this.#input.row.id, err: error }, what);
  }
}
