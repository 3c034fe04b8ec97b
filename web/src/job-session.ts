import { computed, signal } from '@preact/signals';
import type { CheckResult } from '../../src/contract/check.ts';
import type { JobEvent } from '../../src/contract/event.ts';
import type { JobAction } from '../../src/contract/job.ts';
import { api, toApiError, type ApiError } from './api.ts';
import { LogBuffer, type LogLine } from './log-buffer.ts';
import { emptyModel, isActive, isOver, modelFrom, reduceEvents, withCheck, withJob } from './model.ts';
import { SequenceTracker } from './sequence.ts';
import { streamProtocols, token } from './session.ts';
import { EventStream, type ConnectionState } from './stream.ts';

/** Events whose arrival changes the sentence at the top, which only the agent can say. */
const summaryChanging: ReadonlySet<JobEvent['type']> = new Set(['state', 'phase', 'result']);
const refreshSoonMs = 150;
const refreshEveryMs = 4000;
/** A live stream that is behind the agent for this long in ms is dead, whatever the socket says. */
const silentForMs = 10_000;
const earlierPage = 5000;

/** How many past events a page asks for: all that fit, but little where people pay for it in time or money. */
function backlogSize(): number {
  const { connection } = navigator as { connection?: { saveData?: boolean; effectiveType?: string } };
  const slow = connection?.saveData === true || /(^|-)[23]g$/.test(connection?.effectiveType ?? '');
  return slow || innerWidth < 700 ? 5000 : 250_000;
}

/**
 * One job as the page follows it, from `open` to `close`: first what the agent answers, then its stream of events.
 * Events are gathered and applied once per animation frame.
 */
export class JobSession {
  readonly id: string;
  readonly model = signal(emptyModel);
  /** Parts of the model that change rarely, so that what shows them is not drawn with every event. */
  readonly job = computed(() => this.model.value.job);
  readonly tables = computed(() => this.model.value.tables);
  readonly connection = signal<ConnectionState>({ kind: 'connecting' });
  readonly loadError = signal<ApiError | null>(null);
  readonly actionError = signal<ApiError | null>(null);
  readonly acting = signal<JobAction | null>(null);
  /** Counts changes of `log`, whose lines live outside signals. */
  readonly logVersion = signal(0);
  readonly log = new LogBuffer();
  readonly tracker = new SequenceTracker();
  /** Log lines before this seq were not loaded; 0 when everything is here. */
  #skippedUpTo = 0;
  #stream: EventStream | null = null;
  #pending: JobEvent[] = [];
  #frame = 0;
  #soon: ReturnType<typeof setTimeout> | null = null;
  #poll: ReturnType<typeof setInterval> | null = null;
  #closed = false;

  constructor(id: string) {
    this.id = id;
  }

