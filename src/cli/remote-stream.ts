import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import type { StreamMessage } from '../contract/event.ts';
import { PgsluiceError } from '../errors.ts';

export interface SocketFollow {
  readonly url: URL;
  readonly token: string;
  readonly after: number;
  readonly signal: AbortSignal;
}

const firstPauseMs = 200;
const longestPauseMs = 5000;
/** Without an answer for that long in ms the agent is given up. */
const giveUpAfterMs = 120_000;
/** A silent connection is dead when not even a ping came in twice the server's ping interval. */
const silenceMs = 60_000;
const pauseAbove = 64;

/**
 * Follows a job by WebSocket and connects again after a cut, from the last seq on, so that nothing is lost or doubled.
 * Ends when the signal fires or the server says that the job is gone.
 */
export async function* followSocket(follow: SocketFollow): AsyncGenerator<readonly StreamMessage[]> {
  let after = follow.after;
  let pauseMs = firstPauseMs;
  let lostSince: number | null = null;
  while (!follow.signal.aborted) {
    const connection = new Connection(follow, after);
    for await (const batch of connection.batches()) {
      lostSince = null;
      pauseMs = firstPauseMs;
      const last = batch.at(-1);
      if (last !== undefined) after = last.type === 'reset' ? last.firstSeq - 1 : last.seq;
      yield batch;
    }
    if (follow.signal.aborted || connection.ended === 'gone') return;
    if (connection.ended instanceof PgsluiceError) throw connection.ended;
    lostSince ??= Date.now();
    if (Date.now() - lostSince > giveUpAfterMs) {
      throw new PgsluiceError({
        code: 'SERVER_UNREACHABLE',
        message: 'The agent has not answered for two minutes. The job may go on there.',
        hint: 'Look with "pgsluice jobs" when the agent answers again.',
        retryable: true,
      });
    }
    await delay(pauseMs, undefined, { signal: follow.signal }).catch(() => undefined);
    pauseMs = Math.min(longestPauseMs, pauseMs * 2);
  }
}

/** One WebSocket from its opening to its end; reads no faster than its consumer takes. */
class Connection {
  /** `cut`: try again; `gone`: the server has nothing more; an error: trying again cannot help. */
  ended: 'cut' | 'gone' | PgsluiceError = 'cut';
  readonly #ws: WebSocket;
  readonly #signal: AbortSignal;
  readonly #queue: StreamMessage[][] = [];
  #open = true;
  #wake: () => void = () => undefined;
  #silence: NodeJS.Timeout;

  constructor(follow: SocketFollow, after: number) {
    const url = new URL(follow.url);
    url.searchParams.set('after', String(after));
    this.#signal = follow.signal;
    this.#ws = new WebSocket(url, 'pgsluice', {
      headers: { authorization: `Bearer ${follow.token}` },
      handshakeTimeout: 10_000,
      perMessageDeflate: false,
    });
    this.#silence = setTimeout(() => this.#ws.terminate(), silenceMs);
    this.#ws.on('message', (data: Buffer) => this.#take(data.toString('utf8')));
    this.#ws.on('ping', () => this.#silence.refresh());
    this.#ws.on('error', () => this.#finish('cut'));
    this.#ws.on('unexpected-response', (_request, response) => {
      const status = response.statusCode ?? 0;
      response.resume();
      this.#ws.terminate();
      this.#finish(status >= 500 || status === 429 ? 'cut' : refused(status));
    });
    this.#ws.on('close', (code) => this.#finish(code === 1000 ? 'gone' : 'cut'));
  }

  async *batches(): AsyncGenerator<StreamMessage[]> {
    const stop = (): void => this.#finish('cut');
    this.#signal.addEventListener('abort', stop, { once: true });
    try {
      for (;;) {
        const batch = this.#queue.shift();
        if (batch !== undefined) {
          if (this.#queue.length < pauseAbove / 2 && this.#ws.isPaused) this.#ws.resume();
          yield batch;
        } else if (!this.#open || this.#signal.aborted) {
          return;
        } else {
          await new Promise<void>((resolve) => (this.#wake = resolve));
        }
      }
    } finally {
      this.#signal.removeEventListener('abort', stop);
      clearTimeout(this.#silence);
      this.#ws.terminate();
    }
  }

  #take(text: string): void {
    this.#silence.refresh();
    const message = JSON.parse(text) as StreamMessage | StreamMessage[];
    this.#queue.push(Array.isArray(message) ? message : [message]);
    if (this.#queue.length >= pauseAbove) this.#ws.pause();
    this.#wake();
  }

  #finish(how: 'cut' | 'gone' | PgsluiceError): void {
    if (!this.#open) return;
    this.#open = false;
    this.ended = how;
    this.#wake();
  }
}

function refused(status: number): PgsluiceError {
  if (status === 404) {
    return new PgsluiceError({
      code: 'JOB_NOT_FOUND',
      message: 'The agent does not know this job any more.',
      hint: 'List its jobs with "pgsluice jobs".',
    });
  }
  return new PgsluiceError({
    code: status === 401 ? 'UNAUTHORIZED' : 'SERVER_UNREACHABLE',
    message: `The agent refused to show the job (HTTP status ${status}).`,
    hint: 'Give the token of that agent with --token or PGSLUICE_TOKEN.',
  });
}
