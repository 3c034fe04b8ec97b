import type { TableProgress } from '../contract/event.ts';
import { formatBytes, formatCount, formatPercent, formatRemaining, formatSeconds } from './format.ts';
import type { LiveProgress } from '../contract/live.ts';
import { guardrailLines, liveFigures, slotText, stepText } from './live-lines.ts';
import { isFollowing, shownPhases, type ProgressState } from './progress-state.ts';
import { plainStyle, type Style } from './style.ts';
import { clean, fit, padStart, padTo, textWidth } from './text.ts';

export interface RenderOptions {
  readonly style: Style;
  /** Most lines the block may take. */
  readonly height: number;
  /** Now, in ms; tells how long something has been waiting. */
  readonly now: number;
}

const narrow = 60;

/**
 * The progress block, one string a line, no line wider than `width` columns: phases, totals, what the job waits for,
 * then the tables and indexes that are under way.
 */
export function renderProgress(state: ProgressState, width: number, options?: Partial<RenderOptions>): string[] {
  const style = options?.style ?? plainStyle;
  const height = Math.max(3, options?.height ?? 20);
  const now = options?.now ?? state.now;
  const live = state.metric?.live;
  const head = [phaseLine(state, width, style)];
  if (live !== undefined && isFollowing(state)) {
    const rest = [...followLines(live, width, style), ...stepLines(state, live, width, now)];
    return [...head, ...limited(rest, Math.max(0, height - head.length), width, style)];
  }
  head.push(...totalLines(state, width, style));
  if (live?.slot != null) head.push(style.dim(fit(slotText(live.slot), width)));
  const waiting = waitingLine(state, width, style, now);
  if (waiting !== null) head.push(waiting);
  const work = workLines(state, width, now);
  return [...head, ...limited(work, Math.max(0, height - head.length), width, style)];
}

function limited(lines: readonly string[], room: number, width: number, style: Style): string[] {
  if (lines.length <= room) return [...lines];
  if (room === 0) return [];
  return [...lines.slice(0, room - 1), style.dim(fit(`  and ${lines.length - room + 1} more`, width))];
}

function phaseLine(state: ProgressState, width: number, style: Style): string {
  const current = state.phase;
  const shown = shownPhases(state);
  if (width < narrow) {
    const position = current === null ? 0 : shown.indexOf(current) + 1;
    return fit(`${current ?? state.state} (${position} of ${shown.length})`, width);
  }
  const parts = shown.map((phase) => {
    const known = state.phases.get(phase);
    if (known?.status === 'finished') return { text: `✓ ${phase}`, paint: style.green };
    if (phase === current) return { text: `● ${phase}`, paint: style.bold };
    return { text: `· ${phase}`, paint: style.dim };
  });
  const whole = parts.map((part) => part.text).join('  ');
  if (textWidth(whole) <= width) return parts.map((part) => part.paint(part.text)).join('  ');
  return fit(whole, width);
}

function totalLines(state: ProgressState, width: number, style: Style): string[] {
  const { metric, checks } = state;
  if (metric === null) {
    const counted = checks.passed + checks.warned + checks.failed;
    const text =
      counted === 0
        ? clean(state.phaseDetail || state.title)
        : `${counted} checks: ${checks.passed} passed, ${checks.warned} to note, ${checks.failed} failed`;
    return [fit(text, width)];
  }
  const barWidth = Math.max(8, Math.min(30, Math.floor(width / 4)));
  const shown = metric.comparing ?? metric;
  const figures = [
    `${shown.tablesDone} of ${shown.tables} tables${metric.comparing ? ' compared' : ''}`,
    formatBytes(shown.bytes),
    `${formatBytes(shown.bytesPerSecond)}/s`,
    ...(width >= 100 ? [`${formatCount(shown.rowsPerSecond)} rows/s`] : []),
    formatRemaining(metric.remaining),
  ];
  const percent = formatPercent(shown.fraction);
  const start = `${bar(shown.fraction, barWidth)} ${padStart(percent, 5)}`;
  const room = width - textWidth(start) - 2;
  const joined = figures.join(' · ');
  if (textWidth(joined) <= room) return [`${style.cyan(start)}  ${joined}`];
  return [style.cyan(fit(start, width)), fit(joined, width)];
}

