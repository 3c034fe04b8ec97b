import type { JobEvent, ResetMessage, StreamMessage } from '../../src/contract/event.ts';
import { reconnectDelay, type SequenceTracker } from './sequence.ts';

/**
 * connecting → live → waiting (lost; next attempt at `retryAt`) → connecting …; `ended` when the agent closed the stream
 * of a job that has ended, or the page closed it.
 */
export type ConnectionState =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'live' }
  | { readonly kind: 'waiting'; readonly retryAt: number; readonly since: number }
  | { readonly kind: 'ended' };

export interface EventStreamOptions {
  readonly url: (after: number) => string;
  readonly protocols: () => string[];
  readonly tracker: SequenceTracker;
  /** New events, in order, each once. */
  readonly onEvents: (events: JobEvent[]) => void;
  readonly onReset: (reset: ResetMessage) => void;
  readonly onConnection: (state: ConnectionState) => void;
  /** Asked when the agent closed the stream in good order: is there nothing more to come? */
  readonly isOver: () => boolean;
}

/** One job's events over a WebSocket that reconnects by itself and asks for what it missed. */
export class EventStream {
  readonly #options: EventStreamOptions;
  #socket: WebSocket | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #attempt = 0;
  #lostSince = 0;
  #closed = false;
  /** ms since the epoch of the last frame. */
  lastFrameAt = 0;

  constructor(options: EventStreamOptions) {
    this.#options = options;
  }

  open(): void {
    addEventListener('online', this.wake);
    document.addEventListener('visibilitychange', this.#onVisible);
    this.#connect();
  }

  close(): void {
    this.#closed = true;
    removeEventListener('online', this.wake);
    document.removeEventListener('visibilitychange', this.#onVisible);
    this.#clearTimer();
    this.#drop();
    this.#options.onConnection({ kind: 'ended' });
  }

  /** Connects at once where no connection stands. */
  readonly wake = (): void => {
    if (this.#closed || this.#socket !== null) return;
    this.#clearTimer();
    this.#connect();
  };

  /** Gives up a connection that is silent although it should not be, and makes a new one. */
  restart(): void {
    if (this.#closed) return;
    this.#drop();
    this.#scheduleReconnect();
  }

  readonly #onVisible = (): void => {
    if (document.visibilityState === 'visible') this.wake();
  };

  #connect(): void {
    const { url, protocols, tracker, onConnection } = this.#options;
    onConnection({ kind: 'connecting' });
    const socket = new WebSocket(url(tracker.last), protocols());
    this.#socket = socket;
    socket.addEventListener('open', () => {
      if (this.#socket !== socket) return;
      this.#lostSince = 0;
      this.lastFrameAt = Date.now();
      onConnection({ kind: 'live' });
    });
    socket.addEventListener('message', (message: MessageEvent<unknown>) => {
      if (this.#socket === socket && typeof message.data === 'string') this.#receive(message.data);
    });
    // An error is always followed by close, which alone decides what happens next.
    socket.addEventListener('close', (event) => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      if (event.code === 1000 && this.#options.isOver()) onConnection({ kind: 'ended' });
      else this.#scheduleReconnect();
    });
  }

  #receive(text: string): void {
    this.lastFrameAt = Date.now();
    this.#attempt = 0;
    const parsed = JSON.parse(text) as StreamMessage | StreamMessage[];
    const messages = Array.isArray(parsed) ? parsed : [parsed];
    let fresh: JobEvent[] = [];
    for (const message of messages) {
      if (message.type === 'reset') {
        if (fresh.length > 0) this.#options.onEvents(fresh);
        fresh = [];
        this.#options.tracker.restart(message.firstSeq);
        this.#options.onReset(message);
        continue;
      }
      const verdict = this.#options.tracker.accept(message.seq);
      if (verdict === 'new') fresh.push(message);
      if (verdict === 'gap') {
        if (fresh.length > 0) this.#options.onEvents(fresh);
        this.restart();
        return;
      }
    }
    if (fresh.length > 0) this.#options.onEvents(fresh);
  }

  #scheduleReconnect(): void {
    if (this.#closed) return;
    this.#clearTimer();
    this.#lostSince ||= Date.now();
    const delay = reconnectDelay(this.#attempt, Math.random());
    this.#attempt += 1;
    this.#options.onConnection({ kind: 'waiting', retryAt: Date.now() + delay, since: this.#lostSince });
    this.#timer = setTimeout(() => this.#connect(), delay);
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }
}
