import type { JobEventBody } from '../contract/event.ts';

/** An event that has no seq yet. `json` is its body as it will be stored. */
export interface PendingEvent {
  readonly at: string;
  readonly body: JobEventBody;
  readonly json: string;
}

/**
 * Events that wait for the store. While few wait, all are kept. When more than `coalesceAbove` wait, the store is behind:
 * of a table's progress and of the totals only the newest is kept then, since each says all that the older ones said.
 * Everything else (log, state, check, index, phase, result) is always kept.
 */
export class PendingEvents {
  readonly #coalesceAbove: number;
  #events: (PendingEvent | null)[] = [];
  /** Number of the first slot of #events, counted from the beginning of time. */
  #base = 0;
  #size = 0;
  #characters = 0;
  readonly #newest = new Map<string, number>();

  constructor(coalesceAbove: number) {
    this.#coalesceAbove = coalesceAbove;
  }

  get size(): number {
    return this.#size;
  }

  /** Length of all that waits as JSON. */
  get characters(): number {
    return this.#characters;
  }

  push(event: PendingEvent): void {
    const key = coalescingKey(event.body);
    if (key !== null) {
      const older = this.#newest.get(key);
      if (older !== undefined && this.#size > this.#coalesceAbove) {
        this.#characters -= this.#events[older - this.#base]?.json.length ?? 0;
        this.#events[older - this.#base] = null;
        this.#size -= 1;
      }
      this.#newest.set(key, this.#base + this.#events.length);
    }
    this.#events.push(event);
    this.#size += 1;
    this.#characters += event.json.length;
  }

  /** Takes the oldest events, at most `max`, and no more once they are `characters` long as JSON. */
  take(max: number, characters = Number.POSITIVE_INFINITY): PendingEvent[] {
    const taken: PendingEvent[] = [];
    let slots = 0;
    let length = 0;
    while (slots < this.#events.length && taken.length < max && length < characters) {
      const event = this.#events[slots];
      if (event !== null && event !== undefined) {
        taken.push(event);
        length += event.json.length;
        const key = coalescingKey(event.body);
        if (key !== null && this.#newest.get(key) === this.#base + slots) this.#newest.delete(key);
      }
      slots += 1;
    }
    this.#events = this.#events.slice(slots);
    this.#base += slots;
    this.#size -= taken.length;
    this.#characters -= length;
    return taken;
  }

  clear(): void {
    this.#base += this.#events.length;
    this.#events = [];
    this.#size = 0;
    this.#characters = 0;
    this.#newest.clear();
  }
}

function coalescingKey(body: JobEventBody): string | null {
  if (body.type === 'metric') return 'metric';
  if (body.type === 'table') return JSON.stringify([body.table.schema, body.table.name]);
  return null;
}
