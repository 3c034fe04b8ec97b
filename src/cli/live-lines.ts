import type { CutoverReport, CutoverStep, Guardrail, LiveProgress, SlotHealth } from '../contract/live.ts';
import { formatBytes, formatCount, formatLasting, formatSeconds, plural } from './format.ts';
import { plainStyle, type Style } from './style.ts';
import { clean } from './text.ts';

/** How far the target is behind: bytes of WAL, and the age of the oldest commit that is missing. */
export function lagText(live: Pick<LiveProgress, 'lagBytes' | 'lagSeconds'>): string {
  return `lag ${formatBytes(live.lagBytes)}, ${formatSeconds(live.lagSeconds)}`;
}

/** Rows a second by kind; what does not happen is left out. */
export function rateTexts({ perSecond }: Pick<LiveProgress, 'perSecond'>): string[] {
  const kinds = [
    ['insert', perSecond.inserts],
    ['update', perSecond.updates],
    ['delete', perSecond.deletes],
    ['truncate', perSecond.truncates],
  ] as const;
  const moving = kinds.filter(([, rate]) => rate > 0);
  if (moving.length === 0) return ['no changes'];
  return moving.map(([kind, rate]) => `${rate < 10 ? trimmed(rate) : formatCount(rate)} ${kind}s/s`);
}

function trimmed(rate: number): string {
  return rate.toFixed(1).replace(/\.0$/, '');
}

/** What the slot makes the source keep, and how long that may go on. */
export function slotText(slot: SlotHealth): string {
  const kept = `source keeps ${formatBytes(slot.retainedBytes)} of WAL`;
  if (slot.walStatus === 'lost') return `${kept}; the slot is lost`;
  const status = slot.walStatus === 'unreserved' ? ' (about to be lost)' : '';
  if (slot.lastsSeconds === null) return `${kept}${status}`;
  return `${kept}${status}, lasts ${formatLasting(slot.lastsSeconds)} at ${formatBytes(slot.walBytesPerSecond)}/s`;
}

export function liveFigures(live: LiveProgress): string[] {
  return [
    ...(live.connected ? [] : ['connecting to the source again']),
    lagText(live),
    ...rateTexts(live),
    ...(live.slot === null ? [] : [slotText(live.slot)]),
    ...(live.spooledBytes > 0 ? [`${formatBytes(live.spooledBytes)} of large transactions on disk`] : []),
  ];
}

/** Guardrails that stand in the way of a cutover, each with what to do. */
export function guardrailLines(guardrails: readonly Guardrail[], style: Style): string[] {
  return guardrails
    .filter((guardrail) => guardrail.state !== 'ok')
    .map((guardrail) => {
      const remedy = guardrail.remedy === '' ? '' : ` → ${clean(guardrail.remedy)}`;
      const text = `${guardrail.state === 'blocks' ? '✗ blocks' : '! waits '} ${guardrail.id}: ${clean(guardrail.found)}${remedy}`;
      return guardrail.state === 'blocks' ? style.red(text) : style.yellow(text);
    });
}

/** One step of the cutover; `runningMs` stands for the time of the step that is under way. */
export function stepText(step: CutoverStep, runningMs = 0): string {
  const mark = step.ms === null ? '●' : '✓';
  const detail = step.detail === '' ? '' : `  ${clean(step.detail)}`;
  return `${mark} ${step.step.padEnd(13)} ${formatMs(step.ms ?? runningMs).padStart(9)}${detail}`;
}

export function formatMs(ms: number): string {
  return ms < 10_000 ? `${formatCount(ms)} ms` : formatSeconds(ms / 1000);
}

/** What `show` says of a job that follows its source. */
export function liveLines(live: LiveProgress, style: Style): string[] {
  const { applied } = live;
  const counts = `${plural(applied.inserts, 'insert')}, ${plural(applied.updates, 'update')}, ${plural(applied.deletes, 'delete')} in ${plural(applied.transactions, 'transaction')}`;
  return [
    `Lag      ${formatBytes(live.lagBytes)}, ${formatSeconds(live.lagSeconds)}; source at ${live.sourceLsn}, target at ${live.appliedLsn}`,
    `Applied  ${counts}; now ${rateTexts(live).join(', ')}`,
    ...(live.slot === null
      ? []
      : [`Slot     ${slotText(live.slot)}${live.slot.active ? '' : '; nobody reads it now'}`]),
    ...guardrailLines(live.guardrails, style),
    ...(live.cutover.length === 0 ? [] : ['Cutover', ...live.cutover.map((step) => `  ${stepText(step)}`)]),
  ];
}

/** How the cutover went, for the end of a command. */
export function cutoverSentence(cutover: CutoverReport): string {
  const attempts = cutover.attempts > 1 ? ` at attempt ${cutover.attempts}` : '';
  return cutover.downtimeMs === null
    ? `Cut over${attempts}.`
    : `Cut over${attempts}: writers waited ${formatMs(cutover.downtimeMs)} from the first refused write to the hand-over.`;
}

/** One plain line while following, for a pipe. */
export function liveSentence(live: LiveProgress): string {
  const blocked = guardrailLines(live.guardrails, plainStyle);
  return [liveFigures(live).join(', '), ...blocked].join('; ');
}