  async open(): Promise<void> {
    try {
      await this.#load();
    } catch (error) {
      this.loadError.value = toApiError(error);
      return;
    }
    if (this.#closed) return;
    const last = this.model.value.baseSeq;
    this.tracker.last = Math.max(0, last - backlogSize());
    this.#skippedUpTo = this.tracker.last;
    this.#stream = new EventStream({
      url: (after) => api.streamUrl(this.id, after),
      protocols: () => streamProtocols(token.value ?? ''),
      tracker: this.tracker,
      onEvents: (events) => this.#queue(events),
      onReset: (reset) => {
        this.#flush();
        this.#skippedUpTo = 0;
        this.log.clear();
        this.logVersion.value += 1;
        this.#refreshSoon();
        this.model.value = { ...this.model.value, baseSeq: Math.max(this.model.value.baseSeq, reset.lastSeq) };
      },
      onConnection: (state) => {
        this.connection.value = state;
        // The socket does not say why it was refused; the API does (a changed token, a job that is gone).
        if (state.kind === 'waiting') this.#refreshSoon();
      },
      isOver: () => isOver(this.model.value.job?.state ?? 'draft'),
    });
    this.#stream.open();
    this.#poll = setInterval(() => this.#check(), refreshEveryMs);
  }

  close(): void {
    this.#closed = true;
    this.#stream?.close();
    cancelAnimationFrame(this.#frame);
    if (this.#soon !== null) clearTimeout(this.#soon);
    if (this.#poll !== null) clearInterval(this.#poll);
  }

  async #load(): Promise<void> {
    const [job, tables, checks] = await Promise.all([api.getJob(this.id), api.tables(this.id), api.checks(this.id)]);
    this.model.value = modelFrom(job, tables, checks);
    this.loadError.value = null;
  }

  /** Asks the agent for an action; what it refuses stands in `actionError`. */
  async act(action: JobAction): Promise<boolean> {
    if (this.acting.value !== null) return false;
    this.acting.value = action;
    this.actionError.value = null;
    try {
      const job = await api.act(this.id, action);
      // Events that came meanwhile are in the model of now, not in that of the click.
      this.model.value = withJob(this.model.value, job);
      this.#stream?.wake();
      return true;
    } catch (error) {
      this.actionError.value = toApiError(error);
      return false;
    } finally {
      this.acting.value = null;
    }
  }

  /** Shows what the agent answered about one check without waiting for its event. */
  tookCheck(check: CheckResult): void {
    this.model.value = withCheck(this.model.value, check);
    this.#stream?.wake();
  }

  reconnect(): void {
    this.#stream?.wake();
  }

  #queue(events: JobEvent[]): void {
    for (const event of events) this.#pending.push(event);
    // A hidden tab paints no frames, but must not let events pile up.
    if (document.visibilityState === 'hidden') this.#flush();
    else this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  #flush(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const events = this.#pending;
    if (events.length === 0) return;
    this.#pending = [];
    const lines: LogLine[] = [];
    let changes = false;
    for (const event of events) {
      if (event.type === 'log') lines.push(event);
      else changes = true;
      if (summaryChanging.has(event.type) && event.seq > this.model.value.baseSeq) this.#refreshSoon();
    }
    if (lines.length > 0) {
      const { dropped } = this.log;
      this.log.append(lines);
      if (this.log.dropped > dropped) this.#skippedUpTo = (this.log.oldestSeq ?? 1) - 1;
      this.logVersion.value += 1;
    }
    if (changes) this.model.value = reduceEvents(this.model.value, events);
  }

  #refreshSoon(): void {
    if (this.#closed) return;
    this.#soon ??= setTimeout(() => {
      this.#soon = null;
      void this.#refresh();
    }, refreshSoonMs);
  }

  async #refresh(): Promise<void> {
    try {
      const job = await api.getJob(this.id);
      if (this.#closed) return;
      this.model.value = withJob(this.model.value, job);
      this.loadError.value = null;
      this.#reviveIfSilent(job.lastSeq);
    } catch (error) {
      const problem = toApiError(error);
      // The connection state already says that the agent is away; only its own answers are news.
      if (problem.status !== 0) this.loadError.value = problem;
    }
  }

  #check(): void {
    const state = this.model.value.job?.state;
    if (state !== undefined && isActive(state) && document.visibilityState === 'visible') void this.#refresh();
  }

  /** A half-open connection (a phone that changed networks) looks alive; the agent's own count tells. */
  #reviveIfSilent(lastSeq: number): void {
    const stream = this.#stream;
    if (stream === null || this.connection.value.kind !== 'live') return;
    if (lastSeq > this.tracker.last && Date.now() - stream.lastFrameAt > silentForMs) stream.restart();
  }

  /** Seq up to which log lines exist that this page can still load; 0 when there are none or no room for them. */
  get earlierUpTo(): number {
    return this.log.full ? 0 : this.#skippedUpTo;
  }

  /** Loads the page of log lines before those held; returns how many of them the filter lets through. */
  async loadEarlier(): Promise<number> {
    const upTo = this.earlierUpTo;
    const from = Math.max(0, upTo - earlierPage);
    const events = await api.logs(this.id, from, earlierPage);
    const lines = events.filter((event): event is Extract<JobEvent, { type: 'log' }> => event.type === 'log');
    const shown = this.log.prepend(lines.filter((line) => line.seq <= upTo));
    this.#skippedUpTo = from;
    this.logVersion.value += 1;
    return shown;
  }
}

/** The job the page shows now; one at a time, so that nothing is followed unseen. */
export const currentSession = signal<JobSession | null>(null);

/** Follows job `id` from now on. */
export function openSession(id: string): JobSession {
  const current = currentSession.peek();
  if (current?.id === id) return current;
  current?.close();
  const session = new JobSession(id);
  currentSession.value = session;
  void session.open();
  return session;
}

export function closeSession(): void {
  currentSession.peek()?.close();
  currentSession.value = null;
}
