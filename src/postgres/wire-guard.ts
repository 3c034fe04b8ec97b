import type { Socket } from 'node:net';
import { type ExplainContext, type Explanation, connectionError } from './explain.ts';

/** Message types that are looked at (PostgreSQL documentation, 55.7 "Message Formats"). */
const type = { authentication: 0x52, error: 0x45, notice: 0x4e, readyForQuery: 0x5a } as const;
const HEADER_BYTES = 5;
/** Header and code of an authentication request. */
const REQUEST_BYTES = 9;
const AUTHENTICATION_OK = 0;
const CLEARTEXT_PASSWORD = 3;

/** Before the log-in is over no message is longer; libpq draws the line at 30,000 bytes. */
const LONGEST_GREETING = 64 * 1024;
/** Of everything until then. */
const GREETING_BYTES = 1024 * 1024;
/** SCRAM has three. */
const MOST_REQUESTS = 10;
/** The longest message that a server can send: MaxAllocSize of the PostgreSQL sources. */
const LONGEST_MESSAGE = 0x3fffffff;
/** Of the answer to one statement, rows being kept until it ends: bytes, and what an object for each message takes. */
const ANSWER_BYTES = 256 * 1024 * 1024;
const MESSAGE_COST = 64;

export interface WireGuardInput {
  /** False: the connection is not encrypted though nobody said so, and a password in the clear could be read on the way. */
  readonly mayCleartext: boolean;
  /** Bytes of one answer, about; for tests. */
  readonly answerBytes?: number;
}

function violation(what: string): Explanation {
  return {
    code: 'PROTOCOL_VIOLATION',
    says: `does not keep to PostgreSQL's protocol: ${what}.`,
    hint: 'Check that it is a PostgreSQL server, and what stands between it and this machine (proxy, pooler, firewall).',
  };
}

const cleartext: Explanation = {
  code: 'PASSWORD_IN_THE_CLEAR',
  says: 'asks for the password in the clear over a connection that is not encrypted, where anybody on the way could read it.',
  hint: 'Use sslmode=require, better verify-full. If the network between is trusted, say so with sslmode=disable.',
};

const tooLarge: Explanation = {
  code: 'ANSWER_TOO_LARGE',
  says: `has sent more than ${ANSWER_BYTES / 1024 / 1024} MB as the answer to one statement, which no statement of ours asks for.`,
  hint: 'Check that it is a PostgreSQL server; with very many objects move the database in parts (--include-schema).',
};

/** What a server did that ends its connection. */
export class WireBreach extends Error {
  override readonly name = 'WireBreach';
  readonly explanation: Explanation;

  constructor(explanation: Explanation) {
    super(explanation.says);
    this.explanation = explanation;
  }
}

/**
 * Bounds what a server can make its client do and keep. It walks the headers of what the driver is about to read; rows of a COPY
 * pass by it. Lifecycle: greeting → open.
 */
export class WireGuard {
  readonly #input: WireGuardInput;
  readonly #answerBytes: number;
  #head = Buffer.alloc(REQUEST_BYTES);
  #have = 0;
  #remaining = 0;
  /** Of an error or notice that is passing: its last two bytes so far; null for other messages. */
  #tail: number | null = null;
  #greeting = true;
  #requests = 0;
  #authenticated = false;
  #cost = 0;

  constructor(input: WireGuardInput) {
    this.#input = input;
    this.#answerBytes = input.answerBytes ?? ANSWER_BYTES;
  }

  /** The log-in is over: answers may be long now. */
  open(): void {
    this.#greeting = false;
    this.#cost = 0;
  }

  /** @throws WireBreach. */
  feed(chunk: Buffer): void {
    let at = this.#pass(chunk, 0);
    while (at < chunk.length) {
      // Headers are seldom cut; those that are not are read where they stand.
      if (this.#have === 0 && chunk.length - at >= HEADER_BYTES && chunk[at] !== type.authentication) {
        at += HEADER_BYTES;
        this.#begin(chunk[at - HEADER_BYTES] ?? 0, chunk.readUInt32BE(at - 4));
      } else at = this.#collect(chunk, at);
      at = this.#pass(chunk, at);
    }
  }

