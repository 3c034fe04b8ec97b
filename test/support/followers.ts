import { WebSocket } from 'ws';

/** What one follower has seen. `fault`: the first thing that must not happen, in words. */
export interface Follower {
  readonly job: string;
  readonly reads: boolean;
  cursor: number;
  events: number;
  resets: number;
  connections: number;
  fault: string | null;
  socket: WebSocket | null;
}

export interface FollowersInput {
  readonly url: string;
  readonly token: string;
}

/** An event begins so; in a message its quotes would be escaped. */
const beginning = /\{(?:"seq":(\d+),"at"|"type":"reset","firstSeq":(\d+),)/g;

/**
 * Many WebSocket clients in this process. A reading one is cut off here now and then, if `cutAfter` says so, and comes back with the
 * last seq it has; it notes a fault when an event is missing or comes twice and no reset explains it.
 */
export class Followers {
  readonly all: Follower[] = [];
  readonly #input: FollowersInput;
  #closed = false;

  constructor(input: FollowersInput) {
    this.#input = input;
  }

  get events(): number {
    return this.all.reduce((sum, { events }) => sum + events, 0);
  }

  get connected(): number {
    return this.all.filter(({ socket }) => socket?.readyState === WebSocket.OPEN).length;
  }

  /** Resolves when the socket is open. `cutAfter`: events after which a reading client leaves, to come back. */
  async add(job: string, { reads = true, cutAfter = Infinity } = {}): Promise<Follower> {
    const follower: Follower = {
      job,
      reads,
      cursor: 0,
      events: 0,
      resets: 0,
      connections: 0,
      fault: null,
      socket: null,
    };
    this.all.push(follower);
    await this.#connect(follower, cutAfter);
    return follower;
  }

  close(): void {
    this.#closed = true;
    for (const { socket } of this.all) socket?.terminate();
  }

  async #connect(follower: Follower, cutAfter: number): Promise<void> {
    const url = new URL(`/api/jobs/${follower.job}/events?after=${follower.cursor}`, this.#input.url);
    url.protocol = 'ws:';
    const protocols = ['pgsluice', `bearer.${Buffer.from(this.#input.token).toString('base64url')}`];
    const socket = new WebSocket(url, protocols, { perMessageDeflate: false, skipUTF8Validation: true });
    follower.socket = socket;
    follower.connections += 1;
    let seen = 0;
    socket.on('message', (data) => {
      if (follower.socket !== socket) return;
      const text = (data as Buffer).toString('latin1');
      for (const [, seq, first] of text.matchAll(beginning)) {
        if (first !== undefined) {
          follower.resets += 1;
          follower.cursor = Number(first) - 1;
          continue;
        }
        if (Number(seq) !== follower.cursor + 1) follower.fault ??= `${seq} came after ${follower.cursor}`;
        follower.cursor = Number(seq);
        follower.events += 1;
        seen += 1;
      }
      if (seen < cutAfter) return;
      follower.socket = null;
      socket.terminate();
      this.#again(follower, cutAfter);
    });
    socket.on('close', (code) => {
      if (follower.socket !== socket || this.#closed || !follower.reads) return;
      // 1000: the job is gone. All else a client comes back from.
      if (code === 1000) follower.fault ??= 'the job is said to be gone';
      else this.#again(follower, cutAfter);
    });
    await new Promise<void>((resolve) => {
      socket.once('open', () => {
        if (!follower.reads) socket.pause();
        resolve();
      });
      socket.once('error', (error) => {
        if (follower.connections > 100) follower.fault ??= `cannot connect: ${error.message}`;
        resolve();
      });
    });
  }

  #again(follower: Follower, cutAfter: number): void {
    setTimeout(() => {
      if (!this.#closed && follower.fault === null) void this.#connect(follower, cutAfter);
    }, 50);
  }
}
