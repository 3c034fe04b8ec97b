import type { CutoverStep } from '../../../src/contract/live.ts';
import { stepOrder } from './words.ts';

export interface TimelineRow {
  readonly step: CutoverStep['step'];
  readonly status: 'done' | 'now' | 'to-come';
  /** null for a step that was not begun. */
  readonly ms: number | null;
  readonly detail: string;
  /** Where its bar begins and how long it is, as shares 0..1 of the whole. */
  readonly from: number;
  readonly share: number;
}

/**
 * The steps of one cutover in their order, those to come included, each with its place on a common scale. `runningMs` is
 * how long the step under way has been seen; its start is the agent's clock, which may differ from the reader's.
 */
export function timelineOf(steps: readonly CutoverStep[], runningMs: number, over: boolean): readonly TimelineRow[] {
  const first = Date.parse(steps[0]?.startedAt ?? '');
  const placed = steps.map((step) => ({
    step,
    at: Math.max(0, Date.parse(step.startedAt) - first),
    ms: step.ms ?? runningMs,
  }));
  const whole = Math.max(1, ...placed.map(({ at, ms }) => at + ms));
  const begun = placed.map(({ step, at, ms }): TimelineRow => ({
    step: step.step,
    status: step.ms === null ? 'now' : 'done',
    ms,
    detail: step.detail,
    from: at / whole,
    share: ms / whole,
  }));
  if (over) return begun;
  const seen = new Set(steps.map(({ step }) => step));
  const later = stepOrder.filter((step) => !seen.has(step));
  return [
    ...begun,
    ...later.map((step): TimelineRow => ({ step, status: 'to-come', ms: null, detail: '', from: 0, share: 0 })),
  ];
}
