import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';

/** A line between two programs that goes bad in the ways of real networks. */
export interface RoughLine {
  readonly port: number;
  /** Resets every open connection. */
  cut(): void;
  /** Nothing passes any more on the connections that are open now, and nobody is told; new ones are fine. */
  freeze(): void;
  /** Every chunk waits `ms` before it is passed on, until told otherwise; 0 for none. */
  delay(ms: number): void;
  /** No connection passes more than so many bytes a second either way, until told otherwise; 0 for no limit. */
  throttle(bytesPerSecond: number): void;
  close(): Promise<void>;
}

interface Pair {
  readonly inner: Socket;
  readonly outer: Socket;
  frozen: boolean;
}

/** Passes bytes to `127.0.0.1:targetPort` both ways. */
export async function startRoughLine(targetPort: number): Promise<RoughLine> {
  const pairs = new Set<Pair>();
  let delayMs = 0;
  let bytesPerSecond = 0;
  const server = createServer((inner) => {
    const outer = connect(targetPort, '127.0.0.1');
    const pair: Pair = { inner, outer, frozen: false };
    pairs.add(pair);
    for (const [from, to] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      let order: Promise<unknown> = Promise.resolve();
      const pass = (bytes: number, work: () => void): void => {
        if (pair.frozen) return;
        if (bytesPerSecond > 0) {
          const wait = (bytes / bytesPerSecond) * 1000;
          // What has not been passed on is not read either, so that the sender's buffers fill.
          from.pause();
          const later = async (before: Promise<unknown>): Promise<void> => {
            await before;
            await new Promise((resolve) => setTimeout(resolve, wait));
            from.resume();
            work();
          };
          order = later(order);
          return;
        }
        if (delayMs === 0) {
          order = order.then(work);
          return;
        }
        const wait = delayMs;
        order = order.then(() => new Promise((resolve) => setTimeout(resolve, wait))).then(work);
      };
      from.on('data', (chunk: Buffer) =>
        pass(chunk.length, () => {
          if (pair.frozen || to.destroyed || to.write(chunk)) return;
          from.pause();
          to.once('drain', () => from.resume());
        }),
      );
      from.on('end', () => pass(0, () => to.end()));
      // An end of either side is passed on; what it was is for the two programs to find out.
      from.on('error', () => {
        if (!pair.frozen) to.destroy();
      });
      from.on('close', () => {
        if (pair.frozen) return;
        pairs.delete(pair);
        void order.then(() => to.destroy());
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the line has no port');
  const cut = (): void => {
    for (const { inner, outer } of pairs) {
      inner.resetAndDestroy();
      outer.resetAndDestroy();
    }
    pairs.clear();
  };
  return {
    port: address.port,
    cut,
    freeze: () => {
      for (const pair of pairs) pair.frozen = true;
    },
    delay: (ms) => {
      delayMs = ms;
    },
    throttle: (limit) => {
      bytesPerSecond = limit;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        cut();
      }),
  };
}
