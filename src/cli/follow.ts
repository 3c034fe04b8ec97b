import { setTimeout as delay } from 'node:timers/promises';
import type { JobEvent, JobState, ResultEvent } from '../contract/event.ts';
import type { JobView } from '../contract/job.ts';
import type { JobClient } from './client.ts';
import type { Interrupts } from './interrupts.ts';
import type { JobViewer } from './view.ts';

export interface FollowInput {
  readonly client: JobClient;
  readonly job: JobView;
  /** Only events after this seq are shown. */
  readonly after: number;
  /** `validated`: a job that is ready is at its end. */
  readonly until: 'validated' | 'ended';
  /** A person can let a paused job go on from here: a live one that pauses is not at its end. */
  readonly stayPaused?: boolean;
  readonly viewer: JobViewer;
  readonly interrupts: Pick<Interrupts, 'first' | 'handle'>;
  /** Leaves the job as it is. */
  readonly signal?: AbortSignal;
}

export interface Followed {
  readonly job: JobView;
  readonly result: ResultEvent | null;
  /** A person or the system asked this command to stop. */
  readonly interrupted: boolean;
}

/** How long the last events of a job may follow its last state, in ms. */
const lastEventsMs = 1500;
/** How long a cancelled job may take to say in which state the target is, in ms. */
const cancelMs = 10_000;

const ends: ReadonlySet<JobState> = new Set(['completed', 'failed', 'blocked', 'cancelled', 'paused']);

export function isEnd(state: JobState, until: FollowInput['until']): boolean {
  return ends.has(state) || (until === 'validated' && state === 'ready');
}

/**
 * Shows a job's events until it has come to its end. Ctrl-C cancels a copy and waits for what its log says about the
 * target; SIGTERM and SIGHUP, and Ctrl-C on a job that follows its source, leave it resumable where it runs in this
 * process, and running where a daemon runs it: what was followed for days must not be lost by a key.
 */
export async function follow(input: FollowInput): Promise<Followed> {
  const { client, job, viewer, interrupts, until } = input;
  const stop = new AbortController();
  const leave = (): void => stop.abort();
  input.signal?.addEventListener('abort', leave, { once: true });
  if (input.signal?.aborted === true) leave();
  const endings: Promise<void>[] = [];
  let live = job.method === 'live';
  interrupts.handle((signal) => {
    endings.push(endBy(signal, input, stop, live));
  });
  let result: ResultEvent | null = null;
  let ended = false;
  let lastSeq = input.after;
  let lastState = job.state;
  let lastWords: NodeJS.Timeout | null = null;
  try {
    for await (const batch of client.stream(job.id, input.after, stop.signal)) {
      for (const message of batch) {
        if (message.type === 'reset') {
          viewer.note('Older events are no longer stored; the log goes on from here.');
          continue;
        }
        viewer.event(message);
        lastSeq = message.seq;
        live ||= isLive(message);
        if (message.type === 'result') result = message;
        if (message.type === 'state') {
          lastState = message.state;
          ended = isEnd(lastState, until) && !(lastState === 'paused' && live && input.stayPaused === true);
          if (!ended) result = null;
        }
      }
      if (lastWords !== null) clearTimeout(lastWords);
      lastWords = null;
      if (!ended) continue;
      const view = await client.get(job.id);
      if (lastSeq >= view.lastSeq && (result !== null || !hasResult(view.state))) break;
      lastWords = setTimeout(() => stop.abort(), lastEventsMs);
    }
  } finally {
    if (lastWords !== null) clearTimeout(lastWords);
    input.signal?.removeEventListener('abort', leave);
  }
  await Promise.all(endings);
  // A manager that was stopped answers no more: then the events have the last word.
  const now = await client
    .get(job.id)
    .catch(() => ({ ...job, state: lastState, method: live ? ('live' as const) : job.method }));
  return { job: now, result, interrupted: interrupts.first !== null };
}

/** States that come with a result event. */
function hasResult(state: JobState): boolean {
  return state !== 'paused' && state !== 'ready';
}

/** From the slot on a job has something on the source that outlives this command. */
function isLive(event: JobEvent): boolean {
  return (
    (event.type === 'phase' && event.phase === 'slot') ||
    (event.type === 'metric' && event.live !== undefined) ||
    (event.type === 'state' && (event.state === 'following' || event.state === 'cutting_over'))
  );
}

async function endBy(signal: string, input: FollowInput, stop: AbortController, live: boolean): Promise<void> {
  const { client, job, viewer } = input;
  const giveUp = setTimeout(() => stop.abort(), cancelMs);
  giveUp.unref();
  if (signal === 'SIGINT' && !live) {
    viewer.note('Cancelling. Press Ctrl-C again to leave at once.');
    try {
      await client.act(job.id, 'cancel');
    } catch (error) {
      // The job ended in the same moment: its own end is what counts.
      viewer.note(`Cancelling was not possible: ${error instanceof Error ? error.message : String(error)}`);
      stop.abort();
    }
    return;
  }
  if (client.kind === 'remote') {
    viewer.note(`Leaving. The job goes on in the agent at ${client.where}.`);
    stop.abort();
    return;
  }
  viewer.note('Stopping. The job stays resumable.');
  await client.close(`The process received ${signal}.`);
  await delay(50);
  stop.abort();
}
