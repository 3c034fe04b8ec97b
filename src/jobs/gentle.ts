import { setTimeout as sleep } from 'node:timers/promises';
import { throwIfAborted } from '../errors.ts';
import { LOOK_ANEW, openSession, type Session } from '../postgres/session.ts';
import type { ConnectionSettings } from '../postgres/settings.ts';
import { GentleRate, type Look, median } from './gentle-rate.ts';
import { linked } from './live-work.ts';
import type { RunContext } from './run-job.ts';

/** A turn: the job reads for a while, then rests for a while, so that both can be compared. ms */
const WORK_MS = 4_500;
const REST_MS = 2_500;
/** At the begin of either the server's counters still tell of the other: backends report once a second (documentation, 27.2). */
const SETTLE_MS = 1_100;
const ASK_EVERY_MS = 150;

const COUNTERS = `
SELECT sum(xact_commit + xact_rollback)::text AS commits, extract(epoch FROM clock_timestamp())::text AS at FROM pg_stat_database`;

/** A question that takes the server's processor for a moment, and waits for it as everybody does. */
const SHORT_QUESTION = 'SELECT count(*) FROM generate_series(1, 500)';

export interface GentleInput extends Pick<RunContext, 'options' | 'gate' | 'emit' | 'signal'> {
  readonly source: ConnectionSettings;
  /** Connections to the source that the role has left, and how many the job itself takes. */
  readonly available: number;
  readonly taken: number;
}

/**
 * Runs `work`, of a gentle job at a rate that gives way to the source's own work (gentle-rate.ts); of any other as it is. Where the
 * source has no connection left for looking it is the first rate throughout.
 */
export async function gently<T>(input: GentleInput, work: () => Promise<T>): Promise<T> {
  const { options, gate } = input;
  if (options.gentle !== true) return await work();
  const looks = input.available > input.taken;
  const rate = new GentleRate(options.maxRate ?? null, looks ? await lookBefore(input) : null);
  gate.pace.limit = rate.rate;
  say(
    input,
    `Gentle with the source: ${input.taken} connections, no parallel scans, ${words(rate.rate)} at first, ` +
      (looks
        ? `then as much as leaves its own work as it is (measured every ${(WORK_MS + REST_MS) / 1000} s).`
        : 'and no more, since there is no connection left to see how it fares.'),
  );
  const link = linked(input.signal);
  const looking = looks ? look(input, rate, link.controller.signal) : Promise.resolve();
  try {
    return await work();
  } finally {
    link.controller.abort(new Error('the work is done'));
    link.release();
    await looking;
    gate.pace.limit = options.maxRate ?? null;
  }
}

/** The source before the job has a snapshot there; null when it cannot be looked at. @throws the signal's reason. */
async function lookBefore(input: GentleInput): Promise<Look | null> {
  const { signal } = input;
  let session: Session | null = null;
  try {
    session = await openLook(input, signal);
    return await watch(session, REST_MS, signal);
  } catch (error) {
    throwIfAborted(signal);
    unseen(input, error);
    return null;
  } finally {
    await session?.close();
  }
}

function openLook({ source }: GentleInput, signal: AbortSignal): Promise<Session> {
  return openSession(source, { signal, side: 'source', purpose: 'gentle', readOnly: true });
}

function unseen({ emit }: GentleInput, error: unknown): void {
  const why = error instanceof Error ? error.message : String(error);
  emit({ type: 'log', level: 'debug', message: `How the source fares could not be seen: ${why}` });
}

/** Turns, until the signal fires. Never rejects: a source that cannot be looked at is read at the rate it had. */
async function look(input: GentleInput, rate: GentleRate, signal: AbortSignal): Promise<void> {
  const { pace } = input.gate;
  let told = rate.rate;
  while (!signal.aborted) {
    let session: Session | null = null;
    try {
      session = await openLook(input, signal);
      for (;;) {
        const spent = pace.spent;
        const working = await watch(session, WORK_MS, signal);
        const used = pace.spent - spent;
        // Paused, or busy with the target alone: what was seen is the source as it is without the job.
        if (used === 0) {
          rate.rested(working);
          continue;
        }
        const next = rate.worked(working, used >= (rate.rate * WORK_MS * 0.7) / 1000);
        if (next >= told * 2 || next <= told / 2) {
          say(input, `The source ${next > told ? 'has room' : 'is busy'}: it is read at up to ${words(next)} now.`);
          told = next;
        }
        pace.limit = next;
        pace.resting = true;
        try {
          rate.rested(await watch(session, REST_MS, signal));
        } finally {
          pace.resting = false;
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      unseen(input, error);
      await sleep(WORK_MS, undefined, { signal }).catch(() => undefined);
    } finally {
      await session?.close();
    }
  }
}

/** What the source gets done, and how quickly it answers, in the next `ms`. @throws the signal's reason; what the server says. */
async function watch(session: Session, ms: number, signal: AbortSignal): Promise<Look> {
  await sleep(SETTLE_MS, undefined, { signal }).catch(() => throwIfAborted(signal));
  const before = await counters(session);
  const answers: number[] = [];
  const until = performance.now() + ms - SETTLE_MS;
  while (performance.now() < until) {
    const asked = performance.now();
    await session.query(SHORT_QUESTION);
    answers.push(performance.now() - asked);
    await sleep(ASK_EVERY_MS, undefined, { signal }).catch(() => throwIfAborted(signal));
  }
  const after = await counters(session);
  // Each question was a transaction as well.
  const own = answers.length + 1;
  return {
    commits: Math.max(0, after.commits - before.commits - own) / Math.max(0.001, after.at - before.at),
    answerMs: median(answers),
  };
}

async function counters(session: Session): Promise<{ commits: number; at: number }> {
  await session.run(LOOK_ANEW);
  const [row] = await session.query<{ commits: string; at: string }>(COUNTERS);
  return { commits: Number(row?.commits ?? 0), at: Number(row?.at ?? 0) };
}

function say({ emit }: Pick<GentleInput, 'emit'>, message: string): void {
  emit({ type: 'log', level: 'info', message });
}

function words(rate: number): string {
  return `${(rate / 1e6).toLocaleString('en-US', { maximumFractionDigits: 1 })} MB/s`;
}
