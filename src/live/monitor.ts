import { setTimeout as sleep } from 'node:timers/promises';
import type { AppliedCounts, Guardrail, LiveProgress, SlotHealth } from '../contract/live.ts';
import { throwIfAborted } from '../errors.ts';
import { type Lsn, formatLsn, parseLsn } from '../postgres/lsn.ts';
import { type Session, openSession } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { LagMeter } from './lag.ts';
import { jobOfName } from './names.ts';
import { type SlotJudgement, type SlotLimits, type SlotReading, readSlotHealth } from './slot-health.ts';

/** What the monitor reads of the one that follows. */
export interface Followed {
  readonly connected: boolean;
  readonly done: Lsn;
  readonly counts: AppliedCounts;
  readonly spooledBytes: number;
}

export interface MonitorInput {
  readonly source: ConnectionSettings;
  readonly slot: string;
  readonly limits: SlotLimits;
  readonly followed: Followed;
  readonly signal: AbortSignal;
  /** Conditions of a calm cutover; asked every few seconds. */
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
  #told = false;

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

  /** The figures as last measured; `cutover` is the runner's to add. */
  read(now: number = Date.now()): Omit<LiveProgress, 'cutover'> {
    const { followed } = this.#input;
    const lag = this.#lag.read(followed.done, now);
    const last = { at: now, counts: followed.counts };
    return {
      lagBytes: lag.bytes,
      lagSeconds: Math.round(lag.seconds * 10) / 10,
      sourceLsn: formatLsn(lag.newest),
      appliedLsn: formatLsn(followed.done),
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
    const { signal, log } = this.#input;
    while (!signal.aborted) {
      let session: Session | null = null;
      try {
        session = await openSession(this.#input.source, { signal, side: 'source', purpose: this.#purpose, readOnly: true });
        // A server that does not answer a small question within this is as good as away.
        await session.run(`SET statement_timeout = '15s'`);
        for (;;) {
          await this.#measure(session);
          this.#told = false;
          await sleep(SAMPLE_EVERY_MS, undefined, { signal });
        }
      } catch (error) {
        if (signal.aborted) return;
        const why = error instanceof Error ? error.message : String(error);
        if (!this.#told) log('warn', `The source cannot be measured for the moment: ${why}`);
        this.#told = true;
        await sleep(RECONNECT_MS, undefined, { signal }).catch(() => undefined);
      } finally {
        await session?.close();
      }
    }
  }

  async #measure(session: Session): Promise<void> {
    const { slot, limits, followed, onSlot, readGuardrails, signal } = this.#input;
    throwIfAborted(signal);
    const [row] = await session.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn()::text AS lsn');
    const now = Date.now();
    if (row !== undefined) this.#lag.add({ lsn: parseLsn(row.lsn), at: now });
    this.#samples.push({ at: now, counts: followed.counts });
    this.#samples = this.#samples.filter((sample) => now - sample.at <= RATE_WINDOW_MS);
    const before = this.#slot;
    this.#slot = await readSlotHealth(session, slot, before, limits);
    if (before?.verdict !== this.#slot.verdict) onSlot(this.#slot);
    if (now - this.#guardrailsAt < GUARDRAILS_EVERY_MS) return;
    this.#guardrailsAt = now;
    this.#guardrails = await readGuardrails(this.#lag.read(followed.done, now), this.#slot.health);
  }
}
