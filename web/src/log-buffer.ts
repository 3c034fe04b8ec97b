import type { LogLevel } from '../../src/contract/event.ts';

export interface LogLine {
  readonly seq: number;
  readonly at: string;
  readonly level: LogLevel;
  readonly message: string;
}

export interface LogFilter {
  /** Lines below this level are hidden. */
  readonly level: LogLevel;
  /** Case-insensitive substring; empty shows all. */
  readonly search: string;
}

const rank: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };
/** Lines between two looks at the clock while filtering. */
const stride = 512;

/**
 * The log in plain arrays, outside any reactive state: 200,000 lines are appended and filtered without a frame lost.
 *
 * A line's *place* is its absolute position: it never changes when lines before it are dropped or added, so the list of
 * matches stays valid. `#first` is the place of `#lines[0]`. Matches are computed by `step` in slices from `#cursor` on.
 */
export class LogBuffer {
  readonly #capacity: number;
  #lines: LogLine[] = [];
  #first = 0;
  #filter: LogFilter = { level: 'debug', search: '' };
  #matches: number[] = [];
  #cursor = 0;
  /** Lines given up because the page keeps at most `capacity`. */
  dropped = 0;

  constructor(capacity = 250_000) {
    this.#capacity = capacity;
  }

  /** Lines held. */
  get size(): number {
    return this.#lines.length;
  }

  /** No room for older lines. */
  get full(): boolean {
    return this.#lines.length >= this.#capacity;
  }

  get oldestSeq(): number | null {
    return this.#lines[0]?.seq ?? null;
  }

  get filter(): LogFilter {
    return this.#filter;
  }

  /** True while some lines may be hidden. */
  get filtering(): boolean {
    return this.#filter.level !== 'debug' || this.#filter.search !== '';
  }

  /** Lines the filter lets through, as far as they are computed. */
  get count(): number {
    return !this.filtering ? this.#lines.length : this.#matches.length;
  }

  /** Share of the lines the filter has looked at, 0..1. */
  get filtered(): number {
    if (!this.filtering || this.#lines.length === 0) return 1;
    return (this.#cursor - this.#first) / this.#lines.length;
  }

  /** The `index`-th line that the filter lets through. */
  at(index: number): LogLine | undefined {
    if (!this.filtering) return this.#lines[index];
    const place = this.#matches[index];
    return place === undefined ? undefined : this.#lines[place - this.#first];
  }

  append(lines: readonly LogLine[]): void {
    for (const line of lines) this.#lines.push(line);
    // Given up in blocks, since removing from the front moves every line.
    const excess = this.#lines.length - this.#capacity;
    if (excess > this.#capacity / 25) this.#dropOldest(excess);
  }

  #dropOldest(n: number): void {
    this.#lines = this.#lines.slice(n);
    this.#first += n;
    this.dropped += n;
    this.#cursor = Math.max(this.#cursor, this.#first);
    let stale = 0;
    while ((this.#matches[stale] ?? Infinity) < this.#first) stale += 1;
    if (stale > 0) this.#matches = this.#matches.slice(stale);
  }

  /** Puts older lines (oldest first) before those held; returns how many of them the filter lets through. */
  prepend(lines: readonly LogLine[]): number {
    this.#lines = [...lines, ...this.#lines];
    this.#first -= lines.length;
    if (!this.filtering) return lines.length;
    const fresh = lines.flatMap((line, i) => (this.#passes(line) ? [this.#first + i] : []));
    this.#matches = [...fresh, ...this.#matches];
    return fresh.length;
  }

  clear(): void {
    this.#lines = [];
    this.#matches = [];
    this.#first = 0;
    this.#cursor = 0;
    this.dropped = 0;
  }

  setFilter(filter: LogFilter): void {
    this.#filter = { level: filter.level, search: filter.search.toLowerCase() };
    this.#matches = [];
    this.#cursor = this.#first;
  }

  /** Filters on for at most `budgetMs`; true when every line has been looked at. `now` gives ms. */
  step(budgetMs: number, now: () => number = () => performance.now()): boolean {
    const end = this.#first + this.#lines.length;
    if (!this.filtering) {
      this.#cursor = end;
      return true;
    }
    const deadline = now() + budgetMs;
    while (this.#cursor < end) {
      const stop = Math.min(end, this.#cursor + stride);
      for (let place = this.#cursor; place < stop; place += 1) {
        const line = this.#lines[place - this.#first];
        if (line && this.#passes(line)) this.#matches.push(place);
      }
      this.#cursor = stop;
      if (now() >= deadline) break;
    }
    return this.#cursor >= end;
  }

  #passes(line: LogLine): boolean {
    if (rank[line.level] < rank[this.#filter.level]) return false;
    return this.#filter.search === '' || line.message.toLowerCase().includes(this.#filter.search);
  }
}
