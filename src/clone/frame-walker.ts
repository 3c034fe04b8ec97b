/** Message type CopyData, 'd' (PostgreSQL documentation, 55.7 "Message Formats"). */
const COPY_DATA = 0x64;
/** One byte of type and four of length, which counts itself but not the type. */
const HEADER_BYTES = 5;
/** The longest message that a server can send: MaxAllocSize of the PostgreSQL sources. */
const LONGEST_MESSAGE = 0x3fffffff;

export interface WalkedChunk {
  /** Whole or partial CopyData messages, in order, as they came: their wire form is the same in both directions. */
  readonly forward: readonly Buffer[];
  /** Bytes of the first message that is no CopyData, and all that follow it; null when there was none. */
  readonly rest: Buffer | null;
}

/**
 * Walks the message headers of a COPY stream without touching payloads. Feed it what the socket delivers, cut anywhere;
 * a header that is not complete yet is held back, so that nothing is forwarded whose type is unknown.
 */
export class CopyFrameWalker {
  /** CopyData messages whose header was seen; the server sends one a row (55.2.6 "COPY Operations"). */
  frames = 0;
  /** Bytes of payload and headers that were passed on. */
  bytes = 0;
  #remaining = 0;
  #held: Buffer = Buffer.alloc(0);

  /** True between two messages: what was forwarded so far ends with a whole one. */
  get atBoundary(): boolean {
    return this.#remaining === 0;
  }

  /** @throws RangeError when a length is impossible, which means that the peer does not speak the protocol. */
  walk(chunk: Buffer): WalkedChunk {
    let data = chunk;
    if (this.#held.length > 0) {
      data = Buffer.concat([this.#held, chunk]);
      this.#held = Buffer.alloc(0);
    }
    let at = Math.min(this.#remaining, data.length);
    this.#remaining -= at;
    let rest: Buffer | null = null;
    while (at < data.length) {
      if (data[at] !== COPY_DATA) {
        rest = data.subarray(at);
        break;
      }
      if (data.length - at < HEADER_BYTES) {
        this.#held = Buffer.from(data.subarray(at));
        break;
      }
      const length = data.readUInt32BE(at + 1);
      if (length < 4 || length > LONGEST_MESSAGE) throw new RangeError(`CopyData message of length ${length}`);
      this.frames += 1;
      const taken = Math.min(length - 4, data.length - at - HEADER_BYTES);
      this.#remaining = length - 4 - taken;
      at += HEADER_BYTES + taken;
    }
    this.bytes += at;
    return { forward: at > 0 ? [data.subarray(0, at)] : [], rest };
  }
}
