import { setTimeout as sleep } from 'node:timers/promises';
import type { AppliedCounts, Guardrail, LiveProgress, SlotHealth } from '../contract/live.ts';
import { PgsluiceError, throwIfAborted } from '../errors.ts';
import { type Lsn, formatLsn, parseLsn } from '../postgres/lsn.ts';
import { type Session, openSession } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { LagMeter } from './lag.ts';
import { jobOfName } from './names.ts';
import { type SlotJudgement, type SlotLimits, type SlotReading, readSlotHealth } from './slot-health.ts';

/** What the monitor reads of the one that follows. */
export interface Followed {
  readonly connected: boolean;
  /** null while nobody follows and it is not known from where: then what the slot has confirmed counts. */
  readonly done: Lsn | null;
  readonly counts: AppliedCounts;
  readonly spooledBytes: number;
}

export interface MonitorInput {
  readonly source: ConnectionSettings;
  readonly slot: string;
  readonly limits: SlotLimits;
  readonly followed: Followed;
  readonly signal: AbortSignal;
  /** False while the slot is still being made: that there is none is then no loss. */
  slotStands(): boolean;
  /** Conditions of a calm cutover; asked every few seconds, once at a time. Nothing that is measured waits for them. */
  readGuardrails(
    lag: { readonly bytes: number; readonly seconds: number },
    slot: SlotHealth | null,
  ): Promise<readonly Guardrail[]>;
  /** Called when the judgement on the slot has changed. */
  onSlot(judgement: SlotJudgement): void;
  log(level: 'debug' | 'info' | 'warn', message: string): void;
}

const SAMPLE_EVERY_MS = 1000;
const GUARDRAILS_EVERY_MS = 2000;
const RATE_WINDOW_MS = 5000;
const RECONNECT_MS = 2000;
/** Guardrails that take longer are told of as such. */
const GUARDRAILS_LATE_MS = 10_000;
/** A source that has not answered a small question after this is connected to anew. Longer than its own statement_timeout. */
const SILENCE_MS = 20_000;

interface CountSample {
  readonly at: number;
  readonly counts: AppliedCounts;
}

/** Rows a second by kind between two readings of the totals. Pure. */
export function ratesOf(first: CountSample, last: CountSample): AppliedCounts {
  const seconds = (last.at - first.at) / 1000;
  const rate = (kind: keyof AppliedCounts): number =>
    seconds <= 0 ? 0 : Math.max(0, Math.round((last.counts[kind] - first.counts[kind]) / seconds));
  return {
    inserts: rate('inserts'),
    updates: rate('updates'),
    deletes: rate('deletes'),
    truncates: rate('truncates'),
    transactions: rate('transactions'),
  };
}

/** Stands for the guardrails while they cannot be read. Pure. */
function unread(found: string, remedy: string): Guardrail {
  return { id: 'target-written', state: 'waits', found, remedy };
}

/** Rejects when `work` takes longer than `ms`; whatever it needs is then its caller's to close. */
async function within<T>(work: Promise<T>, ms: number): Promise<T> {
  const timer = new AbortController();
  const late = sleep(ms, undefined, { signal: timer.signal, ref: false }).then(
    () => {
      throw new PgsluiceError({
        code: 'CONNECTION_LOST',
        message: `The source has not answered for ${ms / 1000} s.`,
        hint: 'Check the network between this machine and the source. The job connects anew.',
        retryable: true,
      });
    },
    // Answered in time.
    () => new Promise<never>(() => undefined),
  );
  try {
    return await Promise.race([work, late]);
  } finally {
    timer.abort();
  }
}

/**
 * Measures a job that follows: lag, slot, rates, guardrails. One session on the source, opened anew when it is lost; it goes on
 * while the job is paused, because the slot makes the source keep WAL then as well. Lifecycle: made → run → over with the signal.
 */
export class LiveMonitor {
  readonly #input: MonitorInput;
  /** Names the job: by it others see that the job is alive while its slot is not read (leftovers.ts). */
  readonly #purpose: string;
  readonly #lag = new LagMeter();
  #samples: CountSample[] = [];
  #slot: SlotReading | null = null;
  #guardrails: readonly Guardrail[] = [];
  #guardrailsAt = 0;
  /** The reading that is under way. */
  #guarding: Promise<void> | null = null;
  /** Where the source's WAL ended when it was measured last. */
  #newest: Lsn = 0n;
  #told = false;
  #guardrailsTold = false;

  constructor(input: MonitorInput) {
    this.#input = input;
    const job = jobOfName(input.slot);
    this.#purpose = job === null ? 'monitor' : `monitor ${job}`;
  }

  get slot(): SlotJudgement | null {
    return this.#slot;
  }
  get guardrails(): readonly Guardrail[] {
    return this.#guardrails;
  }

