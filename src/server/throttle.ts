import { isIP } from 'node:net';

interface Failures {
  count: number;
  /** ms since the epoch. */
  last: number;
  until: number;
}

/** So many wrong tokens cost nothing: a person who pastes the wrong one. */
const free = 3;
/** From so many on an address has to wait before it is heard again. */
const blockedFrom = 10;
/** More than the longest delay, or the delay would outlast the block. */
const firstBlockMs = 5_000;
const longestBlockMs = 300_000;
const longestDelayMs = 2_000;
const forgetMs = 900_000;
const mostAddresses = 10_000;

/** Whoever has one IPv6 address has its whole /64. */
function keyOf(address: string): string {
  return isIP(address) === 6 ? address.split(':').slice(0, 4).join(':') : address;
}

/**
 * Wrong tokens by the address they came from: each costs more time than the one before, and after ten the address is not heard for a
 * growing while. No address pays for another; at most 10,000 are remembered, the oldest is forgotten first.
 */
export class FailureThrottle {
  readonly #seen = new Map<string, Failures>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  get size(): number {
    return this.#seen.size;
  }

  /** ms until this address is heard again; 0: now. `address` is canonical (ip-range.ts). */
  blockedMs(address: string): number {
    return Math.max(0, (this.#seen.get(keyOf(address))?.until ?? 0) - this.#now());
  }

  /** Notes a wrong token; answers how many ms its answer should wait. */
  failed(address: string): number {
    const key = keyOf(address);
    const now = this.#now();
    const before = this.#seen.get(key);
    const count = before === undefined || now - before.last > forgetMs ? 1 : before.count + 1;
    const over = count - blockedFrom;
    const until = over < 0 ? 0 : now + Math.min(longestBlockMs, firstBlockMs * 2 ** Math.min(over, 20));
    // Anew at the end, so that the order is that of the last failure.
    this.#seen.delete(key);
    this.#seen.set(key, { count, last: now, until });
    if (this.#seen.size > mostAddresses) {
      const [oldest] = this.#seen.keys();
      if (oldest !== undefined) this.#seen.delete(oldest);
    }
    return count <= free ? 0 : Math.min(longestDelayMs, 100 * 2 ** (count - free - 1));
  }
}
