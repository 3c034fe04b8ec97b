import type { JobEvent } from '../contract/event.ts';
import { eventLines, type CheckDetail } from './event-lines.ts';
import { formatBytes, formatPercent, formatRemaining } from './format.ts';
import type { Output } from './output.ts';
import { liveSentence } from './live-lines.ts';
import { emptyProgress, isFollowing, reduceProgress, type ProgressState } from './progress-state.ts';
import { ProgressScreen } from './progress-screen.ts';
import { plainStyle } from './style.ts';

/** Where a followed job's events go. */
export interface JobViewer {
  event(event: JobEvent): void;
  /** A line of our own, not of the job. */
  note(text: string): void;
  /** What a person may type now, with what was typed; null when nothing. */
  prompt(text: string | null): void;
  /** Takes the display down; after it, ordinary output may follow. */
  close(): void;
}

export interface ViewerOptions {
  readonly json: boolean;
  readonly title: string;
  readonly checks: CheckDetail;
}

export function createViewer(output: Output, options: ViewerOptions): JobViewer {
  if (options.json) return new JsonViewer(output);
  return output.tty ? new ScreenViewer(output, options) : new LineViewer(output, options);
}

/** The result event is the last line of the command and printed by it, so that nothing can follow it. */
class JsonViewer implements JobViewer {
  readonly #output: Output;

  constructor(output: Output) {
    this.#output = output;
  }

  event(event: JobEvent): void {
    if (event.type !== 'result') this.#output.out(`${JSON.stringify(event)}\n`);
  }

  note(text: string): void {
    this.#output.err(`${text}\n`);
  }

  prompt(): void {
    // A program reads this.
  }

  close(): void {
    // Nothing is held back.
  }
}

const progressEveryMs = 10_000;
/** A job may follow for days. */
const followingEveryMs = 60_000;

class LineViewer implements JobViewer {
  readonly #output: Output;
  readonly #checks: CheckDetail;
  #state: ProgressState;
  #lastProgress = 0;
  #standing = '';

  constructor(output: Output, options: ViewerOptions) {
    this.#output = output;
    this.#checks = options.checks;
    this.#state = emptyProgress(options.title);
  }

  event(event: JobEvent): void {
    this.#state = reduceProgress(this.#state, event);
    const [first, ...more] = eventLines(event, this.#checks, plainStyle);
    if (first !== undefined) this.#line(event.at, first);
    for (const line of more) this.#output.out(`${' '.repeat(21)}${line}\n`);
    if (event.type !== 'metric') return;
    const at = Date.parse(event.at);
    const following = this.#state.state === 'following' && this.#state.standing === this.#standing;
    if (at - this.#lastProgress < (following ? followingEveryMs : progressEveryMs)) return;
    this.#lastProgress = at;
    this.#standing = this.#state.standing;
    this.#line(event.at, progressSentence(this.#state));
  }

  prompt(): void {
    // Nobody types into a pipe.
  }

  note(text: string): void {
    this.#line(new Date().toISOString(), text);
  }

  close(): void {
    // Nothing is held back.
  }

  #line(at: string, text: string): void {
    this.#output.out(`${at.slice(0, 19)}Z ${text}\n`);
  }
}

export function progressSentence(state: ProgressState): string {
  const { metric } = state;
  if (metric === null) return state.phase ?? state.state;
  if (metric.live !== undefined && isFollowing(state)) return `${state.state}: ${liveSentence(metric.live)}`;
  const shown = metric.comparing ?? metric;
  const parts = [
    `${state.phase ?? state.state} ${formatPercent(shown.fraction)}`,
    `${shown.tablesDone} of ${shown.tables} tables`,
    `${formatBytes(shown.bytes)} at ${formatBytes(shown.bytesPerSecond)}/s`,
    formatRemaining(metric.remaining),
  ];
  return parts.join(', ');
}

class ScreenViewer implements JobViewer {
  readonly #screen: ProgressScreen;
  readonly #output: Output;
  readonly #checks: CheckDetail;

  constructor(output: Output, options: ViewerOptions) {
    this.#output = output;
    this.#checks = options.checks;
    this.#screen = new ProgressScreen(output, emptyProgress(options.title));
  }

  event(event: JobEvent): void {
    const { style } = this.#output;
    const time = new Date(event.at).toTimeString().slice(0, 8);
    for (const line of eventLines(event, this.#checks, style)) this.#screen.log(`${style.dim(time)} ${line}`);
    this.#screen.update(event);
  }

  note(text: string): void {
    this.#screen.log(this.#output.style.bold(text));
  }

  prompt(text: string | null): void {
    this.#screen.prompt(text);
  }

  close(): void {
    this.#screen.close();
  }
}
