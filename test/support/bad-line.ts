import { type Socket, connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** One connection through a {@link BadLine}, named by what its client said of itself. */
export interface Passage {
  /** `application_name`, or '' before it is known. */
  readonly name: string;
  readonly replication: boolean;
  /** Bytes that were passed on to the server, and to the client. */
  readonly toServer: number;
  readonly toClient: number;
  /** Ends both halves in good order. */
  hangUp(): void;
  /** Ends both halves with RST. */
  reset(): void;
  /** Nothing passes any more, and nobody is told. */
  silence(): void;
  /** Nothing is read from either half any more, so that the buffers of both fill. */
  stick(): void;
}

export interface Weather {
  /** Every chunk waits so long before it is passed on, ms. */
  readonly delayMs?: number;
  /** Of one connection, each way. */
  readonly bytesPerSecond?: number;
  /** Chunks are cut at random places, with random pauses between the pieces. */
  readonly jitter?: () => number;
}

/** A line whose connections are told apart, so that one kind of them goes bad and the others do not. */
export interface BadLine {
  readonly port: number;
  /** Connections that came so far. */
  readonly passages: readonly Passage[];
  close(): Promise<void>;
}

class Pair implements Passage {
  name = '';
  replication = false;
  toServer = 0;
  toClient = 0;
  silent = false;
  stuck = false;
  readonly inner: Socket;
  readonly outer: Socket;

  constructor(inner: Socket, outer: Socket) {
    this.inner = inner;
    this.outer = outer;
  }

  /** Reads the StartupMessage (PostgreSQL documentation, 55.7); before it, requests for encryption may come. */
  greet(chunk: Buffer): void {
    if (this.name !== '' || chunk.length < 9 || chunk.readUInt32BE(4) !== 196_608) return;
    const words = chunk.toString('utf8', 8).split('\0');
    this.name = words[words.indexOf('application_name') + 1] ?? '?';
    this.replication = words.includes('replication');
  }

  hangUp(): void {
    this.inner.destroy();
    this.outer.destroy();
  }

  reset(): void {
    this.inner.resetAndDestroy();
    this.outer.resetAndDestroy();
  }

  silence(): void {
    this.silent = true;
  }

  stick(): void {
    this.stuck = true;
    this.inner.pause();
    this.outer.pause();
  }
}

/** Pieces of a chunk, cut at random. Pure but for `random`. */
function pieces(chunk: Buffer, random: () => number): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < chunk.length;) {
    const size = 1 + Math.floor(random() * (random() < 0.2 ? 7 : 20_000));
    found.push(chunk.subarray(at, at + size));
    at += size;
  }
  return found;
}

/** Passes bytes to `127.0.0.1:targetPort` both ways, in order; `onBytes` hears of every chunk that was passed. */
export async function startBadLine(
  targetPort: number,
  weather: Weather = {},
  onBytes: (passage: Passage, passages: readonly Passage[]) => void = () => undefined,
): Promise<BadLine> {
  const pairs: Pair[] = [];
  const { delayMs = 0, bytesPerSecond = 0, jitter } = weather;
  const carry = async (pair: Pair, to: Socket, chunk: Buffer, arrivedAt: number): Promise<void> => {
    const wait = arrivedAt + delayMs - Date.now();
    if (wait > 0) await sleep(wait);
    for (const piece of jitter === undefined ? [chunk] : pieces(chunk, jitter)) {
      if (jitter !== undefined && jitter() < 0.3) await sleep(jitter() * 6);
      if (bytesPerSecond > 0) await sleep((piece.length / bytesPerSecond) * 1000);
      if (pair.silent || to.destroyed) return;
      if (!to.write(piece)) await new Promise<void>((resolve) => void to.once('drain', resolve).once('close', resolve));
    }
  };
  const server = createServer((inner) => {
    const outer = connect(targetPort, '127.0.0.1');
    const pair = new Pair(inner, outer);
    pairs.push(pair);
    for (const [from, to] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      let order: Promise<unknown> = Promise.resolve();
      from.on('data', (chunk: Buffer) => {
        if (from === inner) pair.greet(chunk);
        // What waits here is bounded: nothing more is read meanwhile, except where only the delay is long.
        if (delayMs === 0) from.pause();
        const before = order;
        const arrivedAt = Date.now();
        order = (async () => {
          await before;
          await carry(pair, to, chunk, arrivedAt);
          if (from === inner) pair.toServer += chunk.length;
          else pair.toClient += chunk.length;
          if (!pair.silent) onBytes(pair, pairs);
          if (!pair.stuck) from.resume();
        })();
      });
      // An end of either side is passed on, behind what came before it; what it was is for the two programs to find out.
      const ending = async (how: (socket: Socket) => void): Promise<void> => {
        await order;
        if (!pair.silent && !pair.stuck) how(to);
      };
      from.on('error', () => undefined);
      from.on('end', () => void ending((socket) => socket.end()));
      from.on('close', () => void ending((socket) => socket.destroy()));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the line has no port');
  return {
    port: address.port,
    passages: pairs,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const pair of pairs) pair.hangUp();
      }),
  };
}