  /** Lets what is in `chunk` of the body at hand go by. @returns where the next byte stands. */
  #pass(chunk: Buffer, at: number): number {
    const end = Math.min(at + this.#remaining, chunk.length);
    this.#remaining -= end - at;
    if (this.#tail === null) return end;
    for (let next = Math.max(at, end - 2); next < end; next += 1)
      this.#tail = (this.#tail * 256 + (chunk[next] ?? 0)) % 65536;
    // The driver would read fields for ever where the last one has no end, or nothing comes after it.
    if (this.#remaining === 0 && this.#tail !== 0)
      throw new WireBreach(violation('an error or notice of it has no end'));
    return end;
  }

  /** Takes bytes of a header until it is whole. @returns where the next byte stands. */
  #collect(chunk: Buffer, from: number): number {
    let at = from;
    while (at < chunk.length) {
      this.#head[this.#have++] = chunk[at++] ?? 0;
      const kind = this.#head[0] ?? 0;
      if (this.#have === HEADER_BYTES) {
        const length = this.#head.readUInt32BE(1);
        if (kind === type.authentication && length < REQUEST_BYTES - 1) throw impossible(length);
        if (kind === type.authentication) continue;
        this.#have = 0;
        this.#begin(kind, length);
        return at;
      }
      if (this.#have < REQUEST_BYTES) continue;
      this.#have = 0;
      this.#begin(kind, this.#head.readUInt32BE(1));
      this.#remaining -= REQUEST_BYTES - HEADER_BYTES;
      this.#request(this.#head.readUInt32BE(HEADER_BYTES));
      return at;
    }
    return at;
  }

  #begin(kind: number, length: number): void {
    if (length < 4 || length > LONGEST_MESSAGE) throw impossible(length);
    this.#remaining = length - 4;
    // An empty one is one zero byte: as if another one stood before it.
    this.#tail = kind === type.error || kind === type.notice ? (length === 5 ? 0 : 1) : null;
    if (this.#greeting && length > LONGEST_GREETING) {
      throw new WireBreach(violation(`it announces ${length} bytes before the log-in is over`));
    }
    if (kind === type.readyForQuery && !this.#greeting) {
      this.#cost = 0;
      return;
    }
    this.#cost += length + MESSAGE_COST;
    if (this.#greeting && this.#cost > GREETING_BYTES) {
      throw new WireBreach(violation('it goes on talking and the log-in is never over'));
    }
    if (!this.#greeting && this.#cost > this.#answerBytes) throw new WireBreach(tooLarge);
  }

  #request(code: number): void {
    this.#requests += 1;
    if (this.#authenticated || this.#requests > MOST_REQUESTS) {
      throw new WireBreach(violation('it asks again and again who we are'));
    }
    if (code === AUTHENTICATION_OK) this.#authenticated = true;
    if (code === CLEARTEXT_PASSWORD && !this.#input.mayCleartext) throw new WireBreach(cleartext);
  }
}

function impossible(length: number): WireBreach {
  return new WireBreach(violation(`a message of it has the length ${length}`));
}

/**
 * Puts a guard in front of the next listener for this socket's data, which is the driver's. What the guard or the driver throws
 * there, where nobody could catch it, ends the connection instead, with the explained error as its reason.
 */
export function guardNextListener(stream: Socket, guard: WireGuard, context: ExplainContext): void {
  const put = stream.on.bind(stream);
  const guarded = (listener: (chunk: Buffer) => void) => (chunk: Buffer) => {
    try {
      guard.feed(chunk);
      listener(chunk);
    } catch (error) {
      const explanation =
        error instanceof WireBreach ? error.explanation : violation('one of its messages cannot be read');
      stream.destroy(connectionError(context, explanation, error));
    }
  };
  stream.on = (event: string, listener: (...args: never[]) => void): Socket => {
    if (event !== 'data') return put(event, listener as (...args: unknown[]) => void);
    // The prototype's own again.
    Reflect.deleteProperty(stream, 'on');
    return put(event, guarded(listener as unknown as (chunk: Buffer) => void));
  };
}
