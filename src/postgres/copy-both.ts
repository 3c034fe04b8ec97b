import type { Socket } from 'node:net';

/** Message type CopyData, 'd' (PostgreSQL documentation, 55.7 "Message Formats"). */
const COPY_DATA = 0x64;
/** One byte of type and four of length, which counts itself but not the type. */
const HEADER_BYTES = 5;
/** The longest message that a server can send: MaxAllocSize of the PostgreSQL sources. */
const LONGEST_MESSAGE = 0x3fffffff;

/**
 * Takes the CopyData messages out of what a connection's driver reads: the driver makes three objects of each, and a stream has
 * millions. Everything else reaches the driver as it came, in its place in the order. To be called while nothing is under way, so
 * that the driver holds no part of a message. `onCopyData` is given each payload as a piece of a buffer that is used again.
 */
export function divertCopyData(
  socket: Socket,
  onCopyData: (bytes: Buffer, start: number, end: number) => void,
  onImpossible: (error: Error) => void,
): void {
  const driver = socket.listeners('data');
  const messages = new Messages(onCopyData, (bytes) => {
    for (const listener of driver) listener.call(socket, bytes);
  });
  for (const listener of driver) socket.off('data', listener as (chunk: Buffer) => void);
  socket.on('data', (chunk: Buffer) => {
    try {
      messages.read(chunk);
    } catch (error) {
      onImpossible(error instanceof Error ? error : new Error(String(error)));
    }
  });
}

/** Splits what a server sends, cut anywhere, into whole messages. */
export class Messages {
  readonly #onCopyData: (bytes: Buffer, start: number, end: number) => void;
  readonly #onOther: (message: Buffer) => void;
  /** A message that is not whole yet, from its first byte on. */
  #held = Buffer.alloc(0);
  #heldBytes = 0;

  constructor(onCopyData: (bytes: Buffer, start: number, end: number) => void, onOther: (message: Buffer) => void) {
    this.#onCopyData = onCopyData;
    this.#onOther = onOther;
  }

  /** @throws RangeError for a length that no message has; what the two functions throw. */
  read(chunk: Buffer): void {
    const joined = this.#heldBytes > 0;
    if (joined) this.#hold(chunk, 0);
    const data = joined ? this.#held : chunk;
    const end = joined ? this.#heldBytes : chunk.length;
    let at = 0;
    while (at + HEADER_BYTES <= end) {
      const length = data.readUInt32BE(at + 1);
      if (length < 4 || length > LONGEST_MESSAGE) throw new RangeError(`a message of length ${length}`);
      const next = at + 1 + length;
      if (next > end) break;
      if (data[at] === COPY_DATA) this.#onCopyData(data, at + HEADER_BYTES, next);
      else this.#onOther(Buffer.from(data.subarray(at, next)));
      at = next;
    }
    if (joined) {
      data.copyWithin(0, at, end);
      this.#heldBytes = end - at;
    } else if (at < end) this.#hold(chunk, at);
  }

  #hold(chunk: Buffer, from: number): void {
    const bytes = this.#heldBytes + chunk.length - from;
    if (bytes > this.#held.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(bytes, 2 * this.#held.length));
      this.#held.copy(larger, 0, 0, this.#heldBytes);
      this.#held = larger;
    }
    chunk.copy(this.#held, this.#heldBytes, from);
    this.#heldBytes = bytes;
  }
}
