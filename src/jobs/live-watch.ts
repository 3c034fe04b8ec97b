import type { CutoverStep, Guardrail, LiveProgress } from '../contract/live.ts';
import type { PgsluiceError } from '../errors.ts';
import { type GuardrailReading, isCalm } from '../live/calm.ts';
import type { Followed } from '../live/monitor.ts';
import type { Lsn } from '../postgres/lsn.ts';
import type { LiveDrift } from './live-drift-types.ts';
import type { Guards, LiveRooms } from './live-rooms-types.ts';
import { linked, type LiveWork, slotError, stateOf } from './live-work.ts';

/** Longer than calm is reckoned from. */
const readingsMs = 30_000;
const unknownSlot = { verdict: 'ok', message: 'The slot was not measured yet.', hint: '' } as const;
const nothing = { inserts: 0, updates: 0, deletes: 0, truncates: 0, transactions: 0 };

/** What may be asked of a live run at any time: its figures, its slot's health, its guardrails. Lifecycle: made → stopped. */
export class LiveWatch {
  readonly #work: LiveWork;
  readonly #link: ReturnType<typeof linked>;
  readonly #monitor: ReturnType<LiveRooms['monitor']>;
  readonly #running: Promise<void>;
  /** Where the job stands before anything is followed. */
  #begin: Lsn;
  #followed: Followed | null = null;
  #steps: readonly CutoverStep[] = [];
  #verdict: PgsluiceError | null = null;
  readonly #onLost: (error: PgsluiceError) => void;
  readonly #guards: Guards;
  #readings: readonly GuardrailReading[] = [];
  #drift: LiveDrift | null = null;
  #cuttingOver = false;
  #pausedSince: string | null = null;

  /** `onLost` is called once, when the slot is lost or has to be given up. */
  constructor(work: LiveWork, begin: Lsn, onLost: (error: PgsluiceError) => void) {
    this.#work = work;
    this.#begin = begin;
    this.#onLost = onLost;
    const { context, rooms, place } = work;
    this.#link = linked(place.signal);
    const followed = (): Followed | null => this.#followed;
    const start = (): Lsn => this.#begin;
    this.#monitor = rooms.monitor({
      source: place.source,
      slot: stateOf(context).slot,
      limits: { warnBytes: context.options.slotWarn, giveUpBytes: context.options.slotLimit },
      followed: {
        get connected() {
          return followed()?.connected ?? false;
        },
        get done() {
          return followed()?.done ?? start();
        },
        get counts() {
          return followed()?.counts ?? nothing;
        },
        get spooledBytes() {
          return followed()?.spooledBytes ?? 0;
        },
      },
      signal: this.#link.controller.signal,
      readGuardrails: async () => (this.#followed === null ? [] : await this.guardrails()),
      onSlot: ({ verdict, message, hint }) => {
        if (verdict === 'ok') return;
        place.log('warn', `${message} ${hint}`);
        if (verdict === 'warn' || this.#verdict !== null) return;
        this.#verdict = slotError(verdict, message, hint);
        if (!this.#cuttingOver) onLost(this.#verdict);
      },
      log: (level, message) => place.log(level, message),
    });
    this.#guards = rooms.guards({ ...place, signal: this.#link.controller.signal }, stateOf(context).publication);
    this.#running = this.#monitor.run();
  }

  /** Reads the guardrails now. @throws PgsluiceError when a side is not reached. */
  async guardrails(): Promise<readonly Guardrail[]> {
    const { lagBytes, lagSeconds, connected } = this.#monitor.read();
    const guardrails = await this.#guards.read({
      lag: connected ? { bytes: lagBytes, seconds: lagSeconds } : null,
      slot: this.#monitor.slot ?? unknownSlot,
      drift: this.#drift?.open ?? null,
    });
    const at = Date.now();
    this.#readings = [...this.#readings.filter((reading) => at - reading.at < readingsMs), { at, guardrails }];
    return guardrails;
  }

  /** Whether an automatic cutover may begin. */
  get calm(): boolean {
    return isCalm(this.#readings, Date.now()).calm;
  }

  /** From now on the figures are those of `followed`. */
  follow(followed: Followed, applied: Lsn): void {
    this.#begin = applied;
    this.#followed = followed;
  }

  set drift(drift: LiveDrift) {
    this.#drift = drift;
  }

  /** A cutover gives the slot up by itself; only one that was rolled back leaves it to be judged. */
  set cuttingOver(now: boolean) {
    this.#cuttingOver = now;
    if (!now && this.#verdict !== null) this.#onLost(this.#verdict);
  }

  set steps(steps: readonly CutoverStep[]) {
    this.#steps = steps;
    this.tell();
  }

  read(): LiveProgress {
    return { ...this.#monitor.read(), cutover: [...this.#steps] };
  }

  tell(): void {
    const { gate } = this.#work.context;
    if (!gate.paused) this.#pausedSince = null;
    else this.#pausedSince ??= new Date().toISOString();
    const since = this.#pausedSince;
    this.#work.metrics.tell(
      this.read(),
      since === null ? null : { what: 'a person, who has to resume the job', since },
    );
  }

  async stop(): Promise<void> {
    this.#link.controller.abort(new Error('the watch over a live run has ended'));
    this.#link.release();
    await Promise.all([this.#running, this.#guards.close()]);
  }
}
