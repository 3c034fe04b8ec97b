import type { Guardrail } from '../contract/live.ts';

/** What the guardrails said at a moment. */
export interface GuardrailReading {
  /** ms */
  readonly at: number;
  readonly guardrails: readonly Guardrail[];
}

/** All guardrails have to be ok for this long, without a gap. */
export const CALM_FOR_MS = 5000;
/** Readings further apart than this leave open what was between them. */
const LONGEST_GAP_MS = 3000;

export interface Calm {
  readonly calm: boolean;
  /** Why not, one sentence; empty when it is calm. */
  readonly why: string;
}

const notCalm = (why: string): Calm => ({ calm: false, why });

/**
 * Whether `--cutover auto` may start: every guardrail was ok in every reading of the last seconds. Pure.
 * `history`: oldest first; `now` in ms on the same clock.
 */
export function isCalm(history: readonly GuardrailReading[], now: number, calmForMs: number = CALM_FOR_MS): Calm {
  const newest = history.at(-1);
  if (newest === undefined) return notCalm('Nothing was measured yet.');
  const open = newest.guardrails.find((one) => one.state !== 'ok');
  if (open !== undefined) return notCalm(open.found);
  if (newest.guardrails.length === 0) return notCalm('Nothing was measured yet.');
  if (now - newest.at > LONGEST_GAP_MS) {
    return notCalm(`The last reading is ${Math.round((now - newest.at) / 1000)} s old.`);
  }
  let since = newest.at;
  for (const reading of history.slice(0, -1).toReversed()) {
    if (since - reading.at > LONGEST_GAP_MS || reading.guardrails.length === 0) break;
    if (reading.guardrails.some((one) => one.state !== 'ok')) break;
    since = reading.at;
  }
  if (now - since >= calmForMs) return { calm: true, why: '' };
  return notCalm(`Calm for ${Math.floor((now - since) / 1000)} of ${Math.round(calmForMs / 1000)} s.`);
}
