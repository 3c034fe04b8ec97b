import { connect, createServer, type Socket } from 'node:net';
import { endTogether } from './proxy.ts';

/** A line whose bytes are counted. */
export interface MeteredLine {
  readonly port: number;
  /** Bytes that have come from the server. */
  readonly received: number;
  close(): Promise<void>;
}

/** Passes bytes to `127.0.0.1:targetPort` both ways, and holds little of them itself. */
export async function startMeteredLine(targetPort: number): Promise<MeteredLine> {
  const sockets = new Set<Socket>();
  let received = 0;
  const server = createServer({ highWaterMark: 16_384 }, (inner) => {
    const outer = connect(targetPort, '127.0.0.1');
    endTogether(inner, outer, sockets);
    inner.pipe(outer);
    outer.pipe(inner);
    outer.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the line has no port');
  return {
    port: address.port,
    get received() {
      return received;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
