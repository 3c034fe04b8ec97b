import { setTimeout as sleep } from 'node:timers/promises';
import type { CutoverStep, Guardrail, LiveProgress } from '../contract/live.ts';
import { PgsluiceError } from '../errors.ts';
import { type GuardrailReading, isCalm } from '../live/calm.ts';
import type { Followed } from '../live/monitor.ts';
import { formatLsn, type Lsn } from '../postgres/lsn.ts';
import type { LiveDrift } from './live-drift-types.ts';
import type { Guards, LiveRooms } from './live-rooms-types.ts';
import { linked, type LiveWork, slotError, stateOf } from './live-work.ts';

/** Longer than calm is reckoned from. */
const readingsMs = 30_000;
/** A side that has not answered the guardrails after this is asked over connections anew. */
const guardrailsMs = 30_000;
const unknownSlot = { verdict: 'ok', message: 'The slot was not measured yet.', hint: '' } as const;
const nothing = { inserts: 0, updates: 0, deletes: 0, truncates: 0, transactions: 0 };

interface OpenGuards extends Pick<Guards, 'read'> {
  /** Ends what is read, with `why`, and the connections. */
  end(why: Error): Promise<void>;
}

/** What may be asked of a live run at any time: its figures, its slot's health, its guardrails. Lifecycle: made → stopped. */
export class LiveWatch {
  readonly #work: LiveWork;
  readonly #link: ReturnType<typeof linked>;
  readonly #monitor: ReturnType<LiveRooms['monitor']>;
  readonly #running: Promise<void>;
  /** From where it follows; null before that is known. */
  #begin: Lsn | null = null;
  #slotStands: boolean;
  #followed: (Followed & { readonly applied: Lsn }) | null = null;
  #steps: readonly CutoverStep[] = [];
  #verdict: PgsluiceError | null = null;
  readonly #onLost: (error: PgsluiceError) => void;
  #guards: OpenGuards;
  #readings: readonly GuardrailReading[] = [];
  #drift: LiveDrift | null = null;
  #cuttingOver = false;
  #pausedSince: string | null = null;

  /** `onLost` is called once, when the slot is lost or has to be given up. The slot may still have to be made (`made`). */
  constructor(work: LiveWork, onLost: (error: PgsluiceError) => void) {
    this.#work = work;
    this.#slotStands = stateOf(work.context).stage !== 'preparing';
    this.#onLost = onLost;
    const { context, rooms, place } = work;
    this.#link = linked(place.signal);
    const followed = (): Followed | null => this.#followed;
    const start = (): Lsn | null => this.#begin;
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
      slotStands: () => this.#slotStands,
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
    this.#guards = this.#openGuards();
    this.#running = this.#monitor.run();
  }

  #openGuards(): OpenGuards {
    const { context, rooms, place } = this.#work;
    const link = linked(this.#link.controller.signal);
    const guards = rooms.guards({ ...place, signal: link.controller.signal }, stateOf(context).publication);
    return {
      read: (input) => guards.read(input),
      end: async (why) => {
        // Also what is just being opened ends with the signal.
        link.controller.abort(why);
        link.release();
        await guards.close();
      },
    };
  }

  /** Reads the guardrails now. @throws PgsluiceError when a side is not reached, or does not answer in time (retryable). */
  async guardrails(): Promise<readonly Guardrail[]> {
    const { lagBytes, lagSeconds, connected } = this.#monitor.read();
    const guardrails = await this.#answered(
      this.#guards.read({
        lag: connected ? { bytes: lagBytes, seconds: lagSeconds } : null,
        slot: this.#monitor.slot ?? unknownSlot,
        drift: this.#drift?.open ?? null,
      }),
    );
    const at = Date.now();
    this.#readings = [...this.#readings.filter((reading) => at - reading.at < readingsMs), { at, guardrails }];
    return guardrails;
  }

  /** A connection that was cut without a word would keep the guardrails waiting for good: it is left, and made anew. */
  async #answered<T>(reading: Promise<T>): Promise<T> {
    const guards = this.#guards;
    const timer = new AbortController();
    const late = sleep(guardrailsMs, 'late' as const, { signal: timer.signal, ref: false }).catch(
      () => 'answered' as const,
    );
    try {
      const first = await Promise.race([reading.then((answer) => ({ answer })), late]);
      if (typeof first === 'object') return first.answer;
      // Readings that wait behind this one end with it.
      if (this.#guards === guards) this.#guards = this.#openGuards();
      const error = new PgsluiceError({
        code: 'GUARDRAILS_UNANSWERED',
        message: `What a cutover depends on was not answered within ${guardrailsMs / 1000} s: the target or the source is silent.`,
        hint: 'Check both servers and the network to them; the job asks again by itself.',
        retryable: true,
      });
      await guards.end(error);
      throw error;
    } finally {
      timer.abort();
    }
  }

  /** Whether an automatic cutover may begin. */
  get calm(): boolean {
    return isCalm(this.#readings, Date.now()).calm;
  }

  /** The slot stands, and sends what commits after `begin`. */
  made(begin: Lsn): void {
    this.#slotStands = true;
    this.#begin = begin;
  }

  /** From now on the figures are those of `followed`. */
  follow(followed: Followed & { readonly applied: Lsn }, applied: Lsn): void {
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
    const stored = this.#followed?.applied ?? 0n;
    return {
      ...this.#monitor.read(),
      cutover: [...this.#steps],
      ...(stored === 0n ? {} : { storedLsn: formatLsn(stored) }),
    };
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
    const over = new Error('the watch over a live run has ended');
    this.#link.controller.abort(over);
    this.#link.release();
    await Promise.all([this.#running, this.#guards.end(over)]);
  }
}