  #done(): Lsn {
    return this.#input.followed.done ?? this.#slot?.row.confirmedLsn ?? this.#newest;
  }

  /** The figures as last measured; `cutover` is the runner's to add. */
  read(now: number = Date.now()): Omit<LiveProgress, 'cutover'> {
    const { followed } = this.#input;
    const done = this.#done();
    const lag = this.#lag.read(done, now);
    const last = { at: now, counts: followed.counts };
    return {
      lagBytes: lag.bytes,
      lagSeconds: Math.round(lag.seconds * 10) / 10,
      sourceLsn: formatLsn(lag.newest),
      appliedLsn: formatLsn(done),
      applied: followed.counts,
      perSecond: ratesOf(this.#samples[0] ?? last, last),
      spooledBytes: followed.spooledBytes,
      slot: this.#slot?.health ?? null,
      guardrails: [...this.#guardrails],
      connected: followed.connected,
    };
  }

  /** Measures until the signal fires, and then returns. A source that does not answer is asked again; the figures then stand still. */
  async run(): Promise<void> {
    try {
      await this.#measureOn();
    } finally {
      await this.#guarding;
    }
  }

  async #measureOn(): Promise<void> {
    const input = this.#input;
    const { signal } = input;
    while (!signal.aborted) {
      let session: Session | null = null;
      try {
        session = await openSession(this.#input.source, {
          signal,
          side: 'source',
          purpose: this.#purpose,
          readOnly: true,
        });
        // A server that does not answer a small question within this is as good as away.
        await within(session.run(`SET statement_timeout = '15s'`), SILENCE_MS);
        for (;;) {
          await within(this.#measure(session), SILENCE_MS);
          this.#told = false;
          this.#lookAtGuardrails();
          await sleep(SAMPLE_EVERY_MS, undefined, { signal });
        }
      } catch (error) {
        if (signal.aborted) return;
        const why = error instanceof Error ? error.message : String(error);
        if (!this.#told) input.log('warn', `The source cannot be measured for the moment: ${why}`);
        this.#told = true;
        // What was read before is not known to hold any more.
        if (this.#guardrails.length > 0)
          this.#guardrails = [unread(`The source cannot be measured: ${why}`, 'The job asks again by itself.')];
        await sleep(RECONNECT_MS, undefined, { signal }).catch(() => undefined);
      } finally {
        await session?.close();
      }
    }
  }

  async #measure(session: Session): Promise<void> {
    const input = this.#input;
    const { slot, limits, followed, signal } = input;
    throwIfAborted(signal);
    // Asked before the slot is read: one that stands by then is there.
    const stands = input.slotStands();
    const [row] = await session.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn()::text AS lsn');
    const now = Date.now();
    if (row !== undefined) {
      this.#newest = parseLsn(row.lsn);
      this.#lag.add({ lsn: this.#newest, at: now });
    }
    this.#samples.push({ at: now, counts: followed.counts });
    this.#samples = this.#samples.filter((sample) => now - sample.at <= RATE_WINDOW_MS);
    const before = this.#slot;
    const reading = await readSlotHealth(session, slot, before, limits);
    if (!stands && reading.verdict === 'lost') return;
    this.#slot = reading;
    if (before?.verdict !== reading.verdict) input.onSlot(reading);
  }

  /** Beside the measuring, because both servers are asked: one that does not answer must not keep the slot from being judged. */
  #lookAtGuardrails(): void {
    const now = Date.now();
    if (this.#guarding !== null) {
      const since = now - this.#guardrailsAt;
      if (since < GUARDRAILS_LATE_MS) return;
      const found = `The target does not answer: it was asked ${Math.round(since / 1000)} s ago what a cutover depends on.`;
      this.#guardrails = [unread(found, 'Check the target and the network to it; the job asks again by itself.')];
      return;
    }
    if (now - this.#guardrailsAt < GUARDRAILS_EVERY_MS) return;
    this.#guardrailsAt = now;
    this.#guarding = this.#readGuardrails(now).finally(() => {
      this.#guarding = null;
    });
  }

  /** Never rejects. */
  async #readGuardrails(now: number): Promise<void> {
    const input = this.#input;
    try {
      this.#guardrails = await input.readGuardrails(this.#lag.read(this.#done(), now), this.#slot?.health ?? null);
      this.#guardrailsTold = false;
    } catch (error) {
      if (input.signal.aborted) return;
      const why = error instanceof Error ? error.message : String(error);
      if (!this.#guardrailsTold) input.log('warn', `The conditions of a cutover cannot be read for the moment: ${why}`);
      this.#guardrailsTold = true;
      this.#guardrails = [unread(why, error instanceof PgsluiceError ? error.hint : '')];
    }
  }
}
