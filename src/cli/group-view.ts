import type { JobEvent } from '../contract/event.ts';
import type { JobView } from '../contract/job.ts';
import { BottomBlock } from './bottom-block.ts';
import { eventLines, type CheckDetail } from './event-lines.ts';
import { formatPercent } from './format.ts';
import type { Output } from './output.ts';
import { emptyProgress, reduceProgress, type ProgressState } from './progress-state.ts';
import { plainStyle } from './style.ts';
import { clean, fit } from './text.ts';
import { progressSentence, type JobViewer } from './view.ts';

/** Where the events of jobs go that were made together; every line names its database. */
export interface GroupViewer {
  /** The part of one member. */
  of(member: { readonly database: string; readonly job: string }): JobViewer;
  note(text: string): void;
  close(): void;
}

export function createGroupViewer(output: Output, options: { json: boolean; checks: CheckDetail }): GroupViewer {
  if (options.json) return new JsonGroup(output);
  return output.tty ? new ScreenGroup(output, options.checks) : new LineGroup(output, options.checks);
}

const nothing = (): void => undefined;

/** Events with the name of their database and the id of their job; results are told in the last line of all. */
class JsonGroup implements GroupViewer {
  readonly #output: Output;

  constructor(output: Output) {
    this.#output = output;
  }

  of({ database, job }: { readonly database: string; readonly job: string }): JobViewer {
    const show = (event: JobEvent): void => {
      if (event.type !== 'result') this.#output.out(`${JSON.stringify({ database, job, ...event })}\n`);
    };
    return { event: show, note: (text) => this.note(`${database}: ${text}`), prompt: nothing, close: nothing };
  }

  note(text: string): void {
    this.#output.err(`${text}\n`);
  }

  close(): void {
    // Nothing is held back.
  }
}

const progressEveryMs = 10_000;

class LineGroup implements GroupViewer {
  readonly #output: Output;
  readonly #checks: CheckDetail;

  constructor(output: Output, checks: CheckDetail) {
    this.#output = output;
    this.#checks = checks;
  }

  of({ database }: { readonly database: string }): JobViewer {
    const name = nameOf(database);
    let state = emptyProgress(name);
    let told = 0;
    const line = (at: string, text: string): void => this.#output.out(`${at.slice(0, 19)}Z ${name} ${text}\n`);
    const show = (event: JobEvent): void => {
      state = reduceProgress(state, event);
      for (const text of linesOf(event, this.#checks)) line(event.at, text);
      const at = Date.parse(event.at);
      if (event.type !== 'metric' || at - told < progressEveryMs) return;
      told = at;
      line(event.at, progressSentence(state));
    };
    return { event: show, note: (text) => line(new Date().toISOString(), text), prompt: nothing, close: nothing };
  }

  note(text: string): void {
    this.#output.out(`${new Date().toISOString().slice(0, 19)}Z ${text}\n`);
  }

  close(): void {
    // Nothing is held back.
  }
}

/** At the bottom: how many are over, and one line for each that is being worked on. */
class ScreenGroup implements GroupViewer {
  readonly #output: Output;
  readonly #checks: CheckDetail;
  readonly #states = new Map<string, { name: string; state: ProgressState }>();
  readonly #block: BottomBlock;

  constructor(output: Output, checks: CheckDetail) {
    this.#output = output;
    this.#checks = checks;
    this.#block = new BottomBlock(output, (width) => groupLines([...this.#states.values()], width, output.rows - 3));
  }

  of({ database, job }: { readonly database: string; readonly job: string }): JobViewer {
    const { style } = this.#output;
    const name = nameOf(database);
    const member = { name, state: emptyProgress(name) };
    this.#states.set(job, member);
    const show = (event: JobEvent): void => {
      member.state = reduceProgress(member.state, event);
      const time = style.dim(new Date(event.at).toTimeString().slice(0, 8));
      for (const line of eventLines(event, this.#checks, style)) this.#block.log(`${time} ${style.bold(name)} ${line}`);
      this.#block.update();
    };
    return { event: show, note: (text) => this.note(`${name} ${text}`), prompt: nothing, close: nothing };
  }

  note(text: string): void {
    this.#block.log(this.#output.style.bold(text));
  }

  close(): void {
    this.#block.close();
  }
}

/** In brackets, since names may hold spaces. */
function nameOf(database: string): string {
  return `[${clean(database)}]`;
}

function linesOf(event: JobEvent, checks: CheckDetail): string[] {
  return eventLines(event, checks, plainStyle);
}

const waiting: ReadonlySet<JobView['state']> = new Set(['draft', 'ready']);
const over: ReadonlySet<JobView['state']> = new Set(['completed', 'failed', 'blocked', 'cancelled', 'paused']);

/** The block of a group: one line about all, then those that are under way. Pure. */
export function groupLines(
  members: readonly { readonly name: string; readonly state: ProgressState }[],
  width: number,
  height: number,
): string[] {
  const done = members.filter(({ state }) => over.has(state.state)).length;
  const active = members.filter(({ state }) => !over.has(state.state) && !waiting.has(state.state));
  const share =
    members.length === 0
      ? 0
      : members.reduce((sum, { state }) => sum + (over.has(state.state) ? 1 : (state.metric?.fraction ?? 0)), 0) /
        members.length;
  const head = `${done} of ${members.length} databases over, ${active.length} under way (${formatPercent(share)})`;
  const lines = active.map(({ name, state }) => fit(`  ${name} ${progressSentence(state)}`, width));
  const room = Math.max(1, height - 1);
  const shown = lines.length > room ? [...lines.slice(0, room - 1), `  and ${lines.length - room + 1} more`] : lines;
  return [fit(head, width), ...shown];
}