/** Lag, rows a second, retained WAL: one line where it fits, else several; then what stands in the way of a cutover. */
function followLines(live: LiveProgress, width: number, style: Style): string[] {
  const lines: string[] = [];
  for (const figure of liveFigures(live)) {
    const joined = lines.length === 0 ? figure : `${lines.at(-1) ?? ''} · ${figure}`;
    if (lines.length > 0 && textWidth(joined) <= width) lines.splice(-1, 1, joined);
    else lines.push(fit(figure, width));
  }
  const guardrails = guardrailLines(live.guardrails, plainStyle).map((line) => fit(line, width));
  const paint = (line: string): string => (line.startsWith('✗') ? style.red(line) : style.yellow(line));
  return [...lines.map((line) => style.cyan(line)), ...guardrails.map(paint)];
}

function stepLines(state: ProgressState, live: LiveProgress, width: number, now: number): string[] {
  const runningMs = state.step === null ? 0 : Math.max(0, now - state.step.seenAt);
  return live.cutover.map((step) => fit(`  ${stepText(step, runningMs)}`, width));
}

function waitingLine(state: ProgressState, width: number, style: Style, now: number): string | null {
  const waiting = state.metric?.waiting ?? null;
  if (waiting === null) return null;
  const seconds = Math.max(0, (now - Date.parse(waiting.since)) / 1000);
  return style.yellow(fit(`Nothing has moved for ${formatSeconds(seconds)}: ${clean(waiting.what)}`, width));
}

function workLines(state: ProgressState, width: number, now: number): string[] {
  const tables = [...state.active.values()].map((table) => tableLine(table, width));
  const building = [...state.building.values()].map(({ event, since }) => {
    const what = `${event.kind.toLowerCase()} ${clean(event.name)} on ${clean(event.schema)}.${clean(event.table)}`;
    const seconds = formatSeconds(Math.max(event.seconds, (now - since) / 1000));
    return `  ${padTo(what, Math.max(10, width - 14))} ${padStart(seconds, 10)}`;
  });
  return [...tables, ...building.map((line) => fit(line, width))];
}

/** Share of a table that is done: by bytes where the size is known, else by the estimate of rows. */
export function tableFraction(table: TableProgress): number {
  if (table.state === 'copied') return 1;
  const bySize = table.sizeBytes > 0 ? table.bytes / table.sizeBytes : 0;
  const byRows = table.estimatedRows !== null && table.estimatedRows > 0 ? table.rows / table.estimatedRows : 0;
  return Math.min(0.99, byRows > 0 ? byRows : bySize);
}

function tableLine(table: TableProgress, width: number): string {
  const name = `${clean(table.schema)}.${clean(table.name)}`;
  const fraction = tableFraction(table);
  if (width < narrow) {
    const percent = padStart(formatPercent(fraction), 5);
    return `${padTo(`  ${name}`, Math.max(4, width - 6))} ${percent}`;
  }
  const nameWidth = Math.max(16, Math.min(48, width - 54));
  const barWidth = Math.max(8, Math.min(24, width - nameWidth - 36));
  const figures = `${padStart(formatPercent(fraction), 5)} ${padStart(formatBytes(table.bytes), 9)} ${padStart(`${formatBytes(table.rate)}/s`, 11)}`;
  const line = `  ${padTo(name, nameWidth)} ${bar(fraction, barWidth)} ${figures}`;
  return fit(line, width);
}

const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'] as const;

/** A bar of exactly `width` columns. */
export function bar(fraction: number, width: number): string {
  const filled = Math.max(0, Math.min(1, fraction)) * width;
  const whole = Math.floor(filled);
  const part = eighths[Math.floor((filled - whole) * 8)] ?? '';
  return ('█'.repeat(whole) + part).padEnd(width, '░');
}
