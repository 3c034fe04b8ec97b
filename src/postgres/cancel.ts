import type { ConnectionSettings, Side } from './settings.ts';
import { dial } from './dial.ts';

export interface CancelTarget {
  readonly settings: ConnectionSettings;
  readonly side: Side;
  /** Whether the session to be cancelled is encrypted; its CancelRequest then is, too. */
  readonly encrypted: boolean;
  readonly processId: number;
  readonly secretKey: number;
}

/** The CancelRequest message (PostgreSQL documentation 55.7): length, 80877102, process, key. */
export function cancelMessage(processId: number, secretKey: number): Buffer {
  const message = Buffer.alloc(16);
  message.writeInt32BE(16, 0);
  message.writeInt32BE(80_877_102, 4);
  message.writeInt32BE(processId, 8);
  message.writeInt32BE(secretKey, 12);
  return message;
}

/**
 * Asks the server to end what the session runs. Uses a socket of its own, which takes no connection slot. Resolves
 * when the server has closed that socket, which it does after it has signalled the session; rejects after `timeoutMs`.
 */
export async function sendCancel(target: CancelTarget, timeoutMs: number): Promise<void> {
  const signal = AbortSignal.timeout(timeoutMs);
  const context = { side: target.side, settings: target.settings };
  const { stream } = await dial(target.settings, target.encrypted ? 'always' : 'never', signal, context);
  try {
    await new Promise<void>((resolve, reject) => {
      const onTimeout = (): void =>
        reject(new Error(`the server did not take the CancelRequest within ${timeoutMs} ms`));
      signal.addEventListener('abort', onTimeout, { once: true });
      stream.once('close', () => {
        signal.removeEventListener('abort', onTimeout);
        resolve();
      });
      // The server resets rather than closes under some proxies; the request was delivered all the same.
      stream.on('error', () => resolve());
      stream.resume();
      stream.write(cancelMessage(target.processId, target.secretKey));
    });
  } finally {
    stream.destroy();
  }
}
