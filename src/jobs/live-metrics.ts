import type { JobEventBody } from '../contract/event.ts';
import type { LiveProgress } from '../contract/live.ts';
import type { Totals } from './totals.ts';

/** At most one event a second while something moves; the event store must not grow where nothing does. */
const busyMs = 1_000;
const quietMs = 5_000;
const stillMs = 10_000;

/** How often what is new in `now` deserves an event, in ms. Pure. */
export function pace(before: LiveProgress | null, now: LiveProgress): number {
  if (before === null) return 0;
  const moved =
    before.applied.transactions !== now.applied.transactions ||
    before.connected !== now.connected ||
    before.lagBytes > 0 !== now.lagBytes > 0 ||
    before.spooledBytes !== now.spooledBytes ||
    before.slot?.walStatus !== now.slot?.walStatus ||
    JSON.stringify(before.guardrails.map(stateOf)) !== JSON.stringify(now.guardrails.map(stateOf));
  if (moved || now.lagBytes > 0) return busyMs;
  return before.sourceLsn === now.sourceLsn && before.slot?.retainedBytes === now.slot?.retainedBytes
    ? stillMs
    : quietMs;
}

function stateOf({ id, state }: LiveProgress['guardrails'][number]): string {
  return `${id} ${state}`;
}

/** Tells how a live job stands: the totals stay those of its copy. */
export class LiveMetrics {
  readonly #emit: (event: JobEventBody) => void;
  readonly #totals: () => Totals;
  #told: LiveProgress | null = null;
  #toldAt = 0;

  constructor(emit: (event: JobEventBody) => void, totals: () => Totals) {
    this.#emit = emit;
    this.#totals = totals;
  }

  /** `waiting`: what the job waits for, and since when (ISO). A change of the cutover's steps is told at once. */
  tell(progress: LiveProgress, waiting: { what: string; since: string } | null = null, now = Date.now()): void {
    const steps = JSON.stringify(this.#told?.cutover) !== JSON.stringify(progress.cutover);
    if (!steps && now - this.#toldAt < pace(this.#told, progress)) return;
    this.#told = progress;
    this.#toldAt = now;
    const { tables, tablesDone, rows, bytes, fraction } = this.#totals();
    this.#emit({
      type: 'metric',
      tables,
      tablesDone,
      rows,
      bytes,
      fraction,
      bytesPerSecond: 0,
      rowsPerSecond: 0,
      remaining: null,
      waiting,
      live: progress,
    });
  }
}
