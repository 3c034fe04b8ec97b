import type { JobEvent } from '../contract/event.ts';
import type { CutoverStep } from '../contract/live.ts';
import type { JobView } from '../contract/job.ts';
import type { JobClient } from './client.ts';
import { toErrorView } from './exit.ts';
import { Keyboard } from './keyboard.ts';
import { stepText } from './live-lines.ts';
import type { Output } from './output.ts';
import { clean } from './text.ts';
import type { JobViewer } from './view.ts';

export interface GuideInput {
  readonly output: Output;
  readonly client: Pick<JobClient, 'act'>;
  readonly job: Pick<JobView, 'id' | 'options'>;
  readonly viewer: JobViewer;
  /** A person sits before this terminal and can type. */
  readonly interactive: boolean;
  /** Tell each step of the cutover with its time. */
  readonly steps: boolean;
  /** What another terminal has to add to `pgsluice cutover JOB`, or ''. */
  readonly flags: string;
}

/** The word that a state waits for. */
const words = { following: 'cutover', paused: 'resume' } as const;

/**
 * Stands between a live job and its display: says how to cut over once the job follows, and takes the words `cutover`
 * and `resume` from the keyboard. For other jobs it only passes on.
 */
export class LiveGuide implements JobViewer {
  readonly #input: GuideInput;
  #keyboard: Keyboard | null = null;
  #word: (typeof words)[keyof typeof words] | null = null;
  #asking = false;
  #told = false;
  readonly #steps = new Set<string>();

  constructor(input: GuideInput) {
    this.#input = input;
  }

  event(event: JobEvent): void {
    this.#input.viewer.event(event);
    if (event.type === 'metric' && this.#input.steps) this.#tellSteps(event.live?.cutover ?? []);
    if (event.type !== 'state') return;
    const { state } = event;
    if (state === 'following') this.#tell();
    // Only a job that has followed is offered anything.
    this.#offer(this.#told && (state === 'following' || state === 'paused') ? words[state] : null);
  }

  note(text: string): void {
    this.#input.viewer.note(text);
  }

  prompt(text: string | null): void {
    this.#input.viewer.prompt(text);
  }

  close(): void {
    this.#offer(null);
    this.#input.viewer.close();
  }

  /** Each step once, when it has ended: the display forgets them with its end. */
  #tellSteps(steps: readonly CutoverStep[]): void {
    for (const step of steps) {
      const key = `${step.step} ${step.startedAt}`;
      if (step.ms === null || this.#steps.has(key)) continue;
      this.#steps.add(key);
      this.note(`Cutover ${stepText(step)}`);
    }
  }

  #tell(): void {
    if (this.#told) return;
    this.#told = true;
    for (const line of followingNotes(this.#input)) this.note(line);
  }

  #offer(word: 'cutover' | 'resume' | null): void {
    const { interactive, output, viewer } = this.#input;
    if (!interactive || output.input === null || word === this.#word) return;
    this.#word = word;
    if (word === null) {
      this.#keyboard?.close();
      this.#keyboard = null;
      viewer.prompt(null);
      return;
    }
    const show = (text: string): void => viewer.prompt(`${promptOf(word)} ${text}▏`);
    this.#keyboard ??= new Keyboard(output.input, {
      onTyping: (text) => viewer.prompt(`${promptOf(this.#word ?? word)} ${text}▏`),
      onLine: (line) => this.#take(line.trim().toLowerCase()),
    });
    show('');
  }

  #take(line: string): void {
    const word = this.#word;
    if (line === '' || word === null) return;
    if (line !== word) this.note(`"${line}" is not understood here. ${promptOf(word)}`);
    else if (!this.#asking) void this.#ask(word);
  }

  async #ask(action: 'cutover' | 'resume'): Promise<void> {
    this.#asking = true;
    try {
      await this.#input.client.act(this.#input.job.id, action);
    } catch (error) {
      const { message, hint } = toErrorView(error);
      this.note(`${clean(message)} → ${clean(hint)}`);
    } finally {
      this.#asking = false;
    }
  }
}

function promptOf(word: 'cutover' | 'resume'): string {
  return word === 'cutover'
    ? 'Type "cutover" and press Enter to hand over to the target:'
    : 'Paused. Type "resume" and press Enter to go on:';
}

/** What a person has to know when the following begins. */
export function followingNotes({
  job,
  interactive,
  flags,
}: Pick<GuideInput, 'job' | 'interactive' | 'flags'>): string[] {
  const command = `pgsluice cutover ${job.id}${flags}`;
  if (job.options.cutover === 'auto') {
    return [`Following the source. The cutover begins by itself as soon as all is calm; at once with: ${command}`];
  }
  return interactive
    ? [`Following the source. To hand over, type "cutover" and press Enter, or run elsewhere: ${command}`]
    : [`Following the source. To hand over to the target: ${command}`];
}
