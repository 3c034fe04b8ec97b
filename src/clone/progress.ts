import type { ErrorView, JobEventBody, TableProgress } from '../contract/event.ts';
import { qualified } from '../postgres/quote.ts';
import type { SourceTable } from './catalogue.ts';
import type { CopyFormat } from './format.ts';

/** ms between two table or metric events: at most 4 a second. */
const EVENT_EVERY_MS = 250;
/** Time over which rates are averaged, ms. */
const RATE_WINDOW_MS = 8000;
/** Below this nothing is said about the remaining time. */
const FIRST_ESTIMATE_MS = 3000;

interface Sample {
  readonly at: number;
  readonly bytes: number;
  readonly rows: number;
  readonly fraction: number;
}

/**
 * Remaining seconds as a range. The average since the start and the rate of the last seconds bound it; it is null until both
 * exist, and narrows as they agree. Pure.
 */
export function estimateRemaining(
  fraction: number,
  elapsedMs: number,
  recentPerMs: number,
): { low: number; high: number } | null {
  if (fraction <= 0 || elapsedMs < FIRST_ESTIMATE_MS) return null;
  if (fraction >= 1) return { low: 0, high: 0 };
  const overall = fraction / elapsedMs;
  const candidates = [overall, recentPerMs].filter((rate) => rate > 0).map((rate) => (1 - fraction) / rate / 1000);
  if (candidates.length === 0) return null;
  return { low: Math.round(Math.min(...candidates)), high: Math.round(Math.max(...candidates)) };
}

const whole = new Intl.NumberFormat('en-US');

/** `Copied "shop"."orders": 60,000 rows, 17,694,720 bytes in 16.1 s, binary.` Pure. */
export function copiedSentence({ schema, name, rows, bytes, seconds, format }: TableProgress): string {
  const counted = `${whole.format(rows)} ${rows === 1 ? 'row' : 'rows'}, ${whole.format(bytes)} bytes`;
  return `Copied ${qualified(schema, name)}: ${counted} in ${seconds.toFixed(1)} s, ${format ?? 'text'}.`;
}

interface TableState {
  readonly table: SourceTable;
  readonly weight: number;
  readonly started: Map<object, { bytes: number; rows: number }>;
  progress: TableProgress;
  startedAt: number | null;
  lastEventAt: number;
  lastBytes: number;
  pieces: number;
  piecesDone: number;
  doneBytes: number;
  doneRows: number;
}

/** One COPY that is under way; its figures count only once it has committed, and are taken back when it failed. */
export interface CopyMeter {
  advance(bytes: number, rows: number): void;
  commit(bytes: number, rows: number): void;
  abandon(): void;
}

/** Adds up what passed through the agent and tells it at a bounded rate. The clock comes from outside. */
export class CopyProgress {
  readonly #tables = new Map<number, TableState>();
  readonly #emit: (event: JobEventBody) => void;
  readonly #now: () => number;
  readonly #startedAt: number;
  #samples: Sample[] = [];
  #lastMetricAt = 0;
  #highestFraction = 0;
  #lastMovement: number;
  #bytes = 0;
  #rows = 0;
  #waiting: { what: string; since: string } | null = null;
  readonly #untold = new Set<TableState>();
  #late: NodeJS.Timeout | null = null;

  constructor(emit: (event: JobEventBody) => void, now: () => number = Date.now) {
    this.#emit = emit;
    this.#now = now;
    this.#startedAt = now();
    this.#lastMovement = this.#startedAt;
  }

  add(table: SourceTable, format: CopyFormat, pieces: number): void {
    const state: TableState = {
      table,
      weight: Math.max(8192, table.sizeBytes),
      started: new Map(),
      startedAt: null,
      lastEventAt: 0,
      lastBytes: 0,
      pieces,
      piecesDone: 0,
      doneBytes: 0,
      doneRows: 0,
      progress: {
        schema: table.schema,
        name: table.name,
        state: 'pending',
        rows: 0,
        bytes: 0,
        sizeBytes: table.sizeBytes,
        estimatedRows: table.estimatedRows,
        format,
        rate: 0,
        seconds: 0,
        attempts: 0,
        error: null,
      },
    };
    this.#tables.set(table.oid, state);
    this.#emit({ type: 'table', table: state.progress });
  }

  /** A table that an earlier run has copied: it counts as done, and not into the rates. */
  addCopied(table: SourceTable, format: CopyFormat, rows: number, bytes: number): void {
    this.add(table, format, 1);
    const state = this.#state(table.oid);
    Object.assign(state, { piecesDone: 1, doneRows: rows, doneBytes: bytes });
    this.#rows += rows;
    this.#bytes += bytes;
    state.progress = { ...state.progress, state: 'copied' };
    this.#tell(state, true);
  }

