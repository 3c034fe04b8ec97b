import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

/** Numbers that look random and are the same for the same seed (mulberry32). */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 ≤ x < 1 */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** 0 … most − 1 */
  below(most: number): number {
    return Math.floor(this.next() * most);
  }

  pick<T>(from: readonly [T, ...T[]]): T;
  pick<T>(from: readonly T[]): T | undefined;
  pick<T>(from: readonly T[]): T | undefined {
    return from[this.below(from.length)];
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }
}

const numbers = [0, 1, 3, 4, 5, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x40000000];

/** Bytes that were right, and are so no more in one to four places. */
export function damaged(chance: Chance, right: Buffer): Buffer {
  let bytes = Buffer.from(right);
  for (let times = 1 + chance.below(4); times > 0; times -= 1) {
    const at = chance.below(bytes.length + 1);
    switch (chance.below(7)) {
      case 0:
        bytes = bytes.subarray(0, at);
        break;
      case 1:
        if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << chance.below(8));
        break;
      case 2:
        if (at + 4 <= bytes.length) bytes.writeUInt32BE(chance.pick(numbers) ?? 0, at);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), chance.bytes(chance.below(9)), bytes.subarray(at)]);
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + chance.below(9)))]);
        break;
      case 5:
        bytes = Buffer.concat([bytes, bytes.subarray(at)]);
        break;
      default:
        if (at + 2 <= bytes.length) bytes.writeUInt16BE(chance.below(65_536), at);
    }
    if (bytes.length > 20_000) bytes = bytes.subarray(0, 20_000);
  }
  return bytes;
}

/** Text that was right, with pieces of `words` put in, taken out or doubled. */
export function damagedText(chance: Chance, right: string, words: readonly string[]): string {
  let text = right;
  for (let times = 1 + chance.below(5); times > 0; times -= 1) {
    const at = chance.below(text.length + 1);
    const word = chance.below(8) === 0 ? String.fromCharCode(chance.below(65_536)) : (chance.pick(words) ?? '');
    const gone = chance.below(3) === 0 ? chance.below(12) : 0;
    text = text.slice(0, at) + (chance.below(4) === 0 ? '' : word) + text.slice(at + gone);
    if (chance.below(20) === 0) text += text.slice(at);
    if (text.length > 5000) text = text.slice(0, 5000);
  }
  return text;
}

/** Cuts bytes into pieces of any length. */
export function cutUp(chance: Chance, bytes: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = at + 1 + chance.below(chance.below(3) === 0 ? 3 : 400);
    pieces.push(bytes.subarray(at, end));
    at = end;
  }
  return pieces;
}

export interface FuzzResult {
  readonly inputs: number;
  /** Inputs that were refused with an error that is meant for that. */
  readonly refused: number;
  /** ms of the processor that one input took at most. */
  readonly slowest: number;
  /** Growth of the heap and of buffers at most, in MB. */
  readonly grownMb: number;
}

/** Ends the process, with the seed of the input at fault, when one input holds it for longer than this, s. */
const heldSeconds = 30;

/** Runs on a thread of its own: who is held in a loop cannot notice it. */
const watchdog = `
  const { workerData } = require('node:worker_threads');
  const { writeSync } = require('node:fs');
  const at = new Int32Array(workerData.shared);
  // Counted, not timed: the machine may stand still meanwhile.
  let [last, seconds] = [-1, 0];
  setInterval(() => {
    if (at[0] !== last || at[1] === 0) [last, seconds] = [at[0], 0];
    else if (++seconds > workerData.seconds) {
      writeSync(2, 'input with seed ' + (workerData.seed + last) + ' did not end in ' + seconds + ' s\\n');
      process.kill(process.pid, 'SIGKILL');
    }
  }, 1000);
`;

/**
 * Tries `one` with as many inputs as are asked for; what it throws has to be `expected`. The process lives on only as long as every
 * input ends in time.
 * @throws Error that names the seed of the input at fault.
 */
export async function fuzz(
  inputs: number,
  seed: number,
  one: (chance: Chance) => void,
  expected: (error: unknown) => boolean,
): Promise<FuzzResult> {
  const used = (): number => {
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const shared = new SharedArrayBuffer(8);
  /** The input, and whether it is under way. */
  const at = new Int32Array(shared);
  const watch = new Worker(watchdog, { eval: true, workerData: { shared, seed, seconds: heldSeconds } });
  const before = used();
  let [refused, slowest, grown] = [0, 0, 0];
  try {
    for (let input = 0; input < inputs; input += 1) {
      at.set([input, 1]);
      // Of the processor, not of the clock: the machine may be busy with something else.
      const begun = process.cpuUsage();
      try {
        one(new Chance(seed + input));
      } catch (error) {
        if (!expected(error)) throw new Error(`input with seed ${seed + input}: ${String(error)}`, { cause: error });
        refused += 1;
      }
      const { user, system } = process.cpuUsage(begun);
      const took = (user + system) / 1000;
      if (took > slowest) slowest = took;
      if (input % 1000 > 0) continue;
      grown = Math.max(grown, used() - before);
      at[1] = 0;
      // Others of this process have their turn: vitest asks now and then whether it lives.
      await setImmediate();
    }
  } finally {
    await watch.terminate();
  }
  return { inputs, refused, slowest, grownMb: grown / 1024 / 1024 };
}
