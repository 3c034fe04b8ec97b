import type { CheckResult } from '../contract/check.ts';
import type { JobEvent, LogLevel } from '../contract/event.ts';
import type { Style } from './style.ts';
import { clean, cleanLines } from './text.ts';

/** How much of the checks a command shows: all of them, or only those a person must look at. */
export type CheckDetail = 'all' | 'notable';

const levelOrder: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

export function atLeast(level: LogLevel, least: LogLevel): boolean {
  return levelOrder[level] >= levelOrder[least];
}

/** What an event says in a log of lines: none, one, or several lines, without a time and without line ends. */
export function eventLines(event: JobEvent, detail: CheckDetail, style: Style): string[] {
  switch (event.type) {
    case 'log':
      return atLeast(event.level, 'info') ? [paintLevel(event.level, clean(event.message), style)] : [];
    case 'phase':
      return event.status === 'started' ? [style.bold(phaseSentence(event.phase, clean(event.detail)))] : [];
    case 'check':
      return detail === 'all' || event.check.outcome === 'failed' || event.check.outcome === 'warned'
        ? checkLines(event.check, style)
        : [];
    case 'table':
      return event.table.state === 'failed' && event.table.error !== null
        ? [
            style.red(
              `Table ${clean(event.table.schema)}.${clean(event.table.name)} failed: ${clean(event.table.error.message)} [${event.table.error.code}]`,
            ),
          ]
        : [];
    case 'state':
    case 'index':
    case 'metric':
    case 'result':
      return [];
  }
}

function phaseSentence(phase: string, detail: string): string {
  return detail === '' ? `Phase ${phase}` : `Phase ${phase}: ${detail}`;
}

export function paintLevel(level: LogLevel, text: string, style: Style): string {
  if (level === 'error') return style.red(text);
  if (level === 'warn') return style.yellow(text);
  return level === 'debug' ? style.dim(text) : text;
}

const marks: Readonly<Record<CheckResult['outcome'], string>> = {
  passed: '✓',
  info: 'i',
  warned: '!',
  failed: '✗',
  skipped: '–',
};

/** One check: mark, what is checked, what was found, and what to paste where. */
function acceptedLines({ accepted }: CheckResult): string[] {
  if (accepted === null || accepted === undefined) return [];
  const note = accepted.note === '' ? '' : `: ${clean(accepted.note)}`;
  return [`         accepted by ${clean(accepted.by)} at ${accepted.at}${note}`];
}

export function checkLines(check: CheckResult, style: Style): string[] {
  const mark = marks[check.outcome];
  const head = `${mark} ${check.side.padEnd(6)} ${clean(check.title)}`;
  const painted =
    check.outcome === 'failed'
      ? style.red(head)
      : check.outcome === 'warned'
        ? style.yellow(head)
        : check.outcome === 'passed'
          ? `${style.green(mark)}${head.slice(mark.length)}`
          : style.dim(head);
  const found = clean(check.found);
  const remedy = check.outcome === 'failed' || check.outcome === 'warned' ? cleanLines(check.remedy).trim() : '';
  const code = check.outcome === 'failed' && check.code !== null ? ` [${check.code}]` : '';
  return [
    painted,
    ...(found === '' ? [] : [`         ${found}${code}`]),
    ...acceptedLines(check),
    ...remedy
      .split('\n')
      .filter((line) => line !== '')
      .map((line, index) => `         ${index === 0 ? '→' : ' '} ${line}`),
  ];
}