  /** Rows and bytes that the target has committed, and tables that are complete. */
  get totals(): { tables: number; rows: number; bytes: number } {
    const done = [...this.#tables.values()];
    return {
      tables: done.filter((state) => state.progress.state === 'copied').length,
      rows: done.reduce((sum, state) => sum + state.doneRows, 0),
      bytes: done.reduce((sum, state) => sum + state.doneBytes, 0),
    };
  }

  of(oid: number): TableProgress {
    return this.#state(oid).progress;
  }

  /** ms since a byte moved. */
  get idleMs(): number {
    return this.#now() - this.#lastMovement;
  }

  begin(oid: number): CopyMeter {
    const state = this.#state(oid);
    const key = {};
    const counts = { bytes: 0, rows: 0 };
    state.started.set(key, counts);
    state.startedAt ??= this.#now();
    if (state.progress.state !== 'copying') {
      state.progress = { ...state.progress, state: 'copying', error: null, attempts: state.progress.attempts + 1 };
      this.#tell(state, true);
    }
    return {
      advance: (bytes, rows) => {
        this.#bytes += bytes - counts.bytes;
        this.#rows += rows - counts.rows;
        counts.bytes = bytes;
        counts.rows = rows;
        this.#lastMovement = this.#now();
        this.#waiting = null;
        this.#tell(state, false);
        this.#metric(false);
      },
      commit: (bytes, rows) => {
        state.started.delete(key);
        this.#rows += rows - counts.rows;
        state.doneBytes += bytes;
        state.doneRows += rows;
        state.piecesDone += 1;
        const complete = state.piecesDone === state.pieces;
        if (complete) state.progress = { ...state.progress, state: 'copied' };
        this.#lastMovement = this.#now();
        this.#tell(state, complete);
        this.#metric(false);
      },
      abandon: () => {
        state.started.delete(key);
        this.#bytes -= counts.bytes;
        this.#rows -= counts.rows;
      },
    };
  }

  fail(oid: number, error: ErrorView): void {
    const state = this.#state(oid);
    state.progress = { ...state.progress, state: 'failed', error };
    this.#tell(state, true);
  }

  /** A table is copied again, whole: nothing of it counts any more. */
  reset(oid: number): void {
    const state = this.#state(oid);
    this.#rows -= state.doneRows;
    this.#bytes -= state.doneBytes;
    Object.assign(state, { pieces: 1, piecesDone: 0, doneBytes: 0, doneRows: 0 });
    state.progress = { ...state.progress, state: 'pending', error: null };
    this.#tell(state, true);
  }

  setWaiting(what: string | null): void {
    if (what === null || this.#waiting?.what !== what) {
      this.#waiting = what === null ? null : { what, since: new Date(this.#lastMovement).toISOString() };
    }
    this.#metric(true);
  }

  finish(): void {
    this.#tellLate(true);
  }

  /** What came too soon after the last event is told when nothing follows it: figures must not stand still behind the copy. */
  #tellLate(force: boolean): void {
    if (this.#late !== null) clearTimeout(this.#late);
    this.#late = null;
    for (const state of this.#untold) this.#tell(state, true);
    this.#metric(force);
  }

  #state(oid: number): TableState {
    const state = this.#tables.get(oid);
    if (state === undefined) throw new Error(`table ${oid} is not part of the plan`);
    return state;
  }

  #tell(state: TableState, force: boolean): void {
    const now = this.#now();
    if (!force && now - state.lastEventAt < EVENT_EVERY_MS) {
      this.#untold.add(state);
      return;
    }
    this.#untold.delete(state);
    const moving = [...state.started.values()];
    const bytes = state.doneBytes + moving.reduce((sum, counts) => sum + counts.bytes, 0);
    const rows = state.doneRows + moving.reduce((sum, counts) => sum + counts.rows, 0);
    const sinceMs = now - state.lastEventAt;
    const rate =
      state.lastEventAt === 0 || sinceMs === 0 ? 0 : Math.max(0, ((bytes - state.lastBytes) / sinceMs) * 1000);
    const seconds = state.startedAt === null ? 0 : (now - state.startedAt) / 1000;
    state.progress = {
      ...state.progress,
      bytes,
      rows,
      rate: Math.round(state.progress.state === 'copying' ? rate : seconds > 0 ? bytes / seconds : 0),
      seconds: Math.round(seconds * 1000) / 1000,
    };
    state.lastEventAt = now;
    state.lastBytes = bytes;
    this.#emit({ type: 'table', table: state.progress });
  }

  /** Share that is done by the source's sizes; a table under way counts by its bytes, but never as whole. */
  #fraction(): number {
    let done = 0;
    let all = 0;
    for (const state of this.#tables.values()) {
      all += state.weight;
      if (state.progress.state === 'copied') done += state.weight;
      else {
        const moving = [...state.started.values()].reduce((sum, counts) => sum + counts.bytes, state.doneBytes);
        done += Math.min(moving, state.weight * 0.98);
      }
    }
    this.#highestFraction = Math.max(this.#highestFraction, all === 0 ? 1 : done / all);
    return this.#highestFraction;
  }

  #metric(force: boolean): void {
    const now = this.#now();
    if (!force && now - this.#lastMetricAt < EVENT_EVERY_MS) {
      this.#late ??= setTimeout(() => this.#tellLate(false), EVENT_EVERY_MS).unref();
      return;
    }
    this.#lastMetricAt = now;
    const fraction = this.#fraction();
    this.#samples.push({ at: now, bytes: this.#bytes, rows: this.#rows, fraction });
    this.#samples = this.#samples.filter((sample) => now - sample.at <= RATE_WINDOW_MS);
    const first = this.#samples[0];
    const span = first === undefined ? 0 : now - first.at;
    const perSecond = (value: number): number => (span === 0 ? 0 : Math.max(0, Math.round((value / span) * 1000)));
    const states = [...this.#tables.values()];
    this.#emit({
      type: 'metric',
      tables: states.length,
      tablesDone: states.filter((state) => state.progress.state === 'copied').length,
      rows: this.#rows,
      bytes: this.#bytes,
      fraction,
      bytesPerSecond: perSecond(this.#bytes - (first?.bytes ?? 0)),
      rowsPerSecond: perSecond(this.#rows - (first?.rows ?? 0)),
      remaining: estimateRemaining(
        fraction,
        now - this.#startedAt,
        span === 0 ? 0 : (fraction - (first?.fraction ?? 0)) / span,
      ),
      waiting: this.#waiting,
    });
  }
}
