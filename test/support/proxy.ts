import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';

/** A line between two programs that a test can cut. */
export interface CuttableProxy {
  readonly port: number;
  /** Ends every open connection at once, without a goodbye. */
  cut(): void;
  close(): Promise<void>;
}

/** Keeps both ends of a line in `sockets` while they live. An end of either is passed on; what it was is for the two programs to find out. */
export function endTogether(inner: Socket, outer: Socket, sockets: Set<Socket>): void {
  for (const [socket, other] of [
    [inner, outer],
    [outer, inner],
  ] as const) {
    sockets.add(socket);
    socket.on('error', () => other.destroy());
    socket.on('close', () => {
      sockets.delete(socket);
      other.destroy();
    });
  }
}

/**
 * Passes bytes to `127.0.0.1:targetPort` both ways until it is cut. Where `loseAnswerTo` says so of a chunk from the client,
 * the server gets it and the client never hears of that connection again but for its end. `rewrite` may change what the client says,
 * `rewriteAnswer` what the server does. `delayMs`: so long after it came each chunk is passed on, either way; half a round trip.
 */
export async function startProxy(
  targetPort: number,
  loseAnswerTo: (chunk: Buffer) => boolean = () => false,
  rewrite: (chunk: Buffer) => Buffer = (chunk) => chunk,
  rewriteAnswer: (chunk: Buffer) => Buffer = (chunk) => chunk,
  delayMs = 0,
): Promise<CuttableProxy> {
  const sockets = new Set<Socket>();
  // Timers of one length fire in the order in which they were set.
  const later = (work: () => void): void => {
    if (delayMs === 0) work();
    else setTimeout(work, delayMs);
  };
  const server = createServer((inner) => {
    const outer = connect(targetPort, '127.0.0.1');
    endTogether(inner, outer, sockets);
    inner.on('data', (chunk: Buffer) => {
      const lose = loseAnswerTo(chunk);
      if (lose) outer.removeAllListeners('data');
      later(() => {
        if (outer.write(rewrite(chunk))) return;
        inner.pause();
        outer.once('drain', () => inner.resume());
      });
      // Long enough for the server to do what it was asked.
      if (lose) setTimeout(() => inner.destroy(), 300);
    });
    outer.on('data', (chunk: Buffer) => {
      later(() => {
        if (inner.write(rewriteAnswer(chunk))) return;
        outer.pause();
        inner.once('drain', () => outer.resume());
      });
    });
    inner.on('end', () => later(() => outer.end()));
    outer.on('end', () => later(() => inner.end()));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  const cut = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    port: address.port,
    cut,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        cut();
      }),
  };
}
